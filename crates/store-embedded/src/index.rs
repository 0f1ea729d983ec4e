//! The index: SQLite, trailing the log and rebuilt from it whenever it is missing, damaged or of another version.
//!
//! One row for each live delivery, in one B-tree ordered by maildrop and sequence, so that a listing is one range. Commits are not
//! synced (WAL, synchronous=NORMAL: after a power cut the index is an older whole one), and each stores how far in the log it
//! reaches. What is applied twice changes nothing: replay may begin earlier than needed, never later.
//!
//! Nothing here is shared: the indexer has the one writing connection. Readers have their own (`listing`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use mail::MessageId;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use store::Load;

use crate::backlog::{Logged, What};
use crate::disk::private_database;
use crate::record::Flags;
use crate::segment::Place;
use crate::usage::{Usage, Use};

/// The index, open for writing.
pub(crate) struct Index {
    db: Connection,
    /// Numbers of maildrops met so far.
    drops: HashMap<String, i64>,
    /// What the open transaction will have changed besides rows.
    pending: Pending,
}

/// What a transaction brings with it, besides its rows.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    shares: BTreeMap<u64, Share>,
    needs: BTreeSet<(u64, u64)>,
    moves: BTreeSet<(u64, u64)>,
    covered: Place,
    next_sequence: u64,
    begun: bool,
    /// Accounts whose listing changes.
    pub(crate) touched: HashSet<String>,
    /// What was deleted, by maildrop.
    pub(crate) ended: HashMap<String, Load>,
    /// Bodies that no maildrop refers to any more.
    pub(crate) orphans: Vec<MessageId>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    rows: i64,
    live_bytes: i64,
    mark_bytes: i64,
}

/// Where a delivery's message stands.
#[derive(Debug, Clone, Copy)]
struct Row {
    segment: u64,
    share: i64,
    flags: Flags,
    octets: u64,
}

