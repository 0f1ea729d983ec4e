//! One session's maildrop: a listing that stands still, its segments held so that nothing is written over, and bodies read in pieces.
//!
//! What the page cache holds is read on the async thread (`preadv2` with `RWF_NOWAIT`); only what the disk must be asked for goes to
//! a blocking thread. The first piece is read, and for most messages the checksum compared, before [`Maildrop::read`] returns.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use mail::MessageId;
use store::{Body, Entry, Error, Lease, Maildrop};

use crate::backlog::What;
use crate::body_file::body_path;
use crate::disk::{DiskFile, read_whole};
use crate::engine::{Engine, closed};
use crate::listing::{Listing, Spot};
use crate::record::{Flags, HEADER_BYTES, Header, Kind, encode_deletion};
use crate::segment::Segment;
use crate::writer::{Command, Held};

/// An open maildrop.
pub(crate) struct Opened {
    engine: Arc<Engine>,
    account: String,
    listing: Arc<Listing>,
    segments: Vec<Arc<Segment>>,
    lease: Lease,
}

impl Opened {
    /// Opens the maildrop of `account`. Cancel-safe.
    pub(crate) async fn open(engine: &Arc<Engine>, account: &str) -> Result<Self, Error> {
        let lease = engine.leases.claim(account).map_err(|_| Error::InUse)?;
        engine.ready.want();
        engine.backlog.barrier().await?;
        for _ in 0..ATTEMPTS {
            let listing = match engine.listings.at_hand(account) {
                Some(listing) => listing,
                None => {
                    let (engine, account) = (Arc::clone(engine), account.to_owned());
                    tokio::task::spawn_blocking(move || engine.listings.read(&account)).await.map_err(|_| closed())??
                }
            };
            if let Some(segments) = engine.shelf.pin(&listing.segments) {
                return Ok(Self { engine: Arc::clone(engine), account: account.to_owned(), listing, segments, lease });
            }
            // A message was moved since; the index knows, and the listing is read again.
            engine.listings.forget([account]);
        }
        Err(Error::Unavailable("the maildrop's messages keep being moved".into()))
    }

    /// The listing's own copy of `entry` and where it stands.
    fn spot(&self, entry: &Entry) -> Result<(Entry, Spot, &Arc<Segment>), Error> {
        let at = usize::try_from(entry.place).unwrap_or(usize::MAX);
        let known = self.listing.entries.get(at).filter(|known| known.id == entry.id).zip(self.listing.spots.get(at));
        let (known, spot) = known.ok_or_else(|| damaged(entry.id, "it is not in this listing"))?;
        let segment = self.segments.get(spot.segment as usize).ok_or_else(|| damaged(entry.id, "its segment is not there"))?;
        Ok((*known, *spot, segment))
    }
}

