//! Messages that are held: shown to an operator, listed from now on, or deleted, by somebody's word or because they are old.
//!
//! That a message is held is a flag of its record, and of its rows in the index; why is in the record's envelope, and read only when somebody
//! asks. To release it is a mark of its own, to remove it a deletion like any other. Both are written while nothing is moved and nobody
//! else decides, so that what is deleted here was never listed. All of it waits for the disk.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::MessageId;
use rusqlite::{Params, params};
use store::{Decision, Error, HELD_PIECE, HELD_SHOWN, HeldMessage, Hold, Load};
use tokio::sync::oneshot;

use crate::backlog::What;
use crate::body_file::body_path;
use crate::disk::read_whole;
use crate::engine::{Engine, closed, now_ms};
use crate::lock;
use crate::record::{HEADER_BYTES, Header, KeptEnvelope, Kind, encode_deletion};
use crate::segment::Segment;
use crate::writer::{Command, Durable, Held};

/// What is held in the maildrop of `account`, or in all.
pub(crate) fn list(engine: &Engine, account: Option<&str>) -> Result<Vec<HeldMessage>, Error> {
    let _walking = lock(&engine.walking);
    let register = engine.people.register();
    let rows = held(engine, account, None, HELD_SHOWN)?;
    Ok(rows.into_iter().map(|row| row.tell(engine, register.owner(&row.maildrop))).collect())
}

/// A piece of a message that is held, from octet `from` of its text on.
pub(crate) fn text(engine: &Engine, id: MessageId, from: u64) -> Result<Option<Vec<u8>>, Error> {
    let _walking = lock(&engine.walking);
    let Some(row) = held(engine, None, Some(id), 1)?.pop() else { return Ok(None) };
    let damaged = |cause: String| Error::Damaged { id, cause };
    let (segment, header, _) = row.head(engine).ok_or_else(|| damaged("its record cannot be read: run verify".into()))?;
    let inline = header.inline_bytes();
    let (file, offset, left) = if from < inline {
        (Arc::clone(&segment.file), row.place.saturating_add(header.text_offset()).saturating_add(from), inline - from)
    } else {
        let left = header.text_bytes().saturating_sub(from);
        if left == 0 {
            return Ok(Some(Vec::new()));
        }
        let body = engine.disk.open(&body_path(id)).map_err(|error| damaged(format!("its body file: {error}")))?;
        (body, from - inline, left)
    };
    let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(HELD_PIECE)];
    let read = read_whole(&*file, &mut piece, offset).map_err(|error| damaged(error.to_string()))?;
    if read == piece.len() { Ok(Some(piece)) } else { Err(damaged("it ends too early".into())) }
}

/// Ends the hold on message `id` in the maildrop of `account`, or in all; in how many it was held.
pub(crate) fn decide(engine: &Engine, id: MessageId, account: Option<&str>, decision: Decision) -> Result<usize, Error> {
    let _walking = lock(&engine.walking);
    let rows = held(engine, account, Some(id), usize::MAX)?;
    end(engine, &rows, decision)?;
    Ok(rows.len())
}

/// Deletes what was accepted before this time and waits for a decision: so many of the oldest; how much that was.
pub(crate) fn expire(engine: &Engine, before: SystemTime, most: usize) -> Result<Load, Error> {
    let before = MessageId::earliest(before).to_bytes();
    let old = |most: usize| rows(engine, OLD_ROWS, params![before, i64::try_from(most).unwrap_or(i64::MAX)]);
    // Mostly there is nothing, and nobody need wait for that.
    if old(1)?.is_empty() {
        return Ok(Load::default());
    }
    let _walking = lock(&engine.walking);
    engine.backlog.barrier_blocking()?;
    let rows = old(most)?;
    end(engine, &rows, Decision::Remove)?;
    Ok(Load { octets: rows.iter().map(|row| row.octets).sum(), messages: rows.len() as u64 })
}

/// How much waits for a decision, as far as the index knows.
pub(crate) fn waiting(engine: &Engine) -> Result<Load, Error> {
    engine.listings.with_connection(|db| {
        db.prepare_cached(WAITING)?.query_row([], |row| {
            Ok(Load { octets: row.get::<_, i64>(1)?.cast_unsigned(), messages: row.get::<_, i64>(0)?.cast_unsigned() })
        })
    })
}

fn end(engine: &Engine, rows: &[Row], decision: Decision) -> Result<(), Error> {
    let marked: Vec<_> = rows.iter().map(|row| mark(engine, row, decision)).collect::<Result<_, _>>()?;
    for answered in marked {
        answered.blocking_recv().map_err(|_| closed())??;
    }
    engine.backlog.barrier_blocking()
}

/// A delivery that is held, and where its message stands.
struct Row {
    maildrop: String,
    id: MessageId,
    sequence: u64,
    segment: u64,
    place: u64,
    head_bytes: usize,
    octets: u64,
    until_ms: u64,
}

