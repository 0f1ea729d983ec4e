//! Mail from strangers, screened by what is in it.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::harness::{ANN, Dialogue, PASSWORD, Server};
use crate::screening::zone::Zone;

/// A server that goes by this table, and asks a DNS server that knows nothing.
pub(crate) fn server(screening: &str) -> (Server, Zone) {
    let zone = Zone::serve("");
    let server = Server::start(&format!("[screening]\ndns_servers = [\"{}\"]\n{screening}\n", zone.address()));
    (server, zone)
}

/// A stranger's session.
pub(crate) fn stranger(server: &Server) -> Dialogue {
    from(server, 1)
}

/// The session of a client at this address of loopback.
fn from(server: &Server, last: u8) -> Dialogue {
    let mut smtp = server.connect_from(last, "smtp");
    assert!(smtp.hear().starts_with("220 "));
    assert!(smtp.ask("EHLO mx.example.com").starts_with("250 "));
    smtp
}

/// Sends a message; the reply to its end.
pub(crate) fn send(smtp: &mut Dialogue, message: &str) -> String {
    assert_eq!(smtp.ask("MAIL FROM:<joe@example.com>"), "250 2.1.0 Sender ok");
    assert_eq!(smtp.ask(&format!("RCPT TO:<{ANN}>")), "250 2.1.5 Recipient ok");
    assert!(smtp.ask("DATA").starts_with("354 "));
    smtp.ask(&format!("{}\r\n.", message.trim_end_matches("\r\n")))
}

#[test]
fn attachments_are_refused_by_name_and_size() {
    let (server, _zone) = server(
        r#"attachments = [{ name = "*.exe", verdict = "reject" }, { name = "*.zip", larger_than = "1KiB", verdict = "discard" }, { type = "message/partial", verdict = "reject" }]
checks = [{ check = "attachments", fail = "policy" }]"#,
    );
    let mut smtp = stranger(&server);
    let with = |disposition: &str, octets: usize| {
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nHello\r\n--b\r\nContent-Disposition: attachment;\r\n {disposition}\r\n\r\n\
             {}\r\n--b--\r\n",
            "x".repeat(octets)
        )
    };
    let refused = "550 5.7.1 Refused: the message has an attachment of a kind that is not taken here";
    assert_eq!(send(&mut smtp, &with("filename=\"bill.pdf.EXE\"", 10)), refused);
    assert_eq!(send(&mut smtp, &with("filename*=utf-8''bill%2Eexe", 10)), refused);
    assert_eq!(send(&mut smtp, &with("filename=\r\n \"bill.exe\"", 10)), refused);
    assert_eq!(send(&mut smtp, "Content-Type: message/partial; id=x; number=1; total=2\r\n\r\nx\r\n"), refused);
    assert_eq!(send(&mut smtp, &"Content-Type: message/rfc822\r\n\r\n".repeat(50)), refused, "a bomb");
    assert!(send(&mut smtp, &with("filename=a.zip", 900)).starts_with("250 2.0.0 "));
    assert_eq!(server.metric("gatepost_messages_accepted_total", ""), 1);
    assert!(send(&mut smtp, &with("filename=a.zip", 2000)).starts_with("250 2.0.0 "));
    assert_eq!(server.metric("gatepost_messages_accepted_total", ""), 1, "it was thrown away");
    server.eventually("it is logged", |server| server.log().contains("attachments fail: bill.pdf.EXE of 12 octets"));
    let letter = server.path("letter.eml");
    fs::write(&letter, with("filename=a.exe", 10)).unwrap();
    let explained = server.succeed(&["explain", "--ip", "192.0.2.1", "--helo", "x", "--from", "a@b.example", letter.to_str().unwrap()]);
    assert!(explained.contains("attachments fail       reject      a.exe of 12 octets\n"), "{explained}");
}

