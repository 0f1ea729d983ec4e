//! Messages as real programs write them, sent by real programs and fetched by real programs, compared octet by octet.
//!
//! Each test sends every message of `tests/messages` one way, and fetches them in four. The fields we put before a message are
//! checked and taken off; what is left is what was sent. A message that a program alters before it sends it is named beside the
//! program, with the reason: nothing is left out in silence.

mod fetch;
mod letter;
mod send;

use std::fs;

use crate::harness::{ANN, BOB, PASSWORD, Server};
use crate::programs::{program, script, succeed};
use fetch::Fetched;
use letter::{Letter, Traced};
use send::CAROL;

/// The messages are other people's, and not every one has a header.
const AS_WRITTEN: &str = "[submission]\nown_senders = false\ncomplete_header = false\n";

#[test]
fn curl_in_clear() {
    carried(ESMTP, &[], |server, letters| letters.iter().for_each(|letter| send::curl(server, letter)));
}

#[test]
fn curl_with_starttls_and_a_password() {
    carried(ESMTPSA, &[], |server, letters| letters.iter().for_each(|letter| send::curl_submitting(server, letter)));
}

#[test]
fn swaks_with_starttls_and_plain() {
    let altered = [
        ("curl-8bit", "takes the dot that is the last line for the end it would add"),
        ("dots-everywhere", "takes the dot that is the last line for the end it would add"),
        ("empty", "has no message to send"),
        ("headers-only", "adds a body"),
        ("no-header", "adds a header's end"),
        ("one-line", "takes it for a header"),
    ];
    carried(ESMTPSA, &altered, |server, letters| letters.iter().for_each(|letter| send::swaks_plain(server, letter)));
}

#[test]
fn swaks_with_starttls_and_login_and_the_text_as_it_is() {
    let altered = [("empty", "has no message to send")];
    carried(ESMTPSA, &altered, |server, letters| letters.iter().for_each(|letter| send::swaks_login(server, letter)));
}

#[test]
fn msmtp_with_starttls() {
    carried(ESMTPSA, &[], |server, letters| letters.iter().for_each(|letter| send::msmtp(server, letter, "submission")));
}

#[test]
fn msmtp_with_tls_from_the_first_octet() {
    carried(ESMTPSA, &[], |server, letters| letters.iter().for_each(|letter| send::msmtp(server, letter, "submissions")));
}

#[test]
fn smtplib_with_starttls() {
    let altered = [("empty", "ends every message with CRLF")];
    carried(ESMTPSA, &altered, |server, letters| send::smtplib(server, letters, "submission"));
}

#[test]
fn smtplib_with_tls_from_the_first_octet() {
    let altered = [("empty", "ends every message with CRLF")];
    carried(ESMTPSA, &altered, |server, letters| send::smtplib(server, letters, "submissions"));
}

/// No program at hand speaks BDAT, which alone carries a message without a CRLF at its end.
#[test]
fn chunks_by_hand() {
    carried(ESMTP, &[], |server, letters| letters.iter().for_each(|letter| send::bdat(server, letter)));
}

#[test]
fn the_largest_message() {
    let server = Server::start(AS_WRITTEN);
    let largest = Letter::largest(server.path("largest.eml"));
    assert_eq!(largest.octets.len(), 25 << 20);
    send::curl(&server, &largest);
    send::smtplib(&server, std::slice::from_ref(&largest), "submissions");
    let fetched = fetched_alike(&server);
    assert_eq!(fetched.len(), 2);
    for fetched in &fetched {
        assert!(Traced::take_off(&fetched.octets).message == largest.octets, "it was altered");
    }

    // One octet more, announced by SIZE, is not even sent.
    let larger = Letter::new(server.path("larger.eml"), [b"x", &largest.octets[..]].concat());
    let refused = send::curl_command(&server, &larger).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("552"), "{said}");
}

/// Mutt writes the header itself: what it was given is the body.
#[test]
fn mutt_submits() {
    let server = Server::start("");
    let text = String::from_utf8(Letter::named("mutt-dots").octets).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    fs::write(server.path("body"), body.replace("\r\n", "\n")).unwrap();
    let muttrc = format!(
        "set smtp_url=\"smtp://{}@localhost:{}\" smtp_pass=\"{PASSWORD}\" smtp_authenticators=plain from={BOB} copy=no\n\
         set ssl_starttls=yes ssl_force_tls=yes certificate_file={} hostname=client.example record=\"\" folder={}\n",
        BOB.replace('@', "%40"),
        server.port("submission"),
        server.certificate().display(),
        server.path("").display(),
    );
    fs::write(server.path("muttrc"), muttrc).unwrap();
    let mut mutt = program("mutt");
    mutt.args(["-n", "-F"]).arg(server.path("muttrc")).args(["-s", "From mutt", "--", ANN]);
    succeed(mutt.stdin(fs::File::open(server.path("body")).unwrap()));
    let fetched = fetched_alike(&server);
    let message = Traced::take_off(&fetched[0].octets).message;
    let (header, arrived) = str::from_utf8(message).unwrap().split_once("\r\n\r\n").unwrap();
    assert!(header.contains("\r\nSubject: From mutt\r\n"), "{header}");
    assert_eq!(arrived, body);
}

