//! The format of the log: what one record holds, octet by octet.
//!
//! A segment is a head of 64 octets and then records, each beginning at a multiple of 8 octets. All numbers are little-endian;
//! a CRC is CRC-32 (IEEE).
//!
//! ```text
//! segment head                            record header (64 octets)
//!   0   8  "GPSEGMNT"                       0   8  tag of the segment it was written to
//!   8   1  format version, 1                8   1  format version, 1
//!   9   7  zero                             9   1  kind: 1 message, 2 deletion, 3 removal, 4 release
//!  16   8  number                          10   2  flags: 1 the text lacks its last CRLF, 2 the body is in bodies/ID,
//!                                                    4 it is held
//!  24   8  tag, random                     12   4  length of the envelope
//!  32  28  zero                            16   4  length of the trace fields
//!  60   4  CRC of 0..60                    20   4  CRC of the envelope and the trace fields
//!                                          24   8  length of the body
//!                                          32   8  sequence
//!                                          40  16  message: its id; otherwise: number of the segment it was carried from, 0 for none
//!                                          56   4  CRC of the text: trace fields and body
//!                                          60   4  CRC of 0..60
//!                                       then the envelope, the trace fields, the body unless it is in a file, zeros to the next 8
//!
//! envelope of a message                   envelope of a deletion, and of a release
//!   8  time of receipt, ms since 1970       2  length of the account's name, then the name
//!   1  BODY=: 0 7BIT, 1 8BITMIME            4  count of sequences
//!   1  1 SMTPUTF8, 2 held, 4 for a time    n  the sequences, ascending, each as the LEB128 of its distance to the one before
//!   2  length of the reverse path, then
//!      the path with its brackets         envelope of a removal
//!   2  count of accounts, then each:        2  length of the account's name, then the name
//!   2  length of its name, then the name
//!   where it is held: 2 length of the reason, then the reason; for a time: 8 its end, ms since 1970
//!   and, from version 3 of the data directory on, perhaps requests (`requests.rs`)
//! ```
//!
//! The tag is random and kept from everyone, so that neither an old record in a recycled segment nor a message that was written
//! to look like a record is ever taken for one. The header's CRC covers the other two, so that a record is whole or not there.
//! A removal ends every delivery to its account with a lower sequence. A release ends that deliveries are held; releases, held messages and
//! their flag are there from version 6 of the data directory on. Decoding refuses what is not exactly this and cannot panic.

use std::fmt::Write;
use std::sync::Arc;

use mail::{BodyType, Envelope, MessageId, Requests};

use crate::requests;

/// Octets of a segment's head and of a record's header.
pub(crate) const HEADER_BYTES: usize = 64;
/// The only version there is.
const VERSION: u8 = 1;
const USUAL_PATH_BYTES: usize = 64;
const SEGMENT_MAGIC: &[u8; 8] = b"GPSEGMNT";
/// What an envelope says in one octet.
const UTF8: u8 = 1;
const HELD: u8 = 2;
const UNTIL: u8 = 4;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Message = 1,
    Deletion = 2,
    Removal = 3,
    Release = 4,
}

/// Facts about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(pub(crate) u16);

impl Flags {
    /// The text does not end with CRLF.
    pub(crate) const LACKS_CRLF: Self = Self(1);
    /// The body is in a file of its own.
    pub(crate) const BODY_FILE: Self = Self(2);
    /// It is in its maildrops, and not listed.
    pub(crate) const HELD: Self = Self(4);

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn with(self, other: Self, set: bool) -> Self {
        if set { Self(self.0 | other.0) } else { self }
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The fixed part of a record, but for tag and CRC, which belong to the moment of writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    pub(crate) envelope_bytes: u32,
    pub(crate) trace_bytes: u32,
    pub(crate) envelope_crc: u32,
    pub(crate) body_bytes: u64,
    pub(crate) sequence: u64,
    pub(crate) id: [u8; 16],
    pub(crate) text_crc: u32,
}

impl Header {
    /// As written to the segment with this tag.
    pub(crate) fn encode(&self, tag: u64) -> [u8; HEADER_BYTES] {
        let mut octets = [0; HEADER_BYTES];
        let mut rest = octets.as_mut_slice();
        put(&mut rest, tag.to_le_bytes());
        put(&mut rest, [VERSION, self.kind as u8]);
        put(&mut rest, self.flags.0.to_le_bytes());
        put(&mut rest, self.envelope_bytes.to_le_bytes());
        put(&mut rest, self.trace_bytes.to_le_bytes());
        put(&mut rest, self.envelope_crc.to_le_bytes());
        put(&mut rest, self.body_bytes.to_le_bytes());
        put(&mut rest, self.sequence.to_le_bytes());
        put(&mut rest, self.id);
        put(&mut rest, self.text_crc.to_le_bytes());
        seal(octets)
    }

