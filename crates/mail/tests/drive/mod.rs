//! Any octets as lines, as dot-stuffed text, as binary messages and as addresses, compared with readers too simple to be wrong.
//!
//! For the property test, for fuzzing and for the replay of its corpora: each function takes one string of octets and panics when
//! a promise of `mail` is broken. The first octets decide how the rest is cut into pieces: no outcome may depend on it.

pub(crate) mod binary;

use bytes::BytesMut;
use mail::address::path_len;
use mail::dot::{Decoder, Encoder};
use mail::line::{BareWatch, Line, Lines};
use mail::{DOMAIN_OCTETS, Domain, ForwardPath, Host, LABEL_OCTETS, LOCAL_PART_OCTETS, Mailbox, PATH_OCTETS, ReversePath};

/// Decodes the octets, then encodes them and decodes that.
pub(crate) fn dots(octets: &[u8]) {
    let Some((cutting, wire)) = octets.split_first_chunk::<4>() else { return };
    let (text, used, bare) = decoded(wire, cutting);
    let end = end_of_text(wire);
    assert_eq!(used, end, "CRLF . CRLF is the end, and nothing else");
    let stuffed = &wire[..end.unwrap_or(wire.len())];
    // A CR at the end of an unfinished text may still become a CRLF.
    assert_eq!(bare, is_bare(stuffed.strip_suffix(b"\r").unwrap_or(stuffed)));
    if !bare {
        assert_eq!(text, unstuffed(stuffed));
    }

    let (mut encoder, mut encoded) = (Encoder::new(), BytesMut::new());
    pieces(wire, cutting).for_each(|piece| encoder.encode(piece, &mut encoded));
    encoder.finish(&mut encoded);
    assert_eq!(encoded, stuffed_text(wire));
    let (text, used, bare) = decoded(&encoded, cutting);
    assert_eq!(used, Some(encoded.len()), "what is encoded ends where it was ended");
    let line_end: &[u8] = if wire.is_empty() || wire.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    let whole = [wire, line_end].concat();
    assert_eq!(bare, is_bare(&whole));
    assert!(bare || text == whole, "what is encoded decodes to itself");
}

/// Reads the octets as lines of bounded length, and looks for what is bare.
pub(crate) fn lines(octets: &[u8]) {
    let Some(([limit, cutting @ ..], input)) = octets.split_first_chunk::<4>() else { return };
    let limit = 2 + usize::from(*limit);
    let (mut reader, mut buffer, mut seen) = (Lines::new(limit), Vec::new(), Vec::new());
    for piece in pieces(input, cutting) {
        buffer.extend_from_slice(piece);
        loop {
            let (used, whole) = match reader.next(&buffer) {
                Line::Text { text, used } => {
                    assert_eq!(used, text.len() + 2);
                    seen.push(Some(text.to_vec()));
                    (used, true)
                }
                Line::Overlong { used } => {
                    seen.push(None);
                    (used, true)
                }
                Line::Partial { used } => (used, false),
            };
            buffer.drain(..used);
            if !whole {
                break;
            }
        }
        assert!(buffer.len() < limit, "no more than a line is kept");
    }
    let (whole, _) = split_lines(input);
    let expected: Vec<_> = whole.into_iter().map(|line| (line.len() + 2 <= limit).then(|| line.to_vec())).collect();
    assert_eq!(seen, expected);

    let mut watch = BareWatch::default();
    pieces(input, cutting).for_each(|piece| watch.watch(piece));
    assert_eq!(watch.found(), is_bare(input));
}

/// Reads the octets, where they are UTF-8, as everything an address can be.
pub(crate) fn addresses(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(domain) = text.parse::<Domain>() {
        is_domain(&domain);
        assert_eq!(domain.to_string().parse(), Ok(domain));
    }
    if let Ok(host) = text.parse::<Host>() {
        is_host(&host);
        assert_eq!(host.to_string().parse(), Ok(host));
    }
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        is_mailbox(&mailbox);
        assert_eq!(mailbox.to_string().parse(), Ok(mailbox));
    }
    if let Ok(path) = ReversePath::parse(text) {
        is_path(text, &path.to_string());
        assert_eq!(ReversePath::parse(&path.to_string()), Ok(path));
    }
    if let Ok(path) = ForwardPath::parse(text) {
        is_path(text, &path.to_string());
        assert!(!path.is_ascii() || path.to_string().is_ascii());
        assert_eq!(ForwardPath::parse(&path.to_string()), Ok(path));
    }
    // The machine cuts a path off its parameters before it reads it.
    if let Some(length) = path_len(text) {
        assert!(text.is_char_boundary(length) && text[..length].ends_with('>'));
        assert_eq!(path_len(&text[..length]), Some(length));
    }
}

