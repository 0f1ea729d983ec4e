//! Segments, the files of the log: made in full before use, filled once from front to back, read many times.
//!
//! A segment is `log/NNNNNNNNNNNNNNNN.seg`, its number in hexadecimal; numbers go up and are never used twice. One that is no
//! longer needed becomes `log/NNNNNNNNNNNNNNNN.spare` and, under a new head, a later segment. Whoever holds a [`Segment`] reads
//! what it held: one that is held is never written over, only unlinked.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use mail::MessageId;

use crate::disk::{Disk, DiskFile, read_whole, write_whole};
use crate::lock;
use crate::record::{HEADER_BYTES, Header, decode_segment_head, encode_segment_head};

/// Where the log lives.
pub(crate) const LOG: &str = "log";

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// `None` when its head is damaged: what the index knows of it can be read, nothing in it can be found by itself.
    pub(crate) tag: Option<u64>,
    pub(crate) capacity: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// The segments that are in use, by number.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<u64, Arc<Segment>>>);

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The name of a segment in use.
pub(crate) fn segment_path(number: u64) -> String {
    format!("{LOG}/{number:016X}.seg")
}

/// The name it has while it waits to be used again.
pub(crate) fn spare_path(number: u64) -> String {
    format!("{LOG}/{number:016X}.spare")
}

/// The number in a file's name, where the name is a number and `suffix`.
pub(crate) fn numbered(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Segment {
    /// Makes segment `number` durable and ready, from the spare `spare` when there is one. A new file is written with zeros for
    /// as long as there is no `hurry`.
    pub(crate) fn prepare(disk: &dyn Disk, number: u64, capacity: u64, spare: Option<u64>, hurry: &dyn Fn() -> bool) -> io::Result<Self> {
        let path = spare_path(spare.unwrap_or(number));
        let file = match spare {
            Some(_) => disk.open(&path)?,
            None => fill(disk, &path, capacity, hurry).inspect_err(|_| drop(disk.unlink(&path)))?,
        };
        let random = MessageId::generate().to_bytes();
        let tag = random.last_chunk().copied().map_or(0, u64::from_le_bytes);
        write_whole(&*file, &mut [IoSlice::new(&encode_segment_head(number, tag))], 0)?;
        file.sync()?;
        disk.rename(&path, &segment_path(number))?;
        disk.sync_dir(LOG)?;
        Ok(Self { number, tag: Some(tag), capacity, file })
    }

    /// Opens a segment of a former life.
    pub(crate) fn open(disk: &dyn Disk, number: u64) -> io::Result<Self> {
        Self::read(number, disk.open(&segment_path(number))?)
    }

    /// Takes a file for segment `number`.
    pub(crate) fn read(number: u64, file: Arc<dyn DiskFile>) -> io::Result<Self> {
        let mut head = [0; HEADER_BYTES];
        read_whole(&*file, &mut head, 0)?;
        let tag = decode_segment_head(&head).filter(|(found, _)| *found == number).map(|(_, tag)| tag);
        Ok(Self { number, tag, capacity: file.len()?, file })
    }

    /// Reads its records from `offset` on.
    pub(crate) fn scan(&self, offset: u64) -> Scan<'_> {
        Scan {
            segment: self,
            window: Window { file: &*self.file, largest: self.capacity, start: 0, octets: Vec::new() },
            offset: offset.max(FIRST_RECORD),
        }
    }
}

impl Shelf {
    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        lock(&self.0).insert(segment.number, segment);
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<Segment>> {
        lock(&self.0).remove(&number)
    }

    pub(crate) fn find(&self, number: u64) -> Option<Arc<Segment>> {
        lock(&self.0).get(&number).cloned()
    }

    /// Holds all of these, or `None` when one of them is gone.
    pub(crate) fn pin(&self, numbers: &[u64]) -> Option<Vec<Arc<Segment>>> {
        let held = lock(&self.0);
        numbers.iter().map(|number| held.get(number).cloned()).collect()
    }

    /// All of them, in order.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        lock(&self.0).values().cloned().collect()
    }
}

/// A walk over the records of one segment.
pub(crate) struct Scan<'s> {
    segment: &'s Segment,
    window: Window<'s>,
    offset: u64,
}

/// What the walk came upon.
pub(crate) enum Found<'w> {
    /// A whole record.
    Record {
        /// Where its header begins.
        offset: u64,
        header: Header,
        envelope: &'w [u8],
        /// What of its text stands in the log.
        text: &'w [u8],
    },
    /// Octets that are no whole record, before the next one or the end: torn in a crash, or damaged.
    Broken,
}

