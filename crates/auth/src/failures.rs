//! How often somebody has failed of late: governor's GCRA over a table of fixed size.
//!
//! A key is hashed, with a secret of this process's own, into one of [`CELLS`] cells, so memory does not grow with what is tried and
//! nothing needs to be cleaned up. Two keys that share a cell share its count: with cells this many, a guesser seldom hits a given
//! account's.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The failures of one kind of key: accounts, or sources.
#[derive(Debug)]
pub(crate) struct Failures {
    limiter: RateLimiter<usize, Cells, Monotonic, StateInformationMiddleware>,
    cells: Cells,
    clock: Monotonic,
    hasher: RandomState,
    most: NonZeroU32,
    recovery: Duration,
}

/// An attempt that was let through, and counts as a failure until it is forgiven or forgotten.
#[derive(Debug)]
pub(crate) struct Attempt<'f> {
    failures: &'f Failures,
    cell: usize,
    /// This one included.
    in_a_row: u32,
}

impl Failures {
    /// `most` at once, then one more each `recovery`, which is longer than nothing.
    pub(crate) fn new(most: NonZeroU32, recovery: Duration) -> Self {
        let cells = Cells((0..CELLS).map(|_| AtomicU64::new(0)).collect());
        let clock = Monotonic(Instant::now());
        // governor has no quota for a period of zero; the settings do not let one in.
        let quota = Quota::with_period(recovery).unwrap_or_else(|| Quota::per_second(most)).allow_burst(most);
        let limiter = RateLimiter::new(quota, cells.clone(), clock);
        Self { limiter, cells, clock, hasher: RandomState::new(), most, recovery }
    }

    /// Whether these are its limits.
    pub(crate) fn counts_by(&self, most: NonZeroU32, recovery: Duration) -> bool {
        (self.most, self.recovery) == (most, recovery)
    }

    /// Counts an attempt.
    ///
    /// # Errors
    /// There were too many: after how long to come back.
    pub(crate) fn attempt(&self, key: impl Hash) -> Result<Attempt<'_>, Duration> {
        let cell = usize::try_from(self.hasher.hash_one(key) % CELLS as u64).unwrap_or_default();
        match self.limiter.check_key(&cell) {
            Ok(left) => Ok(Attempt { failures: self, cell, in_a_row: self.most.get() - left.remaining_burst_capacity() }),
            Err(until) => Err(until.wait_time_from(self.clock.now())),
        }
    }
}

impl Attempt<'_> {
    /// How many attempts of late have failed, this one included.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// This attempt was no failure; the others were.
    pub(crate) fn forgive(self) {
        let one = u64::try_from(self.failures.recovery.as_nanos()).unwrap_or(u64::MAX);
        self.failures.cells.change(self.cell, |arrival| arrival.saturating_sub(one));
    }

    /// Starts anew: none was.
    pub(crate) fn forget(self) {
        self.failures.cells.change(self.cell, |_| 0);
    }
}

/// Theoretical arrival times, in nanoseconds since the limiter's start; 0 is none.
#[derive(Debug, Clone)]
struct Cells(Arc<[AtomicU64]>);

impl Cells {
    fn change(&self, cell: usize, change: impl Fn(u64) -> u64) {
        if let Some(cell) = self.0.get(cell) {
            cell.update(Relaxed, Relaxed, change);
        }
    }
}

impl StateStore for Cells {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, key: &usize, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let absent = AtomicU64::new(0);
        let cell = self.0.get(*key).unwrap_or(&absent);
        let mut before = cell.load(Relaxed);
        loop {
            let (outcome, after) = decide((before != 0).then(|| Nanos::new(before)))?;
            match cell.compare_exchange_weak(before, after.as_u64(), Relaxed, Relaxed) {
                Ok(_) => return Ok(outcome),
                Err(now) => before = now,
            }
        }
    }
}

/// tokio's clock, which tests move.
#[derive(Debug, Clone, Copy)]
struct Monotonic(Instant);

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Half a megabyte.
const CELLS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn failures() -> Failures {
        Failures::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn some_at_once_then_one_at_a_time() {
        let failures = failures();
        for n in 1..=3 {
            assert_eq!(failures.attempt("ann").unwrap().in_a_row(), n);
        }
        assert_eq!(failures.attempt("ann").unwrap_err(), Duration::from_secs(60));
        assert_eq!(failures.attempt("bob").unwrap().in_a_row(), 1);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(failures.attempt("ann").unwrap().in_a_row(), 3);
        failures.attempt("ann").unwrap_err();
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(failures.attempt("ann").unwrap().in_a_row(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgiven_attempt_was_none_and_a_forgotten_one_ends_the_row() {
        let failures = failures();
        for _ in 0..100 {
            failures.attempt("ann").unwrap().forgive();
        }
        assert_eq!(failures.attempt("ann").unwrap().in_a_row(), 1);
        assert_eq!(failures.attempt("ann").unwrap().in_a_row(), 2);
        failures.attempt("ann").unwrap().forget();
        assert_eq!(failures.attempt("ann").unwrap().in_a_row(), 1);
    }
}