    /// The tag it was written with and the header; `None` when these octets are no header.
    pub(crate) fn decode(octets: &[u8]) -> Option<(u64, Self)> {
        let mut cursor = sealed(octets)?;
        let tag = u64::from_le_bytes(cursor.take()?);
        let [version, kind] = cursor.take()?;
        let kind = match kind {
            1 => Kind::Message,
            2 => Kind::Deletion,
            3 => Kind::Removal,
            4 => Kind::Release,
            _ => return None,
        };
        let header = Self {
            kind,
            flags: Flags(u16::from_le_bytes(cursor.take()?)),
            envelope_bytes: u32::from_le_bytes(cursor.take()?),
            trace_bytes: u32::from_le_bytes(cursor.take()?),
            envelope_crc: u32::from_le_bytes(cursor.take()?),
            body_bytes: u64::from_le_bytes(cursor.take()?),
            sequence: u64::from_le_bytes(cursor.take()?),
            id: cursor.take()?,
            text_crc: u32::from_le_bytes(cursor.take()?),
        };
        (version == VERSION).then_some((tag, header))
    }

    /// Octets of the text: trace fields and body.
    pub(crate) fn text_bytes(&self) -> u64 {
        u64::from(self.trace_bytes).saturating_add(self.body_bytes)
    }

    /// Octets from the header's first to the text's first.
    pub(crate) fn text_offset(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.envelope_bytes)
    }

    /// Octets of the text that stand in the log.
    pub(crate) fn inline_bytes(&self) -> u64 {
        if self.flags.has(Flags::BODY_FILE) { u64::from(self.trace_bytes) } else { self.text_bytes() }
    }

    /// Octets of the whole record, up to the next one.
    pub(crate) fn record_bytes(&self) -> u64 {
        padded(self.text_offset().saturating_add(self.inline_bytes()))
    }

    /// The segment a carried mark comes from.
    pub(crate) fn origin(&self) -> Option<u64> {
        let number = self.id.first_chunk().copied().map_or(0, u64::from_le_bytes);
        (self.kind != Kind::Message && number != 0).then_some(number)
    }

    /// The octets POP3 counts: the text, and the CRLF its last line may lack.
    pub(crate) fn octets(&self) -> u64 {
        self.text_bytes() + if self.flags.has(Flags::LACKS_CRLF) { 2 } else { 0 }
    }
}

/// The next multiple of 8.
pub(crate) fn padded(bytes: u64) -> u64 {
    bytes.saturating_add(7) & !7
}

/// A segment's head.
pub(crate) fn encode_segment_head(number: u64, tag: u64) -> [u8; HEADER_BYTES] {
    let mut octets = [0; HEADER_BYTES];
    let mut rest = octets.as_mut_slice();
    put(&mut rest, *SEGMENT_MAGIC);
    put(&mut rest, [VERSION, 0, 0, 0, 0, 0, 0, 0]);
    put(&mut rest, number.to_le_bytes());
    put(&mut rest, tag.to_le_bytes());
    seal(octets)
}

/// Number and tag from a segment's head.
pub(crate) fn decode_segment_head(octets: &[u8]) -> Option<(u64, u64)> {
    let mut cursor = sealed(octets)?;
    let (magic, [version, ..]): (_, [u8; 8]) = (cursor.take::<8>()?, cursor.take()?);
    let (number, tag) = (u64::from_le_bytes(cursor.take()?), u64::from_le_bytes(cursor.take()?));
    (magic == *SEGMENT_MAGIC && version == VERSION).then_some((number, tag))
}

