//! No client keeps a place by being slow (R8). Times are exact: nothing else moves the clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::house::{ANN, Client, House, MINUTE, Plan, SECOND, timed};
use net::clock;

const TIMEOUT: &str = "421 4.4.2 mx.example Timeout";

/// What was said, up to its token.
fn unsigned(said: &str) -> &str {
    said.split_once(" [R8.").unwrap_or_else(|| panic!("{said:?} has no token")).0
}

/// A client is timed out at that instant.
async fn ends_after(client: impl Future<Output = String>, time: Duration) {
    let (said, passed) = timed(client).await;
    assert_eq!((unsigned(&said), passed), (TIMEOUT, time));
}

/// Between these, both included.
fn within(time: Duration, least: Duration, most: Duration) {
    assert!((least..=most).contains(&time), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_told_so_after_five_minutes() {
    let house = House::relay().await;
    ends_after(house.connect().await.rest(), 5 * MINUTE).await;
    ends_after(house.greet().await.rest(), 5 * MINUTE).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    ends_after(client.rest(), 5 * MINUTE).await;
    house.empties().await;
    assert_eq!(house.ended("timed_out"), 3);
    let told = house.gate.explain("R8.0002").unwrap().cause;
    assert_eq!((told.key(), told.to_string()), (Some("timeouts.command"), "the client has taken longer than the 300 s it may".into()));
}

#[tokio::test(start_paused = true)]
async fn a_command_line_has_five_minutes_as_a_whole() {
    let house = House::relay().await;
    ends_after(house.greet().await.trickles(), 5 * MINUTE).await;
    house.empties().await;
}

#[tokio::test(start_paused = true)]
async fn each_command_has_its_own_five_minutes() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for _ in 0..5 {
        clock::pause(5 * MINUTE - SECOND).await;
        client.asks("NOOP", "250").await;
    }
    ends_after(client.rest(), 5 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_trickles_in_has_its_grace_and_what_it_earns() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    let (said, time) = timed(client.trickles()).await;
    assert_eq!(unsigned(&said), TIMEOUT);
    let told = house.gate.explain("R8.0000").unwrap().cause;
    assert_eq!(told.key(), Some("timeouts.data_rate_bytes"));
    within(time, MINUTE, MINUTE + SECOND);
    house.empties().await;
    assert!(house.store.texts(ANN).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stops_coming_is_waited_for_one_block() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    client.says(vec![b'x'; 1 << 20]).await;
    ends_after(client.rest(), 3 * MINUTE).await;
    house.empties().await;
    assert!(house.store.texts(ANN).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_has_two_hours_whatever_it_does() {
    let house = House::relay().await;
    let start = clock::now();
    let mut client = house.greet().await;
    while clock::now() - start < 118 * MINUTE {
        client.asks("NOOP", "250").await;
        clock::pause(4 * MINUTE).await;
    }
    assert_eq!(unsigned(&client.rest().await), "421 4.4.2 mx.example Timeout, the session has lasted too long");
    let told = house.gate.explain("R8.0000").unwrap().cause;
    assert_eq!((told.key(), told.to_string()), (Some("timeouts.session"), "the client has taken longer than the 7200 s it may".into()));
    assert_eq!(clock::now() - start, 120 * MINUTE);
    house.empties().await;
    assert_eq!(house.ended("too_long"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_given_up() {
    let house = Plan { pipe: 64, ..Plan::relay() }.build().await;
    let mut client = house.dial();
    client.write_all(b"EHLO client.example\r\n").await.unwrap();
    within(house.empties().await, 2 * MINUTE, 2 * MINUTE + net::GOODBYE + SECOND);
    assert_eq!(house.ended("timed_out"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_farewell_is_left_behind() {
    let house = House::relay().await;
    let mut client = house.dial();
    client.write_all(b"QUIT\r\n").await.unwrap();
    within(house.empties().await, Duration::ZERO, net::GOODBYE + SECOND);
    assert_eq!(house.ended("quit"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_half_a_minute() {
    let house = Plan::submission().build().await;
    let _silent = house.dial();
    within(house.empties().await, 30 * SECOND, 31 * SECOND);

    let relay = House::relay().await;
    let mut client = relay.greet().await;
    client.asks("STARTTLS", "220").await;
    let (said, time) = timed(client.rest()).await;
    assert_eq!((said.as_str(), time), ("", 30 * SECOND));
    relay.empties().await;
    assert_eq!((house.ended("handshake_failed"), relay.ended("handshake_failed")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn new_settings_are_for_new_sessions() {
    let plan = Plan::relay();
    let smtp = smtp::Settings { timing: smtp::Timing { command: 10 * SECOND, ..smtp::Timing::default() }, ..(*plan.settings.smtp).clone() };
    let settings = smtp_listener::Settings { smtp: Arc::new(smtp), ..plan.settings.clone() };
    let house = plan.build().await;
    let (before, start) = (house.connect().await, clock::now());
    house.listener.configure(settings);
    ends_after(house.connect().await.rest(), 10 * SECOND).await;
    assert_eq!((unsigned(&before.rest().await), clock::now() - start), (TIMEOUT, 5 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn those_who_only_make_noise_are_dismissed() {
    let house = House::relay().await;
    let mut client: Client = house.greet().await;
    client.says("NOOP\r\n".repeat(100)).await;
    assert!(client.rest().await.ends_with("421 4.7.0 mx.example Too many commands without a message\r\n"));
    let mut client = house.greet().await;
    client.says("WHAT\r\n".repeat(10)).await;
    assert!(client.rest().await.ends_with("421 4.7.0 mx.example Too many errors\r\n"));
    house.empties().await;
    assert_eq!(house.ended("dismissed"), 2);
}
