//! Watches a message pass and remembers what signatures need: the header, and the hashes of the body.
//!
//! The body is hashed as it passes, in each way that a signature in the header asks for, at most four; so a message of any size
//! costs its header, of which at most [`HEADER_OCTETS`] and [`LINES_MOST`] lines are kept. One whose header is longer, or has a line that is part of no field,
//! is not looked at any further ([`Text::is_whole`]): mail programs read on where mail-auth does not. Cannot fail.

use mail_auth::common::crypto::{HashAlgorithm, HashContext, HashImpl, Sha1, Sha256};
use mail_auth::common::headers::Header;
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::canonicalize::BodyHasher;
use mail_auth::{AuthenticatedMessage, Error};

use crate::attachments::Attachments;
use crate::screening::Found;

/// A message on its way.
pub struct Reading {
    header: Vec<u8>,
    state: State,
    /// None where nobody asks about them.
    attachments: Option<Box<Attachments>>,
}

enum State {
    Header,
    Body(Vec<Hashing>),
    /// The header is not one that can be looked at.
    Unread,
}

/// One way in which a signature has the body hashed.
struct Hashing {
    canonicalization: Canonicalization,
    algorithm: HashAlgorithm,
    hasher: BodyHasher<<Sha256 as HashImpl>::Context>,
}

/// What is left of a message that has passed.
pub(crate) struct Text {
    header: Vec<u8>,
    hashes: Vec<(Canonicalization, HashAlgorithm, Vec<u8>)>,
    is_whole: bool,
    attachments: Option<Found>,
}

impl Default for Reading {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    /// Nothing has come yet.
    pub fn new() -> Self {
        Self { header: Vec::new(), state: State::Header, attachments: None }
    }

    /// The same, and its attachments are looked at.
    pub(crate) fn with(attachments: Attachments) -> Self {
        Self { attachments: Some(Box::new(attachments)), ..Self::new() }
    }

    /// The next piece of the message.
    pub fn pass(&mut self, piece: &[u8]) {
        if let Some(attachments) = &mut self.attachments {
            attachments.pass(piece);
        }
        match &mut self.state {
            State::Unread => {}
            State::Body(hashings) => hash(hashings, piece),
            State::Header => {
                // The blank line may lie across two pieces.
                let seam = self.header.len().saturating_sub(END_OF_HEADER.len() - 1);
                let room = HEADER_OCTETS - self.header.len();
                let taken = piece.get(..room).unwrap_or(piece);
                self.header.extend_from_slice(taken);
                match end_of_header(&self.header, seam) {
                    Some(end) if memchr::memchr_iter(b'\n', self.header.get(..end).unwrap_or_default()).count() > LINES_MOST => {
                        self.header = Vec::new();
                        self.state = State::Unread;
                    }
                    Some(end) => {
                        let body_at = taken.len().saturating_sub(self.header.len() - end);
                        self.header.truncate(end);
                        self.state = match hashings(&self.header) {
                            Some(mut hashings) => {
                                hash(&mut hashings, piece.get(body_at..).unwrap_or_default());
                                State::Body(hashings)
                            }
                            None => State::Unread,
                        };
                    }
                    None if taken.len() < piece.len() || room == taken.len() => {
                        self.header = Vec::new();
                        self.state = State::Unread;
                    }
                    None => {}
                }
            }
        }
    }

    /// The message has passed.
    pub(crate) fn finish(self) -> Text {
        let (hashings, is_whole) = match self.state {
            State::Body(hashings) => (hashings, true),
            // A message that is all header has an empty body.
            State::Header if memchr::memchr_iter(b'\n', &self.header).count() > LINES_MOST => (Vec::new(), false),
            State::Header => hashings(&self.header).map_or((Vec::new(), false), |hashings| (hashings, true)),
            State::Unread => (Vec::new(), false),
        };
        let hashes = hashings.into_iter().map(|Hashing { canonicalization, algorithm, hasher }| {
            let (context, _octets) = hasher.finish();
            (canonicalization, algorithm, context.complete().as_ref().to_vec())
        });
        Text {
            header: self.header,
            hashes: hashes.collect(),
            is_whole,
            attachments: self.attachments.map(|attachments| attachments.finish()),
        }
    }
}

impl Text {
    /// Whether the header was short enough to be looked at, and fields from its beginning to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The header, where it can be looked at.
    pub(crate) fn header(&self) -> Option<&[u8]> {
        self.is_whole.then_some(&self.header)
    }

