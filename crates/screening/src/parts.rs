//! The parts of a message (RFC 2045, RFC 2046), seen while it passes: what each is called, and how long it is.
//!
//! Bodies are skipped, and of headers only the `Content-` fields are kept, one header at a time: at most [`FIELDS_OCTETS`], and [`DESCRIBED_OCTETS`] in the course of a message. Messages within messages
//! are gone into. Where programs differ on what a boundary is, a line is taken for one: a part too many hides nothing, one
//! too few would. A message with more than [`PARTS_MOST`] parts, [`DEPTH_MOST`] of them within each other, with names or
//! fields without end, or with a name or boundary that cannot be put together in one way is not looked at any further, and is said to be such. Cannot fail.

use crate::described::Described;

/// Watches one message pass.
#[derive(Debug)]
pub(crate) struct Parts {
    state: State,
    /// The beginning of a line that has not ended yet, and how long that is so far.
    line: Vec<u8>,
    line_octets: usize,
    /// The `Content-` fields of the header that is coming.
    fields: Vec<u8>,
    keeps: bool,
    /// The multiparts we are in, the outermost first.
    frames: Vec<Frame>,
    /// Messages within messages that the part we are in has come to.
    nested: usize,
    /// The part we are in, where it is no multipart; of a message, while its header comes, the part that it is.
    open: Option<Part>,
    parts: usize,
    /// Octets of all `Content-` fields so far, and of the names in them.
    described_octets: usize,
    name_octets: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Header,
    Body,
    /// It is not looked at any further.
    Excess(Excess),
}

/// Why a message is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("it has more than {PARTS_MOST} parts")]
    Parts,
    #[error("it has more than {DEPTH_MOST} parts within each other")]
    Depth,
    #[error("a part has more than {FIELDS_OCTETS} octets of fields that describe it, or all of them more than {DESCRIBED_OCTETS}")]
    Fields,
    #[error("the names of its parts have more than {NAMES_OCTETS} octets")]
    Names,
    #[error("a part has a name or a boundary in pieces that do not fit together")]
    Pieces,
}

/// One part that is no multipart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// What it is called, decoded, in every field that says so.
    pub(crate) names: Vec<String>,
    /// Its types, as `message/partial`, in lower case; none where it does not say.
    pub(crate) types: Vec<String>,
    /// How long it is: of base64, what that comes to.
    pub(crate) octets: u64,
    pub(crate) base64: bool,
}

#[derive(Debug)]
struct Frame {
    boundaries: Vec<Vec<u8>>,
    /// Parts that do not say what they are are messages (RFC 2046 §5.1.5).
    digest: bool,
}

