//! The milter protocol's packets, version 6 (sendmail's libmilter): what we say, and what is answered.
//!
//! A packet is its length in four octets, a letter, and data. Pure. Answers are read in pieces of any size; none is longer than
//! [`DATA_OCTETS`]. What is not well formed or not known is a [`Fault`], after which nothing more is
//! read. Of an answer only what may stand in a reply or before a message gets out of here: see [`Refusal`] and [`Field`].

use bytes::{Buf, BufMut, BytesMut};

/// What a milter answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How it wants to be spoken to.
    Negotiated(Terms),
    /// The next, please.
    Continue,
    /// No more of this message: it is fine.
    Accept,
    /// No more of the body.
    Skip,
    /// It is still at it.
    Progress,
    /// The message is thrown away.
    Discard,
    /// It is refused.
    Refuse(Refusal),
    /// It is to be put out of sight.
    Quarantine,
    /// A field is put before it.
    Field(Field),
    /// Something of it is to be changed, by that letter.
    Change(u8),
}

/// What both sides of a conversation can do: bits that the protocol defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Of the protocol.
    pub version: u32,
    /// What the milter may ask for.
    pub actions: u32,
    /// What it is not told, and does not answer.
    pub protocol: u32,
}

/// A refusal in the milter's words, as far as they may go to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether trying again is of no use.
    pub permanent: bool,
    /// Printable ASCII on one line of [`TEXT_OCTETS`] at most, without codes; none where it says nothing, or nothing that is.
    pub text: Option<String>,
}

/// A field, well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its line, or lines, each ended by CRLF.
    pub line: String,
    /// Before which other of those it adds, counted from 1; none behind them all.
    pub place: Option<u32>,
}

/// What a milter must not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than an answer can be, or empty.
    #[error("it answers {0} octets")]
    Length(u32),
    /// A letter that the protocol does not have.
    #[error("it answers {:?}, which is not known", char::from(*.0))]
    Unknown(u8),
    /// Data that is not as the letter has it.
    #[error("its answer {:?} is not well formed", char::from(*.0))]
    Malformed(u8),
    /// A field that may not stand in a message.
    #[error("it adds a field that is not well formed, or has a line of more than 998 octets")]
    Field,
}

/// Reads answers.
#[derive(Debug, Default)]
pub struct Answers {
    input: BytesMut,
}

/// Appends a packet.
pub fn packet(out: &mut BytesMut, letter: u8, data: &[&[u8]]) {
    let octets = 1 + data.iter().map(|part| part.len()).sum::<usize>();
    out.put_u32(u32::try_from(octets).unwrap_or(u32::MAX));
    out.put_u8(letter);
    data.iter().for_each(|part| out.put_slice(part));
}

impl Terms {
    /// As the data of a packet.
    pub fn octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        let mut out = &mut octets[..];
        [self.version, self.actions, self.protocol].into_iter().for_each(|word| out.put_u32(word));
        octets
    }
}

impl Answers {
    /// Where the next octets of the connection go.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// The next answer, where all of it has come.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn read(&mut self) -> Result<Option<Answer>, Fault> {
        let Some(length) = self.input.first_chunk().copied().map(u32::from_be_bytes) else { return Ok(None) };
        let octets = usize::try_from(length).unwrap_or(usize::MAX);
        if !(1..=DATA_OCTETS + 1).contains(&octets) {
            return Err(Fault::Length(length));
        }
        if self.input.len() < 4 + octets {
            return Ok(None);
        }
        self.input.advance(4);
        let mut packet = self.input.split_to(octets);
        answer(packet.get_u8(), &packet).map(Some)
    }
}

fn answer(letter: u8, data: &[u8]) -> Result<Answer, Fault> {
    let refuse = |permanent| Answer::Refuse(Refusal { permanent, text: None });
    Ok(match letter {
        b'O' => Answer::Negotiated(terms(data).ok_or(Fault::Malformed(letter))?),
        b'a' => Answer::Accept,
        b'c' => Answer::Continue,
        b's' => Answer::Skip,
        b'p' => Answer::Progress,
        b'd' => Answer::Discard,
        b'r' => refuse(true),
        // To fail the connection, or to end the session, is not for one message to do.
        b't' | b'f' | b'4' => refuse(false),
        b'y' => Answer::Refuse(Refusal::read(data).ok_or(Fault::Malformed(letter))?),
        b'q' => Answer::Quarantine,
        b'h' => Answer::Field(field(data, None).ok_or(Fault::Field)?),
        b'i' => {
            let (place, data) = data.split_first_chunk().ok_or(Fault::Malformed(letter))?;
            Answer::Field(field(data, Some(u32::from_be_bytes(*place))).ok_or(Fault::Field)?)
        }
        b'm' | b'b' | b'e' | b'+' | b'2' | b'-' => Answer::Change(letter),
        _ => return Err(Fault::Unknown(letter)),
    })
}

