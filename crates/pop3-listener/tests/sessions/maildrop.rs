//! What is in the maildrop is what is read, and what was deleted is gone at QUIT, all or nothing.

use store::memory::Condition::{Ready, Unavailable};

use crate::house::{ANN, House};

const FIRST: &[u8] = b"Subject: one\r\n\r\n.dot\r\n..\r\nline 3\r\nline 4\r\n";

/// Octets of every kind and a line of 200,000; the last line not ended.
fn odd() -> Vec<u8> {
    let mut text = b"Subject: odd\r\n\r\n.\r\n".to_vec();
    text.extend((0..=255).filter(|octet| !b"\r\n".contains(octet)));
    text.extend_from_slice(b"\r\n");
    text.extend(std::iter::repeat_n(b'y', 200_000));
    text.extend_from_slice(b"\r\n.no end");
    text
}

#[tokio::test(start_paused = true)]
async fn a_maildrop_is_listed_and_read_octet_for_octet() {
    let house = House::new().await;
    let ids = [house.deliver(FIRST).await, house.deliver(odd()).await, house.deliver("").await];
    let mut client = house.connect().await;
    let octets = [FIRST.len(), odd().len() + 2, 0];
    let total: usize = octets.iter().sum();
    client.logs_in(&format!("+OK 3 messages ({total} octets)")).await;
    client.asks("STAT", &format!("+OK 3 {total}")).await;
    let listing = client.asks_for("LIST", "+OK").await;
    assert_eq!(String::from_utf8(listing).unwrap(), format!("1 {}\r\n2 {}\r\n3 0\r\n", octets[0], octets[1]));
    let unique_ids = client.asks_for("UIDL", "+OK").await;
    assert_eq!(String::from_utf8(unique_ids).unwrap(), format!("1 {}\r\n2 {}\r\n3 {}\r\n", ids[0], ids[1], ids[2]));
    assert_eq!(client.asks_for("RETR 1", &format!("+OK {} octets", octets[0])).await, FIRST);
    assert!(client.asks_for("RETR 2", &format!("+OK {} octets", octets[1])).await == [&odd()[..], b"\r\n"].concat());
    assert_eq!(client.asks_for("RETR 3", "+OK 0 octets").await, b"");
    assert_eq!(client.asks_for("TOP 1 2", "+OK").await, &FIRST[..FIRST.len() - 16]);
    assert_eq!(client.asks_for("TOP 1 0", "+OK").await, b"Subject: one\r\n\r\n");
    client.asks("RETR 4", "-ERR").await;
    client.asks("QUIT", "+OK mail.example signing off (3 messages left)").await;
    house.empties().await;
    assert_eq!((house.metric("messages_fetched_total{listener=\"pop3s\"}"), house.ended("quit")), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn commands_in_one_breath_are_answered_in_order() {
    let house = House::new().await;
    for number in 0..20 {
        house.deliver(format!("Subject: {number}\r\n\r\n{}\r\n", "x".repeat(10_000))).await;
    }
    let mut client = house.log_in().await;
    let mut breath: String = (1..=20).map(|number| format!("RETR {number}\r\nDELE {number}\r\n")).collect();
    breath += "QUIT\r\n";
    client.says(breath).await;
    for number in 0..20 {
        client.hears("+OK 10").await;
        client.hears(&format!("Subject: {number}")).await;
        for line in ["", "xxx", ".", "+OK Message"] {
            client.hears(line).await;
        }
    }
    client.hears("+OK mail.example signing off (maildrop empty)").await;
    assert!(house.store.texts(ANN).is_empty());
    assert_eq!(house.metric("messages_deleted_total{listener=\"pop3s\"}"), 20);
}

#[tokio::test(start_paused = true)]
async fn a_huge_listing_comes_whole() {
    let house = House::new().await;
    for _ in 0..20_000 {
        house.deliver("x\r\n").await;
    }
    let mut client = house.log_in().await;
    let listing = String::from_utf8(client.asks_for("LIST", "+OK 20000 messages").await).unwrap();
    assert!(listing.lines().zip(1..).all(|(line, number)| line == format!("{number} 3")) && listing.lines().count() == 20_000);
    client.asks("DELE 20000", "+OK").await;
    assert_eq!(client.asks_for("UIDL", "+OK").await.iter().filter(|octet| **octet == b'\n').count(), 19_999);
}

#[tokio::test(start_paused = true)]
async fn deletions_are_done_at_quit_and_at_no_other_end() {
    let house = House::new().await;
    house.deliver(FIRST).await;
    house.deliver("Subject: two\r\n").await;

    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    assert_eq!(client.asks_for("LIST", "+OK 1 message").await, b"2 14\r\n");
    drop(client);
    house.empties().await;
    assert_eq!(house.store.texts(ANN).len(), 2, "a client that hangs up deletes nothing");

    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    client.asks("DELE 2", "+OK").await;
    client.asks("RSET", "+OK").await;
    client.asks("DELE 2", "+OK").await;
    assert_eq!(house.store.texts(ANN).len(), 2, "not before QUIT");
    client.asks("QUIT", "+OK mail.example signing off (1 message left)").await;
    assert_eq!(house.store.texts(ANN), [FIRST]);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_fails_says_so_and_deletes_nothing() {
    let house = House::new().await;
    house.deliver(FIRST).await;
    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    house.store.set(Unavailable);
    client.asks("QUIT", "-ERR [SYS/TEMP] Some deleted messages not removed").await;
    assert_eq!(client.rest().await, "");
    house.store.set(Ready);
    assert_eq!(house.store.texts(ANN).len(), 1);
    house.empties().await;
    assert_eq!(house.ended("failed"), 1);
    house.log_in().await.asks("STAT", "+OK 1 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_message_never_looks_whole() {
    let house = House::new().await;
    let (long, short) = (house.deliver(odd()).await, house.deliver("Subject: short\r\n").await);
    house.store.damage(long);
    house.store.damage(short);
    // Nothing of it was sent: the session goes on.
    let mut client = house.log_in().await;
    client.asks("RETR 2", "-ERR [SYS/TEMP]").await;
    client.asks("NOOP", "+OK").await;
    // Part of it was: the session ends without the dot.
    client.asks("RETR 1", "+OK").await;
    client.says("NOOP\r\n").await;
    let mut rest = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client.into_stream(), &mut rest).await.unwrap();
    assert!(!rest.ends_with(b"\r\n.\r\n") && !rest.ends_with(b"+OK\r\n"));
    house.empties().await;
    assert_eq!((house.ended("failed"), house.metric("store_errors_total{kind=\"damaged\"}")), (1, 2));
    house.log_in().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_a_temporary_failure() {
    let house = House::new().await;
    house.deliver(FIRST).await;
    let mut client = house.log_in().await;
    house.store.set(Unavailable);
    client.asks("RETR 1", "-ERR [SYS/TEMP]").await;
    let mut other = house.connect().await;
    other.logs_in("-ERR [SYS/TEMP]").await;
    house.store.set(Ready);
    assert_eq!(client.asks_for("RETR 1", "+OK").await, FIRST);
}
