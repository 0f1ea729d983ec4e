//! What is done to the server.

use crate::harness::{ANN, BOB, PASSWORD};

/// A connection.
#[derive(Debug, Clone)]
pub(crate) struct Attack {
    pub(crate) service: &'static str,
    pub(crate) script: Vec<Step>,
    pub(crate) ending: Ending,
}

/// Until the server hangs up.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Wait for a whole reply.
    Hear,
    Say(Vec<u8>),
    /// An octet now and then.
    Drip(Vec<u8>),
    /// Shake hands in earnest.
    StartTls,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Ending {
    Close,
    /// Close with a reset in place of a FIN.
    Reset,
    /// Say that nothing follows, and wait for the server to close.
    HalfClose,
    /// Keep the connection and do nothing.
    Silence,
}

/// Those that are over quickly.
pub(crate) fn quick() -> Vec<Attack> {
    let abandoned = honest().into_iter().flat_map(|(service, script)| {
        (0..=script.len()).flat_map(move |steps| {
            let script = script[..steps].to_vec();
            [Ending::Close, Ending::Reset, Ending::HalfClose].map(|ending| Attack { service, script: script.clone(), ending })
        })
    });
    let rude = rude().into_iter().flat_map(|(service, script)| {
        [Ending::Close, Ending::Reset, Ending::HalfClose].map(|ending| Attack { service, script: script.clone(), ending })
    });
    abandoned.chain(rude).collect()
}

/// Those that want to stay.
pub(crate) fn silent() -> Vec<Attack> {
    let abandoned = honest().into_iter().flat_map(|(service, script)| {
        // Once logged in to fetch mail, ten minutes are theirs by right.
        let most = if service.starts_with("pop3") { script.len() - 2 } else { script.len() };
        (0..=most).map(move |steps| (service, script[..steps].to_vec()))
    });
    let unread = [("pop3s", ANN), ("pop3s", BOB)].map(|(service, account)| {
        let login = format!("USER {account}\r\nPASS {PASSWORD}\r\n");
        (service, vec![Step::StartTls, Step::Hear, say(login), Step::Hear, Step::Hear, say("RETR 1\r\n".repeat(100))])
    });
    let stubborn = [
        ("smtp", vec![say("E")]),
        ("pop3", vec![say("U")]),
        ("submissions", vec![say("\x16")]),
        ("pop3s", vec![say(HELLO)]),
        ("smtp", vec![Step::Hear, say("HELP\r\n".repeat(20_000))]),
        ("smtp", vec![Step::Hear, say("EHLO a.example\r\n"), Step::Hear, say("STARTTLS\r\n"), Step::Hear]),
        ("smtp", vec![Step::Hear, say(vec![b'x'; 256 << 10])]),
        ("pop3", vec![Step::Hear, say("STLS\r\n"), Step::Hear, say("\x16\x03\x01\x02")]),
        ("smtp", [opening(), vec![say("BDAT 4000000000 LAST\r\nshort")]].concat()),
        ("smtp", [opening(), vec![say("DATA\r\n"), Step::Hear, say("X-Header: endless\r\n".repeat(20_000))]].concat()),
    ];
    abandoned.chain(unread).chain(stubborn).map(silently).collect()
}

/// Those that say a little from time to time, so as to look alive.
pub(crate) fn slow() -> Vec<Attack> {
    let line = ["smtp", "submission", "pop3"].map(|service| (service, vec![Step::Hear, Step::Drip(vec![b'X'; 4000])]));
    let body = [("smtp", [opening(), vec![say("DATA\r\n"), Step::Hear, Step::Drip(b"slow\r\n".repeat(1000))]].concat())];
    line.into_iter().chain(body).map(silently).collect()
}

/// Those that come and say nothing.
pub(crate) fn crowd() -> Vec<Attack> {
    ["smtp", "submission", "submissions", "pop3", "pop3s"].map(|service| silently((service, Vec::new()))).into()
}

