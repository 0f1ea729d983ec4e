//! The store stopped at every operation of its disk, and what must be true afterwards.
//!
//! One script of deliveries, large bodies, held messages, deletions, compaction and a restart is run again and again; each time the power is cut, or
//! one operation fails, one operation later. Then the store is opened on what the disk has kept, with its index as it was, with an
//! older one, or with none, and compared with what was acknowledged. The index and the directory are on the real disk: they are
//! SQLite's affair.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mail::{ByteSize, MessageId};
use store::{Decision, Error, Intake as _, Maildrops as _, Quarantine as _};

use crate::recovery::Recovered;
use crate::segment::Segment;
use crate::simulated_disk::SimulatedDisk;
use crate::store_tests::{TRACE, add_accounts, deliver, small, text};
use crate::{Embedded, OpenError, Settings, lock, opening::Places, preparer, tender};

pub(crate) const ANN: &str = "ann@example.org";
pub(crate) const BOB: &str = "bob@example.org";

/// What the store has promised about one message of one maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Asked for and not answered: there or not, but whole.
    Open,
    Kept,
    Deleted,
}

/// Whether one message of one maildrop is held: where nothing is said, it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Kept,
    /// Its end was asked for and not answered.
    Open,
}

#[derive(Default)]
struct Promises(Mutex<Promised>, Mutex<BTreeMap<(&'static str, MessageId), Hold>>);

/// By account and message: the promise, and the body it is about.
type Promised = BTreeMap<(&'static str, MessageId), (Promise, Vec<u8>)>;

impl Promises {
    fn set(&self, account: &'static str, id: MessageId, promise: Promise, body: &[u8]) {
        lock(&self.0).insert((account, id), (promise, body.to_vec()));
    }

    fn change(&self, account: &'static str, id: MessageId, promise: Promise) {
        lock(&self.0).get_mut(&(account, id)).unwrap().0 = promise;
    }
}

pub(crate) struct World {
    pub(crate) disk: SimulatedDisk,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(template: &Path) -> Self {
        // In memory where that can be: only SQLite is there, thousands of times, and it is not what is tested.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::copy(template, dir.path().join("directory.sqlite")).unwrap();
        Self { disk: SimulatedDisk::default(), dir }
    }

    pub(crate) fn open(&self) -> Result<Embedded, OpenError> {
        let path = |name| self.dir.path().join(name);
        let places = Places { disk: Arc::new(self.disk.clone()), index: path("index.sqlite"), directory: path("directory.sqlite") };
        let settings = Settings { segment: ByteSize::kib(64), inline_body: ByteSize::kib(16), reserve_free: ByteSize(1), ..small() };
        Embedded::start(places, settings, None, &mut |_| {})
    }
}

/// A directory with both accounts.
pub(crate) async fn template(dir: &Path) -> std::path::PathBuf {
    let store = Embedded::open(dir, small()).unwrap();
    add_accounts(&store, &[ANN, BOB]).await;
    drop(store);
    dir.join("directory.sqlite")
}

async fn promise_delivery(
    store: &Embedded,
    promises: &Promises,
    accounts: &[&'static str],
    body: Vec<u8>,
    is_held: bool,
) -> Result<(), Error> {
    let id = MessageId::generate();
    let recipients = accounts.iter().map(|&name| name.into()).collect();
    let reverse_path = mail::ReversePath::Null;
    accounts.iter().for_each(|account| promises.set(account, id, Promise::Open, &body));
    let envelope = mail::Envelope { id, reverse_path, recipients, body: mail::BodyType::SevenBit, utf8: false, requests: None };
    let mut incoming = store.begin(envelope).await?;
    for piece in body.chunks(5000) {
        incoming.write(piece).await?;
    }
    if is_held {
        incoming.hold(store::Hold { reason: "held".into(), until: None });
        lock(&promises.1).extend(accounts.iter().map(|account| ((*account, id), Hold::Kept)));
    }
    drop(incoming.commit(TRACE.to_vec()).await?);
    accounts.iter().for_each(|account| promises.change(account, id, Promise::Kept));
    Ok(())
}

async fn promise_deletion(store: &Embedded, promises: &Promises, account: &'static str, keep_each: usize) -> Result<(), Error> {
    let maildrop = store.open(account).await?;
    let entries = maildrop.listing().iter().enumerate();
    let deleted: Vec<_> = entries.filter(|(at, _)| at % keep_each != 0).map(|(_, entry)| *entry).collect();
    deleted.iter().for_each(|entry| promises.change(account, entry.id, Promise::Open));
    maildrop.update(deleted.clone()).await?;
    deleted.iter().for_each(|entry| promises.change(account, entry.id, Promise::Deleted));
    Ok(())
}

/// Of three that are held one is released, one kept and one removed.
async fn promise_decisions(store: &Embedded, promises: &Promises) -> Result<(), Error> {
    for (at, held) in store.held(None).await?.into_iter().enumerate().filter(|(at, _)| at % 3 != 1) {
        let account = if *held.account == *ANN { ANN } else { BOB };
        if at % 3 == 0 {
            lock(&promises.1).insert((account, held.id), Hold::Open);
            assert_eq!(store.decide(held.id, Some(account), Decision::Release).await?, 1);
            lock(&promises.1).remove(&(account, held.id));
        } else {
            promises.change(account, held.id, Promise::Open);
            assert_eq!(store.decide(held.id, Some(account), Decision::Remove).await?, 1);
            promises.change(account, held.id, Promise::Deleted);
        }
    }
    Ok(())
}

async fn tend(store: &Embedded) {
    let engine = Arc::clone(store.engine());
    let tended = tokio::task::spawn_blocking(move || {
        if engine.backlog.barrier_blocking().is_ok() {
            tender::tend(&engine);
            tender::tend(&engine);
        }
    });
    tended.await.unwrap();
}

/// Does what it can; an error ends one life, not the script. Answers how many records were moved.
async fn script(world: &World, promises: &Promises) -> u64 {
    let mut moved = 0;
    for life in 0..2u8 {
        let Ok(store) = world.open() else { return moved };
        let outcome: Result<(), Error> = async {
            for number in 0..if life == 0 { 16 } else { 7 } {
                let accounts: &[&'static str] = [&[ANN][..], &[BOB], &[ANN, BOB]][usize::from(number % 3)];
                let body = vec![b'a' + number; 3000 + usize::from(number) * 500];
                promise_delivery(&store, promises, accounts, body, number % 5 == 2).await?;
            }
            promise_delivery(&store, promises, &[ANN, BOB], vec![b'L' + life; 40_000], life == 1).await?;
            promise_deletion(&store, promises, ANN, 5).await?;
            promise_deletion(&store, promises, BOB, 3).await?;
            promise_decisions(&store, promises).await?;
            if life == 0 {
                let old = world.dir.path().join("old.sqlite").to_string_lossy().into_owned();
                store.engine().listings.with_connection(|db| db.execute("VACUUM INTO ?", [old]))?;
            }
            tend(&store).await;
            promise_delivery(&store, promises, &[ANN], vec![b'z'; 12_000], false).await?;
            promise_decisions(&store, promises).await?;
            promise_deletion(&store, promises, ANN, 2).await?;
            tend(&store).await;
            Ok(())
        }
        .await;
        drop(outcome);
        moved += store.figures().moved;
    }
    moved
}

/// Opening leaves no segment that was never written, and no more spares than are worth keeping.
pub(crate) fn check_files(world: &World, what: &str) {
    let recovered = crate::recovery::recover(&world.disk, 64 << 10, &world.dir.path().join("index.sqlite"), &mut |_| {});
    let Recovered { segments, spares, .. } = recovered.unwrap_or_else(|error| panic!("{what}: {error}"));
    let is_used = |segment: &Segment| segment.scan(0).next().unwrap().is_some();
    assert!(segments.last().is_none_or(is_used), "{what}: a segment that was never written is still in the log");
    assert!(spares.len() <= preparer::SPARES, "{what}: {spares:?}");
    assert_eq!(world.disk.names("log/").len(), segments.len() + spares.len(), "{what}: {:?}", world.disk.names("log/"));
}

/// Opens what is left and compares it with the promises.
async fn check(world: &World, promises: &Promises, what: &str) {
    check_files(world, what);
    let store = world.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let (promises, mut holds) = (lock(&promises.0).clone(), lock(&promises.1).clone());
    let mut seen = Vec::new();
    let listed = async |account: &'static str| store.open(account).await.unwrap().listing().to_vec();
    for (account, entries) in [(ANN, listed(ANN).await), (BOB, listed(BOB).await)] {
        for entry in entries {
            assert_ne!(holds.remove(&(account, entry.id)), Some(Hold::Kept), "{what}: {} of {account} is listed", entry.id);
        }
    }
    for held in store.held(None).await.unwrap() {
        let account = if *held.account == *ANN { ANN } else { BOB };
        assert!(holds.remove(&(account, held.id)).is_some(), "{what}: {} of {account} is held", held.id);
        assert_eq!((&*held.sender, &*held.hold.reason), ("<>", "held"), "{what}");
        assert_eq!(store.decide(held.id, Some(account), Decision::Release).await.unwrap(), 1, "{what}");
    }
    for account in [ANN, BOB] {
        let maildrop = store.open(account).await.unwrap();
        for (at, entry) in maildrop.listing().iter().enumerate() {
            let (promise, body) = promises.get(&(account, entry.id)).unwrap_or_else(|| panic!("{what}: {} was never sent", entry.id));
            assert_ne!(*promise, Promise::Deleted, "{what}: {} of {account} has come back", entry.id);
            let found = text(&*maildrop, at).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(found == [TRACE, body].concat(), "{what}: {} of {account} is not what was sent", entry.id);
            seen.push((account, entry.id));
        }
    }
    for ((account, id), (promise, _)) in &promises {
        assert!(*promise != Promise::Kept || seen.contains(&(*account, *id)), "{what}: {id} of {account} is lost");
    }
    for name in world.disk.names("bodies/") {
        assert!(seen.iter().any(|(_, id)| name.ends_with(&id.to_string())), "{what}: {name} is left over");
    }
    let report = store.verify(&mut |_| {}).unwrap();
    assert!(report.is_sound(), "{what}: {:?}", report.faults);
    deliver(&store, &[ANN], b"life goes on\r\n").await.unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// Puts the index into one of the states a crash may leave it in.
fn harm_index(dir: &Path, variant: u64) {
    let (index, old) = (dir.join("index.sqlite"), dir.join("old.sqlite"));
    if !variant.is_multiple_of(3) {
        crate::recovery::remove_index(&index).unwrap();
    }
    if variant % 3 == 1 && old.exists() {
        std::fs::copy(old, index).unwrap();
    }
}

/// Runs the script with the harm done at each operation in turn.
async fn at_every_operation(harm: fn(&SimulatedDisk, u64), power_cut: bool) {
    let made = tempfile::tempdir().unwrap();
    let template = template(made.path()).await;
    let whole = World::new(&template);
    let moved = script(&whole, &Promises::default()).await;
    assert!(moved > 0, "the script empties a segment");
    let operations = whole.disk.operations();
    assert!(operations > 100, "the script has {operations} operations");
    for at in 1..=operations + 5 {
        let (mut world, promises) = (World::new(&template), Promises::default());
        harm(&world.disk, at);
        script(&world, &promises).await;
        world.disk = if power_cut { world.disk.after_power_cut(at) } else { world.disk.restarted() };
        harm_index(world.dir.path(), at);
        check(&world, &promises, &format!("operation {at}")).await;
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut_at_any_operation() {
    at_every_operation(SimulatedDisk::cut_at, true).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_any_operation_fails() {
    at_every_operation(|disk, at| disk.fail_at(at, io::ErrorKind::Other), true).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_any_operation_finds_the_disk_full() {
    at_every_operation(|disk, at| disk.fail_at(at, io::ErrorKind::StorageFull), false).await;
}
