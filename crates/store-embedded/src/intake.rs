//! A message on its way in: in memory while it is small and memory lasts, else in a file of its own.
//!
//! The body's checksum grows as it arrives, on the sender's task, so that the writer has next to nothing to do for a message.
//! Dropping an [`Arriving`] leaves nothing: memory goes back to the budget, a file is removed. Dropping the future of
//! [`commit`](store::Incoming::commit) leaves the message whole or absent.

use std::sync::Arc;

use async_trait::async_trait;
use mail::{Envelope, MessageId, Receipt};
use store::{Error, Hold, Incoming};
use tokio::sync::oneshot;

use crate::backlog::What;
use crate::body_file::BodyFile;
use crate::engine::{Charge, Engine, closed, ms_of, now_ms};
use crate::figures::add;
use crate::record::{Flags, HEADER_BYTES, Header, KeptEnvelope, KeptHold, Kind};
use crate::writer::{Command, Durable, Held};

/// A message on its way in.
pub(crate) struct Arriving {
    engine: Arc<Engine>,
    id: MessageId,
    envelope: KeptEnvelope,
    buffer: Vec<u8>,
    charge: Charge,
    /// From when the body does not fit in memory; `buffer` then holds what is not yet written.
    file: Option<BodyFile>,
    bytes: u64,
    crc: crc32fast::Hasher,
    ending: Ending,
}

impl Arriving {
    /// Begins to take a message.
    pub(crate) fn begin(engine: &Arc<Engine>, mut envelope: Envelope) -> Result<Self, Error> {
        engine.health.check()?;
        engine.ready.want();
        let register = engine.people.register();
        envelope.recipients.iter_mut().for_each(|account| *account = register.maildrop(account));
        envelope.recipients.sort_unstable();
        envelope.recipients.dedup();
        if envelope.recipients.is_empty() || envelope.recipients.len() > usize::from(u16::MAX) {
            return Err(Error::Unavailable(format!("a message for {} maildrops cannot be kept", envelope.recipients.len())));
        }
        Ok(Self {
            id: envelope.id,
            envelope: KeptEnvelope::new(envelope, now_ms()),
            buffer: Vec::new(),
            charge: engine.memory.charge(),
            file: None,
            bytes: 0,
            crc: crc32fast::Hasher::new(),
            ending: Ending::default(),
            engine: Arc::clone(engine),
        })
    }

    /// Whether the piece may join the buffer in memory.
    fn fits_memory(&mut self, piece: usize) -> bool {
        let needed = self.buffer.len() + piece;
        if needed > self.engine.settings.inline_body.octets() {
            return false;
        }
        if needed <= self.buffer.capacity() {
            return true;
        }
        let grown = needed.next_power_of_two().max(MIN_BUFFER_BYTES);
        let fits = self.charge.grow_to(grown);
        if fits {
            self.buffer.reserve_exact(grown - self.buffer.len());
        }
        fits
    }

    /// Moves the buffer to the body's file, off the async threads, making the file first if there is none.
    async fn spill(&mut self, and_sync: bool) -> Result<(), Error> {
        let (engine, id) = (Arc::clone(&self.engine), self.id);
        let (piece, file) = (std::mem::take(&mut self.buffer), self.file.take());
        if file.is_none() {
            add(&engine.meters.body_files, 1);
        }
        let written = tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => BodyFile::create(Arc::clone(&engine), id)?,
            };
            file.append(&piece)?;
            if and_sync {
                file.sync()?;
            }
            Ok(file)
        });
        let file = written.await.map_err(|_| closed())?;
        self.file = Some(file.map_err(|error| self.engine.health.judge_body(&error))?);
        self.charge = self.engine.memory.charge();
        Ok(())
    }

    /// The record, but for what the writer adds.
    fn into_command(self, trace: &[u8], answer: oneshot::Sender<Result<Durable, Error>>) -> Result<Command, Error> {
        let mut head = Vec::with_capacity(HEADER_BYTES + trace.len() + 256);
        head.resize(HEADER_BYTES, 0);
        self.envelope.encode(&mut head);
        let envelope_bytes = head.len() - HEADER_BYTES;
        head.extend_from_slice(trace);
        let mut text_crc = crc32fast::Hasher::new();
        text_crc.update(trace);
        text_crc.combine(&self.crc);
        let mut ending = Ending::default();
        ending.watch(trace);
        ending.then(self.ending);
        let too_long = |_| Error::Unavailable("the trace fields are too long to be kept".into());
        let header = Header {
            kind: Kind::Message,
            flags: Flags::default()
                .with(Flags::LACKS_CRLF, ending.lacks_crlf())
                .with(Flags::BODY_FILE, self.file.is_some())
                .with(Flags::HELD, self.envelope.held.is_some()),
            envelope_bytes: u32::try_from(envelope_bytes).map_err(too_long)?,
            trace_bytes: u32::try_from(trace.len()).map_err(too_long)?,
            envelope_crc: crc32fast::hash(head.get(HEADER_BYTES..).unwrap_or_default()),
            body_bytes: self.bytes,
            sequence: 0,
            id: self.id.to_bytes(),
            text_crc: text_crc.finalize(),
        };
        let what = What::Message {
            id: self.id,
            until_ms: self.envelope.until_ms(),
            accounts: self.envelope.accounts,
            octets: header.octets(),
            flags: header.flags,
            text_offset: header.text_offset(),
        };
        let held = Held { charge: Some(self.charge), body_file: self.file, ..Held::default() };
        Ok(Command { header, moved: false, head, body: self.buffer, what, held, answer })
    }
}

