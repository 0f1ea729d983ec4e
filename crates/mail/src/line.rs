//! Lines as SMTP and POP3 write them: ended by CRLF and by nothing else (RFC 5321 §2.3.8).
//!
//! A bare CR or LF is an octet of the line it stands in, so that no two readers can disagree where a line ends. A line longer
//! than the limit is thrown away as it arrives, in bounded memory, and reported once, when it has ended.

use memchr::memchr_iter;

/// Takes lines from the front of whatever has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    line_octets: usize,
    overlong: bool,
}

/// What stands at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'i> {
    /// A whole line, CRLF taken off; `used` octets of input are done with.
    Text {
        /// The line without its CRLF.
        text: &'i [u8],
        /// Octets to take off the input.
        used: usize,
    },
    /// A line that was longer than the limit has ended; `used` octets of input are done with.
    Overlong {
        /// Octets to take off the input.
        used: usize,
    },
    /// No whole line yet; `used` octets (of an overlong line, otherwise none) are done with.
    Partial {
        /// Octets to take off the input.
        used: usize,
    },
}

impl Lines {
    /// Lines of at most `line_octets` octets, CRLF included.
    pub fn new(line_octets: usize) -> Self {
        Self { line_octets, overlong: false }
    }

    /// Looks at the front of `input`. The caller takes off the octets named in the answer before it asks again.
    pub fn next<'i>(&mut self, input: &'i [u8]) -> Line<'i> {
        let end = memchr_iter(b'\n', input).find(|&at| at > 0 && input.get(at - 1) == Some(&b'\r'));
        match end {
            Some(_) if std::mem::take(&mut self.overlong) => Line::Overlong { used: end.map_or(0, |at| at + 1) },
            Some(at) if at >= self.line_octets => Line::Overlong { used: at + 1 },
            Some(at) => Line::Text { text: input.get(..at - 1).unwrap_or_default(), used: at + 1 },
            // The last octet stays: it may be the CR of the CRLF that ends the overlong line.
            None if self.overlong || input.len() >= self.line_octets => {
                self.overlong = true;
                Line::Partial { used: input.len().saturating_sub(1) }
            }
            None => Line::Partial { used: 0 },
        }
    }
}

/// Watches octets that pass in pieces for a CR without LF or an LF without CR.
#[derive(Debug, Clone, Copy, Default)]
pub struct BareWatch {
    after_cr: bool,
    bare: bool,
}

impl BareWatch {
    /// Looks at the next piece.
    pub fn watch(&mut self, piece: &[u8]) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return };
        self.bare |= self.after_cr != (*first == b'\n') || has_bare(piece);
        self.after_cr = *last == b'\r';
    }

    /// Whether all octets so far, as a whole text, hold a bare CR or LF.
    pub fn found(&self) -> bool {
        self.bare || self.after_cr
    }
}

/// Whether a CR is followed by another octet than LF, or an LF follows another than CR. Has no branches: a processor looks at many at a time.
pub(crate) fn has_bare(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.get(1..).unwrap_or_default());
    pairs.fold(false, |bare, (octet, next)| bare | ((*octet == b'\r') != (*next == b'\n')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limit: usize, input: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let (mut reader, mut buffer, mut seen) = (Lines::new(limit), Vec::new(), Vec::new());
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                let (used, more) = match reader.next(&buffer) {
                    Line::Text { text, used } => {
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
                if !more {
                    break;
                }
            }
            assert!(buffer.len() < limit.max(step + 1), "memory is bounded");
        }
        seen
    }

    #[test]
    fn only_crlf_ends_a_line_however_it_arrives() {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(64, b"a\nb\rc\r\n\r\nlast\r\nrest", step), [Some(b"a\nb\rc".to_vec()), Some(vec![]), Some(b"last".to_vec())]);
            assert_eq!(lines(64, b"\nx\r\n", step), [Some(b"\nx".to_vec())]);
        }
    }

    #[test]
    fn an_overlong_line_is_reported_once_and_the_next_is_whole() {
        for step in [1, 2, 3, 7, 1000] {
            let input = [&[b'x'; 100][..], b"\r\nok\r\n12345678\r\n123456789\r\n"].concat();
            assert_eq!(lines(10, &input, step), [None, Some(b"ok".to_vec()), Some(b"12345678".to_vec()), None]);
        }
    }

    #[test]
    fn bare_octets_are_found_however_they_arrive() {
        for (text, bare) in [
            (&b"a\r\nb\r\n"[..], false),
            (b"", false),
            (b"a", false),
            (b"a\nb", true),
            (b"a\rb", true),
            (b"\r\r\n", true),
            (b"\r\n\n", true),
            (b"end\r", true),
        ] {
            for step in [1, 2, 3, 7] {
                let mut watch = BareWatch::default();
                text.chunks(step).for_each(|piece| watch.watch(piece));
                assert_eq!(watch.found(), bare, "{text:?} by {step}");
            }
        }
    }
}