/// What the log keeps of a message's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptEnvelope {
    /// Milliseconds since 1970.
    pub(crate) received_ms: u64,
    pub(crate) body: BodyType,
    pub(crate) utf8: bool,
    /// With its angle brackets.
    pub(crate) reverse_path: String,
    pub(crate) accounts: Vec<Arc<str>>,
    pub(crate) held: Option<KeptHold>,
    pub(crate) requests: Option<Box<Requests>>,
}

/// Why a message is held, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptHold {
    pub(crate) reason: Box<str>,
    /// Milliseconds since 1970; 0 for no end by itself.
    pub(crate) until_ms: u64,
}

impl KeptEnvelope {
    pub(crate) fn new(envelope: Envelope, received_ms: u64) -> Self {
        let Envelope { reverse_path, recipients, body, utf8, requests, .. } = envelope;
        let mut text = String::with_capacity(USUAL_PATH_BYTES);
        // Writing to a String does not fail.
        write!(text, "{reverse_path}").unwrap_or_default();
        Self { received_ms, body, utf8, reverse_path: text, accounts: recipients, held: None, requests }
    }

    pub(crate) fn encode(&self, octets: &mut Vec<u8>) {
        octets.extend_from_slice(&self.received_ms.to_le_bytes());
        octets.push(match self.body {
            BodyType::SevenBit => 0,
            BodyType::EightBitMime => 1,
        });
        octets.push(match &self.held {
            None => u8::from(self.utf8),
            Some(KeptHold { until_ms: 0, .. }) => u8::from(self.utf8) | HELD,
            Some(_) => u8::from(self.utf8) | HELD | UNTIL,
        });
        push_text(octets, &self.reverse_path);
        octets.extend_from_slice(&u16::try_from(self.accounts.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.accounts.iter().take(usize::from(u16::MAX)).for_each(|account| push_text(octets, account));
        if let Some(KeptHold { reason, until_ms }) = &self.held {
            push_text(octets, reason);
            octets.extend(Some(*until_ms).filter(|until| *until != 0).into_iter().flat_map(u64::to_le_bytes));
        }
        if let Some(requests) = &self.requests {
            requests::encode(requests, octets);
        }
    }

    /// When the hold ends by itself; 0 for never, and where there is none.
    pub(crate) fn until_ms(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.until_ms)
    }

    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(octets);
        let received_ms = u64::from_le_bytes(cursor.take()?);
        let [body, said] = cursor.take()?;
        let body = match body {
            0 => BodyType::SevenBit,
            1 => BodyType::EightBitMime,
            _ => return None,
        };
        let reverse_path = cursor.text()?;
        let count = u16::from_le_bytes(cursor.take()?);
        let accounts = (0..count).map(|_| cursor.text().map(Arc::from)).collect::<Option<Vec<_>>>()?;
        let held = match said & (HELD | UNTIL) {
            0 => None,
            HELD => Some(KeptHold { reason: cursor.text()?.into(), until_ms: 0 }),
            UNTIL => return None,
            _ => Some(KeptHold { reason: cursor.text()?.into(), until_ms: u64::from_le_bytes(cursor.take()?) })
                .filter(|held| held.until_ms != 0),
        };
        let requests = if cursor.0.is_empty() { None } else { Some(Box::new(requests::decode(&mut cursor)?)) };
        let utf8 = said & UTF8 != 0;
        (cursor.0.is_empty() && said <= UTF8 | HELD | UNTIL && held.is_some() == (said & HELD != 0)).then_some(Self {
            received_ms,
            body,
            utf8,
            reverse_path,
            accounts,
            held,
            requests,
        })
    }
}

/// The envelope of a deletion or a release; `sequences` are ascending.
pub(crate) fn encode_deletion(account: &str, sequences: &[u64], octets: &mut Vec<u8>) {
    push_text(octets, account);
    octets.extend_from_slice(&u32::try_from(sequences.len()).unwrap_or(u32::MAX).to_le_bytes());
    let mut before = 0;
    for sequence in sequences {
        let mut distance = sequence.saturating_sub(before);
        before = *sequence;
        while distance >= 0x80 {
            octets.push((distance & 0x7F) as u8 | 0x80);
            distance >>= 7;
        }
        octets.push(distance as u8);
    }
}

