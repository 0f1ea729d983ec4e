//! A store that does not do what it is asked: temporary replies, nothing acknowledged, nothing left behind.

use store::memory::Condition::{Full, Ready, Unavailable};
use tokio::io::AsyncReadExt;

use crate::house::{ANN, Client, House};

const FULL: &str = "452 4.3.1";
const AWAY: &str = "451 4.3.0";

async fn delivers(client: &mut Client) {
    client.begins(&["ann@example.org"]).await;
    client.says("Subject: whole\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
}

#[tokio::test(start_paused = true)]
async fn at_mail_the_client_is_told_before_it_sends_anything_large() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for (condition, reply) in [(Full, FULL), (Unavailable, AWAY)] {
        house.store.set(condition);
        // What is pipelined behind it is no fault of the client's.
        client.says("MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<ann@example.org>\r\nDATA\r\n").await;
        client.hears(reply).await;
        client.hears("503 5.5.1").await;
        client.hears("503 5.5.1").await;
        house.store.set(Ready);
        delivers(&mut client).await;
    }
    assert_eq!(house.store.texts(ANN).len(), 2);
    let told = house.gate.explain("R6.0000").unwrap();
    assert_eq!((told.cause.key(), told.source.to_string()), (Some("store.reserve_free"), "127.0.0.1".into()));
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"4xx\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_cannot_be_looked_up_is_not_refused_for_good() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
    house.store.set(Unavailable);
    client.asks("RCPT TO:<ann@example.org>", AWAY).await;
    client.asks("RCPT TO:<nobody@example.org>", AWAY).await;
    house.store.set(Ready);
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_the_transaction_is_over_and_the_session_goes_on() {
    for (condition, reply) in [(Full, FULL), (Unavailable, AWAY)] {
        let house = House::relay().await;
        let mut client = house.greet().await;

        // Begin.
        client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
        client.asks("RCPT TO:<ann@example.org>", "250").await;
        house.store.set(condition);
        client.asks("DATA", reply).await;
        house.store.set(Ready);
        delivers(&mut client).await;

        // Write: the rest of the message is read, then the reply comes.
        client.begins(&["ann@example.org"]).await;
        house.store.set(condition);
        client.says("Subject: half\r\n\r\nRCPT TO:<ann@example.org>\r\n").await;
        client.says("DATA\r\n.\r\n").await;
        client.hears(reply).await;
        house.store.set(Ready);
        client.asks("DATA", "503 5.5.1").await;
        delivers(&mut client).await;

        // Commit.
        client.begins(&["ann@example.org"]).await;
        let mut hold = house.store.hold_commits().await;
        client.says("Subject: nearly\r\n.\r\n").await;
        hold.waiting(1).await;
        house.store.set(condition);
        drop(hold);
        client.hears(reply).await;
        house.store.set(Ready);
        delivers(&mut client).await;

        assert_eq!(house.store.texts(ANN).len(), 3);
        client.asks("QUIT", "221").await;
        house.empties().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_not_kept_is_refused_behind_its_octets() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.says("BDAT 4\r\nSubj").await;
    client.hears("250 2.0.0").await;
    house.store.set(Full);
    client.says("BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n").await;
    client.hears(FULL).await;
    client.hears("503 5.5.1").await;
    house.store.set(Ready);
    delivers(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn the_250_is_not_said_before_the_commit_is_done() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    let mut hold = house.store.hold_commits().await;
    client.says("Subject: patience\r\n.\r\n").await;
    hold.waiting(1).await;
    assert_eq!(house.store.texts(ANN).len(), 0);

    let mut stream = client.into_stream();
    let mut said = [0; 4];
    // However long it takes: that time is ours, not the client's.
    let hour = net::now() + 60 * crate::house::MINUTE;
    assert!(net::clock::within(hour, stream.read_exact(&mut said)).await.is_none(), "said {said:?}");
    drop(hold);
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!((&said, house.store.texts(ANN).len()), (b"250 ", 1));
}
