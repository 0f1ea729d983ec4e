//! The store as its users see it, on a real disk: the suite every engine passes, and what is this engine's own.

use std::sync::Arc;
use std::time::Duration;

use mail::{BodyType, ByteSize, Envelope, MessageId, Requests, ReversePath, Span};
use store::{Change, Decision, Directory as _, Error, Intake as _, Maildrop, Maildrops as _, Quarantine as _};
use tempfile::TempDir;

use crate::record::KeptEnvelope;
use crate::segment::Found;
use crate::{Embedded, OpenError, Settings, tender, version};

/// This engine, in a directory of its own.
struct OnDisk(TempDir);

impl store::conformance::Engine for OnDisk {
    type Store = Embedded;

    async fn open(&self, grace: Duration) -> Arc<Embedded> {
        let settings = Settings { takeover_grace: Span(grace), ..small() };
        Arc::new(Embedded::open(self.0.path(), settings).unwrap())
    }

    async fn close(&self, store: Arc<Embedded>) {
        store.close();
    }

    fn requests(&self, store: &Embedded, id: MessageId) -> Option<Requests> {
        for segment in store.engine().shelf.all() {
            let mut scan = segment.scan(0);
            while let Some(found) = scan.next().unwrap() {
                if let Found::Record { header, envelope, .. } = found
                    && header.id == id.to_bytes()
                {
                    return KeptEnvelope::decode(envelope).unwrap().requests.map(|requests| *requests);
                }
            }
        }
        panic!("{id} is not in the log");
    }
}

store::conformance!(OnDisk(tempfile::tempdir().unwrap()));

/// Segments small enough to be turned over in a test.
pub(crate) fn small() -> Settings {
    Settings {
        segment: ByteSize::mib(1),
        inline_body: ByteSize::kib(64),
        body_memory: ByteSize::mib(4),
        reserve_free: ByteSize(0),
        takeover_grace: Span::secs(3600),
    }
}

pub(crate) async fn add_accounts(store: &Embedded, names: &[&str]) {
    store.change(Change::PutDomain { name: "example.org".parse().unwrap(), postmaster: None }).await.unwrap();
    for name in names {
        store.change(Change::AddAccount { name: (*name).into(), password_hash: "x".into(), verifier: None }).await.unwrap();
    }
}

pub(crate) async fn deliver(store: &Embedded, accounts: &[&str], body: &[u8]) -> Result<MessageId, Error> {
    let id = MessageId::generate();
    let recipients = accounts.iter().map(|&name| name.into()).collect();
    let envelope = Envelope { id, reverse_path: ReversePath::Null, recipients, body: BodyType::SevenBit, utf8: false, requests: None };
    let mut incoming = store.begin(envelope).await?;
    for piece in body.chunks(10_000) {
        incoming.write(piece).await?;
    }
    Ok(incoming.commit(TRACE.to_vec()).await?.id())
}

pub(crate) const TRACE: &[u8] = b"Received: by test\r\n";

pub(crate) async fn text(maildrop: &dyn Maildrop, at: usize) -> Result<Vec<u8>, Error> {
    let mut body = maildrop.read(&maildrop.listing()[at]).await?;
    let mut text = Vec::new();
    while body.next(&mut text).await? {}
    Ok(text)
}

async fn ids(store: &Embedded, account: &str) -> Vec<MessageId> {
    store.open(account).await.unwrap().listing().iter().map(|entry| entry.id).collect()
}

const ANN: &str = "ann@example.org";
const BOB: &str = "bob@example.org";
const CYD: &str = "cyd@example.org";

#[tokio::test]
async fn the_index_is_rebuilt_when_it_is_gone_or_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    for number in 0..200 {
        deliver(&store, &[ANN, BOB], format!("message {number}\r\n").repeat(20).as_bytes()).await.unwrap();
    }
    deliver(&store, &[ANN], &vec![b'x'; 300_000]).await.unwrap();
    let maildrop = store.open(BOB).await.unwrap();
    let deleted = maildrop.listing()[..150].to_vec();
    maildrop.update(deleted).await.unwrap();
    let before = (ids(&store, ANN).await, ids(&store, BOB).await);
    assert_eq!((before.0.len(), before.1.len()), (201, 50));
    drop(store);
    let index = dir.path().join("index.sqlite");
    for harm in [
        |path: &std::path::Path| std::fs::remove_file(path).unwrap(),
        |path: &std::path::Path| std::fs::write(path, [7; 100_000]).unwrap(),
        |path: &std::path::Path| {
            let mut octets = std::fs::read(path).unwrap();
            octets[4096..].fill(0xA5);
            std::fs::write(path, octets).unwrap();
        },
    ] {
        harm(&index);
        let store = Embedded::open(dir.path(), small()).unwrap();
        assert_eq!((ids(&store, ANN).await, ids(&store, BOB).await), before);
        let report = store.verify(&mut |_| {}).unwrap();
        assert_eq!((report.faults.as_slice(), report.deliveries, report.bodies), (&[][..], 251, 1));
    }
    let mut seen = Vec::new();
    Embedded::rebuild_index(dir.path(), small(), &mut |progress| seen.push(progress)).unwrap();
    assert!(seen.last().is_some_and(|last| last.records >= 202 && last.segments_done == last.segments));
    assert_eq!((ids(&Embedded::open(dir.path(), small()).unwrap(), ANN).await).len(), 201);
}

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

