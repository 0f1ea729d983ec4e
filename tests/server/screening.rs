//! Mail from strangers, screened: with a DNS server of its own, clients that a proxy names, and what is in the mailbox afterwards.

#[path = "../../crates/screening/tests/zone/mod.rs"]
pub(crate) mod zone;

use std::fs;

use crate::harness::{ANN, Dialogue, PASSWORD, Server};
use zone::Zone;

/// The message of RFC 8463, appendix A.3.
const SIGNED: &str = include_str!("../../crates/screening/tests/rfc8463.eml");

const ZONE: &str = "
    brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    test._domainkey.football.example.com TXT v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
    _dmarc.football.example.com TXT v=DMARC1; p=reject
    football.example.com TXT v=spf1 ip4:192.0.2.1 -all
    mx.football.example.com A 192.0.2.1
    1.2.0.192.in-addr.arpa PTR mx.football.example.com
    2.2.0.192.in-addr.arpa PTR dial.up.example
    soft.example TXT v=spf1 ~all
    _dmarc.soft.example TXT v=DMARC1; p=quarantine
    broken.example SERVFAIL
";

/// A server that goes by these rules, and lets a proxy on loopback say who its client is.
fn server(zone: &Zone, checks: &str) -> Server {
    Server::start(&settings(zone, checks))
}

fn settings(zone: &Zone, checks: &str) -> String {
    let dns = zone.address();
    format!(
        "[proxy]\ntrusted_proxies = [\"127.0.0.9\"]\n[screening]\ndns_servers = [\"{dns}\"]\ndns_timeout = \"500ms\"\nchecks = [{checks}]\n"
    )
}

/// A client from this address that has said EHLO.
fn client(server: &Server, ip: &str, helo: &str) -> Dialogue {
    let mut smtp = server.connect_from(9, "smtp");
    smtp.say(format!("PROXY TCP4 {ip} 192.0.2.250 40000 25\r\n"));
    assert!(smtp.hear().starts_with("220 "));
    assert!(smtp.ask(&format!("EHLO {helo}")).starts_with("250 "));
    smtp
}

/// Sends a message; the reply to its end.
fn send(smtp: &mut Dialogue, from: &str, message: &str) -> String {
    assert_eq!(smtp.ask(&format!("MAIL FROM:<{from}>")), "250 2.1.0 Sender ok");
    assert_eq!(smtp.ask(&format!("RCPT TO:<{ANN}>")), "250 2.1.5 Recipient ok");
    assert!(smtp.ask("DATA").starts_with("354 "));
    smtp.ask(&format!("{}\r\n.", message.trim_end_matches("\r\n")))
}

/// The messages in ann's mailbox, oldest first.
pub(crate) fn mailbox(server: &Server) -> Vec<String> {
    let mut pop3 = server.connect_tls("pop3s");
    pop3.hear();
    for line in [format!("USER {ANN}"), format!("PASS {PASSWORD}")] {
        assert!(pop3.ask(&line).starts_with("+OK"));
    }
    let status = pop3.ask("STAT");
    let count: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    (1..=count)
        .map(|number| {
            assert!(pop3.ask(&format!("RETR {number}")).starts_with("+OK"));
            let lines = std::iter::from_fn(|| Some(pop3.hear()).filter(|line| line != "."));
            lines.map(|line| format!("{line}\r\n")).collect()
        })
        .collect()
}

#[test]
fn what_is_found_stands_before_the_message_and_the_message_is_untouched() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "iprev" }, { check = "helo" }, { check = "spf" }, { check = "dkim" }, { check = "dmarc" }"#);
    let mut smtp = client(&server, "192.0.2.1", "mx.football.example.com");
    assert!(send(&mut smtp, "joe@football.example.com", SIGNED).starts_with("250 2.0.0 "));
    let stored = mailbox(&server).remove(0);
    let (fields, body) = stored.split_at(stored.find("DKIM-Signature").unwrap());
    assert_eq!(body, SIGNED, "octet for octet");
    let begin =
        "Return-Path: <joe@football.example.com>\r\nAuthentication-Results: mail.example.org;\r\n\tiprev=pass policy.iprev=192.0.2.1;";
    assert!(fields.starts_with(begin), "{fields}");
    assert!(fields.contains("\r\nReceived: from mx.football.example.com ([192.0.2.1])"), "{fields}");
    for word in
        ["spf=pass", "smtp.mailfrom=joe@football.example.com", "dkim=pass header.i=", "dmarc=pass", "header.from=football.example.com"]
    {
        assert!(fields.contains(word), "{word}: {fields}");
    }
    assert!(!fields.contains("X-Gatepost-Screening"), "nothing is wrong with it");
    assert_eq!(server.metric("gatepost_messages_screened_total", "verdict=\"accept\""), 1);
    assert_eq!(server.metric("gatepost_screening_checks_total", "outcome=\"pass\""), 5);
}

