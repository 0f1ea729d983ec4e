//! Messages that are accepted and not listed.

use std::time::{Duration, SystemTime};

use mail::MessageId;

use super::{ANN, BOB, CYD, Engine, NEVER, TRACE, accept, change, envelope, listed, maildrop, open, read, reopen, whole};
use crate::{Change, Decision, Directory as _, HELD_PIECE, Hold, Quarantine, Store};

async fn hold(store: &impl Store, recipients: &[&str], body: &[u8]) -> MessageId {
    hold_until(store, recipients, body, None).await
}

async fn hold_until(store: &impl Store, recipients: &[&str], body: &[u8], until: Option<SystemTime>) -> MessageId {
    let envelope = envelope(recipients);
    let id = envelope.id;
    let mut incoming = store.begin(envelope).await.unwrap();
    incoming.write(body).await.unwrap();
    incoming.hold(Hold { reason: "dmarc fail: it says so".into(), until });
    assert_eq!(incoming.commit(TRACE.to_vec()).await.unwrap().id(), id, "it has its receipt");
    id
}

/// The whole of a message that is held, read from octet `from` on in pieces.
async fn text(store: &impl Quarantine, id: MessageId, from: usize) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let piece = store.text(id, (from + text.len()) as u64).await.unwrap()?;
        if piece.is_empty() {
            return Some(text);
        }
        assert!(piece.len() <= HELD_PIECE);
        text.extend(piece);
    }
}

async fn held(store: &impl Quarantine, account: Option<&str>) -> Vec<(MessageId, String)> {
    store.held(account).await.unwrap().into_iter().map(|held| (held.id, held.account.to_string())).collect()
}

/// As durable as any other and counted by quotas; when it is released it is where it would have been.
pub async fn a_held_message_is_kept_and_not_listed_until_it_is_released(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    let begun = SystemTime::now();
    let first = accept(&*store, &[ANN], b"first\r\n").await;
    let id = hold(&*store, &[ANN], b"held").await;
    let last = accept(&*store, &[ANN], b"last\r\n").await;
    for restarts in [false, true] {
        if restarts {
            store = reopen(engine, store).await;
        }
        assert_eq!(listed(&*store, ANN).await, [first, last]);
        assert_eq!(store.load(ANN).await.unwrap().messages, 3, "it counts");
        let [only] = &store.held(None).await.unwrap()[..] else { panic!("one is held") };
        let expected = (id, ANN, "<sender@example.com>", whole(b"held").len() as u64 + 2, "dmarc fail: it says so");
        assert_eq!((only.id, &*only.account, &*only.sender, only.octets, &*only.hold.reason), expected);
        assert_eq!(text(&*store, id, 0).await.unwrap(), [TRACE, b"held"].concat(), "as it was stored");
        assert_eq!((text(&*store, first, 0).await, text(&*store, MessageId::generate(), 0).await), (None, None), "they are not held");
        let age = only.received.duration_since(begun).unwrap_or_else(|early| early.duration());
        assert!(age.as_secs() < 3600, "{age:?}");
    }
    let opened = maildrop(&*store, ANN).await;
    assert_eq!(store.decide(first, None, Decision::Release).await.unwrap(), 0, "that one is not held");
    assert_eq!(store.decide(id, Some(BOB), Decision::Release).await.unwrap(), 0, "nor is it bob's");
    assert_eq!(store.decide(id, Some(ANN), Decision::Release).await.unwrap(), 1);
    assert_eq!(store.decide(id, None, Decision::Remove).await.unwrap(), 0, "it is not held any more");
    assert_eq!(opened.listing().len(), 2, "a listing does not change");
    drop(opened);
    for restarts in [false, true] {
        if restarts {
            store = reopen(engine, store).await;
        }
        assert_eq!(held(&*store, None).await, []);
        assert_eq!(listed(&*store, ANN).await, [first, id, last]);
        let opened = maildrop(&*store, ANN).await;
        let entry = opened.listing().get(1).copied().unwrap();
        assert_eq!(read(&*opened, &entry).await, whole(b"held"));
    }
}