/// A file that is declared binary has what looks like a boundary in it: for who reads lines, it would end all that is around it.
#[test]
fn a_binary_file_hides_nothing_that_comes_behind_it() {
    let (server, _zone) = server(
        r#"attachments = [{ name = "*.exe", verdict = "reject" }]
checks = [{ check = "attachments", fail = "policy" }]"#,
    );
    let mut smtp = stranger(&server);
    let with = |name: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\nContent-Type: multipart/mixed; boundary=inner\r\n\r\n--inner\r\n\
             Content-Transfer-Encoding: binary\r\n\r\n\0\n--outer\n\nx\r\n--inner\r\nContent-Disposition: attachment; filename={name}\r\n\r\n\
             x\r\n--inner--\r\n--outer--\r\n"
        )
    };
    for (name, reply) in [("a.exe", "550 5.7.1 "), ("a.txt", "250 2.0.0 ")] {
        assert!(smtp.ask("MAIL FROM:<joe@example.com> BODY=BINARYMIME").starts_with("250 "));
        assert!(smtp.ask(&format!("RCPT TO:<{ANN}>")).starts_with("250 "));
        let message = with(name);
        smtp.say(format!("BDAT {} LAST\r\n{message}", message.len()));
        let said = smtp.hear();
        assert!(said.starts_with(reply), "{name}: {said}");
    }
}

/// Ann's session on submission, logged in.
fn person(server: &Server, service: &str) -> Dialogue {
    let mut smtp = if service == "submissions" { server.connect_tls(service) } else { server.connect(service) };
    assert!(smtp.hear().starts_with("220 "));
    if service == "submission" {
        assert!(smtp.ask("EHLO laptop").starts_with("250 "));
        assert!(smtp.ask("STARTTLS").starts_with("220 "));
        smtp = smtp.start_tls(&server.certificate());
    }
    assert!(smtp.ask("EHLO laptop").starts_with("250 "));
    let plain = BASE64_STANDARD.encode(format!("\0{ANN}\0{PASSWORD}"));
    assert!(smtp.ask(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
    smtp
}

#[test]
fn what_people_submit_is_screened_where_a_check_says_so() {
    let (server, _zone) = server(
        r#"attachments = [{ name = "*.exe", verdict = "reject" }]
checks = [{ check = "attachments", fail = "policy", listeners = ["submissions"] }, { check = "helo", fail = "reject" }]"#,
    );
    let exe = "Content-Type: application/x; name=a.exe\r\n\r\nx\r\n";
    for (service, reply) in [("submissions", "550 5.7.1 "), ("submission", "250 2.0.0 ")] {
        let mut smtp = person(&server, service);
        assert!(smtp.ask(&format!("MAIL FROM:<{ANN}>")).starts_with("250 "), "{service}: nobody asks for the name");
        assert!(smtp.ask(&format!("RCPT TO:<{ANN}>")).starts_with("250 "));
        assert!(smtp.ask("DATA").starts_with("354 "));
        assert!(smtp.ask(&format!("{exe}.")).starts_with(reply), "{service}");
    }
    let mut smtp = stranger(&server);
    assert!(smtp.ask("MAIL FROM:<joe@example.com>").starts_with("550 5.7.1 "), "a stranger's name is asked for");
}

#[test]
fn who_talks_before_its_greeting_is_refused_and_who_waits_is_not() {
    let (server, _zone) = server("early_wait = \"100ms\"\nearly_places = 1\nchecks = [{ check = \"early\", fail = \"reject\" }]");
    let letter = "Subject: x\r\n\r\nx\r\n";
    assert!(send(&mut from(&server, 2), letter).starts_with("250 2.0.0 "));
    // Long enough for whoever talks at once.
    server.edit("early_wait = \"100ms\"", "early_wait = \"30s\"");
    server.succeed(&["reload"]);
    let mut shouts = server.connect_from(3, "smtp");
    shouts.say("EHLO mx.example.com\r\n");
    assert!(shouts.hear().starts_with("220 "));
    assert!(shouts.reply().last().unwrap().starts_with("250 "));
    assert_eq!(shouts.ask("MAIL FROM:<joe@example.com>"), "550 5.5.1 Refused: you have talked before you were greeted");
    let mut waits = server.connect_from(4, "smtp");
    server.eventually("its greeting is held back", |server| server.succeed(&["sessions"]).contains("tarpit"));
    for known_or_further in [2, 5] {
        assert!(send(&mut from(&server, known_or_further), letter).starts_with("250 2.0.0 "), "who is known, and who finds no place");
    }
    waits.say("NOOP\r\n");
    assert!(waits.hear().starts_with("220 "));
    for (outcome, count) in [("pass", 1), ("fail", 1), ("none", 2)] {
        assert_eq!(server.metric("gatepost_screening_checks_total", &format!("check=\"early\",outcome=\"{outcome}\"")), count);
    }
}