    /// What its attachments came to, where anybody asks.
    pub(crate) fn attachments(&self) -> Option<Found> {
        self.attachments.clone()
    }

    /// What mail-auth works on: it has hashed the body that it sees, which is none, and is told the hashes of the body that
    /// has passed. Nothing where there is no field at all.
    pub(crate) fn message(&self) -> Option<AuthenticatedMessage<'_>> {
        let mut message = AuthenticatedMessage::parse(&self.header)?;
        for (canonicalization, algorithm, _, digest) in &mut message.body_hashes {
            let known = self.hashes.iter().find(|(known, by, _)| known == canonicalization && by == algorithm);
            *digest = known.map(|(_, _, digest)| digest.clone()).unwrap_or_default();
        }
        // Verifying takes the square of the names, and results repeat the identities.
        message.dkim_headers.retain(|Header { header: dkim, .. }| {
            dkim.h.len() <= NAMES_MOST && [&dkim.i, &dkim.d, &dkim.s].iter().all(|identity| identity.len() <= IDENTITY_OCTETS)
        });
        message.ams_headers.retain(|signature| signature.header.h.len() <= NAMES_MOST);
        // Each costs a question and a signature to verify, and a line in the results.
        message.dkim_headers.truncate(SIGNATURES_MOST);
        let mut unread = 0;
        message.errors.retain(|error| {
            unread += usize::from(matches!(error.header, Error::Dkim(_)));
            unread <= SIGNATURES_MOST || !matches!(error.header, Error::Dkim(_))
        });
        Some(message)
    }
}

/// What the signatures of a header need of the body. Those with a length (`l=`) are not believed, so every hash is of all of it.
/// None where mail-auth has not read all of the header: it stops at a line without a colon, and at one without an end.
fn hashings(header: &[u8]) -> Option<Vec<Hashing>> {
    let Some(message) = AuthenticatedMessage::parse(header) else { return matches!(header, b"" | b"\r\n").then(Vec::new) };
    if message.body_offset() != header.len() || !header.ends_with(b"\r\n") {
        return None;
    }
    let hashing = |(canonicalization, algorithm, _, _): &(Canonicalization, HashAlgorithm, u64, Vec<u8>)| {
        let context = match algorithm {
            HashAlgorithm::Sha1 => Sha1::hasher(),
            HashAlgorithm::Sha256 => Sha256::hasher(),
        };
        let hasher = BodyHasher::new(context, *canonicalization, 0);
        Hashing { canonicalization: *canonicalization, algorithm: *algorithm, hasher }
    };
    Some(message.body_hashes.iter().filter(|(_, _, length, _)| *length == 0).map(hashing).collect())
}

fn hash(hashings: &mut [Hashing], body: &[u8]) {
    hashings.iter_mut().for_each(|hashing| hashing.hasher.write(body));
}

/// Where the header ends, its blank line included, if it does; not before `seam`.
fn end_of_header(text: &[u8], seam: usize) -> Option<usize> {
    if text.starts_with(b"\r\n") {
        return Some(2);
    }
    let fresh = text.get(seam..)?;
    let at = memchr::memmem::find(fresh, END_OF_HEADER)?;
    Some(seam + at + END_OF_HEADER.len())
}

