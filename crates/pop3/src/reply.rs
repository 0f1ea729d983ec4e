//! Every line we say, in one place: [`Reply`] is `+OK`, [`Refusal`] is `-ERR`.
//!
//! A line holds nothing the client sent and nothing of our configuration but our name, is ASCII, and fits
//! [`REPLY_LINE_OCTETS`](crate::limits::REPLY_LINE_OCTETS). A refusal that was written down names us behind its response code and ends in its
//! token, within [`REFUSAL_OCTETS`] in which, of our name, as many labels stay as fit. The response codes (RFC 2449 §8, RFC 3206) say whose fault it is: `[AUTH]`
//! alone means that the password is wrong, so nothing else may say it; `[SYS/TEMP]` means try again, `[SYS/PERM]` means do not.

use std::fmt::{self, Display, Formatter, Write as _};

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use mail::{Domain, MessageId, REFUSAL_OCTETS, Token, first_labels};

use crate::limits;

/// What goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply<'s> {
    Greeting {
        host: &'s Domain,
    },
    NameTaken,
    Maildrop {
        messages: usize,
        octets: u64,
    },
    Stat {
        messages: usize,
        octets: u64,
    },
    Scan {
        number: usize,
        octets: u64,
    },
    UniqueIds,
    UniqueId {
        number: usize,
        id: MessageId,
    },
    Message {
        octets: u64,
    },
    Top,
    Deleted {
        number: u32,
    },
    Noop,
    Capabilities,
    Mechanisms,
    BeginTls,
    Utf8,
    /// Out of the AUTHORIZATION state.
    SigningOff {
        host: &'s Domain,
    },
    /// Out of the TRANSACTION state.
    SigningOffLeaving {
        host: &'s Domain,
        messages: usize,
    },
    /// In base64 (RFC 5034 §4).
    Challenge {
        octets: &'s [u8],
    },
}

/// What does not, and whose fault it is. Displays as the line without its CRLF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No such command, or not offered (APOP, LANG).
    UnknownCommand,
    /// Arguments that are missing, too many or malformed; says how it is written.
    Usage(&'static str),
    /// Arguments to a command that takes none.
    NoArguments,
    /// CR, LF or NUL within a line.
    BadCharacters,
    /// A name that is not UTF-8.
    NameNotUtf8,
    /// A command line beyond its limit.
    LineTooLong,
    /// A line within AUTH beyond its limit.
    ResponseTooLong,
    /// A command of the TRANSACTION state, too early.
    LogInFirst,
    /// A command of the AUTHORIZATION state, too late.
    AlreadyLoggedIn,
    /// PASS that does not follow USER.
    UserFirst,
    /// AUTH with a mechanism we do not offer.
    UnknownMechanism,
    /// A response that is not base64, or not the mechanism's.
    BadResponse,
    /// The client gave up on AUTH.
    Cancelled,
    /// STLS under TLS.
    TlsAlready,
    /// Octets behind STLS; the session is closed.
    BehindStls,
    /// The last straw; the session is closed.
    TooManyBadCommands,
    /// No message has this number.
    NoSuchMessage {
        /// How many there are.
        messages: usize,
    },
    /// The message with this number is marked as deleted.
    AlreadyDeleted {
        /// Its number.
        number: u32,
    },
    /// A login without TLS. Not `[AUTH]`: another password would not help.
    TlsRequired,
    /// STLS where it is not offered.
    StlsUnavailable,
    /// No such user, or another password.
    WrongCredentials,
    /// The password is right; another session holds the maildrop.
    InUse,
    /// The password is right; the user has all the sessions it may have.
    TooManySessions {
        /// How many that is.
        limit: u32,
    },
    /// The password is right; the last login was a moment ago.
    LoginDelay,
    /// A login that could not be decided.
    LoginUnavailable,
    /// A message that could not be read.
    MessageUnavailable,
    /// QUIT whose deletions did not happen.
    NotRemoved,
    /// The server goes away; the session is closed.
    Restarting,
    /// Somebody else needs the place; the session is closed.
    PlaceNeeded,
    /// A newer session holds the maildrop now; this one is closed.
    TakenOver,
    /// An operator has ended the session; it is closed.
    SessionEnded,
    /// The session's time is over; it is closed.
    SessionTooLong,
}