impl Parts {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header,
            line: Vec::new(),
            line_octets: 0,
            fields: Vec::new(),
            keeps: false,
            frames: Vec::new(),
            nested: 0,
            open: None,
            parts: 1,
            described_octets: 0,
            name_octets: 0,
        }
    }

    /// The next piece of the message; `seen` is told of each part that has ended.
    pub(crate) fn pass(&mut self, piece: &[u8], seen: &mut impl FnMut(&Part)) {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at_checked(end + 1).unwrap_or((rest, &[]));
            rest = after;
            if self.line_octets == 0 {
                self.take(line, line.len(), seen);
            } else {
                self.keep(line);
                let (begun, octets) = (std::mem::take(&mut self.line), std::mem::take(&mut self.line_octets));
                self.take(&begun, octets, seen);
                self.line = begun;
                self.line.clear();
            }
        }
        self.keep(rest);
    }

    /// The message has passed.
    ///
    /// # Errors
    /// Why it was not looked at.
    pub(crate) fn finish(&mut self, seen: &mut impl FnMut(&Part)) -> Result<(), Excess> {
        if self.line_octets > 0 {
            let (line, octets) = (std::mem::take(&mut self.line), std::mem::take(&mut self.line_octets));
            self.take(&line, octets, seen);
        }
        if self.state == State::Header {
            self.end_header();
        }
        self.close(seen);
        match self.state {
            State::Excess(excess) => Err(excess),
            State::Header | State::Body => Ok(()),
        }
    }

    /// A line that goes on in the next piece: what of it matters.
    fn keep(&mut self, text: &[u8]) {
        let most = if self.state == State::Header { FIELDS_OCTETS } else { LINE_OCTETS };
        let room = most.saturating_sub(self.line.len());
        self.line.extend_from_slice(text.get(..room).unwrap_or(text));
        self.line_octets += text.len();
    }

    /// A line, or its beginning, and how long all of it is.
    fn take(&mut self, line: &[u8], octets: usize, seen: &mut impl FnMut(&Part)) {
        if matches!(self.state, State::Excess(_)) {
            return;
        }
        if line.starts_with(b"--")
            && let Some((frame, closes)) = self.boundary(line)
        {
            if self.state == State::Header {
                // A part that is all header still has a name.
                self.end_header();
            }
            self.close(seen);
            self.frames.truncate(frame + 1);
            self.nested = 0;
            // A part behind the last is none, but for programs that look for it.
            self.begin(if closes { State::Body } else { State::Header });
            return;
        }
        match self.state {
            State::Header if line.trim_ascii_end().is_empty() && !line.starts_with(b" ") && !line.starts_with(b"\t") => self.end_header(),
            State::Header => {
                self.count(line, octets);
                self.field(line, octets);
            }
            State::Body => self.count(line, octets),
            State::Excess(_) => {}
        }
    }

    fn count(&mut self, line: &[u8], octets: usize) {
        if let Some(part) = &mut self.open {
            let ends = if part.base64 { line.len() - line.trim_ascii_end().len() } else { 0 };
            part.octets += octets.saturating_sub(ends) as u64;
        }
    }

    /// The multipart whose boundary it is, the innermost first, and whether it is its last. RFC 2046 §5.1.1: what begins as one is one.
    /// Only what is nobody else's is that of a multipart without one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.strip_prefix(b"--")?;
        let is_of = |has_name: bool| {
            self.frames.iter().enumerate().rev().find_map(|(number, frame)| {
                let mut boundaries = frame.boundaries.iter().filter(|boundary| boundary.is_empty() != has_name);
                let rest = boundaries.find_map(|boundary| text.strip_prefix(boundary.as_slice()))?;
                Some((number, rest.starts_with(b"--")))
            })
        };
        is_of(true).or_else(|| is_of(false))
    }

    fn begin(&mut self, state: State) {
        self.parts += usize::from(state == State::Header);
        self.fields.clear();
        self.keeps = false;
        if self.parts > PARTS_MOST {
            self.give_up(Excess::Parts);
        } else if !matches!(self.state, State::Excess(_)) {
            self.state = state;
        }
    }

    fn field(&mut self, line: &[u8], octets: usize) {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            self.keeps = line.get(..CONTENT.len()).is_some_and(|name| name.eq_ignore_ascii_case(CONTENT));
        }
        if self.keeps {
            // Beyond what one header may cost: types, too, are held against every pattern.
            self.described_octets += line.len();
            if octets > line.len() || self.fields.len() + line.len() > FIELDS_OCTETS || self.described_octets > DESCRIBED_OCTETS {
                return self.give_up(Excess::Fields);
            }
            self.fields.extend_from_slice(line);
        }
    }

    fn end_header(&mut self) {
        let described = Described::of(&self.fields);
        self.fields.clear();
        if described.is_in_odd_pieces {
            return self.give_up(Excess::Pieces);
        }
        self.name_octets += described.part.names.iter().map(String::len).sum::<usize>();
        if self.name_octets > NAMES_OCTETS {
            return self.give_up(Excess::Names);
        }
        let in_digest = !described.has_type && self.nested == 0 && self.frames.last().is_some_and(|frame| frame.digest);
        self.state = State::Body;
        // A message is one part with the text in it, and goes by the names and types of both.
        let part = self.open.get_or_insert_default();
        part.names.extend(described.part.names);
        part.types.extend(described.part.types);
        part.base64 |= described.part.base64;
        if !described.boundaries.is_empty() {
            self.frames.push(Frame { boundaries: described.boundaries, digest: described.digest });
        } else if described.message || in_digest {
            self.nested += 1;
            self.begin(State::Header);
        }
        if self.frames.len() + self.nested > DEPTH_MOST {
            self.give_up(Excess::Depth);
        }
    }

    /// The part we are in has ended.
    fn close(&mut self, seen: &mut impl FnMut(&Part)) {
        if let Some(mut part) = self.open.take() {
            if part.base64 {
                part.octets = part.octets / 4 * 3;
            }
            seen(&part);
        }
    }

    fn give_up(&mut self, excess: Excess) {
        self.state = State::Excess(excess);
        (self.fields, self.line, self.frames) = (Vec::new(), Vec::new(), Vec::new());
    }
}

/// Octets of the fields of one part that are kept.
pub(crate) const FIELDS_OCTETS: usize = 16 << 10;
/// Octets of the fields of all parts of a message: about as many as the most parts have that all say what they are called.
const DESCRIBED_OCTETS: usize = 256 << 10;
/// Octets of a line of a body that are looked at: a boundary has at most 70 (RFC 2046 §5.1.1).
pub(crate) const LINE_OCTETS: usize = 256;
/// More than any message of a person has.
pub(crate) const PARTS_MOST: usize = 1000;
pub(crate) const DEPTH_MOST: usize = 16;
const NAMES_OCTETS: usize = 64 << 10;
const CONTENT: &[u8] = b"content-";

#[cfg(test)]
mod tests;
