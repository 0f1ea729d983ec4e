//! What is in a part that is declared binary, on its way to base64 (RFC 2045 §6.8).
//!
//! A CR LF is held back until it is known that it is not a delimiter's. Cannot fail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

use super::LINE_OCTETS;
use super::boundaries::{Boundaries, Delimiter};

/// At its beginning, by default: behind the line end of the header, which is a delimiter's where that follows at once.
#[derive(Debug, Default)]
pub(super) struct Content {
    at: At,
    /// A CR LF is held back.
    owes_line_end: bool,
    lines: Lines,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    LineStart,
    Line,
    /// Behind a CR that is held back.
    Cr,
}

impl Content {
    /// Takes some of the octets, and says how many. Those of a line that may be a delimiter go to `held`; where it is one, that is said too,
    /// and this has ended.
    pub(super) fn take(
        &mut self,
        octets: &[u8],
        held: &mut Vec<u8>,
        boundaries: &Boundaries,
        out: &mut Vec<u8>,
    ) -> (usize, Option<Delimiter>) {
        let Some(&octet) = octets.first() else { return (0, None) };
        let used = match (&self.at, octet) {
            (At::Line, _) => {
                let end = memchr(b'\r', octets);
                let text = end.and_then(|end| octets.get(..end)).unwrap_or(octets);
                self.lines.push(text, out);
                self.at = if end.is_some() { At::Cr } else { At::Line };
                text.len() + usize::from(end.is_some())
            }
            (At::Cr, b'\n') => {
                self.at = At::LineStart;
                self.owes_line_end = true;
                1
            }
            (At::Cr, _) => {
                self.lines.push(b"\r", out);
                self.at = At::Line;
                0
            }
            (At::LineStart, _) => {
                held.push(octet);
                if !boundaries.may_begin(held) {
                    held.pop();
                    self.release(held, out);
                    held.clear();
                    return (0, None);
                }
                if (octet == b'\n' || held.len() >= LINE_OCTETS)
                    && let Some(delimiter) = boundaries.delimiter(held)
                {
                    self.close(out);
                    return (1, Some(delimiter));
                }
                1
            }
        };
        (used, None)
    }

    /// The message has ended here, behind what is held of a line, which is a delimiter or not.
    pub(super) fn end(&mut self, held: &[u8], is_delimiter: bool, out: &mut Vec<u8>) {
        if is_delimiter {
            self.close(out);
            out.extend_from_slice(held);
            return;
        }
        match self.at {
            At::LineStart => self.release(held, out),
            At::Cr => self.lines.push(b"\r", out),
            At::Line => {}
        }
        if self.lines.end(out) {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// What was held was no delimiter's.
    fn release(&mut self, held: &[u8], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.owes_line_end) {
            self.lines.push(b"\r\n", out);
        }
        self.lines.push(held, out);
        self.at = At::Line;
    }

    /// What was held back is the delimiter's.
    fn close(&mut self, out: &mut Vec<u8>) {
        self.lines.end(out);
        if self.owes_line_end {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Base64 in lines; a line end stands between two, and none behind the last.
#[derive(Debug)]
struct Lines {
    octets: [u8; LINE],
    held: usize,
    begun: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { octets: [0; LINE], held: 0, begun: false }
    }
}

impl Lines {
    fn push(&mut self, mut octets: &[u8], out: &mut Vec<u8>) {
        while !octets.is_empty() {
            let room = self.octets.get_mut(self.held..).unwrap_or_default();
            let (now, later) = octets.split_at_checked(room.len()).unwrap_or((octets, &[]));
            room.iter_mut().zip(now).for_each(|(place, octet)| *place = *octet);
            self.held += now.len();
            octets = later;
            if self.held == LINE {
                self.write(out);
            }
        }
    }

    /// Whether there was anything.
    fn end(&mut self, out: &mut Vec<u8>) -> bool {
        if self.held > 0 {
            self.write(out);
        }
        self.begun
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(b"\r\n");
        }
        let mut text = [0; COLUMNS];
        let line = self.octets.get(..self.held).unwrap_or_default();
        // It has room for a whole line.
        let columns = STANDARD.encode_slice(line, &mut text).unwrap_or_default();
        out.extend_from_slice(text.get(..columns).unwrap_or_default());
        self.held = 0;
    }
}

/// Octets of a line, and what they come to.
const LINE: usize = 57;
const COLUMNS: usize = 76;
