//! The index: SQLite, trailing the log and rebuilt from it whenever it is missing, damaged or of another format.
//!
//! One row for each live delivery, in one B-tree ordered by maildrop and sequence, so that a listing is one range. Commits are not
//! synced (WAL, synchronous=NORMAL: after a power cut the index is an older whole one), and each stores how far in the log it
//! reaches. What is applied twice changes nothing: replay may begin earlier than needed, never later.
//!
//! What a record changes is in `applying`.
//!
//! Nothing here is shared: the indexer has the one writing connection. Readers have their own (`listing`).

mod applying;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use mail::MessageId;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use store::Load;

use crate::disk::private_database;
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

impl Index {
    /// Opens the index at `path`, empty when there is none, with the usage it knows. One of [another format](has_other_format) is not to be
    /// opened.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<(Self, Usage)> {
        let db = private_database(path)?;
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
}

/// Whether another version of this program made the index at `path`, in a format of its own. No file, or a damaged one, has none.
pub(crate) fn has_other_format(path: &Path) -> bool {
    let format = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|db| db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)));
    format.is_ok_and(|format| format != 0 && format != FORMAT)
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

/// What `user_version` says in SCHEMA.
const FORMAT: i64 = 2;
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