#[test]
fn by_default_a_message_is_as_it_came_and_nobody_is_asked() {
    let server = Server::start("");
    let mut smtp = server.connect("smtp");
    smtp.hear();
    smtp.ask("EHLO mx.example.com");
    let message = "Authentication-Results: mail.example.org; spf=pass\r\nSubject: x\r\n\r\nx\r\n";
    assert!(send(&mut smtp, "joe@football.example.com", message).starts_with("250 2.0.0 "));
    let stored = mailbox(&server).remove(0);
    assert!(stored.ends_with(message) && stored.matches("Authentication-Results").count() == 1, "{stored}");
}

#[test]
fn nobody_else_writes_results_in_our_name() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "spf" }"#);
    let mut smtp = client(&server, "192.0.2.9", "mx.example.com");
    let others = "Authentication-Results: mx.elsewhere.example; spf=pass\r\n";
    let message = format!(
        "X-First: 1\r\nauthentication-results : (x) MAIL.example.org;\r\n\tspf=pass\r\n\tsmtp.mailfrom=bank.example\r\n{others}X-Gatepost-Screening: \
         accept\r\nSubject: x\r\n\r\nAuthentication-Results: mail.example.org; in the body\r\n"
    );
    assert!(send(&mut smtp, "a@soft.example", &message).starts_with("250 2.0.0 "));
    let stored = mailbox(&server).remove(0);
    let own = stored.find("Authentication-Results: mail.example.org;").unwrap();
    let rest = &stored[stored.find("X-First: 1").unwrap()..];
    assert!(own < stored.find("X-First: 1").unwrap() && stored.contains("spf=softfail"), "{stored}");
    assert_eq!(rest, format!("X-First: 1\r\n{others}Subject: x\r\n\r\nAuthentication-Results: mail.example.org; in the body\r\n"));
}

#[test]
fn a_first_line_that_goes_on_adds_nothing_to_our_results() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "spf", fail = "tag" }"#);
    let mut smtp = client(&server, "192.0.2.9", "mx.example.com");
    assert!(
        send(&mut smtp, "a@soft.example", "\t; dmarc=pass header.from=bank.example\r\nSubject: x\r\n\r\nx\r\n").starts_with("250 2.0.0 ")
    );
    let stored = mailbox(&server).remove(0);
    let (before, _) = stored.split_once("\t; dmarc=pass").unwrap();
    let last = before.lines().rfind(|line| !line.starts_with('\t')).unwrap();
    assert!(last.starts_with("Received: ") && before.contains("X-Gatepost-Screening: tag; spf=softfail\r\n"), "{stored}");
}