/// Appends a refusal that was written down; those have a response code.
pub(crate) fn write_signed(refusal: Refusal, host: &Domain, token: Token, output: &mut BytesMut) {
    let (start, line) = (output.len(), refusal.to_string());
    let (code, text) = line.split_once("] ").unwrap_or((line.as_str(), ""));
    let write = |host: &str, output: &mut BytesMut| write_line(format_args!("{code}] {host} {text} [{token}]"), output);
    write("", output);
    let room = REFUSAL_OCTETS.saturating_sub(output.len() - start);
    output.truncate(start);
    write(first_labels(host.as_str(), room), output);
}

/// Appends a line and its CRLF.
pub(crate) fn write_line(line: impl Display, output: &mut BytesMut) {
    // Formatting into a buffer that grows cannot fail.
    let _ = write!(output, "{line}\r\n");
}

impl Display for Reply<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            // No angle brackets: they would offer APOP (RFC 1939 §7).
            Self::Greeting { host } => write!(f, "+OK {host} Gatepost POP3 ready"),
            Self::NameTaken => f.write_str("+OK Send the password"),
            Self::Maildrop { messages, octets } => write!(f, "+OK {} ({octets} octets)", Messages(messages)),
            Self::Stat { messages, octets } => write!(f, "+OK {messages} {octets}"),
            Self::Scan { number, octets } => write!(f, "+OK {number} {octets}"),
            Self::UniqueIds => f.write_str("+OK Unique-ids follow"),
            Self::UniqueId { number, id } => write!(f, "+OK {number} {id}"),
            Self::Message { octets } => write!(f, "+OK {octets} octets"),
            Self::Top => f.write_str("+OK Top of message follows"),
            Self::Deleted { number } => write!(f, "+OK Message {number} deleted"),
            Self::Noop => f.write_str("+OK"),
            Self::Capabilities => f.write_str("+OK Capabilities follow"),
            Self::Mechanisms => f.write_str("+OK Mechanisms follow"),
            Self::BeginTls => f.write_str("+OK Begin TLS"),
            Self::Utf8 => f.write_str("+OK UTF8 is on"),
            Self::SigningOff { host } => write!(f, "+OK {host} signing off"),
            Self::SigningOffLeaving { host, messages: 0 } => write!(f, "+OK {host} signing off (maildrop empty)"),
            Self::SigningOffLeaving { host, messages } => write!(f, "+OK {host} signing off ({} left)", Messages(messages)),
            Self::Challenge { octets } => write!(f, "+ {}", Base64Display::new(octets, &STANDARD)),
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("-ERR ")?;
        match *self {
            Self::UnknownCommand => f.write_str("Unknown command"),
            Self::Usage(usage) => write!(f, "Usage: {usage}"),
            Self::NoArguments => f.write_str("This command takes no arguments"),
            Self::BadCharacters => f.write_str("CR, LF and NUL have no place in a command"),
            Self::NameNotUtf8 => f.write_str("The name is not UTF-8"),
            Self::LineTooLong => write!(f, "Line too long (limit {} octets)", limits::COMMAND_LINE_OCTETS),
            Self::ResponseTooLong => write!(f, "Line too long (limit {} octets)", limits::AUTH_LINE_OCTETS),
            Self::LogInFirst => f.write_str("Log in first"),
            Self::AlreadyLoggedIn => f.write_str("Already logged in"),
            Self::UserFirst => f.write_str("USER comes first"),
            Self::UnknownMechanism => f.write_str("No such mechanism"),
            Self::BadResponse => f.write_str("Not a response of this mechanism in base64"),
            Self::Cancelled => f.write_str("Login cancelled"),
            Self::TlsAlready => f.write_str("TLS is on already"),
            Self::BehindStls => f.write_str("Nothing may follow STLS until TLS is on"),
            Self::TooManyBadCommands => f.write_str("Too many bad commands"),
            Self::NoSuchMessage { messages } => write!(f, "No such message, {} in maildrop", Messages(messages)),
            Self::AlreadyDeleted { number } => write!(f, "Message {number} already deleted"),
            Self::TlsRequired => f.write_str("[SYS/PERM] Passwords are taken only under TLS"),
            Self::StlsUnavailable => f.write_str("[SYS/PERM] TLS is not available here"),
            Self::WrongCredentials => f.write_str("[AUTH] Wrong name or password"),
            Self::InUse => f.write_str("[IN-USE] Maildrop is open in another session"),
            Self::TooManySessions { limit } => write!(f, "[IN-USE] Too many sessions for this user (limit {limit})"),
            Self::LoginDelay => f.write_str("[LOGIN-DELAY] Too soon after the last login"),
            Self::LoginUnavailable => f.write_str("[SYS/TEMP] Cannot log in at the moment, try again later"),
            Self::MessageUnavailable => f.write_str("[SYS/TEMP] Cannot read the message at the moment, try again later"),
            Self::NotRemoved => f.write_str("[SYS/TEMP] Some deleted messages not removed"),
            Self::Restarting => f.write_str("[SYS/TEMP] Service restarting, try again shortly"),
            Self::PlaceNeeded => f.write_str("[SYS/TEMP] Place needed, reconnect any time"),
            Self::TakenOver => f.write_str("[SYS/TEMP] A newer session has taken over this maildrop"),
            Self::SessionEnded => f.write_str("[SYS/TEMP] Session ended by the operator, try again later"),
            Self::SessionTooLong => f.write_str("[SYS/TEMP] Session has lasted too long, log in again"),
        }
    }
}

