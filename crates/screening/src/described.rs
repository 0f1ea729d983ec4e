//! What the `Content-` fields of a header say of its part (RFC 2045, RFC 2183, RFC 2231).
//!
//! Programs differ on comments within parameters: some leave them out, as the grammar has it, and some know of none. So the fields, unfolded, are
//! read in both ways, and every name counts that either finds. They differ, too, on what pieces of a name come to that are doubled, have gaps or stand
//! beside a whole one: that there are such is all that is said. The only module here that knows mail-parser. Takes memory in the order of the fields. Cannot fail.

use mail_parser::{ContentType, HeaderValue};

use crate::parts::{LINE_OCTETS, Part};

/// What a header says of its part.
#[derive(Default)]
pub(crate) struct Described {
    pub(crate) part: Part,
    pub(crate) boundaries: Vec<Vec<u8>>,
    pub(crate) digest: bool,
    pub(crate) message: bool,
    pub(crate) has_type: bool,
    /// A name or a boundary is in pieces that programs put together differently.
    pub(crate) is_in_odd_pieces: bool,
}

impl Described {
    /// What all `Content-` fields of a header say; where there are several of a kind, that of each, because programs differ.
    pub(crate) fn of(fields: &[u8]) -> Self {
        if fields.is_empty() {
            return Self::default();
        }
        let fields = unfolded(fields);
        let mut described = Self::read(&bare(&fields, Comments::LeftOut));
        if !fields.contains(&b'(') {
            return described;
        }
        let other = Self::read(&bare(&fields, Comments::Kept));
        let Self { part: Part { names, types, base64, .. }, boundaries, digest, message, has_type, is_in_odd_pieces } = other;
        add(&mut described.part.names, names);
        add(&mut described.part.types, types);
        // That there is none is what the grammar says alone.
        add(&mut described.boundaries, boundaries.into_iter().filter(|boundary| !boundary.is_empty()).collect());
        described.part.base64 |= base64;
        described.digest |= digest;
        described.message |= message;
        described.has_type |= has_type;
        described.is_in_odd_pieces |= is_in_odd_pieces;
        described
    }

    #[expect(clippy::disallowed_types, reason = "this is the one module here that wraps mail-parser")]
    fn read(fields: &[u8]) -> Self {
        let mut described = Self { is_in_odd_pieces: is_in_odd_pieces(fields), ..Self::default() };
        let text = [fields, b"\r\n"].concat();
        let parser = mail_parser::MessageParser::new().with_mime_headers().default_header_ignore();
        let Some(message) = parser.parse_headers(&text) else { return described };
        for header in message.headers() {
            match &header.value {
                HeaderValue::ContentType(value) => described.content(value),
                HeaderValue::Text(text) if text.trim().eq_ignore_ascii_case("base64") => described.part.base64 = true,
                _ => {}
            }
        }
        described
    }

    /// Content-Type or Content-Disposition.
    fn content(&mut self, value: &ContentType<'_>) {
        let subtype = value.c_subtype.as_deref().unwrap_or_default();
        let is = |kind: &str| value.c_type.eq_ignore_ascii_case(kind);
        if !subtype.is_empty() {
            self.has_type = true;
            self.part.types.push(format!("{}/{subtype}", value.c_type).to_ascii_lowercase());
        }
        self.message |= is("message") && MESSAGES.iter().any(|message| subtype.eq_ignore_ascii_case(message));
        self.digest |= is("multipart") && subtype.eq_ignore_ascii_case("digest");
        let boundaries = self.boundaries.len();
        for attribute in value.attributes.iter().flatten() {
            if [NAME, FILENAME].iter().any(|name| attribute.name.eq_ignore_ascii_case(name)) {
                self.part.names.push(attribute.value.clone().into_owned());
            } else if is("multipart") && attribute.name.eq_ignore_ascii_case(BOUNDARY) {
                let boundary = attribute.value.trim_end().as_bytes();
                self.boundaries.push(boundary.get(..LINE_OCTETS - 4).unwrap_or(boundary).to_vec());
            }
        }
        // Some programs take any line with two hyphens for the boundary that is missing.
        if is("multipart") && self.boundaries.len() == boundaries {
            self.boundaries.push(Vec::new());
        }
    }
}

