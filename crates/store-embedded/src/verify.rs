//! Verification: the log is read once more from front to back into an index of its own, and the two are compared.
//!
//! Every record's and every body's checksum is computed. What the log says and the index does not, or the other way round, is a
//! fault; octets that are no record are one only if the index expects something there, because every crash may leave some.
//! Nothing is moved or freed meanwhile, so that places stay comparable; messages that come and go after the index's snapshot
//! was taken are not looked at.

use std::sync::Arc;

use mail::MessageId;
use rusqlite::Connection;

use crate::body_file::body_path;
use crate::disk::{DiskFile, read_whole};
use crate::engine::Engine;
use crate::index::Index;
use crate::record::{Flags, Header, message_id};
use crate::recovery::{Progress, Replayed, remove_index, replay};
use crate::segment::{Place, Segment, segment_path};
use crate::{OpenError, lock};

/// What was looked at and what was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Files of the log.
    pub segments: u64,
    /// Records read: messages, deletions, removals, releases.
    pub records: u64,
    /// Octets of those records.
    pub bytes: u64,
    /// Live deliveries compared with the index.
    pub deliveries: u64,
    /// Bodies in files of their own whose checksum was compared.
    pub bodies: u64,
    /// Stretches of the log that are no record. A crash leaves some; they matter only where a fault says so.
    pub broken: u64,
    /// Every fault, one line each, at most [`VerifyReport::FAULTS`].
    pub faults: Vec<String>,
}

impl VerifyReport {
    /// The most faults that are listed.
    pub const FAULTS: usize = 1000;

    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < Self::FAULTS {
            self.faults.push(fault);
        }
    }
}

/// A body in a file, as its record describes it.
struct Expected {
    id: MessageId,
    sequence: u64,
    /// After the trace fields.
    crc: crc32fast::Hasher,
    text_crc: u32,
    body_bytes: u64,
}