/// Account and sequences of a deletion or a release.
pub(crate) fn decode_deletion(octets: &[u8]) -> Option<(String, Vec<u64>)> {
    let mut cursor = Cursor(octets);
    let account = cursor.text()?;
    let count = u32::from_le_bytes(cursor.take()?) as usize;
    if count > cursor.0.len() {
        return None;
    }
    let (mut sequences, mut before) = (Vec::with_capacity(count), 0u64);
    for _ in 0..count {
        before = before.checked_add(cursor.leb128()?)?;
        sequences.push(before);
    }
    cursor.0.is_empty().then_some((account, sequences))
}

/// The envelope of a removal.
pub(crate) fn encode_removal(account: &str, octets: &mut Vec<u8>) {
    push_text(octets, account);
}

/// The account of a removal.
pub(crate) fn decode_removal(octets: &[u8]) -> Option<String> {
    let mut cursor = Cursor(octets);
    let account = cursor.text()?;
    cursor.0.is_empty().then_some(account)
}

/// The id of a message's header.
pub(crate) fn message_id(header: &Header) -> MessageId {
    MessageId::from_bytes(header.id)
}

fn put<const N: usize>(rest: &mut &mut [u8], octets: [u8; N]) {
    if let Some((place, after)) = std::mem::take(rest).split_first_chunk_mut() {
        *place = octets;
        *rest = after;
    }
}

fn seal(mut octets: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    if let Some((covered, crc)) = octets.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(covered).to_le_bytes();
    }
    octets
}

fn sealed(octets: &[u8]) -> Option<Cursor<'_>> {
    let (covered, crc) = octets.first_chunk::<HEADER_BYTES>()?.split_last_chunk::<4>()?;
    (crc32fast::hash(covered) == u32::from_le_bytes(*crc)).then_some(Cursor(covered))
}

pub(crate) fn push_text(octets: &mut Vec<u8>, text: &str) {
    octets.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    if text.len() <= usize::from(u16::MAX) {
        octets.extend_from_slice(text.as_bytes());
    }
}

/// Octets not yet read.
pub(crate) struct Cursor<'o>(&'o [u8]);

impl Cursor<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let length = u16::from_le_bytes(self.take()?);
        let (text, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    fn leb128(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [octet] = self.take()?;
            let part = u64::from(octet & 0x7F);
            if part << shift >> shift != part {
                return None;
            }
            value |= part << shift;
            if octet < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: Kind::Message,
            flags: Flags::LACKS_CRLF,
            envelope_bytes: 30,
            trace_bytes: 100,
            envelope_crc: 7,
            body_bytes: 1000,
            sequence: 42,
            id: MessageId::generate().to_bytes(),
            text_crc: 9,
        }
    }

    #[test]
    fn a_header_survives_and_no_damaged_one_does() {
        let header = header();
        let octets = header.encode(0xFEED);
        assert_eq!(Header::decode(&octets), Some((0xFEED, header.clone())));
        assert_eq!((header.record_bytes(), header.octets()), (1200, 1102));
        for at in 0..HEADER_BYTES {
            let mut damaged = octets;
            damaged[at] ^= 1;
            assert_eq!(Header::decode(&damaged), None, "octet {at}");
        }
        assert_eq!(decode_segment_head(&encode_segment_head(3, 5)), Some((3, 5)));
        assert_eq!(decode_segment_head(&octets), None);
    }

    #[test]
    fn envelopes_survive_and_cut_ones_do_not() {
        let envelope = KeptEnvelope {
            received_ms: 1,
            body: BodyType::EightBitMime,
            utf8: true,
            reverse_path: "<a@b>".into(),
            accounts: vec!["ann@example.org".into(), "zoë@example.org".into()],
            held: Some(KeptHold { reason: "dmarc fail".into(), until_ms: 7 }),
            requests: None,
        };
        let mut octets = Vec::new();
        envelope.encode(&mut octets);
        assert_eq!(KeptEnvelope::decode(&octets), Some(envelope));
        let mut deletion = Vec::new();
        let sequences = [1, 2, 130, 70_000, u64::MAX];
        encode_deletion("ann@example.org", &sequences, &mut deletion);
        assert_eq!(decode_deletion(&deletion), Some(("ann@example.org".into(), sequences.to_vec())));
        for cut in 0..octets.len() {
            assert_eq!(KeptEnvelope::decode(&octets[..cut]), None);
        }
        for cut in 0..deletion.len() {
            assert_eq!(decode_deletion(&deletion[..cut]), None);
        }
    }
}
