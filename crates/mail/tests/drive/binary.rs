//! Any octets as a message declared binary, and as what is in the parts of one.

use mail::binary::{Conversion, Fault};
use mail_parser::{Message, MimeHeaders, PartType};

use super::{is_bare, pieces};

/// Converts the octets, then a message whose parts have them as their contents.
pub(crate) fn binary(octets: &[u8]) {
    let Some((cutting, text)) = octets.split_first_chunk::<4>() else { return };
    message(text, cutting);
    contents(text, cutting);
}

/// Whatever it is, it is made of lines or refused.
fn message(text: &[u8], cutting: &[u8]) {
    let whole = converted(text, &[]);
    assert_eq!(converted(text, cutting), whole, "how it is cut makes no difference");
    let Ok(lines) = whole else { return };
    assert!(!is_bare(&lines), "made of lines");
    assert!(lines.len() <= text.len() * 78 / 57 + 2, "{} octets of {}", lines.len(), text.len());
    let is_declared = text.windows(6).any(|word| word.eq_ignore_ascii_case(b"binary"));
    assert!(is_declared || lines == text, "nothing is declared binary");
    assert_eq!(converted(&lines, cutting).as_ref(), Ok(&lines), "what is made of lines stays as it is");
}

/// What is in parts of every kind comes out as it was, by somebody else's reading.
#[expect(clippy::disallowed_types, reason = "what mail programs make of it is what counts")]
fn contents(text: &[u8], cutting: &[u8]) {
    let contents: Vec<&[u8]> = text.split(|octet| *octet == 0xff).take(PARTS).filter(|content| !has_boundary(content)).collect();
    if contents.is_empty() {
        return;
    }
    let mut message = b"Content-Type: multipart/mixed; boundary=\"=_\"\r\n\r\n".to_vec();
    for content in &contents {
        message.extend_from_slice(b"--=_\r\n");
        let (before, behind): (&[u8], &[u8]) = match content.len() % 3 {
            0 => (b"", b""),
            1 => (b"Content-Transfer-Encoding: binary\r\nContent-Type: message/rfc822\r\n\r\n", b""),
            _ => (b"Content-Type: multipart/related; boundary=\"=_=\"\r\n\r\n--=_=\r\n", b"\r\n--=_=--"),
        };
        let part = [before, b"content-transfer-encoding: (x) BINARY\r\nContent-Type: application/octet-stream\r\n\r\n", *content, behind];
        message.extend_from_slice(&part.concat());
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"--=_--\r\n");
    let lines = converted(&message, cutting).unwrap();
    let parsed = mail_parser::MessageParser::default().parse(&lines).unwrap();
    let mut found = Vec::new();
    leaves(&parsed, &mut found);
    assert_eq!(found, contents, "{:?}", lines.escape_ascii().to_string());
}

/// Whether a boundary of ours is in it, as nobody would choose one.
fn has_boundary(content: &[u8]) -> bool {
    [b"\r\n", content].concat().windows(6).any(|six| six == b"\r\n--=_")
}

fn converted(text: &[u8], cutting: &[u8]) -> Result<Vec<u8>, Fault> {
    let (mut conversion, mut out) = (Conversion::new(), Vec::new());
    pieces(text, cutting).for_each(|piece| conversion.convert(piece, &mut out));
    conversion.finish(&mut out).map(|()| out)
}

/// The octets of every part that is no multipart and no message.
fn leaves(message: &Message<'_>, found: &mut Vec<Vec<u8>>) {
    for part in &message.parts {
        match &part.body {
            PartType::Multipart(_) => {}
            PartType::Message(inner) => leaves(inner, found),
            _ => {
                assert_eq!(part.content_transfer_encoding(), Some("base64"));
                found.push(part.contents().to_vec());
            }
        }
    }
}

const PARTS: usize = 8;
