//! Command lines, read strictly: RFC 1939 §3 with the extensions' commands.
//!
//! Keywords in any case, arguments separated by spaces; spaces at the end are ignored, except for USER and PASS, whose argument is
//! the whole rest of the line (a password may hold spaces, RFC 1939 §7). A message number is a string of digits without a sign; one
//! too large to be a number of ours is a number no message has. CR, LF and NUL stand in no command.

use crate::reply::Refusal;

/// A command and its arguments, borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command<'l> {
    User(&'l str),
    Pass(&'l [u8]),
    Auth { mechanism: Option<&'l [u8]>, initial: Option<&'l [u8]> },
    Capa,
    Stls,
    Utf8,
    Quit,
    Stat,
    List(Option<u32>),
    Uidl(Option<u32>),
    Retr(u32),
    Top { number: u32, lines: u64 },
    Dele(u32),
    Noop,
    Rset,
}

impl<'l> Command<'l> {
    /// Reads a line, its CRLF taken off.
    pub(crate) fn parse(line: &'l [u8]) -> Result<Self, Refusal> {
        if line.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return Err(Refusal::BadCharacters);
        }
        let space = line.iter().position(|&octet| octet == b' ');
        let (keyword, rest) = match space {
            Some(at) => (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default()),
            None => (line, &[][..]),
        };
        let mut word = [0; KEYWORD_OCTETS];
        let upper = word.get_mut(..keyword.len()).ok_or(Refusal::UnknownCommand)?;
        upper.copy_from_slice(keyword);
        upper.make_ascii_uppercase();
        let mut arguments = Arguments(rest);
        match &*upper {
            b"USER" if rest.is_empty() => Err(Refusal::Usage("USER name")),
            b"USER" => std::str::from_utf8(rest).map(Self::User).map_err(|_| Refusal::NameNotUtf8),
            b"PASS" if space.is_none() => Err(Refusal::Usage("PASS password")),
            b"PASS" => Ok(Self::Pass(rest)),
            b"AUTH" => arguments.up_to_two("AUTH [mechanism [response]]").map(|[mechanism, initial]| Self::Auth { mechanism, initial }),
            b"LIST" => arguments.optional_number("LIST [message]").map(Self::List),
            b"UIDL" => arguments.optional_number("UIDL [message]").map(Self::Uidl),
            b"RETR" => arguments.one_number("RETR message").map(Self::Retr),
            b"DELE" => arguments.one_number("DELE message").map(Self::Dele),
            b"TOP" => match arguments.up_to_two("TOP message lines")? {
                [Some(number), Some(lines)] => number_of(number).zip(lines_of(lines)).map(|(number, lines)| Self::Top { number, lines }),
                _ => None,
            }
            .ok_or(Refusal::Usage("TOP message lines")),
            plain => {
                let command = Self::without_arguments(plain).ok_or(Refusal::UnknownCommand)?;
                if arguments.next().is_some() { Err(Refusal::NoArguments) } else { Ok(command) }
            }
        }
    }

    fn without_arguments(keyword: &[u8]) -> Option<Self> {
        Some(match keyword {
            b"CAPA" => Self::Capa,
            b"STLS" => Self::Stls,
            b"UTF8" => Self::Utf8,
            b"QUIT" => Self::Quit,
            b"STAT" => Self::Stat,
            b"NOOP" => Self::Noop,
            b"RSET" => Self::Rset,
            _ => return None,
        })
    }
}

/// What follows the keyword and its space.
struct Arguments<'l>(&'l [u8]);

impl<'l> Arguments<'l> {
    fn next(&mut self) -> Option<&'l [u8]> {
        let start = self.0.iter().position(|&octet| octet != b' ')?;
        let rest = self.0.get(start..)?;
        let (word, tail) = rest.split_at(rest.iter().position(|&octet| octet == b' ').unwrap_or(rest.len()));
        self.0 = tail;
        Some(word)
    }

    /// Up to two arguments, and no third.
    fn up_to_two(&mut self, usage: &'static str) -> Result<[Option<&'l [u8]>; 2], Refusal> {
        let both = [self.next(), self.next()];
        if self.next().is_some() { Err(Refusal::Usage(usage)) } else { Ok(both) }
    }

    fn optional_number(&mut self, usage: &'static str) -> Result<Option<u32>, Refusal> {
        match self.up_to_two(usage)? {
            [None, _] => Ok(None),
            [Some(word), None] => number_of(word).map(Some).ok_or(Refusal::Usage(usage)),
            _ => Err(Refusal::Usage(usage)),
        }
    }

    fn one_number(&mut self, usage: &'static str) -> Result<u32, Refusal> {
        self.optional_number(usage)?.ok_or(Refusal::Usage(usage))
    }
}

