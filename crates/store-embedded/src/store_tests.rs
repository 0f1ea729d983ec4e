//! The store as its users see it, on a real disk: the suite every engine passes, and what is this engine's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mail::{BodyType, ByteSize, Envelope, MessageId, Requests, ReversePath, Span};
use store::{Change, Directory as _, Error, Intake as _, Maildrop, Maildrops as _};
use tempfile::TempDir;

use crate::index::has_other_format;
use crate::record::KeptEnvelope;
use crate::segment::Found;
use crate::{Embedded, OpenError, Settings, version};

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

pub(crate) async fn ids(store: &Embedded, account: &str) -> Vec<MessageId> {
    store.open(account).await.unwrap().listing().iter().map(|entry| entry.id).collect()
}

pub(crate) const ANN: &str = "ann@example.org";
pub(crate) const BOB: &str = "bob@example.org";

#[tokio::test]
async fn the_index_is_rebuilt_when_it_is_gone_damaged_or_of_another_format() {
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
    for (harm, has_format_of_another) in [
        ((|path| std::fs::remove_file(path).unwrap()) as fn(&Path), false),
        (|path| std::fs::write(path, [7; 100_000]).unwrap(), false),
        (
            |path| {
                let mut octets = std::fs::read(path).unwrap();
                octets[4096..].fill(0xA5);
                std::fs::write(path, octets).unwrap();
            },
            false,
        ),
        // As versions before 6 of the data directory left it.
        (
            |path| {
                let older = "DROP INDEX held; ALTER TABLE deliveries DROP COLUMN until; PRAGMA user_version = 1";
                rusqlite::Connection::open(path).unwrap().execute_batch(older).unwrap();
            },
            true,
        ),
    ] {
        assert!(!has_other_format(&index), "it is ours");
        harm(&index);
        assert_eq!(has_other_format(&index), has_format_of_another);
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
