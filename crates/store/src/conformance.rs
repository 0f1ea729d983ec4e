//! What every engine must do, as tests that every engine runs.
//!
//! An engine's tests implement [`Engine`] and call [`conformance!`](crate::conformance!) once; each case becomes a test of its
//! own, with a store of its own. A case fails by panicking, with what was expected. Cases close the store and open it again
//! where a promise must outlive the process; what a crash leaves behind is the engine's own affair to test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a case fails by panicking")]

mod directory;
mod held;
mod intake;
mod maildrops;

pub use directory::*;
pub use held::*;
pub use intake::*;
pub use maildrops::*;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mail::{BodyType, Envelope, MessageId, Requests, ReversePath};

use crate::{Change, Entry, Error, Maildrop, Quarantine, Store};

/// How the suite opens the engine under test.
pub trait Engine {
    /// The engine.
    type Store: Store + Quarantine + 'static;

    /// Opens the store: the first time a new one, then the same again with what it has kept. A maildrop can be taken over from
    /// a session that was silent for `grace`.
    fn open(&self, grace: Duration) -> impl Future<Output = Arc<Self::Store>> + Send;

    /// Ends the store as an orderly stop of the process does. Done when it can be opened again.
    fn close(&self, store: Arc<Self::Store>) -> impl Future<Output = ()> + Send {
        drop(store);
        std::future::ready(())
    }

    /// What the store keeps of what the sender of message `id` asked for: there is no promise yet that reads it, but for being kept.
    fn requests(&self, store: &Self::Store, id: MessageId) -> Option<Requests>;
}

/// Makes a `#[tokio::test]` of each case. The argument is an expression that makes a new [`Engine`](crate::conformance::Engine)
/// with a new, empty place to keep its store; it is evaluated once for each case.
///
/// The tests need tokio's features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance {
    ($engine:expr) => {
        $crate::conformance! { $engine;
            a_message_is_kept_octet_for_octet
            a_large_message_is_kept_octet_for_octet
            a_message_reaches_every_recipient
            what_a_sender_asks_for_is_kept
            the_listing_is_in_the_order_of_commits
            a_message_dropped_before_its_commit_leaves_nothing
            an_abandoned_commit_stores_all_or_nothing
            concurrent_commits_are_all_kept
            a_message_for_an_account_that_has_gone_is_not_accepted
            a_new_store_takes_messages
            an_open_listing_does_not_change
            a_maildrop_is_held_by_one_session
            a_silent_session_is_taken_over_and_deletes_nothing
            an_update_deletes_what_it_names_and_nothing_else
            a_maildrop_dropped_without_update_keeps_everything
            unique_ids_never_change_and_never_return
            bodies_are_read_side_by_side
            a_maildrop_of_thousands_is_listed_and_emptied
            the_directory_survives_a_restart
            a_refused_change_changes_nothing
            both_spellings_of_a_domain_are_one
            a_new_password_is_seen_at_once
            a_renewed_hash_never_replaces_a_new_password
            the_load_is_what_the_listing_says
            a_verifier_is_of_one_password
            a_held_message_is_kept_and_not_listed_until_it_is_released
            what_is_held_is_decided_about_in_each_maildrop
            what_nobody_has_decided_about_goes_when_it_is_old
            what_is_held_for_a_time_is_listed_when_it_has_come
            removing_an_account_removes_its_mail
        }
    };
    ($engine:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&$engine).await;
            }
        )+
    };
}

/// Long enough that no case ever sees a maildrop taken over.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";
const CYD: &str = "cyd@example.org";

const TRACE: &[u8] = b"Return-Path: <sender@example.com>\r\nReceived: from client.example by mx.example.org\r\n";

