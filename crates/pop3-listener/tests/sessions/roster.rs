//! What a session tells of itself, and how it is ended.

use gate::Phase;
use net::clock;

use crate::house::{ANN, House, SECOND};

const ENDED: &str = "-ERR [SYS/TEMP] Session ended by the operator, try again later\r\n";

/// The only session there is.
fn only(house: &House) -> gate::Session {
    let mut sessions = house.gate.roster().sessions(clock::now());
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    sessions.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_session_tells_its_user_and_where_its_time_goes() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    clock::pause(7 * SECOND).await;
    client.asks("STAT", "+OK 1 ").await;
    clock::pause(SECOND).await;
    let session = only(&house);
    assert_eq!((session.user.as_deref(), session.program, session.commands), (Some(ANN), None, 2));
    assert_eq!((session.slot_time.of(Phase::Client), session.phase, session.in_phase), (8 * SECOND, Phase::Client, SECOND));
    assert_eq!((session.slot_time.total(), session.octets_in > 30, session.octets_out > 30), (session.age, true, true));
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_ended_at_once_and_deletes_nothing() {
    let house = House::new().await;
    house.deliver("Subject: one\r\n").await;
    let mut client = house.log_in().await;
    client.asks("DELE 1", "+OK").await;
    assert!(house.gate.roster().end(only(&house).id));
    assert_eq!(client.rest().await, ENDED);
    house.empties().await;
    let mut next = house.log_in().await;
    next.asks("STAT", "+OK 1 ").await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_opens_no_maildrop_is_nobodys_session() {
    let house = House::new().await;
    house.gate.apply(gate::Settings { sessions_per_user: 2, ..gate::Settings::default() }).unwrap();
    let _holder = house.log_in().await;
    let mut second = house.connect().await;
    for number in 0..2 {
        second.logs_in(&format!("-ERR [IN-USE] mail.example Maildrop is open in another session [R10.000{number}]")).await;
    }
    house.gate.apply(gate::Settings { sessions_per_user: 1, ..gate::Settings::default() }).unwrap();
    second.logs_in("-ERR [IN-USE] mail.example Too many sessions for this user (limit 1) [R9.0002]").await;
    for (token, key) in [("R10.0000", "store.takeover_grace"), ("R10.0001", "store.takeover_grace"), ("R9.0002", "gate.sessions_per_user")]
    {
        let told = house.gate.explain(token).unwrap();
        assert_eq!((told.cause.key(), told.account.as_deref()), (Some(key), Some(ANN)));
    }
}
