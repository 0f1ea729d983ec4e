//! Mail that is accepted and held, by a check or for its sender: what its sender hears, what curl sees of it by POP3, and what an operator does about it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::content::{server, stranger};
use crate::harness::{ANN, BOB, Dialogue, PASSWORD, Server};
use crate::programs::program;

const RULES: &str = r#"attachments = [{ name = "*.exe", verdict = "quarantine" }]
checks = [{ check = "attachments", fail = "policy" }]"#;

/// Sends a message to ann and bob; the reply to its end.
fn send(smtp: &mut Dialogue, subject: &str, file: &str) -> String {
    assert_eq!(smtp.ask("MAIL FROM:<joe@example.com>"), "250 2.1.0 Sender ok");
    for recipient in [ANN, BOB] {
        assert_eq!(smtp.ask(&format!("RCPT TO:<{recipient}>")), "250 2.1.5 Recipient ok");
    }
    assert!(smtp.ask("DATA").starts_with("354 "));
    smtp.ask(&format!("Subject: {subject}\r\nContent-Disposition: attachment; filename={file}\r\n\r\nx\r\n."))
}

/// What curl fetches: a message by its number, or the listing. Tried again while the session before it still has the maildrop.
fn curl(server: &Server, user: &str, path: &str) -> String {
    let mut fetched = None;
    server.eventually("curl fetches", |server| {
        let mut curl = program("curl");
        curl.args(["-sS", "--ssl-reqd", "--cacert"]).arg(server.certificate()).args(["--user", &format!("{user}:{PASSWORD}")]);
        let output = curl.arg(format!("pop3s://localhost:{}/{path}", server.port("pop3s"))).output().unwrap();
        fetched = output.status.success().then(|| String::from_utf8(output.stdout).unwrap());
        fetched.is_some()
    });
    fetched.unwrap()
}

fn listed(server: &Server, user: &str) -> usize {
    curl(server, user, "").lines().count()
}

fn held(server: &Server, more: &[&str]) -> Vec<Value> {
    let list = server.succeed(&[&["quarantine", "list", "--json"], more].concat());
    serde_json::from_str(&list).unwrap()
}

fn messages(server: &Server, user: &str) -> u64 {
    let users: Value = serde_json::from_str(&server.succeed(&["user", "list", "--json"])).unwrap();
    users.as_array().unwrap().iter().find(|listed| listed["name"] == user).unwrap()["messages"].as_u64().unwrap()
}

#[test]
fn what_is_quarantined_is_accepted_and_seen_when_it_is_released() {
    let (mut server, _zone) = server(RULES);
    let mut smtp = stranger(&server);
    assert!(send(&mut smtp, "first", "a.txt").starts_with("250 2.0.0 "));
    let reply = send(&mut smtp, "held", "a.exe");
    assert!(reply.starts_with("250 2.0.0 ") && reply.ends_with(" accepted"), "its sender does not see it: {reply}");
    assert!(send(&mut smtp, "last", "b.txt").starts_with("250 2.0.0 "));
    drop(smtp);
    assert_eq!((listed(&server, ANN), listed(&server, BOB)), (2, 2));
    assert_eq!(messages(&server, ANN), 3, "it counts towards the quota");
    assert!(curl(&server, ANN, "2").contains("Subject: last\r\n"), "numbers go on without it");

    let shown = held(&server, &[]);
    assert_eq!(shown.len(), 2);
    let id = shown[0]["id"].as_str().unwrap().to_owned();
    assert!(reply.contains(&id), "the id is the one its sender was told");
    assert_eq!((&shown[0]["sender"], &shown[0]["user"], &shown[1]["user"]), (&"joe@example.com".into(), &ANN.into(), &BOB.into()));
    assert!(shown[0]["reason"].as_str().unwrap().starts_with("attachments fail: "), "{shown:?}");
    let table = server.succeed(&["quarantine", "list", "--user", "BOB@example.org"]);
    assert!(table.contains("<joe@example.com>") && table.ends_with("\n1 message\n"), "{table}");

    let text = server.succeed(&["quarantine", "show", &id]);
    assert!(
        text.starts_with("Return-Path: <joe@example.com>\r\n") && text.contains("\r\nSubject: held\r\n") && text.ends_with("\r\nx\r\n"),
        "{text}"
    );
    let listed_one = server.command(&["quarantine", "show", "01ARZ3NDEKTSV4RRFFQ69G5FAV"]);
    assert!(String::from_utf8_lossy(&listed_one.stderr).contains("no message 01ARZ3NDEKTSV4RRFFQ69G5FAV is held: "), "{listed_one:?}");

    // Killed, and started again: nothing is listed that was held, and nothing is lost.
    server.kill();
    server.run();
    assert_eq!((held(&server, &[]), listed(&server, ANN)), (shown, 2));
    server.succeed(&["quarantine", "release", &id, "--user", ANN]);
    assert_eq!((listed(&server, ANN), listed(&server, BOB)), (3, 2));
    let seen = curl(&server, ANN, "2");
    assert!(seen.contains("X-Gatepost-Screening: quarantine; attachments=fail\r\n") && seen.contains("Subject: held\r\n"), "{seen}");
    server.eventually("it is logged", |server| server.log().contains("quarantine changed"));

    // The other's share is removed while nobody serves.
    server.stop();
    assert_eq!(server.succeed(&["quarantine", "show", &id]), text);
    server.succeed(&["quarantine", "remove", &id]);
    assert_eq!(held(&server, &[]), [Value::Null; 0]);
    server.run();
    assert_eq!((listed(&server, ANN), listed(&server, BOB), messages(&server, BOB)), (3, 2, 2));
}