fn held(engine: &Engine, account: Option<&str>, id: Option<MessageId>, most: usize) -> Result<Vec<Row>, Error> {
    engine.backlog.barrier_blocking()?;
    let maildrop = account.map(|account| engine.people.register().maildrop(&account.into()));
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    rows(engine, HELD_ROWS, params![maildrop, id.map(MessageId::to_bytes), most, now_ms().cast_signed()])
}

fn rows(engine: &Engine, query: &str, wanted: impl Params) -> Result<Vec<Row>, Error> {
    engine.listings.with_connection(|db| {
        let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let mut statement = db.prepare_cached(query)?;
        let rows = statement.query_map(wanted, |row| {
            Ok(Row {
                maildrop: row.get(0)?,
                id: MessageId::from_bytes(row.get(1)?),
                sequence: number(row, 2)?,
                segment: number(row, 3)?,
                place: number(row, 4)?,
                head_bytes: usize::try_from(number(row, 5)?).unwrap_or(0),
                octets: number(row, 6)?,
                until_ms: number(row, 7)?,
            })
        })?;
        rows.collect()
    })
}

impl Row {
    /// With what its record says of it; one that cannot be read is shown all the same, so that it can be removed.
    fn tell(&self, engine: &Engine, account: Arc<str>) -> HeldMessage {
        let kept = self.envelope(engine);
        let received = UNIX_EPOCH + Duration::from_millis(kept.as_ref().map_or(0, |kept| kept.received_ms));
        let (sender, reason) = kept.map_or_else(
            || (String::new(), "its record cannot be read: run verify".to_owned()),
            |kept| (kept.reverse_path, kept.held.map(|held| held.reason.into()).unwrap_or_default()),
        );
        let until = Some(self.until_ms).filter(|until| *until != 0).map(|until| UNIX_EPOCH + Duration::from_millis(until));
        HeldMessage { id: self.id, account, received, sender, octets: self.octets, hold: Hold { reason, until } }
    }

    fn envelope(&self, engine: &Engine) -> Option<KeptEnvelope> {
        let (_, _, head) = self.head(engine)?;
        head.get(HEADER_BYTES..).and_then(KeptEnvelope::decode)
    }

    /// Where its record stands, the record's header, and all of the record before the text.
    fn head(&self, engine: &Engine) -> Option<(Arc<Segment>, Header, Vec<u8>)> {
        let segment = engine.shelf.find(self.segment)?;
        let mut head = vec![0; self.head_bytes];
        read_whole(&*segment.file, &mut head, self.place).ok().filter(|read| *read == self.head_bytes)?;
        let (_, header) = Header::decode(&head)?;
        let is_it = header.kind == Kind::Message && header.sequence == self.sequence;
        is_it.then_some((segment, header, head))
    }
}

/// Hands the mark that ends one hold to the writer.
fn mark(engine: &Engine, row: &Row, decision: Decision) -> Result<oneshot::Receiver<Result<Durable, Error>>, Error> {
    let (account, sequences, mut head) = (row.maildrop.clone(), vec![row.sequence], vec![0; HEADER_BYTES]);
    encode_deletion(&account, &sequences, &mut head);
    let (kind, what) = match decision {
        Decision::Release => (Kind::Release, What::Release { account, sequences, origin: None }),
        Decision::Remove => (Kind::Deletion, What::Deletion { account, sequences, origin: None }),
    };
    let header = Header::of_mark(kind, &head)?;
    let held = Held { marks: Some(engine.hold_marks()), ..Held::default() };
    Ok(engine.submit(|answer| Command { header, moved: false, head, body: Vec::new(), what, held, answer }))
}

/// By the index of what is held, as are the others.
const HELD_ROWS: &str = "SELECT account, id, sequence, segment, place, text_offset, octets, until FROM deliveries JOIN drops USING (drop_id)
    WHERE flags & 4 AND (until = 0 OR until > ?4) AND (?1 IS NULL OR account = ?1) AND (?2 IS NULL OR id = ?2) ORDER BY sequence, account LIMIT ?3";
/// An id begins with its time, so that the index has them in the order they go in: nothing is sorted for a few of many.
const OLD_ROWS: &str = "SELECT account, id, sequence, segment, place, text_offset, octets, until FROM deliveries JOIN drops USING (drop_id)
    WHERE flags & 4 AND until = 0 AND id < ?1 ORDER BY id LIMIT ?2";
const WAITING: &str = "SELECT count(*), coalesce(sum(octets), 0) FROM deliveries WHERE flags & 4 AND until = 0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::SCHEMA;

    /// Which of the tables and indexes a query reads, and how.
    fn plan(query: &str, wanted: impl Params) -> String {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch(SCHEMA).unwrap();
        let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let steps = statement.query_map(wanted, |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn nobody_looks_through_what_is_listed() {
        for plan in [plan(OLD_ROWS, params![[0_u8; 16], 1]), plan(WAITING, [])] {
            assert!(plan.contains("SEARCH deliveries USING") && plan.contains("INDEX held") && !plan.contains("ORDER BY"), "{plan}");
        }
        let plan = plan(HELD_ROWS, params![Option::<String>::None, Option::<[u8; 16]>::None, 1, 0]);
        assert!(plan.contains("INDEX held"), "{plan}");
    }
}
