//! The memory engine keeps what every engine promises, and does what tests of services ask of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Condition, Memory};
use crate::conformance::Engine;
use crate::{Change, Directory, Error, Incoming, Intake, Maildrops};
use mail::{BodyType, Envelope, MessageId, Requests, ReversePath};

/// Hands the kept store on from one life to the next.
#[derive(Default)]
struct InMemory(Mutex<Option<Memory>>);

impl Engine for InMemory {
    type Store = Memory;

    async fn open(&self, grace: Duration) -> Arc<Memory> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let store = kept.as_ref().map_or_else(|| Memory::new(grace), |former| former.reopen(grace));
        *kept = Some(store.clone());
        Arc::new(store)
    }

    fn requests(&self, store: &Memory, id: MessageId) -> Option<Requests> {
        store.requests(id)
    }
}

crate::conformance!(InMemory::default());

const GRACE: Duration = Duration::from_secs(60);
const ANN: &str = "ann@example.org";

async fn store() -> Memory {
    let store = Memory::new(GRACE);
    store.change(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
    store.change(Change::AddAccount { name: ANN.into(), password_hash: String::new(), verifier: None }).await.unwrap();
    store
}

async fn begun(store: &Memory) -> (MessageId, Box<dyn Incoming>) {
    let id = MessageId::generate();
    let envelope = Envelope {
        id,
        reverse_path: ReversePath::Null,
        recipients: vec![ANN.into()],
        body: BodyType::SevenBit,
        utf8: false,
        requests: None,
    };
    let mut incoming = store.begin(envelope).await.unwrap();
    incoming.write(b"text\r\n").await.unwrap();
    (id, incoming)
}

#[tokio::test]
async fn a_full_store_takes_nothing_and_gives_everything() {
    let store = store().await;
    let (_, first) = begun(&store).await;
    drop(first.commit(Vec::new()).await.unwrap());
    let (_, second) = begun(&store).await;
    store.set(Condition::Full);
    assert!(matches!(store.ready(), Err(Error::Full(_))));
    assert!(matches!(second.commit(Vec::new()).await, Err(Error::Full(_))));
    let maildrop = store.open(ANN).await.unwrap();
    let all = maildrop.listing().to_vec();
    assert_eq!(all.len(), 1);
    maildrop.update(all).await.unwrap();
    store.set(Condition::Ready);
    store.ready().unwrap();
    assert_eq!(store.texts(ANN), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn an_unavailable_store_does_nothing() {
    let store = store().await;
    let (_, incoming) = begun(&store).await;
    store.set(Condition::Unavailable);
    assert!(matches!(store.ready(), Err(Error::Unavailable(_))));
    assert!(matches!(incoming.commit(Vec::new()).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.open(ANN).await.map(drop), Err(Error::Unavailable(_))));
    assert!(matches!(store.account(ANN).await, Err(Error::Unavailable(_))));
    store.set(Condition::Ready);
    assert_eq!(store.texts(ANN), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn a_held_commit_is_done_when_released_and_not_before() {
    let store = store().await;
    let mut hold = store.hold_commits().await;
    let (id, incoming) = begun(&store).await;
    let mut commits = tokio::task::JoinSet::new();
    commits.spawn(incoming.commit(Vec::new()));
    hold.waiting(1).await;
    assert_eq!(store.texts(ANN), Vec::<Vec<u8>>::new());
    drop(hold);
    assert_eq!(commits.join_next().await.unwrap().unwrap().unwrap().id(), id);
    assert_eq!(store.texts(ANN), [b"text\r\n"]);
}

#[tokio::test]
async fn a_damaged_message_is_not_handed_out_whole() {
    let store = store().await;
    let (id, incoming) = begun(&store).await;
    drop(incoming.commit(Vec::new()).await.unwrap());
    store.damage(id);
    let maildrop = store.open(ANN).await.unwrap();
    let mut body = maildrop.read(&maildrop.listing()[0]).await.unwrap();
    let mut text = Vec::new();
    assert!(matches!(body.next(&mut text).await, Err(Error::Damaged { id: damaged, .. }) if damaged == id));
    assert!(text.is_empty());
}