/// `1 message`, `2 messages`.
struct Messages(usize);

impl Display for Messages {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} message{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lines_fit_and_are_one_ascii_line() {
        let host: Domain = [&"d".repeat(mail::LABEL_OCTETS)[..]; 4].join(".").parse().unwrap();
        let longest = [
            Reply::Greeting { host: &host }.to_string(),
            Reply::SigningOffLeaving { host: &host, messages: usize::MAX }.to_string(),
            Reply::Maildrop { messages: usize::MAX, octets: u64::MAX }.to_string(),
            Reply::Challenge { octets: &[0xff; limits::CHALLENGE_OCTETS] }.to_string(),
            Refusal::TooManySessions { limit: u32::MAX }.to_string(),
            Refusal::NoSuchMessage { messages: usize::MAX }.to_string(),
        ];
        for line in longest {
            assert!(line.len() + 2 <= limits::REPLY_LINE_OCTETS, "{line}");
            assert!(line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{line}");
        }
    }

    #[test]
    fn a_refusal_that_was_written_down_is_one_short_line_with_everything_but_our_name_whole() {
        let labels: Domain = ["mx1", &"b".repeat(60), &"c".repeat(60), &"d".repeat(60)].join(".").parse().unwrap();
        let token = Token::new("R10", u64::MAX);
        let line = |refusal, host: &Domain| {
            let mut output = BytesMut::new();
            write_signed(refusal, host, token, &mut output);
            String::from_utf8(output.to_vec()).unwrap()
        };
        let full = Refusal::TooManySessions { limit: u32::MAX };
        for refusal in [full, Refusal::InUse, Refusal::PlaceNeeded, Refusal::LoginUnavailable, Refusal::SessionTooLong, Refusal::NotRemoved]
        {
            let (whole, line) = (refusal.to_string(), line(refusal, &labels));
            let (code, text) = whole.split_once("] ").unwrap();
            assert!(line.len() <= REFUSAL_OCTETS && line.starts_with(&format!("{code}] mx1.b")), "{line}");
            assert!(line.ends_with(&format!(" {text} [R10.fzzzzzzzzzzzz]\r\n")), "{line}");
        }
        let short = line(Refusal::InUse, &"mx.example".parse().unwrap());
        assert_eq!(short, "-ERR [IN-USE] mx.example Maildrop is open in another session [R10.fzzzzzzzzzzzz]\r\n");
    }

    #[test]
    fn a_greeting_does_not_offer_apop() {
        assert!(!Reply::Greeting { host: &"mail.example".parse().unwrap() }.to_string().contains(['<', '>']));
    }
}
