//! Keeps a flood out of the log: a few lines for each kind and source, then one in ten seconds.
//!
//! The table has a fixed size and what is fresh in it is never pushed out, so a flood from ever new sources writes, their first
//! few aside, at most [`Repeats::KEYS`] lines in ten seconds. The caller gives the time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock;

/// What an event repeats, and when.
#[derive(Debug, Clone, Copy)]
pub struct Repeat {
    /// What happened, for example the rule of a refusal.
    pub kind: &'static str,
    /// Who caused it, if anybody; IPv6 by /64.
    pub source: Option<IpAddr>,
    /// How many lines may come at once: one, or [`Repeats::BURST`] where each says something of its own.
    pub burst: u32,
    /// When.
    pub now: Instant,
}

/// What was written of late. Memory is bounded.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    written: HashMap<(&'static str, Option<IpAddr>), Written>,
    /// When stale keys were last looked for: a full table is not searched at each event.
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Written {
    /// When each line so far has stood for its time, one after the other.
    until: Instant,
    left_out: u64,
}

impl Repeats {
    /// How long one line stands for its repetitions.
    pub const QUIET: Duration = Duration::from_secs(10);
    /// The first few of their kind: whoever is looked for in the log is among them, unless it is a flood.
    pub const BURST: u32 = 10;
    /// Kinds and sources remembered.
    pub const KEYS: usize = 1024;

    /// Whether to write a line for this event: then with the number of those left out since the last; otherwise it is left out.
    pub fn write(&self, repeat: Repeat) -> Option<u64> {
        let key = (repeat.kind, repeat.source.map(prefix));
        let mut table = lock(&self.0);
        if let Some(written) = table.written.get_mut(&key) {
            if written.until > repeat.now + Self::QUIET * repeat.burst.saturating_sub(1) {
                written.left_out += 1;
                return None;
            }
            written.until = written.until.max(repeat.now) + Self::QUIET;
            return Some(std::mem::take(&mut written.left_out));
        }
        if table.written.len() >= Self::KEYS && !table.sweep(repeat.now) {
            return None;
        }
        table.written.insert(key, Written { until: repeat.now + Self::QUIET, left_out: 0 });
        Some(0)
    }
}

impl Table {
    /// Whether there is room after the stale ones are gone; looks at most once a second.
    fn sweep(&mut self, now: Instant) -> bool {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < Duration::from_secs(1)) {
            return false;
        }
        self.swept = Some(now);
        self.written.retain(|_, written| written.until > now);
        self.written.len() < Repeats::KEYS
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
        assert_eq!(lines(start), Repeats::KEYS);
        assert_eq!(lines(start + Repeats::QUIET), Repeats::KEYS);
        assert_eq!(lock(&repeats.0).written.len(), Repeats::KEYS);
    }
}
