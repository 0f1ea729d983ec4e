//! Addresses that the directory does not know, asked of a database, and of the server behind.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mail::ForwardPath;
use recipients::{CallForward, Database, Lookup, Protocol, Remembering, Settings};
use rusqlite::Connection;
use smtp_listener::{Inquiry, Submission};
use store::{Change, Directory as _, QuotaChange};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::house::{ANN, BOB, House, NAME, PASSWORD, Plan, plain};

async fn asking(database: &Path) -> House {
    with(Plan::relay(), database).await
}

async fn with(mut plan: Plan, database: &Path) -> House {
    plan.settings.lookup = Some(Arc::new(Lookup::new(settings(Some(asked(database)), None))));
    plan.build().await
}

fn asked(database: &Path) -> Database {
    Database { path: database.to_owned(), query: "SELECT account FROM virtual WHERE address = ?1".into(), timeout: Duration::from_secs(5) }
}

fn settings(database: Option<Database>, call_forward: Option<CallForward>) -> Settings {
    let remembering = Remembering { found: Duration::ZERO, unknown: Duration::ZERO, addresses: 10 };
    Settings { database, call_forward, remembering }
}

fn database(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE virtual (address TEXT, account TEXT);
             INSERT INTO virtual VALUES ('info@example.org', 'bob@example.org'), ('ann@example.org', 'bob@example.org'),
                 ('old@example.org', 'gone@example.org'), ('info@elsewhere.example', 'ann@example.org');",
        )
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_unknown_here_may_be_known_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.sqlite");
    database(&path);
    let house = asking(&path).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    for (recipient, reply) in [
        ("Info+shop@EXAMPLE.org", "250 2.1.5"),
        ("nobody@example.org", "550 5.1.1"),
        ("old@example.org", "451 4.3.0"),
        ("info@elsewhere.example", "550 5.7.1"),
    ] {
        client.asks(&format!("RCPT TO:<{recipient}>"), reply).await;
    }
    client.asks("DATA", "354 ").await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (0, 1));

    // The catch-all comes last, and the directory's own accounts first.
    let (name, catch_all) = ("example.org".parse().unwrap(), Some(ANN.to_owned()));
    house
        .store
        .change(Change::SetDomain { name, postmaster: None, delimiter: None, catch_all, quota: QuotaChange::default() })
        .await
        .unwrap();
    for (recipient, anns, bobs) in [("info@example.org", 0, 2), ("nobody@example.org", 1, 2), ("ann@example.org", 2, 2)] {
        client.begins(&[recipient]).await;
        client.says("\r\n.\r\n").await;
        client.hears("250 2.0.0").await;
        assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (anns, bobs), "{recipient}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_nobody_is_refused_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let house = asking(&dir.path().join("not-there.sqlite")).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<info@example.org>", "451 4.3.0").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    database(&dir.path().join("not-there.sqlite"));
    client.asks("RCPT TO:<info@example.org>", "250 2.1.5").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_is_its_owners_by_that_database_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.sqlite");
    let mut plan = Plan::submission();
    plan.settings.submission = Submission { own_senders: true, ..Submission::default() };
    let house = with(plan, &path).await;
    let (name, catch_all) = ("example.org".parse().unwrap(), Some(ANN.to_owned()));
    house
        .store
        .change(Change::SetDomain { name, postmaster: None, delimiter: Some("+".into()), catch_all, quota: QuotaChange::default() })
        .await
        .unwrap();
    let mut ann = house.log_in().await;
    ann.asks("MAIL FROM:<info@example.org>", "451 4.3.0").await;
    database(&path);
    let mut bob = house.connect_tls().await;
    bob.asks("EHLO client.example", "250-mx.example").await;
    bob.asks(&plain("", BOB, PASSWORD), "235 2.7.0").await;
    ann.asks("MAIL FROM:<info@example.org>", "550 5.7.1").await;
    bob.asks("MAIL FROM:<Info+shop@example.org>", "250 2.1.0").await;
}

/// A server behind that speaks LMTP, and knows `known` alone; and what it was asked with RCPT.
async fn behind(known: &'static [&'static str], otherwise: &'static str) -> (String, Arc<Mutex<Vec<String>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (server, asked, mut tasks) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<String>>>::default(), JoinSet::new());
    let heard = Arc::clone(&asked);
    tasks.spawn(async move {
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let (mut reply, mut line) = ("220 behind.example\r\n", String::new());
            while stream.write_all(reply.as_bytes()).await.is_ok() {
                line.clear();
                if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                    break;
                }
                reply = "250 ok\r\n";
                if let Some(address) = line.trim_end().strip_prefix("RCPT TO:") {
                    heard.lock().unwrap().push(address.to_owned());
                    reply = if known.contains(&address) { "250 2.1.5 ok\r\n" } else { otherwise };
                }
            }
        }
    });
    (server, asked, tasks)
}

