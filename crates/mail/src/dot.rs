//! Dot-stuffed text: how DATA sends a message (RFC 5321 §4.5.2) and how POP3 sends an answer (RFC 1939 §3).
//!
//! A line that begins with a dot gets one more; a line of one dot ends the text. Lines end with CRLF and nothing else, so the
//! end is `CRLF . CRLF` alone: [`Decoder`] never takes `LF . LF` or any of its kin for an end (the smuggling variants) and
//! tells whether a bare CR or LF was seen. Neither side holds text back: memory does not grow with the message.

use std::sync::LazyLock;

use bytes::BytesMut;
use memchr::memmem::Finder;

use crate::line::has_bare;

/// Takes the dots off, piece by piece, without copying.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    at: At,
    bare: bool,
}

/// What one step of [`Decoder::decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'i> {
    /// Octets of the message, to be kept.
    pub text: &'i [u8],
    /// Octets to take off the input, `text` among them.
    pub used: usize,
    /// Whether the text has ended; input after `used` is not part of it.
    pub end: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a text.
    pub fn new() -> Self {
        Self { at: At::LineStart, bare: false }
    }

    /// Takes the next stretch that needs no change from `input`. Call again while input is left and the end is not reached.
    /// Once [`Decoder::bare`] says so the text is spoilt and what is returned of it is of no use.
    pub fn decode<'i>(&mut self, input: &'i [u8]) -> Decoded<'i> {
        let mut start = 0;
        let mut pos = 0;
        while let Some(&octet) = input.get(pos) {
            match (self.at, octet) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    if pos > start {
                        return Decoded { text: input.get(start..pos).unwrap_or_default(), used: pos + 1, end: false };
                    }
                    start = pos + 1;
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    start = pos + 1;
                }
                (At::DotCr, b'\n') => {
                    *self = Self { at: At::LineStart, ..*self };
                    return Decoded { text: &[], used: pos + 1, end: true };
                }
                (At::DotCr, _) => {
                    self.bare = true;
                    self.at = At::Line;
                    continue;
                }
                (At::Cr, b'\n') => self.at = At::LineStart,
                (At::Cr, b'\r') => self.bare = true,
                (At::Cr, _) => {
                    self.bare = true;
                    self.at = At::Line;
                }
                (_, b'\r') => self.at = At::Cr,
                (_, b'\n') => {
                    self.bare = true;
                    self.at = At::Line;
                }
                (_, _) => {
                    pos = self.skip_lines(input, pos);
                    continue;
                }
            }
            pos += 1;
        }
        Decoded { text: input.get(start..).unwrap_or_default(), used: input.len(), end: false }
    }

    /// From within a line over its end and whole lines behind it: to the next line that begins with a dot.
    fn skip_lines(&mut self, input: &[u8], from: usize) -> usize {
        let rest = input.get(from..).unwrap_or_default();
        let dot = LF_DOT.find(rest).map_or(rest.len(), |lf| lf + 1);
        let stretch = rest.get(..dot).unwrap_or_default();
        self.bare |= has_bare(stretch);
        self.at = match stretch {
            [.., b'\r', b'\n'] => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Line,
        };
        from + stretch.len()
    }

    /// Whether a bare CR or LF was seen.
    pub fn bare(&self) -> bool {
        self.bare
    }
}

/// Puts the dots on, piece by piece.
#[derive(Debug, Clone, Copy)]
pub struct Encoder {
    /// The last two octets decide: 0 within a line, 1 after CR, 2 at a line's start.
    line_start: u8,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// At the start of a text.
    pub fn new() -> Self {
        Self { line_start: 2 }
    }

    /// Appends `text` to `output`, a dot put before each line that begins with one.
    pub fn encode(&mut self, text: &[u8], output: &mut BytesMut) {
        if self.line_start == 2 && text.first() == Some(&b'.') {
            output.extend_from_slice(b".");
        }
        // Few lines begin with a dot, so what lies between them is copied in one stretch.
        let mut rest = 0;
        for lf in LF_DOT.find_iter(text) {
            let after_cr = if lf == 0 { self.line_start == 1 } else { text.get(lf - 1) == Some(&b'\r') };
            if after_cr {
                output.extend_from_slice(text.get(rest..=lf).unwrap_or_default());
                output.extend_from_slice(b".");
                rest = lf + 1;
            }
        }
        output.extend_from_slice(text.get(rest..).unwrap_or_default());
        self.line_start = match text {
            [] => self.line_start,
            [.., b'\r', b'\n'] => 2,
            [b'\n'] if self.line_start == 1 => 2,
            [.., b'\r'] => 1,
            _ => 0,
        };
    }

