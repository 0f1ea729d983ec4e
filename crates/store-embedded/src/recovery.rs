//! Opening: what the log says is made what the index says, and what no record names is removed.
//!
//! In this order, so that it can be stopped anywhere and done again: read what segments there are; forget index rows of segments
//! that are gone; replay the log from where the index stands; sync what was replayed, because a crash may have left it in memory
//! alone; remove bodies without a row; free the segments behind the log's end, which were ready and never written. A torn end is left where it is and never written over: a life begins in a new segment.
//! Octets that are no record are skipped and said, never taken for one. Any octets whatever may stand in a segment: reading them
//! ends, in memory bounded by the largest record.

use std::path::Path;

use mail::MessageId;

use crate::OpenError;
use crate::backlog::{Logged, What};
use crate::body_file::{BODIES, body_path};
use crate::disk::Disk;
use crate::index::{Index, has_other_format, is_damaged};
use crate::preparer::SPARES;
use crate::record::{Header, KeptEnvelope, Kind, decode_deletion, decode_removal, message_id};
use crate::segment::{Found, LOG, Place, Segment, numbered, segment_path, spare_path};
use crate::usage::Usage;

/// How far a walk through the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Segments to walk through.
    pub segments: u64,
    /// Segments walked through.
    pub segments_done: u64,
    /// Records read.
    pub records: u64,
}

/// A store as it was found and made whole.
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Segment>,
    pub(crate) spares: Vec<u64>,
    pub(crate) index: Index,
    pub(crate) usage: Usage,
    /// Higher than every number ever used.
    pub(crate) next_number: u64,
}

/// Brings the index at `index_path` up to the log on `disk`.
pub(crate) fn recover(
    disk: &dyn Disk,
    segment_bytes: u64,
    index_path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, OpenError> {
    let (mut segments, mut spares) = find_segments(disk, segment_bytes)?;
    let (mut index, mut usage) = open_index(index_path)?;
    let replayed = match follow(&segments, &mut index, &mut usage, progress) {
        Err(OpenError::Index(error)) if is_damaged(&error) => {
            tracing::warn!(%error, "the index is damaged: it is rebuilt from the log");
            drop(index);
            remove_index(index_path)?;
            (index, usage) = open_index(index_path)?;
            follow(&segments, &mut index, &mut usage, progress)?
        }
        other => other?,
    };
    if replayed.broken > 0 {
        tracing::warn!(
            stretches = replayed.broken,
            "octets in the log are no record: torn in a crash and never acknowledged, or damaged (see verify)"
        );
    }
    remove_leftovers(disk, &index, replayed.damaged && replayed.rebuilt)?;
    let names = segments.iter().map(|segment| segment.number).chain(spares.iter().copied());
    let next_number = names.chain([usage.covered.segment]).max().map_or(1, |highest| highest + 1);
    let last = replayed.last.max(usage.covered.segment);
    let unused = segments.extract_if(.., |segment| segment.tag.is_some() && segment.number > last).collect();
    release(disk, segment_bytes, unused, &mut spares).map_err(|error| OpenError::io("freeing a segment", error))?;
    Ok(Recovered { segments, spares, index, usage, next_number })
}

/// Removes the index, so that it is rebuilt.
pub(crate) fn remove_index(path: &Path) -> Result<(), OpenError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(OpenError::io("removing the index", error)),
            _ => {}
        }
    }
    Ok(())
}

/// What a replay came upon.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Replayed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) broken: u64,
    /// The last segment in which anything was found.
    last: u64,
    rebuilt: bool,
    /// What is broken is not all at the end of a life: it may have been acknowledged.
    damaged: bool,
}

/// Applies the log between two places to `index`.
pub(crate) fn replay(
    segments: &[impl AsRef<Segment>],
    until: Place,
    index: &mut Index,
    usage: &mut Usage,
    progress: &mut dyn FnMut(Progress),
    seen: &mut dyn FnMut(&Header, &[u8]),
) -> Result<Replayed, OpenError> {
    let (from, mut replayed) = (usage.covered, Replayed { rebuilt: usage.covered == Place::default(), ..Replayed::default() });
    let in_range = |segment: &&Segment| segment.number >= from.segment && segment.number <= until.segment;
    let segments: Vec<&Segment> = segments.iter().map(AsRef::as_ref).filter(in_range).collect();
    for (done, segment) in segments.iter().enumerate() {
        let report = Progress { segments: segments.len() as u64, segments_done: done as u64, records: replayed.records };
        progress(report);
        let (mut broken, headless) = (0, segment.tag.is_none());
        replayed.damaged |= headless;
        let mut scan = segment.scan(if segment.number == from.segment { from.offset } else { 0 });
        while let Some(found) = scan.next().map_err(|error| OpenError::io("reading the log", error))? {
            replayed.last = segment.number;
            let Found::Record { offset, header, envelope, text } = found else {
                broken += 1;
                continue;
            };
            replayed.damaged |= broken > 0;
            let place = Place { segment: segment.number, offset };
            if place >= until {
                break;
            }
            let Some(logged) = logged(place, &header, envelope) else {
                broken += 1;
                continue;
            };
            seen(&header, text);
            index.apply(&logged, usage).map_err(OpenError::Index)?;
            replayed.records += 1;
            replayed.bytes += logged.bytes;
            if replayed.records.is_multiple_of(COMMIT_RECORDS) {
                index.commit(usage).map_err(OpenError::Index)?;
                progress(Progress { records: replayed.records, ..report });
            }
        }
        replayed.broken += broken + u64::from(headless);
    }
    index.commit(usage).map_err(OpenError::Index)?;
    let segments = segments.len() as u64;
    progress(Progress { segments, segments_done: segments, records: replayed.records });
    Ok(replayed)
}

