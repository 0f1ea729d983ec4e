//! FUTURERELEASE (RFC 4865): what is held for its sender, until when, and where it is offered.

use std::time::{Duration, SystemTime};

use mail::Span;
use store::{Maildrops as _, Quarantine as _};

use crate::house::{ANN, BOB, Client, House, Plan};

async fn house(longest_hold: Duration) -> House {
    let mut plan = Plan::submission();
    plan.settings.submission.longest_hold = longest_hold;
    plan.build().await
}

async fn sends(client: &mut Client, parameters: &str) {
    client.asks(&format!("MAIL FROM:<{ANN}>{parameters}"), "250 2.1.0").await;
    client.asks(&format!("RCPT TO:<{BOB}>"), "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says("Subject: hello\r\n\r\nx\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
}

async fn listed(house: &House, account: &str) -> usize {
    house.store.open(account).await.unwrap().listing().len()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_held_for_its_sender_as_long_as_it_has_asked_for() {
    let house = house(Duration::from_secs(86_400)).await;
    let mut client = house.log_in().await;
    sends(&mut client, "").await;
    let before = SystemTime::now();
    sends(&mut client, " HOLDFOR=3600").await;
    // Its time is over: it is as any other.
    sends(&mut client, " HOLDUNTIL=2001-01-01T00:00:00Z").await;
    assert_eq!(listed(&house, BOB).await, 2);
    let held = house.store.held(None).await.unwrap();
    let [only] = &held[..] else { panic!("{held:?}") };
    let until = only.hold.until.unwrap();
    assert!((before..=SystemTime::now()).contains(&(until - Duration::from_secs(3600))), "{until:?}");
    assert_eq!((&*only.account, only.sender.as_str()), (BOB, "<ann@example.org>"));
    assert!(only.hold.reason.starts_with("its sender wants it released at 2"), "{}", only.hold.reason);
    client.asks(&format!("MAIL FROM:<{ANN}> HOLDFOR=86401"), "501 5.5.4").await;
}

/// A report says that a message is in a mailbox, where it can be seen.
#[tokio::test(start_paused = true)]
async fn the_report_of_a_message_that_is_held_comes_with_it() {
    let house = house(Duration::from_secs(60)).await;
    let mut client = house.log_in().await;
    client.asks(&format!("MAIL FROM:<{ANN}> HOLDFOR=60"), "250 2.1.0").await;
    client.asks(&format!("RCPT TO:<{BOB}> NOTIFY=SUCCESS"), "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says("Subject: hello\r\n\r\nx\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((listed(&house, ANN).await, listed(&house, BOB).await), (0, 0));
    let held = house.store.held(None).await.unwrap();
    let mut accounts: Vec<_> = held.iter().map(|held| &*held.account).collect();
    accounts.sort_unstable();
    assert_eq!(accounts, [ANN, BOB]);
    assert_eq!(held[0].hold.until, held[1].hold.until);
    let report = String::from_utf8(house.store.texts(ANN).remove(0)).unwrap();
    assert!(report.contains("\r\nFuture-Release-Request: for;60\r\n"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_has_not_allowed_is_not_offered() {
    let house = house(Span::secs(0).0).await;
    let mut client = house.log_in().await;
    client.asks(&format!("MAIL FROM:<{ANN}> HOLDFOR=1"), "555 5.5.4").await;
}