fn is_domain(domain: &Domain) {
    let name = domain.as_str();
    assert!(name.len() <= DOMAIN_OCTETS && name.split('.').all(|label| (1..=LABEL_OCTETS).contains(&label.len())), "{name:?}");
    assert!(name.is_ascii() && name == name.to_ascii_lowercase(), "{name:?}");
}

fn is_host(host: &Host) {
    if let Host::Domain(domain) = host {
        is_domain(domain);
    }
}

fn is_mailbox(mailbox: &Mailbox) {
    is_host(mailbox.host());
    let local_part = mailbox.local_part();
    assert!((1..=LOCAL_PART_OCTETS).contains(&local_part.len()) && !local_part.contains(|c: char| c.is_ascii_control()));
    assert!(!mailbox.is_ascii() || mailbox.to_string().is_ascii());
}

/// As it was written and as it is written again: on one line, no longer, and ending at its bracket whatever follows.
fn is_path(written: &str, again: &str) {
    assert!(written.len() <= PATH_OCTETS && again.len() <= PATH_OCTETS && !again.contains(|c: char| c.is_ascii_control()));
    for path in [written, again] {
        assert_eq!(path_len(path), Some(path.len()), "{path:?}");
        assert_eq!(path_len(&format!("{path} SIZE=1>")), Some(path.len()), "{path:?}");
    }
}

/// Text, octets up to the end with it (none when it has not come), bare; the text in pieces.
fn decoded(wire: &[u8], cutting: &[u8]) -> (Vec<u8>, Option<usize>, bool) {
    let (mut decoder, mut text, mut used) = (Decoder::new(), Vec::new(), 0);
    for mut piece in pieces(wire, cutting) {
        while !piece.is_empty() {
            let step = decoder.decode(piece);
            assert!(step.used > 0, "no progress");
            text.extend_from_slice(step.text);
            piece = &piece[step.used..];
            used += step.used;
            if step.end {
                return (text, Some(used), decoder.bare());
            }
        }
    }
    (text, None, decoder.bare())
}

/// The input cut to lengths that go round; what is left when all of them are 0 comes whole.
fn pieces<'i>(mut input: &'i [u8], cutting: &'i [u8]) -> impl Iterator<Item = &'i [u8]> {
    let whole = cutting.iter().all(|length| *length == 0);
    let mut lengths = cutting.iter().copied().filter(|length| *length > 0).cycle();
    std::iter::from_fn(move || {
        let length = if whole { input.len() } else { lengths.next().map_or(0, usize::from) };
        let (piece, rest) = input.split_at(length.min(input.len()));
        input = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The lines that CRLF ends, without it, and what comes after the last.
fn split_lines(mut input: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut lines = Vec::new();
    while let Some(at) = input.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&input[..at]);
        input = &input[at + 2..];
    }
    (lines, input)
}

fn is_bare(text: &[u8]) -> bool {
    let (lines, rest) = split_lines(text);
    lines.concat().iter().chain(rest).any(|octet| matches!(octet, b'\r' | b'\n'))
}

/// Octets up to the line of one dot and with it.
fn end_of_text(wire: &[u8]) -> Option<usize> {
    let mut used = 0;
    for line in split_lines(wire).0 {
        used += line.len() + 2;
        if line == b"." {
            return Some(used);
        }
    }
    None
}

/// What dot-stuffed text without a bare octet means, as far as it has come.
fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let (lines, rest) = split_lines(wire);
    let mut text = Vec::new();
    for line in lines.into_iter().take_while(|line| *line != b".") {
        text.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        text.extend_from_slice(b"\r\n");
    }
    // A CR after the dot may belong to the end.
    text.extend_from_slice(if rest == b".\r" { b"" } else { rest.strip_prefix(b".").unwrap_or(rest) });
    text
}

/// The whole of an encoded text with its end.
fn stuffed_text(text: &[u8]) -> Vec<u8> {
    let (mut lines, rest) = split_lines(text);
    if !rest.is_empty() {
        lines.push(rest);
    }
    let mut wire = Vec::new();
    for line in lines {
        wire.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
        wire.extend_from_slice(line);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}
