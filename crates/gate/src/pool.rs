//! A counting semaphore whose limit can be changed, up or down, while its places are in use.
//!
//! In use and limit are the two halves of one atomic word, so that taking a place, returning one and changing the limit
//! are each one atomic step, and they happen in one order that everybody sees.
//!
//! Guarantees:
//! - A place is given only when, in that same step, `in_use + 1 <= limit`.
//! - Lowering the limit takes nothing away. What is in use beyond it is a debt, [`Usage::over_limit`], that returning
//!   places pay; until it is paid nobody gets a place. Raising is effective for the next [`Pool::acquire`].
//! - A [`Place`] returns itself once, when dropped.
//!
//! Why not tokio's semaphore: its permits cannot go below what is in use, so a lowered limit would live beside it, in a
//! second variable, and the two together would be neither exact at the instant of admission nor open to model checking.
//! `docs/adr/0002-a-semaphore-in-one-word.md` has the argument, `tests/loom.rs` the model.
//!
//! Refuses: with the [`Usage`] that was the reason. Nobody waits here, so no order among competitors is promised.
//! Cannot fail.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;

/// A number of places and a count of those in use.
#[derive(Debug)]
pub struct Pool {
    word: AtomicU64,
    /// A statistic that nothing is decided by; the model leaves it out.
    peak: AtomicU32,
}

impl Pool {
    /// A pool of `limit` free places.
    pub fn new(limit: u32) -> Self {
        let usage = Usage { in_use: 0, limit };
        Self { word: AtomicU64::new(usage.to_word()), peak: AtomicU32::new(0) }
    }

    /// Takes a place, or says what stood in the way. Never waits.
    ///
    /// # Errors
    /// The usage, with `in_use >= limit`, at the instant of the refusal.
    pub fn acquire(self: &Arc<Self>) -> Result<Place, Usage> {
        let one_more = |word| Usage::from_word(word).one_more().map(Usage::to_word);
        match self.word.fetch_update(AcqRel, Acquire, one_more) {
            Ok(before) => {
                // No overflow: the step was taken only with `in_use < limit`.
                self.peak.fetch_max(Usage::from_word(before).in_use + 1, Relaxed);
                Ok(Place { pool: Arc::clone(self) })
            }
            Err(full) => Err(Usage::from_word(full)),
        }
    }

    /// Puts `limit` in force and returns the usage under it, with the debt if there is one.
    pub fn resize(&self, limit: u32) -> Usage {
        let relimited = |word| Some(Usage { limit, ..Usage::from_word(word) }.to_word());
        let (Ok(before) | Err(before)) = self.word.fetch_update(AcqRel, Acquire, relimited);
        Usage { limit, ..Usage::from_word(before) }
    }

    /// In use and limit, as they were together at one instant.
    pub fn usage(&self) -> Usage {
        Usage::from_word(self.word.load(Acquire))
    }

    /// The most places that were ever in use at once.
    pub fn peak(&self) -> u32 {
        self.peak.load(Relaxed)
    }
}

/// One place of a [`Pool`], returned when dropped.
#[must_use = "dropping a place returns it at once"]
#[derive(Debug)]
pub struct Place {
    pool: Arc<Pool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // `in_use` is the low half and counts this place, so the subtraction never borrows from the limit.
        self.pool.word.fetch_sub(1, AcqRel);
    }
}

/// A pool at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Places given out and not yet returned.
    pub in_use: u32,
    /// Places there may be. Less than `in_use` while a debt is being paid.
    pub limit: u32,
}

impl Usage {
    /// Places that could be given out now.
    pub fn free(self) -> u32 {
        self.limit.saturating_sub(self.in_use)
    }

    /// Places in use beyond the limit, because it was lowered: the debt.
    pub fn over_limit(self) -> u32 {
        self.in_use.saturating_sub(self.limit)
    }

    fn one_more(self) -> Option<Self> {
        (self.in_use < self.limit).then(|| Self { in_use: self.in_use + 1, ..self })
    }

    fn to_word(self) -> u64 {
        u64::from(self.limit) << u32::BITS | u64::from(self.in_use)
    }

    fn from_word(word: u64) -> Self {
        Self { in_use: word as u32, limit: (word >> u32::BITS) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_exactly_as_many_places_as_there_are() {
        let pool = Arc::new(Pool::new(2));
        let first = pool.acquire().unwrap();
        let _second = pool.acquire().unwrap();
        assert_eq!(pool.acquire().unwrap_err(), Usage { in_use: 2, limit: 2 });
        drop(first);
        let _third = pool.acquire().unwrap();
        assert_eq!(pool.usage(), Usage { in_use: 2, limit: 2 });
        assert_eq!(pool.peak(), 2);
    }

    #[test]
    fn a_lowered_limit_is_a_debt_that_returning_places_pay() {
        let pool = Arc::new(Pool::new(3));
        let mut places: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
        let usage = pool.resize(1);
        assert_eq!((usage.over_limit(), usage.free()), (2, 0));
        for owed in [1, 0] {
            places.pop();
            assert_eq!(pool.usage().over_limit(), owed);
            assert!(pool.acquire().is_err(), "a place was given out of a debt of {owed}");
        }
        places.pop();
        assert!(pool.acquire().is_ok());
    }

    #[test]
    fn a_raised_limit_serves_the_next_acquire() {
        let pool = Arc::new(Pool::new(1));
        let _held = pool.acquire().unwrap();
        assert!(pool.acquire().is_err());
        assert_eq!(pool.resize(2).free(), 1);
        assert!(pool.acquire().is_ok());
    }

    #[test]
    fn the_halves_of_the_word_do_not_touch() {
        let pool = Arc::new(Pool::new(u32::MAX));
        drop(pool.acquire().unwrap());
        assert_eq!(pool.usage(), Usage { in_use: 0, limit: u32::MAX });
        assert_eq!(pool.resize(0), Usage { in_use: 0, limit: 0 });
        assert!(pool.acquire().is_err());
    }
}
