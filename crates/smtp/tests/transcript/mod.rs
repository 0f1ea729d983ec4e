//! Transcripts: SMTP dialogues that a postmaster can read, one behaviour a file. This is their format; it knows nothing of the
//! machine, so that the same files can be played over a socket.
//!
//! ```text
//! # What this shows, and where it is written.
//! Given: ehlo recipients=2
//! C: MAIL FROM:<a@client.example>
//! S: 250 2.1.0 ...
//! ```
//!
//! | line | |
//! | --- | --- |
//! | `#` | a remark |
//! | `Given:` | words about listener and connection, read by whoever plays it; before all others |
//! | `C:` | the client sends a line, CRLF added; lines up to the next that is not `C:`, `C>` or `A:` go in one write |
//! | `C>` | the same, nothing added |
//! | `S:` | the server sends this line; `...` stands for any text |
//! | `A:` | how the next question of a kind is answered: the kind, then `accept`, `drop` or a reply's name; AUTH's also `wrong`, `malformed`, `challenge` and its text |
//! | `Q:` | what was asked, or `refused` without a question, since the client's last write, in order, chunks left out |
//! | `M:` | the next line of the message as it was kept |
//! | `T:` | so much time passes: `T: 4m59s` |
//! | `X:` | what the server does: `closed`, `upgraded`, `drain` (it begins to), `place-needed` (the session is to give way) |
//!
//! In `C:` and `C>`, `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` are octets, and `{x*1000}` is a thousand times `x`.

use std::time::Duration;

/// A transcript.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// The words of `Given:`.
    pub(crate) given: Vec<String>,
    /// The lines, each with its number in the file.
    pub(crate) lines: Vec<(usize, Line)>,
}

/// One line of a transcript.
#[derive(Debug)]
pub(crate) enum Line {
    Client(Vec<u8>),
    Server(String),
    Answer { kind: String, verdict: String },
    Asked(String),
    Message(String),
    Passes(Duration),
    Closed,
    Upgraded,
    Drain,
    GiveWay,
}

impl Transcript {
    /// Reads a transcript. Panics at a line it does not understand, naming it.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut given, mut lines) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(words) = line.strip_prefix("Given:") {
                assert!(lines.is_empty(), "line {number}: Given: stands first");
                given.extend(words.split_whitespace().map(String::from));
                continue;
            }
            let (mark, rest) = line.split_at_checked(2).unwrap_or_else(|| panic!("line {number}: {line:?}"));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            lines.push((number, Line::parse(mark, rest).unwrap_or_else(|| panic!("line {number}: {line:?}"))));
        }
        Self { given, lines }
    }

    /// Whether it needs a machine that is told what to answer and what time it is.
    #[allow(dead_code, reason = "asked by those who play transcripts over a socket")]
    pub(crate) fn is_scripted(&self) -> bool {
        self.lines.iter().any(|(_, line)| !matches!(line, Line::Client(_) | Line::Server(_) | Line::Closed | Line::Upgraded))
    }
}

impl Line {
    fn parse(mark: &str, rest: &str) -> Option<Self> {
        Some(match mark {
            "C:" => Self::Client([octets(rest), b"\r\n".to_vec()].concat()),
            "C>" => Self::Client(octets(rest)),
            "S:" => Self::Server(rest.into()),
            "A:" => rest.split_once(' ').map(|(kind, verdict)| Self::Answer { kind: kind.into(), verdict: verdict.into() })?,
            "Q:" => Self::Asked(rest.into()),
            "M:" => Self::Message(rest.into()),
            "T:" => Self::Passes(rest.parse::<mail::Span>().ok()?.0),
            "X:" if rest == "closed" => Self::Closed,
            "X:" if rest == "upgraded" => Self::Upgraded,
            "X:" if rest == "drain" => Self::Drain,
            "X:" if rest == "place-needed" => Self::GiveWay,
            _ => return None,
        })
    }
}

/// Whether `line` is what `S:` says.
pub(crate) fn fits(expected: &str, line: &str) -> bool {
    match expected.split_once("...") {
        None => line == expected,
        Some((start, end)) => line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end),
    }
}

fn octets(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(c) = rest.chars().next() {
        let (octets, used) = escape(rest).unwrap_or_else(|| (rest.as_bytes()[..c.len_utf8()].to_vec(), c.len_utf8()));
        out.extend(octets);
        rest = &rest[used..];
    }
    out
}

/// An escape at the front of `text`: its octets, and how long it is.
fn escape(text: &str) -> Option<(Vec<u8>, usize)> {
    if let Some((what, times)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).and_then(|(inner, _)| inner.split_once('*')) {
        return Some((octets(what).repeat(times.parse().ok()?), what.len() + times.len() + 3));
    }
    let code = text.strip_prefix('\\')?;
    match code.chars().next()? {
        'r' => Some((vec![b'\r'], 2)),
        'n' => Some((vec![b'\n'], 2)),
        't' => Some((vec![b'\t'], 2)),
        '0' => Some((vec![0], 2)),
        '\\' => Some((vec![b'\\'], 2)),
        'x' => Some((vec![u8::from_str_radix(code.get(1..3)?, 16).ok()?], 4)),
        _ => None,
    }
}
