//! What was seen of late: so many, and not longer than so long.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::seal::Sealed;

/// A set whose members leave it after a fixed time, the oldest sooner when it is full.
#[derive(Debug)]
pub(crate) struct Recent {
    seen: Mutex<Seen>,
    keep: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    all: HashSet<Sealed>,
    /// Each member once, the next to leave first: all stay equally long.
    leaving: VecDeque<(Instant, Sealed)>,
}

impl Recent {
    pub(crate) fn new(keep: Duration) -> Self {
        Self { seen: Mutex::default(), keep }
    }

    /// Whether it was seen of late.
    pub(crate) fn contains(&self, sealed: &Sealed) -> bool {
        self.with(|seen, _| seen.all.contains(sealed))
    }

    /// It is seen now. One that is there already stays no longer for it.
    pub(crate) fn insert(&self, sealed: Sealed) {
        if self.keep.is_zero() {
            return;
        }
        self.with(|seen, now| {
            if seen.all.insert(sealed) {
                seen.leaving.push_back((now + self.keep, sealed));
            }
            if seen.all.len() > MEMBERS {
                seen.leave();
            }
        });
    }

    fn with<T>(&self, then: impl FnOnce(&mut Seen, Instant) -> T) -> T {
        let now = Instant::now();
        // A panic elsewhere leaves both parts whole enough: at worst a member leaves late.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.leaving.front().is_some_and(|(until, _)| *until <= now) {
            seen.leave();
        }
        then(&mut seen, now)
    }
}

impl Seen {
    fn leave(&mut self) {
        if let Some((_, oldest)) = self.leaving.pop_front() {
            self.all.remove(&oldest);
        }
    }
}

/// About 3 MiB when full.
const MEMBERS: usize = 1 << 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn members_leave_in_time() {
        let recent = Recent::new(Duration::from_secs(10));
        recent.insert([1; 32]);
        tokio::time::advance(Duration::from_secs(9)).await;
        recent.insert([1; 32]);
        recent.insert([2; 32]);
        assert!(recent.contains(&[1; 32]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!recent.contains(&[1; 32]) && recent.contains(&[2; 32]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_leaves_a_full_set() {
        let recent = Recent::new(Duration::from_secs(10));
        let member = |n: usize| std::array::from_fn(|at| n.to_le_bytes().get(at).copied().unwrap_or(0));
        (0..=MEMBERS).for_each(|n| recent.insert(member(n)));
        assert!(!recent.contains(&member(0)) && recent.contains(&member(1)) && recent.contains(&member(MEMBERS)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_no_time() {
        let recent = Recent::new(Duration::ZERO);
        recent.insert([1; 32]);
        assert!(!recent.contains(&[1; 32]));
    }
}