#[async_trait]
impl Incoming for Arriving {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.crc.update(piece);
        self.ending.watch(piece);
        self.bytes += piece.len() as u64;
        if self.file.is_none() && self.fits_memory(piece.len()) {
            self.buffer.extend_from_slice(piece);
            return Ok(());
        }
        self.buffer.extend_from_slice(piece);
        if self.file.is_none() || self.buffer.len() >= SPILL_BYTES {
            self.spill(false).await?;
        }
        Ok(())
    }

    async fn reread(&mut self, from: u64) -> Result<Vec<u8>, Error> {
        let written = self.file.as_ref().map_or(0, BodyFile::written);
        if let Some(file) = self.file.as_ref().filter(|_| from < written) {
            let file = file.file();
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; REREAD_BYTES];
                let octets = file.read_some(&mut piece, from)?;
                piece.truncate(octets);
                Ok::<_, std::io::Error>(piece)
            });
            // The file is as long as what was written: beyond that is what is still in memory.
            return match read.await.map_err(|_| closed())? {
                Ok(piece) if !piece.is_empty() => Ok(piece),
                Ok(_) => Err(Error::Unavailable("a body file is shorter than what was written".into())),
                Err(error) => Err(Error::Unavailable(format!("a body file cannot be read: {error}"))),
            };
        }
        let rest = usize::try_from(from - written).ok().and_then(|from| self.buffer.get(from..)).unwrap_or_default();
        Ok(rest.get(..REREAD_BYTES).unwrap_or(rest).to_vec())
    }

    fn hold(&mut self, Hold { reason, until }: Hold) {
        // A time before 1970, or none, has come as one of 1970 has.
        let until_ms = until.map_or(0, |until| ms_of(until).max(1));
        self.envelope.held = Some(KeptHold { reason: reason.into(), until_ms });
    }

    async fn commit(mut self: Box<Self>, trace: Vec<u8>) -> Result<Receipt, Error> {
        if self.file.is_some() {
            self.spill(true).await?;
        }
        let (id, engine) = (self.id, Arc::clone(&self.engine));
        let (answer, answered) = oneshot::channel();
        engine.queue.push(self.into_command(&trace, answer)?);
        let Durable { .. } = answered.await.map_err(|_| closed())??;
        #[expect(clippy::disallowed_methods, reason = "the writer has synced the record and the body it refers to: Durable says so")]
        Ok(Receipt::attest(id))
    }
}

/// The last two octets of a text, as far as they matter.
#[derive(Debug, Clone, Copy, Default)]
struct Ending {
    octets: u64,
    last: [u8; 2],
}

impl Ending {
    fn watch(&mut self, piece: &[u8]) {
        self.octets += piece.len() as u64;
        match piece {
            [.., before, last] => self.last = [*before, *last],
            [only] => self.last = [self.last[1], *only],
            [] => {}
        }
    }

    fn then(&mut self, after: Self) {
        self.last = match after.octets {
            0 => self.last,
            1 => [self.last[1], after.last[1]],
            _ => after.last,
        };
        self.octets += after.octets;
    }

    fn lacks_crlf(self) -> bool {
        self.octets > 0 && self.last != *b"\r\n"
    }
}

const MIN_BUFFER_BYTES: usize = 4096;
/// A body file is written in pieces of about this size.
const SPILL_BYTES: usize = 128 << 10;
/// What is read of a message at a time.
const REREAD_BYTES: usize = 64 << 10;
/// The most memory that one arriving message takes beside `body_memory`: a piece on its way to the body's file, in a buffer that grows by doubling.
pub const ARRIVING_OCTETS: usize = 2 * SPILL_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_watched_across_pieces() {
        for (trace, pieces, lacks) in [
            ("", vec![], false),
            ("T: x\r\n", vec![], false),
            ("T: x\r\n", vec!["body\r", "\n"], false),
            ("T: x\r", vec!["\n"], false),
            ("T: x\r\n", vec!["body"], true),
            ("", vec!["\n"], true),
            ("", vec!["a\r\nb\r"], true),
        ] {
            let mut body = Ending::default();
            pieces.iter().for_each(|piece| body.watch(piece.as_bytes()));
            let mut whole = Ending::default();
            whole.watch(trace.as_bytes());
            whole.then(body);
            assert_eq!(whole.lacks_crlf(), lacks, "{trace:?} {pieces:?}");
        }
    }
}
