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

mod header;
mod octets;

use std::fmt::Write;
use std::sync::Arc;

use mail::{BodyType, Envelope, Requests};

use crate::requests;

pub(crate) use header::{Flags, HEADER_BYTES, Header, Kind, decode_segment_head, encode_segment_head, message_id};
pub(crate) use octets::{Cursor, push_leb128, push_text};

const USUAL_PATH_BYTES: usize = 64;
/// What an envelope says in one octet.
const UTF8: u8 = 1;
const HELD: u8 = 2;
const UNTIL: u8 = 4;

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
        push_leb128(octets, sequence.saturating_sub(before));
        before = *sequence;
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

#[cfg(test)]
mod tests {
    use super::*;

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
