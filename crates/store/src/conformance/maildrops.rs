//! Listing, reading and deleting.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use mail::MessageId;
use tokio::task::JoinSet;

use super::{ANN, BOB, Engine, NEVER, accept, ids, listed, maildrop, open, read, reopen, same, texts, whole};
use crate::{Error, Store};

/// RFC 1939 §8: message numbers mean the same for a whole session.
pub async fn an_open_listing_does_not_change(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let old = accept(&*store, &[ANN], b"old\r\n").await;
    let opened = maildrop(&*store, ANN).await;
    let new = accept(&*store, &[ANN], b"new\r\n").await;
    assert_eq!(ids(&*opened), [old]);
    let entry = opened.listing().first().copied().unwrap();
    assert_eq!(read(&*opened, &entry).await, whole(b"old\r\n"), "it can be read while mail comes in");
    drop(opened);
    assert_eq!(listed(&*store, ANN).await, [old, new]);
}

/// RFC 1939 §4: an exclusive lock, answered at once.
pub async fn a_maildrop_is_held_by_one_session(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let first = maildrop(&*store, ANN).await;
    refused(&*store, ANN).await;
    let _another = maildrop(&*store, BOB).await;
    drop(first);
    let second = maildrop(&*store, ANN).await;
    refused(&*store, ANN).await;
    second.update(Vec::new()).await.unwrap();
    maildrop(&*store, ANN).await;
}

async fn refused(store: &impl Store, account: &str) {
    let answer = store.open(account).await;
    assert!(matches!(answer, Err(Error::InUse)), "a second session gets InUse, not {:?}", answer.map(|_| "the maildrop"));
}

/// With no grace time at all the next session has the maildrop; the old one learns it and can no longer delete.
pub async fn a_silent_session_is_taken_over_and_deletes_nothing(engine: &impl Engine) {
    let store = open(engine, Duration::ZERO).await;
    let id = accept(&*store, &[ANN], b"wanted by both\r\n").await;
    let old = maildrop(&*store, ANN).await;
    assert!(!old.lease().is_revoked());
    let new = maildrop(&*store, ANN).await;
    old.lease().revoked().await;
    let all = old.listing().to_vec();
    let answer = old.update(all).await;
    assert!(matches!(answer, Err(Error::InUse)), "an update after a take-over gets InUse, not {answer:?}");
    assert_eq!(ids(&*new), [id]);
    let entry = new.listing().first().copied().unwrap();
    same(&read(&*new, &entry).await, &whole(b"wanted by both\r\n"), "the newcomer reads it");
    new.update(vec![entry]).await.unwrap();
    assert_eq!(listed(&*store, ANN).await, []);
}

/// RFC 1939 §6: the update at QUIT, all of it, and for good.
pub async fn an_update_deletes_what_it_names_and_nothing_else(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let bodies: Vec<_> = (0..10).map(|number| format!("message {number}\r\n").into_bytes()).collect();
    for body in &bodies {
        accept(&*store, &[ANN, BOB], body).await;
    }
    let opened = maildrop(&*store, ANN).await;
    let odd: Vec<_> = opened.listing().iter().skip(1).step_by(2).copied().collect();
    opened.update(odd).await.unwrap();
    let even: Vec<_> = bodies.iter().step_by(2).map(|body| whole(body)).collect();
    assert_eq!(texts(&*store, ANN).await, even);
    let store = reopen(engine, store).await;
    assert_eq!(texts(&*store, ANN).await, even, "after a restart");
    assert_eq!(texts(&*store, BOB).await.len(), 10, "another's mail is untouched");
}

/// RFC 1939 §6: a session that ends without QUIT removes nothing.
pub async fn a_maildrop_dropped_without_update_keeps_everything(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let id = accept(&*store, &[ANN], b"stays\r\n").await;
    let opened = maildrop(&*store, ANN).await;
    let entry = opened.listing().first().copied().unwrap();
    read(&*opened, &entry).await;
    drop(opened);
    // A message half read is no hold on the maildrop, either.
    let opened = maildrop(&*store, ANN).await;
    drop(opened.read(&entry).await.unwrap());
    opened.update(Vec::new()).await.unwrap();
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, [id]);
}

/// RFC 1939 §7: a unique-id names one message for ever.
pub async fn unique_ids_never_change_and_never_return(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    let (mut kept, mut seen) = (Vec::new(), HashSet::new());
    for round in 0..4 {
        for number in 0..5 {
            let id = accept(&*store, &[ANN], format!("{round} {number}\r\n").as_bytes()).await;
            assert!(seen.insert(id), "an id came back");
            kept.push(id);
        }
        let opened = maildrop(&*store, ANN).await;
        assert_eq!(ids(&*opened), kept);
        // The newest goes: the place it had is the one most easily given away again.
        let newest = opened.listing().last().copied().unwrap();
        opened.update(vec![newest]).await.unwrap();
        kept.pop();
        store = reopen(engine, store).await;
        assert_eq!(listed(&*store, ANN).await, kept);
    }
}

/// Two clients' worth of reading in one session, and mail coming in between.
pub async fn bodies_are_read_side_by_side(engine: &impl Engine) {
    let store = open(engine, NEVER).await;
    let (long, longer) = (vec![b'a'; 300_000], vec![b'b'; 700_000]);
    accept(&*store, &[ANN], &long).await;
    accept(&*store, &[ANN], &longer).await;
    let opened = maildrop(&*store, ANN).await;
    let entries = opened.listing().to_vec();
    let [first, second] = entries.as_slice() else { panic!("two messages are listed") };
    let (mut one, mut two) = (opened.read(first).await.unwrap(), opened.read(second).await.unwrap());
    let (mut one_text, mut two_text) = (Vec::new(), Vec::new());
    let (mut more_of_one, mut more_of_two) = (true, true);
    while more_of_one || more_of_two {
        if more_of_one {
            more_of_one = one.next(&mut one_text).await.unwrap();
        }
        accept(&*store, &[BOB], b"meanwhile\r\n").await;
        if more_of_two {
            more_of_two = two.next(&mut two_text).await.unwrap();
        }
    }
    same(&one_text, &whole(&long), "the first");
    same(&two_text, &whole(&longer), "the second");
}

/// Large maildrops are ordinary: listed whole, emptied in one step.
pub async fn a_maildrop_of_thousands_is_listed_and_emptied(engine: &impl Engine) {
    const MESSAGES: usize = 4000;
    let store = open(engine, NEVER).await;
    let mut senders = JoinSet::new();
    for sender in 0..40 {
        let store = Arc::clone(&store);
        senders.spawn(async move {
            for number in 0..MESSAGES / 40 {
                accept(&*store, &[ANN], format!("{sender} {number}\r\n").as_bytes()).await;
            }
        });
    }
    senders.join_all().await;
    let store = reopen(engine, store).await;
    let opened = maildrop(&*store, ANN).await;
    let unique: HashSet<MessageId> = ids(&*opened).into_iter().collect();
    assert_eq!((opened.listing().len(), unique.len()), (MESSAGES, MESSAGES));
    let (last, rest) = opened.listing().split_last().map(|(last, rest)| (*last, rest.to_vec())).unwrap();
    opened.update(rest).await.unwrap();
    assert_eq!(listed(&*store, ANN).await, [last.id]);
    let store = reopen(engine, store).await;
    assert_eq!(listed(&*store, ANN).await, [last.id], "after a restart");
}
