//! Refused and returned: whether who was put off came back, and whether the mail came in.
//!
//! A client that was refused for now is expected again. For each source that was, by its address (IPv6: by its /64), this knows since when
//! it has been refused without a session, how often, by which rule last, when it was let in again and when a message of it was
//! accepted. Who has been [missing](RefusedSource::is_missing) for [`MISSING_AFTER`] may sit on mail that is stuck.
//!
//! Guarantees: memory is bounded by [`SOURCES_MOST`] sources known to be good and as many others, each in a table of its own, so that a
//! flood of strangers displaces none of those whose mail is missed. Where one is full, sources that have delivered since and those last refused a
//! day ago make room; if there are none, a new one is left out and counted. Asked by every admission and message: one look at a
//! number while nobody has been refused. Nothing is kept over a restart. Cannot fail.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ipnet::IpNet;

use crate::source::{Level, Source};

/// A source without a session for so long after it was refused is missing: hosts that keep to RFC 5321 §4.5.4.1 have come back by then.
pub const MISSING_AFTER: Duration = Duration::from_secs(4 * 60 * 60);

/// A source that was refused, and what it has done since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSource {
    /// Its narrowest prefix.
    pub prefix: IpNet,
    /// Whether its mail had been accepted before it was refused.
    pub known_good: bool,
    /// How often it was refused since it last came in.
    pub refusals: u32,
    /// The id of the rule it met last.
    pub rule: &'static str,
    /// The first of these refusals.
    pub first: Instant,
    /// The last of them.
    pub last: Instant,
    /// When it was let in again.
    pub back: Option<Instant>,
    /// When a message of it was accepted.
    pub delivered: Option<Instant>,
}

impl RefusedSource {
    /// Whether it should have come in again by `now`, and has not.
    pub fn is_missing(&self, now: Instant) -> bool {
        self.back.is_none() && self.delivered.is_none() && now.saturating_duration_since(self.first) >= MISSING_AFTER
    }
}

/// Those who were refused.
#[derive(Debug, Default)]
pub(crate) struct Returns {
    known_good: Table,
    strangers: Table,
}

impl Returns {
    /// `source` was refused by the rule of this id, and may come back.
    pub(crate) fn refused(&self, source: Source, is_known_good: bool, rule: &'static str, now: Instant) {
        if let Some(prefix) = source.prefix(Level::Address) {
            if is_known_good { &self.known_good } else { &self.strangers }.refused(prefix, rule, now);
        }
    }

    /// `source` was let in.
    pub(crate) fn came_back(&self, source: Source, now: Instant) {
        self.note(source, |record| {
            record.back.get_or_insert(now);
        });
    }

    /// A message of `source` was accepted.
    pub(crate) fn delivered(&self, source: Source, now: Instant) {
        self.note(source, |record| {
            record.delivered.get_or_insert(now);
        });
    }

    /// All that is known, in no order.
    pub(crate) fn all(&self) -> Vec<RefusedSource> {
        [(&self.known_good, true), (&self.strangers, false)].iter().flat_map(|(table, known_good)| table.all(*known_good)).collect()
    }

    /// Sources that are missing by `now`: known good ones, and others. Walks the tables.
    pub(crate) fn missing(&self, now: Instant) -> (usize, usize) {
        (self.known_good.missing(now), self.strangers.missing(now))
    }

    /// Refusals of sources that there was no room for.
    pub(crate) fn left_out(&self) -> u64 {
        [&self.known_good, &self.strangers].iter().map(|table| table.left_out.load(Relaxed)).sum()
    }

