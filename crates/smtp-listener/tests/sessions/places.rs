//! Every place is free again, however a session ends, and an idle one costs little.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use mail::{Envelope, ForwardPath};
use net::{Admission, Service};
use store::memory::Memory;
use store::{Account, Book, Change, ChangeError, Directory, Error, Incoming, Intake, Maildrop, Maildrops, Resolution};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, Plan};

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_gives_its_place_back_and_is_told_of() {
    let house = House::relay().await;
    let (session, mut client) = house.session();
    assert_eq!(house.gate.snapshot().usage.in_use, 1);
    let mut greeting = [0; 4];
    tokio::select! {
        biased;
        () = session => panic!("it ended"),
        read = client.read_exact(&mut greeting) => read.unwrap(),
    };
    assert_eq!((house.gate.snapshot().usage.in_use, house.ended("failed")), (0, 1));

    let (session, _client) = house.session();
    drop(session);
    assert_eq!((house.gate.snapshot().usage.in_use, house.ended("failed")), (0, 2), "before its first poll, too");
    assert_eq!(house.metric("sessions_admitted_total{listener=\"smtp\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_panics_gives_its_place_back_and_is_told_of() {
    let house = Plan { before_store: |store| Arc::new(Panics(store)), ..Plan::relay() }.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.says("DATA\r\n").await;
    assert_eq!(client.rest().await, "", "nothing is promised");
    house.empties().await;
    assert_eq!(house.ended("failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_hangs_up_anywhere_gives_its_place_back() {
    let house = House::relay().await;
    let whole = b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nBDAT 4\r\nabcdSTARTTLS\r\n";
    for octets in 0..=whole.len() {
        let mut client = house.dial();
        client.write_all(&whole[..octets]).await.unwrap();
        drop(client);
        house.empties().await;
    }
    assert_eq!(house.metric("sessions_admitted_total{listener=\"smtp\"}"), whole.len() as u64 + 1);
    assert_eq!(house.ended("peer_gone") + house.ended("handshake_failed"), whole.len() as u64 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_none_gives_its_place_back() {
    let house = Plan::submission().build().await;
    let mut client = house.dial();
    client.write_all(b"EHLO client.example\r\n").await.unwrap();
    house.empties().await;
    assert_eq!(house.ended("handshake_failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_let_in_is_told_why_with_a_token() {
    let house = House::relay().await;
    house.gate.apply(gate::Settings { max_inbound: 1, ..gate::Settings::default() }).unwrap();
    let _first = house.greet().await;
    let mut reply = BytesMut::new();
    assert!(matches!(house.listener.admit(([192, 0, 2, 7], 40_000).into(), false, &mut reply), Admission::Refused));
    let reply = String::from_utf8(reply.to_vec()).unwrap();
    assert!(reply.starts_with("421 4.3.2 mx.example Too many connections, try again later [R4."), "{reply}");
    assert!(reply.ends_with("]\r\n"));
    assert_eq!(house.metric("sessions_refused_total{listener=\"smtp\",rule=\"R4\",limit=\"gate.max_inbound\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_small() {
    let house = House::relay().await;
    let (session, _client) = house.session();
    let octets = size_of_val(&session);
    assert!(octets <= SESSION_OCTETS, "{octets} octets");
}

const SESSION_OCTETS: usize = 1536;

/// A store with a fault of ours in it.
struct Panics(Memory);

#[async_trait]
impl Intake for Panics {
    fn ready(&self) -> Result<(), Error> {
        self.0.ready()
    }

    async fn begin(&self, _: Envelope) -> Result<Box<dyn Incoming>, Error> {
        panic!("as a fault of ours may")
    }
}

#[async_trait]
impl Maildrops for Panics {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.0.open(account).await
    }
}

#[async_trait]
impl Directory for Panics {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        self.0.resolve(recipient).await
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        self.0.account(login).await
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.0.change(change).await
    }

    async fn load(&self, account: &str) -> Result<store::Load, Error> {
        self.0.load(account).await
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.0.book().await
    }
}