/// Nothing that is listed is touched, nor what is held for a time; the rest goes in steps, oldest first.
pub async fn what_nobody_has_decided_about_goes_when_it_is_old(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    let (begun, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let listed_one = accept(&*store, &[ANN], b"listed\r\n").await;
    let first = hold(&*store, &[ANN], b"first").await;
    let released = hold(&*store, &[ANN], b"released").await;
    // Of one millisecond none is the older.
    while MessageId::earliest(SystemTime::now()) <= first {
        tokio::task::yield_now().await;
    }
    let second = hold(&*store, &[BOB, CYD], b"second").await;
    let later = hold_until(&*store, &[ANN], b"later", Some(begun + 24 * hour)).await;
    assert_eq!(store.decide(released, None, Decision::Release).await.unwrap(), 1);
    assert_eq!(store.expire(begun - hour, 10).await.unwrap().messages, 0, "not old enough");
    assert_eq!(held(&*store, None).await.len(), 4);
    let one = store.expire(begun + hour, 1).await.unwrap();
    assert_eq!((one.messages, one.octets), (1, whole(b"first").len() as u64 + 2));
    let mut left = held(&*store, None).await;
    left.sort_by(|one, other| one.1.cmp(&other.1));
    assert_eq!(left, [(later, ANN.to_owned()), (second, BOB.to_owned()), (second, CYD.to_owned())], "the oldest");
    assert_eq!(store.expire(begun + hour, 10).await.unwrap().messages, 2);
    for restarts in [false, true] {
        if restarts {
            store = reopen(engine, store).await;
        }
        assert_eq!(held(&*store, None).await, [(later, ANN.to_owned())]);
        assert_eq!((listed(&*store, ANN).await, listed(&*store, BOB).await), (vec![listed_one, released], vec![]));
        assert_eq!(store.decide(first, None, Decision::Release).await.unwrap(), 0, "it is gone");
        assert_eq!(store.expire(begun + hour, 10).await.unwrap().messages, 0);
        assert_eq!(store.load(ANN).await.unwrap().messages, 3);
    }
}

/// Each maildrop's share is held by itself.
pub async fn what_is_held_is_decided_about_in_each_maildrop(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    let large = b"x".repeat(HELD_PIECE + 300_000);
    let id = hold(&*store, &[ANN, BOB, CYD], &large).await;
    let shown = text(&*store, id, 0).await.unwrap();
    assert!(shown == [TRACE, &large[..]].concat() && text(&*store, id, 7).await.as_deref() == shown.get(7..));
    assert_eq!(store.text(id, u64::MAX).await.unwrap(), Some(Vec::new()), "there is no more");
    assert_eq!(held(&*store, Some(BOB)).await, [(id, BOB.to_owned())]);
    assert_eq!(held(&*store, Some("nobody@example.org")).await, []);
    assert_eq!(store.decide(id, Some(BOB), Decision::Release).await.unwrap(), 1);
    assert_eq!(store.decide(id, Some(CYD), Decision::Remove).await.unwrap(), 1);
    let second = hold(&*store, &[CYD], b"goes with its account\r\n").await;
    let mut left = held(&*store, None).await;
    assert_eq!(left, [(id, ANN.to_owned()), (second, CYD.to_owned())]);
    change(&*store, Change::RemoveAccount { name: CYD.into() }).await;
    left.truncate(1);
    for restarts in [false, true] {
        if restarts {
            store = reopen(engine, store).await;
        }
        assert_eq!(held(&*store, None).await, left);
        assert_eq!((listed(&*store, ANN).await, listed(&*store, BOB).await), (vec![], vec![id]));
    }
    assert_eq!(store.decide(id, None, Decision::Remove).await.unwrap(), 1, "where it is still held");
    let opened = maildrop(&*store, BOB).await;
    let entry = opened.listing().first().copied().unwrap();
    assert_eq!(read(&*opened, &entry).await, whole(&large), "the others' copy is theirs");
    assert_eq!(held(&*store, None).await, []);
}

/// It is in the listing of the first session after its time, whatever was listed before, and nobody need be there to see it come.
pub async fn what_is_held_for_a_time_is_listed_when_it_has_come(engine: &impl Engine) {
    let mut store = open(engine, NEVER).await;
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let past = hold_until(&*store, &[ANN], b"past\r\n", Some(now - day)).await;
    let later = hold_until(&*store, &[ANN], b"later\r\n", Some(now + day)).await;
    for restarts in [false, true] {
        if restarts {
            store = reopen(engine, store).await;
        }
        assert_eq!(listed(&*store, ANN).await, [past]);
        assert_eq!(held(&*store, None).await, [(later, ANN.to_owned())]);
        let until = store.held(None).await.unwrap().first().and_then(|held| held.hold.until).unwrap();
        assert!((now + day).duration_since(until).unwrap() < Duration::from_millis(1), "to the millisecond");
        assert_eq!(store.load(ANN).await.unwrap().messages, 2, "it counts");
    }
    let soon = hold_until(&*store, &[ANN, BOB], b"soon\r\n", Some(SystemTime::now() + Duration::from_millis(500))).await;
    let begun = SystemTime::now();
    let mut seen = listed(&*store, ANN).await;
    while seen == [past] {
        assert!(begun.elapsed().unwrap_or_default() < Duration::from_secs(60), "its time has come");
        tokio::task::yield_now().await;
        seen = listed(&*store, ANN).await;
    }
    assert_eq!(seen, [past, soon]);
    assert_eq!(store.decide(soon, None, Decision::Remove).await.unwrap(), 0, "it is held no more");
    assert_eq!(store.decide(later, None, Decision::Release).await.unwrap(), 1);
    let opened = maildrop(&*store, ANN).await;
    let all = opened.listing().to_vec();
    assert_eq!(all.iter().map(|entry| entry.id).collect::<Vec<_>>(), [past, later, soon]);
    opened.update(all).await.unwrap();
    let store = reopen(engine, store).await;
    assert_eq!((listed(&*store, ANN).await, listed(&*store, BOB).await), (vec![], vec![soon]));
}
