//! A message that was declared BINARYMIME (RFC 3030 §3), made of lines while it passes in pieces.
//!
//! What a header declares `Content-Transfer-Encoding: binary` becomes base64 in lines of 76 columns, which keeps its octets; multiparts and
//! messages, which must not be base64 (RFC 2045 §6.4), become `8bit`, and what is in them is looked at in its turn. Of such a header that
//! one field is taken out, and written anew at its end. All else passes octet for octet, and is held to what holds for any message: no
//! CR or LF but in CR LF, which [`Conversion::finish`] says. So a message in which nothing is declared binary passes as it is.
//!
//! A part ends with the CR LF before a line that begins with a boundary of a multipart we are in (RFC 2046 §5.1.1), the longest where one
//! begins with another. That is exact, unlike what screening takes for a boundary, which errs on the side of seeing too many parts:
//! here one too many would cut somebody's file in two.
//!
//! How the message is cut into pieces makes no difference. Memory is bounded by [`OCTETS_MOST`], whatever comes; parts and messages within
//! messages take none, and are not counted. What comes out is at most 78/57 of what has come, and a line's end.

mod boundaries;
mod content;
mod header;
#[cfg(test)]
mod tests;

use memchr::memchr;

use crate::line::BareWatch;
use boundaries::{Boundaries, Delimiter};
use content::Content;
use header::{Entity, Header};

/// Converts one message.
#[derive(Debug, Default)]
pub struct Conversion {
    state: State,
    /// The beginning of a line, until what line it is can be told.
    held: Vec<u8>,
    /// The line goes on whose beginning was looked at.
    goes_on: bool,
    boundaries: Boundaries,
    /// Watches what comes out: base64 has nothing bare, and all else is what came.
    bare: BareWatch,
}

/// Why a message cannot be made of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Outside of what is declared binary.
    #[error("it holds a CR or LF that is not part of a CR LF")]
    Bare,
    /// A Content-Type or Content-Transfer-Encoding that is not looked at.
    #[error("a field that says what a part is has more than {FIELD_OCTETS} octets, or {LINE_OCTETS} before its colon")]
    Field,
    /// Programs differ on which of the two counts.
    #[error("a part that is declared binary has two fields that say what it is")]
    Ambiguous,
    /// A way to fill memory.
    #[error("it has more than {DEPTH_MOST} multiparts within each other")]
    Depth,
}

impl Conversion {
    /// Of a message that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what the next piece comes to, but for the end of it that cannot be told yet.
    pub fn convert(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let (before, mut rest) = (out.len(), piece);
        while !rest.is_empty() {
            let used = match &self.state {
                State::Spoilt(_) => return,
                State::Binary(_) => self.octets(rest, out),
                State::Header(_) | State::Lines => self.line(rest, out),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        self.bare.watch(out.get(before..).unwrap_or_default());
    }

    /// The message has passed: appends what was held back.
    ///
    /// # Errors
    /// Why what was appended is not to be kept.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let before = out.len();
        let held = std::mem::take(&mut self.held);
        if let State::Binary(content) = &mut self.state {
            content.end(&held, self.boundaries.delimiter(&held).is_some(), out);
        } else if !held.is_empty() {
            self.begin(&held, out);
        }
        if matches!(self.state, State::Header(_)) {
            self.end_header(out);
        }
        self.bare.watch(out.get(before..).unwrap_or_default());
        match self.state {
            State::Spoilt(fault) => Err(fault),
            _ if self.bare.found() => Err(Fault::Bare),
            _ => Ok(()),
        }
    }

    /// Takes a line, or what has come of it; how many octets that is.
    fn line(&mut self, octets: &[u8], out: &mut Vec<u8>) -> usize {
        let whole = memchr(b'\n', octets).map(|end| end + 1);
        if self.goes_on {
            let text = whole.and_then(|end| octets.get(..end)).unwrap_or(octets);
            self.goes_on = whole.is_none();
            self.go_on(text, out);
            return text.len();
        }
        let room = LINE_OCTETS.saturating_sub(self.held.len());
        let taken = whole.unwrap_or(octets.len()).min(room);
        let text = octets.get(..taken).unwrap_or(octets);
        if whole.is_none() && taken < room {
            self.held.extend_from_slice(text);
        } else if self.held.is_empty() {
            self.begin(text, out);
        } else {
            let mut line = std::mem::take(&mut self.held);
            line.extend_from_slice(text);
            self.begin(&line, out);
            line.clear();
            self.held = line;
        }
        taken
    }

    /// A line, or as much of its beginning as says what it is.
    fn begin(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let is_whole = line.ends_with(b"\n");
        if let Some(delimiter) = self.boundaries.delimiter(line) {
            // A part that is all header.
            self.end_header(out);
            return self.delimited(delimiter, line, out);
        }
        if let State::Header(header) = &mut self.state {
            if matches!(line, b"\r\n" | b"\n") {
                self.end_header(out);
                out.extend_from_slice(line);
            } else if let Err(fault) = header.begin(line, out) {
                self.spoil(fault);
            }
        } else {
            out.extend_from_slice(line);
        }
        self.goes_on = !is_whole;
    }

    fn go_on(&mut self, text: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Header(header) => {
                if let Err(fault) = header.go_on(text, out) {
                    self.spoil(fault);
                }
            }
            _ => out.extend_from_slice(text),
        }
    }