/// The list of macros that may follow is not looked at: it gets all that there are.
fn terms(mut data: &[u8]) -> Option<Terms> {
    Some(Terms { version: data.try_get_u32().ok()?, actions: data.try_get_u32().ok()?, protocol: data.try_get_u32().ok()? })
}

impl Refusal {
    /// `550 5.7.1 Text`, in lines where there are several. The code must be one that refuses.
    fn read(data: &[u8]) -> Option<Self> {
        let text = data.strip_suffix(b"\0").unwrap_or(data);
        let (code, _) = text.split_first_chunk::<3>()?;
        let permanent = match code {
            [b'4', b'0'..=b'9', b'0'..=b'9'] => false,
            [b'5', b'0'..=b'9', b'0'..=b'9'] => true,
            _ => return None,
        };
        let class = if permanent { "5" } else { "4" };
        let lines: Option<Vec<&str>> =
            str::from_utf8(text).ok().and_then(|text| text.split("\r\n").map(|line| worded(line, code, class)).collect());
        let text =
            lines.map(|lines| lines.join(" ").replace("%%", "%")).map(|text| text.trim().chars().take(TEXT_OCTETS).collect::<String>());
        Some(Self { permanent, text: text.filter(|text| !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~'))) })
    }
}

/// One line of a reply without its codes; none where they are not those of the first, or do not fit together.
fn worded<'l>(line: &'l str, code: &[u8; 3], class: &str) -> Option<&'l str> {
    let rest = line.as_bytes().strip_prefix(code).and(line.get(code.len()..))?;
    let rest = match rest.strip_prefix([' ', '-']) {
        Some(rest) => rest,
        None if rest.is_empty() => return Some(rest),
        None => return None,
    };
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    let mut numbers = first.split('.');
    let is_number =
        |part: Option<&str>| part.is_some_and(|part| matches!(part.len(), 1..=3) && part.bytes().all(|octet| octet.is_ascii_digit()));
    let (of, subject, detail) = (numbers.next(), is_number(numbers.next()), is_number(numbers.next()));
    match (subject && detail && numbers.next().is_none() && is_number(of), of) {
        (true, Some(of)) if of == class => Some(after),
        (true, _) => None,
        (false, _) => Some(rest),
    }
}

/// Name and value, each ended by NUL (RFC 5322 §2.2). A value of several lines has LF between them, and each goes on with a blank.
fn field(data: &[u8], place: Option<u32>) -> Option<Field> {
    let mut parts = str::from_utf8(data.strip_suffix(b"\0")?).ok()?.split('\0');
    let (name, value) = (parts.next()?, parts.next()?);
    let is_name = (1..=NAME_OCTETS).contains(&name.len()) && name.bytes().all(|octet| matches!(octet, b'!'..=b'~') && octet != b':');
    if parts.next().is_some() || !is_name {
        return None;
    }
    let mut line = format!("{name}:");
    for (number, text) in value.split('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).enumerate() {
        let goes_on = text.starts_with([' ', '\t']);
        // A line of blanks alone may end a header, for those who are not exact.
        if text.chars().any(|c| c.is_control() && c != '\t')
            || text.len() > LINE_OCTETS - name.len()
            || (number > 0 && (!goes_on || text.trim().is_empty()))
        {
            return None;
        }
        line.push_str(if number == 0 && !goes_on { " " } else { "" });
        line.push_str(text);
        line.push_str("\r\n");
    }
    Some(Field { line, place })
}

/// The most data of a packet, either way.
pub const DATA_OCTETS: usize = 65_535;
/// So that a reply is one line of 200 octets.
pub const TEXT_OCTETS: usize = 180;
const NAME_OCTETS: usize = 76;
/// RFC 5322 §2.1.1, with a colon and a blank.
const LINE_OCTETS: usize = 996;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(letter: u8, data: &[u8]) -> Result<Answer, Fault> {
        let mut out = BytesMut::new();
        packet(&mut out, letter, &[data]);
        let mut whole = Answers::default();
        whole.input().put_slice(&out);
        let answer = whole.read();
        let mut pieces = Answers::default();
        for (number, octet) in out.iter().enumerate() {
            pieces.input().put_u8(*octet);
            if number + 1 < out.len() && answer != Err(Fault::Length(out.len() as u32 - 4)) {
                assert_eq!(pieces.read(), Ok(None));
            }
        }
        assert_eq!(pieces.read(), answer);
        answer.map(Option::unwrap)
    }

