//! Services over HTTP that answer well, late, wrongly or not at all: what is asked, and what is made of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "zone/mod.rs"]
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail::{ReversePath, Secret};
use screening::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zone::Zone;

/// A server that gives every request the same answer, and keeps what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Fake {
    /// Answers with this, head and all; with nothing it says nothing, and keeps the connection.
    async fn serve(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let (answer, seen) = (answer.to_owned(), Arc::clone(&asked));
        let server = async move {
            let mut kept = Vec::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (mut text, mut piece) = (Vec::new(), [0; 4096]);
                while !is_whole(&text) {
                    let octets = socket.read(&mut piece).await.unwrap();
                    if octets == 0 {
                        // The message could not be read again.
                        break;
                    }
                    text.extend_from_slice(&piece[..octets]);
                }
                seen.lock().unwrap().push(String::from_utf8(text).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
                if answer.is_empty() {
                    kept.push(socket);
                }
            }
        };
        #[allow(clippy::disallowed_methods, reason = "a test's own server")]
        let server = tokio::spawn(server);
        Self { address, asked, server }
    }

    async fn json(answer: &str) -> Self {
        Self::serve(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())).await
    }

    fn endpoint(&self) -> Endpoint {
        format!("http://{}/", self.address).parse().unwrap()
    }

    /// What it was asked: the head and the body of each.
    fn asked(&self) -> Vec<(String, String)> {
        let split = |text: &String| text.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap();
        self.asked.lock().unwrap().iter().map(split).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap()));
    body.len() == length.expect("its length is known")
}

/// A message in pieces of an odd size.
struct InPieces<'m>(&'m str);

#[async_trait]
impl Source for InPieces<'_> {
    fn octets(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read(&mut self, from: u64) -> Result<Bytes, String> {
        let rest = &self.0.as_bytes()[from as usize..];
        Ok(Bytes::copy_from_slice(&rest[..rest.len().min(1001)]))
    }
}

/// One that cannot be read again.
struct Broken;

#[async_trait]
impl Source for Broken {
    fn octets(&self) -> u64 {
        10
    }

    async fn read(&mut self, _: u64) -> Result<Bytes, String> {
        Err("the disk is gone".into())
    }
}

fn message() -> String {
    format!("Subject: x\r\nX-Folded: a\r\n b\r\n\r\n{}", "0123456789\r\n".repeat(20_000))
}

/// Asks by one rule.
async fn ask(check: Check, unsure: OnUnsure, rspamd: Option<Rspamd>, hooks: Vec<Hook>, source: &mut dyn Source) -> Screening {
    let zone = Zone::serve("7.2.0.192.in-addr.arpa PTR mx.example.com\nmx.example.com A 192.0.2.7");
    // A busy machine may take its time.
    let dns = Dns::new(&DnsSettings { servers: vec![zone.address()], timeout: Duration::from_secs(2), cache: 10 }).unwrap();
    let policy = Policy {
        rules: vec![Rule { check, fail: OnFail::Policy, unsure, timeout: Duration::from_secs(2) }],
        lists: Lists::default(),
        attachments: Vec::new(),
        services: Services::new(rspamd, hooks, Vec::new(), &dns).unwrap(),
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
    reading.pass(message().as_bytes());
    let recipients = ["ann@example.org".into(), "bob@example.org".into()];
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &recipients, user: Some("cyd@example.org"), text: source };
    screener.message(client, screening, reading, &mut letter).await
}

async fn ask_rspamd(fake: &Fake, unsure: OnUnsure) -> Screening {
    let rspamd = Rspamd { endpoint: fake.endpoint(), password: Some(Secret::new("s3cret")) };
    ask(Check::Rspamd, unsure, Some(rspamd), Vec::new(), &mut InPieces(&message())).await
}

async fn ask_hook(fake: &Fake, body: bool) -> Screening {
    ask(Check::Hook, OnUnsure::Defer, None, vec![Hook { endpoint: fake.endpoint(), body }], &mut InPieces(&message())).await
}

fn detail(screening: &Screening) -> &str {
    &screening.findings()[0].detail
}

#[tokio::test]
async fn rspamd_gets_the_message_and_the_envelope() {
    let fake = Fake::json(r#"{"action":"add header","score":7,"required_score":15,"symbols":{"A":{"score":7}}}"#).await;
    let screening = ask_rspamd(&fake, OnUnsure::Accept).await;
    assert_eq!((screening.verdict(), detail(&screening)), (Verdict::Tag, "rspamd has 7.0 of 15.0: A 7.0"));
    let fields = String::from_utf8(screening.fields()).unwrap();
    assert!(fields.ends_with("X-Gatepost-Screening: tag; rspamd=fail\r\n"), "{fields}");
    let (head, body) = fake.asked().remove(0);
    assert!(body == message());
    assert!(head.starts_with("POST /checkv2 HTTP/1.1\r\n"), "{head}");
    for line in [
        "ip: 192.0.2.7",
        "hostname: mx.example.com",
        "helo: mx.example.com",
        "from: joe@example.com",
        "rcpt: ann@example.org",
        "rcpt: bob@example.org",
        "queue-id: 01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "user: cyd@example.org",
        "password: s3cret",
    ] {
        assert!(head.lines().any(|said| said == line), "{line}: {head}");
    }
}

/// The test above holds where the environment names a proxy, too, at a port where nobody listens.
#[test]
fn no_proxy_of_the_environment_gets_a_message() {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "rspamd_gets_the_message_and_the_envelope"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        again.env(name, "http://127.0.0.1:9");
    }
    let ran = again.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{ran:?}");
}

