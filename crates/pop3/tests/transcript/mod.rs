//! Transcripts: POP3 dialogues that a postmaster can read, one behaviour a file. This is their format; it knows nothing of the
//! machine, so that the same files can be played over a socket: `#[path = ".../crates/pop3/tests/transcript/mod.rs"] mod transcript;`.
//!
//! ```text
//! # What this shows, and where it is written.
//! Given: tls
//! Given: message
//! M: Subject: one
//! C: USER mrose
//! S: +OK Send the password
//! ```
//!
//! | line | |
//! | --- | --- |
//! | `#` | a remark |
//! | `Given:` | words about listener and connection: `tls` (otherwise in clear), `no-stls`, `scram`, `no-exporter`, `external`, `tokens`, `certificate`, `login-delay=1m`, `whole` (octets must arrive together) |
//! | `Given: message` | one more message in the maildrop of `mrose`, whose password is `tanstaaf`; number n has the id whose number is n |
//! | `M:` | the message's next line; `M>` adds no CRLF |
//! | `C:` | the client sends a line, CRLF added; lines that follow each other go in one write. `C>` adds nothing |
//! | `S:` | the server's next line, exactly; `S>` without CRLF |
//! | `A:` | how the next question is answered: `auth` with `accept`, `wrong`, `temporary`, `drop`, `in-use`, `too-many-sessions`, `login-delay`, `malformed` or `challenge` and its text; `retrieve` with `unavailable` or `drop`; `read` with `fail-at-once` or, halfway, `fail`, `drop` or `end-early`; `update` with `fail` or `drop` |
//! | `T:` | so much time passes: `T: 4m59s` |
//! | `X:` | `closed` and `open`: the connection is; `upgraded`: the handshake after STLS; `drain`: the server begins to; `place-needed`: the session is to give way; `takeover`: a newer session has the maildrop; `deleted 1 2` or `deleted nothing`: the store has been told so |
//!
//! In `C`, `S` and `M`, `\r`, `\n`, `\0`, `\\` and `\xNN` are octets, and `{x*1000}` is a thousand times `x`.

/// A transcript.
pub(crate) struct Transcript {
    /// The words of `Given:`.
    pub(crate) given: Vec<String>,
    /// The maildrop, octet by octet.
    pub(crate) messages: Vec<Vec<u8>>,
    /// What happens, each with its line's number in the file.
    pub(crate) acts: Vec<(usize, Act)>,
}

/// One thing that happens.
#[derive(Debug)]
pub(crate) enum Act {
    /// The client sends these octets in one write.
    Client(Vec<u8>),
    /// The server says these octets next.
    Server(Vec<u8>),
    /// The next question is answered like that.
    Answer(String),
    /// So much time passes.
    Passes(String),
    /// The words of `X:`.
    Event(String),
}

impl Transcript {
    /// Reads a transcript. Panics at a line it does not understand, naming it.
    pub(crate) fn parse(text: &str) -> Self {
        let mut transcript = Self { given: vec![], messages: vec![], acts: vec![] };
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
            if line == "Given: message" {
                transcript.messages.push(Vec::new());
            } else if let Some(words) = line.strip_prefix("Given:") {
                transcript.given.extend(words.split_whitespace().map(String::from));
            } else if !line.is_empty() && !line.starts_with('#') {
                let (mark, rest) = line.split_at_checked(2).unwrap_or_else(|| panic!("line {number}: {line:?}"));
                transcript.act(number, mark, rest.strip_prefix(' ').unwrap_or(rest));
            }
        }
        transcript
    }

    /// Whether `Given:` says this word.
    pub(crate) fn is_given(&self, word: &str) -> bool {
        self.given.iter().any(|given| given == word)
    }

    /// Whether it needs a machine that is told what to answer and what time it is.
    pub(crate) fn is_scripted(&self) -> bool {
        self.acts.iter().any(|(_, act)| match act {
            Act::Client(_) | Act::Server(_) => false,
            Act::Answer(_) | Act::Passes(_) => true,
            Act::Event(event) => !matches!(event.as_str(), "closed" | "upgraded"),
        })
    }

    fn act(&mut self, number: usize, mark: &str, rest: &str) {
        let line = || [octets(rest), b"\r\n".to_vec()].concat();
        let act = match mark {
            "M:" => return self.messages.last_mut().unwrap().extend(line()),
            "M>" => return self.messages.last_mut().unwrap().extend(octets(rest)),
            "C:" => Act::Client(line()),
            "C>" => Act::Client(octets(rest)),
            "S:" => Act::Server(line()),
            "S>" => Act::Server(octets(rest)),
            "A:" => Act::Answer(rest.into()),
            "T:" => Act::Passes(rest.into()),
            "X:" => Act::Event(rest.into()),
            _ => panic!("line {number} is none of a transcript: {mark}{rest}"),
        };
        match (self.acts.last_mut(), act) {
            (Some((_, Act::Client(group))), Act::Client(more)) => group.extend(more),
            (_, act) => self.acts.push((number, act)),
        }
    }
}

/// The octets a line stands for.
fn octets(mut rest: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    while let Some(first) = rest.chars().next() {
        let braces = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let used = match (braces.and_then(|(inner, tail)| Some((inner.rsplit_once('*')?, tail))), rest.as_bytes()) {
            (Some(((unit, times), tail)), _) => {
                octets.extend(unit.repeat(times.parse().unwrap()).into_bytes());
                rest.len() - tail.len()
            }
            (None, [b'\\', b'x', ..]) => {
                octets.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                4
            }
            (None, [b'\\', escaped, ..]) => {
                octets.push(match escaped {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'0' => 0,
                    other => *other,
                });
                2
            }
            _ => {
                octets.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[used..];
    }
    octets
}