/// The longest keyword there is.
const KEYWORD_OCTETS: usize = 4;

/// A message number; 0, which no message has, stands for those too large.
fn number_of(word: &[u8]) -> Option<u32> {
    lines_of(word).map(|number| u32::try_from(number).unwrap_or(0))
}

/// Digits and nothing else; as many as they please.
fn lines_of(word: &[u8]) -> Option<u64> {
    let digit = |octet: &u8| octet.is_ascii_digit().then(|| u64::from(octet - b'0'));
    word.iter().try_fold(0u64, |number, octet| digit(octet).map(|digit| number.saturating_mul(10).saturating_add(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_as_they_are_written() {
        for (line, meant) in [
            (&b"stat"[..], Command::Stat),
            (b"STAT  ", Command::Stat),
            (b"List", Command::List(None)),
            (b"LIST ", Command::List(None)),
            (b"LIST 2", Command::List(Some(2))),
            (b"LIST  002 ", Command::List(Some(2))),
            (b"LIST 99999999999999999999999", Command::List(Some(0))),
            (b"TOP 1 0", Command::Top { number: 1, lines: 0 }),
            (b"TOP 1 99999999999999999999999", Command::Top { number: 1, lines: u64::MAX }),
            (b"USER a b ", Command::User("a b ")),
            (b"USER j\xc3\xbcrgen", Command::User("jürgen")),
            (b"PASS ", Command::Pass(b"")),
            (b"PASS  two  spaces ", Command::Pass(b" two  spaces ")),
            (b"PASS \xff\xfe", Command::Pass(b"\xff\xfe")),
            (b"auth", Command::Auth { mechanism: None, initial: None }),
            (b"AUTH PLAIN =", Command::Auth { mechanism: Some(b"PLAIN"), initial: Some(b"=") }),
        ] {
            assert_eq!(Command::parse(line), Ok(meant), "{line:?}");
        }
    }

    #[test]
    fn commands_that_are_wrong() {
        for (line, why) in [
            (&b""[..], Refusal::UnknownCommand),
            (b" STAT", Refusal::UnknownCommand),
            (b"STATUS", Refusal::UnknownCommand),
            (b"STA", Refusal::UnknownCommand),
            (b"STAT\t", Refusal::UnknownCommand),
            (b"APOP mrose c4c9334bac560ecc979e58001b3e22fb", Refusal::UnknownCommand),
            (b"STAT 1", Refusal::NoArguments),
            (b"QUIT now", Refusal::NoArguments),
            (b"LIST +1", Refusal::Usage("LIST [message]")),
            (b"LIST -1", Refusal::Usage("LIST [message]")),
            (b"LIST 1 2", Refusal::Usage("LIST [message]")),
            (b"LIST 0x1", Refusal::Usage("LIST [message]")),
            (b"LIST 1\t", Refusal::Usage("LIST [message]")),
            (b"RETR", Refusal::Usage("RETR message")),
            (b"DELE one", Refusal::Usage("DELE message")),
            (b"TOP 1", Refusal::Usage("TOP message lines")),
            (b"TOP 1 2 3", Refusal::Usage("TOP message lines")),
            (b"TOP 1 -1", Refusal::Usage("TOP message lines")),
            (b"USER", Refusal::Usage("USER name")),
            (b"USER ", Refusal::Usage("USER name")),
            (b"USER \xff", Refusal::NameNotUtf8),
            (b"PASS", Refusal::Usage("PASS password")),
            (b"PASS a\0b", Refusal::BadCharacters),
            (b"STAT\nQUIT", Refusal::BadCharacters),
            (b"STAT\r", Refusal::BadCharacters),
        ] {
            assert_eq!(Command::parse(line), Err(why), "{line:?}");
        }
    }
}
