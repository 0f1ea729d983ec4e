//! One session at a time has a maildrop; a dead one loses it to the next.

use tokio::io::AsyncReadExt;

use crate::house::{ANN, GRACE, House, Plan, SECOND, timed};
use net::clock;

const TAKEN_OVER: &str = "-ERR [SYS/TEMP] A newer session has taken over this maildrop\r\n";

#[tokio::test(start_paused = true)]
async fn a_maildrop_in_use_is_refused_at_once_after_a_right_password_only() {
    let house = House::new().await;
    let mut holder = house.log_in().await;
    let mut second = house.connect().await;
    let ((), time) = timed(second.logs_in("-ERR [IN-USE]")).await;
    assert_eq!(time, std::time::Duration::ZERO);
    second.asks("USER ann@example.org", "+OK").await;
    second.asks("PASS wrong", "-ERR [AUTH]").await;
    holder.asks("QUIT", "+OK").await;
    second.logs_in("+OK").await;
}

#[tokio::test(start_paused = true)]
async fn a_maildrop_is_free_when_the_goodbye_is_read() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    for (delete, left) in [(false, 1), (true, 0)] {
        let mut client = house.log_in().await;
        if delete {
            client.asks("DELE 1", "+OK").await;
        }
        let mut next = house.connect().await;
        client.asks("QUIT", "+OK").await;
        // The old connection is still open at this end.
        next.logs_in(&format!("+OK {left} message")).await;
        next.asks("QUIT", "+OK").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_maildrop_is_free_while_the_goodbye_waits_for_a_client_that_does_not_read() {
    let house = Plan { pipe: 16, ..Plan::new() }.build().await;
    let mut client = house.log_in().await;
    let mut next = house.connect().await;
    client.says("QUIT\r\n").await;
    clock::pause(SECOND).await;
    assert_eq!(house.drain.sessions(), 2, "the old one has not gone yet");
    next.logs_in("+OK").await;
    client.hears("+OK mail.example signing off").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_loses_its_maildrop_and_deletes_nothing() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut old = house.log_in().await;
    old.asks("DELE 1", "+OK").await;
    clock::pause(GRACE - SECOND).await;
    old.asks("NOOP", "+OK").await;
    clock::pause(GRACE - SECOND).await;
    house.connect().await.logs_in("-ERR [IN-USE]").await;
    clock::pause(SECOND).await;
    let mut new = house.connect().await;
    new.logs_in("+OK 1 message").await;
    // Said at once, without a command.
    let (said, time) = timed(old.rest()).await;
    assert_eq!((said.as_str(), time.as_secs()), (TAKEN_OVER, 0));
    assert_eq!(house.metric("maildrops_taken_over_total{listener=\"pop3s\"}"), 1);
    // The end of the old one does not free the new one's maildrop.
    clock::pause(2 * SECOND).await;
    assert_eq!(house.ended("taken_over"), 1);
    house.connect().await.logs_in("-ERR [IN-USE]").await;
    new.asks("QUIT", "+OK").await;
    assert_eq!(house.store.texts(ANN).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_stuck_in_a_write_loses_its_maildrop_too() {
    let house = Plan { pipe: 4096, ..Plan::new() }.build().await;
    house.deliver(vec![b'x'; 1 << 20]).await;
    let mut stuck = house.log_in().await;
    stuck.says("RETR 1\r\nDELE 1\r\nQUIT\r\n").await;
    clock::pause(GRACE).await;
    let mut new = house.connect().await;
    new.logs_in("+OK 1 message").await;
    clock::pause(2 * SECOND).await;
    assert_eq!(house.gate.snapshot().usage.in_use, 1, "the stuck one has gone");
    let mut said = Vec::new();
    // What had left is all there is: no dot, no goodbye.
    let _broken = stuck.into_stream().read_to_end(&mut said).await;
    assert!(!said.ends_with(b".\r\n"));
    assert_eq!((house.ended("taken_over"), house.metric("maildrops_taken_over_total{listener=\"pop3s\"}")), (1, 1));
    new.asks("STAT", "+OK 1 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_takes_something_now_and_then_keeps_its_maildrop() {
    let house = Plan { pipe: 4096, ..Plan::new() }.build().await;
    house.deliver(vec![b'x'; 1 << 20]).await;
    let mut slow = house.log_in().await;
    slow.says("RETR 1\r\n").await;
    let mut stream = slow.into_stream();
    let mut piece = vec![0; 256 << 10];
    for _ in 0..4 {
        clock::pause(GRACE - SECOND).await;
        stream.read_exact(&mut piece).await.unwrap();
        house.connect().await.logs_in("-ERR [IN-USE]").await;
    }
}
