//! Addresses that the directory does not know, asked of a database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use recipients::{Lookup, Settings};
use rusqlite::Connection;
use smtp_listener::Submission;
use store::{Change, Directory as _, QuotaChange};

use crate::house::{ANN, BOB, House, PASSWORD, Plan, plain};

async fn asking(database: &Path) -> House {
    with(Plan::relay(), database).await
}

async fn with(mut plan: Plan, database: &Path) -> House {
    plan.settings.lookup = Some(Arc::new(Lookup::new(Settings {
        database: database.to_owned(),
        query: "SELECT account FROM virtual WHERE address = ?1".into(),
        timeout: Duration::from_secs(5),
        remember: Duration::ZERO,
        remember_unknown: Duration::ZERO,
        remembered: 10,
    })));
    plan.build().await
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
    house.store.change(Change::SetDomain { name, delimiter: None, catch_all, quota: QuotaChange::default() }).await.unwrap();
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
    house.store.change(Change::SetDomain { name, delimiter: Some("+".into()), catch_all, quota: QuotaChange::default() }).await.unwrap();
    let mut ann = house.log_in().await;
    ann.asks("MAIL FROM:<info@example.org>", "451 4.3.0").await;
    database(&path);
    let mut bob = house.connect_tls().await;
    bob.asks("EHLO client.example", "250-mx.example").await;
    bob.asks(&plain("", BOB, PASSWORD), "235 2.7.0").await;
    ann.asks("MAIL FROM:<info@example.org>", "550 5.7.1").await;
    bob.asks("MAIL FROM:<Info+shop@example.org>", "250 2.1.0").await;
}
