//! A server that leaves: nobody is told that messages are gone which are not, or the other way round.

use net::{Finished, clock};

use crate::house::{ANN, House, MINUTE, Plan, SECOND, plain, timed};

const RESTARTING: &str = "-ERR [SYS/TEMP] mail.example Service restarting, try again shortly\r\n";
const NOBODY_CUT: Finished = Finished { cut: 0, cut_while_held: 0 };

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_told_at_the_deadline_and_nothing_is_deleted() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    let ((said, finished), time) = timed(async { tokio::join!(client.rest(), house.drain.finish(clock::now() + MINUTE)) }).await;
    assert_eq!((unsigned(&said).as_str(), finished, time), (RESTARTING, NOBODY_CUT, MINUTE));
    assert_eq!((house.ended("drained"), house.gate.snapshot().usage.in_use, house.store.texts(ANN).len()), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_the_operators_tells_the_idle_at_its_deadline_unless_it_is_undone() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    house.gate.drain_for_operator(clock::now() + MINUTE);
    clock::pause(30 * SECOND).await;
    assert!(house.gate.undo_drain());
    clock::pause(MINUTE).await;
    assert_eq!(house.gate.look_at_drain(clock::now()), None);
    client.asks("NOOP", "+OK").await;

    house.gate.drain_for_operator(clock::now() + MINUTE);
    let (said, time) = timed(async {
        tokio::join!(client.rest(), async {
            clock::pause(MINUTE).await;
            assert_eq!(house.gate.look_at_drain(clock::now()), Some(1));
        })
        .0
    })
    .await;
    assert_eq!((unsigned(&said).as_str(), time), (RESTARTING, MINUTE));
    house.empties().await;
    assert_eq!((house.ended("drained"), house.store.texts(ANN).len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_next_command_is_refused_but_quit_is_obeyed() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    let mut other = house.connect().await;
    house.drain.begin();
    other.says("CAPA\r\n").await;
    assert_eq!(unsigned(&other.rest().await), RESTARTING);
    client.asks("QUIT", "+OK mail.example signing off (maildrop empty)").await;
    assert!(house.store.texts(ANN).is_empty());
    assert_eq!(house.drain.finish(clock::now() + MINUTE).await, NOBODY_CUT);
}

#[tokio::test(start_paused = true)]
async fn a_message_under_way_arrives_whole() {
    let house = Plan { pipe: 4096, ..Plan::new() }.build().await;
    house.deliver(vec![b'x'; 1 << 20]).await;
    let mut client = house.log_in().await;
    let fetch = async {
        assert_eq!(client.asks_for("RETR 1", "+OK").await.len(), (1 << 20) + 2);
        client.rest().await
    };
    let leave = async {
        tokio::task::yield_now().await;
        house.drain.finish(clock::now() + MINUTE).await
    };
    let ((said, finished), time) = timed(async { tokio::join!(fetch, leave) }).await;
    assert_eq!((unsigned(&said).as_str(), finished), (RESTARTING, NOBODY_CUT));
    assert!(time < SECOND, "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let house = Plan { pipe: 4096, ..Plan::new() }.build().await;
    house.deliver(vec![b'x'; 1 << 20]).await;
    let mut client = house.log_in().await;
    client.says("RETR 1\r\nDELE 1\r\nQUIT\r\n").await;
    clock::pause(SECOND).await;
    let (finished, time) = timed(house.drain.finish(clock::now() + MINUTE)).await;
    assert_eq!((finished, time), (Finished { cut: 1, cut_while_held: 0 }, MINUTE + net::FAREWELL));
    assert_eq!((house.ended("drained"), house.store.texts(ANN).len(), house.gate.snapshot().usage.in_use), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_drain_does_not_wait_for_those_who_guess() {
    let mut plan = Plan::new();
    (plan.auth.first_delay, plan.auth.longest_delay) = (mail::Span::mins(1), mail::Span::mins(1));
    let house = plan.build().await;
    let mut client = house.connect().await;
    client.says(plain("", ANN, "wrong") + "\r\n").await;
    let leave = async {
        clock::pause(5 * SECOND).await;
        house.drain.begin();
    };
    let ((line, ()), time) = timed(async { tokio::join!(client.line(), leave) }).await;
    assert!(line.starts_with("-ERR [AUTH]") && time == 5 * SECOND, "{line} after {time:?}");
    assert_eq!(unsigned(&client.rest().await), RESTARTING);
}

/// Without the token that it must end in.
#[track_caller]
fn unsigned(said: &str) -> String {
    let (text, token) = said.rsplit_once(" [R1.").unwrap_or_else(|| panic!("{said:?} has no token"));
    assert!(token.ends_with("]\r\n"), "{said:?}");
    format!("{text}\r\n")
}