#[test]
fn a_short_header_is_completed_and_somebody_elses_name_refused() {
    let server = Server::start("");
    let letter = |name: &str, text: &str| {
        let (file, octets) = (server.path(name), text.as_bytes().to_vec());
        fs::write(&file, &octets).unwrap();
        Letter { name: name.into(), file, octets }
    };
    send::curl_submitting(&server, &letter("short", "Subject: short\r\nBcc: carol@elsewhere.example\r\n\r\nHello\r\n"));
    let refused = send::curl_as_bob(&server, &letter("forged", &format!("From: Ann <{ANN}>\r\n\r\n"))).arg("-v").output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("< 550 5.7.1 The From field must name addresses of yours alone"), "{said}");

    let fetched = fetched_alike(&server);
    assert_eq!(fetched.len(), 1);
    let text = str::from_utf8(&fetched[0].octets).unwrap();
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    for field in
        ["\r\nDate: ", &format!("\r\nFrom: <{BOB}>\r\n"), &format!("\r\nMessage-ID: <{}@mail.example.org>\r\n", fetched[0].unique_id)]
    {
        assert_eq!(header.matches(field).count(), 1, "{field:?} in {header}");
    }
    assert!(!header.contains("Bcc") && header.ends_with("\r\nSubject: short") && body == "Hello\r\n", "{text}");
}

/// Python's own libraries ask for a report, and read it.
#[test]
fn a_sender_who_asks_has_a_report() {
    let server = Server::start("");
    let mut python = script("clients/report.py");
    python.args([server.port("submission"), server.port("pop3s")]).arg(server.certificate());
    succeed(python.args([BOB, PASSWORD, ANN]));
    assert_eq!(server.maildrop(ANN).len(), 1);
    assert_eq!(server.metric("gatepost_delivery_reports_total", "outcome=\"given\""), 1);
}

/// A file of any octets in a message that is declared binary (RFC 3030), which Python's own libraries fetch and decode.
#[test]
fn a_binary_file_arrives_as_it_was_sent() {
    let server = Server::start("");
    let mut python = script("clients/binary.py");
    python.args([server.port("smtp"), server.port("submission"), server.port("pop3s")]).arg(server.certificate());
    succeed(python.args([BOB, ANN, PASSWORD]));
    assert_eq!(server.maildrop(ANN).len(), 2);
}

/// LMTP by Python's own library.
#[test]
fn smtplib_delivers_by_lmtp() {
    let mut server = Server::prepare("");
    server.edit("[listen]\n", "[listen]\nlmtp = [\"127.0.0.1:0\"]\n");
    server.run();
    let letter = Letter::named("python-multipart");
    let mut python = script("clients/lmtp.py");
    python.args([server.port("lmtp").as_str(), CAROL]).arg(&letter.file);
    let codes = succeed(python.args([ANN, "nobody@example.org", BOB]));
    assert_eq!(codes.trim(), "250 550 250");
    assert_eq!(server.maildrop(BOB).len(), 1);
    let fetched = fetched_alike(&server);
    let text = fetched[0].octets.escape_ascii().to_string();
    assert!(fetched.len() == 1 && text.contains(" with LMTP id "), "{text}");
    assert!(text.ends_with(&letter.fetched().escape_ascii().to_string()), "{text}");
}

/// Sends every message but those the program alters, and holds what is fetched to what was sent.
fn carried(protocol: &str, altered: &[(&str, &str)], send: impl Fn(&Server, &[Letter])) {
    let server = Server::start(AS_WRITTEN);
    let mut letters = Letter::all();
    let before = letters.len();
    letters.retain(|letter| !altered.iter().any(|(name, _why)| *name == letter.name));
    assert_eq!(letters.len(), before - altered.len(), "one of {altered:?} is no message of ours");
    send(&server, &letters);

    let fetched = fetched_alike(&server);
    assert_eq!(fetched.len(), letters.len());
    let sender = if protocol == ESMTPSA { BOB } else { CAROL };
    for (letter, Fetched { unique_id, octets }) in letters.iter().zip(&fetched) {
        let traced = Traced::take_off(octets);
        assert_eq!(traced.message.escape_ascii().to_string(), letter.fetched().escape_ascii().to_string(), "{}", letter.name);
        assert_eq!(traced.reverse_path, format!("<{sender}>"), "{}", letter.name);
        assert_eq!((traced.protocol.as_str(), &traced.id), (protocol, unique_id), "{}", letter.name);
        assert_eq!(traced.cipher.is_some(), protocol == ESMTPSA, "{}", letter.name);
        assert_eq!(traced.recipient, format!("<{ANN}>"), "{}", letter.name);
    }
}

/// Ann's messages, fetched by every program, which must agree.
fn fetched_alike(server: &Server) -> Vec<Fetched> {
    let fetched = fetch::poplib(server);
    let octets: Vec<&[u8]> = fetched.iter().map(|fetched| &fetched.octets[..]).collect();
    for (how, other) in [
        ("curl, TLS", fetch::curl(server, "pop3s", fetched.len())),
        ("curl, STLS", fetch::curl(server, "pop3", fetched.len())),
        ("mpop, STLS", fetch::mpop(server)),
    ] {
        assert_eq!(other.len(), octets.len(), "{how}");
        let differing = octets.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(differing, None, "{how}: the first message that differs from what poplib fetched");
    }
    fetched
}

/// As in the Received field (RFC 3848).
const ESMTP: &str = "ESMTP";
const ESMTPSA: &str = "ESMTPSA";
