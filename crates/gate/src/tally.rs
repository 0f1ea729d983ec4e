//! What the gate has done since it was made, counted.
//!
//! Each number is exact; numbers read together are not a picture of one instant. Counts every admission and every
//! refusal once, before its caller hears of it. Cannot fail.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::limit::{Limit, Limits};
use crate::refusal::{Refusal, Rule};

/// Running totals, and the number of the next refusal.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    admitted: AtomicU64,
    refused: Totals,
    known_good_refused: AtomicU64,
    in_shadow: [AtomicU64; Limit::ALL.len()],
    next_refusal: AtomicU64,
    faults: AtomicU64,
}

/// One total for each rule.
#[derive(Debug, Default)]
struct Totals {
    denied: AtomicU64,
    banned: AtomicU64,
    restarting: AtomicU64,
    ramping: AtomicU64,
    store_down: AtomicU64,
    source_full: AtomicU64,
    client_full: AtomicU64,
    share_spent: AtomicU64,
    too_often: AtomicU64,
    pool_full: AtomicU64,
    out_of_descriptors: AtomicU64,
}

impl Tally {
    pub(crate) fn admit(&self) {
        self.admitted.fetch_add(1, Relaxed);
    }

    /// Counts a refusal, of a known good source or of another, and gives it its token.
    pub(crate) fn refuse(&self, rule: Rule, known_good: bool) -> Refusal {
        let Totals { denied, banned, restarting, ramping, store_down, .. } = &self.refused;
        let Totals { source_full, client_full, share_spent, too_often, pool_full, out_of_descriptors, .. } = &self.refused;
        let total = match rule {
            Rule::Denied { .. } => denied,
            Rule::Banned { .. } => banned,
            Rule::Restarting => restarting,
            Rule::Ramping { .. } => ramping,
            Rule::StoreDown => store_down,
            Rule::SourceFull { .. } => source_full,
            Rule::ClientFull { .. } => client_full,
            Rule::ShareSpent { .. } => share_spent,
            Rule::TooOften { .. } => too_often,
            Rule::PoolFull { .. } | Rule::UnreservedFull { .. } => pool_full,
            Rule::OutOfDescriptors => out_of_descriptors,
        };
        total.fetch_add(1, Relaxed);
        self.known_good_refused.fetch_add(known_good.into(), Relaxed);
        Refusal { known_good, ..Refusal::new(rule, self.number()) }
    }

    /// The number of one more refusal, of whatever kind.
    pub(crate) fn number(&self) -> u64 {
        self.next_refusal.fetch_add(1, Relaxed)
    }

    /// Counts an error of our own.
    pub(crate) fn fault(&self) {
        self.faults.fetch_add(1, Relaxed);
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Relaxed)
    }

    /// Counts what would have been a refusal by each of these.
    pub(crate) fn shadow(&self, met: Limits) {
        met.iter().filter_map(|limit| self.in_shadow.get(limit as usize)).for_each(|total| {
            total.fetch_add(1, Relaxed);
        });
    }

    /// Refusals so far, whatever the rule.
    pub(crate) fn refusals(&self) -> u64 {
        self.next_refusal.load(Relaxed)
    }

    pub(crate) fn admitted(&self) -> u64 {
        self.admitted.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> Refused {
        let refused = &self.refused;
        Refused {
            denied: refused.denied.load(Relaxed),
            banned: refused.banned.load(Relaxed),
            restarting: refused.restarting.load(Relaxed),
            ramping: refused.ramping.load(Relaxed),
            store_down: refused.store_down.load(Relaxed),
            source_full: refused.source_full.load(Relaxed),
            client_full: refused.client_full.load(Relaxed),
            share_spent: refused.share_spent.load(Relaxed),
            too_often: refused.too_often.load(Relaxed),
            pool_full: refused.pool_full.load(Relaxed),
            out_of_descriptors: refused.out_of_descriptors.load(Relaxed),
        }
    }

    pub(crate) fn known_good_refused(&self) -> u64 {
        self.known_good_refused.load(Relaxed)
    }

    pub(crate) fn in_shadow(&self) -> InShadow {
        InShadow(std::array::from_fn(|limit| self.in_shadow.get(limit).map_or(0, |total| total.load(Relaxed))))
    }
}

/// Refusals by [`Rule`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// R0: denied.
    pub denied: u64,
    /// R0b: banned.
    pub banned: u64,
    /// R1: starting or draining.
    pub restarting: u64,
    /// R1: just started.
    pub ramping: u64,
    /// R1b: store down.
    pub store_down: u64,
    /// R2: a prefix of the source at its ceiling.
    pub source_full: u64,
    /// R2: a named client at its ceiling.
    pub client_full: u64,
    /// R2: a prefix of the source at its fair share.
    pub share_spent: u64,
    /// R3: connections too often.
    pub too_often: u64,
    /// R4: every place taken, or every one that is not reserved.
    pub pool_full: u64,
    /// R4b: no file descriptor for the connection.
    pub out_of_descriptors: u64,
}

impl Refused {
    /// Each rule's id with its total, for metrics.
    pub fn by_rule(self) -> [(&'static str, u64); 8] {
        [
            ("R0", self.denied),
            ("R0b", self.banned),
            ("R1", self.restarting + self.ramping),
            ("R1b", self.store_down),
            ("R2", self.source_full + self.client_full + self.share_spent),
            ("R3", self.too_often),
            ("R4", self.pool_full),
            ("R4b", self.out_of_descriptors),
        ]
    }
}

/// How often each limit in shadow would have refused somebody. One connection counts once for each limit it met, when it is let in or
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InShadow([u64; Limit::ALL.len()]);

impl InShadow {
    /// The total of one limit.
    pub fn of(self, limit: Limit) -> u64 {
        self.0.get(limit as usize).copied().unwrap_or_default()
    }

    /// Each limit's key with its total, for metrics.
    pub fn by_key(self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.into_iter().map(move |limit| (limit.key(), self.of(limit)))
    }
}