fn call_forward(server: &str) -> CallForward {
    let host = "mx.example".parse().unwrap();
    CallForward { server: server.into(), protocol: Protocol::Lmtp, host, timeout: Duration::from_secs(60) }
}

async fn with_catch_all(house: &House) {
    let (name, catch_all) = ("example.org".parse().unwrap(), Some(ANN.to_owned()));
    house
        .store
        .change(Change::SetDomain { name, postmaster: None, delimiter: None, catch_all, quota: QuotaChange::default() })
        .await
        .unwrap();
}

// Time is not paused: the sockets' own passes.
#[tokio::test]
async fn a_catch_all_has_what_the_server_behind_knows() {
    let (server, asked, _tasks) = behind(&["<bob2@example.org>"], "550 5.1.1 nobody\r\n").await;
    let mut plan = Plan::relay();
    plan.settings.lookup = Some(Arc::new(Lookup::new(settings(None, Some(call_forward(&server))))));
    let house = plan.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob2@example.org>", "550 5.1.1").await;
    assert!(asked.lock().unwrap().is_empty(), "without a catch-all nobody is asked");
    with_catch_all(&house).await;
    for (recipient, reply, asked_now) in [
        ("BOB2@example.org", "250 2.1.5", &["<bob2@example.org>"][..]),
        ("bob2+shop@example.org", "250 2.1.5", &["<bob2+shop@example.org>", "<bob2@example.org>"]),
        ("nobody@example.org", "550 5.1.1 No such mailbox here", &["<nobody@example.org>"]),
        // Whom the directory knows, and what is not ours.
        ("bob@example.org", "250 2.1.5", &[]),
        ("postmaster@example.org", "250 2.1.5", &[]),
        ("bob2@elsewhere.example", "550 5.7.1", &[]),
    ] {
        asked.lock().unwrap().clear();
        client.asks(&format!("RCPT TO:<{recipient}>"), reply).await;
        assert_eq!(*asked.lock().unwrap(), asked_now, "{recipient}");
    }
    client.asks("DATA", "354 ").await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
}

#[tokio::test]
async fn a_server_behind_that_does_not_tell_refuses_nobody_for_good() {
    let (server, _, _tasks) = behind(&[], "554 5.7.1 Relay access denied\r\n").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for server in [server, gone] {
        let mut plan = Plan::relay();
        plan.settings.lookup = Some(Arc::new(Lookup::new(settings(None, Some(call_forward(&server))))));
        let house = plan.build().await;
        with_catch_all(&house).await;
        let mut client = house.greet().await;
        client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
        client.asks("RCPT TO:<nobody@example.org>", "451 4.3.0").await;
        client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
        assert_eq!(house.metric("store_errors_total{kind=\"failed\"}"), 1);
    }
}

#[tokio::test]
async fn who_was_asked_and_what_was_said_is_explained() {
    let (server, _, _tasks) = behind(&["<old@example.org>"], "550 5.1.1 nobody\r\n").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("people.sqlite");
    database(&path);
    let house = House::relay().await;
    with_catch_all(&house).await;
    let lookup = Lookup::new(settings(Some(asked(&path)), Some(call_forward(&server))));
    let host = NAME.parse().unwrap();
    for (recipient, steps, reply) in [
        ("info@example.org", "[Some(\"recipients.query\")] the database has info@example.org for bob@example.org", 250),
        ("old@example.org", "[Some(\"recipients.query\")] the database has old@example.org for gone@example.org", 451),
        ("old+x@example.org", "[Some(\"recipients.query\")] the database knows of nobody with old+x@example.org", 451),
        ("nobody@example.org", &format!("[Some(\"recipients.call_forward\")] {server} does not know nobody@example.org"), 550),
        ("nobody@example.org", "[None] nobody has nobody@example.org: ann@example.org is the catch-all of example.org", 550),
        ("nobody@example.org", "[None] no such account or alias, and the server of recipients.call_forward does not know the address", 550),
        ("all@example.org", "[None] taken for bob@example.org, ann@example.org", 250),
        ("postmaster@mx.example", "[None] mx.example is this host, whose postmaster is the one of no domain", 250),
        ("Postmaster@mx.example", "[None] taken for ann@example.org", 250),
        ("x@elsewhere.example", "[None] elsewhere.example is no domain of ours (gatepost domain list)", 550),
    ] {
        let path = ForwardPath::parse(&format!("<{recipient}>")).unwrap();
        let inquiry =
            Inquiry { directory: &house.store, lookup: Some(&lookup), recipient: &path, host: &host, may_relay: false, octets: 0 };
        let explained = inquiry.explain().await.unwrap();
        let found: Vec<_> = explained.steps.iter().map(|step| format!("[{:?}] {}", step.key, step.found)).collect();
        assert!(found.iter().any(|found| found == steps), "{recipient}: {found:?}");
        assert_eq!(explained.reply.code(), reply, "{recipient}: {found:?}");
    }
}
