//! Milters that answer well, late, wrongly or not at all: what they are told, and what is made of it. Real ones are asked in `tests/server`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "zone/mod.rs"]
mod zone;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use mail::ReversePath;
use screening::milter::wire::{DATA_OCTETS, Terms, packet};
use screening::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use zone::Zone;

/// A letter and its data.
type Packet = (u8, Vec<u8>);

/// A milter that answers by a script: to each letter these packets, else that it goes on.
struct Fake {
    folder: TempDir,
    told: Arc<Mutex<Vec<Packet>>>,
    server: JoinHandle<()>,
}

impl Fake {
    fn serve(protocol: u32, script: &[(u8, &[Packet])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (listener, told) = (UnixListener::bind(folder.path().join("socket")).unwrap(), Arc::<Mutex<Vec<Packet>>>::default());
        let script: Vec<(u8, Vec<Packet>)> = script.iter().map(|(letter, answers)| (*letter, answers.to_vec())).collect();
        let seen = Arc::clone(&told);
        let server = async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            while let Ok(length) = socket.read_u32().await {
                let mut data = vec![0; length as usize];
                socket.read_exact(&mut data).await.unwrap();
                let letter = data.remove(0);
                seen.lock().unwrap().push((letter, data));
                let known = script.iter().find(|(known, _)| *known == letter).map(|(_, answers)| answers.clone());
                let usual = match letter {
                    b'O' => vec![(b'O', Terms { version: 6, actions: 0x21, protocol }.octets().to_vec())],
                    b'D' | b'Q' => Vec::new(),
                    _ => vec![(b'c', Vec::new())],
                };
                for (letter, data) in known.unwrap_or(usual) {
                    let mut out = BytesMut::new();
                    packet(&mut out, letter, &[&data]);
                    socket.write_all(&out).await.unwrap();
                }
            }
        };
        #[allow(clippy::disallowed_methods, reason = "a test's own server")]
        let server = tokio::spawn(server);
        Self { folder, told, server }
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What it was told, but for macros, and that it is over, which it may not have heard yet.
    fn letters(&self) -> String {
        self.told.lock().unwrap().iter().map(|(letter, _)| char::from(*letter)).filter(|letter| !matches!(letter, 'D' | 'Q')).collect()
    }

    fn data(&self, letter: u8) -> Vec<Vec<u8>> {
        self.told.lock().unwrap().iter().filter(|(told, _)| *told == letter).map(|(_, data)| data.clone()).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn ask(milters: Vec<Milter>, fail: OnFail, message: &str) -> Screening {
    judge(milters, fail, OnUnsure::Defer, message).await
}

async fn judge(milters: Vec<Milter>, fail: OnFail, unsure: OnUnsure, message: &str) -> Screening {
    // Nobody answers there, and nobody waits for it.
    let dns = DnsSettings { servers: vec!["127.0.0.1:9".parse().unwrap()], timeout: Duration::from_millis(100), cache: 10 };
    judge_by(&dns, milters, fail, unsure, message).await
}

async fn judge_by(dns: &DnsSettings, milters: Vec<Milter>, fail: OnFail, unsure: OnUnsure, message: &str) -> Screening {
    let dns = Dns::new(dns).unwrap();
    let policy = Policy {
        rules: vec![Rule { check: Check::Milter, fail, unsure, timeout: Duration::from_secs(2) }],
        lists: Lists::default(),
        attachments: Vec::new(),
        services: Services::new(None, Vec::new(), milters, &dns).unwrap(),
        greylist_delay: Duration::from_secs(60),
        greylist_senders: 10,
        early_wait: Duration::ZERO,
        early_places: 0,
        at_once: 4,
    };
    let screener = Screener::new("mx.example.net".parse().unwrap(), policy, dns);
    let reverse_path = ReversePath::parse("<joe@example.com>").unwrap();
    let client = Client {
        ip: IpAddr::from([192, 0, 2, 7]),
        helo: "mx.example.com",
        reverse_path: &reverse_path,
        is_known: false,
        manners: Manners::Unknown,
    };
    let (screening, mut reading) = (screener.envelope(client).await, screener.reading());
    reading.pass(message.as_bytes());
    let recipients = ["ann@example.org".into(), "bob@example.org".into()];
    let mut text = message.as_bytes();
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &recipients, user: Some("cyd@example.org"), text: &mut text };
    screener.message(client, screening, reading, &mut letter).await
}

async fn one(fake: &Fake, message: &str) -> Screening {
    ask(vec![Milter::Unix(fake.place())], OnFail::Policy, message).await
}

fn message() -> String {
    format!("Subject:  x \r\nX-Folded: a\r\n\tb\r\nX-Bare:c\r\n\r\n{}", "0123456789\r\n".repeat(20_000))
}

#[test]
fn a_milter_is_where_its_text_says() {
    for text in ["inet:127.0.0.1:8891", "inet:[::1]:8891", "inet:milter.example:1", "unix:/run/a:b.sock"] {
        assert_eq!(text.parse::<Milter>().unwrap().to_string(), text);
    }
    for text in ["", "127.0.0.1:8891", "inet:127.0.0.1", "inet::1", "inet:a:0", "inet:a:b", "unix:run/x", "unix:", "local:/x"] {
        assert!(text.parse::<Milter>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn it_is_told_all_of_a_message() {
    let fake = Fake::serve(0, &[]);
    let screening = one(&fake, &message()).await;
    assert_eq!((screening.verdict(), screening.findings()[0].outcome), (Verdict::Accept, Outcome::Pass), "{screening:?}");
    assert_eq!(fake.letters(), "OCHMRRTLLLNBBBBE");
    assert_eq!(fake.data(b'O'), [b"\0\0\0\x06\0\0\0\x31\0\x1f\xf7\xff".to_vec()], "version 6, fields and quarantine");
    assert_eq!(fake.data(b'C'), [b"[192.0.2.7]\x004\0\x00192.0.2.7\0".to_vec()]);
    assert_eq!(fake.data(b'H'), [b"mx.example.com\0".to_vec()]);
    assert_eq!(fake.data(b'M'), [b"<joe@example.com>\0".to_vec()]);
    assert_eq!(fake.data(b'R'), [b"<ann@example.org>\0".to_vec(), b"<bob@example.org>\0".to_vec()]);
    assert_eq!(fake.data(b'L'), [b"Subject\0 x \0".to_vec(), b"X-Folded\0a\n\tb\0".to_vec(), b"X-Bare\0c\0".to_vec()]);
    let (body, chunks) = (fake.data(b'B').concat(), fake.data(b'B'));
    assert!(body == "0123456789\r\n".repeat(20_000).into_bytes() && chunks.iter().all(|chunk| chunk.len() <= DATA_OCTETS));
    let macros = fake.data(b'D');
    assert_eq!(macros[0], b"Cj\0mx.example.net\0{daemon_name}\0gatepost\0{client_addr}\x00192.0.2.7\0");
    assert_eq!(macros[1], b"Mi\x0001ARZ3NDEKTSV4RRFFQ69G5FAV\0{mail_addr}\0joe@example.com\0{auth_authen}\0cyd@example.org\0");
}

#[tokio::test]
async fn it_is_told_the_name_of_the_clients_address() {
    const CLAIMED: &str = "7.2.0.192.in-addr.arpa PTR mx.example.com";
    const CLIENT: &str = "Cj\0mx.example.net\0{daemon_name}\0gatepost\0{client_addr}\x00192.0.2.7\0";
    let (name, claims) = ("{client_name}\0mx.example.com\0", "{client_ptr}\0mx.example.com\0");
    for (address, connects, macros) in [
        ("192.0.2.7", &b"mx.example.com\x004\0\x00192.0.2.7\0"[..], format!("{CLIENT}{name}{claims}")),
        ("192.0.2.8", b"[192.0.2.7]\x004\0\x00192.0.2.7\0", format!("{CLIENT}{claims}")),
    ] {
        let zone = Zone::serve(&format!("{CLAIMED}\nmx.example.com A {address}"));
        let (one, other) = (Fake::serve(0, &[]), Fake::serve(0, &[]));
        let milters = vec![Milter::Unix(one.place()), Milter::Unix(other.place())];
        // A busy machine may take its time.
        let dns = DnsSettings { servers: vec![zone.address()], timeout: Duration::from_secs(2), cache: 10 };
        let screening = judge_by(&dns, milters, OnFail::Policy, OnUnsure::Defer, &message()).await;
        assert_eq!(screening.verdict(), Verdict::Accept, "{screening:?}");
        for fake in [one, other] {
            assert_eq!(fake.data(b'C'), [connects.to_vec()], "{address}");
            assert_eq!(fake.data(b'D')[0], macros.as_bytes(), "{address}");
        }
        assert_eq!(zone.asked().len(), 2, "once for both of them");
    }
}

#[tokio::test]
async fn it_is_told_what_it_wants_to_be() {
    // Neither connection nor name nor body, no answers to fields, and values with their blanks.
    let fake = Fake::serve(0x1 | 0x2 | 0x10 | 0x80 | 0x10_0000, &[(b'L', &[])]);
    assert_eq!(one(&fake, &message()).await.verdict(), Verdict::Accept);
    assert_eq!(fake.letters(), "OMRRTLLLNE");
    assert_eq!(fake.data(b'L')[0], b"Subject\0  x \0");
    let fake = Fake::serve(0x400, &[(b'B', &[(b's', Vec::new())])]);
    assert_eq!(one(&fake, &message()).await.verdict(), Verdict::Accept);
    assert_eq!(fake.letters(), "OCHMRRTLLLNBE", "enough of the body");
    let fake = Fake::serve(0, &[(b'M', &[(b'a', Vec::new())])]);
    assert_eq!(one(&fake, &message()).await.verdict(), Verdict::Accept);
    assert_eq!(fake.letters(), "OCHM", "and it has made up its mind");
}

#[tokio::test]
async fn its_last_word_is_followed() {
    let text = |text: &str| format!("{text}\0").into_bytes();
    for (letter, answer, verdict, reply) in [
        (b'C', (b'r', Vec::new()), Verdict::Reject, Some(smtp::Reply::CONTENT_REFUSED)),
        (b'H', (b't', Vec::new()), Verdict::Defer, Some(smtp::Reply::SCREENING_DEFERS)),
        (b'R', (b'y', text("550 5.1.1 Not him")), Verdict::Reject, Some(smtp::Reply::MILTER_REFUSES)),
        (b'L', (b'd', Vec::new()), Verdict::Discard, None),
        (b'B', (b'y', text("452 4.3.1 Later")), Verdict::Defer, Some(smtp::Reply::MILTER_DEFERS)),
        (b'E', (b'y', text("550 4.1.1 Codes that differ")), Verdict::Reject, Some(smtp::Reply::CONTENT_REFUSED)),
        (b'E', (b'4', Vec::new()), Verdict::Defer, Some(smtp::Reply::SCREENING_DEFERS)),
    ] {
        let fake = Fake::serve(0, &[(letter, &[answer])]);
        let screening = one(&fake, &message()).await;
        assert_eq!((screening.verdict(), screening.reply()), (verdict, reply), "{}: {screening:?}", char::from(letter));
    }
    let said = Fake::serve(0, &[(b'E', &[(b'y', text("550 5.7.1 Go away"))])]);
    let refused = one(&said, &message()).await;
    assert_eq!(refused.reason().unwrap().said.as_deref(), Some("Go away"));
    let said = Fake::serve(0, &[(b'E', &[(b'y', text("550 5.7.1 Go away"))])]);
    let softer = ask(vec![Milter::Unix(said.place())], OnFail::Verdict(Verdict::Defer), &message()).await;
    assert_eq!(
        (softer.reply(), softer.reason().unwrap().said.as_deref()),
        (Some(smtp::Reply::SCREENING_DEFERS), None),
        "it did not say that"
    );
    let changing = Fake::serve(0, &[(b'E', &[(b'm', text("\0\0\0\x01X-Spam\0")), (b'r', Vec::new())])]);
    assert_eq!(one(&changing, &message()).await.verdict(), Verdict::Reject, "a field that makes it change something is no way past it");
    let slow = Fake::serve(0, &[(b'E', &[(b'p', Vec::new()), (b'p', Vec::new()), (b'q', text("odd")), (b'c', Vec::new())])]);
    assert_eq!(one(&slow, &message()).await.verdict(), Verdict::Quarantine);
}

#[tokio::test]
async fn what_it_adds_stands_before_the_message() {
    let add = |letter, data: &[u8]| (letter, data.to_vec());
    let fields = [add(b'h', b"X-Last\0 z\0"), add(b'i', b"\0\0\0\x01X-First\0a\n\tb\0"), add(b'p', b""), (b'c', Vec::new())];
    let (one, other) = (Fake::serve(0, &[(b'E', &fields)]), Fake::serve(0, &[(b'E', &[add(b'h', b"X-Other\0y\0"), (b'a', Vec::new())])]));
    let milters = vec![Milter::Unix(one.place()), Milter::Unix(other.place())];
    let screening = ask(milters, OnFail::Verdict(Verdict::Accept), &message()).await;
    let fields = String::from_utf8(screening.fields()).unwrap();
    assert!(fields.ends_with("\r\nX-First: a\r\n\tb\r\nX-Last: z\r\nX-Other: y\r\n"), "{fields}");
}

#[tokio::test]
async fn whatever_goes_wrong_is_unsure() {
    let large = (b'h', [b"X\0".to_vec(), b"x".repeat(900), b"\0".to_vec()].concat());
    let many = vec![large; 80];
    for (script, why) in [
        ((b'E', &[(b'b', b"a new body".to_vec()), (b'c', Vec::new())][..]), "it wants to change the message ('b')"),
        (
            (b'E', &[(b'm', b"\0\0\0\x01Subject\0\0".to_vec()), (b'q', b"x\0".to_vec()), (b'a', Vec::new())]),
            "it wants to change the message ('m')",
        ),
        ((b'E', &[(b'h', b"X\0a\nFrom: b\0".to_vec())]), "it adds a field that is not well formed"),
        ((b'E', &[(b'h', [b"X\0".to_vec(), b"x".repeat(60_000), b"\0".to_vec()].concat())]), "a line of more than 998 octets"),
        ((b'E', &[(b'i', Vec::new())]), "its answer 'i' is not well formed"),
        ((b'E', &many), "it adds more than"),
        ((b'M', &[(b'h', b"X\0a\0".to_vec())]), "it answers a change before the end of the message"),
        ((b'M', &[(b's', Vec::new())]), "it answers \"skip\""),
        ((b'M', &[(b'z', Vec::new())]), "it answers 'z', which is not known"),
        ((b'M', &[]), "not answered within 2s"),
        ((b'O', &[(b'c', Vec::new())]), "it answers something else than its terms"),
        ((b'O', &[(b'O', Terms { version: 7, actions: 0, protocol: 0 }.octets().to_vec())]), "it speaks version 7"),
    ] {
        let fake = Fake::serve(0, &[script]);
        let screening = one(&fake, &message()).await;
        assert_eq!((screening.findings()[0].outcome, screening.verdict()), (Outcome::Unsure, Verdict::Defer), "{why}: {screening:?}");
        assert!(screening.findings()[0].detail.contains(why), "{why}: {screening:?}");
        assert!(!String::from_utf8(screening.fields()).unwrap().contains("\r\nX:"), "what it added does not count");
    }
    let gone = tempfile::tempdir().unwrap().path().join("gone");
    let screening = ask(vec![Milter::Unix(gone)], OnFail::Policy, &message()).await;
    assert_eq!(screening.reply(), Some(smtp::Reply::SCREENING_UNSURE), "{screening:?}");
}

#[tokio::test]
async fn one_that_says_nothing_takes_nothing_back() {
    let quarantine = || Fake::serve(0, &[(b'E', &[(b'q', b"odd\0".to_vec()), (b'c', Vec::new())])]);
    let gone = tempfile::tempdir().unwrap().path().join("gone");
    let (first, silent) = (quarantine(), Fake::serve(0, &[(b'M', &[])]));
    for (fake, other) in [(quarantine(), gone), (first, silent.place())] {
        let milters = vec![Milter::Unix(fake.place()), Milter::Unix(other)];
        let screening = judge(milters, OnFail::Policy, OnUnsure::Accept, &message()).await;
        assert_eq!((screening.findings()[0].outcome, screening.verdict()), (Outcome::Unsure, Verdict::Quarantine), "{screening:?}");
    }
}

#[tokio::test]
async fn a_header_that_cannot_be_looked_at_goes_past_no_milter() {
    let fake = Fake::serve(0, &[]);
    let screening = one(&fake, "Subject: x\r\njunk\r\nFrom: a@b.example\r\n\r\nx\r\n").await;
    assert_eq!((screening.verdict(), fake.letters().as_str()), (Verdict::Reject, ""), "{screening:?}");
    let hiding = one(&fake, "Subject: x\0 and more\r\nFrom: a@b.example\r\n\r\nx\r\n").await;
    assert_eq!((hiding.verdict(), fake.letters().as_str()), (Verdict::Reject, ""), "{hiding:?}");
    let fake = Fake::serve(0, &[]);
    let body = one(&fake, "Subject: x\r\n\r\na NUL \0 hides nothing here\r\n").await;
    assert_eq!((body.verdict(), fake.data(b'B').concat()), (Verdict::Accept, b"a NUL \0 hides nothing here\r\n".to_vec()));
    for odd in ["", "\r\n", "\r\nbody", "Subject: x", "Subject: x\r\n"] {
        let fake = Fake::serve(0, &[]);
        let screening = one(&fake, odd).await;
        assert!(matches!(screening.findings()[0].outcome, Outcome::Pass | Outcome::Fail), "{odd:?}: {screening:?}");
    }
}
