//! Keeps a flood out of the log: a few lines for each kind and source, then one in ten seconds, and what was left out is told in the end.
//!
//! - Each kind has a table of its own, of a fixed size, and what is fresh in it is never pushed out: a flood from ever new sources
//!   writes, their first few aside, at most [`Repeats::SOURCES`] lines in ten seconds, and silences no other kind. Sources beyond that
//!   count as one.
//! - What nobody in particular has caused is never left out for want of room.
//! - An event that was left out is in the `left_out` of a later line: the next of its kind and source, or a [`LeftOut`] when there is none
//!   for ten seconds. [`Repeats::settle`] finds those; without it a table that is full stays so.
//!
//! The caller gives the time. Nothing here waits or fails.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::info;

use crate::{Event, lock};

/// What an event repeats, and when.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// What happened, for example the rule of a refusal. There are few kinds, all of them written in the code.
    pub kind: &'static str,
    /// Who caused it, if anybody; IPv6 by /64.
    pub source: Option<IpAddr>,
    /// How many lines may come at once: one, or [`Repeats::BURST`] where each says something of its own.
    pub burst: u32,
    /// When.
    pub now: Instant,
}

/// Repetitions were not written, and no line has followed that could say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Of what.
    pub kind: &'static str,
    /// By whom, IPv6 as the first address of the /64; `None` for nobody in particular, or for many.
    pub source: Option<IpAddr>,
    /// How many.
    pub left_out: u64,
}

impl Event for LeftOut {
    /// Each has been counted.
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        let source = self.source.map(tracing::field::display);
        info!(target: "gatepost::server", kind = self.kind, source, left_out = self.left_out, "repetitions left out");
    }
}

/// What was written of late. Memory is bounded.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<&'static str, Table>>);

/// One kind's, by source.
type Table = HashMap<Option<IpAddr>, Written>;

#[derive(Debug)]
struct Written {
    /// When each line so far has stood for its time, one after the other.
    until: Instant,
    burst: u32,
    left_out: u64,
}

impl Repeats {
    /// How long one line stands for its repetitions.
    pub const QUIET: Duration = Duration::from_secs(10);
    /// The first few of their kind: whoever is looked for in the log is among them, unless it is a flood.
    pub const BURST: u32 = 10;
    /// Sources remembered of each kind.
    pub const SOURCES: usize = 1024;

    /// Whether to write a line for this event: then with the number of those left out since the last; otherwise it is left out.
    pub fn write(&self, Repeat { kind, source, burst, now }: Repeat) -> Option<u64> {
        let mut tables = lock(&self.0);
        let (table, source) = (tables.entry(kind).or_default(), source.map(prefix));
        let is_full = table.len() >= Self::SOURCES && !table.contains_key(&source);
        let written = table.entry(if is_full { None } else { source }).or_insert(Written { until: now, burst, left_out: 0 });
        if written.may_be_again(now) {
            return Some(written.write(now));
        }
        written.left_out += 1;
        None
    }

    /// Forgets what is stale, and returns what was left out of it and not told: at most one for each kind and source in ten seconds.
    /// To be called about once a second; walks all tables.
    pub fn settle(&self, now: Instant) -> Vec<LeftOut> {
        let (mut told, mut tables) = (Vec::new(), lock(&self.0));
        for (&kind, table) in &mut *tables {
            table.retain(|&source, written| {
                // The next event's own line says more, so it has its chance first.
                if written.left_out > 0 && written.may_be_again(now.checked_sub(Self::QUIET).unwrap_or(now)) {
                    told.push(LeftOut { kind, source, left_out: written.write(now) });
                }
                written.left_out > 0 || written.until > now
            });
        }
        told
    }
}

impl Written {
    /// Whether one more line may be written.
    fn may_be_again(&self, now: Instant) -> bool {
        self.until <= now + Repeats::QUIET * self.burst.saturating_sub(1)
    }

    /// One more is; returns what was left out before it.
    fn write(&mut self, now: Instant) -> u64 {
        self.until = self.until.max(now) + Repeats::QUIET;
        std::mem::take(&mut self.left_out)
    }
}

