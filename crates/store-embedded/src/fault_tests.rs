//! One fault of the disk at a time, or damage on it: what the store says of it, and what goes on.

use std::io;
use std::sync::Arc;

use mail::MessageId;
use store::{Directory as _, Error, Intake as _, Maildrops as _};

use crate::crash_tests::{ANN, BOB, World, check_files, template};
use crate::people::People;
use crate::preparer;
use crate::store_tests::{TRACE, deliver, text};

#[tokio::test]
async fn a_failed_sync_ends_all_commits_until_the_store_is_opened_again() {
    let made = tempfile::tempdir().unwrap();
    let world = World::new(&template(made.path()).await);
    let store = world.open().unwrap();
    deliver(&store, &[ANN], b"before\r\n").await.unwrap();
    let engine = Arc::clone(store.engine());
    tokio::task::spawn_blocking(move || while_preparing(&engine)).await.unwrap();
    world.disk.fail_at(world.disk.operations() + 2, io::ErrorKind::Other);
    assert!(matches!(deliver(&store, &[ANN], b"unknown\r\n").await, Err(Error::Unavailable(_))));
    assert!(matches!(store.ready(), Err(Error::Unavailable(_))));
    assert!(matches!(deliver(&store, &[ANN], b"refused\r\n").await, Err(Error::Unavailable(_))));
    assert_eq!(store.figures().state, "poisoned");
    let maildrop = store.open(ANN).await.unwrap();
    assert_eq!(text(&*maildrop, 0).await.unwrap(), [TRACE, b"before\r\n"].concat());
    let first = maildrop.listing()[0];
    assert!(matches!(maildrop.update(vec![first]).await, Err(Error::Unavailable(_))));
    drop(store);
    let store = world.open().unwrap();
    deliver(&store, &[ANN], b"after\r\n").await.unwrap();
    let maildrop = store.open(ANN).await.unwrap();
    assert_eq!(text(&*maildrop, 0).await.unwrap(), [TRACE, b"before\r\n"].concat());
}

/// Waits until the preparer has nothing to do, so that the next operations are the writer's.
fn while_preparing(engine: &Arc<crate::engine::Engine>) {
    while engine.ready.count() < 2 {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn lives_that_end_by_kill_leave_no_segments_behind() {
    let made = tempfile::tempdir().unwrap();
    let mut world = World::new(&template(made.path()).await);
    for life in 0..6 {
        check_files(&world, &format!("life {life}"));
        let store = world.open().unwrap();
        if life % 2 == 0 {
            deliver(&store, &[ANN], b"one\r\n").await.unwrap();
            let engine = Arc::clone(store.engine());
            tokio::task::spawn_blocking(move || while_preparing(&engine)).await.unwrap();
        }
        // Closing writes nothing to the log: its files are as after a kill.
        drop(store);
        world.disk = if life % 3 == 0 { world.disk.after_power_cut(life) } else { world.disk.restarted() };
    }
    let store = world.open().unwrap();
    assert_eq!(store.open(ANN).await.unwrap().listing().len(), 3);
}

#[tokio::test]
async fn a_full_disk_refuses_mail_lets_delete_and_passes() {
    let made = tempfile::tempdir().unwrap();
    let world = World::new(&template(made.path()).await);
    let store = world.open().unwrap();
    deliver(&store, &[ANN], b"before\r\n").await.unwrap();
    let begun = store.begin(mail::Envelope {
        id: MessageId::generate(),
        reverse_path: mail::ReversePath::Null,
        recipients: vec![ANN.into()],
        body: mail::BodyType::SevenBit,
        utf8: false,
        requests: None,
    });
    let mut large = begun.await.unwrap();
    world.disk.set_full(true);
    preparer::tend(store.engine());
    assert!(matches!(store.ready(), Err(Error::Full(_))));
    assert!(matches!(deliver(&store, &[ANN], b"refused\r\n").await, Err(Error::Full(_))));
    assert!(matches!(large.write(&[b'x'; 50_000]).await, Err(Error::Full(_))));
    let maildrop = store.open(ANN).await.unwrap();
    let all = maildrop.listing().to_vec();
    maildrop.update(all).await.unwrap();
    world.disk.set_full(false);
    preparer::tend(store.engine());
    store.ready().unwrap();
    deliver(&store, &[ANN], b"again\r\n").await.unwrap();
    assert_eq!(store.open(ANN).await.unwrap().listing().len(), 1);
}

#[tokio::test]
async fn a_damaged_message_is_said_and_the_others_are_read() {
    let made = tempfile::tempdir().unwrap();
    let world = World::new(&template(made.path()).await);
    let store = world.open().unwrap();
    for number in 0..3u8 {
        deliver(&store, &[ANN], &vec![b'0' + number; 3000]).await.unwrap();
    }
    deliver(&store, &[ANN], &vec![b'F'; 40_000]).await.unwrap();
    let maildrop = store.open(ANN).await.unwrap();
    let log = world.disk.names("log/");
    world.disk.damage(&log[0], 5000);
    world.disk.damage(&world.disk.names("bodies/")[0], 39_999);
    for (at, sound) in [(0, true), (1, false), (2, true), (3, false)] {
        let read = text(&*maildrop, at).await;
        assert!(if sound { read.is_ok() } else { matches!(read, Err(Error::Damaged { id, .. }) if id == maildrop.listing()[at].id) });
    }
    let report = store.verify(&mut |_| {}).unwrap();
    assert_eq!(report.faults.len(), 2, "{:?}", report.faults);
    assert!(report.faults[0].contains(&maildrop.listing()[1].id.to_string()));
}

#[tokio::test]
async fn a_maildrop_without_an_account_is_swept_at_open() {
    let made = tempfile::tempdir().unwrap();
    let world = World::new(&template(made.path()).await);
    let store = world.open().unwrap();
    deliver(&store, &[ANN, BOB], b"for both\r\n").await.unwrap();
    drop(store);
    // As if the power had gone between the directory's commit and the removal of the maildrop.
    let people = People::open(&world.dir.path().join("directory.sqlite")).unwrap();
    people.change(store::Change::RemoveAccount { name: BOB.into() }).unwrap();
    drop(people);
    let store = world.open().unwrap();
    store.change(store::Change::AddAccount { name: BOB.into(), password_hash: "new".into(), verifier: None }).await.unwrap();
    assert_eq!(store.open(BOB).await.unwrap().listing().len(), 0);
    assert_eq!(store.open(ANN).await.unwrap().listing().len(), 1);
}

#[test]
fn any_octets_can_be_a_segment() {
    let mut die = crate::simulated_disk::Die(42);
    for round in 0..300 {
        let mut octets: Vec<u8> = (0..round * 40).map(|_| die.throw() as u8).collect();
        let head = crate::record::encode_segment_head(1, 0x0101_0101_0101_0101);
        octets.splice(..octets.len().min(64), head);
        let places = die.throw() % 20;
        for _ in 0..places {
            let at = (die.throw() as usize % octets.len()) & !7;
            let mut header = crate::record::Header::of_mark(crate::record::Kind::Deletion, &[0; 64]).unwrap();
            header.envelope_bytes = die.throw() as u32;
            header.body_bytes = die.throw();
            let header = header.encode(0x0101_0101_0101_0101);
            let end = octets.len().min(at + 64);
            octets[at..end].copy_from_slice(&header[..end - at]);
        }
        let (records, broken) = crate::fuzzing::walk_segment(&octets);
        assert!(records + broken <= octets.len() / 8 + 1);
    }
}