    #[test]
    fn a_refusal_is_worded_by_the_milter_as_far_as_it_is_clean() {
        for (text, permanent, worded) in [
            ("550 5.7.1 Go away", true, Some("Go away")),
            ("451 4.7.1 Come back", false, Some("Come back")),
            ("554 Go away", true, Some("Go away")),
            ("554-5.7.1 Go\r\n554 5.7.1 away", true, Some("Go away")),
            ("550 5.7.1 100%% spam", true, Some("100% spam")),
            ("550 4.7.1 The codes differ", true, None),
            ("554-5.7.1 Go\r\n250 2.0.0 away", true, None),
            ("550 5.7.1 a\r\nb", true, None),
            ("550 5.7.1 a\rb", true, None),
            ("550 5.7.1 \u{e4}", true, None),
            ("550 5.7.1", true, None),
            ("550", true, None),
            ("421 4.3.2 Bye", false, Some("Bye")),
        ] {
            let refusal = Refusal { permanent, text: worded.map(str::to_owned) };
            assert_eq!(read(b'y', format!("{text}\0").as_bytes()), Ok(Answer::Refuse(refusal)), "{text:?}");
        }
        for text in ["250 2.0.0 Fine", "", "55", "5x0 no", "\0"] {
            assert_eq!(read(b'y', text.as_bytes()), Err(Fault::Malformed(b'y')), "{text:?}");
        }
        let Ok(Answer::Refuse(long)) = read(b'y', format!("550 5.7.1 {}\0", "x".repeat(1000)).as_bytes()) else { panic!() };
        assert_eq!(long.text.unwrap().len(), TEXT_OCTETS);
    }

    #[test]
    fn a_field_is_well_formed_or_a_fault() {
        let line =
            |data: &str| read(b'h', data.as_bytes()).map(|answer| if let Answer::Field(field) = answer { field.line } else { panic!() });
        assert_eq!(line("X-Spam\0yes\0").unwrap(), "X-Spam: yes\r\n");
        assert_eq!(line("X-Spam\0 yes\n\tmore\r\n more\0").unwrap(), "X-Spam: yes\r\n\tmore\r\n more\r\n");
        assert_eq!(line("X\0\0").unwrap(), "X: \r\n");
        for data in [
            "",
            "X",
            "X\0",
            "X\0yes",
            "\0yes\0",
            "X Y\0yes\0",
            "X:\0yes\0",
            "X\0a\nFrom: b\0",
            "X\0a\n\n b\0",
            "X\0a\n \n b\0",
            "X\0a\rb\0",
            "X\0a\u{1}\0",
            "X\0a\0b\0",
        ] {
            assert_eq!(line(data), Err(Fault::Field), "{data:?}");
        }
        assert!(line(&format!("X\0{}\0", "x".repeat(LINE_OCTETS))).is_err());
        assert_eq!(read(b'i', b"\0\0\0\x01X\0y\0"), Ok(Answer::Field(Field { line: "X: y\r\n".into(), place: Some(1) })));
        assert_eq!(read(b'i', b"\0\0"), Err(Fault::Malformed(b'i')));
    }

    #[test]
    fn what_is_not_of_the_protocol_is_a_fault() {
        let terms = Terms { version: 6, actions: 0x21, protocol: 0x1f_ffff };
        let macros = [&terms.octets()[..], b"\0\0\0\x01j\0"].concat();
        assert_eq!(read(b'O', &macros), Ok(Answer::Negotiated(terms)));
        assert_eq!(read(b'O', b"\0\0\0\x06"), Err(Fault::Malformed(b'O')));
        assert_eq!(read(b'z', b""), Err(Fault::Unknown(b'z')));
        for letter in *b"mbe+2-" {
            assert_eq!(read(letter, b"x\0"), Ok(Answer::Change(letter)));
        }
        for octets in [0, DATA_OCTETS as u32 + 2, u32::MAX] {
            let mut answers = Answers::default();
            answers.input().put_u32(octets);
            assert_eq!(answers.read(), Err(Fault::Length(octets)));
        }
    }
}
