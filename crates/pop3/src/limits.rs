//! One table of every limit: what the RFCs ask for at least, what we grant, what the operator may set, and the reply beyond it.
//!
//! The machine enforces the constants and [`Settings`](crate::Settings); [`TABLE`] is what documentation, metrics and tests read. A
//! test compares the two, so a limit cannot be in one place only.

use std::time::Duration;

use crate::Refusal;

/// A command line with its CRLF. A longer one is thrown away as it arrives.
pub const COMMAND_LINE_OCTETS: usize = 255;
/// A response within AUTH with its CRLF. A longer one ends the exchange.
pub const AUTH_LINE_OCTETS: usize = 12_288;
/// A challenge in AUTH before it is base64, so that its line is a reply's.
pub const CHALLENGE_OCTETS: usize = (REPLY_LINE_OCTETS - 4) / 4 * 3;
/// A line of a reply with its CRLF, messages aside; ours are never longer.
pub const REPLY_LINE_OCTETS: usize = 512;
/// The default of [`Settings::bad_commands`](crate::Settings::bad_commands).
pub const BAD_COMMANDS: u16 = 10;
/// The default of [`Settings::auth_failures`](crate::Settings::auth_failures).
pub const AUTH_FAILURES: u16 = 3;
/// The default of [`Timing::login`](crate::Timing::login).
pub const LOGIN: Duration = Duration::from_secs(2 * 60);
/// The default of [`Timing::autologout`](crate::Timing::autologout).
pub const AUTOLOGOUT: Duration = AUTOLOGOUT_AT_LEAST;
/// The shortest autologout time an operator may set.
pub const AUTOLOGOUT_AT_LEAST: Duration = Duration::from_secs(10 * 60);
/// The default of [`Timing::session`](crate::Timing::session).
pub const SESSION: Duration = Duration::from_secs(8 * 60 * 60);

/// Output that is written before more input is looked at, though the client has sent some.
pub(crate) const OUTPUT_OCTETS: usize = 16 << 10;

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its name in documentation and metrics, and the configuration's where [`Limit::settable`].
    pub name: &'static str,
    /// What the RFC asks a server to allow at least; `None` where it names no figure.
    pub asked: Option<u64>,
    /// What we allow, or the default where it can be set.
    pub value: u64,
    /// What is counted.
    pub unit: &'static str,
    /// Where it comes from.
    pub section: &'static str,
    /// What is answered beyond it; `None` where we keep to it ourselves, or close without a word.
    pub refusal: Option<Refusal>,
    /// Whether the operator may set it.
    pub settable: bool,
}

/// Every limit of the POP3 server.
pub const TABLE: [Limit; 8] = [
    fixed("command_line", Some(255), COMMAND_LINE_OCTETS as u64, "RFC 2449 §4", Some(Refusal::LineTooLong)),
    fixed("auth_line", Some(12_288), AUTH_LINE_OCTETS as u64, "RFC 5034 §4", Some(Refusal::ResponseTooLong)),
    fixed("reply_line", Some(512), REPLY_LINE_OCTETS as u64, "RFC 2449 §4", None),
    set("bad_commands", None, BAD_COMMANDS as u64, "commands", "RFC 1939 §3", Some(Refusal::TooManyBadCommands)),
    set("auth_failures", None, AUTH_FAILURES as u64, "logins", "RFC 1939 §13", Some(Refusal::WrongCredentials)),
    set("login", None, LOGIN.as_secs(), "seconds", "RFC 1939 §4", Some(Refusal::SessionTooLong)),
    set("autologout", Some(600), AUTOLOGOUT.as_secs(), "seconds", "RFC 1939 §3", None),
    set("session", None, SESSION.as_secs(), "seconds", "RFC 1939 §3", Some(Refusal::SessionTooLong)),
];

const fn fixed(name: &'static str, asked: Option<u64>, value: u64, section: &'static str, refusal: Option<Refusal>) -> Limit {
    Limit { name, asked, value, unit: "octets", section, refusal, settable: false }
}

const fn set(
    name: &'static str,
    asked: Option<u64>,
    value: u64,
    unit: &'static str,
    section: &'static str,
    refusal: Option<Refusal>,
) -> Limit {
    Limit { unit, settable: true, ..fixed(name, asked, value, section, refusal) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn we_allow_what_the_standard_asks_for() {
        for limit in TABLE {
            assert!(limit.asked.is_none_or(|asked| limit.value >= asked), "{}", limit.name);
        }
    }

    #[test]
    fn the_defaults_are_the_table() {
        let settings = Settings::new("mail.example".parse().unwrap());
        let timing = settings.timing;
        for (name, value) in [
            ("bad_commands", settings.bad_commands.into()),
            ("auth_failures", settings.auth_failures.into()),
            ("login", timing.login.as_secs()),
            ("autologout", timing.autologout.as_secs()),
            ("session", timing.session.as_secs()),
        ] {
            let limit = TABLE.iter().find(|limit| limit.name == name).unwrap();
            assert!(limit.settable && limit.value == value, "{name}");
        }
        assert_eq!(TABLE.iter().filter(|limit| limit.settable).count(), 5);
    }
}
