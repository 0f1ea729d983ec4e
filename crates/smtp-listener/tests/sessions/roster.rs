//! What a session tells of itself, and how it is ended.

use std::time::Duration;

use gate::{Arrival, Draw, ListenerId, Newcomer, Phase};
use mail::Span;
use net::clock;

use crate::house::{ANN, House, PASSWORD, Plan, SECOND, plain};

const ENDED: &str = "421 4.3.2 mx.example Session ended by the operator, try again later\r\n";

/// The only session there is.
fn only(house: &House) -> gate::Session {
    let mut sessions = house.gate.roster().sessions(clock::now());
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    sessions.remove(0)
}

fn end(house: &House) {
    assert!(house.gate.roster().end(only(house).id));
}

#[tokio::test(start_paused = true)]
async fn each_second_is_attributed_to_what_it_was_spent_on() {
    let house = Plan::submission().build().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client.asks(&plain("", ANN, "wrong"), "535").await;
    client.asks(&plain("", ANN, PASSWORD), "235").await;
    clock::pause(10 * SECOND).await;
    client.begins(&[ANN]).await;
    let mut hold = house.store.hold_commits().await;
    client.says("Subject: slow\r\n.\r\n").await;
    hold.waiting(1).await;
    assert_eq!(only(&house).phase, Phase::Store);
    clock::pause(5 * SECOND).await;
    drop(hold);
    client.hears("250 2.0.0").await;
    clock::pause(3 * SECOND).await;

    let session = only(&house);
    let spent = |phase| session.slot_time.of(phase);
    assert_eq!((spent(Phase::Store), spent(Phase::Client)), (5 * SECOND, 13 * SECOND));
    assert_eq!(spent(Phase::Tarpit), Duration::from_millis(500), "what a wrong password costs");
    assert_eq!((session.slot_time.total(), session.phase, session.in_phase), (session.age, Phase::Client, 3 * SECOND));
    assert_eq!((session.user.as_deref(), session.program.as_deref()), (Some(ANN), Some("client.example")));
    assert_eq!(session.commands, 6, "EHLO, AUTH twice, MAIL, RCPT, DATA");
    let before = house.gate.roster().slot_time(clock::now());
    drop(client);
    house.empties().await;
    let after = house.gate.roster().slot_time(clock::now());
    assert!(house.gate.roster().sessions(clock::now()).is_empty());
    assert!(Phase::ALL.iter().all(|phase| after.of(*phase) >= before.of(*phase)), "{after:?} is less than {before:?}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_ended_at_once_within_a_transaction_too() {
    let house = House::relay().await;
    for commands in [&[][..], &["EHLO client.example"], &["EHLO client.example", "MAIL FROM:<>", "RCPT TO:<ann@example.org>"]] {
        let mut client = house.connect().await;
        for command in commands {
            client.asks(command, "250").await;
        }
        end(&house);
        let start = clock::now();
        assert_eq!((client.rest().await.as_str(), clock::now() - start), (ENDED, Duration::ZERO));
        house.empties().await;
    }
    assert_eq!(house.ended("ended"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_ended_in_a_message_ends_behind_it() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&[ANN]).await;
    client.says("Subject: the last\r\n").await;
    end(&house);
    clock::pause(SECOND).await;
    let mut hold = house.store.hold_commits().await;
    client.says("\r\n.\r\nQUIT\r\n").await;
    hold.waiting(1).await;
    assert!(only(&house).ending);
    drop(hold);
    client.hears("250 2.0.0").await;
    assert_eq!((client.rest().await.as_str(), house.store.texts(ANN).len()), (ENDED, 1));
}

/// Somebody else comes, and finds no place.
fn find_no_place(house: &House) {
    let arrival =
        Arrival { listener: ListenerId(9), peer: [198, 51, 100, 7].into(), authenticates: false, brings_mail: true, now: clock::now() };
    assert_eq!(house.gate.admit(&arrival).unwrap_err().rule.id(), "R4");
}

#[tokio::test(start_paused = true)]
async fn a_session_at_rest_gives_its_place_up_when_it_is_needed_and_a_transaction_is_finished_first() {
    let house = House::relay().await;
    let limits =
        |give_way_after| gate::Settings { max_inbound: 1, reserve: gate::Portion::Places(0), give_way_after, ..gate::Settings::default() };
    house.gate.apply(limits(Span::secs(0))).unwrap();
    let mut client = house.greet().await;
    clock::pause(60 * SECOND).await;
    find_no_place(&house);
    client.asks("NOOP", "250").await;
    house.gate.apply(limits(Span::secs(5))).unwrap();
    clock::pause(4 * SECOND).await;
    find_no_place(&house);
    client.begins(&[ANN]).await;
    clock::pause(60 * SECOND).await;
    find_no_place(&house);
    client.says("Subject: the last\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    clock::pause(6 * SECOND).await;
    let start = clock::now();
    find_no_place(&house);
    assert_eq!(client.rest().await, "421 4.3.2 mx.example Place needed, reconnect any time [R7.0004]\r\n");
    let told = house.gate.explain("R7.0004").unwrap();
    assert_eq!((told.cause.key(), told.usage.in_use, told.usage.limit), (Some("gate.give_way_after"), 1, 1));
    assert_eq!((clock::now(), house.store.texts(ANN).len()), (start, 1));
    house.empties().await;
    assert_eq!(house.ended("gave_way"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_users_sessions_are_counted_and_come_back_however_they_end() {
    let house = Plan::submission().build().await;
    house.gate.apply(gate::Settings { sessions_per_user: 2, ..gate::Settings::default() }).unwrap();
    // One of them is a POP3 session, for all the roster knows.
    let newcomer =
        Newcomer { id: 1, listener: ListenerId(9), source: [192, 0, 2, 1].into(), draw: Draw::General, admitted_at: clock::now() };
    let pop3 = house.gate.roster().enrol(newcomer);
    house.gate.log_in(pop3.seat(), &ANN.into()).unwrap();
    let first = house.log_in().await;
    let mut second = house.connect_tls().await;
    second.asks("EHLO client.example", "250-mx.example").await;
    second.asks(&plain("", ANN, PASSWORD), "421 4.7.0 mx.example Too many sessions for this user (limit 2) [R9.0000]").await;
    assert_eq!(second.rest().await, "");
    let told = house.gate.explain("R9.0000").unwrap();
    assert_eq!((told.cause.key(), told.account.as_deref()), (Some("gate.sessions_per_user"), Some(ANN)));
    assert_eq!(house.metric("authentications_total{listener=\"smtp\",outcome=\"too_many_sessions\"}"), 1);
    drop(first);
    clock::pause(2 * SECOND).await;
    let third = house.log_in().await;
    drop(pop3);
    let _fourth = house.log_in().await;
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_shown_from_where_its_proxy_says() {
    let mut plan = Plan::relay();
    plan.settings.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let house = plan.build().await;
    let mut client = house.greet().await;
    client.asks("XCLIENT ADDR=192.0.2.9", "220").await;
    assert_eq!(only(&house).source.to_string(), "192.0.2.9");
}
