//! Who gets a maildrop, and when.

use std::num::NonZeroU32;
use std::time::Duration;

use net::clock;

use crate::house::{ANN, BOB, Client, House, PASSWORD, Plan, SECOND, plain, timed};

const WRONG: &str = "-ERR [AUTH]";

fn attempts(house: &House, outcome: &str) -> u64 {
    house.metric(&format!("authentications_total{{listener=\"pop3s\",outcome=\"{outcome}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn the_right_password_opens_the_maildrop_by_every_mechanism() {
    let house = House::new().await;
    for dialogue in [
        vec![(plain("", ANN, PASSWORD), "+OK 0 messages")],
        vec![("USER Ann@Example.org".into(), "+OK"), (format!("PASS {PASSWORD}"), "+OK 0 messages")],
        vec![
            ("AUTH LOGIN".into(), "+ VXNlcm5hbWU6"),
            ("QW5uQEV4YW1wbGUuT1JH".into(), "+ UGFzc3dvcmQ6"),
            ("Y29ycmVjdCBob3JzZQ==".into(), "+OK 0 messages"),
        ],
    ] {
        let mut client = house.connect().await;
        for (line, answer) in dialogue {
            client.asks(&line, answer).await;
        }
        client.asks("QUIT", "+OK").await;
    }
    assert_eq!(attempts(&house, "succeeded"), 3);
}

#[tokio::test(start_paused = true)]
async fn passwords_are_for_tls_alone_and_stls_begins_anew() {
    let house = House::new().await;
    let mut client = Client::new(house.dial(&house.other));
    client.hears("+OK mail.example").await;
    client.asks("USER ann@example.org", "-ERR [SYS/PERM]").await;
    client.asks("STLS", "+OK").await;
    let mut client = Client::new(house.shake_hands(client.into_stream()).await);
    client.asks(&format!("PASS {PASSWORD}"), "-ERR USER comes first").await;
    client.logs_in("+OK").await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_and_an_unknown_name_wait_alike_and_longer_each_time() {
    for name in [ANN, "nobody@example.org"] {
        let house = House::new().await;
        let mut client = house.connect().await;
        for millis in [500, 1000, 2000] {
            let ((), time) = timed(client.asks(&plain("", name, "wrong"), WRONG)).await;
            assert_eq!(time, Duration::from_millis(millis), "{name}");
        }
        assert_eq!(client.rest().await, "");
        house.empties().await;
        assert_eq!((attempts(&house, "failed"), house.ended("dismissed")), (3, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_acts_as_somebody_else() {
    let house = House::new().await;
    let mut client = house.connect().await;
    client.asks(&plain(BOB, ANN, PASSWORD), WRONG).await;
    client.asks("STAT", "-ERR").await;
    client.asks(&plain(ANN, ANN, PASSWORD), "+OK").await;
}

#[tokio::test(start_paused = true)]
async fn a_guesser_is_refused_for_now_and_not_told_to_change_the_password() {
    let mut plan = Plan::new();
    plan.auth.failures_per_source = NonZeroU32::MIN;
    let house = plan.build().await;
    let mut client = house.connect().await;
    client.asks(&plain("", ANN, "wrong"), WRONG).await;
    client.logs_in("-ERR [SYS/TEMP]").await;
    assert_eq!(attempts(&house, "throttled_source"), 1);
}

#[tokio::test(start_paused = true)]
async fn logins_keep_their_distance_on_all_listeners_together() {
    let house = Plan::with(|pop3| pop3.login_delay = Some(30 * SECOND)).build().await;
    let mut holder = house.log_in().await;
    // A login that did not open the maildrop is none.
    clock::pause(30 * SECOND).await;
    house.connect().await.logs_in("-ERR [IN-USE]").await;
    holder.asks("QUIT", "+OK").await;
    house.log_in().await.asks("QUIT", "+OK").await;

    let mut client = Client::new(house.dial(&house.other));
    client.hears("+OK mail.example").await;
    client.asks("STLS", "+OK").await;
    let mut client = Client::new(house.shake_hands(client.into_stream()).await);
    client.logs_in("-ERR [LOGIN-DELAY]").await;
    client.asks(&plain("", BOB, PASSWORD), "+OK").await;
    clock::pause(30 * SECOND).await;
    house.log_in().await;
}
