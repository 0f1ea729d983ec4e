//! One conversation with a milter, from its terms to its last word.
//!
//! Every step is told as far as the terms go. Refuses what is out of place, what is longer than the protocol has room for, and more fields than
//! [`FIELDS_OCTETS`]: an [`Error`], after which the connection is of no use. Dropping a future leaves it of no use, too.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::wire::{Answer, Answers, DATA_OCTETS, Fault, Field, Refusal, Terms, packet};
use super::{Client, Told};
use crate::dns::Unanswered;
use crate::http::Source;
use crate::letter::Letter;
use crate::reading::HEADER_OCTETS;
use crate::screening::Found;
use crate::verdict::{Outcome, Verdict};

/// Why a milter has not said what it finds.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("it answers {0}, which nobody has asked for")]
    OutOfPlace(&'static str),
    #[error("it speaks version {0} of the protocol: 2 to 6 are spoken here")]
    Version(u32),
    #[error("it wants to change the message ({:?}), which is not done here", char::from(*.0))]
    Change(u8),
    #[error("it adds more than {FIELDS_OCTETS} octets")]
    Fields,
    #[error("a field is longer than its protocol has room for")]
    TooLong,
    #[error("the message cannot be read again: {0}")]
    Unreadable(String),
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// One conversation.
pub(super) struct Conversation {
    stream: Box<dyn Stream>,
    answers: Answers,
    output: BytesMut,
    /// What was agreed on.
    protocol: u32,
    quarantined: bool,
    added: Vec<String>,
    octets: usize,
}

/// What a milter has said for good.
pub(super) enum Last {
    Accept,
    Discard,
    Refuse(Refusal),
}

impl Conversation {
    /// Agrees on terms.
    pub(super) async fn begin(stream: Box<dyn Stream>) -> Result<Self, Error> {
        let (answers, output) = (Answers::default(), BytesMut::new());
        let mut conversation = Self { stream, answers, output, protocol: 0, quarantined: false, added: Vec::new(), octets: 0 };
        conversation.say(b'O', &[&OFFERED.octets()]).await?;
        let Answer::Negotiated(Terms { version, protocol, .. }) = conversation.hear().await? else {
            return Err(Error::OutOfPlace("something else than its terms"));
        };
        if !(2..=OFFERED.version).contains(&version) {
            return Err(Error::Version(version));
        }
        // Some ask for everything, and then do no more than they may: what counts is what they do.
        conversation.protocol = protocol & OFFERED.protocol;
        Ok(conversation)
    }

    /// Tells it everything it wants to know.
    pub(super) async fn tell(&mut self, client: Client<'_>, letter: &mut Letter<'_>) -> Result<Last, Error> {
        let Client { host, sender, name } = client;
        let ip = sender.ip.to_string();
        let family: &[u8] = if sender.ip.is_ipv4() { b"4\0\0" } else { b"6\0\0" };
        let connects = name.confirmed.as_ref().map_or_else(|| format!("[{ip}]"), |name| name.as_str().to_owned());
        let mut macros = vec![("j", host), ("{daemon_name}", "gatepost"), ("{client_addr}", &ip)];
        macros.extend(name.confirmed.as_ref().map(|name| ("{client_name}", name.as_str())));
        macros.extend(name.claimed.as_ref().map(|name| ("{client_ptr}", name.as_str())));
        self.macros(b'C', &macros);
        if let Some(last) = self.step(&CONNECT, &[connects.as_bytes(), b"\0", family, ip.as_bytes(), b"\0"]).await? {
            return Ok(last);
        }
        if let Some(last) = self.step(&HELO, &[sender.helo.as_bytes(), b"\0"]).await? {
            return Ok(last);
        }
        let mut macros = vec![("i", letter.id), ("{mail_addr}", sender.mail_from.as_str())];
        macros.extend(letter.user.map(|user| ("{auth_authen}", user)));
        self.macros(b'M', &macros);
        if let Some(last) = self.step(&MAIL, &[b"<", sender.mail_from.as_bytes(), b">\0"]).await? {
            return Ok(last);
        }
        for recipient in letter.recipients {
            self.macros(b'R', &[("i", letter.id), ("{rcpt_addr}", recipient)]);
            if let Some(last) = self.step(&RCPT, &[b"<", recipient.as_bytes(), b">\0"]).await? {
                return Ok(last);
            }
        }
        if let Some(last) = self.step(&DATA, &[]).await? {
            return Ok(last);
        }
        self.text(letter).await
    }

    /// Header and body, and its last word.
    async fn text(&mut self, letter: &mut Letter<'_>) -> Result<Last, Error> {
        let (header, mut from) = header(&mut *letter.text).await?;
        for (name, value) in fields(&header) {
            let value = if self.has(LEADING_BLANKS) { value } else { value.strip_prefix(b" ").unwrap_or(value) };
            let value: Vec<u8> = value.iter().copied().filter(|octet| *octet != b'\r').collect();
            if let Some(last) = self.step(&HEADER, &[name, b"\0", &value, b"\0"]).await? {
                return Ok(last);
            }
        }
        if let Some(last) = self.step(&END_OF_HEADER, &[]).await? {
            return Ok(last);
        }
        while !self.has(BODY.untold) {
            let piece = read(&mut *letter.text, from).await?;
            let chunk = piece.get(..DATA_OCTETS).unwrap_or(&piece);
            if chunk.is_empty() {
                break;
            }
            from += chunk.len() as u64;
            match self.ask(&BODY, &[chunk]).await? {
                Answer::Skip if self.has(SKIPS) => break,
                answer => {
                    if let Some(last) = last(answer)? {
                        return Ok(last);
                    }
                }
            }
        }
        self.macros(b'E', &[("i", letter.id)]);
        self.say(b'E', &[]).await?;
        self.last_word().await
    }

    /// What it says to the end of the message, after what it adds.
    async fn last_word(&mut self) -> Result<Last, Error> {
        let mut changed = None;
        loop {
            match self.hear().await? {
                Answer::Field(field) => self.add(field)?,
                Answer::Quarantine => self.quarantined = true,
                Answer::Change(letter) => changed = Some(letter),
                answer => {
                    return match (last(answer)?.unwrap_or(Last::Accept), changed) {
                        (Last::Accept, Some(letter)) => Err(Error::Change(letter)),
                        (last, _) => Ok(last),
                    };
                }
            }
        }
    }

    fn add(&mut self, Field { line, place }: Field) -> Result<(), Error> {
        self.octets += line.len();
        if self.octets > FIELDS_OCTETS {
            return Err(Error::Fields);
        }
        let place = place.and_then(|place| usize::try_from(place).ok()).map_or(usize::MAX, |place| place.saturating_sub(1));
        self.added.insert(place.min(self.added.len()), line);
        Ok(())
    }

    /// One step, where it wants to be told; its last word, where it has one.
    async fn step(&mut self, step: &Step, data: &[&[u8]]) -> Result<Option<Last>, Error> {
        last(self.ask(step, data).await?)
    }

    async fn ask(&mut self, step: &Step, data: &[&[u8]]) -> Result<Answer, Error> {
        if self.has(step.untold) {
            return Ok(Answer::Continue);
        }
        if data.iter().map(|part| part.len()).sum::<usize>() > DATA_OCTETS {
            return Err(Error::TooLong);
        }
        self.say(step.letter, data).await?;
        if self.has(step.unanswered) { Ok(Answer::Continue) } else { self.hear().await }
    }

    /// What is known besides; goes out with the step it is for.
    fn macros(&mut self, letter: u8, macros: &[(&str, &str)]) {
        let mut data: Vec<&[u8]> = vec![std::slice::from_ref(&letter)];
        for (name, value) in macros {
            data.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        packet(&mut self.output, b'D', &data);
    }

    pub(super) async fn say(&mut self, letter: u8, data: &[&[u8]]) -> Result<(), Error> {
        packet(&mut self.output, letter, data);
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next answer; while it is at work it says so, and is waited for.
    async fn hear(&mut self) -> Result<Answer, Error> {
        loop {
            match self.answers.read()? {
                Some(Answer::Progress) => {}
                Some(answer) => return Ok(answer),
                None => {
                    let input = self.answers.input();
                    input.reserve(READ_OCTETS);
                    if self.stream.read_buf(&mut input.limit(READ_OCTETS)).await? == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                }
            }
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.protocol & bit != 0
    }

    pub(super) fn told(self, last: Last) -> Told {
        let (policy, said, detail) = match last {
            Last::Accept if self.quarantined => (Verdict::Quarantine, None, "it quarantines the message".into()),
            Last::Accept => (Verdict::Accept, None, "it accepts".into()),
            Last::Discard => (Verdict::Discard, None, "it discards the message".into()),
            Last::Refuse(Refusal { permanent, text }) => {
                let policy = if permanent { Verdict::Reject } else { Verdict::Defer };
                let detail = format!("it says {}: {}", policy.as_str(), text.as_deref().unwrap_or("nothing more"));
                (policy, text, detail)
            }
        };
        let outcome = if policy == Verdict::Accept { Outcome::Pass } else { Outcome::Fail };
        Told { found: Found { policy, said, ..Found::new(outcome, detail) }, fields: self.added.concat() }
    }
}

/// What an answer means in the middle of a conversation.
fn last(answer: Answer) -> Result<Option<Last>, Error> {
    match answer {
        Answer::Continue => Ok(None),
        Answer::Accept => Ok(Some(Last::Accept)),
        Answer::Discard => Ok(Some(Last::Discard)),
        Answer::Refuse(refusal) => Ok(Some(Last::Refuse(refusal))),
        Answer::Negotiated(_) => Err(Error::OutOfPlace("terms")),
        Answer::Skip => Err(Error::OutOfPlace("\"skip\"")),
        Answer::Field(_) | Answer::Quarantine | Answer::Change(_) => Err(Error::OutOfPlace("a change before the end of the message")),
        Answer::Progress => Ok(None),
    }
}

/// The header, its blank line included, and where the body begins.
async fn header(text: &mut dyn Source) -> Result<(Vec<u8>, u64), Error> {
    let mut header = Vec::new();
    loop {
        let seam = header.len().saturating_sub(3);
        let piece = read(text, header.len() as u64).await?;
        header.extend_from_slice(&piece);
        let end = if header.starts_with(b"\r\n") {
            Some(2)
        } else {
            memchr::memmem::find(header.get(seam..).unwrap_or_default(), b"\r\n\r\n").map(|at| seam + at + 4)
        };
        match end {
            Some(end) => header.truncate(end),
            None if piece.is_empty() => {}
            None if header.len() > HEADER_OCTETS => return Err(Error::TooLong),
            None => continue,
        }
        let octets = header.len() as u64;
        return Ok((header, octets));
    }
}

/// Names and values, as they are.
fn fields(header: &[u8]) -> Vec<(&[u8], &[u8])> {
    let (mut fields, mut rest) = (Vec::new(), header);
    while !rest.is_empty() {
        let ends = memchr::memchr_iter(b'\n', rest).find(|end| !matches!(rest.get(end + 1), Some(b' ' | b'\t')));
        let (field, after) = rest.split_at_checked(ends.map_or(rest.len(), |end| end + 1)).unwrap_or((rest, &[]));
        rest = after;
        let field = field.strip_suffix(b"\n").unwrap_or(field);
        let field = field.strip_suffix(b"\r").unwrap_or(field);
        if let Some((name, value)) = memchr::memchr(b':', field).and_then(|at| field.split_at_checked(at)) {
            fields.push((name.trim_ascii_end(), value.get(1..).unwrap_or_default()));
        }
    }
    fields
}

async fn read(text: &mut dyn Source, from: u64) -> Result<Bytes, Error> {
    text.read(from).await.map_err(Error::Unreadable)
}

/// A letter of ours, and the bits by which a milter does not want to hear it, or to answer.
struct Step {
    letter: u8,
    untold: u32,
    unanswered: u32,
}

const CONNECT: Step = Step { letter: b'C', untold: 0x1, unanswered: 0x1000 };
const HELO: Step = Step { letter: b'H', untold: 0x2, unanswered: 0x2000 };
const MAIL: Step = Step { letter: b'M', untold: 0x4, unanswered: 0x4000 };
const RCPT: Step = Step { letter: b'R', untold: 0x8, unanswered: 0x8000 };
const DATA: Step = Step { letter: b'T', untold: 0x200, unanswered: 0x1_0000 };
const HEADER: Step = Step { letter: b'L', untold: 0x20, unanswered: 0x80 };
const END_OF_HEADER: Step = Step { letter: b'N', untold: 0x40, unanswered: 0x4_0000 };
const BODY: Step = Step { letter: b'B', untold: 0x10, unanswered: 0x8_0000 };
/// Of what is unknown to SMTP it is told nothing anyway.
const NO_UNKNOWN: u32 = 0x100;
const NO_UNKNOWN_ANSWER: u32 = 0x2_0000;
/// It may have had enough of a body.
const SKIPS: u32 = 0x400;
/// Values are told with the blanks they begin with.
const LEADING_BLANKS: u32 = 0x10_0000;
/// Adding fields, and quarantine. To change fields is among them because opendkim goes away where it is not, and mostly does not do it.
const ACTIONS: u32 = 0x1 | 0x10 | 0x20;
const OFFERED: Terms = Terms {
    version: 6,
    actions: ACTIONS,
    protocol: CONNECT.untold
        | CONNECT.unanswered
        | HELO.untold
        | HELO.unanswered
        | MAIL.untold
        | MAIL.unanswered
        | RCPT.untold
        | RCPT.unanswered
        | DATA.untold
        | DATA.unanswered
        | HEADER.untold
        | HEADER.unanswered
        | END_OF_HEADER.untold
        | END_OF_HEADER.unanswered
        | BODY.untold
        | BODY.unanswered
        | NO_UNKNOWN
        | NO_UNKNOWN_ANSWER
        | SKIPS
        | LEADING_BLANKS,
};
/// What one milter may add.
const FIELDS_OCTETS: usize = 64 << 10;
const READ_OCTETS: usize = 4096;
