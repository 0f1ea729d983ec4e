//! The header of a message or a part, as it passes: what it says is behind it, and whether that is binary.
//!
//! The Content-Transfer-Encoding that says `binary` does not pass: another is written at the header's end, when it is known what for.
//! Fails where what the header says cannot be told.

use mail_parser::HeaderValue;

use super::{FIELD_OCTETS, Fault, LINE_OCTETS};
use crate::line::has_bare;

#[derive(Debug, Default)]
pub(super) struct Header {
    /// Whose line this is.
    field: Field,
    /// The Content-Type, and how many there were.
    content_type: Vec<u8>,
    types: usize,
    /// The Content-Transfer-Encoding that is coming, and how many have come.
    encoding: Vec<u8>,
    encodings: usize,
    is_binary: bool,
    /// Without a Content-Type it is that of a message.
    in_digest: bool,
}

/// What a header is of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entity {
    Multipart {
        boundary: Vec<u8>,
        digest: bool,
    },
    /// Another header follows.
    Message,
    /// Anything that is made of lines.
    Lines,
    /// Octets of any kind.
    Binary,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Field {
    Type,
    Encoding,
    #[default]
    Other,
}

impl Header {
    /// Of a part of a multipart.
    pub(super) fn of_part(in_digest: bool) -> Self {
        Self { in_digest, ..Self::default() }
    }

    /// A line, or the beginning of one.
    pub(super) fn begin(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            self.end_field(out);
            self.field = Field::of(line)?;
            self.types += usize::from(self.field == Field::Type);
            self.encodings += usize::from(self.field == Field::Encoding);
        }
        self.go_on(line, out)
    }

    /// More of the same line.
    pub(super) fn go_on(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        if self.field != Field::Encoding {
            out.extend_from_slice(text);
        }
        let kept = match self.field {
            Field::Type => &mut self.content_type,
            Field::Encoding => &mut self.encoding,
            Field::Other => return Ok(()),
        };
        if kept.len() + text.len() > FIELD_OCTETS {
            return Err(Fault::Field);
        }
        kept.extend_from_slice(text);
        Ok(())
    }

    /// It has ended, in the middle of a line or behind it.
    pub(super) fn end(mut self, in_line: bool, out: &mut Vec<u8>) -> Result<Entity, Fault> {
        self.end_field(out);
        if self.is_binary && (self.types > 1 || self.encodings > 1) {
            return Err(Fault::Ambiguous);
        }
        let described = self.describe();
        if !self.is_binary {
            return Ok(described.unwrap_or(Entity::Lines));
        }
        if in_line {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(if described.is_some() { EIGHT_BIT } else { BASE64 });
        Ok(described.unwrap_or(Entity::Binary))
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        if self.field == Field::Encoding {
            let field = std::mem::take(&mut self.encoding);
            if says_binary(&field) {
                self.is_binary = true;
            } else {
                out.extend_from_slice(&field);
            }
        }
        self.field = Field::Other;
    }

    /// What it is, where that is a multipart or a message of any kind (RFC 2045 §6.4): those are made of lines, whatever is in them.
    #[expect(clippy::disallowed_types, reason = "this is the one module of mail that wraps mail-parser")]
    fn describe(&self) -> Option<Entity> {
        if self.types == 0 {
            return self.in_digest.then_some(Entity::Message);
        }
        let text = [&self.content_type, CRLF].concat();
        let parser = mail_parser::MessageParser::new().with_mime_headers().default_header_ignore();
        let message = parser.parse_headers(&text).filter(|_| self.types == 1)?;
        let HeaderValue::ContentType(value) = &message.headers().first()?.value else { return None };
        let subtype = value.c_subtype.as_deref().unwrap_or_default();
        if value.c_type.eq_ignore_ascii_case("message") {
            let is_whole = MESSAGES.iter().any(|message| subtype.eq_ignore_ascii_case(message));
            return Some(if is_whole { Entity::Message } else { Entity::Lines });
        }
        if !value.c_type.eq_ignore_ascii_case("multipart") {
            return None;
        }
        let boundary = value.attributes.iter().flatten().find(|attribute| attribute.name.eq_ignore_ascii_case("boundary"));
        let boundary = boundary.map(|attribute| attribute.value.trim_end().as_bytes()).unwrap_or_default();
        // Without one that can stand in a line, its parts are nothing that can be told from each other.
        let is_usable = (1..=BOUNDARY_OCTETS).contains(&boundary.len()) && !boundary.iter().any(u8::is_ascii_control);
        let digest = subtype.eq_ignore_ascii_case("digest");
        Some(if is_usable { Entity::Multipart { boundary: boundary.to_vec(), digest } } else { Entity::Lines })
    }
}

impl Field {
    /// The one that a line begins, or this much of it.
    fn of(line: &[u8]) -> Result<Self, Fault> {
        let (name, has_colon) = memchr::memchr(b':', line).map_or((line, false), |colon| (line.get(..colon).unwrap_or(line), true));
        let field = match name.trim_ascii_end() {
            name if name.eq_ignore_ascii_case(b"Content-Type") => Self::Type,
            name if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") => Self::Encoding,
            _ => Self::Other,
        };
        match field {
            // A colon may come yet, or never.
            Self::Type | Self::Encoding if !has_colon && line.len() >= LINE_OCTETS => Err(Fault::Field),
            Self::Type | Self::Encoding if !has_colon => Ok(Self::Other),
            field => Ok(field),
        }
    }
}

/// Whether the field says `binary`, with blanks and comments around it or not (RFC 2045 §6.1). One that holds a bare CR or LF says
/// nothing, so that it passes and is found.
fn says_binary(field: &[u8]) -> bool {
    if !field.ends_with(CRLF) || has_bare(field) {
        return false;
    }
    let value = memchr::memchr(b':', field).and_then(|colon| field.get(colon + 1..)).unwrap_or_default();
    let (mut depth, mut escaped, mut said) = (0_usize, false, Vec::new());
    for octet in value {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if depth > 0 => escaped = true,
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            octet => said.push(*octet),
        }
    }
    said.trim_ascii().eq_ignore_ascii_case(b"binary")
}

const CRLF: &[u8] = b"\r\n";
const BASE64: &[u8] = b"Content-Transfer-Encoding: base64\r\n";
const EIGHT_BIT: &[u8] = b"Content-Transfer-Encoding: 8bit\r\n";
/// With a message behind them, whose header says what that is made of.
const MESSAGES: [&str; 3] = ["rfc822", "global", "news"];
/// RFC 2046 §5.1.1 allows 70; some programs write more.
const BOUNDARY_OCTETS: usize = 200;
