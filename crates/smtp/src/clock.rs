//! How long the client may still take, reckoned from the times the driver tells.
//!
//! Only time spent waiting for the client counts. A command has one allowance from its first wait to its CRLF, whatever
//! trickles in between; a message has an allowance that grows with the octets that have come, so a slow sender is told apart
//! from one that merely keeps a place. The end of the session is fixed at its beginning.

use std::time::{Duration, Instant};

use crate::Timing;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    ends: Instant,
    /// When the present wait began, or the last one if we are not waiting.
    since: Instant,
    /// What earlier waits for the same command or message have taken.
    waited: Duration,
    waiting: bool,
    /// Octets of the message that have come.
    received: u64,
}

/// A deadline that a client has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub deadline: Deadline,
    /// How long what was waited for might take.
    pub allowed: Duration,
}

/// The deadlines of a session, as they are called in [`Timing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// One command line.
    Command,
    /// From one piece of a message to the next.
    DataBlock,
    /// A message, at its rate.
    DataRate,
    /// The session.
    Session,
}

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    Command,
    Message,
}

impl Clock {
    /// At the beginning of a session, waiting for its first command.
    pub(crate) fn new(timing: &Timing, now: Instant) -> Self {
        let ends = now + timing.session.min(LONGEST);
        Self { ends, since: now, waited: Duration::ZERO, waiting: true, received: 0 }
    }

    /// A new value for the same session, under TLS: its end stays.
    pub(crate) fn secured(self, now: Instant) -> Self {
        Self { ends: self.ends, since: now, waited: Duration::ZERO, waiting: true, received: 0 }
    }

    /// Something has arrived, or the driver has other reasons to go on.
    pub(crate) fn resume(&mut self, now: Instant) {
        if std::mem::take(&mut self.waiting) {
            self.waited = self.waited.saturating_add(now.saturating_duration_since(self.since));
        }
    }

    /// The client's turn begins.
    pub(crate) fn wait(&mut self, now: Instant) {
        self.since = now;
        self.waiting = true;
    }

    /// What was waited for is whole: the next command or message has its own allowance.
    pub(crate) fn restart(&mut self) {
        self.waited = Duration::ZERO;
        self.received = 0;
    }

    /// Octets of the message have come.
    pub(crate) fn receive(&mut self, octets: usize) {
        self.received = self.received.saturating_add(octets as u64);
    }

    /// Whether the session's end has come.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    /// When patience ends.
    pub(crate) fn deadline(&self, awaited: Awaited, timing: &Timing) -> Instant {
        let (Overdue { allowed, .. }, waited) = self.strictest(awaited, timing);
        self.ends.min(self.since + allowed.saturating_sub(waited).min(LONGEST))
    }

    /// Whose end it is.
    pub(crate) fn overdue(&self, awaited: Awaited, timing: &Timing, now: Instant) -> Overdue {
        match self.is_over(now) {
            true => Overdue { deadline: Deadline::Session, allowed: timing.session },
            false => self.strictest(awaited, timing).0,
        }
    }

    /// What ends first but for the session, and how much of it earlier waits have used up.
    fn strictest(&self, awaited: Awaited, timing: &Timing) -> (Overdue, Duration) {
        let block = Overdue { deadline: Deadline::DataBlock, allowed: timing.data_block };
        match (awaited, self.received.checked_div(timing.data_rate_bytes.into())) {
            (Awaited::Command, _) => (Overdue { deadline: Deadline::Command, allowed: timing.command }, self.waited),
            (Awaited::Message, None) => (block, Duration::ZERO),
            (Awaited::Message, Some(earned_secs)) => {
                let allowed = timing.data_grace.saturating_add(Duration::from_secs(earned_secs));
                match allowed.saturating_sub(self.waited) < timing.data_block {
                    true => (Overdue { deadline: Deadline::DataRate, allowed }, self.waited),
                    false => (block, Duration::ZERO),
                }
            }
        }
    }
}

/// Longer than any session; keeps sums of times in their range.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timing() -> Timing {
        Timing { command: 300 * SECOND, data_block: 180 * SECOND, data_rate_bytes: 100, data_grace: 10 * SECOND, session: 3600 * SECOND }
    }

    #[test]
    fn a_command_that_trickles_in_has_one_allowance() {
        let start = Instant::now();
        let mut clock = Clock::new(&timing(), start);
        for second in 1..300 {
            clock.resume(start + second * SECOND);
            clock.wait(start + second * SECOND);
            assert_eq!(clock.deadline(Awaited::Command, &timing()), start + 300 * SECOND);
        }
        clock.restart();
        assert_eq!(clock.deadline(Awaited::Command, &timing()), start + 599 * SECOND);
    }

    #[test]
    fn time_that_is_ours_does_not_count() {
        let start = Instant::now();
        let mut clock = Clock::new(&timing(), start);
        clock.resume(start + SECOND);
        clock.wait(start + 100 * SECOND);
        assert_eq!(clock.deadline(Awaited::Command, &timing()), start + 399 * SECOND);
    }

    #[test]
    fn a_message_earns_its_time() {
        let start = Instant::now();
        let mut clock = Clock::new(&timing(), start);
        assert_eq!(clock.deadline(Awaited::Message, &timing()), start + 10 * SECOND, "the grace");
        for second in 1..=5 {
            clock.resume(start + second * SECOND);
            clock.receive(200);
            clock.wait(start + second * SECOND);
        }
        assert_eq!(clock.deadline(Awaited::Message, &timing()), start + 20 * SECOND, "1000 octets at 100 a second");
        let overdue = |clock: &Clock| clock.overdue(Awaited::Message, &timing(), start);
        assert_eq!(overdue(&clock), Overdue { deadline: Deadline::DataRate, allowed: 20 * SECOND });
        clock.receive(1_000_000);
        assert_eq!(overdue(&clock), Overdue { deadline: Deadline::DataBlock, allowed: 180 * SECOND });
        assert_eq!(clock.deadline(Awaited::Message, &timing()), start + 185 * SECOND, "but never longer than one block");
    }

    #[test]
    fn nothing_outlives_the_session() {
        let start = Instant::now();
        let mut clock = Clock::new(&timing(), start);
        let overdue = |seconds: u32| clock.overdue(Awaited::Command, &timing(), start + seconds * SECOND);
        assert_eq!(overdue(300), Overdue { deadline: Deadline::Command, allowed: 300 * SECOND });
        assert_eq!(overdue(3600), Overdue { deadline: Deadline::Session, allowed: 3600 * SECOND });
        clock.wait(start + 3599 * SECOND);
        assert_eq!(clock.deadline(Awaited::Command, &timing()), start + 3600 * SECOND);
        let secured = clock.secured(start + 3599 * SECOND);
        assert_eq!(secured.deadline(Awaited::Command, &timing()), start + 3600 * SECOND);
        assert!(!secured.is_over(start + 3599 * SECOND) && secured.is_over(start + 3600 * SECOND));
        let endless = Timing { session: Duration::MAX, command: Duration::MAX, ..timing() };
        assert!(Clock::new(&endless, start).deadline(Awaited::Command, &endless) > start);
    }
}