/// One client of IPv6 has at least a /64 to choose from.
fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(source: &str, now: Instant) -> Repeat {
        Repeat { kind: "R4", source: Some(source.parse().unwrap()), burst: 1, now }
    }

    #[test]
    fn one_line_in_ten_seconds_with_the_count_of_the_others() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.write(repeat("2001:db8::1", start)), Some(0));
        for millis in [0, 1, 9_999] {
            assert_eq!(repeats.write(repeat("2001:db8::2", start + Duration::from_millis(millis))), None);
        }
        assert_eq!(repeats.write(Repeat { kind: "R2", ..repeat("2001:db8::1", start) }), Some(0));
        assert_eq!(repeats.write(repeat("2001:db8::3", start + Repeats::QUIET)), Some(3));
        assert_eq!(repeats.write(repeat("2001:db8::3", start + Repeats::QUIET * 2)), Some(0));
    }

    #[test]
    fn a_few_come_at_once_and_are_earned_again_one_by_one() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let lines = |after| (0..100).filter_map(|_| repeats.write(Repeat { burst: 3, ..repeat("::", start + after) })).collect::<Vec<_>>();
        assert_eq!(lines(Duration::ZERO), [0, 0, 0]);
        assert_eq!(lines(Repeats::QUIET), [97]);
        assert_eq!(lines(Repeats::QUIET * 3), [99, 0]);
        assert_eq!(lines(Repeats::QUIET * 60), [98, 0, 0]);
    }

    #[test]
    fn ever_new_sources_neither_fill_memory_nor_the_log() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let lines = |now| {
            (0..100_000_u32)
                .filter(|bits| repeats.write(Repeat { source: Some(IpAddr::from(bits.to_be_bytes())), ..repeat("::", now) }).is_some())
                .count()
        };
        assert_eq!(lines(start), Repeats::SOURCES + 1, "and one for all others");
        assert_eq!(repeats.settle(start + Repeats::QUIET), []);
        assert_eq!(lines(start + Repeats::QUIET), Repeats::SOURCES);
        assert_eq!(lock(&repeats.0)["R4"].len(), Repeats::SOURCES);
    }

    #[test]
    fn a_flood_silences_no_other_kind_and_nobody_in_particular() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let flood = |source| {
            (0..10_000_u32).for_each(|bits| {
                repeats.write(Repeat { source: Some(IpAddr::from(bits.to_be_bytes())), ..source });
            });
        };
        flood(repeat("::", now));
        for source in [None, Some("192.0.2.1".parse().unwrap())] {
            assert_eq!(repeats.write(Repeat { kind: "store_full", source, burst: 1, now }), Some(0));
        }
        flood(Repeat { kind: "R2", ..repeat("::", now) });
        let others = repeats.settle(now + Repeats::QUIET * 2);
        let left_out = 10_000 - Repeats::SOURCES as u64 - 1;
        assert_eq!(others.len(), 2);
        assert!(others.iter().all(|others| (others.source, others.left_out) == (None, left_out)), "{others:?}");
    }

    #[test]
    fn what_a_short_burst_has_left_out_is_told_when_it_is_over() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let of_one = |left_out| LeftOut { kind: "R4", source: Some("2001:db8::".parse().unwrap()), left_out };
        let burst = |now| (0..8).filter_map(|_| repeats.write(repeat("2001:db8::1", now))).collect::<Vec<_>>();
        assert_eq!(burst(start), [0]);
        assert!((0..20).all(|seconds| repeats.settle(after(seconds)).is_empty()), "one more of them would have said so itself");
        assert_eq!(repeats.settle(after(20)), [of_one(7)]);
        assert_eq!(burst(after(21)), [0_u64; 0], "a line has just been written");
        assert_eq!(burst(after(30)), [8], "the flood goes on, and tells itself");
        assert_eq!((30..50).flat_map(|seconds| repeats.settle(after(seconds))).collect::<Vec<_>>(), []);
        assert_eq!(repeats.settle(after(50)), [of_one(7)]);
        assert_eq!(repeats.settle(after(60)), []);
        assert!(lock(&repeats.0)["R4"].is_empty());
    }

    #[test]
    fn what_is_left_out_of_a_few_is_told_as_soon() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let few = Repeat { burst: 3, ..repeat("192.0.2.1", start) };
        assert_eq!((0..9).filter_map(|_| repeats.write(few)).count(), 3);
        assert_eq!(repeats.settle(start + Repeats::QUIET), []);
        let [told] = repeats.settle(start + Repeats::QUIET * 2)[..] else { panic!("one") };
        assert_eq!(told.left_out, 6);
    }
}
