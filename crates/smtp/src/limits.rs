//! One table of every limit: what RFC 5321 asks for at least, what we grant, what the operator may set, and the reply beyond it.
//!
//! The machine enforces the constants and [`Settings`](crate::Settings); [`TABLE`] is what documentation, metrics and tests read. A test compares
//! the two, so a limit cannot be in one place only.

use std::time::Duration;

use mail::RecipientRequests;

use crate::Reply;

/// A command line with its CRLF, but for AUTH. RFC 5321 §4.5.3.1.4 asks for 512, and its extensions for more: SIZE 26, BODY 17, SMTPUTF8 10,
/// AUTH 500, DSN 119 with MAIL and 533 with RCPT, DELIVERBY 18, MT-PRIORITY 15, REQUIRETLS 11, FUTURERELEASE 34.
pub const COMMAND_LINE_BYTES: usize = 2048;
/// An AUTH command or response with its CRLF (RFC 4954 §4).
pub const AUTH_LINE_BYTES: usize = 12_288;
/// What RCPT may ask for the recipients of one transaction besides delivery (NOTIFY, ORCPT): for each one that is taken 64 octets, its path
/// and ORCPT. A hundred fit with 345 octets of those each (RFC 5321 §4.5.3.1.8); beyond it the rest is for another transaction.
pub const REQUESTS_BYTES: usize = 40 << 10;
/// Accounts that the recipients of one transaction come to, where that is more than [`Settings::recipients`](crate::Settings::recipients)
/// allows. One recipient is taken whatever it comes to, so that there is mail for every list.
pub const RECIPIENT_ACCOUNTS: usize = 1000;
/// What a recipient takes of [`REQUESTS_BYTES`] beside its texts.
pub(crate) const REQUEST_BYTES: usize = 64;
/// A challenge in AUTH before it is base64, so that its line is a reply's.
pub const CHALLENGE_BYTES: usize = (REPLY_LINE_BYTES - 6) / 4 * 3;
/// A line of a reply with its CRLF; ours are never longer (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_BYTES: usize = 512;
/// The name after EHLO or HELO.
pub const CLIENT_NAME_BYTES: usize = mail::DOMAIN_OCTETS;
/// The default of [`Settings::message_bytes`](crate::Settings::message_bytes).
pub const MESSAGE_BYTES: u64 = 25 << 20;
/// The default of [`Settings::recipients`](crate::Settings::recipients).
pub const RECIPIENTS: u32 = 1000;
/// The default of [`Settings::bad_commands`](crate::Settings::bad_commands).
pub const BAD_COMMANDS: u16 = 10;
/// The default of [`Settings::idle_commands`](crate::Settings::idle_commands).
pub const IDLE_COMMANDS: u16 = 100;
/// The default of [`Settings::refused_recipients`](crate::Settings::refused_recipients). As many as RFC 5321 §4.5.3.1.8 has a
/// transaction hold: one to people who have all gone still gets each reply, and who guesses names gets few for a connection.
pub const REFUSED_RECIPIENTS: u16 = 100;
/// The default of [`Settings::auth_failures`](crate::Settings::auth_failures).
pub const AUTH_FAILURES: u16 = 3;
/// The default of [`Timing::command`](crate::Timing::command).
pub const COMMAND_WAIT: Duration = Duration::from_secs(5 * 60);
/// The default of [`Timing::data_block`](crate::Timing::data_block).
pub const DATA_BLOCK_WAIT: Duration = Duration::from_secs(3 * 60);
/// The default of [`Timing::data_rate_bytes`](crate::Timing::data_rate_bytes).
pub const DATA_RATE_BYTES: u32 = 1024;
/// The default of [`Timing::data_grace`](crate::Timing::data_grace).
pub const DATA_GRACE: Duration = Duration::from_secs(60);
/// The default of [`Timing::session`](crate::Timing::session).
pub const SESSION: Duration = Duration::from_secs(2 * 60 * 60);

/// The greatest number LIMITS can announce (RFC 9422 §4).
pub const MAILS_MOST: u32 = 999_999;

/// Output that is written before more input is looked at, though the peer has sent some.
pub(crate) const OUTPUT_BYTES: usize = 16 << 10;

/// What the requests for a recipient take of [`REQUESTS_BYTES`].
pub(crate) fn octets(requests: &RecipientRequests) -> usize {
    let original = requests.original.as_ref().map_or(0, |original| original.address_type.len() + original.address.len());
    REQUEST_BYTES + requests.recipient.len() + original
}

/// How much of a refused message is read to reach its end, so that the peer sees the reply; then the connection is closed.
pub(crate) fn patience_bytes(message_bytes: u64) -> u64 {
    message_bytes.saturating_mul(2).max(1 << 20)
}

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
    /// What is answered beyond it.
    pub reply: Reply,
    /// Whether the operator may set it.
    pub settable: bool,
}

