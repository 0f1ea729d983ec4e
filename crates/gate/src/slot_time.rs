//! What the time of sessions is spent on: every second that a place is in use belongs to one phase.
//!
//! Guarantees: a session is in exactly one phase at any time, so the phases of a session add up to its age. Cannot fail.

use std::time::{Duration, Instant};

/// What a session does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// It waits for its client: to say something, to take what it is sent, to close.
    Client,
    /// It shakes hands for TLS.
    Tls,
    /// It does our own work: reading commands, checking passwords.
    Own,
    /// It waits for the store, its directory included.
    Store,
    /// It lets its client wait: one that has done wrong, or a stranger before the greeting.
    Tarpit,
    /// It finds out what to think of a message, which is to wait for DNS.
    Screening,
}

impl Phase {
    /// Each, in the order of [`SlotTime`].
    pub const ALL: [Self; 6] = [Self::Client, Self::Tls, Self::Own, Self::Store, Self::Tarpit, Self::Screening];

    /// The word in metrics, tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Tls => "tls",
            Self::Own => "own",
            Self::Store => "store",
            Self::Tarpit => "tarpit",
            Self::Screening => "screening",
        }
    }
}

/// Time by phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotTime {
    nanos: [u64; Phase::ALL.len()],
}

impl SlotTime {
    /// What was spent in `phase`.
    pub fn of(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.nanos.get(phase as usize).copied().unwrap_or_default())
    }

    /// Each phase with what was spent in it.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        Phase::ALL.into_iter().map(|phase| (phase, self.of(phase)))
    }

    /// What was spent in all phases.
    pub fn total(&self) -> Duration {
        self.iter().map(|(_, time)| time).sum()
    }

    /// The share of `phase` in the whole, from 0 to 1; 0 of nothing.
    pub fn share(&self, phase: Phase) -> f64 {
        let total = self.total().as_secs_f64();
        if total > 0.0 { self.of(phase).as_secs_f64() / total } else { 0.0 }
    }

    /// What was spent since `before`.
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// Both together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// The greater of both, phase by phase.
    pub(crate) fn max(&self, other: &Self) -> Self {
        self.with(other, u64::max)
    }

    fn with(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        let mut nanos = self.nanos;
        nanos.iter_mut().zip(other.nanos).for_each(|(one, other)| *one = combine(*one, other));
        Self { nanos }
    }

    fn add(&mut self, phase: Phase, time: Duration) {
        if let Some(spent) = self.nanos.get_mut(phase as usize) {
            *spent = spent.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// One session's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotClock {
    phase: Phase,
    since: Instant,
    spent: SlotTime,
}

impl SlotClock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { phase: Phase::Own, since: now, spent: SlotTime::default() }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn enter(&mut self, phase: Phase, now: Instant) {
        *self = Self { phase, since: now.max(self.since), spent: self.spent(now) };
    }

    /// What was spent until `now`, in the present phase too.
    pub(crate) fn spent(&self, now: Instant) -> SlotTime {
        let mut spent = self.spent;
        spent.add(self.phase, now.saturating_duration_since(self.since));
        spent
    }

    /// What was spent until the present phase began.
    pub(crate) fn settled(&self) -> SlotTime {
        self.spent
    }

    /// How long the present phase has lasted.
    pub(crate) fn in_phase(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_belongs_to_one_phase() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = SlotClock::new(start);
        for (phase, from) in [(Phase::Tls, 1), (Phase::Client, 3), (Phase::Store, 10), (Phase::Client, 14)] {
            clock.enter(phase, at(from));
        }
        let spent = clock.spent(at(20));
        let seconds: Vec<_> = spent.iter().map(|(phase, time)| (phase.as_str(), time.as_secs())).collect();
        assert_eq!(seconds, [("client", 13), ("tls", 2), ("own", 1), ("store", 4), ("tarpit", 0), ("screening", 0)]);
        assert_eq!((spent.total(), clock.in_phase(at(20)).as_secs()), (Duration::from_secs(20), 6));
        assert!((spent.share(Phase::Store) - 0.2).abs() < 1e-9);
        assert_eq!(spent.since(&clock.spent(at(15))).of(Phase::Client).as_secs(), 5);
    }

    #[test]
    fn a_clock_that_is_told_of_the_past_does_not_go_back() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut clock = SlotClock::new(start);
        clock.enter(Phase::Client, start - Duration::from_secs(5));
        assert_eq!(clock.spent(start + Duration::from_secs(1)).total(), Duration::from_secs(1));
        assert_eq!(SlotTime::default().share(Phase::Own), 0.0);
    }
}