#[test]
fn what_nobody_decides_about_is_deleted_when_its_time_is_over() {
    let (server, _zone) = server(&format!("{RULES}\nquarantine_keep = \"0s\""));
    let mut smtp = stranger(&server);
    assert!(send(&mut smtp, "held", "a.exe").starts_with("250 2.0.0 "));
    assert!(send(&mut smtp, "listed", "a.txt").starts_with("250 2.0.0 "));
    server.eventually("the status tells", |server| server.succeed(&["status"]).contains("\nheld      2 in quarantine, "));
    assert_eq!(held(&server, &[]).len(), 2);
    server.edit("quarantine_keep = \"0s\"", "quarantine_keep = \"1ms\"");
    server.succeed(&["reload"]);
    server.eventually("they go", |server| held(server, &[]).is_empty());
    server.eventually("the status tells", |server| !server.succeed(&["status"]).contains("\nheld "));
    assert_eq!((messages(&server, ANN), listed(&server, ANN)), (1, 1));
    server.eventually("it is logged", |server| server.log().contains("quarantine expired"));
}

#[test]
fn what_is_not_held_is_not_decided_about() {
    let (server, _zone) = server(RULES);
    let reply = send(&mut stranger(&server), "x", "a.txt");
    let id = reply.split(' ').nth(2).unwrap();
    for (arguments, why) in [
        (["quarantine", "remove", id], format!("no message {id} is held: `gatepost quarantine list` shows what is")),
        (["quarantine", "release", "x"], "\"x\" is no message's id: `gatepost quarantine list` shows them".to_owned()),
    ] {
        let refused = server.command(&arguments);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(&why), "{refused:?}");
    }
    assert_eq!(listed(&server, ANN), 1);
    assert!(server.succeed(&["quarantine", "list"]).ends_with("\n0 messages\n"));
}

/// A session in which ann has logged in.
fn submitting(server: &Server) -> Dialogue {
    let mut smtp = server.connect_tls("submissions");
    smtp.hear();
    smtp.ask("EHLO client.example");
    let plain = BASE64_STANDARD.encode(format!("\0{ANN}\0{PASSWORD}"));
    assert!(smtp.ask(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
    smtp
}

#[test]
fn what_its_sender_wants_held_is_seen_when_its_time_has_come() {
    let mut server = Server::start("[submission]\nlongest_hold = \"1d\"\n");
    for (parameter, subject) in [("HOLDFOR=3", "soon"), ("HOLDFOR=86400", "tomorrow")] {
        let mut smtp = submitting(&server);
        assert_eq!(smtp.ask(&format!("MAIL FROM:<{ANN}> {parameter}")), "250 2.1.0 Sender ok");
        assert!(smtp.ask(&format!("RCPT TO:<{BOB}>")).starts_with("250 "));
        assert!(smtp.ask("DATA").starts_with("354 "));
        assert!(smtp.ask(&format!("Subject: {subject}\r\n\r\nx\r\n.")).starts_with("250 "));
    }
    assert_eq!(messages(&server, BOB), 2, "both are there");
    let shown = held(&server, &["--user", BOB]);
    assert!(shown.last().unwrap()["until"].is_string(), "{shown:?}");
    server.kill();
    server.run();
    server.eventually("its time has come", |server| listed(server, BOB) == 1);
    assert!(curl(&server, BOB, "1").contains("Subject: soon\r\n"));
    let [tomorrow] = &held(&server, &[])[..] else { panic!("one is held") };
    server.succeed(&["quarantine", "release", tomorrow["id"].as_str().unwrap()]);
    assert_eq!(listed(&server, BOB), 2);
    let smtp = &mut submitting(&server);
    assert!(smtp.ask(&format!("MAIL FROM:<{ANN}> HOLDFOR=86401")).starts_with("501 5.5.4 "));
}
