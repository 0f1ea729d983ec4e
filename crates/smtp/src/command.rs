//! A command line taken apart: the verb, and what stands behind it (RFC 5321 §4.1.1).
//!
//! Verbs are matched whatever their case. White space before the line's end is tolerated (RFC 5321 §4.1.1). A line that holds a
//! bare CR or LF, a NUL, or octets that are not UTF-8 is no command. Nothing is allocated.

use memchr::memchr3;

use crate::Reply;

/// One command; texts are trimmed on both sides.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command<'l> {
    Ehlo(&'l str),
    Helo(&'l str),
    Lhlo(&'l str),
    Mail(&'l str),
    Rcpt(&'l str),
    Data,
    Bdat(BdatSize),
    Rset,
    Noop,
    Vrfy,
    Help,
    Quit,
    StartTls,
    Auth { mechanism: &'l str, initial: Option<&'l str> },
    Xclient(&'l str),
}

/// What stands behind BDAT (RFC 3030 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BdatSize {
    pub(crate) octets: u64,
    pub(crate) last: bool,
}

/// Why a line is not a command to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answered, and the next line is read.
    Wrong(Reply),
    /// BDAT whose size is not understood: nobody knows where the next command begins.
    Astray(Reply),
}

impl<'l> Command<'l> {
    /// Reads a line without its CRLF.
    pub(crate) fn parse(line: &'l [u8]) -> Result<Self, Fault> {
        if memchr3(b'\r', b'\n', 0, line).is_some() {
            return Err(Fault::Wrong(Reply::NOT_A_LINE));
        }
        let line = str::from_utf8(line).map_err(|_| Fault::Wrong(Reply::NOT_A_LINE))?;
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start_matches(' ');
        let alone = |command| if rest.is_empty() { Ok(command) } else { Err(Fault::Wrong(Reply::ARGUMENTS_WRONG)) };
        match &upper(verb) {
            b"EHLO\0\0\0\0" => Ok(Self::Ehlo(rest)),
            b"HELO\0\0\0\0" => Ok(Self::Helo(rest)),
            b"LHLO\0\0\0\0" => Ok(Self::Lhlo(rest)),
            b"MAIL\0\0\0\0" => Ok(Self::Mail(rest)),
            b"RCPT\0\0\0\0" => Ok(Self::Rcpt(rest)),
            b"DATA\0\0\0\0" => alone(Self::Data),
            b"BDAT\0\0\0\0" => BdatSize::parse(rest).map(Self::Bdat).ok_or(Fault::Astray(Reply::ARGUMENTS_WRONG)),
            b"RSET\0\0\0\0" => alone(Self::Rset),
            b"NOOP\0\0\0\0" => Ok(Self::Noop),
            b"QUIT\0\0\0\0" => alone(Self::Quit),
            b"VRFY\0\0\0\0" if rest.is_empty() => Err(Fault::Wrong(Reply::ARGUMENTS_WRONG)),
            b"VRFY\0\0\0\0" => Ok(Self::Vrfy),
            b"HELP\0\0\0\0" => Ok(Self::Help),
            b"AUTH\0\0\0\0" => Self::auth(rest),
            b"STARTTLS" => alone(Self::StartTls),
            b"XCLIENT\0" => Ok(Self::Xclient(rest)),
            b"EXPN\0\0\0\0" | b"TURN\0\0\0\0" | b"ETRN\0\0\0\0" | b"ATRN\0\0\0\0" | b"SEND\0\0\0\0" | b"SOML\0\0\0\0" | b"SAML\0\0\0\0" => {
                Err(Fault::Wrong(Reply::NOT_IMPLEMENTED))
            }
            _ => Err(Fault::Wrong(Reply::UNKNOWN_COMMAND)),
        }
    }

    fn auth(rest: &'l str) -> Result<Self, Fault> {
        let (mechanism, initial) = rest.split_once(' ').map_or((rest, None), |(mechanism, initial)| (mechanism, Some(initial)));
        let initial = initial.map(|text| text.trim_start_matches(' '));
        if mechanism.is_empty() || initial.is_some_and(|text| text.contains(' ')) {
            return Err(Fault::Wrong(Reply::ARGUMENTS_WRONG));
        }
        Ok(Self::Auth { mechanism, initial })
    }

    /// Whether the client has to wait for the reply before it sends anything (RFC 2920 §3.1, RFC 3207 §4, RFC 4954 §4), or for the greeting that answers
    /// XCLIENT. What is
    /// sent behind the other commands that RFC 2920 wants last (NOOP, VRFY, EXPN, HELP, QUIT) can be misread by nobody, and is
    /// answered in its turn.
    pub(crate) fn is_last_of_its_group(&self) -> bool {
        matches!(self, Self::Ehlo(_) | Self::Helo(_) | Self::Lhlo(_) | Self::Data | Self::Auth { .. } | Self::StartTls | Self::Xclient(_))
    }
}

/// Whether input begins with an AUTH command, whose line may be longer than others and holds a password.
pub(crate) fn begins_auth(input: &[u8]) -> bool {
    input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

impl BdatSize {
    /// `chunk-size [SP "LAST"]`
    fn parse(rest: &str) -> Option<Self> {
        let (size, mark) = rest.split_once(' ').map_or((rest, None), |(size, mark)| (size, Some(mark)));
        let last = match mark {
            None => false,
            Some(mark) if mark.trim_start_matches(' ').eq_ignore_ascii_case("LAST") => true,
            Some(_) => return None,
        };
        let octets = size.bytes().all(|digit| digit.is_ascii_digit()).then(|| size.parse().ok())??;
        Some(Self { octets, last })
    }
}

/// The verb in upper case, padded; zeros alone for one that is too long to be known.
fn upper(verb: &str) -> [u8; 8] {
    let mut padded = [0; 8];
    if let Some(start) = padded.get_mut(..verb.len()) {
        start.copy_from_slice(verb.as_bytes());
        padded.make_ascii_uppercase();
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_in_any_case_and_with_white_space_behind() {
        for (line, command) in [
            (&b"EHLO mx.example"[..], Command::Ehlo("mx.example")),
            (b"mAiL  FROM:<> \t", Command::Mail("FROM:<>")),
            (b"data ", Command::Data),
            (b"starttls", Command::StartTls),
            (b"noop whatever", Command::Noop),
            (b"BDAT 0 last", Command::Bdat(BdatSize { octets: 0, last: true })),
            (b"BDAT 18446744073709551615", Command::Bdat(BdatSize { octets: u64::MAX, last: false })),
            (b"auth plain", Command::Auth { mechanism: "plain", initial: None }),
            (b"AUTH PLAIN  =", Command::Auth { mechanism: "PLAIN", initial: Some("=") }),
        ] {
            assert_eq!(Command::parse(line), Ok(command), "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn lines_that_are_no_commands() {
        for (line, reply) in [
            (&b""[..], Reply::UNKNOWN_COMMAND),
            (b"\0\0\0\0\0\0\0\0", Reply::NOT_A_LINE),
            (b" MAIL FROM:<>", Reply::UNKNOWN_COMMAND),
            (b"MAILFROM:<>", Reply::UNKNOWN_COMMAND),
            (b"GET / HTTP/1.1", Reply::UNKNOWN_COMMAND),
            (b"NOOP a\rb", Reply::NOT_A_LINE),
            (b"NOOP a\nb", Reply::NOT_A_LINE),
            (b"NOOP \xff", Reply::NOT_A_LINE),
            (b"DATA junk", Reply::ARGUMENTS_WRONG),
            (b"STARTTLS junk", Reply::ARGUMENTS_WRONG),
            (b"VRFY", Reply::ARGUMENTS_WRONG),
            (b"AUTH", Reply::ARGUMENTS_WRONG),
            (b"AUTH PLAIN a b", Reply::ARGUMENTS_WRONG),
            (b"EXPN list", Reply::NOT_IMPLEMENTED),
        ] {
            assert_eq!(Command::parse(line), Err(Fault::Wrong(reply)), "{:?}", line.escape_ascii().to_string());
        }
        for line in [&b"BDAT"[..], b"BDAT x", b"BDAT -1", b"BDAT +1", b"BDAT 1 LASTT", b"BDAT 1 LAST x", b"BDAT 18446744073709551616"] {
            assert_eq!(Command::parse(line), Err(Fault::Astray(Reply::ARGUMENTS_WRONG)));
        }
    }
}