    fn note(&self, source: Source, note: impl Fn(&mut Record)) {
        for table in [&self.known_good, &self.strangers] {
            if table.count.load(Relaxed) > 0
                && let Some(prefix) = source.prefix(Level::Address)
                && let Some(mut record) = table.records.get_mut(&prefix)
            {
                note(&mut record);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    records: DashMap<IpNet, Record>,
    /// Sources in `records`, known without a look at all of its parts.
    count: AtomicUsize,
    left_out: AtomicU64,
    /// When room was last made.
    swept: Mutex<Option<Instant>>,
}

impl Table {
    fn refused(&self, prefix: IpNet, rule: &'static str, now: Instant) {
        if self.count.load(Relaxed) >= SOURCES_MOST && !self.records.contains_key(&prefix) && !self.make_room(now) {
            self.left_out.fetch_add(1, Relaxed);
            return;
        }
        match self.records.entry(prefix) {
            Entry::Occupied(mut entry) => entry.get_mut().refused(rule, now),
            // Sources that come together can exceed the bound by as many as there are of them.
            Entry::Vacant(entry) => {
                entry.insert(Record::new(rule, now));
                self.count.fetch_add(1, Relaxed);
            }
        }
    }

    /// Forgets those whose story has ended. Walks the table, so not more often than [`SWEEP_EVERY`].
    fn make_room(&self, now: Instant) -> bool {
        // A time is replaced whole, so a panic elsewhere cannot have left it half written.
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_EVERY) {
            return false;
        }
        *swept = Some(now);
        self.records.retain(|_, record| {
            let stays = record.delivered.is_none() && now.saturating_duration_since(record.last) < REMEMBERED_FOR;
            self.count.fetch_sub(usize::from(!stays), Relaxed);
            stays
        });
        self.count.load(Relaxed) < SOURCES_MOST
    }

    fn all(&self, known_good: bool) -> impl Iterator<Item = RefusedSource> {
        self.records.iter().map(move |entry| entry.value().of(*entry.key(), known_good))
    }

    fn missing(&self, now: Instant) -> usize {
        self.all(false).filter(|source| source.is_missing(now)).count()
    }
}

/// One source's story, from the first refusal after it last came in.
#[derive(Clone, Debug)]
struct Record {
    refusals: u32,
    rule: &'static str,
    first: Instant,
    last: Instant,
    back: Option<Instant>,
    delivered: Option<Instant>,
}

impl Record {
    fn new(rule: &'static str, now: Instant) -> Self {
        Self { refusals: 1, rule, first: now, last: now, back: None, delivered: None }
    }

    fn refused(&mut self, rule: &'static str, now: Instant) {
        *self = match (self.back, self.delivered) {
            (None, None) => Self { refusals: self.refusals.saturating_add(1), rule, last: now, ..*self },
            _ => Self::new(rule, now),
        };
    }

    fn of(&self, prefix: IpNet, known_good: bool) -> RefusedSource {
        let Self { refusals, rule, first, last, back, delivered } = *self;
        RefusedSource { prefix, known_good, refusals, rule, first, last, back, delivered }
    }
}

/// Sources in one table, which take 4 to 8 MiB.
const SOURCES_MOST: usize = 1 << 15;
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn source(number: usize) -> Source {
        Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + number as u32)))
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn a_source_that_does_not_come_in_for_four_hours_is_missing_however_often_it_tries() {
        let (returns, start) = (Returns::default(), Instant::now());
        (0..30).for_each(|number| returns.refused(source(1), true, "R4", start + minutes(10 * number)));
        returns.refused(source(1), true, "R2", start + minutes(300));
        let [found] = returns.all().try_into().unwrap();
        assert_eq!((found.prefix.to_string().as_str(), found.known_good, found.refusals, found.rule), ("10.0.0.1/32", true, 31, "R2"));
        assert_eq!((found.first, found.last), (start, start + minutes(300)));
        assert_eq!(returns.missing(start + minutes(239)), (0, 0));
        assert_eq!(returns.missing(start + minutes(240)), (1, 0));
        returns.came_back(source(1), start + minutes(301));
        assert_eq!(returns.missing(start + minutes(999)), (0, 0));
    }

    #[test]
    fn a_story_ends_with_a_session_or_a_message_and_another_refusal_begins_the_next() {
        let (returns, start) = (Returns::default(), Instant::now());
        returns.refused(source(1), false, "R4", start);
        returns.came_back(source(1), start + minutes(5));
        returns.came_back(source(1), start + minutes(6));
        returns.delivered(source(1), start + minutes(7));
        returns.delivered(source(2), start + minutes(7));
        let [found] = returns.all().try_into().unwrap();
        assert_eq!((found.back, found.delivered), (Some(start + minutes(5)), Some(start + minutes(7))));
        returns.refused(source(1), false, "R4", start + minutes(8));
        let [found] = returns.all().try_into().unwrap();
        assert_eq!((found.first, found.refusals, found.back, found.delivered), (start + minutes(8), 1, None, None));
        assert_eq!(returns.missing(start + minutes(8) + MISSING_AFTER), (0, 1));
        // A session it had already brings the mail.
        returns.delivered(source(1), start + minutes(9));
        assert_eq!(returns.missing(start + minutes(8) + MISSING_AFTER), (0, 0));
    }

    #[test]
    fn strangers_fill_their_own_table_and_the_delivered_and_the_old_make_room() {
        let (returns, start) = (Returns::default(), Instant::now());
        (0..SOURCES_MOST + 5).for_each(|number| returns.refused(source(number), false, "R4", start));
        assert_eq!((returns.all().len(), returns.left_out()), (SOURCES_MOST, 5));
        returns.refused(source(SOURCES_MOST), true, "R4", start);
        assert_eq!(returns.all().len(), SOURCES_MOST + 1);
        returns.delivered(source(7), start);
        returns.refused(source(SOURCES_MOST + 9), false, "R4", start + minutes(1));
        assert_eq!((returns.all().len(), returns.left_out()), (SOURCES_MOST + 1, 5));
        returns.refused(source(1), false, "R4", start + minutes(2));
        returns.refused(source(SOURCES_MOST + 10), false, "R4", start + REMEMBERED_FOR);
        assert_eq!(returns.strangers.records.len(), 3, "what was last refused a day ago is forgotten");
        assert_eq!(returns.strangers.count.load(Relaxed), 3);
    }
}
