//! Keeps a flood out of the log: one line for each kind and source in ten seconds.
//!
//! The table has a fixed size and what is fresh in it is never pushed out, so a flood from ever new sources writes at most
//! [`Repeats::KEYS`] lines in ten seconds. The caller gives the time.

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
    at: Instant,
    left_out: u64,
}

impl Repeats {
    /// How long one line stands for its repetitions.
    pub const QUIET: Duration = Duration::from_secs(10);
    /// Kinds and sources remembered.
    pub const KEYS: usize = 1024;

    /// Whether to write a line for this event: then with the number of those left out since the last; otherwise it is left out.
    pub fn write(&self, repeat: Repeat) -> Option<u64> {
        let key = (repeat.kind, repeat.source.map(prefix));
        let mut table = lock(&self.0);
        if let Some(written) = table.written.get_mut(&key) {
            if is_fresh(written, repeat.now) {
                written.left_out += 1;
                return None;
            }
            written.at = repeat.now;
            return Some(std::mem::take(&mut written.left_out));
        }
        if table.written.len() >= Self::KEYS && !table.sweep(repeat.now) {
            return None;
        }
        table.written.insert(key, Written { at: repeat.now, left_out: 0 });
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
        self.written.retain(|_, written| is_fresh(written, now));
        self.written.len() < Repeats::KEYS
    }
}

fn is_fresh(written: &Written, now: Instant) -> bool {
    now.saturating_duration_since(written.at) < Repeats::QUIET
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
        Repeat { kind: "R4", source: Some(source.parse().unwrap()), now }
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
