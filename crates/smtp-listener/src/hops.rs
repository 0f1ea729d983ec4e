//! How many hosts a message has passed: its Received fields (RFC 5321 §6.3).
//!
//! Watches a body pass in pieces until the header is complete; each host puts its field on top, so a loop shows there. A header
//! that comes in one piece, as nearly all do, is looked at where it lies. One that comes in several is kept until it is whole,
//! at most [`HEADER_OCTETS`] of it, and what lies beyond is not looked at. Lines that may be such fields are counted first, and
//! only a header with too many of them is parsed. Cannot fail.

use mail_parser::HeaderName;
use memchr::{memchr_iter, memmem};

/// The hops of one message, as far as its header has come.
#[derive(Debug)]
pub(crate) struct Hops {
    /// That many are too many.
    limit: usize,
    header: Header,
}

#[derive(Debug)]
enum Header {
    Coming(Vec<u8>),
    /// With so many hops, where they are too many.
    Complete(Option<usize>),
}

impl Hops {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, header: Header::Coming(Vec::new()) }
    }

    /// Looks at the next piece of the body.
    pub(crate) fn watch(&mut self, piece: &[u8]) {
        let Header::Coming(kept) = &mut self.header else { return };
        let header = if kept.is_empty() { end_of_header(piece, 0).and_then(|end| piece.get(..end)) } else { None };
        let complete = header.or_else(|| {
            // The blank line may lie across two pieces.
            let seam = kept.len().saturating_sub(END_OF_HEADER.len() - 1);
            kept.extend_from_slice(piece.get(..HEADER_OCTETS - kept.len()).unwrap_or(piece));
            end_of_header(kept, seam).and_then(|end| kept.get(..end))
        });
        if let Some(header) = complete {
            self.header = Header::Complete(too_many(header, self.limit));
        }
    }

    /// How many there are, if that is too many.
    pub(crate) fn too_many(&self) -> Option<usize> {
        match &self.header {
            Header::Coming(header) => too_many(header, self.limit),
            Header::Complete(hops) => *hops,
        }
    }
}

/// Where the header ends that `text` begins with, if it does; its end is not before `seam`.
fn end_of_header(text: &[u8], seam: usize) -> Option<usize> {
    if text.starts_with(CRLF) {
        return Some(0);
    }
    let blank_line = text.get(seam..).and_then(|fresh| memmem::find(fresh, END_OF_HEADER));
    let end = blank_line.map(|at| seam + at + END_OF_HEADER.len());
    end.or((text.len() >= HEADER_OCTETS).then_some(HEADER_OCTETS))
}

/// The Received fields of a header, if there are `limit` or more.
#[expect(clippy::disallowed_types, reason = "this is the one module that wraps mail-parser")]
fn too_many(header: &[u8], limit: usize) -> Option<usize> {
    if lines_like_hops(header) < limit {
        return None;
    }
    let parser = mail_parser::MessageParser::new().default_header_ignore().header_raw(HeaderName::Received);
    let message = parser.parse_headers(header)?;
    let hops = message.headers().iter().filter(|field| field.name == HeaderName::Received).count();
    (hops >= limit).then_some(hops)
}

/// Lines that begin as a Received field does: no fewer than there are such fields.
fn lines_like_hops(header: &[u8]) -> usize {
    let begins = |at: usize| header.get(at..at + RECEIVED.len()).is_some_and(|word| word.eq_ignore_ascii_case(RECEIVED));
    std::iter::once(0).chain(memchr_iter(b'\n', header).map(|at| at + 1)).filter(|at| begins(*at)).count()
}

const RECEIVED: &[u8] = b"received";
const CRLF: &[u8] = b"\r\n";
const END_OF_HEADER: &[u8] = b"\r\n\r\n";
/// The most of a header that is looked at; fields beyond it are no hops of late.
const HEADER_OCTETS: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// The hops of a message that comes in pieces of `step` octets, seen with the greatest limit that they reach.
    fn hops(message: &[u8], step: usize) -> usize {
        let watched = |limit| {
            let mut hops = Hops::new(limit);
            message.chunks(step).for_each(|piece| hops.watch(piece));
            hops.too_many()
        };
        let counted = watched(0).unwrap_or_default();
        assert_eq!((watched(counted), watched(counted + 1)), (watched(0), None), "{counted} by {step}");
        counted
    }

    #[test]
    fn received_fields_count_in_the_header_alone_however_it_arrives() {
        let message =
            b"Received: from a\r\n\tby b; now\r\nrEcEiVeD: from b by c\r\nX-Received: no\r\nReceived-SPF: no\r\nSubject: Received: no\r\n\r\nReceived: no\r\n";
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(hops(message, step), 2, "by {step}");
        }
    }

    #[test]
    fn odd_headers_have_no_hops() {
        for message in [&b""[..], b"\r\nReceived: body\r\n", b"no header at all", b"\r\n\r\n"] {
            for step in [1, 2, 3, 1000] {
                assert_eq!(hops(message, step), 0, "{message:?} by {step}");
            }
        }
    }

    #[test]
    fn a_header_without_an_end_is_looked_at_all_the_same() {
        assert_eq!(hops(b"Received: from a by b\r\nReceived: from b by c\r\n", 5), 2);
    }

    #[test]
    fn memory_is_bounded_and_a_loop_is_seen_in_what_is_kept() {
        let mut endless = Hops::new(100);
        for _ in 0..1000 {
            endless.watch(b"Received: from a by b; Sun, 22 Nov 2026 09:00:00 +0000\r\n");
        }
        assert!(matches!(&endless.header, Header::Coming(header) if header.len() <= HEADER_OCTETS));
        for _ in 0..1000 {
            endless.watch(b"Received: from a by b; Sun, 22 Nov 2026 09:00:00 +0000\r\n");
        }
        assert!(matches!(endless.header, Header::Complete(Some(1000..))), "and nothing is kept once it is known");
    }

    #[test]
    fn a_header_in_one_piece_is_not_copied() {
        let mut hops = Hops::new(1);
        hops.watch(b"Received: from a by b\r\n\r\nbody");
        assert!(matches!(hops.header, Header::Complete(Some(1))));
    }
}