impl Index {
    /// Opens the index at `path`, empty when there is none or it has another version, with the usage it knows.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<(Self, Usage)> {
        let db = private_database(path)?;
        let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version != SCHEMA_VERSION && version != 0 {
            return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB), None));
        }
        db.execute_batch(SCHEMA)?;
        db.set_prepared_statement_cache_capacity(32);
        // Walks the whole tree: what is damaged is found now.
        db.query_row("SELECT count(*) FROM deliveries", [], |row| row.get::<_, i64>(0))?;
        let usage = read_usage(&db)?;
        let drops = db
            .prepare("SELECT account, drop_id FROM drops")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        Ok((Self { db, drops, pending: Pending::default() }, usage))
    }

    /// Applies one record. Errors leave the transaction to be rolled back.
    pub(crate) fn apply(&mut self, logged: &Logged, usage: &Usage) -> rusqlite::Result<()> {
        if !self.pending.begun {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.pending = Pending { begun: true, next_sequence: usage.next_sequence, covered: usage.covered, ..Pending::default() };
        }
        match &logged.what {
            What::Message { accounts, .. } => {
                let share = i64::try_from(logged.bytes / accounts.len().max(1) as u64).unwrap_or(i64::MAX);
                for account in accounts {
                    self.deliver(logged, account, share, usage)?;
                }
            }
            What::Deletion { account, sequences, origin } => {
                self.mark(logged, *origin, usage);
                let drop_id = self.drop_id(account)?;
                for sequence in sequences {
                    self.pending.next_sequence = self.pending.next_sequence.max(sequence.saturating_add(1));
                    self.end((drop_id, account), *sequence, logged.place.segment, usage)?;
                }
                self.touch(account);
            }
            What::Release { account, sequences, origin } => {
                self.mark(logged, *origin, usage);
                let drop_id = self.drop_id(account)?;
                for sequence in sequences {
                    self.pending.next_sequence = self.pending.next_sequence.max(sequence.saturating_add(1));
                    self.release(drop_id, *sequence, logged.place.segment, usage)?;
                }
                self.touch(account);
            }
            What::Removal { account, origin } => {
                self.mark(logged, *origin, usage);
                let drop_id = self.drop_id(account)?;
                let sequences: Vec<i64> = self
                    .db
                    .prepare_cached("SELECT sequence FROM deliveries WHERE drop_id = ? AND sequence < ?")?
                    .query_map(params![drop_id, logged.sequence.cast_signed()], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for sequence in sequences {
                    self.end((drop_id, account), sequence.cast_unsigned(), logged.place.segment, usage)?;
                }
                self.touch(account);
            }
        }
        self.pending.next_sequence = self.pending.next_sequence.max(logged.sequence.saturating_add(1));
        let end = Place { segment: logged.place.segment, offset: logged.place.offset + logged.bytes };
        self.pending.covered = self.pending.covered.max(end);
        Ok(())
    }

    /// Commits what was applied, brings `usage` up to it, and tells what follows from it.
    pub(crate) fn commit(&mut self, usage: &mut Usage) -> rusqlite::Result<Pending> {
        if !self.pending.begun {
            return Ok(Pending::default());
        }
        let mut changed = Vec::with_capacity(self.pending.shares.len());
        for (segment, share) in &self.pending.shares {
            let before = usage.of(*segment);
            let own = Use {
                rows: before.rows.saturating_add_signed(share.rows),
                live_bytes: before.live_bytes.saturating_add_signed(share.live_bytes),
                mark_bytes: before.mark_bytes.saturating_add_signed(share.mark_bytes),
            };
            self.db.prepare_cached("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)")?.execute(params![
                segment.cast_signed(),
                own.rows.cast_signed(),
                own.live_bytes.cast_signed(),
                own.mark_bytes.cast_signed()
            ])?;
            changed.push((*segment, own));
        }
        for (mark, message) in &self.pending.needs {
            self.db
                .prepare_cached("INSERT OR IGNORE INTO needs VALUES (?, ?)")?
                .execute(params![mark.cast_signed(), message.cast_signed()])?;
        }
        for (to, from) in &self.pending.moves {
            self.db.prepare_cached("INSERT OR IGNORE INTO moves VALUES (?, ?)")?.execute(params![to.cast_signed(), from.cast_signed()])?;
        }
        let Pending { covered, next_sequence, .. } = self.pending;
        self.db.prepare_cached("INSERT OR REPLACE INTO covered VALUES (1, ?, ?, ?)")?.execute(params![
            covered.segment.cast_signed(),
            covered.offset.cast_signed(),
            next_sequence.cast_signed()
        ])?;
        self.db.prepare_cached("COMMIT")?.execute([])?;
        let mut committed = std::mem::take(&mut self.pending);
        usage.segments.extend(changed);
        usage.needs.append(&mut committed.needs);
        usage.moves.append(&mut committed.moves);
        (usage.covered, usage.next_sequence) = (covered, next_sequence);
        Ok(committed)
    }

    /// Undoes what was applied since the last commit.
    pub(crate) fn roll_back(&mut self) {
        if std::mem::take(&mut self.pending).begun
            && !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "the index's transaction could not be rolled back");
        }
        // A number given in the transaction is not given any more.
        self.drops.clear();
    }

    /// Drops every row of segments that are not there: what they held was deleted or moved, and freed, after the index was last
    /// written. What their marks are needed for stays known: marks that were carried elsewhere inherit it when they are replayed.
    pub(crate) fn forget_segments(&mut self, gone: &[u64]) -> rusqlite::Result<()> {
        let transaction = self.db.unchecked_transaction()?;
        for segment in gone.iter().map(|segment| segment.cast_signed()) {
            transaction.execute(
                "UPDATE bodies SET refs = refs - (SELECT count(*) FROM deliveries d WHERE d.sequence = bodies.sequence AND d.segment = ?1)
                 WHERE sequence IN (SELECT sequence FROM deliveries WHERE segment = ?1)",
                [segment],
            )?;
            transaction.execute("DELETE FROM deliveries WHERE segment = ?", [segment])?;
            transaction.execute("DELETE FROM segments WHERE number = ?", [segment])?;
        }
        transaction.execute("DELETE FROM bodies WHERE refs <= 0", [])?;
        transaction.commit()
    }

    /// A freed segment has no rows, or none any more: only its own line goes, and what was needed for it. Part of the next transaction or, with none open, by itself.
    pub(crate) fn forget_freed(&mut self, segment: u64) -> rusqlite::Result<()> {
        let number = segment.cast_signed();
        self.db.prepare_cached("DELETE FROM segments WHERE number = ?")?.execute([number])?;
        self.db.prepare_cached("DELETE FROM needs WHERE mark = ?1 OR message = ?1")?.execute([number])?;
        self.db.prepare_cached("DELETE FROM moves WHERE segment = ?1 OR origin = ?1")?.execute([number])?;
        Ok(())
    }

    /// The bodies in files that live deliveries refer to.
    pub(crate) fn bodies(&self) -> rusqlite::Result<HashSet<MessageId>> {
        self.db.prepare("SELECT id FROM bodies")?.query_map([], |row| row.get(0).map(MessageId::from_bytes))?.collect()
    }

    /// Accounts with live deliveries.
    pub(crate) fn accounts(&self) -> rusqlite::Result<Vec<String>> {
        let used = "SELECT account FROM drops WHERE EXISTS (SELECT 1 FROM deliveries WHERE deliveries.drop_id = drops.drop_id)";
        self.db.prepare(used)?.query_map([], |row| row.get(0))?.collect()
    }

    /// What is in each maildrop that is not empty.
    pub(crate) fn loads(&self) -> rusqlite::Result<HashMap<Arc<str>, Load>> {
        let sums = "SELECT account, sum(octets), count(*) FROM deliveries JOIN drops USING (drop_id) GROUP BY drop_id";
        let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let load = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Load> { Ok(Load { octets: number(row, 1)?, messages: number(row, 2)? }) };
        self.db.prepare(sums)?.query_map([], |row| Ok((row.get::<_, String>(0)?.into(), load(row)?)))?.collect()
    }

    /// Writes the WAL back into the file, so that the next open has nothing to do.
    pub(crate) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    fn deliver(&mut self, logged: &Logged, account: &str, share: i64, usage: &Usage) -> rusqlite::Result<()> {
        let What::Message { id, octets, flags, text_offset, until_ms, .. } = &logged.what else { return Ok(()) };
        let drop_id = self.drop_id(account)?;
        // A sequence met before is a copy, moved here by compaction, or replayed.
        let before = if logged.sequence < self.pending.next_sequence { self.find(drop_id, logged.sequence)? } else { None };
        self.db.prepare_cached("INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(params![
            drop_id,
            logged.sequence.cast_signed(),
            id.to_bytes(),
            logged.place.segment.cast_signed(),
            logged.place.offset.cast_signed(),
            text_offset.cast_signed(),
            octets.cast_signed(),
            flags.0,
            share,
            i64::try_from(*until_ms).unwrap_or(i64::MAX)
        ])?;
        match before {
            Some(row) => {
                self.count(row.segment, -1, -row.share);
                let here = logged.place.segment;
                let from = self.origins(row.segment, usage).chain([row.segment]).filter(|from| *from != here);
                let moves: Vec<_> = from.map(|from| (here, from)).collect();
                self.pending.moves.extend(moves);
            }
            None if flags.has(Flags::BODY_FILE) => {
                self.db
                    .prepare_cached("INSERT INTO bodies VALUES (?, ?, 1) ON CONFLICT (sequence) DO UPDATE SET refs = refs + 1")?
                    .execute(params![logged.sequence.cast_signed(), id.to_bytes()])?;
            }
            None => {}
        }
        self.count(logged.place.segment, 1, share);
        self.touch(account);
        Ok(())
    }

    /// Ends one delivery, by a mark in segment `mark`.
    fn end(&mut self, (drop_id, account): (i64, &str), sequence: u64, mark: u64, usage: &Usage) -> rusqlite::Result<()> {
        let Some(row) = self.find(drop_id, sequence)? else { return Ok(()) };
        self.db
            .prepare_cached("DELETE FROM deliveries WHERE drop_id = ? AND sequence = ?")?
            .execute(params![drop_id, sequence.cast_signed()])?;
        self.count(row.segment, -1, -row.share);
        self.pending.end(account, row.octets);
        self.need(mark, row.segment, usage);
        if row.flags.has(Flags::BODY_FILE) {
            let left: Option<(i64, [u8; 16])> = self
                .db
                .prepare_cached("UPDATE bodies SET refs = refs - 1 WHERE sequence = ? RETURNING refs, id")?
                .query_row([sequence.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((..=0, id)) = left {
                self.db.prepare_cached("DELETE FROM bodies WHERE sequence = ?")?.execute([sequence.cast_signed()])?;
                self.pending.orphans.push(MessageId::from_bytes(id));
            }
        }
        Ok(())
    }

    /// Lists one delivery that is held, by a mark in segment `mark`. What is moved afterwards is written as it is then.
    fn release(&mut self, drop_id: i64, sequence: u64, mark: u64, usage: &Usage) -> rusqlite::Result<()> {
        let Some(row) = self.find(drop_id, sequence)?.filter(|row| row.flags.has(Flags::HELD)) else { return Ok(()) };
        self.db.prepare_cached("UPDATE deliveries SET flags = ? WHERE drop_id = ? AND sequence = ?")?.execute(params![
            row.flags.without(Flags::HELD).0,
            drop_id,
            sequence.cast_signed()
        ])?;
        self.need(mark, row.segment, usage);
        Ok(())
    }

    /// A mark is needed for as long as there is a record that it changes: where the message stands, and where it stood before.
    fn need(&mut self, mark: u64, segment: u64, usage: &Usage) {
        let needed_for: Vec<_> = self.origins(segment, usage).chain([segment]).map(|message| (mark, message)).collect();
        self.pending.needs.extend(needed_for);
    }

    /// The segments that messages in `segment` were moved away from, where their former records may still stand.
    fn origins<'u>(&'u self, segment: u64, usage: &'u Usage) -> impl Iterator<Item = u64> + use<'u> {
        let moves = [&usage.moves, &self.pending.moves].into_iter();
        moves.flat_map(move |moves| moves.range((segment, 0)..=(segment, u64::MAX))).map(|(_, from)| *from)
    }

    /// Counts a mark; one that was carried here is needed for what it was needed for where it came from.
    fn mark(&mut self, logged: &Logged, origin: Option<u64>, usage: &Usage) {
        let here = logged.place.segment;
        self.pending.shares.entry(here).or_default().mark_bytes += i64::try_from(logged.bytes).unwrap_or(i64::MAX);
        if let Some(origin) = origin {
            let inherited: Vec<_> = [&usage.needs, &self.pending.needs]
                .into_iter()
                .flat_map(|needs| needs.range((origin, 0)..=(origin, u64::MAX)))
                .map(|(_, message)| (here, *message))
                .collect();
            self.pending.needs.extend(inherited);
        }
    }

    fn find(&self, drop_id: i64, sequence: u64) -> rusqlite::Result<Option<Row>> {
        self.db
            .prepare_cached("SELECT segment, share, flags, octets FROM deliveries WHERE drop_id = ? AND sequence = ?")?
            .query_row(params![drop_id, sequence.cast_signed()], |row| {
                let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
                Ok(Row { segment: number(0)?, share: row.get(1)?, flags: Flags(row.get(2)?), octets: number(3)? })
            })
            .optional()
    }

    fn count(&mut self, segment: u64, rows: i64, bytes: i64) {
        let share = self.pending.shares.entry(segment).or_default();
        share.rows += rows;
        share.live_bytes += bytes;
    }

    fn touch(&mut self, account: &str) {
        if !self.pending.touched.contains(account) {
            self.pending.touched.insert(account.to_owned());
        }
    }

    fn drop_id(&mut self, account: &str) -> rusqlite::Result<i64> {
        if let Some(known) = self.drops.get(account) {
            return Ok(*known);
        }
        let id = self
            .db
            .prepare_cached(
                "INSERT INTO drops (account) VALUES (?) ON CONFLICT (account) DO UPDATE SET account = account RETURNING drop_id",
            )?
            .query_row([account], |row| row.get(0))?;
        self.drops.insert(account.to_owned(), id);
        Ok(id)
    }
}

impl Pending {
    /// A delivery to `account` is no longer there.
    fn end(&mut self, account: &str, octets: u64) {
        let known = self.ended.contains_key(account);
        let ended = if known { self.ended.get_mut(account) } else { Some(self.ended.entry(account.to_owned()).or_default()) };
        if let Some(ended) = ended {
            ended.octets = ended.octets.saturating_add(octets);
            ended.messages += 1;
        }
    }
}

/// Whether the file itself is at fault, so that a new one helps.
pub(crate) fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        || matches!(error, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::FromSqlConversionFailure(..))
}