impl Scan<'_> {
    /// The next thing, until nothing more of this segment's life is found.
    pub(crate) fn next(&mut self) -> io::Result<Option<Found<'_>>> {
        let Some(tag) = self.segment.tag else { return Ok(None) };
        let offset = self.offset;
        let Some(header) = self.header_at(offset, tag)? else {
            return Ok(self.resume_after(offset, tag)?.map(|next| {
                self.offset = next;
                Found::Broken
            }));
        };
        self.offset = offset + header.record_bytes();
        let head = header.text_offset() as usize;
        let octets = self.window.at(offset, head + header.inline_bytes() as usize)?;
        let envelope = octets.get(HEADER_BYTES..head).unwrap_or_default();
        let text = octets.get(head..).unwrap_or_default();
        let trace = text.get(..header.trace_bytes as usize).unwrap_or_default();
        let mut crc = crc32fast::Hasher::new();
        crc.update(envelope);
        crc.update(trace);
        let whole = text.len() as u64 == header.inline_bytes()
            && crc.finalize() == header.envelope_crc
            && (header.flags.has(crate::record::Flags::BODY_FILE) || crc32fast::hash(text) == header.text_crc);
        Ok(Some(if whole { Found::Record { offset, header, envelope, text } } else { Found::Broken }))
    }

    /// Where the next record would begin.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    fn header_at(&mut self, offset: u64, tag: u64) -> io::Result<Option<Header>> {
        let capacity = self.segment.capacity;
        let header = Header::decode(self.window.at(offset, HEADER_BYTES)?).filter(|(found, _)| *found == tag).map(|(_, header)| header);
        Ok(header.filter(|header| header.record_bytes() <= capacity.saturating_sub(offset)))
    }

    /// The next header after `offset`. It is not further than one batch: what follows a torn batch was never written.
    fn resume_after(&mut self, offset: u64, tag: u64) -> io::Result<Option<u64>> {
        let finder = memchr::memmem::Finder::new(&tag.to_le_bytes()).into_owned();
        let end = self.segment.capacity.min(offset.saturating_add(RESUME_BYTES));
        let mut at = offset + 8;
        while at < end {
            let octets = self.window.at(at, WINDOW_BYTES)?;
            let length = octets.len() as u64;
            match finder.find(octets) {
                Some(found) => {
                    at += found as u64;
                    if at.is_multiple_of(8) && self.header_at(at, tag)?.is_some() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                None if length <= 8 => return Ok(None),
                None => at += length - 7,
            }
        }
        Ok(None)
    }
}

/// A stretch of a file held in memory.
struct Window<'s> {
    file: &'s dyn DiskFile,
    /// The file's length.
    largest: u64,
    start: u64,
    octets: Vec<u8>,
}

impl Window<'_> {
    /// `length` octets from `offset`, fewer only at the file's end.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let held = |start: u64, octets: &[u8]| {
            let from = usize::try_from(offset.checked_sub(start)?).ok()?;
            (from.checked_add(length)? <= octets.len()).then_some(from)
        };
        let from = match held(self.start, &self.octets) {
            Some(from) => from,
            None => {
                let left = usize::try_from(self.largest.saturating_sub(offset)).unwrap_or(usize::MAX);
                self.octets.resize(length.max(WINDOW_BYTES).min(left), 0);
                let read = read_whole(self.file, &mut self.octets, offset)?;
                self.octets.truncate(read);
                self.start = offset;
                0
            }
        };
        Ok(self.octets.get(from..).map_or(&[], |rest| rest.get(..length).unwrap_or(rest)))
    }
}

/// Makes a file that has its room. Where zeros were written, a later write changes neither length nor extents, so that its sync need
/// not wait for the file system's journal; where they were not, it is merely slower.
fn fill(disk: &dyn Disk, path: &str, capacity: u64, hurry: &dyn Fn() -> bool) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(path)?;
    file.allocate(capacity)?;
    let zeros = vec![0; WINDOW_BYTES];
    let mut offset = 0;
    while offset < capacity && !hurry() {
        let length = (capacity - offset).min(WINDOW_BYTES as u64);
        write_whole(&*file, &mut [IoSlice::new(zeros.get(..length as usize).unwrap_or(&zeros))], offset)?;
        offset += length;
    }
    Ok(file)
}

/// The offset of a segment's first record.
pub(crate) const FIRST_RECORD: u64 = HEADER_BYTES as u64;
const WINDOW_BYTES: usize = 1 << 20;
/// More than the largest batch and the largest record.
const RESUME_BYTES: u64 = 16 << 20;