#[tokio::test]
async fn a_directory_that_cannot_be_opened_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), small()).unwrap();
    let in_use = Embedded::open(dir.path(), small()).err().unwrap();
    assert!(matches!(&in_use, OpenError::InUse { pid, .. } if *pid == std::process::id().to_string()), "{in_use}");
    drop(store);
    std::fs::write(dir.path().join("VERSION"), format!("{}\n", version::CURRENT + 1)).unwrap();
    assert!(
        matches!(Embedded::open(dir.path(), small()), Err(OpenError::Newer { found, known: version::CURRENT, .. }) if found == version::CURRENT + 1)
    );
    std::fs::write(dir.path().join("VERSION"), "1\n").unwrap();
    std::fs::remove_file(dir.path().join("directory.sqlite")).unwrap();
    assert!(matches!(Embedded::open(dir.path(), small()), Err(OpenError::NotAStore { .. })));
    std::fs::remove_file(dir.path().join("VERSION")).unwrap();
    assert!(matches!(Embedded::open(dir.path(), small()), Err(OpenError::NotAStore { .. })));
}

#[tokio::test]
async fn memory_is_bounded_by_spilling_and_nothing_is_left_of_what_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), Settings { body_memory: ByteSize::kib(32), ..small() }).unwrap();
    add_accounts(&store, &[ANN]).await;
    let mut arriving = Vec::new();
    for _ in 0..20 {
        let envelope = Envelope {
            id: MessageId::generate(),
            reverse_path: ReversePath::Null,
            recipients: vec![ANN.into()],
            body: BodyType::SevenBit,
            utf8: false,
            requests: None,
        };
        let mut incoming = store.begin(envelope).await.unwrap();
        incoming.write(&[b'y'; 10_000]).await.unwrap();
        arriving.push(incoming);
    }
    assert!(store.figures().body_memory_bytes <= 32 << 10);
    let kept = arriving.split_off(10);
    drop(arriving);
    for incoming in kept {
        drop(incoming.commit(Vec::new()).await.unwrap());
    }
    store.close();
    assert_eq!(store.figures().body_memory_bytes, 0);
    let files = std::fs::read_dir(dir.path().join("bodies")).unwrap().count();
    assert_eq!(files, 10);
    assert!(matches!(deliver(&store, &[ANN], b"late").await, Err(Error::Unavailable(_))));
    drop(store);
    assert_eq!(ids(&Embedded::open(dir.path(), small()).unwrap(), ANN).await.len(), 10);
}

#[tokio::test]
async fn a_life_that_commits_no_record_leaves_the_log_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = || {
        let entries = std::fs::read_dir(dir.path().join("log")).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
        files.sort();
        files
    };
    let change_accounts = async |name: &str| {
        let store = Embedded::open(dir.path(), small()).unwrap();
        add_accounts(&store, &[name]).await;
        drop(store);
        log()
    };
    assert_eq!(change_accounts(ANN).await, []);
    assert_eq!(change_accounts(BOB).await, []);
    let store = Embedded::open(dir.path(), small()).unwrap();
    deliver(&store, &[ANN], b"one\r\n").await.unwrap();
    drop(store);
    let before = change_accounts("cid@example.org").await;
    assert!(before.len() <= 3 && before[0].0 == "0000000000000001.seg", "{before:?}");
    assert_eq!(change_accounts("dan@example.org").await, before);
    let store = Embedded::open(dir.path(), small()).unwrap();
    store.change(Change::RemoveAccount { name: ANN.into() }).await.unwrap();
    drop(store);
    let store = Embedded::open(dir.path(), small()).unwrap();
    add_accounts(&store, &[ANN]).await;
    assert_eq!(ids(&store, ANN).await, []);
}