/// Whether the disk is full.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn read_usage(db: &Connection) -> rusqlite::Result<Usage> {
    let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let segments = db
        .prepare("SELECT number, rows, live_bytes, mark_bytes FROM segments")?
        .query_map([], |row| {
            Ok((number(row, 0)?, Use { rows: number(row, 1)?, live_bytes: number(row, 2)?, mark_bytes: number(row, 3)? }))
        })?
        .collect::<Result<_, _>>()?;
    let needs = db
        .prepare("SELECT mark, message FROM needs")?
        .query_map([], |row| Ok((number(row, 0)?, number(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let moves = db
        .prepare("SELECT segment, origin FROM moves")?
        .query_map([], |row| Ok((number(row, 0)?, number(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    let (covered, next_sequence) = db
        .query_row("SELECT segment, place, next_sequence FROM covered", [], |row| {
            Ok((Place { segment: number(row, 0)?, offset: number(row, 1)? }, number(row, 2)?))
        })
        .optional()?
        .unwrap_or((Place::default(), 1));
    Ok(Usage { segments, needs, moves, covered, next_sequence })
}

const SCHEMA_VERSION: i64 = 2;
pub(crate) const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 16384;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;
    PRAGMA user_version = 2;
    CREATE TABLE IF NOT EXISTS covered (one INTEGER PRIMARY KEY CHECK (one = 1), segment INTEGER, place INTEGER, next_sequence INTEGER);
    CREATE TABLE IF NOT EXISTS drops (drop_id INTEGER PRIMARY KEY, account TEXT NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS deliveries (
        drop_id INTEGER NOT NULL, sequence INTEGER NOT NULL, id BLOB NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL,
        text_offset INTEGER NOT NULL, octets INTEGER NOT NULL, flags INTEGER NOT NULL, share INTEGER NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (drop_id, sequence)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS held ON deliveries (until, id, octets) WHERE flags & 4;
    CREATE TABLE IF NOT EXISTS bodies (sequence INTEGER PRIMARY KEY, id BLOB NOT NULL, refs INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY, rows INTEGER, live_bytes INTEGER, mark_bytes INTEGER);
    CREATE TABLE IF NOT EXISTS needs (mark INTEGER, message INTEGER, PRIMARY KEY (mark, message)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS moves (segment INTEGER, origin INTEGER, PRIMARY KEY (segment, origin)) WITHOUT ROWID;
";