    /// Takes octets of what is declared binary; how many they are.
    fn octets(&mut self, octets: &[u8], out: &mut Vec<u8>) -> usize {
        let State::Binary(content) = &mut self.state else { return 0 };
        let (used, met) = content.take(octets, &mut self.held, &self.boundaries, out);
        if let Some(delimiter) = met {
            let line = std::mem::take(&mut self.held);
            self.delimited(delimiter, &line, out);
        }
        used
    }

    /// A part has ended, or all of a multipart.
    fn delimited(&mut self, delimiter: Delimiter, line: &[u8], out: &mut Vec<u8>) {
        if matches!(self.state, State::Spoilt(_)) {
            return;
        }
        self.state = match self.boundaries.leave(delimiter) {
            Some(digest) => State::Header(Header::of_part(digest)),
            None => State::Lines,
        };
        self.goes_on = !line.ends_with(b"\n");
        out.extend_from_slice(line);
    }

    fn end_header(&mut self, out: &mut Vec<u8>) {
        let State::Header(header) = &mut self.state else { return };
        match std::mem::take(header).end(self.goes_on, out) {
            Ok(Entity::Multipart { boundary, digest }) => {
                self.state = State::Lines;
                if self.boundaries.enter(boundary, digest) > DEPTH_MOST {
                    self.spoil(Fault::Depth);
                }
            }
            Ok(Entity::Message) => self.state = State::Header(Header::default()),
            Ok(Entity::Binary) => self.state = State::Binary(Content::default()),
            Ok(Entity::Lines) => self.state = State::Lines,
            Err(fault) => self.spoil(fault),
        }
    }

    fn spoil(&mut self, fault: Fault) {
        *self = Self { state: State::Spoilt(fault), ..Self::default() };
    }
}

#[derive(Debug)]
enum State {
    Header(Header),
    /// In what nobody has declared binary.
    Lines,
    Binary(Content),
    /// It is not looked at any further.
    Spoilt(Fault),
}

impl Default for State {
    fn default() -> Self {
        Self::Header(Header::default())
    }
}

/// What a conversion takes at most, with what it appends, where no more than [`PIECE_OCTETS`] are given to it at a time and that is taken away
/// before there are more: two fields in buffers that grow by doubling and what is made of them to read them, the boundaries, the beginning of
/// a line.
pub const OCTETS_MOST: usize = (32 << 10) + LINES_OCTETS;
/// The most that need be given to it at a time.
pub const PIECE_OCTETS: usize = 8 << 10;
/// Room for what that comes to, with what was held back before it.
pub const LINES_OCTETS: usize = 16 << 10;
/// Multiparts within each other, as many as screening looks at.
pub const DEPTH_MOST: usize = 16;
/// What a line is known by: a boundary, or the name of a field with blanks behind it (RFC 5322 §4.5).
const LINE_OCTETS: usize = 256;
/// Of one field that is kept.
const FIELD_OCTETS: usize = 4 << 10;
