//! What is dead is freed and what is not is moved: nobody loses anything by it, and nothing that was ended comes back.

use std::sync::Arc;

use mail::{BodyType, Envelope, MessageId, ReversePath};
use store::{Decision, Directory as _, Intake as _, Maildrops as _, Quarantine as _};

use crate::store_tests::{ANN, BOB, TRACE, add_accounts, deliver, ids, small, text};
use crate::{Embedded, tender};

const CYD: &str = "cyd@example.org";

#[tokio::test]
async fn segments_are_freed_recycled_and_emptied_and_readers_keep_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    let body = |number: usize| format!("{number:08}").repeat(2500).into_bytes();
    let mut expected = Vec::new();
    for round in 0..6 {
        for number in 0..100 {
            let keeps = number % 20 == 0;
            let id = deliver(&store, if keeps { &[ANN, BOB] } else { &[ANN] }, &body(round * 100 + number)).await.unwrap();
            if keeps {
                expected.push((id, round * 100 + number));
            }
        }
        let reader = store.open(BOB).await.unwrap();
        let maildrop = store.open(ANN).await.unwrap();
        let all = maildrop.listing().to_vec();
        maildrop.update(all).await.unwrap();
        let engine = Arc::clone(store.engine());
        tokio::task::spawn_blocking(move || {
            engine.backlog.barrier_blocking().unwrap();
            (0..8).for_each(|_| tender::tend(&engine));
        })
        .await
        .unwrap();
        for (at, (id, number)) in expected.iter().enumerate() {
            assert_eq!(reader.listing()[at].id, *id);
            assert_eq!(text(&*reader, at).await.unwrap(), [TRACE, &body(*number)].concat());
        }
    }
    let figures = store.figures();
    assert!(figures.moved > 0 && figures.segments <= 6, "{figures:?}");
    assert_eq!(store.verify(&mut |_| {}).unwrap().faults, [""; 0]);
    drop(store);
    Embedded::rebuild_index(dir.path(), small(), &mut |_| {}).unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    assert_eq!(ids(&store, ANN).await, []);
    assert_eq!(ids(&store, BOB).await, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_deletion_is_known_for_as_long_as_the_record_it_ended_exists() {
    let dir = tempfile::tempdir().unwrap();
    let body = vec![b'm'; 20_000];
    let mut store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    for _ in 0..40 {
        deliver(&store, &[ANN, BOB], &body).await.unwrap();
    }
    // The first segment stays for bob's sake; what ended ann's share of it moves on from segment to segment.
    for _ in 0..4 {
        for _ in 0..60 {
            deliver(&store, &[ANN], &body).await.unwrap();
        }
        let maildrop = store.open(ANN).await.unwrap();
        let all = maildrop.listing().to_vec();
        maildrop.update(all).await.unwrap();
        drop(store);
        store = Embedded::open(dir.path(), small()).unwrap();
        let engine = Arc::clone(store.engine());
        tokio::task::spawn_blocking(move || (0..6).for_each(|_| tender::tend(&engine))).await.unwrap();
    }
    // Bob's, and the one that is written to.
    assert_eq!(store.figures().segments, 2, "{:?}", store.figures());
    drop(store);
    Embedded::rebuild_index(dir.path(), small(), &mut |_| {}).unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    assert_eq!((ids(&store, ANN).await.len(), ids(&store, BOB).await.len()), (0, 40));
}

/// A power cut may leave an index that is older than the log: then what has moved is learned again.
#[tokio::test]
async fn a_mark_that_was_carried_is_needed_for_the_same_when_the_index_forgets_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    // The first segment stays for bob's sake.
    for accounts in [[[BOB].as_slice()].repeat(30), [[ANN, BOB].as_slice()].repeat(10), [[ANN].as_slice()].repeat(60)].concat() {
        deliver(&store, accounts, &[b'm'; 20_000]).await.unwrap();
    }
    let maildrop = store.open(ANN).await.unwrap();
    let all = maildrop.listing().to_vec();
    maildrop.update(all).await.unwrap();
    drop(store);
    let (index, older) = (dir.path().join("index.sqlite"), dir.path().join("older"));
    std::fs::copy(&index, &older).unwrap();
    for cut in [true, false] {
        let store = Embedded::open(dir.path(), small()).unwrap();
        deliver(&store, &[BOB], b"The log goes on.\r\n").await.unwrap();
        let engine = Arc::clone(store.engine());
        tokio::task::spawn_blocking(move || {
            engine.backlog.barrier_blocking().unwrap();
            (0..6).for_each(|_| tender::tend(&engine));
        })
        .await
        .unwrap();
        let usage = crate::lock(&store.engine().usage).clone();
        let of_bob = usage.segments.iter().find(|(_, own)| own.rows == 40).map(|(number, _)| *number).unwrap();
        let mut needed_for_bob = usage.needs.iter().filter(|(mark, message)| *message == of_bob && *mark != of_bob);
        assert!(needed_for_bob.any(|(mark, _)| store.engine().shelf.find(*mark).is_some()), "{usage:?}");
        drop(store);
        if cut {
            std::fs::rename(&older, &index).unwrap();
        }
    }
    Embedded::rebuild_index(dir.path(), small(), &mut |_| {}).unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    assert_eq!((ids(&store, ANN).await.len(), ids(&store, BOB).await.len()), (0, 42));
}

