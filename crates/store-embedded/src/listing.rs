//! What is in a maildrop, read from the index once and then shared until it changes.
//!
//! A listing is one range of one table, read into one slice. It is kept for the next poll, within a bound on all listings
//! together, until the indexer says that the maildrop has changed; a listing that was being read meanwhile is used once
//! and not kept. Connections for reading are few and kept open.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use mail::MessageId;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use store::{Entry, Error};

use crate::engine::now_ms;
use crate::lock;
use crate::record::Flags;

/// One maildrop at one instant.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) entries: Arc<[Entry]>,
    /// Where the entry of that `place` stands.
    pub(crate) spots: Box<[Spot]>,
    /// The segments of the spots, each once.
    pub(crate) segments: Vec<u64>,
    /// When a message that is held comes into it, if any does by itself: milliseconds since 1970.
    due_ms: Option<u64>,
}

/// Where one message stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    /// Which of the listing's segments.
    pub(crate) segment: u32,
    pub(crate) text_offset: u32,
    pub(crate) flags: Flags,
}

/// The listings at hand and the connections to read more.
#[derive(Debug)]
pub(crate) struct Listings {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_account: HashMap<Arc<str>, Slot>,
    entries: usize,
    readings: u64,
}

#[derive(Debug)]
enum Slot {
    /// Being read, since no change up to then.
    Reading(u64),
    Read(Arc<Listing>),
}

impl Listings {
    /// Reads from the index at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), kept: Mutex::default() }
    }

    /// The listing at hand, if the maildrop has not changed since.
    pub(crate) fn at_hand(&self, account: &str) -> Option<Arc<Listing>> {
        match lock(&self.kept).by_account.get(account) {
            Some(Slot::Read(listing)) if listing.due_ms.is_none_or(|due| due > now_ms()) => Some(Arc::clone(listing)),
            _ => None,
        }
    }

    /// Reads the listing, and keeps it unless it changes meanwhile. Waits for SQLite.
    pub(crate) fn read(&self, account: &str) -> Result<Arc<Listing>, Error> {
        let account: Arc<str> = account.into();
        let reading = lock(&self.kept).begin(&account);
        let listing = Arc::new(self.with_connection(|db| select(db, &account))?);
        lock(&self.kept).finish(&account, reading, &listing);
        Ok(listing)
    }

    /// These maildrops have changed.
    pub(crate) fn forget<'a>(&self, accounts: impl IntoIterator<Item = &'a str>) {
        let mut kept = lock(&self.kept);
        for account in accounts {
            if let Some(Slot::Read(listing)) = kept.by_account.remove(account) {
                kept.entries -= listing.weight();
            }
        }
    }

    /// Those of `accounts` whose live delivery of `sequence` is at this place: by whom it is listed, and by whom it is held.
    pub(crate) fn live_accounts(
        &self,
        accounts: &[Arc<str>],
        sequence: u64,
        segment: u64,
        offset: u64,
    ) -> Result<[Vec<Arc<str>>; 2], Error> {
        let at_place =
            "SELECT flags FROM deliveries JOIN drops USING (drop_id) WHERE account = ? AND sequence = ? AND segment = ? AND place = ?";
        self.with_connection(|db| {
            let mut statement = db.prepare_cached(at_place)?;
            let (mut listed, mut held) = (Vec::new(), Vec::new());
            for account in accounts {
                let found = params![account, sequence.cast_signed(), segment.cast_signed(), offset.cast_signed()];
                match statement.query_row(found, |row| row.get(0).map(Flags)).optional()? {
                    Some(flags) if flags.has(Flags::HELD) => held.push(Arc::clone(account)),
                    Some(_) => listed.push(Arc::clone(account)),
                    None => {}
                }
            }
            Ok([listed, held])
        })
    }

    /// Runs `read` on a connection of its own.
    pub(crate) fn with_connection<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        let unavailable = |error: rusqlite::Error| Error::Unavailable(format!("reading the index: {error}"));
        let idle = lock(&self.idle).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(unavailable)?,
        };
        let outcome = read(&connection).map_err(unavailable)?;
        let mut idle = lock(&self.idle);
        if idle.len() < CONNECTIONS {
            idle.push(connection);
        }
        Ok(outcome)
    }

    /// Where the index is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Closes the connections.
    pub(crate) fn close(&self) {
        lock(&self.idle).clear();
    }
}

impl Listing {
    fn weight(&self) -> usize {
        self.entries.len() + 1
    }
}

impl Kept {
    /// Notes that the maildrop is being read, and answers the reading's number.
    fn begin(&mut self, account: &Arc<str>) -> u64 {
        if let Some(Slot::Reading(reading)) = self.by_account.get(account) {
            return *reading;
        }
        self.readings += 1;
        if let Some(Slot::Read(before)) = self.by_account.insert(Arc::clone(account), Slot::Reading(self.readings)) {
            self.entries -= before.weight();
        }
        self.readings
    }

    /// Keeps what was read if nothing has changed since that reading began.
    fn finish(&mut self, account: &Arc<str>, reading: u64, listing: &Arc<Listing>) {
        if matches!(self.by_account.get(account), Some(Slot::Reading(current)) if *current == reading) {
            if self.entries + listing.weight() > KEPT_ENTRIES {
                self.by_account.retain(|_, slot| matches!(slot, Slot::Reading(_)));
                self.entries = 0;
            }
            self.entries += listing.weight();
            self.by_account.insert(Arc::clone(account), Slot::Read(Arc::clone(listing)));
        }
    }
}

fn select(db: &Connection, account: &str) -> rusqlite::Result<Listing> {
    let (mut entries, mut spots, mut segments) = (Vec::new(), Vec::new(), Vec::<u64>::new());
    let mut known = HashMap::new();
    let mut statement = db.prepare_cached(
        "SELECT sequence, id, segment, place, text_offset, octets, flags, until FROM deliveries
         WHERE drop_id = (SELECT drop_id FROM drops WHERE account = ?) AND (NOT flags & 4 OR until > 0) ORDER BY sequence",
    )?;
    let (now, mut due_ms) = (now_ms(), None);
    let mut rows = statement.query([account])?;
    while let Some(row) = rows.next()? {
        let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let (segment, flags, until) = (number(2)?, Flags(row.get(6)?), number(7)?);
        if flags.has(Flags::HELD) && until > now {
            due_ms = Some(due_ms.map_or(until, |due: u64| due.min(until)));
            continue;
        }
        let segment = *known.entry(segment).or_insert_with(|| {
            segments.push(segment);
            u32::try_from(segments.len() - 1).unwrap_or(u32::MAX)
        });
        entries.push(Entry { id: MessageId::from_bytes(row.get(1)?), octets: number(5)?, place: spots.len() as u64 });
        spots.push(Spot {
            sequence: number(0)?,
            offset: number(3)?,
            segment,
            text_offset: u32::try_from(number(4)?).unwrap_or(u32::MAX),
            flags,
        });
    }
    Ok(Listing { entries: entries.into(), spots: spots.into(), segments, due_ms })
}

const CONNECTIONS: usize = 4;
/// Entries in all listings kept: some 40 MiB.
const KEPT_ENTRIES: usize = 500_000;
