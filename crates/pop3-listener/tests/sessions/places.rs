//! Every place is free again, however a session ends, and an idle one costs little.

use bytes::BytesMut;
use net::{Admission, Service};
use tokio::io::AsyncWriteExt;

use crate::house::{Client, House};

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_gives_place_and_maildrop_back_and_is_told_of() {
    let house = House::new().await;
    let (session, client) = house.session(&house.listener);
    assert_eq!(house.gate.snapshot().usage.in_use, 1);
    let log_in = async {
        let mut client = Client::new(house.shake_hands(client).await);
        client.hears("+OK").await;
        client.logs_in("+OK 0 messages").await;
        client
    };
    let _client = tokio::select! {
        () = session => panic!("it ended"),
        client = log_in => client,
    };
    assert_eq!((house.gate.snapshot().usage.in_use, house.ended("failed")), (0, 1));
    house.log_in().await;

    let (session, _client) = house.session(&house.listener);
    drop(session);
    assert_eq!(house.gate.snapshot().usage.in_use, 1, "the one that is logged in");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hangs_up_anywhere_gives_its_place_back() {
    let house = House::new().await;
    let whole = b"CAPA\r\nUSER ann@example.org\r\nUTF8\r\nSTLS\r\n";
    for octets in 0..=whole.len() {
        let mut client = house.dial(&house.other);
        client.write_all(&whole[..octets]).await.unwrap();
        drop(client);
        house.empties().await;
    }
    for line in ["", "CAPA\r\n", "USER ann@example.org\r\n", "USER ann@example.org\r\nPASS wrong\r\n", "AUTH PLAIN\r\n"] {
        let mut client = house.connect().await;
        client.says(line).await;
        drop(client);
        house.empties().await;
    }
    let ended = |end| house.metric(&format!("sessions_ended_total{{listener=\"pop3\",end=\"{end}\"}}"));
    assert_eq!(ended("peer_gone") + ended("handshake_failed"), whole.len() as u64 + 1);
    assert_eq!(house.ended("peer_gone"), 5);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_is_told_why_with_a_token() {
    let house = House::new().await;
    house.gate.apply(gate::Settings { max_inbound: 1, ..gate::Settings::default() }).unwrap();
    let _first = house.connect().await;
    let mut reply = BytesMut::new();
    assert!(matches!(house.listener.admit(([192, 0, 2, 7], 40_000).into(), false, &mut reply), Admission::Refused));
    let reply = String::from_utf8(reply.to_vec()).unwrap();
    assert!(reply.starts_with("-ERR [SYS/TEMP] ") && reply.contains("[R4.") && reply.ends_with("]\r\n"), "{reply}");
    assert_eq!(house.metric("sessions_refused_total{listener=\"pop3s\",rule=\"R4\",limit=\"gate.max_inbound\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_small() {
    let house = House::new().await;
    let (session, _client) = house.session(&house.other);
    let octets = size_of_val(&session);
    assert!(octets <= SESSION_OCTETS, "{octets} octets");
}

const SESSION_OCTETS: usize = 1100;