#[tokio::test]
async fn what_rspamd_does_not_say_well_and_in_time_is_not_said() {
    for (answer, why) in [
        ("", "not answered within 2s"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "rspamd: it answers 403"),
        ("HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", "rspamd: it answers 302"),
        ("garbage\r\n\r\n", "rspamd: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "rspamd: "),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ngarbage", "rspamd: its answer is not understood"),
        (&format!("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}", "[".repeat(300_000)), "rspamd: its answer is longer than"),
    ] {
        let fake = Fake::serve(answer).await;
        for (unsure, verdict) in [(OnUnsure::Accept, Verdict::Accept), (OnUnsure::Defer, Verdict::Defer)] {
            let screening = ask_rspamd(&fake, unsure).await;
            assert_eq!((screening.findings()[0].outcome, screening.verdict()), (Outcome::Unsure, verdict), "{why}: {screening:?}");
            assert!(detail(&screening).starts_with(why), "{why}: {screening:?}");
        }
    }
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Endpoint::to_string(&format!("http://{}", listener.local_addr().unwrap()).parse().unwrap())
    };
    let rspamd = Rspamd { endpoint: gone.parse().unwrap(), password: None };
    let screening = ask(Check::Rspamd, OnUnsure::Defer, Some(rspamd), Vec::new(), &mut InPieces("x")).await;
    assert_eq!(screening.reply().map(|reply| (reply.code(), reply.enhanced())), Some((451, "4.7.0")), "{screening:?}");
    assert!(detail(&screening).contains("refused"), "{screening:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_again_is_not_judged() {
    let fake = Fake::serve("").await;
    let rspamd = Rspamd { endpoint: fake.endpoint(), password: None };
    // The server waits for what does not come, and does not mind.
    let screening = ask(Check::Rspamd, OnUnsure::Defer, Some(rspamd), Vec::new(), &mut Broken).await;
    assert_eq!(screening.findings()[0].outcome, Outcome::Unsure);
    assert_eq!(detail(&screening), "rspamd: the message cannot be read again: the disk is gone");
}

#[tokio::test]
async fn a_hook_is_told_what_is_known() {
    let fake = Fake::json(r#"{"verdict":"reject","reason":"not today"}"#).await;
    let screening = ask_hook(&fake, false).await;
    assert_eq!((screening.verdict(), detail(&screening)), (Verdict::Reject, "the hook says reject: not today"));
    assert_eq!(screening.reply(), Some(smtp::Reply::CONTENT_REFUSED));
    let (head, body) = fake.asked().remove(0);
    assert!(head.starts_with("POST / HTTP/1.1\r\n") && head.contains("content-type: application/json"), "{head}");
    let octets = message().len();
    let expected = format!(
        r#"{{"version":1,"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","client":{{"ip":"192.0.2.7","helo":"mx.example.com","user":"cyd@example.org"}},"sender":"joe@example.com","recipients":["ann@example.org","bob@example.org"],"octets":{octets},"header":[["Subject","x"],["X-Folded","a b"]],"checks":[]}}"#
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_hook_gets_the_message_where_it_is_to() {
    let fake = Fake::json(r#"{"verdict":"accept"}"#).await;
    let screening = ask_hook(&fake, true).await;
    assert_eq!((screening.verdict(), screening.findings()[0].outcome), (Verdict::Accept, Outcome::Pass), "{screening:?}");
    let (_, body) = fake.asked().remove(0);
    let (_, rest) = body.split_once(r#"["X-Folded","a b"]],"checks":[],"message":""#).unwrap();
    assert!(STANDARD.decode(rest.strip_suffix("\"}").unwrap()).unwrap() == message().into_bytes());
    let unknown = Fake::json(r#"{"verdict":"explode"}"#).await;
    assert_eq!(ask_hook(&unknown, true).await.verdict(), Verdict::Defer, "as its rule says");
}

#[tokio::test]
async fn several_hooks_are_asked_until_one_refuses_and_the_gravest_counts() {
    let says = async |verdict: &str| Fake::json(&format!(r#"{{"verdict":"{verdict}"}}"#)).await;
    for (verdicts, expected, asked) in [
        (["accept", "tag", "accept"], Verdict::Tag, 3),
        (["quarantine", "tag", "accept"], Verdict::Quarantine, 3),
        (["tag", "reject", "quarantine"], Verdict::Reject, 2),
        // The rule says what follows where one is not understood, and what was said before stands if it is graver.
        (["accept", "explode", "reject"], Verdict::Defer, 2),
    ] {
        let fakes = [says(verdicts[0]).await, says(verdicts[1]).await, says(verdicts[2]).await];
        let hooks = fakes.iter().map(|fake| Hook { endpoint: fake.endpoint(), body: false }).collect();
        let screening = ask(Check::Hook, OnUnsure::Defer, None, hooks, &mut InPieces(&message())).await;
        assert_eq!(screening.verdict(), expected, "{verdicts:?} {screening:?}");
        let heard: usize = fakes.iter().map(|fake| fake.asked().len()).sum();
        assert_eq!(heard, asked, "{verdicts:?}");
        assert_eq!(detail(&screening).split("; ").count(), asked, "{screening:?}");
        assert!(detail(&screening).starts_with(&format!("{}: the hook says {}; ", fakes[0].endpoint(), verdicts[0])), "{screening:?}");
    }
}