fn silently((service, script): (&'static str, Vec<Step>)) -> Attack {
    Attack { service, script, ending: Ending::Silence }
}

/// What honest clients do, up to the point where it would have an effect.
fn honest() -> Vec<(&'static str, Vec<Step>)> {
    let message = vec![say("DATA\r\n"), Step::Hear, say("Subject: never\r\n\r\nto be "), say("ended\r\n")];
    let secure = vec![Step::Hear, say("EHLO a.example\r\n"), Step::Hear, say("STARTTLS\r\n"), Step::Hear, Step::StartTls];
    let log_in = |account| vec![say(format!("USER {account}\r\n")), Step::Hear, say(format!("PASS {PASSWORD}\r\n")), Step::Hear];
    let wrong = vec![say("USER ann@example.org\r\n"), Step::Hear, say("PASS wrong\r\n"), Step::Hear];
    vec![
        ("smtp", [opening(), message.clone()].concat()),
        ("smtp", [secure.clone(), opening()[1..].to_vec(), message].concat()),
        ("submission", [secure, vec![say("EHLO a.example\r\n"), Step::Hear, say("AUTH LOGIN\r\n"), Step::Hear, say("AAAA\r\n")]].concat()),
        ("submissions", vec![Step::StartTls, Step::Hear, say("EHLO a.example\r\n"), Step::Hear, say("AUTH PLAIN\r\n"), Step::Hear]),
        ("pop3", [vec![Step::Hear, say("STLS\r\n"), Step::Hear, Step::StartTls], wrong].concat()),
        ("pop3s", [vec![Step::StartTls, Step::Hear], log_in(BOB)].concat()),
    ]
}

/// What no honest client does.
fn rude() -> Vec<(&'static str, Vec<Step>)> {
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let wrong = "USER ann@example.org\r\nPASS wrong\r\n".repeat(20);
    let mut rude: Vec<(&'static str, Vec<Step>)> = Vec::new();
    for service in ["smtp", "submission", "submissions", "pop3", "pop3s"] {
        rude.push((service, vec![say(noise.clone())]));
        rude.push((service, vec![say("G")]));
        rude.push((service, vec![say("GET / HTTP/1.1\r\nHost: mail\r\n\r\n"), Step::Hear, Step::Hear]));
        rude.push((service, vec![say(HELLO)]));
        rude.push((service, vec![say(vec![b'x'; 64 << 10])]));
        rude.push((service, vec![say([0, b'\r', b'\n', b'\n', 0xff].repeat(100)), Step::Hear]));
        rude.push((service, vec![say("EHLO a.example\r\nSTARTTLS\r\nMAIL FROM:<a@b.example>\r\n"), Step::Hear, Step::Hear]));
    }
    let after_opening = |script: Vec<Step>| ("smtp", [opening(), script].concat());
    rude.extend([
        ("smtp", vec![Step::Hear, say("NOOP\r\n".repeat(3000)), Step::Hear]),
        ("smtp", vec![Step::Hear, say("HUH\r\n".repeat(3000)), Step::Hear]),
        ("smtp", vec![Step::Hear, say("EHLO a.example\r\n"), Step::Hear, say("STARTTLS\r\n"), Step::Hear, say(noise.clone())]),
        ("submission", vec![Step::Hear, say("EHLO a.example\r\nAUTH PLAIN AGFubgB3cm9uZw==\r\n".repeat(20)), Step::Hear]),
        ("pop3", vec![Step::Hear, say("STLS\r\n"), Step::Hear, say(noise)]),
        ("pop3", vec![Step::Hear, say(wrong.clone()), Step::Hear]),
        ("pop3", vec![Step::Hear, say("LIST\r\nUIDL\r\nSTAT\r\n".repeat(1000)), Step::Hear]),
        ("pop3s", vec![Step::StartTls, Step::Hear, say(wrong), Step::Hear, Step::Hear, Step::Hear]),
        (
            "pop3s",
            vec![Step::StartTls, Step::Hear, say(format!("USER {ANN}\r\nPASS {PASSWORD}\r\n")), Step::Hear, Step::Hear]
                .into_iter()
                .chain([say("LIST\r\nUIDL\r\n".repeat(1000)), Step::Hear])
                .collect(),
        ),
        after_opening(vec![say("RCPT TO:<nobody@example.org>\r\n".repeat(500)), Step::Hear]),
        after_opening(vec![say(format!("RCPT TO:<{BOB}>\r\n").repeat(2000)), Step::Hear]),
        after_opening(vec![say("DATA\r\n"), Step::Hear, say("X-Header: endless\r\n".repeat(5000))]),
        after_opening(vec![say("DATA\r\n"), Step::Hear, say(vec![b'x'; 400 << 10])]),
        after_opening(vec![say("BDAT 1000 LAST\r\nshort")]),
        after_opening(vec![say("BDAT 5\r\nfar longer than was said\r\n"), Step::Hear]),
        after_opening(vec![say("BDAT -1\r\nBDAT\r\nBDAT 99999999999999999999999\r\nBDAT x LAST\r\n"), Step::Hear]),
        after_opening(vec![say("BDAT 500000\r\n"), say(vec![b'x'; 300_000])]),
    ]);
    rude
}

/// A transaction as far as its recipient.
fn opening() -> Vec<Step> {
    let recipient = format!("RCPT TO:<{ANN}>\r\n");
    vec![Step::Hear, say("EHLO a.example\r\n"), Step::Hear, say("MAIL FROM:<a@b.example>\r\n"), Step::Hear, say(recipient), Step::Hear]
}

fn say(octets: impl Into<Vec<u8>>) -> Step {
    Step::Say(octets.into())
}

/// The beginning of a ClientHello.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
