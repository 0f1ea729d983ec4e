//! How many hosts a message has passed: its Received fields (RFC 5321 §6.3).
//!
//! Watches a body pass in pieces and keeps its header, at most [`HEADER_OCTETS`] of it; each host puts its field on top, so a
//! loop shows there. The only module that knows mail-parser.

use mail_parser::HeaderName;
use memchr::memmem;

/// The header of one message, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Hops {
    header: Vec<u8>,
    complete: bool,
}

impl Hops {
    /// Looks at the next piece of the body.
    pub(crate) fn watch(&mut self, piece: &[u8]) {
        if self.complete {
            return;
        }
        // The blank line may lie across two pieces.
        let seam = self.header.len().saturating_sub(END_OF_HEADER.len() - 1);
        let room = HEADER_OCTETS - self.header.len();
        self.header.extend_from_slice(piece.get(..room).unwrap_or(piece));
        let end = self.header.get(seam..).and_then(|fresh| memmem::find(fresh, END_OF_HEADER));
        if let Some(at) = end {
            self.header.truncate(seam + at + END_OF_HEADER.len());
        }
        self.complete = end.is_some() || self.header.len() == HEADER_OCTETS || self.header.starts_with(b"\r\n");
    }

    /// Received fields in what has been seen.
    #[expect(clippy::disallowed_types, reason = "this is the one module that wraps mail-parser")]
    pub(crate) fn count(&self) -> usize {
        if self.header.starts_with(b"\r\n") {
            return 0;
        }
        let parser = mail_parser::MessageParser::new().default_header_ignore().header_raw(HeaderName::Received);
        let message = parser.parse_headers(&self.header);
        message.map_or(0, |message| message.headers().iter().filter(|field| field.name == HeaderName::Received).count())
    }
}

const END_OF_HEADER: &[u8] = b"\r\n\r\n";
/// The most of a header that is kept; fields beyond it are no hops of late.
const HEADER_OCTETS: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(message: &[u8], step: usize) -> usize {
        let mut hops = Hops::default();
        message.chunks(step).for_each(|piece| hops.watch(piece));
        hops.count()
    }

    #[test]
    fn received_fields_count_in_the_header_alone_however_it_arrives() {
        let message =
            b"Received: from a\r\n\tby b; now\r\nrEcEiVeD: from b by c\r\nX-Received: no\r\nSubject: Received: no\r\n\r\nReceived: no\r\n";
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
    fn memory_is_bounded_and_a_loop_is_seen_in_what_is_kept() {
        let mut endless = Hops::default();
        for _ in 0..10_000 {
            endless.watch(b"Received: from a by b; Sun, 22 Nov 2026 09:00:00 +0000\r\n");
        }
        assert!(endless.header.len() <= HEADER_OCTETS);
        assert!(endless.count() > 1000);
    }
}
