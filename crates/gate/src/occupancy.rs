//! How full the gate is over time, and when somebody should be told.
//!
//! Looked at about once a second, it says when the gate has been filling for a minute, when it is full, again every minute while it
//! stays so, and when it is clear again. With it goes what the sessions spent their time on of late, and what to do: the answer to a
//! slow store is never more sessions.
//!
//! Guarantees: pure; the caller gives the time. *Full* is a place refused for want of one since the last look, or none free that is
//! not reserved; *filling* is [`FILLING`] of the places taken, or of those that are not reserved. Neither ends before [`CLEAR_AFTER`] without it. Cannot fail.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::pool::Usage;
use crate::slot_time::{Phase, SlotTime};
use crate::sources::Holder;

/// What is seen at one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When.
    pub now: Instant,
    /// The pool.
    pub usage: Usage,
    /// Connections refused for want of a place since the start.
    pub refused: u64,
}

/// Something to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Filling, for so long.
    Filling(Duration),
    /// Full.
    Full {
        /// For so long; none when it has just become so.
        lasted: Duration,
        /// So many were refused in that time.
        refused: u64,
    },
    /// Clear again.
    Cleared {
        /// It was full for so long; none when it was only filling.
        was_full: Duration,
        /// So many were refused in that time.
        refused: u64,
    },
}

/// The gate over time.
#[derive(Debug, Default)]
pub struct Occupancy {
    refused: u64,
    state: State,
    /// When it was last as full as the state says.
    confirmed: Option<Instant>,
    /// The last minute's slot time, oldest first.
    slot_time: VecDeque<(Instant, SlotTime)>,
}

impl Occupancy {
    /// Looks. `None` where there is nothing new.
    pub fn look(&mut self, look: Look) -> Option<Notice> {
        let Look { now, usage, refused } = look;
        let newly_refused = refused.saturating_sub(std::mem::replace(&mut self.refused, refused));
        let full = newly_refused > 0 || usage.unreserved_free() == 0;
        let much = |in_use, places| f64::from(in_use) >= FILLING * f64::from(places);
        let filling = full || much(usage.in_use, usage.limit) || much(usage.general, usage.unreserved());
        if if matches!(self.state, State::Full { .. }) { full } else { filling } {
            self.confirmed = Some(now);
        }
        let over = self.confirmed.is_none_or(|last| now.saturating_duration_since(last) >= CLEAR_AFTER);
        let lasts = |since| now.saturating_duration_since(since);
        match &mut self.state {
            State::Full { refused, .. } if full => *refused += newly_refused,
            State::Full { since, refused, .. } if over => {
                let (was_full, refused) = (lasts(*since), *refused);
                self.state = State::Clear;
                return Some(Notice::Cleared { was_full, refused });
            }
            State::Full { .. } => {}
            _ if full => {
                self.state = State::Full { since: now, said: now, refused: newly_refused };
                return Some(Notice::Full { lasted: Duration::ZERO, refused: newly_refused });
            }
            State::Clear if filling => self.state = State::Filling { since: now, said: false },
            State::Filling { since, said } if filling && !*said && lasts(*since) >= FILLING_FOR => {
                *said = true;
                return Some(Notice::Filling(lasts(*since)));
            }
            State::Filling { said, .. } if over => {
                let said = *said;
                self.state = State::Clear;
                return said.then_some(Notice::Cleared { was_full: Duration::ZERO, refused: 0 });
            }
            _ => {}
        }
        if let State::Full { since, said, refused } = &mut self.state
            && lasts(*said) >= SAID_AGAIN
        {
            *said = now;
            return Some(Notice::Full { lasted: lasts(*since), refused: *refused });
        }
        None
    }

    /// `clear`, `filling` or `full`.
    pub fn as_str(&self) -> &'static str {
        match self.state {
            State::Filling { said: true, .. } => "filling",
            State::Clear | State::Filling { .. } => "clear",
            State::Full { .. } => "full",
        }
    }

    /// Whether nobody need be told of anything.
    pub fn is_clear(&self) -> bool {
        matches!(self.state, State::Clear | State::Filling { said: false, .. })
    }

    /// Notes what all sessions have spent so far, every now and then.
    pub fn note(&mut self, now: Instant, slot_time: SlotTime) {
        self.slot_time.push_back((now, slot_time));
        while self.slot_time.get(1).is_some_and(|(when, _)| now.saturating_duration_since(*when) >= WINDOW) {
            self.slot_time.pop_front();
        }
    }

    /// What the sessions spent their time on during about the last minute, when they have spent `slot_time` until now.
    pub fn of_late(&self, slot_time: &SlotTime) -> SlotTime {
        self.slot_time.front().map_or(*slot_time, |(_, before)| slot_time.since(before))
    }
}

/// What to do about a gate that is full, by what its sessions spend their time on and who holds its places.
pub fn remedy(of_late: &SlotTime, holders: &[Holder], usage: Usage) -> &'static str {
    let share = |phase| of_late.share(phase);
    let most = holders.first().map_or(0, |holder| holder.sessions);
    if share(Phase::Store) >= A_LOT {
        "the store is slow: see to its disk and its load; more places would make it slower"
    } else if share(Phase::Tarpit) >= A_LOT {
        "places are held by clients that are made to wait: shorten rates.tarpit, auth.first_delay or screening.early_wait, or lower rates.tarpit_places"
    } else if share(Phase::Screening) >= A_LOT {
        "DNS is slow: see to screening.dns_servers, or lower the timeouts in screening.checks; more places would only wait with the others"
    } else if most > 1 && f64::from(most) >= HALF * f64::from(usage.limit) {
        "one source holds half of the places: lower sessions_per_address, or end its sessions with `gatepost sessions end`"
    } else if share(Phase::Own) + share(Phase::Tls) >= A_LOT {
        "the processor is the limit: handshakes, passwords and commands take the time; more places would not help"
    } else {
        "the sessions wait for their clients: raise max_inbound if memory allows, or shorten timeouts.command"
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Clear,
    Filling {
        since: Instant,
        said: bool,
    },
    Full {
        since: Instant,
        said: Instant,
        refused: u64,
    },
}