#[test]
fn what_is_forged_is_refused_and_the_sender_is_told_why() {
    let zone = Zone::serve(ZONE);
    let server =
        server(&zone, r#"{ check = "iprev", fail = "tag" }, { check = "spf", fail = "tag" }, { check = "dmarc", fail = "policy" }"#);
    let mut smtp = client(&server, "192.0.2.2", "dial.up.example");
    let changed = SIGNED.replace("We lost the game", "We won the game");
    let reply = send(&mut smtp, "joe@football.example.com", &changed);
    assert_eq!(reply, "550 5.7.26 Refused: football.example.com, the domain in From, does not stand behind the message (DMARC)");
    // The session goes on, and the genuine one is taken by its signature, though it comes another way.
    assert!(send(&mut smtp, "joe@football.example.com", SIGNED).starts_with("250 2.0.0 "));
    assert!(send(&mut smtp, "a@soft.example", "From: a@soft.example\r\n\r\nx\r\n").starts_with("250 2.0.0 "));
    assert_eq!(mailbox(&server).len(), 1, "what is quarantined is held");
    let held: serde_json::Value = serde_json::from_str(&server.succeed(&["quarantine", "list", "--json"])).unwrap();
    server.succeed(&["quarantine", "release", held[0]["id"].as_str().unwrap()]);
    let stored = mailbox(&server);
    assert_eq!(stored.len(), 2);
    assert!(stored[0].contains("X-Gatepost-Screening: tag; iprev=fail spf=fail\r\n"), "{}", stored[0]);
    assert!(stored[1].contains("X-Gatepost-Screening: quarantine; iprev=fail spf=softfail dmarc=fail\r\n"), "{}", stored[1]);
    assert_eq!(server.metric("gatepost_messages_screened_total", "verdict=\"reject\""), 1);
    server.eventually("it is logged", |server| server.log().contains("football.example.com does not stand behind it"));
}

#[test]
fn what_the_envelope_tells_is_answered_at_mail() {
    let zone = Zone::serve(ZONE);
    let server = server(
        &zone,
        r#"{ check = "iprev", fail = "reject" }, { check = "helo", fail = "defer" }, { check = "spf", fail = "reject", unsure = "defer" }"#,
    );
    let mut smtp = client(&server, "192.0.2.3", "mx.football.example.com");
    assert_eq!(smtp.ask("MAIL FROM:<a@b.example>"), "550 5.7.25 Refused: your address has no name in DNS that leads back to it");
    let mut smtp = client(&server, "192.0.2.1", "localhost");
    assert_eq!(smtp.ask("MAIL FROM:<a@b.example>"), "451 4.7.1 The message did not pass a check, try again later");
    let mut smtp = client(&server, "192.0.2.1", "mx.football.example.com");
    let unsure = "451 4.7.0 Whether the message is what it says cannot be told now, try again later";
    assert_eq!(smtp.ask("MAIL FROM:<a@broken.example>"), unsure);
    assert_eq!(smtp.ask("MAIL FROM:<joe@football.example.com>"), "250 2.1.0 Sender ok", "the next may be another's");
    // Bounces are asked about by the client's name.
    assert_eq!(smtp.ask("RSET"), "250 2.0.0 Reset");
    assert_eq!(smtp.ask("MAIL FROM:<>"), "250 2.1.0 Sender ok");
}

#[test]
fn who_is_on_enough_lists_is_refused_and_a_list_that_blocks_us_refuses_nobody() {
    let zone = Zone::serve(
        "2.0.0.127.bad.list A 127.0.0.2\n7.2.0.192.bad.list A 127.0.0.4\n7.2.0.192.blocks.list A 127.255.255.254\n8.2.0.192.blocks.list A 127.255.255.254",
    );
    let lists = "dns_lists = [{ zone = \"bad.list\", name = \"The Bad List\" }, { zone = \"blocks.list\" }]\n";
    let server = Server::start(&format!("{}{lists}", settings(&zone, r#"{ check = "lists", fail = "reject" }"#)));
    let mut smtp = client(&server, "192.0.2.7", "mx.example.com");
    assert_eq!(
        smtp.ask("MAIL FROM:<a@b.example>"),
        "550 5.7.1 Refused: 192.0.2.7 is on a list of those who send unwanted mail: The Bad List"
    );
    server.edit(", name = \"The Bad List\"", "");
    server.succeed(&["reload"]);
    let mut smtp = client(&server, "192.0.2.7", "mx.example.com");
    let reply = smtp.ask("MAIL FROM:<a@b.example>");
    assert_eq!(reply, "550 5.7.1 Refused: 192.0.2.7 is on a list of those who send unwanted mail", "a zone is not told");
    let mut smtp = client(&server, "192.0.2.8", "mx.example.com");
    assert_eq!(smtp.ask("MAIL FROM:<a@b.example>"), "250 2.1.0 Sender ok");
    assert_eq!(server.metric("gatepost_messages_screened_total", "verdict=\"reject\""), 2);
    let explained = server.succeed(&["explain", "--ip", "192.0.2.8", "--helo", "mx.example.com", "--from", "a@b.example"]);
    assert!(explained.contains("lists  temperror  accept      192.0.2.8 has 0 of 1: blocks.list is not believed"), "{explained}");
    assert!(explained.contains("A      8.2.0.192.blocks.list\n       127.255.255.254\n"), "{explained}");
}

#[test]
fn who_is_new_comes_back_and_is_known_when_mail_was_delivered() {
    let zone = Zone::serve("");
    let greylist = "greylist_delay = \"1ms\"\n";
    let server = Server::start(&format!("{}{greylist}", settings(&zone, r#"{ check = "greylist", fail = "defer" }"#)));
    let mut smtp = client(&server, "192.0.2.7", "mx.example.com");
    assert_eq!(smtp.ask("MAIL FROM:<a@b.example>"), "451 4.7.1 You are new here, please try again in a few minutes");
    server.eventually("it may come back", |_| smtp.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
    smtp.ask("RSET");
    assert!(send(&mut smtp, "a@b.example", "Subject: x\r\n\r\nx\r\n").starts_with("250 2.0.0 "));
    assert_eq!(smtp.ask("MAIL FROM:<a@another.example>"), "250 2.1.0 Sender ok", "the gate knows it now");
    let mut stranger = client(&server, "192.0.2.8", "mx.example.com");
    assert!(stranger.ask("MAIL FROM:<a@another.example>").starts_with("451 4.7.1 You are new here"));
}

#[test]
fn what_is_discarded_is_nowhere_and_its_sender_does_not_know() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "dkim", fail = "discard" }"#);
    let mut smtp = client(&server, "192.0.2.1", "mx.football.example.com");
    let reply = send(&mut smtp, "joe@football.example.com", &SIGNED.replace("hungry", "angry"));
    assert!(reply.starts_with("250 2.0.0 ") && reply.ends_with(" accepted"), "{reply}");
    assert_eq!(mailbox(&server), Vec::<String>::new());
    assert_eq!(server.metric("gatepost_messages_screened_total", "verdict=\"discard\""), 1);
    assert_eq!(server.metric("gatepost_messages_accepted_total", ""), 0);
    // By the id that its sender was told.
    let id = reply.split(' ').nth(2).unwrap();
    server.eventually("it is in the log", |server| server.log().contains("message discarded"));
    let log = server.log();
    for event in ["message screened", "message discarded"] {
        let line = log.lines().find(|line| line.contains(event)).unwrap_or_else(|| panic!("{event}: {log}"));
        for word in [id, "ann@example.org", "joe@football.example.com", "mx.football.example.com", "dkim fail: "] {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

#[test]
fn what_is_refused_says_for_whom_it_was_and_what_cannot_be_asked_why() {
    let zone = Zone::serve(ZONE);
    let server = Server::start(&format!(
        "{}rspamd = \"http://127.0.0.1:9\"\n",
        settings(&zone, r#"{ check = "rspamd", fail = "policy" }, { check = "dkim", fail = "reject" }"#)
    ));
    let mut smtp = client(&server, "192.0.2.1", "mx.football.example.com");
    assert!(send(&mut smtp, "joe@football.example.com", SIGNED).starts_with("250 2.0.0 "));
    assert!(send(&mut smtp, "joe@football.example.com", &SIGNED.replace("hungry", "angry")).starts_with("550 5.7.20 "));
    server.eventually("it is in the log", |server| server.log().contains("message refused"));
    let log = server.log();
    let line = |event: &str| log.lines().find(|line| line.contains(event)).unwrap_or_else(|| panic!("{event}: {log}"));
    let refused = line("message refused");
    for word in ["ann@example.org", "mx.football.example.com", "id=", "dkim fail: "] {
        assert!(refused.contains(word), "{word}: {refused}");
    }
    let screened = line("message screened");
    assert!(screened.contains("WARN") && screened.contains("rspamd temperror: rspamd: "), "{screened}");
    assert!(line("message accepted").contains("source=192.0.2.1"), "{log}");
}

#[test]
fn who_is_known_is_not_asked_and_forges_nothing_either() {
    let zone = Zone::serve(ZONE);
    let relay = "[relay]\nnetworks = [\"192.0.2.77\"]\n";
    let server = Server::start(&format!("{relay}{}", settings(&zone, r#"{ check = "iprev", fail = "reject" }"#)));
    let mut smtp = client(&server, "192.0.2.77", "printer");
    let message = "Authentication-Results: mail.example.org; spf=pass\r\nSubject: x\r\n\r\nx\r\n";
    assert!(send(&mut smtp, "printer@example.org", message).starts_with("250 2.0.0 "));
    let stored = mailbox(&server).remove(0);
    assert!(!stored.contains("Authentication-Results") && stored.ends_with("Subject: x\r\n\r\nx\r\n"), "{stored}");
    assert_eq!(zone.asked(), Vec::<String>::new());
}

#[test]
fn a_reload_changes_what_is_asked() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "helo" }"#);
    let mut before = client(&server, "192.0.2.1", "localhost");
    server.edit(r#"{ check = "helo" }"#, r#"{ check = "helo", fail = "reject" }"#);
    let said = server.succeed(&["reload"]);
    assert!(said.contains("screening.checks"), "{said}");
    let mut after = client(&server, "192.0.2.1", "localhost");
    assert!(after.ask("MAIL FROM:<a@b.example>").starts_with("550 5.7.1 "));
    assert!(before.ask("MAIL FROM:<a@b.example>").starts_with("250 "), "a session goes by what it began with");
    server.edit(r#"fail = "reject""#, r#"fail = "policy""#);
    let refused = server.command(&["reload"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("knows no policy"), "{refused:?}");
}

#[test]
fn everything_is_explained_without_doing_it() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "iprev", fail = "tag" }, { check = "dmarc", fail = "policy" }"#);
    let letter = server.path("letter.eml");
    fs::write(&letter, SIGNED.replace("We lost", "We won").replace("\r\n", "\n")).unwrap();
    let explain = |ip: &str, file: &str| {
        let from = "joe@football.example.com";
        server.succeed(&[
            "explain",
            "--ip",
            ip,
            "--helo",
            "mx.football.example.com",
            "--from",
            from,
            "--to",
            ANN,
            "--to",
            "x@example.org",
            file,
        ])
    };
    let forged = explain("192.0.2.2", letter.to_str().unwrap());
    for line in [
        "RCPT TO    <ann@example.org>: 250 2.1.5 Recipient ok\n           ann@example.org is an account\n           taken for ann@example.org\n",
        "RCPT TO    <x@example.org>: 550 5.1.1 No such mailbox here\n           nobody has x@example.org, and example.org has no catch-all\n",
        "iprev  fail       tag         dial.up.example does not lead back to 192.0.2.2\n",
        "dmarc  fail       reject      football.example.com does not stand behind it, and asks for rejection\n",
        "by { check = \"dmarc\", fail = \"policy\", unsure = \"accept\", timeout = \"10s\" } (",
        "TXT    _dmarc.football.example.com\n       v=DMARC1; p=reject\n",
        "A      dial.up.example\n       (there is no such name)\n",
        "REPLY  to the message: 550 5.7.26 Refused: football.example.com, the domain in From, does not stand behind the message (DMARC)\n",
    ] {
        assert!(forged.contains(line), "{line:?} is not in\n{forged}");
    }
    assert!(forged.contains(&format!("{}:", server.config().display())));
    fs::write(&letter, SIGNED).unwrap();
    let genuine = explain("192.0.2.1", letter.to_str().unwrap());
    assert!(genuine.contains("REPLY  to the message: 250 (accept)") && genuine.contains("FIELDS\nAuthentication-Results: "), "{genuine}");
    assert_eq!(server.metric("gatepost_messages_screened_total", ""), 0);
}

#[test]
fn what_was_not_asked_is_named_wherever_it_stands_in_the_list() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "dkim" }, { check = "iprev" }, { check = "arc" }, { check = "helo" }"#);
    let explained = server.succeed(&["explain", "--ip", "192.0.2.1", "--helo", "mx.football.example.com", "--from", "a@b.example"]);
    let left: Vec<_> = explained.lines().filter_map(|line| line.trim().strip_prefix("not asked: { check = ")).collect();
    assert!(left.len() == 2 && left[0].starts_with("\"dkim\"") && left[1].starts_with("\"arc\""), "{explained}");
}

#[test]
fn what_is_refused_whatever_is_thought_of_it_is_explained_as_the_session_answers_it() {
    let zone = Zone::serve(ZONE);
    let server = server(&zone, r#"{ check = "dkim", fail = "reject" }"#);
    let letter = server.path("letter.eml");
    let explain = |message: &str| {
        fs::write(&letter, message).unwrap();
        let file = letter.to_str().unwrap();
        server.succeed(&[
            "explain",
            "--ip",
            "192.0.2.1",
            "--helo",
            "[192.0.2.1]",
            "--from",
            "<a@b.example>",
            "--to",
            "<ann@example.org>",
            file,
        ])
    };
    let mut smtp = client(&server, "192.0.2.1", "mx.example.com");
    for message in [
        format!("{}\r\nx\r\n", "Received: from a by b\r\n".repeat(120)),
        "Subject: x\r\n\r\na bare\rCR\r\n".into(),
        "Subject: x\r\n\r\na bare\nLF\r\n".into(),
        format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(26 << 20 >> 3)),
    ] {
        let said = send(&mut smtp, "a@b.example", &message);
        let explained = explain(&message);
        assert!(
            said.starts_with("55") && explained.contains(&format!("\nREPLY  to the message: {said}\n")),
            "{said} is not in\n{explained}"
        );
        assert!(explained.contains("RCPT TO    <ann@example.org>: 250 "), "{explained}");
    }
    let of_a_file = explain("Subject: x\n\nlines of a file\n");
    assert!(of_a_file.contains("dkim   none ") && of_a_file.contains("REPLY  to the message: 250 (accept)"), "{of_a_file}");
    let refused = server.command(&["explain", "--ip", "192.0.2.1", "--helo", "a b", "--from", ""]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("EHLO is answered 501 5.5.4 "), "{said}");
}
