//! No client keeps a place by being slow. Times are exact: nothing else moves the clock.

use std::time::Duration;

use net::clock;
use tokio::io::AsyncWriteExt;

use crate::house::{ANN, Client, House, MINUTE, Plan, SECOND, timed};

/// Between these, both included.
fn within(time: Duration, least: Duration, most: Duration) {
    assert!((least..=most).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_log_in_has_two_minutes() {
    let house = House::new().await;
    assert_eq!(timed(house.connect().await.rest()).await, (String::new(), 2 * MINUTE));
    assert_eq!(timed(house.connect().await.trickles()).await, (String::new(), 2 * MINUTE));
    house.empties().await;
    assert_eq!(house.ended("timed_out"), 2);
}

#[tokio::test(start_paused = true)]
async fn autologout_comes_after_ten_minutes_without_a_word_and_deletes_nothing() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    clock::pause(9 * MINUTE).await;
    client.asks("DELE 1", "+OK").await;
    assert_eq!(timed(client.rest()).await, (String::new(), 10 * MINUTE));
    assert_eq!(timed(house.log_in().await.trickles()).await, (String::new(), 10 * MINUTE));
    house.empties().await;
    assert_eq!((house.store.texts(ANN).len(), house.ended("timed_out")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_session_has_eight_hours_whatever_it_does() {
    let house = House::new().await;
    let start = clock::now();
    let mut client = house.log_in().await;
    while clock::now() - start < 8 * 60 * MINUTE - 9 * MINUTE {
        client.asks("NOOP", "+OK").await;
        clock::pause(9 * MINUTE).await;
    }
    client.says("NOOP\r\n").await;
    assert_eq!(client.rest().await, "+OK\r\n");
    assert_eq!(clock::now() - start, 8 * 60 * MINUTE);
    house.empties().await;
    assert_eq!(house.ended("too_long"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let house = Plan { pipe: 4096, ..Plan::new() }.build().await;
    house.deliver(vec![b'x'; 1 << 20]).await;
    let mut client = house.log_in().await;
    client.says("RETR 1\r\n").await;
    within(house.empties().await, 2 * MINUTE, 2 * MINUTE + net::GOODBYE + SECOND);
    assert_eq!(house.ended("timed_out"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_half_a_minute() {
    let house = House::new().await;
    let mut client = house.dial(&house.listener);
    client.write_all(b"\x16").await.unwrap();
    within(house.empties().await, 30 * SECOND, 31 * SECOND);
    assert_eq!(house.ended("handshake_failed"), 1);

    let mut client = Client::new(house.dial(&house.other));
    client.hears("+OK").await;
    client.asks("STLS", "+OK").await;
    assert_eq!(timed(client.rest()).await, (String::new(), 30 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn new_settings_are_for_new_sessions() {
    let plan = Plan::new();
    let later = Plan::with(|pop3| pop3.timing.login = 10 * SECOND).settings;
    let house = plan.build().await;
    let (before, start) = (house.connect().await, clock::now());
    house.listener.configure(later);
    assert_eq!(timed(house.connect().await.rest()).await.1, 10 * SECOND);
    before.rest().await;
    assert_eq!(clock::now() - start, 2 * MINUTE);
}
