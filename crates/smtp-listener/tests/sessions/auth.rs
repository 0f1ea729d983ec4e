//! Passwords, right and wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use net::clock;
use store::{Change, Directory as _};

use crate::house::{ANN, BOB, Client, House, PASSWORD, Plan, SECOND, plain, timed};

const WRONG: &str = "535 5.7.8";

async fn house() -> House {
    Plan::submission().build().await
}

async fn greet(house: &House) -> Client {
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client
}

fn attempts(house: &House, outcome: &str) -> u64 {
    house.metric(&format!("authentications_total{{listener=\"smtp\",outcome=\"{outcome}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn the_right_password_opens_the_way_by_both_mechanisms() {
    let house = house().await;
    for dialogue in [
        vec![(plain("", ANN, PASSWORD), "235 2.7.0")],
        vec![(plain("ANN@example.org", ANN, PASSWORD), "235 2.7.0")],
        vec![
            ("AUTH LOGIN".into(), "334 VXNlcm5hbWU6"),
            ("QW5uQEV4YW1wbGUuT1JH".into(), "334 UGFzc3dvcmQ6"),
            ("Y29ycmVjdCBob3JzZQ==".into(), "235 2.7.0"),
        ],
    ] {
        let mut client = greet(&house).await;
        for (line, reply) in dialogue {
            client.asks(&line, reply).await;
        }
        client.begins(&["bob@example.org"]).await;
        client.says(".\r\n").await;
        client.hears("250 2.0.0").await;
    }
    assert_eq!((attempts(&house, "succeeded"), house.store.texts(BOB).len()), (3, 3));
    assert!(String::from_utf8_lossy(&house.store.texts(BOB)[0]).contains("with ESMTPSA id "));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_and_an_unknown_name_wait_alike_and_longer_each_time() {
    for name in [ANN, "nobody@example.org"] {
        let house = house().await;
        let mut client = greet(&house).await;
        for millis in [500, 1000] {
            let ((), time) = timed(client.asks(&plain("", name, "wrong"), WRONG)).await;
            assert_eq!(time, Duration::from_millis(millis), "{name}");
        }
        client.asks(&plain("", name, "wrong"), WRONG).await;
        assert_eq!(client.rest().await, "421 4.7.0 mx.example Too many failed authentications\r\n");
        house.empties().await;
        assert_eq!((attempts(&house, "failed"), house.ended("dismissed")), (3, 1));
    }
}

/// The first message of an exchange in which `name` says who it is, and a last one that proves nothing.
fn scram(name: &str) -> [String; 2] {
    let [first, proof] = [format!("n,,n={name},r=abc"), "x".repeat(32)].map(|octets| STANDARD.encode(octets));
    [format!("AUTH SCRAM-SHA-256 {first}"), proof]
}

/// As a client answers it, that does not know the password.
async fn guesses(client: &mut Client, name: &str) {
    let [first, proof] = scram(name);
    client.says(first + "\r\n").await;
    let challenge = client.reply().await;
    let server_first = String::from_utf8(STANDARD.decode(challenge[4..].trim_end()).unwrap()).unwrap();
    let (nonce, _) = server_first.split_once(',').unwrap();
    client.says(STANDARD.encode(format!("c=biws,{nonce},p={proof}")) + "\r\n").await;
}

fn with_scram() -> Plan {
    let mut plan = Plan::submission();
    let mut smtp = smtp::Settings::clone(&plan.settings.smtp);
    smtp.mechanisms = smtp.mechanisms.and(smtp::Mechanisms::SCRAM);
    plan.settings.smtp = smtp.into();
    plan
}

#[tokio::test(start_paused = true)]
async fn scram_is_offered_while_everybody_can_use_it() {
    let house = with_scram().build().await;
    let new = || Change::AddAccount { name: "new@example.org".into(), password_hash: "$argon2id$none".into(), verifier: None };
    for (change, offered) in [(None, true), (Some(new()), false), (Some(Change::RemoveAccount { name: "new@example.org".into() }), true)] {
        if let Some(change) = change {
            house.store.change(change).await.unwrap();
        }
        let mut client = house.connect_tls().await;
        client.says("EHLO client.example\r\n").await;
        assert_eq!(client.reply().await.contains("AUTH SCRAM-SHA-256"), offered);
        client.asks("AUTH SCRAM-SHA-256", if offered { "334" } else { "504 5.5.4" }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_proof_waits_like_a_wrong_password_whoever_it_is_of() {
    for name in [ANN, "nobody@example.org"] {
        let house = with_scram().build().await;
        let mut client = greet(&house).await;
        for millis in [500, 1000] {
            let ((), time) = timed(async {
                guesses(&mut client, name).await;
                client.hears(WRONG).await;
            })
            .await;
            assert_eq!(time, Duration::from_millis(millis), "{name}");
        }
        client.asks(&plain("", name, "wrong"), WRONG).await;
        assert_eq!(client.rest().await, "421 4.7.0 mx.example Too many failed authentications\r\n");
        assert_eq!(attempts(&house, "failed"), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guesser_of_proofs_is_refused_for_now() {
    let mut plan = with_scram();
    plan.auth.failures_per_source = NonZeroU32::new(2).unwrap();
    let house = plan.build().await;
    let mut client = greet(&house).await;
    for reply in [WRONG, WRONG, "454 4.7.0"] {
        guesses(&mut client, ANN).await;
        client.hears(reply).await;
    }
    client.asks(&plain("", ANN, PASSWORD), "454 4.7.0").await;
    assert_eq!(attempts(&house, "throttled_source"), 2);
    house.store.set(store::memory::Condition::Unavailable);
    client.asks(&scram(ANN)[0], "454 4.7.0").await;
    house.store.set(store::memory::Condition::Ready);
    client.asks(&scram(ANN)[0], "334").await;
    client.asks("*", "501 5.7.0").await;
    client.asks(&scram(ANN)[0], "334").await;
    client.asks("AAAA", "501 5.5.2").await;
}

#[tokio::test(start_paused = true)]
async fn nobody_acts_as_somebody_else() {
    let house = house().await;
    let mut client = greet(&house).await;
    client.asks(&plain(BOB, ANN, PASSWORD), WRONG).await;
    client.asks("MAIL FROM:<>", "530 5.7.0").await;
    client.asks(&plain("", ANN, PASSWORD), "235").await;
}

#[tokio::test(start_paused = true)]
async fn a_guesser_is_refused_for_now_without_a_look_at_the_password() {
    let mut plan = Plan::submission();
    plan.auth.failures_per_source = NonZeroU32::new(2).unwrap();
    let house = plan.build().await;
    let mut client = greet(&house).await;
    client.asks(&plain("", ANN, "wrong"), WRONG).await;
    client.asks(&plain("", ANN, "wrong"), WRONG).await;
    let ((), time) = timed(client.asks(&plain("", ANN, PASSWORD), "454 4.7.0")).await;
    assert_eq!((time, attempts(&house, "throttled_source")), (Duration::ZERO, 1));
    clock::pause(10 * SECOND).await;
    client.asks(&plain("", ANN, PASSWORD), "235").await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_is_away_is_nobodys_wrong_password() {
    let house = house().await;
    let mut client = greet(&house).await;
    house.store.set(store::memory::Condition::Unavailable);
    client.asks(&plain("", ANN, PASSWORD), "454 4.7.0").await;
    house.store.set(store::memory::Condition::Ready);
    client.asks(&plain("", ANN, PASSWORD), "235").await;
}

#[tokio::test(start_paused = true)]
async fn the_drain_does_not_wait_for_those_who_guess() {
    let mut plan = Plan::submission();
    (plan.auth.first_delay, plan.auth.longest_delay) = (mail::Span::mins(1), mail::Span::mins(1));
    let house = plan.build().await;
    let mut client = greet(&house).await;
    client.says(plain("", ANN, "wrong") + "\r\n").await;
    let leave = async {
        clock::pause(5 * SECOND).await;
        house.drain.begin();
    };
    let ((reply, ()), time) = timed(async { tokio::join!(client.reply(), leave) }).await;
    assert!(reply.starts_with(WRONG) && time == 5 * SECOND, "{reply} after {time:?}");
    assert!(client.rest().await.starts_with("421 4.3.2"));
}
