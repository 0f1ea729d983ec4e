//! A drain of the operator's: the server stays, its sessions go, the idle ones at a deadline.

use net::clock;

use crate::house::{ANN, Client, House, MINUTE, SECOND};

const RESTARTING: &str = "421 4.3.2 mx.example Service restarting, try again shortly\r\n";

#[tokio::test(start_paused = true)]
async fn it_ends_sessions_at_their_next_command_and_can_be_undone() {
    let house = House::relay().await;
    let (mut quiet, mut busy) = (house.greet().await, house.greet().await);
    assert!(house.gate.drain_for_operator(clock::now() + MINUTE));
    busy.says("NOOP\r\n").await;
    assert_eq!(unsigned(&busy.rest().await), RESTARTING);
    assert!(house.gate.undo_drain());
    clock::pause(2 * MINUTE).await;
    assert_eq!(house.gate.look_at_drain(clock::now()), None, "undone, it has no deadline");
    quiet.asks("NOOP", "250").await;
    house.greet().await.asks("QUIT", "221").await;
}

#[tokio::test(start_paused = true)]
async fn who_stays_idle_is_told_at_the_deadline_and_who_sends_a_message_finishes_it() {
    let house = House::relay().await;
    let (unknown, idle, mut sending) = (house.connect().await, house.greet().await, house.greet().await);
    sending.begins(&[ANN]).await;
    let mut refused = house.greet().await;
    refused.says("BDAT 10\r\n").await;
    clock::pause(SECOND).await;
    assert!(house.gate.drain_for_operator(clock::now() + 10 * SECOND));
    clock::pause(9 * SECOND).await;
    assert_eq!((house.gate.look_at_drain(clock::now()), house.drain.sessions()), (None, 4));
    clock::pause(SECOND).await;
    assert_eq!(house.gate.look_at_drain(clock::now()), Some(4));
    let told = clock::now();
    assert_eq!((unsigned(&unknown.rest().await), unsigned(&idle.rest().await)), (RESTARTING.to_owned(), RESTARTING.to_owned()));
    assert_eq!(clock::now(), told);
    clock::pause(SECOND).await;
    assert_eq!((house.ended("drained"), house.drain.sessions()), (2, 2));

    sending.says("Subject: in its own time\r\n.\r\n").await;
    sending.hears("250 2.0.0").await;
    assert_eq!((unsigned(&sending.rest().await).as_str(), house.store.texts(ANN).len()), (RESTARTING, 1));
    refused.says("0123456789").await;
    refused.hears("503").await;
    assert_eq!(unsigned(&refused.rest().await), RESTARTING);
    house.empties().await;
}

/// Undone while one is still in its message, behind a line of it: nobody is sent away any more.
#[tokio::test(start_paused = true)]
async fn undone_behind_the_deadline_it_lets_those_who_are_there_stay() {
    let house = House::relay().await;
    let mut sending: Client = house.greet().await;
    sending.begins(&[ANN]).await;
    house.gate.drain_for_operator(clock::now());
    assert_eq!(house.gate.look_at_drain(clock::now()), Some(1));
    // The session sees the drain, and then that it is over.
    sending.says("Subject: in between\r\n").await;
    clock::pause(SECOND).await;
    assert!(house.gate.undo_drain());
    sending.says(".\r\n").await;
    sending.hears("250 2.0.0").await;
    clock::pause(MINUTE).await;
    sending.asks("NOOP", "250").await;
}

/// The server's own drain is none that an operator undoes.
#[tokio::test(start_paused = true)]
async fn undone_it_leaves_the_drain_at_the_end_as_it_is() {
    let house = House::relay().await;
    let mut sending = house.greet().await;
    sending.begins(&[ANN]).await;
    house.gate.drain_for_operator(clock::now());
    house.drain.begin();
    sending.says("Subject: the last one\r\n").await;
    clock::pause(SECOND).await;
    assert!(house.gate.undo_drain());
    sending.says(".\r\n").await;
    sending.hears("250 2.0.0").await;
    assert_eq!(unsigned(&sending.rest().await), RESTARTING);
}

/// Without the token that it must end in.
#[track_caller]
fn unsigned(said: &str) -> String {
    let (text, token) = said.rsplit_once(" [R1.").unwrap_or_else(|| panic!("{said:?} has no token"));
    assert!(token.ends_with("]\r\n"), "{said:?}");
    format!("{text}\r\n")
}