/// A store with the accounts of ann, bob and cyd.
async fn open<E: Engine>(engine: &E, grace: Duration) -> Arc<E::Store> {
    let store = engine.open(grace).await;
    change(&*store, Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await;
    for name in [ANN, BOB, CYD] {
        change(&*store, add(name)).await;
    }
    store
}

/// The same store after a restart.
async fn reopen<E: Engine>(engine: &E, store: Arc<E::Store>) -> Arc<E::Store> {
    engine.close(store).await;
    engine.open(NEVER).await
}

fn add(name: &str) -> Change {
    Change::AddAccount { name: name.into(), password_hash: format!("$argon2id$of-{name}"), verifier: None }
}

async fn change(store: &impl Store, change: Change) {
    let what = format!("{change:?}");
    store.change(change).await.unwrap_or_else(|error| panic!("{what}: {error}"));
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        id: MessageId::generate(),
        reverse_path: ReversePath::parse("<sender@example.com>").unwrap(),
        recipients: recipients.iter().map(|&name| name.into()).collect(),
        body: BodyType::EightBitMime,
        utf8: false,
        requests: None,
    }
}

/// Takes one message in, `step` octets at a time.
async fn take(store: &impl Store, recipients: &[&str], trace: &[u8], body: &[u8], step: usize) -> Result<MessageId, Error> {
    let envelope = envelope(recipients);
    let id = envelope.id;
    let mut incoming = store.begin(envelope).await?;
    for piece in body.chunks(step) {
        incoming.write(piece).await?;
    }
    let mut again = Vec::with_capacity(body.len());
    loop {
        let piece = incoming.reread(again.len() as u64).await?;
        if piece.is_empty() {
            break;
        }
        again.extend(piece);
    }
    same(&again, body, "before its commit");
    let receipt = incoming.commit(trace.to_vec()).await?;
    assert_eq!(receipt.id(), id, "the receipt is the message's");
    Ok(id)
}

async fn accept(store: &impl Store, recipients: &[&str], body: &[u8]) -> MessageId {
    take(store, recipients, TRACE, body, 4096).await.unwrap()
}

/// What `accept` stores of this body.
fn whole(body: &[u8]) -> Vec<u8> {
    [TRACE, body].concat()
}

async fn maildrop(store: &impl Store, account: &str) -> Box<dyn Maildrop> {
    store.open(account).await.unwrap_or_else(|error| panic!("the maildrop of {account}: {error}"))
}

async fn read(maildrop: &dyn Maildrop, entry: &Entry) -> Vec<u8> {
    let (mut body, mut text) = (maildrop.read(entry).await.unwrap(), Vec::new());
    loop {
        let before = text.len();
        let more = body.next(&mut text).await.unwrap();
        assert!(text.len() - before <= 64 * 1024, "a piece has at most 64 KiB");
        assert!(!more || text.len() > before, "while there is more, a piece has something");
        if !more {
            return text;
        }
    }
}

fn ids(maildrop: &dyn Maildrop) -> Vec<MessageId> {
    maildrop.listing().iter().map(|entry| entry.id).collect()
}

async fn listed(store: &impl Store, account: &str) -> Vec<MessageId> {
    ids(&*maildrop(store, account).await)
}

/// Every message of a maildrop, oldest first.
async fn texts(store: &impl Store, account: &str) -> Vec<Vec<u8>> {
    let maildrop = maildrop(store, account).await;
    let mut texts = Vec::new();
    for entry in maildrop.listing().iter() {
        texts.push(read(&*maildrop, entry).await);
    }
    texts
}

/// Tells two texts apart without printing megabytes.
fn same(found: &[u8], expected: &[u8], what: &str) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(found.len().min(expected.len()));
    assert!(found == expected, "{what}: {} octets expected, {} found, the first difference at {differs}", expected.len(), found.len());
}

#[cfg(test)]
mod tests {
    /// A case that the macro does not name would never run.
    #[test]
    fn every_case_is_named_in_the_macro() {
        let list = include_str!("conformance.rs");
        for file in [
            include_str!("conformance/intake.rs"),
            include_str!("conformance/maildrops.rs"),
            include_str!("conformance/directory.rs"),
            include_str!("conformance/held.rs"),
        ] {
            for case in file.split("pub async fn ").skip(1).map(|rest| rest.split('(').next().unwrap()) {
                assert!(list.lines().any(|line| line.trim() == case), "{case}");
            }
        }
    }
}
