//! Compaction: what is still needed of a mostly dead segment is written again at the log's end.
//!
//! Messages keep their sequence and take along only the accounts that still have them, and where some hold a message that others list,
//! there are two of it from then on: what is written again says what is so, and needs no release any more. Marks say which segment they come from.
//! No mark may come between the look at the index and the copy, or a rebuilt index would bring a deleted message back: so marks
//! are kept out meanwhile, for a few MiB at a time. Stopped anywhere, it leaves copies that the index already knows or never
//! will, and the segment stays until nothing in it is needed. What cannot be read is not copied, and so keeps its segment.

use std::sync::Arc;

use store::Error;
use tokio::sync::oneshot;

use crate::backlog::What;
use crate::engine::{Engine, closed};
use crate::figures::add;
use crate::lock;
use crate::record::{Flags, HEADER_BYTES, Header, KeptEnvelope, Kind, decode_deletion, decode_removal, message_id};
use crate::segment::{Found, Segment};
use crate::writer::{Command, Durable, Held};

/// Copies forward what is needed of segment `number`, and waits until the index knows. Whether every mark that is needed now
/// stands elsewhere. `stop` is asked between steps.
pub(crate) fn empty(engine: &Arc<Engine>, number: u64, stop: &dyn Fn() -> bool) -> Result<bool, Error> {
    let Some(segment) = engine.shelf.find(number) else { return Ok(false) };
    let (mut offset, mut carried) = (0, true);
    loop {
        if stop() {
            return Ok(false);
        }
        let marks = engine.marks.blocking_write();
        engine.backlog.barrier_blocking()?;
        let (copies, next) = collect(engine, &segment, offset, &mut carried)?;
        let answers: Vec<_> = copies.into_iter().map(|copy| copy.submit(engine)).collect();
        add(&engine.meters.moved, answers.len() as u64);
        for answer in answers {
            answer.blocking_recv().map_err(|_| closed())??;
        }
        drop(marks);
        match next {
            Some(next) => offset = next,
            None => break,
        }
    }
    engine.backlog.barrier_blocking()?;
    Ok(carried)
}

/// The next few MiB of what is needed from `offset` on, and where to go on. Octets that may have been a mark are not `carried`.
fn collect(engine: &Engine, segment: &Segment, offset: u64, carried: &mut bool) -> Result<(Vec<Copy>, Option<u64>), Error> {
    let reading = |error: std::io::Error| Error::Unavailable(format!("reading segment {}: {error}", segment.number));
    let marks_needed = lock(&engine.usage).has_needed_marks(segment.number);
    let (mut scan, mut copies, mut bytes) = (segment.scan(offset), Vec::new(), 0);
    while bytes < STEP_BYTES {
        let found: Vec<Copy> = match scan.next().map_err(reading)? {
            None => return Ok((copies, None)),
            Some(Found::Broken) => {
                *carried &= !marks_needed;
                continue;
            }
            Some(Found::Record { offset, header, envelope, text }) => match header.kind {
                Kind::Message => Copy::of_message(engine, segment.number, offset, &header, envelope, text)?,
                Kind::Deletion | Kind::Removal | Kind::Release => {
                    let copy = marks_needed.then(|| Copy::of_mark(segment.number, &header, envelope)).flatten();
                    *carried &= copy.is_some() || !marks_needed;
                    copy.into_iter().collect()
                }
            },
        };
        bytes += found.iter().map(|copy| copy.header.record_bytes()).sum::<u64>();
        copies.extend(found);
    }
    Ok((copies, Some(scan.offset())))
}

/// A record to be written again.
struct Copy {
    header: Header,
    head: Vec<u8>,
    body: Vec<u8>,
    what: What,
}

impl Copy {
    /// One for those who list it, and one for those who hold it.
    fn of_message(engine: &Engine, segment: u64, offset: u64, header: &Header, envelope: &[u8], text: &[u8]) -> Result<Vec<Self>, Error> {
        let Some(kept) = KeptEnvelope::decode(envelope) else { return Ok(Vec::new()) };
        let [listed, held] = engine.listings.live_accounts(&kept.accounts, header.sequence, segment, offset)?;
        let listed = (header.flags.without(Flags::HELD), KeptEnvelope { accounts: listed, held: None, ..kept.clone() });
        let held = (header.flags, KeptEnvelope { accounts: held, ..kept });
        let copies = [listed, held].into_iter().filter(|(_, kept)| !kept.accounts.is_empty());
        Ok(copies.map(|(flags, kept)| Self::of_text(&Header { flags, ..header.clone() }, kept, text)).collect())
    }

    fn of_text(header: &Header, kept: KeptEnvelope, text: &[u8]) -> Self {
        let (trace, body) = text.split_at_checked(header.trace_bytes as usize).unwrap_or((text, &[]));
        let mut head = vec![0; HEADER_BYTES];
        kept.encode(&mut head);
        let envelope_bytes = head.len() - HEADER_BYTES;
        head.extend_from_slice(trace);
        let mut header = header.clone();
        header.envelope_bytes = u32::try_from(envelope_bytes).unwrap_or(u32::MAX);
        header.envelope_crc = crc32fast::hash(head.get(HEADER_BYTES..).unwrap_or_default());
        let what = What::Message {
            id: message_id(&header),
            until_ms: kept.until_ms(),
            accounts: kept.accounts,
            octets: header.octets(),
            flags: header.flags,
            text_offset: header.text_offset(),
        };
        let body = if header.flags.has(Flags::BODY_FILE) { Vec::new() } else { body.to_vec() };
        Self { header, head, body, what }
    }

    fn of_mark(segment: u64, header: &Header, envelope: &[u8]) -> Option<Self> {
        let mut header = header.clone();
        header.id = [segment.to_le_bytes(), [0; 8]].concat().try_into().ok()?;
        let origin = header.origin();
        let what = match header.kind {
            Kind::Message => return None,
            Kind::Deletion => decode_deletion(envelope).map(|(account, sequences)| What::Deletion { account, sequences, origin })?,
            Kind::Release => decode_deletion(envelope).map(|(account, sequences)| What::Release { account, sequences, origin })?,
            Kind::Removal => What::Removal { account: decode_removal(envelope)?, origin },
        };
        Some(Self { header, head: [&[0; HEADER_BYTES], envelope].concat(), body: Vec::new(), what })
    }

    fn submit(self, engine: &Engine) -> oneshot::Receiver<Result<Durable, Error>> {
        let Self { header, head, body, what } = self;
        engine.submit(|answer| Command { header, moved: true, head, body, what, held: Held::default(), answer })
    }
}

const STEP_BYTES: u64 = 4 << 20;
