//! A maildrop that has not changed is listed again without being read again, however large it is.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and its tasks end with it")]

use std::alloc::System;
use std::sync::Arc;

use mail::{BodyType, ByteSize, Envelope, MessageId, ReversePath};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use store::{Change, Directory as _, Intake as _, Maildrops as _};
use store_embedded::{Embedded, Settings};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The only test in this file: the allocator counts for the whole process.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_of_a_hundred_thousand_unchanged_messages_allocates_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment: ByteSize::mib(4), inline_body: ByteSize::kib(64), reserve_free: ByteSize(0), ..Settings::default() };
    let store = Arc::new(Embedded::open(dir.path(), settings).unwrap());
    store.change(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
    store.change(Change::AddAccount { name: ANN.into(), password_hash: "x".into(), verifier: None }).await.unwrap();
    let senders: Vec<_> = (0..SENDERS).map(|_| tokio::spawn(deliver(Arc::clone(&store), MESSAGES / SENDERS))).collect();
    for sender in senders {
        sender.await.unwrap();
    }
    // What indexing allocates is not to be counted: whoever opens a maildrop, any one, waits until the index has all there is.
    drop(store.open("bob@example.org").await.unwrap());

    let first = Region::new(ALLOCATOR);
    assert_eq!(store.open(ANN).await.unwrap().listing().len(), MESSAGES);
    let first = first.change();
    assert!(first.allocations + first.reallocations < 10_000, "read: {first:?}");

    let twice = Region::new(ALLOCATOR);
    for _ in 0..2 {
        assert_eq!(store.open(ANN).await.unwrap().listing().len(), MESSAGES);
    }
    let twice = twice.change();
    assert!(twice.allocations + twice.reallocations < 1000, "at hand: {twice:?}");
    assert!(twice.bytes_allocated < 100_000, "at hand: {twice:?}");
}

async fn deliver(store: Arc<Embedded>, count: usize) {
    for _ in 0..count {
        let (id, reverse_path) = (MessageId::generate(), ReversePath::Null);
        let envelope = Envelope { id, reverse_path, recipients: vec![ANN.into()], body: BodyType::SevenBit, utf8: false, requests: None };
        let mut incoming = store.begin(envelope).await.unwrap();
        incoming.write(b"small\r\n").await.unwrap();
        drop(incoming.commit(Vec::new()).await.unwrap());
    }
}

const ANN: &str = "ann@example.org";
const MESSAGES: usize = 100_000;
const SENDERS: usize = 500;
