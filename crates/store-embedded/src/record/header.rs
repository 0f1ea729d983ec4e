//! The fixed part of a record, and a segment's head: 64 octets each, sealed by a CRC of their own.
//!
//! What is not exactly as it was written is none: decoding answers `None` to it and cannot panic.

use mail::MessageId;

use super::octets::{Cursor, put};

/// Octets of a segment's head and of a record's header.
pub(crate) const HEADER_BYTES: usize = 64;

/// The only version there is.
const VERSION: u8 = 1;
const SEGMENT_MAGIC: &[u8; 8] = b"GPSEGMNT";

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

/// The id of a message's header.
pub(crate) fn message_id(header: &Header) -> MessageId {
    MessageId::from_bytes(header.id)
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
}
