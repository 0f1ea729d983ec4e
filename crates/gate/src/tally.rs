//! What the gate has done since it was made, counted.
//!
//! Each number is exact; numbers read together are not a picture of one instant. Counts every admission and every
//! refusal once, before its caller hears of it. Cannot fail.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::refusal::{Refusal, Rule};

/// Running totals, and the number of the next refusal.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    admitted: AtomicU64,
    restarting: AtomicU64,
    store_down: AtomicU64,
    source_full: AtomicU64,
    pool_full: AtomicU64,
    out_of_descriptors: AtomicU64,
    next_refusal: AtomicU32,
}

impl Tally {
    pub(crate) fn admit(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    /// Counts a refusal and gives it its token.
    pub(crate) fn refuse(&self, rule: Rule) -> Refusal {
        let total = match rule {
            Rule::Restarting => &self.restarting,
            Rule::StoreDown => &self.store_down,
            Rule::SourceFull { .. } => &self.source_full,
            Rule::PoolFull { .. } => &self.pool_full,
            Rule::OutOfDescriptors => &self.out_of_descriptors,
        };
        total.fetch_add(1, Relaxed);
        Refusal::new(rule, self.next_refusal.fetch_add(1, Relaxed))
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> Refused {
        Refused {
            restarting: self.restarting.load(Relaxed),
            store_down: self.store_down.load(Relaxed),
            source_full: self.source_full.load(Relaxed),
            pool_full: self.pool_full.load(Relaxed),
            out_of_descriptors: self.out_of_descriptors.load(Relaxed),
        }
    }
}

/// Refusals by [`Rule`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// R1: starting or draining.
    pub restarting: u64,
    /// R1b: store down.
    pub store_down: u64,
    /// R2: a prefix of the source at its ceiling.
    pub source_full: u64,
    /// R4: every place taken.
    pub pool_full: u64,
    /// R4b: no file descriptor for the connection.
    pub out_of_descriptors: u64,
}

impl Refused {
    /// Each rule's id with its total, for metrics.
    pub fn by_rule(self) -> [(&'static str, u64); 5] {
        [
            ("R1", self.restarting),
            ("R1b", self.store_down),
            ("R2", self.source_full),
            ("R4", self.pool_full),
            ("R4b", self.out_of_descriptors),
        ]
    }
}