const END_OF_HEADER: &[u8] = b"\r\n\r\n";
/// The longest header that is looked at.
pub const HEADER_OCTETS: usize = 64 << 10;
/// Lines of a header that is looked at: each may be a field, which takes more memory than it is long.
pub(crate) const LINES_MOST: usize = 2048;
/// Signatures of one message that are looked at, from the top.
const SIGNATURES_MOST: usize = 10;
/// Names of fields that a signature covers, in one that is looked at.
const NAMES_MOST: usize = 200;
/// A local part, an at sign and a domain (RFC 5321 §4.5.3.1), in a signature that is looked at.
pub(crate) const IDENTITY_OCTETS: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str =
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=a.example; s=s; h=from; bh=AAAA; b=AAAA\r\nFrom: a@a.example\r\n\r\n";

    fn hashes(message: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut reading = Reading::new();
        message.chunks(step).for_each(|piece| reading.pass(piece));
        let text = reading.finish();
        assert!(text.is_whole());
        text.message().unwrap().body_hashes.iter().map(|(.., digest)| digest.clone()).collect()
    }

    #[test]
    fn the_hash_of_what_has_passed_is_that_of_the_whole() {
        for body in ["", "\r\n", "one line\r\n", "no end", "many\r\n\r\n lines \t \r\nwith blanks  \r\n\r\n\r\n"] {
            for message in [SIGNED.to_owned(), SIGNED.replace("relaxed/simple", "simple/relaxed"), SIGNED.replace("sha256", "sha1")] {
                let whole = format!("{message}{body}");
                let expected: Vec<_> =
                    AuthenticatedMessage::parse(whole.as_bytes()).unwrap().body_hashes.iter().map(|(.., digest)| digest.clone()).collect();
                assert_eq!(expected.len(), 1);
                for step in [1, 2, 3, 7, 100, 1 << 16] {
                    assert_eq!(hashes(whole.as_bytes(), step), expected, "{body:?} by {step}");
                }
            }
        }
    }

    #[test]
    fn a_header_without_end_is_not_kept() {
        for step in [100, 4096, HEADER_OCTETS, 3 * HEADER_OCTETS] {
            let mut reading = Reading::new();
            b"X: a long header\r\n".repeat(20_000).chunks(step).for_each(|piece| {
                reading.pass(piece);
                assert!(reading.header.len() <= HEADER_OCTETS);
            });
            assert!(!reading.finish().is_whole());
        }
    }

    #[test]
    fn a_header_that_is_not_all_fields_is_not_whole() {
        let from = "From: ceo@bank.example\r\n";
        for (header, whole) in [
            (format!("Subject: x\r\n{from}\r\n"), true),
            (format!("Subject: x\r\n{from}"), true),
            (format!("Subject: x\r\n\t\r\n{from}\r\n"), true),
            (format!("Subject: x\r\njunk\r\n{from}\r\n"), false),
            (format!("junk\r\n{from}\r\n"), false),
            (format!("Subject: x\r\njunk\r\n{from}"), false),
            (format!("Subject: x\r\njunk\r\n \r\n{from}\r\n"), false),
            (format!("junk\r\n \r\n{from}\r\n"), false),
            (format!("Subject: x\r\n{from}junk\r\n\r\n"), false),
            (format!("Subject: x\r\n{}", from.trim_end()), false),
            ("junk\r\n\r\nbody".into(), false),
            ("junk".into(), false),
        ] {
            for step in [1, 7, 1000] {
                let mut reading = Reading::new();
                header.as_bytes().chunks(step).for_each(|piece| reading.pass(piece));
                assert_eq!(reading.finish().is_whole(), whole, "{header:?}");
            }
        }
    }

    #[test]
    fn signatures_that_cost_too_much_are_not_looked_at() {
        let of = |header: &str| {
            let mut reading = Reading::new();
            reading.pass(header.as_bytes());
            let text = reading.finish();
            let message = text.message().unwrap();
            (message.dkim_headers.len(), message.ams_headers.len(), message.errors.len())
        };
        assert_eq!(of(SIGNED), (1, 0, 0));
        assert_eq!(of(&SIGNED.replace("DKIM-Signature: v=1;", "ARC-Message-Signature: i=1;")), (0, 1, 0));
        for (names, kept) in [(NAMES_MOST, 1), (NAMES_MOST + 1, 0)] {
            let many = SIGNED.replace("h=from", &format!("h={}from", "x:".repeat(names - 1)));
            assert_eq!(of(&many), (kept, 0, 0));
            assert_eq!(of(&many.replace("DKIM-Signature: v=1;", "ARC-Message-Signature: i=1;")), (0, kept, 0));
        }
        for (octets, kept) in [(IDENTITY_OCTETS, 1), (IDENTITY_OCTETS + 1, 0)] {
            let identity = format!("{}@a.example", "x".repeat(octets - "@a.example".len()));
            assert_eq!(of(&SIGNED.replace("s=s;", &format!("s=s; i={identity};"))), (kept, 0, 0));
            assert_eq!(of(&SIGNED.replace("s=s;", &format!("s={};", "x".repeat(octets)))), (kept, 0, 0));
        }
        let many = format!("{}{}", "DKIM-Signature: v=1; a=nonsense\r\n".repeat(1000), SIGNED.replacen("DKIM", "ARC-Seal: i=x\r\nDKIM", 1));
        assert_eq!(of(&many), (1, 0, SIGNATURES_MOST + 1), "what is wrong with ARC is not forgotten");
    }

    #[test]
    fn what_is_no_message_has_no_signatures() {
        for text in [&b""[..], b"\r\n", b"\r\nbody only\r\n"] {
            let mut reading = Reading::new();
            reading.pass(text);
            let text = reading.finish();
            assert!(text.is_whole() && text.message().is_none_or(|message| message.dkim_headers.is_empty()));
        }
    }
}