/// The share of the places from which on the gate is filling.
const FILLING: f64 = 0.8;
const FILLING_FOR: Duration = Duration::from_secs(60);
const CLEAR_AFTER: Duration = Duration::from_secs(10);
const SAID_AGAIN: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(60);
/// A share of the slot time that stands out. Sessions of a sound server spend nearly all of it on their clients.
const A_LOT: f64 = 0.3;
const HALF: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second: in use, and refused since the last look; what was told, by second.
    fn told(looks: impl IntoIterator<Item = (u32, u64)>) -> Vec<(u64, Notice)> {
        let (mut occupancy, start, mut refused) = (Occupancy::default(), Instant::now(), 0);
        let mut told = Vec::new();
        for (second, (in_use, more)) in (0_u64..).zip(looks) {
            refused += more;
            let look =
                Look { now: start + Duration::from_secs(second), usage: Usage { in_use, general: in_use, limit: 10, reserve: 0 }, refused };
            told.extend(occupancy.look(look).map(|notice| (second, notice)));
        }
        told
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn filling_is_told_after_a_minute_and_once() {
        let looks = |busy| (0..busy).map(|_| (8, 0)).chain((0..30).map(|_| (7, 0)));
        assert_eq!(told(looks(60)), [], "not a minute yet");
        assert_eq!(told(looks(200)), [(60, Notice::Filling(secs(60))), (209, Notice::Cleared { was_full: secs(0), refused: 0 })]);
    }

    #[test]
    fn a_short_dip_does_not_end_it() {
        let looks = (0..300).map(|second| if second % 9 == 0 { (7, 0) } else { (9, 0) });
        assert_eq!(told(looks).len(), 1);
        let looks = (0..100).map(|second| if second % 9 == 0 { (9, 1) } else { (9, 0) });
        let told = told(looks);
        assert_eq!(told[..1], [(0, Notice::Full { lasted: secs(0), refused: 1 })]);
        assert_eq!(told[1..], [(60, Notice::Full { lasted: secs(60), refused: 7 })]);
    }

    #[test]
    fn full_is_told_at_once_again_each_minute_and_when_it_is_over() {
        let looks = (0..130).map(|_| (10, 2)).chain((0..30).map(|_| (3, 0)));
        assert_eq!(
            told(looks),
            [
                (0, Notice::Full { lasted: secs(0), refused: 2 }),
                (60, Notice::Full { lasted: secs(60), refused: 122 }),
                (120, Notice::Full { lasted: secs(120), refused: 242 }),
                (139, Notice::Cleared { was_full: secs(139), refused: 260 }),
            ]
        );
    }

    #[test]
    fn a_refusal_for_want_of_a_place_counts_where_a_place_was_kept_for_others() {
        assert_eq!(told([(5, 0), (5, 3)]), [(1, Notice::Full { lasted: secs(0), refused: 3 })]);
    }

    #[test]
    fn a_slow_store_never_reads_as_raise_the_limit() {
        let usage = Usage { in_use: 10, general: 10, limit: 10, reserve: 0 };
        let spent = |phases: &[(Phase, u64)]| {
            let (start, mut at) = (Instant::now(), 0);
            let mut clock = crate::slot_time::SlotClock::new(start);
            for (phase, seconds) in phases {
                clock.enter(*phase, start + secs(at));
                at += seconds;
            }
            clock.spent(start + secs(at))
        };
        let holder = |sessions| vec![Holder { prefix: "192.0.2.1/32".parse().unwrap(), sessions }];
        let idle = spent(&[(Phase::Client, 95), (Phase::Store, 5)]);
        let slow = spent(&[(Phase::Client, 60), (Phase::Store, 40)]);
        assert!(remedy(&idle, &holder(2), usage).contains("raise max_inbound"));
        assert!(remedy(&idle, &holder(5), usage).contains("one source holds"));
        for holders in [holder(2), holder(5)] {
            let said = remedy(&slow, &holders, usage);
            assert!(said.starts_with("the store is slow") && !said.contains("raise"), "{said}");
        }
        let busy = spent(&[(Phase::Client, 60), (Phase::Tls, 20), (Phase::Own, 20)]);
        assert!(remedy(&busy, &holder(2), usage).contains("processor"));
        assert!(remedy(&spent(&[(Phase::Client, 6), (Phase::Screening, 4)]), &holder(2), usage).contains("DNS is slow"));
        assert!(remedy(&spent(&[(Phase::Client, 6), (Phase::Tarpit, 4)]), &holder(2), usage).contains("screening.early_wait"));
    }

    #[test]
    fn what_counts_is_the_last_minute() {
        let (mut occupancy, start) = (Occupancy::default(), Instant::now());
        let mut clock = crate::slot_time::SlotClock::new(start);
        for ten in 0..30 {
            let now = start + secs(ten * 10);
            if ten == 20 {
                clock.enter(Phase::Store, now);
            }
            occupancy.note(now, clock.spent(now));
        }
        let late = occupancy.of_late(&clock.spent(start + secs(295)));
        assert_eq!((late.of(Phase::Own), late.of(Phase::Store)), (secs(0), secs(65)));
        assert_eq!(occupancy.slot_time.len(), 7);
    }
}