/// A segment that cannot be emptied outlives the segments its messages were moved to, and what ended them there.
#[tokio::test]
async fn a_message_that_was_moved_and_deleted_does_not_come_back_from_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    let moved = deliver(&store, &[BOB], b"Moved, then deleted.\r\n").await.unwrap();
    deliver(&store, &[BOB], b"UNREADABLE\r\n").await.unwrap();
    let first = store.engine().shelf.all()[0].number;
    let turn_over = async |store: Embedded, delete: Option<MessageId>| {
        for _ in 0..120 {
            deliver(&store, &[ANN], &[b'm'; 20_000]).await.unwrap();
        }
        let maildrop = store.open(ANN).await.unwrap();
        let all = maildrop.listing().to_vec();
        maildrop.update(all).await.unwrap();
        if let Some(id) = delete {
            let maildrop = store.open(BOB).await.unwrap();
            let one = maildrop.listing().iter().filter(|entry| entry.id == id).cloned().collect();
            maildrop.update(one).await.unwrap();
        }
        drop(store);
        let store = Embedded::open(dir.path(), small()).unwrap();
        let engine = Arc::clone(store.engine());
        tokio::task::spawn_blocking(move || (0..8).for_each(|_| tender::tend(&engine))).await.unwrap();
        store
    };
    let path = dir.path().join(crate::segment::segment_path(first));
    let mut octets = std::fs::read(&path).unwrap();
    let at = memchr::memmem::find(&octets, b"UNREADABLE").unwrap();
    octets[at] ^= 1;
    std::fs::write(&path, octets).unwrap();
    store = turn_over(store, None).await;
    assert!(store.engine().shelf.find(first).is_some(), "something in it cannot be read");
    assert_eq!(crate::lock(&store.engine().usage).of(first).rows, 1, "the other has been moved");
    for delete in [Some(moved), None, None] {
        store = turn_over(store, delete).await;
    }
    drop(store);
    Embedded::rebuild_index(dir.path(), small(), &mut |_| {}).unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    assert!(!ids(&store, BOB).await.contains(&moved), "it has been deleted");
}

/// What is moved is held by whom it was held, and needs no release for those who list it; a release is known for as long as it is needed.
#[tokio::test]
async fn a_held_message_that_is_moved_is_held_by_those_who_have_not_released_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB, CYD]).await;
    let id = MessageId::generate();
    let recipients = [ANN, BOB].map(Into::into).to_vec();
    let envelope = Envelope { id, reverse_path: ReversePath::Null, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
    let mut incoming = store.begin(envelope).await.unwrap();
    incoming.write(b"Held.\r\n").await.unwrap();
    incoming.hold(store::Hold { reason: "because".into(), until: None });
    drop(incoming.commit(TRACE.to_vec()).await.unwrap());
    let mut first = store.engine().shelf.all()[0].number;
    for (decided, expected) in [(None, [0, 0]), (Some(ANN), [1, 0]), (None, [1, 0]), (Some(BOB), [1, 1]), (None, [1, 1])] {
        if decided.is_some() {
            assert_eq!(store.decide(id, decided, Decision::Release).await.unwrap(), 1);
        }
        for moves in [false, true] {
            if moves {
                for _ in 0..120 {
                    deliver(&store, &[CYD], &[b'm'; 20_000]).await.unwrap();
                }
                let maildrop = store.open(CYD).await.unwrap();
                let all = maildrop.listing().to_vec();
                maildrop.update(all).await.unwrap();
                drop(store);
                store = Embedded::open(dir.path(), small()).unwrap();
                let engine = Arc::clone(store.engine());
                tokio::task::spawn_blocking(move || (0..8).for_each(|_| tender::tend(&engine))).await.unwrap();
                assert!(store.engine().shelf.find(first).is_none(), "its segment has been emptied");
                first = store.engine().shelf.all()[0].number;
            }
            assert_eq!(store.verify(&mut |_| {}).unwrap().faults, [""; 0]);
            drop(store);
            Embedded::rebuild_index(dir.path(), small(), &mut |_| {}).unwrap();
            store = Embedded::open(dir.path(), small()).unwrap();
            let listed = [ids(&store, ANN).await.len(), ids(&store, BOB).await.len()];
            let held = store.held(None).await.unwrap();
            assert_eq!((listed, held.len()), (expected, 2 - expected[0] - expected[1]), "{decided:?} {moves}");
            assert!(held.iter().all(|held| held.hold.reason == "because"));
            let loads = [store.load(ANN).await.unwrap().messages, store.load(BOB).await.unwrap().messages];
            assert_eq!(loads, [1, 1], "held or not, it counts");
        }
    }
}
