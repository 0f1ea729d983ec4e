//! A message on its way to the client: pieces from the store go in, dot-stuffed text comes out.
//!
//! Guarantees: the client sees the terminating dot only behind a message that is as long as it was listed (for TOP: that has all the
//! lines that were asked for, or is that long). A transfer that is dropped or falls short closes the session, unless nothing was sent
//! yet: then it is a plain `-ERR [SYS/TEMP]`. Holds nothing back; memory does not grow with the message.
//!
//! 8-bit octets are sent as they are, whether UTF8 was said or not: what was accepted is what is fetched.

use bytes::BytesMut;
use mail::dot::Encoder;
use memchr::memchr_iter;

use crate::Error;
use crate::limits;
use crate::reply::Reply;
use crate::session::Session;
use crate::state::Asked;

/// A message that is being sent. Dropped, it is cut off.
#[must_use = "dropped, the message is cut off and the connection closed"]
pub struct Transfer<'s> {
    session: &'s mut Session,
    encoder: Encoder,
    listed: u64,
    read: u64,
    top: Option<Top>,
}

/// What a transfer wants after a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The next piece.
    More,
    /// All of [`Transfer::output`] to be written, then the next piece.
    Flush,
    /// No more pieces (TOP has all of its lines): [`Transfer::finish`].
    Enough,
}

impl<'s> Transfer<'s> {
    pub(crate) fn new(session: &'s mut Session, octets: u64, lines: Option<u64>) -> Self {
        Self { session, encoder: Encoder::new(), listed: octets, read: 0, top: lines.map(Top::new) }
    }

    /// Takes the message's next octets.
    pub fn write(&mut self, piece: &[u8]) -> Progress {
        if !piece.is_empty() {
            self.announce();
        }
        let wanted = self.top.as_mut().map_or(piece.len(), |top| top.wanted(piece));
        self.encoder.encode(piece.get(..wanted).unwrap_or_default(), &mut self.session.output);
        self.read = self.read.saturating_add(octets(wanted));
        if self.has_enough() {
            Progress::Enough
        } else if self.session.output.len() >= limits::OUTPUT_OCTETS {
            Progress::Flush
        } else {
            Progress::More
        }
    }

    /// Octets for the client; see [`Session::output`].
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.session.output
    }

    /// The message has been read to its end, or as far as is wanted.
    ///
    /// # Errors
    /// [`Error::OctetsDiffer`] when it is not as long as it was listed. The client has been answered accordingly.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.listed == 0 {
            // An empty message has no first piece.
            self.announce();
        }
        let output = &mut self.session.output;
        let sent = output.len();
        self.encoder.finish(output);
        let crlf = octets(output.len() - sent).saturating_sub(DOT_CRLF);
        let read = self.read.saturating_add(crlf);
        if self.has_enough() || read == self.listed {
            self.session.asked = None;
            return Ok(());
        }
        self.session.output.truncate(sent);
        self.session.settle();
        Err(Error::OctetsDiffer { listed: self.listed, read })
    }

    /// The store has failed.
    pub fn fail(self) {
        self.session.settle();
    }

    /// Says the first line, once.
    fn announce(&mut self) {
        if self.session.asked == Some(Asked::Retrieve) {
            self.session.asked = Some(Asked::Transfer);
            self.session.say(if self.top.is_some() { Reply::Top } else { Reply::Message { octets: self.listed } });
        }
    }

    fn has_enough(&self) -> bool {
        self.top.as_ref().is_some_and(Top::is_complete)
    }
}

/// Counts lines for TOP (RFC 1939 §7): the header, the blank line, and so many lines of the body. Lines end in CRLF alone.
struct Top {
    in_header: bool,
    /// Lines of the body still wanted.
    lines: u64,
    /// Octets of the current line in the pieces before, and whether the last of them was CR.
    line_octets: usize,
    after_cr: bool,
}

impl Top {
    fn new(lines: u64) -> Self {
        Self { in_header: true, lines, line_octets: 0, after_cr: false }
    }

    fn is_complete(&self) -> bool {
        !self.in_header && self.lines == 0
    }

    /// How many octets of the next piece are wanted.
    fn wanted(&mut self, piece: &[u8]) -> usize {
        if self.is_complete() {
            return 0;
        }
        let mut start = 0;
        for at in memchr_iter(b'\n', piece) {
            let after_cr = if at == 0 { self.after_cr } else { piece.get(at - 1) == Some(&b'\r') };
            if !after_cr {
                continue;
            }
            let blank = self.line_octets + at + 1 - start == BLANK_LINE;
            (start, self.line_octets) = (at + 1, 0);
            if !self.in_header {
                self.lines -= 1;
            } else if blank {
                self.in_header = false;
            }
            if self.is_complete() {
                return start;
            }
        }
        self.line_octets = self.line_octets.saturating_add(piece.len() - start);
        if let Some(last) = piece.last() {
            self.after_cr = *last == b'\r';
        }
        piece.len()
    }
}

fn octets(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The line that ends a text.
const DOT_CRLF: u64 = 3;
/// A line that is nothing but CRLF.
const BLANK_LINE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// The top of a text that comes in pieces of `step` octets.
    fn top(lines: u64, text: &[u8], step: usize) -> (Vec<u8>, bool) {
        let (mut top, mut taken) = (Top::new(lines), Vec::new());
        for piece in text.chunks(step) {
            taken.extend_from_slice(&piece[..top.wanted(piece)]);
        }
        (taken, top.is_complete())
    }

    #[test]
    fn lines_of_the_body_are_counted_behind_the_first_blank_line() {
        let text = b"A: b\r\nC: d\r\n\r\none\r\n\r\nthree\nstill three\r\nrest";
        for step in [1, 2, 3, 7, 1000] {
            for (lines, end) in [(0, 14), (1, 19), (2, 21), (3, 40)] {
                assert_eq!(top(lines, text, step), (text[..end].to_vec(), true), "{lines} lines by {step}");
            }
            for lines in [4, u64::MAX] {
                assert_eq!(top(lines, text, step), (text.to_vec(), false), "{lines} lines by {step}");
            }
        }
    }

    #[test]
    fn a_message_may_begin_with_the_blank_line_or_have_none() {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(top(1, b"\r\none\r\ntwo\r\n", step), (b"\r\none\r\n".to_vec(), true));
            assert_eq!(top(0, b"A: b\r\nC: d\r\n", step), (b"A: b\r\nC: d\r\n".to_vec(), false));
            assert_eq!(top(0, b"A: b\n\r\n\n\r\n\r\nx", step), (b"A: b\n\r\n\n\r\n\r\n".to_vec(), true));
        }
    }
}