    /// Ends the text: CRLF where its last line lacks one, then the line of one dot.
    pub fn finish(self, output: &mut BytesMut) {
        if self.line_start != 2 {
            output.extend_from_slice(b"\r\n");
        }
        output.extend_from_slice(b".\r\n");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Line,
    Cr,
    /// After the dot that begins a line.
    Dot,
    /// After that dot and a CR.
    DotCr,
}

/// What could be a line that begins with a dot.
static LF_DOT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n."));

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes input that arrives in pieces: text, octets after the end (none when it has not come), bare.
    fn decoded(input: &[u8], step: usize) -> (Vec<u8>, Option<Vec<u8>>, bool) {
        let (mut decoder, mut text) = (Decoder::new(), Vec::new());
        let mut offset = 0;
        for piece in input.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let step = decoder.decode(rest);
                text.extend_from_slice(step.text);
                rest = &rest[step.used..];
                if step.end {
                    let after = input[offset + piece.len() - rest.len()..].to_vec();
                    return (text, Some(after), decoder.bare());
                }
            }
            offset += piece.len();
        }
        (text, None, decoder.bare())
    }

    #[test]
    fn dots_come_off_and_the_end_is_found_at_every_cutting() {
        for step in [1, 2, 3, 7, 1000] {
            let (text, after, bare) = decoded(b"..one\r\n.two\r\n...\r\n\r\na.b\r\n.\r\nQUIT\r\n", step);
            assert_eq!(text, b".one\r\ntwo\r\n..\r\n\r\na.b\r\n");
            assert_eq!(after.as_deref(), Some(&b"QUIT\r\n"[..]));
            assert!(!bare);
            assert_eq!(decoded(b".\r\n", step), (vec![], Some(vec![]), false), "an empty text");
            assert_eq!(decoded(b"\r\n.\r\n", step), (b"\r\n".to_vec(), Some(vec![]), false));
        }
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_text() {
        for smuggled in ["a\n.\r\n", "a\r\n.\n", "a\n.\n", "a\r.\r", "a\r\n.\r", "a\r\n.\r\r\n", "a\r.\r\n", "a\r\n.x\r\n"] {
            for step in [1, 2, 3, 7, 1000] {
                let (_, after, bare) = decoded(format!("{smuggled}x\r\n").as_bytes(), step);
                assert_eq!(after, None, "{smuggled:?} by {step}");
                assert_eq!(bare, smuggled != "a\r\n.x\r\n", "{smuggled:?} by {step}");
            }
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        for text in ["", ".\r\n", "..\r\n.a\r\n", "a\r\n\r\n.\r\n..\r\n", "x\r\n"] {
            for step in [1, 2, 3, 7, 1000] {
                let (mut encoder, mut wire) = (Encoder::new(), BytesMut::new());
                text.as_bytes().chunks(step).for_each(|piece| encoder.encode(piece, &mut wire));
                encoder.finish(&mut wire);
                assert_eq!(decoded(&wire, step), (text.as_bytes().to_vec(), Some(vec![]), false), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn a_dot_behind_a_bare_lf_begins_no_line() {
        for step in [1, 2, 3, 7, 1000] {
            let (mut encoder, mut wire) = (Encoder::new(), BytesMut::new());
            b"\n.a\n.b\r.c\r\n\n.d\r\r\n.e\r\n".chunks(step).for_each(|piece| encoder.encode(piece, &mut wire));
            assert_eq!(wire, &b"\n.a\n.b\r.c\r\n\n.d\r\r\n..e\r\n"[..], "by {step}");
        }
    }

    #[test]
    fn a_last_line_without_crlf_is_given_one() {
        for text in ["a", "a\r", "a\n"] {
            let (mut encoder, mut wire) = (Encoder::new(), BytesMut::new());
            encoder.encode(text.as_bytes(), &mut wire);
            encoder.finish(&mut wire);
            assert_eq!(wire, format!("{text}\r\n.\r\n").as_bytes());
        }
    }
}