#[async_trait]
impl Maildrop for Opened {
    fn listing(&self) -> &Arc<[Entry]> {
        &self.listing.entries
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn read(&self, entry: &Entry) -> Result<Box<dyn Body>, Error> {
        let (Entry { id, octets, .. }, spot, segment) = self.spot(entry)?;
        let octets = octets.saturating_sub(if spot.flags.has(Flags::LACKS_CRLF) { 2 } else { 0 });
        let head_bytes = spot.text_offset as usize;
        let has_file = spot.flags.has(Flags::BODY_FILE);
        let first = if has_file { 0 } else { usize::try_from(octets).unwrap_or(usize::MAX).min(PIECE_BYTES) };
        let (head, text) = read_two(&segment.file, spot.offset, head_bytes, first).await.map_err(|error| damaged(id, error.to_string()))?;
        let (_, header) = Header::decode(&head).ok_or_else(|| damaged(id, "its record has no valid header"))?;
        let as_listed = header.kind == Kind::Message && header.id == id.to_bytes() && header.sequence == spot.sequence;
        if !as_listed || header.text_bytes() != octets || header.text_offset() != head_bytes as u64 {
            return Err(damaged(id, "its record is another one's"));
        }
        let mut reading = Reading {
            id,
            inline: (Arc::clone(&segment.file), spot.offset + header.text_offset(), header.inline_bytes()),
            body: None,
            octets,
            done: 0,
            crc: crc32fast::Hasher::new(),
            expected_crc: header.text_crc,
            first: Vec::new(),
        };
        if has_file {
            let engine = Arc::clone(&self.engine);
            let opened = tokio::task::spawn_blocking(move || engine.disk.open(&body_path(id))).await.map_err(|_| closed())?;
            reading.body = Some(opened.map_err(|error| damaged(id, format!("its body file: {error}")))?);
        }
        reading.first = if reading.body.is_none() { text } else { reading.fetch().await? };
        reading.check()?;
        Ok(Box::new(reading))
    }

    async fn update(self: Box<Self>, deleted: Vec<Entry>) -> Result<(), Error> {
        self.lease.begin_update().map_err(|_| Error::InUse)?;
        let mut sequences =
            deleted.iter().map(|entry| self.spot(entry).map(|(_, spot, _)| spot.sequence)).collect::<Result<Vec<_>, _>>()?;
        sequences.sort_unstable();
        sequences.dedup();
        if sequences.is_empty() {
            return Ok(());
        }
        let Self { engine, account, lease, .. } = *self;
        let mut head = vec![0; HEADER_BYTES];
        encode_deletion(&account, &sequences, &mut head);
        let header = Header::of_mark(Kind::Deletion, &head)?;
        // Both go with the record, even if this future is dropped: nobody opens the maildrop, and nothing is moved, before it is done.
        let held = Held { lease: Some(lease), marks: Some(Arc::clone(&engine.marks).read_owned().await), ..Held::default() };
        let what = What::Deletion { account, sequences, origin: None };
        let answered = engine.submit(|answer| Command { header, moved: false, head, body: Vec::new(), what, held, answer });
        answered.await.map_err(|_| closed())?.map(drop)
    }
}

/// A message on its way out.
struct Reading {
    id: MessageId,
    /// File, offset and length of what stands in the log.
    inline: (Arc<dyn DiskFile>, u64, u64),
    body: Option<Arc<dyn DiskFile>>,
    octets: u64,
    done: u64,
    crc: crc32fast::Hasher,
    expected_crc: u32,
    /// Read ahead, not yet handed out.
    first: Vec<u8>,
}

impl Reading {
    /// The next piece of the text.
    async fn fetch(&self) -> Result<Vec<u8>, Error> {
        let (log, start, inline) = &self.inline;
        let wanted = |left: u64| usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let (file, offset, length) = match &self.body {
            Some(body) if self.done >= *inline => (body, self.done - inline, wanted(self.octets - self.done)),
            _ => (log, start + self.done, wanted(inline - self.done)),
        };
        let (_, piece) = read_two(file, offset, 0, length).await.map_err(|error| damaged(self.id, error.to_string()))?;
        Ok(piece)
    }

    /// Takes `first` into the checksum, and compares it at the end.
    fn check(&mut self) -> Result<(), Error> {
        self.crc.update(&self.first);
        self.done += self.first.len() as u64;
        if self.done == self.octets && self.crc.clone().finalize() != self.expected_crc {
            return Err(damaged(self.id, "its checksum is wrong"));
        }
        if self.first.is_empty() && self.done < self.octets {
            return Err(damaged(self.id, "it ends too early"));
        }
        Ok(())
    }
}

#[async_trait]
impl Body for Reading {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool, Error> {
        if self.first.is_empty() {
            if self.done == self.octets {
                return Ok(false);
            }
            self.first = self.fetch().await?;
            self.check()?;
        }
        if piece.is_empty() && piece.capacity() < self.first.len() {
            std::mem::swap(piece, &mut self.first);
        } else {
            piece.extend_from_slice(&self.first);
        }
        self.first = Vec::new();
        Ok(true)
    }
}

impl Header {
    /// The header of a mark whose envelope stands in `head` behind the room for the header.
    pub(crate) fn of_mark(kind: Kind, head: &[u8]) -> Result<Self, Error> {
        let envelope = head.get(HEADER_BYTES..).unwrap_or_default();
        let too_long = |_| Error::Unavailable("too many messages to delete at once".into());
        Ok(Self {
            kind,
            flags: Flags::default(),
            envelope_bytes: u32::try_from(envelope.len()).map_err(too_long)?,
            trace_bytes: 0,
            envelope_crc: crc32fast::hash(envelope),
            body_bytes: 0,
            sequence: 0,
            id: [0; 16],
            text_crc: crc32fast::hash(&[]),
        })
    }
}

/// `first` octets and then `second`, from `offset` on: here when they are in memory, else on a blocking thread.
async fn read_two(file: &Arc<dyn DiskFile>, offset: u64, first: usize, second: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut head, mut text) = (vec![0; first], vec![0; second]);
    match file.read_now([&mut head, &mut text], offset) {
        Ok(read) if read == first + second => return Ok((head, text)),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
        _ => {}
    }
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let whole = read_whole(&*file, &mut head, offset)? == first && read_whole(&*file, &mut text, offset + first as u64)? == second;
        if whole { Ok((head, text)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    });
    read.await.map_err(io::Error::other)?
}

fn damaged(id: MessageId, cause: impl Into<String>) -> Error {
    Error::Damaged { id, cause: cause.into() }
}

const ATTEMPTS: usize = 16;
/// The largest piece handed out.
const PIECE_BYTES: usize = 64 << 10;