/// Verifies a running store.
pub(crate) fn verify(engine: &Arc<Engine>, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, OpenError> {
    let _walking = lock(&engine.walking);
    let path = engine.listings.path().with_file_name("verify.sqlite");
    remove_index(&path)?;
    let outcome = compare(engine, &path, progress);
    remove_index(&path)?;
    outcome
}

fn compare(engine: &Engine, path: &std::path::Path, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, OpenError> {
    let unavailable = |error: store::Error| OpenError::io("reading the index", std::io::Error::other(error));
    engine.backlog.barrier_blocking().map_err(unavailable)?;
    let mut report = VerifyReport::default();
    let mut bodies = Vec::new();
    let rebuilt = path.to_string_lossy().into_owned();
    let mut failure = None;
    drop(Index::open(path).map_err(OpenError::Index)?);
    let compared = engine.listings.with_connection(|db| {
        db.execute("ATTACH ? AS rebuilt", [&rebuilt])?;
        let outcome = (|| {
            // The snapshot begins with this read, and says up to where the log is to be read.
            let snapshot = db.unchecked_transaction()?;
            let until = covered(&snapshot)?;
            match read_log(engine, path, until, &mut bodies, &mut report, progress) {
                Ok(()) => compare_rows(&snapshot, &mut report),
                Err(error) => {
                    failure = Some(error);
                    Ok(())
                }
            }
        })();
        db.execute("DETACH rebuilt", [])?;
        outcome
    });
    if let Some(error) = failure {
        return Err(error);
    }
    compared.map_err(unavailable)?;
    for body in bodies {
        check_body(engine, body, &mut report);
    }
    Ok(report)
}

/// Reads the log into the index at `path`, noting the bodies it refers to.
fn read_log(
    engine: &Engine,
    path: &std::path::Path,
    until: Place,
    bodies: &mut Vec<Expected>,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), OpenError> {
    let segments: Vec<Arc<Segment>> = engine.shelf.all();
    for segment in segments.iter().filter(|segment| segment.tag.is_none()) {
        report.fault(format!("{}: the head is damaged; what the index does not know of it is lost", segment_path(segment.number)));
    }
    let (mut index, mut usage) = Index::open(path).map_err(OpenError::Index)?;
    let mut note = |header: &Header, trace: &[u8]| {
        if header.flags.has(Flags::BODY_FILE) {
            let mut crc = crc32fast::Hasher::new();
            crc.update(trace);
            let (id, sequence) = (message_id(header), header.sequence);
            bodies.push(Expected { id, sequence, crc, text_crc: header.text_crc, body_bytes: header.body_bytes });
        }
    };
    let Replayed { records, bytes, broken, .. } = replay(&segments, until, &mut index, &mut usage, progress, &mut note)?;
    let live = index.bodies().map_err(OpenError::Index)?;
    bodies.retain(|body| live.contains(&body.id));
    bodies.sort_by_key(|body| body.sequence);
    bodies.dedup_by_key(|body| body.sequence);
    (report.segments, report.records, report.bytes, report.broken) = (segments.len() as u64, records, bytes, broken);
    Ok(())
}

/// What one index has and the other has not.
fn compare_rows(db: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    report.deliveries = db.query_row("SELECT count(*) FROM main.deliveries", [], |row| row.get::<_, i64>(0))?.cast_unsigned();
    for (here, there, meaning) in
        [("main", "rebuilt", "the index has it and the log does not"), ("rebuilt", "main", "the log has it and the index does not")]
    {
        let columns = |schema: &str| {
            format!(
                "SELECT account, sequence, id, segment, place, text_offset, octets, flags, until FROM {schema}.deliveries JOIN {schema}.drops USING (drop_id)"
            )
        };
        let mut statement = db.prepare(&format!("{} EXCEPT {}", columns(here), columns(there)))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (account, id): (String, [u8; 16]) = (row.get(0)?, row.get(2)?);
            let (segment, place): (i64, i64) = (row.get(3)?, row.get(4)?);
            report.fault(format!("message {} of {account} in segment {segment} at {place}: {meaning}", MessageId::from_bytes(id)));
        }
    }
    let mut statement = db.prepare("PRAGMA main.integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            report.fault(format!("index.sqlite: {line}"));
        }
    }
    Ok(())
}

/// Compares a body's length and checksum, unless the message has been deleted meanwhile.
fn check_body(engine: &Engine, body: Expected, report: &mut VerifyReport) {
    report.bodies += 1;
    let path = body_path(body.id);
    let cause = match engine.disk.open(&path).and_then(|file| checksum(&*file, body.crc)) {
        Ok(found) if found == (body.body_bytes, body.text_crc) => return,
        Ok((bytes, _)) if bytes != body.body_bytes => format!("{bytes} octets instead of {}", body.body_bytes),
        Ok(_) => "its checksum is wrong".into(),
        Err(error) => error.to_string(),
    };
    let live = engine.listings.with_connection(|db| {
        db.query_row("SELECT count(*) FROM bodies WHERE sequence = ?", [body.sequence.cast_signed()], |row| row.get::<_, i64>(0))
    });
    if !matches!(live, Ok(0)) {
        report.fault(format!("{path}: {cause}"));
    }
}

fn checksum(file: &dyn DiskFile, mut crc: crc32fast::Hasher) -> std::io::Result<(u64, u32)> {
    let (mut buffer, mut offset) = (vec![0; 1 << 20], 0);
    loop {
        let read = read_whole(file, &mut buffer, offset)?;
        crc.update(buffer.get(..read).unwrap_or_default());
        offset += read as u64;
        if read < buffer.len() {
            return Ok((offset, crc.finalize()));
        }
    }
}

fn covered(db: &Connection) -> rusqlite::Result<Place> {
    let place = db.query_row("SELECT segment, place FROM covered", [], |row| {
        Ok(Place { segment: row.get::<_, i64>(0)?.cast_unsigned(), offset: row.get::<_, i64>(1)?.cast_unsigned() })
    });
    match place {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Place::default()),
        other => other,
    }
}
