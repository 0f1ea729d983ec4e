//! A way in for fuzz targets: arbitrary octets as a segment of the log. Not part of the crate's interface.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use crate::disk::DiskFile;
use crate::lock;
use crate::segment::{Found, Segment};

/// Walks through `octets` as the file of segment 1, as recovery does, and counts whole records and broken stretches. Must neither panic
/// nor go on for ever, and returns what the same octets always return.
pub fn walk_segment(octets: &[u8]) -> (usize, usize) {
    let file = Arc::new(Memory(Mutex::new(octets.to_vec())));
    let (mut records, mut broken) = (0, 0);
    if let Ok(segment) = Segment::read(1, file) {
        let mut scan = segment.scan(0);
        while let Ok(Some(found)) = scan.next() {
            match found {
                Found::Record { .. } => records += 1,
                Found::Broken => broken += 1,
            }
        }
    }
    (records, broken)
}

/// A file in memory.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl DiskFile for Memory {
    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let (mut octets, mut at) = (lock(&self.0), usize::try_from(offset).map_err(io::Error::other)?);
        for slice in slices {
            let end = at + slice.len();
            let length = octets.len().max(end);
            octets.resize(length, 0);
            if let Some(place) = octets.get_mut(at..end) {
                place.copy_from_slice(slice);
            }
            at = end;
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let octets = lock(&self.0);
        let from = usize::try_from(offset).ok().and_then(|offset| octets.get(offset..)).unwrap_or_default();
        let length = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), from.get(..length)) {
            to.copy_from_slice(from);
        }
        Ok(length)
    }

    fn read_now(&self, [first, second]: [&mut [u8]; 2], offset: u64) -> io::Result<usize> {
        let read = self.read_some(first, offset)?;
        Ok(read + if read == first.len() { self.read_some(second, offset + read as u64)? } else { 0 })
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        lock(&self.0).resize(usize::try_from(length).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.0).len() as u64)
    }
}
