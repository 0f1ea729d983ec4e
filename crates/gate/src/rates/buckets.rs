//! Who has taken how much: one number for each key, in a table with a bound.
//!
//! The number is when the key's bucket will be full again. A bucket that is full again is the same as none, so those keys are
//! the first to go, all of them at once and at most once a second. When the table holds only others, a key that is not in it
//! is counted in one of [`SHARED`] buckets that it shares with whoever hashes there: what they take together is held against
//! each of them, so nobody gets more than alone, and an innocent one may be refused with the others. A key that moves from
//! there into the table takes the shared number with it.
//!
//! Keys are hashes with a secret of the limiter's own. Two keys with the same one would share a bucket; that takes a table of
//! billions. Every change is one step under the lock of the key's part of the table, or on one atomic.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use dashmap::{DashMap, Entry};
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::Told;

/// When the buckets will be full again, in nanoseconds on the limiter's clock; 0 is none. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Buckets(Arc<Table>);

#[derive(Debug)]
struct Table {
    own: DashMap<u64, u64>,
    keys: AtomicUsize,
    keys_most: usize,
    shared: Box<[AtomicU64]>,
    clock: Told,
    swept_again: AtomicU64,
}

impl Buckets {
    /// With so many buckets for keys that find no room in the table; with none those have a fresh one each time.
    pub(super) fn new(keys_most: usize, shared: usize, clock: Told) -> Self {
        let shared = (0..shared).map(|_| AtomicU64::new(0)).collect();
        let (own, keys, swept_again) = (DashMap::new(), AtomicUsize::new(0), AtomicU64::new(0));
        Self(Arc::new(Table { own, keys, keys_most, shared, clock, swept_again }))
    }

    /// The most memory it takes for so many keys.
    pub(super) const fn octets(keys_most: usize) -> usize {
        SHARED * size_of::<AtomicU64>() + FIXED_OCTETS + keys_most * KEY_OCTETS
    }

    pub(super) fn keys(&self) -> usize {
        self.0.keys.load(Relaxed)
    }

    /// Changes a key's number, wherever it is.
    pub(super) fn change(&self, key: u64, change: impl Fn(u64) -> u64) {
        let changed = self.measure_and_replace(&key, |full_at| Ok::<_, ()>(((), Nanos::new(change(full_at.map_or(0, Nanos::as_u64))))));
        changed.unwrap_or_default();
        let now = self.0.clock.nanos();
        if self.0.own.remove_if(&key, |_, full_at| *full_at <= now).is_some() {
            self.0.keys.fetch_sub(1, Relaxed);
        }
    }
}

impl Table {
    /// Takes room for one key more, if there is any.
    fn takes_room(&self) -> bool {
        self.keys.fetch_update(Relaxed, Relaxed, |keys| (keys < self.keys_most).then_some(keys + 1)).is_ok()
    }

    /// Forgets the keys whose buckets are full again.
    fn sweep(&self) {
        let (now, due) = (self.clock.nanos(), self.swept_again.load(Relaxed));
        let mine = now >= due && self.swept_again.compare_exchange(due, now.saturating_add(SWEEP_NANOS), Relaxed, Relaxed).is_ok();
        if mine {
            self.own.retain(|_, full_at| {
                let stays = *full_at > now;
                if !stays {
                    self.keys.fetch_sub(1, Relaxed);
                }
                stays
            });
        }
    }
}

/// Decides in a bucket that keys share.
fn decide_shared<T, E>(shared: &AtomicU64, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    let mut before = shared.load(Relaxed);
    loop {
        let (outcome, after) = decide(known(before))?;
        match shared.compare_exchange_weak(before, after.as_u64(), Relaxed, Relaxed) {
            Ok(_) => return Ok(outcome),
            Err(now) => before = now,
        }
    }
}

impl StateStore for Buckets {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let table = &*self.0;
        if self.keys() >= table.keys_most {
            table.sweep();
        }
        // Where nothing is shared this is.
        let absent = AtomicU64::new(0);
        let shared = table.shared.get((*key % SHARED as u64) as usize).unwrap_or(&absent);
        match table.own.entry(*key) {
            Entry::Occupied(mut own) => {
                let (outcome, after) = decide(known(*own.get()))?;
                own.insert(after.as_u64());
                Ok(outcome)
            }
            Entry::Vacant(vacant) => {
                if !table.takes_room() {
                    drop(vacant);
                    return decide_shared(shared, decide);
                }
                match decide(known(shared.load(Relaxed))) {
                    Ok((outcome, after)) => {
                        vacant.insert(after.as_u64());
                        Ok(outcome)
                    }
                    Err(refusal) => {
                        table.keys.fetch_sub(1, Relaxed);
                        Err(refusal)
                    }
                }
            }
        }
    }
}

fn known(full_at: u64) -> Option<Nanos> {
    (full_at != 0).then(|| Nanos::new(full_at))
}

/// 64 KiB of them.
pub(super) const SHARED: usize = 8 << 10;

/// A key and its number in a table that is never more than half empty, and is copied when it grows.
const KEY_OCTETS: usize = 96;

/// What the parts of an empty table take.
const FIXED_OCTETS: usize = 32 << 10;

const SWEEP_NANOS: u64 = 1_000_000_000;