/// A record as the index learns of it; `None` when its envelope is not well formed.
fn logged(place: Place, header: &Header, envelope: &[u8]) -> Option<Logged> {
    let what = match header.kind {
        Kind::Message => {
            let kept = KeptEnvelope::decode(envelope)?;
            What::Message {
                id: message_id(header),
                until_ms: kept.until_ms(),
                accounts: kept.accounts,
                octets: header.octets(),
                flags: header.flags,
                text_offset: header.text_offset(),
            }
        }
        Kind::Deletion => {
            let (account, sequences) = decode_deletion(envelope)?;
            What::Deletion { account, sequences, origin: header.origin() }
        }
        Kind::Release => {
            let (account, sequences) = decode_deletion(envelope)?;
            What::Release { account, sequences, origin: header.origin() }
        }
        Kind::Removal => What::Removal { account: decode_removal(envelope)?, origin: header.origin() },
    };
    Some(Logged { place, bytes: header.record_bytes(), sequence: header.sequence, what })
}

/// Makes the index say what the log says, and the log durable as far as the index now shows it.
fn follow(segments: &[Segment], index: &mut Index, usage: &mut Usage, progress: &mut dyn FnMut(Progress)) -> Result<Replayed, OpenError> {
    let from = usage.covered;
    let is_there = |number: &u64| segments.iter().any(|segment| segment.number == *number);
    let pairs = usage.needs.iter().chain(&usage.moves);
    let named = usage.segments.keys().chain(pairs.flat_map(|(one, other)| [one, other]));
    let mut gone: Vec<u64> = named.filter(|number| !is_there(number)).copied().collect();
    gone.sort_unstable();
    gone.dedup();
    index.forget_segments(&gone).map_err(OpenError::Index)?;
    usage.segments.retain(|number, _| !gone.contains(number));
    let end = Place { segment: u64::MAX, offset: u64::MAX };
    let replayed = replay(segments, end, index, usage, progress, &mut |_, _| {})?;
    for number in gone {
        index.forget_freed(number).map_err(OpenError::Index)?;
        usage.forget(number);
    }
    if replayed.records > 0 {
        for segment in segments.iter().filter(|segment| segment.number >= from.segment) {
            segment.file.sync().map_err(|error| OpenError::io("syncing the log", error))?;
        }
    }
    Ok(replayed)
}

/// The segments in use by number, and files to be used again.
fn find_segments(disk: &dyn Disk, segment_bytes: u64) -> Result<(Vec<Segment>, Vec<u64>), OpenError> {
    for dir in [LOG, BODIES] {
        disk.create_dir(dir).map_err(|error| OpenError::io("making a directory", error))?;
    }
    disk.sync_dir(".").map_err(|error| OpenError::io("syncing the data directory", error))?;
    let names = disk.list(LOG).map_err(|error| OpenError::io("listing the log", error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| numbered(name, ".seg")).collect();
    numbers.sort_unstable();
    let open = |number: &u64| Segment::open(disk, *number).map_err(|error| OpenError::io("opening a segment", error));
    let segments: Vec<Segment> = numbers.iter().map(open).collect::<Result<_, _>>()?;
    for damaged in segments.iter().filter(|segment| segment.tag.is_none()) {
        tracing::error!(path = segment_path(damaged.number), "the head of this segment of the log is damaged: it is kept as it is");
    }
    let mut spares = Vec::new();
    for number in names.iter().filter_map(|name| numbered(name, ".spare")) {
        let path = spare_path(number);
        let length = disk.open(&path).and_then(|file| file.len());
        if length.is_ok_and(|length| length == segment_bytes) && spares.len() < SPARES {
            spares.push(number);
        } else {
            disk.unlink(&path).map_err(|error| OpenError::io("removing a spare segment", error))?;
        }
    }
    Ok((segments, spares))
}

/// Takes off the log what was ready in a former life and never written: no record was ever found in it, so that whatever of this
/// a crash undoes is done again.
fn release(disk: &dyn Disk, segment_bytes: u64, unused: Vec<Segment>, spares: &mut Vec<u64>) -> std::io::Result<()> {
    if unused.is_empty() {
        return Ok(());
    }
    for Segment { number, capacity, .. } in unused {
        if capacity == segment_bytes && spares.len() < SPARES {
            disk.rename(&segment_path(number), &spare_path(number))?;
            spares.push(number);
        } else {
            disk.unlink(&segment_path(number))?;
        }
    }
    disk.sync_dir(LOG)
}

fn open_index(path: &Path) -> Result<(Index, Usage), OpenError> {
    if has_other_format(path) {
        tracing::info!("the index has the format of another version of this program: it is rebuilt from the log");
        remove_index(path)?;
    }
    match Index::open(path) {
        Err(error) if is_damaged(&error) => {
            tracing::warn!(%error, "the index is damaged: it is rebuilt from the log");
            remove_index(path)?;
            Index::open(path).map_err(OpenError::Index)
        }
        other => other.map_err(OpenError::Index),
    }
}

/// Removes bodies that no live message refers to; not when damaged records may have referred to them.
fn remove_leftovers(disk: &dyn Disk, index: &Index, damaged: bool) -> Result<(), OpenError> {
    let referred = index.bodies().map_err(OpenError::Index)?;
    for name in disk.list(BODIES).map_err(|error| OpenError::io("listing the bodies", error))? {
        match name.parse::<MessageId>() {
            Ok(id) if !referred.contains(&id) && !damaged => {
                disk.unlink(&body_path(id)).map_err(|error| OpenError::io("removing a body nobody refers to", error))?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl AsRef<Self> for Segment {
    fn as_ref(&self) -> &Self {
        self
    }
}

const COMMIT_RECORDS: u64 = 16_384;
