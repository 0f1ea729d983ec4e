//! What each record of the log changes in the index: deliveries come, end and are released, and what a mark is needed for is noted.
//!
//! Rows are written into the open transaction, everything else into what is [`Pending`] with it. Applied twice, a record changes nothing.

use mail::MessageId;
use rusqlite::{OptionalExtension as _, params};

use super::{Index, Pending};
use crate::backlog::{Logged, What};
use crate::record::Flags;
use crate::segment::Place;
use crate::usage::Usage;

/// Where a delivery's message stands.
#[derive(Debug, Clone, Copy)]
struct Row {
    segment: u64,
    share: i64,
    flags: Flags,
    octets: u64,
}

impl Index {
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