/// Those that are not there yet.
fn add<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if !known.contains(&one) {
            known.push(one);
        }
    }
}

/// Each field on one line (RFC 5322 §2.2.3).
fn unfolded(fields: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::with_capacity(fields.len());
    for line in fields.split_inclusive(|octet| *octet == b'\n') {
        let goes_on = matches!(line.first(), Some(b' ' | b'\t'));
        if !goes_on && !unfolded.is_empty() {
            unfolded.extend_from_slice(b"\r\n");
        }
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        unfolded.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
    }
    unfolded
}

/// Fields without blanks around `=`. Quoted strings stay as they are.
fn bare(fields: &[u8], comments: Comments) -> Vec<u8> {
    let mut bare = Bare { comments, text: Vec::with_capacity(fields.len()), quoted: false, escaped: false, depth: 0 };
    fields.iter().for_each(|octet| bare.take(*octet));
    bare.text
}

/// Whether one of these fields has a parameter of ours in pieces (RFC 2231 §3) that are not exactly those from 0 on, or beside a whole one.
/// Quotes separate like semicolons: what looks like a piece within them is one for a program that takes a quote for text.
fn is_in_odd_pieces(fields: &[u8]) -> bool {
    if !fields.contains(&b'*') {
        return false;
    }
    fields.split(|octet| *octet == b'\n').any(|field| {
        let names: Vec<String> = field.split(|octet| matches!(octet, b';' | b'"')).filter_map(parameter).collect();
        [NAME, FILENAME, BOUNDARY].iter().any(|wanted| {
            let (mut is_whole, mut pieces) = (false, Vec::new());
            for rest in names.iter().filter_map(|name| name.strip_prefix(wanted)) {
                match rest.strip_prefix('*') {
                    None => is_whole |= rest.is_empty(),
                    Some("") => is_whole = true,
                    Some(piece) => pieces.push(piece.strip_suffix('*').unwrap_or(piece).parse::<usize>().ok()),
                }
            }
            pieces.sort_unstable();
            !pieces.is_empty() && (is_whole || pieces.into_iter().enumerate().any(|(number, piece)| piece != Some(number)))
        })
    })
}

/// The name before the equals sign, without blanks and in lower case.
fn parameter(text: &[u8]) -> Option<String> {
    let end = memchr::memchr(b'=', text)?;
    let name = text.iter().take(end).filter(|octet| octet.is_ascii_graphic());
    Some(name.map(|octet| char::from(octet.to_ascii_lowercase())).collect())
}

/// What is made of comments (RFC 5322 §3.2.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    LeftOut,
    /// They are text like any other, with a sign in the place of their brackets.
    Kept,
}

struct Bare {
    comments: Comments,
    text: Vec<u8>,
    quoted: bool,
    /// A backslash stands before.
    escaped: bool,
    /// Comments within each other.
    depth: usize,
}

impl Bare {
    fn take(&mut self, octet: u8) {
        let (escaped, leaves_out) = (std::mem::take(&mut self.escaped), self.comments == Comments::LeftOut);
        match octet {
            // What is left open ends with its field.
            b'\r' | b'\n' => (self.quoted, self.depth) = (false, 0),
            b'\\' if self.quoted || self.depth > 0 => self.escaped = !escaped,
            b'"' if self.depth == 0 && !escaped => self.quoted = !self.quoted,
            b'(' | b')' if !self.quoted && !leaves_out => return self.text.push(b'_'),
            b'(' if !self.quoted && !escaped => self.depth += 1,
            b')' if self.depth > 0 && !escaped => {
                self.depth -= 1;
                return;
            }
            _ => {}
        }
        if self.depth > 0 {
            return;
        }
        if !self.quoted && matches!(octet, b' ' | b'\t') && self.text.ends_with(b"=") {
            return;
        }
        if !self.quoted && octet == b'=' {
            let end = self.text.trim_ascii_end().len();
            self.text.truncate(end);
        }
        self.text.push(octet);
    }
}

const MESSAGES: [&str; 3] = ["rfc822", "global", "news"];
const NAME: &str = "name";
const FILENAME: &str = "filename";
const BOUNDARY: &str = "boundary";
