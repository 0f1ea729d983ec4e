//! The sources whose mail was accepted lately.
//!
//! Guarantees: a source is known for [`KNOWN_GOOD_DAYS`] days after its last accepted message, by its address (IPv6: by its /64), if it
//! is among the last [`SOURCES_MOST`]; when there are more, those of the oldest day go first. What is known can be taken out and put
//! back as plain data, so that a restart need not forget it. Refuses to learn more sources in one day than it has room for. Cannot fail.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use dashmap::DashMap;
use ipnet::IpNet;

use crate::day::Day;
use crate::source::{Level, Source};

/// How long an accepted message makes its source known.
pub const KNOWN_GOOD_DAYS: u32 = 30;

/// Each source with the day of its last accepted message.
#[derive(Debug, Default)]
pub(crate) struct KnownGood {
    last: DashMap<IpNet, Day>,
    /// The last day on which there was no room for another.
    full_on: AtomicU32,
}

impl KnownGood {
    /// Mail of `source` was accepted on `day`.
    pub(crate) fn delivered(&self, source: Source, day: Day) {
        let Some(prefix) = source.prefix(Level::Address) else { return };
        // Asked of every message; all but the first of a day only look.
        if self.last.get(&prefix).is_none_or(|last| *last < day) {
            self.learn(prefix, day, day);
        }
    }

    pub(crate) fn knows(&self, source: Source, today: Day) -> bool {
        let last = source.prefix(Level::Address).and_then(|prefix| self.last.get(&prefix).map(|day| *day));
        last.is_some_and(|day| is_recent(day, today))
    }

    /// All that is known, in the order of the prefixes.
    pub(crate) fn all(&self, today: Day) -> Vec<(IpNet, Day)> {
        let recent = self.last.iter().filter(|entry| is_recent(*entry.value(), today));
        let mut all: Vec<_> = recent.map(|entry| (*entry.key(), *entry.value())).collect();
        all.sort_unstable();
        all
    }

    /// Learns what was known before. What is no source's prefix is left out, and so is a day that has not come yet.
    pub(crate) fn restore(&self, known: impl IntoIterator<Item = (IpNet, Day)>, today: Day) {
        for (prefix, day) in known {
            let is_source = Source::from(prefix.addr()).prefix(Level::Address) == Some(prefix);
            if is_source && day <= today && is_recent(day, today) {
                self.learn(prefix, day, today);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.last.len()
    }

    fn learn(&self, prefix: IpNet, day: Day, today: Day) {
        if let Some(mut last) = self.last.get_mut(&prefix) {
            *last = day.max(*last);
        } else if self.last.len() < SOURCES_MOST || self.make_room(today) {
            // Sources that come together can exceed the bound by as many as there are of them.
            self.last.insert(prefix, day);
        }
    }

    /// Forgets the sources of the oldest day, unless that is today. Walks the table, so at most once a day in vain.
    fn make_room(&self, today: Day) -> bool {
        if self.full_on.load(Relaxed) == today.0 {
            return false;
        }
        match self.last.iter().map(|entry| *entry.value()).min() {
            Some(oldest) if oldest < today => {
                self.last.retain(|_, day| *day > oldest && is_recent(*day, today));
                true
            }
            _ => {
                self.full_on.store(today.0, Relaxed);
                false
            }
        }
    }
}

fn is_recent(day: Day, today: Day) -> bool {
    day >= today.back(KNOWN_GOOD_DAYS)
}

/// About 6 MiB of them.
const SOURCES_MOST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn source(number: usize) -> Source {
        Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number as u32)))
    }

    #[test]
    fn a_source_is_known_for_thirty_days_after_its_last_mail() {
        let known = KnownGood::default();
        known.delivered(source(1), Day(100));
        known.delivered(source(1), Day(110));
        assert!(known.knows(source(1), Day(140)) && !known.knows(source(1), Day(141)));
        assert!(!known.knows(source(2), Day(110)));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_day_goes_first() {
        let known = KnownGood::default();
        for number in 0..SOURCES_MOST {
            known.delivered(source(number), Day(if number < 10 { 100 } else { 101 }));
        }
        known.delivered(source(SOURCES_MOST), Day(101));
        assert_eq!(known.len(), SOURCES_MOST - 9);
        assert!(!known.knows(source(9), Day(101)) && known.knows(source(10), Day(101)) && known.knows(source(SOURCES_MOST), Day(101)));
        (0..99).for_each(|number| known.delivered(source(2 * SOURCES_MOST + number), Day(101)));
        assert_eq!(known.len(), SOURCES_MOST, "a full day's table learns nobody, and forgets nobody");
        assert!(known.knows(source(10), Day(101)));
    }

    #[test]
    fn what_is_known_can_be_put_back() {
        let known = KnownGood::default();
        known.delivered(source(1), Day(100));
        known.delivered("2001:db8::7".parse::<IpAddr>().unwrap().into(), Day(101));
        let all = known.all(Day(102));
        assert_eq!(
            all.iter().map(|(prefix, day)| (prefix.to_string(), day.0)).collect::<Vec<_>>(),
            [("10.0.0.1/32".to_owned(), 100), ("2001:db8::/64".to_owned(), 101)]
        );
        let another = KnownGood::default();
        let strange = [("10.0.0.0/8", 101), ("10.0.0.9/32", 103), ("10.0.0.8/32", 50)];
        let strange = strange.map(|(prefix, day)| (prefix.parse().unwrap(), Day(day)));
        another.restore(all.iter().copied().chain(strange), Day(102));
        assert_eq!(another.all(Day(102)), all);
    }
}