/// Every limit of the SMTP server.
pub const TABLE: [Limit; 22] = [
    fixed("command_line", Some(512), COMMAND_LINE_BYTES as u64, "octets", "RFC 5321 §4.5.3.1.4", Reply::LINE_TOO_LONG),
    fixed("auth_line", Some(12_288), AUTH_LINE_BYTES as u64, "octets", "RFC 4954 §4", Reply::AUTH_LINE_TOO_LONG),
    fixed("reply_line", Some(512), REPLY_LINE_BYTES as u64, "octets", "RFC 5321 §4.5.3.1.5", Reply::LINE_TOO_LONG),
    fixed("client_name", Some(255), CLIENT_NAME_BYTES as u64, "octets", "RFC 5321 §4.5.3.1.2", Reply::CLIENT_NAME_WRONG),
    fixed("path", Some(256), mail::PATH_OCTETS as u64, "octets", "RFC 5321 §4.5.3.1.3", Reply::FORWARD_PATH_WRONG),
    fixed("local_part", Some(64), mail::LOCAL_PART_OCTETS as u64, "octets", "RFC 5321 §4.5.3.1.1", Reply::FORWARD_PATH_WRONG),
    fixed("domain", Some(255), mail::DOMAIN_OCTETS as u64, "octets", "RFC 5321 §4.5.3.1.2", Reply::FORWARD_PATH_WRONG),
    fixed("label", Some(63), mail::LABEL_OCTETS as u64, "octets", "RFC 1035 §2.3.4", Reply::FORWARD_PATH_WRONG),
    fixed("text_line", Some(1000), u64::MAX, "octets", "RFC 5321 §4.5.3.1.6", Reply::MESSAGE_TOO_LARGE),
    fixed("recipient_requests", None, REQUESTS_BYTES as u64, "octets", "RFC 3461 §4", Reply::TOO_MANY_RECIPIENTS),
    fixed("recipient_accounts", None, RECIPIENT_ACCOUNTS as u64, "accounts", "RFC 5321 §7.8", Reply::TOO_MANY_RECIPIENTS),
    set("message_bytes", Some(65_536), MESSAGE_BYTES, "octets", "RFC 5321 §4.5.3.1.7", Reply::MESSAGE_TOO_LARGE),
    set("recipients", Some(100), RECIPIENTS as u64, "recipients", "RFC 5321 §4.5.3.1.8", Reply::TOO_MANY_RECIPIENTS),
    set("bad_commands", None, BAD_COMMANDS as u64, "commands", "RFC 5321 §7.8", Reply::TOO_MANY_ERRORS),
    set("idle_commands", None, IDLE_COMMANDS as u64, "commands", "RFC 5321 §7.8", Reply::TOO_MANY_IDLE_COMMANDS),
    set("refused_recipients", None, REFUSED_RECIPIENTS as u64, "recipients", "RFC 5321 §7.8", Reply::TOO_MANY_ERRORS),
    set("auth_failures", None, AUTH_FAILURES as u64, "attempts", "RFC 4954 §9", Reply::TOO_MANY_AUTH_FAILURES),
    set("command", Some(300), COMMAND_WAIT.as_secs(), "seconds", "RFC 5321 §4.5.3.2.7", Reply::TIMEOUT),
    set("data_block", Some(180), DATA_BLOCK_WAIT.as_secs(), "seconds", "RFC 5321 §4.5.3.2.5", Reply::TIMEOUT),
    set("data_rate_bytes", None, DATA_RATE_BYTES as u64, "octets a second", "RFC 5321 §7.8", Reply::TIMEOUT),
    set("data_grace", None, DATA_GRACE.as_secs(), "seconds", "RFC 5321 §7.8", Reply::TIMEOUT),
    set("session", None, SESSION.as_secs(), "seconds", "RFC 5321 §7.8", Reply::SESSION_TOO_LONG),
];

const fn fixed(name: &'static str, asked: Option<u64>, value: u64, unit: &'static str, section: &'static str, reply: Reply) -> Limit {
    Limit { name, asked, value, unit, section, reply, settable: false }
}

const fn set(name: &'static str, asked: Option<u64>, value: u64, unit: &'static str, section: &'static str, reply: Reply) -> Limit {
    Limit { settable: true, ..fixed(name, asked, value, unit, section, reply) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    #[test]
    fn we_allow_what_the_standard_asks_for() {
        for limit in TABLE {
            assert!(limit.asked.is_none_or(|asked| limit.value >= asked), "{}", limit.name);
            assert!(limit.reply.code() >= 400, "{}", limit.name);
        }
    }

    #[test]
    fn the_defaults_are_the_table() {
        let settings = Settings::relay("mx.example".parse().unwrap());
        let timing = settings.timing;
        for (name, value) in [
            ("message_bytes", settings.message_bytes),
            ("recipients", settings.recipients.into()),
            ("bad_commands", settings.bad_commands.into()),
            ("idle_commands", settings.idle_commands.into()),
            ("refused_recipients", settings.refused_recipients.into()),
            ("auth_failures", settings.auth_failures.into()),
            ("command", timing.command.as_secs()),
            ("data_block", timing.data_block.as_secs()),
            ("data_rate_bytes", timing.data_rate_bytes.into()),
            ("data_grace", timing.data_grace.as_secs()),
            ("session", timing.session.as_secs()),
        ] {
            let limit = TABLE.iter().find(|limit| limit.name == name).unwrap();
            assert!(limit.settable && limit.value == value, "{name}");
        }
        assert_eq!(TABLE.iter().filter(|limit| limit.settable).count(), 11);
    }
}
