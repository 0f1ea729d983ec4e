//! A server that leaves: sessions finish what they are at, and nothing durable goes without its 250.

use net::{FAREWELL, Finished, clock};

use crate::house::{ANN, House, MINUTE, SECOND, timed};

const RESTARTING: &str = "421 4.3.2 mx.example Service restarting, try again shortly\r\n";
const NOBODY_CUT: Finished = Finished { cut: 0, cut_while_held: 0 };

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_told_at_the_deadline() {
    let house = House::relay().await;
    let client = house.greet().await;
    let ((said, finished), time) = timed(async { tokio::join!(client.rest(), house.drain.finish(clock::now() + MINUTE)) }).await;
    assert_eq!((unsigned(&said).as_str(), finished, time), (RESTARTING, NOBODY_CUT, MINUTE));
    assert_eq!((house.ended("drained"), house.gate.snapshot().usage.in_use), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_next_command_is_answered_with_421() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    house.drain.begin();
    client.says("MAIL FROM:<>\r\n").await;
    assert_eq!(unsigned(&client.rest().await), RESTARTING);
    house.empties().await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_finished_first() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    house.drain.begin();
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.asks("DATA", "354").await;
    client.says("Subject: last\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((unsigned(&client.rest().await).as_str(), house.store.texts(ANN).len()), (RESTARTING, 1));
    assert_eq!(timed(house.drain.finish(clock::now() + MINUTE)).await.0, NOBODY_CUT);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_outstays_the_deadline_is_told_and_leaves_nothing() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    client.says("Subject: never\r\n").await;
    let (said, finished) = tokio::join!(client.rest(), house.drain.finish(clock::now() + 10 * SECOND));
    assert_eq!((unsigned(&said).as_str(), finished), (RESTARTING, NOBODY_CUT));
    assert!(house.store.texts(ANN).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_under_way_is_waited_for_until_its_250_is_written() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    let mut hold = house.store.hold_commits().await;
    client.says("Subject: just in time\r\n.\r\n").await;
    hold.waiting(1).await;
    let late = async {
        clock::pause(10 * SECOND + FAREWELL + 5 * SECOND).await;
        drop(hold);
    };
    let (said, finished, ()) = tokio::join!(client.rest(), house.drain.finish(clock::now() + 10 * SECOND), late);
    assert!(said.starts_with("250 2.0.0 ") && unsigned(&said).ends_with(RESTARTING), "{said}");
    assert_eq!((finished.cut_while_held, house.store.texts(ANN).len()), (0, 1));
    assert_eq!(house.gate.snapshot().usage.in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_250_is_cut_in_the_end() {
    let house = crate::house::Plan { pipe: 32, ..crate::house::Plan::relay() }.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.asks("DATA", "354").await;
    client.says(".\r\n").await;
    let (finished, time) = timed(house.drain.finish(clock::now() + SECOND)).await;
    assert_eq!((finished, time), (Finished { cut: 1, cut_while_held: 1 }, SECOND + FAREWELL + net::HOLD_MOST));
    assert_eq!((house.store.texts(ANN).len(), house.ended("drained"), house.gate.snapshot().usage.in_use), (1, 1, 0));
}

/// Without the token that it must end in.
#[track_caller]
fn unsigned(said: &str) -> String {
    let (text, token) = said.rsplit_once(" [R1.").unwrap_or_else(|| panic!("{said:?} has no token"));
    assert!(token.ends_with("]\r\n"), "{said:?}");
    format!("{text}\r\n")
}
