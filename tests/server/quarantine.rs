//! Mail that is accepted and held: what its sender hears, what curl sees of it by POP3, and what an operator does about it.

use serde_json::Value;

use crate::content::{server, stranger};
use crate::harness::{ANN, BOB, Dialogue, PASSWORD, Server};
use crate::programs::{program, succeed};

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

/// What curl fetches: a message by its number, or the listing.
fn curl(server: &Server, user: &str, path: &str) -> String {
    let mut curl = program("curl");
    curl.args(["-sS", "--ssl-reqd", "--cacert"]).arg(server.certificate()).args(["--user", &format!("{user}:{PASSWORD}")]);
    succeed(curl.arg(format!("pop3s://localhost:{}/{path}", server.port("pop3s"))))
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

    // Killed, and started again: nothing is listed that was held, and nothing is lost.
    server.kill();
    server.run();
    assert_eq!((held(&server, &[]), listed(&server, ANN)), (shown, 2));
    server.succeed(&["quarantine", "release", &id, "--user", ANN]);
    assert_eq!((listed(&server, ANN), listed(&server, BOB)), (3, 2));
    let seen = curl(&server, ANN, "2");
    assert!(seen.contains("X-Gatepost-Screening: quarantine; attachments=fail\r\n") && seen.contains("Subject: held\r\n"), "{seen}");
    assert!(server.log().contains("quarantine changed"));

    // The other's share is removed while nobody serves.
    server.stop();
    server.succeed(&["quarantine", "remove", &id]);
    assert_eq!(held(&server, &[]), [Value::Null; 0]);
    server.run();
    assert_eq!((listed(&server, ANN), listed(&server, BOB), messages(&server, BOB)), (3, 2, 2));
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
