//! A directory that is slow to say who somebody is, and what a maildrop holds: the session waits for the store meanwhile, and for nobody
//! else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gate::Phase;
use mail::{Envelope, ForwardPath};
use net::clock;
use store::memory::Memory;
use store::{Account, Book, Change, ChangeError, Directory, Error, Incoming, Intake, Limit, Maildrop, Maildrops, QuotaChange};
use store::{Load, Resolution};

use crate::house::{ANN, PASSWORD, Plan, SECOND, plain, timed};

#[tokio::test(start_paused = true)]
async fn the_look_up_of_a_login_is_waiting_for_the_store() {
    let house = Plan { directory: |store| Arc::new(Slow(store)), ..Plan::submission() }.build().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    assert_eq!(timed(client.asks(&plain("", ANN, PASSWORD), "235")).await.1, 3 * SECOND);
    let sessions = house.gate.roster().sessions(clock::now());
    let spent = |phase| sessions[0].slot_time.of(phase);
    assert_eq!((spent(Phase::Store), spent(Phase::Own)), (3 * SECOND, Duration::ZERO), "of which hashing takes none here");
}

#[tokio::test(start_paused = true)]
async fn what_a_maildrop_holds_is_waiting_for_the_store_before_a_message_and_behind_it() {
    let house = Plan { before_store: |store| Arc::new(Slow(store)), ..Plan::relay() }.build().await;
    let quota = QuotaChange { octets: None, messages: Some(Limit::At(1)) };
    house.store.change(Change::SetAccount { name: ANN.into(), quota, forwards: None }).await.unwrap();
    let mut client = house.greet().await;
    let ((), before) = timed(client.begins(&[ANN])).await;
    let ((), behind) = timed(client.asks("Subject: the last one\r\n.", "250 2.0.0")).await;
    assert_eq!((before, behind), (3 * SECOND, 3 * SECOND));
    let sessions = house.gate.roster().sessions(clock::now());
    let spent = |phase| sessions[0].slot_time.of(phase);
    assert_eq!((spent(Phase::Store), spent(Phase::Own)), (6 * SECOND, Duration::ZERO));
}

/// Three seconds for an account, and for what it holds.
struct Slow(Memory);

#[async_trait]
impl Intake for Slow {
    fn ready(&self) -> Result<(), Error> {
        self.0.ready()
    }

    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error> {
        self.0.begin(envelope).await
    }
}

#[async_trait]
impl Maildrops for Slow {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.0.open(account).await
    }
}

#[async_trait]
impl Directory for Slow {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        self.0.resolve(recipient).await
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        clock::pause(3 * SECOND).await;
        self.0.account(login).await
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.0.change(change).await
    }

    async fn load(&self, account: &str) -> Result<Load, Error> {
        clock::pause(3 * SECOND).await;
        self.0.load(account).await
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.0.book().await
    }
}
