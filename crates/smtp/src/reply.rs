//! Every reply an SMTP server of ours gives, in one table.
//!
//! A reply is a row: code (RFC 5321 §4.2), enhanced code (RFC 3463, registered by RFC 5248; none in greetings, in answers to
//! EHLO and HELO, and in 3yz, by RFC 2034 §4), text, and when it is given. Texts are ours: nothing of the configuration and
//! no error of ours gets into them. `{host}`, `{peer}`, `{n}` and `{detail}` are blanks, filled when the reply is rendered.
//! Rendered lines are at most 512 octets long, CRLF included. A reply that was written down ends in its [`Token`]. A refusal keeps to
//! [`REFUSAL_OCTETS`] in which, of our name, as many labels stay as fit.

use std::fmt::{self, Display, Write};
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use mail::{REFUSAL_OCTETS, Token, first_labels};

use crate::limits::REPLY_LINE_BYTES;

/// A row of the table, with its number where it tells one, and a token where it is a refusal that can be asked about. Made nowhere
/// but here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    row: &'static Row,
    n: u64,
    token: Option<Token>,
}

/// What fills the blanks of a reply. Blanks without filling stay empty.
#[derive(Clone, Copy, Default)]
pub struct Blanks<'b> {
    /// Our name, `{host}`.
    pub host: &'b str,
    /// The client's address, `{peer}`.
    pub peer: Option<IpAddr>,
    /// What this reply alone tells, `{detail}`.
    pub detail: Option<&'b dyn Display>,
}

impl Reply {
    /// The code, 200 to 599.
    pub fn code(self) -> u16 {
        self.row.code
    }

    /// The enhanced code, as in `5.1.1`; empty where none is given.
    pub fn enhanced(self) -> &'static str {
        self.row.enhanced
    }

    /// The name of its row, as in `MAILBOX_UNKNOWN`.
    pub fn name(self) -> &'static str {
        self.row.name
    }

    /// The text with its blanks; lines are separated by `\n`.
    pub fn text(self) -> &'static str {
        self.row.text
    }

    /// When it is given, in words for the reference.
    pub fn when(self) -> &'static str {
        self.row.when
    }

    /// Tells the number that `{n}` stands for.
    pub const fn with(self, n: u64) -> Self {
        Self { n, ..self }
    }

    /// Ends the reply in `token`, in brackets.
    pub const fn signed(self, token: Token) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The token it ends in.
    pub fn token(self) -> Option<Token> {
        self.token
    }

    /// The row alone.
    pub(crate) fn row(self) -> Self {
        Self { n: 0, token: None, ..self }
    }

    /// Whether trying again is of no use (RFC 5321 §4.2.1).
    pub fn is_permanent(self) -> bool {
        self.row.code >= 500
    }

    /// Whether the connection is closed behind it (RFC 5321 §3.8).
    pub fn closes(self) -> bool {
        self.row.code == 421
    }

    /// Appends the reply, all its lines, as it goes over the wire.
    pub fn render(self, blanks: &Blanks<'_>, out: &mut BytesMut) {
        let start = out.len();
        self.lines(blanks, out);
        let over = (out.len() - start).saturating_sub(REFUSAL_OCTETS);
        if over > 0 && self.row.code >= 400 {
            out.truncate(start);
            self.lines(&Blanks { host: first_labels(blanks.host, blanks.host.len().saturating_sub(over)), ..*blanks }, out);
        }
    }

    fn lines(self, blanks: &Blanks<'_>, out: &mut BytesMut) {
        let mut lines = self.row.text.split('\n').peekable();
        while let Some(text) = lines.next() {
            self.line(text, lines.peek().is_none(), blanks, out);
        }
    }

    /// Appends one line of the reply.
    pub(crate) fn line(self, text: &str, last: bool, blanks: &Blanks<'_>, out: &mut BytesMut) {
        let start = out.len();
        if out.is_empty() {
            out.reserve(USUAL_BYTES);
        }
        let digit = |place: u16| b'0' + (self.row.code / place % 10) as u8;
        out.extend_from_slice(&[digit(100), digit(10), digit(1), if last { b' ' } else { b'-' }]);
        if !self.row.enhanced.is_empty() {
            out.extend_from_slice(self.row.enhanced.as_bytes());
            out.put_u8(b' ');
        }
        self.fill(text, blanks, out);
        if let Some(token) = self.token {
            append(out, format_args!(" [{token}]"));
        }
        out.truncate(start + REPLY_LINE_BYTES - 2);
        out.extend_from_slice(b"\r\n");
    }

    fn fill(self, text: &str, blanks: &Blanks<'_>, out: &mut BytesMut) {
        let mut rest = text;
        while let Some((before, blank)) = rest.split_once('{') {
            out.extend_from_slice(before.as_bytes());
            let (name, after) = blank.split_once('}').unwrap_or((blank, ""));
            match (name, blanks.peer, blanks.detail) {
                ("host", ..) => out.extend_from_slice(blanks.host.as_bytes()),
                ("n", ..) => append(out, format_args!("{}", self.n)),
                ("peer", Some(peer), _) => append(out, format_args!("{}", peer.to_canonical())),
                ("detail", _, Some(detail)) => append(out, format_args!("{detail}")),
                _ => {}
            }
            rest = after;
        }
        out.extend_from_slice(rest.as_bytes());
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.row.code, self.row.name)
    }
}

#[derive(PartialEq, Eq)]
struct Row {
    name: &'static str,
    code: u16,
    enhanced: &'static str,
    text: &'static str,
    when: &'static str,
}

/// The replies to a pipelined message fit into it: a buffer grows once for all of them.
const USUAL_BYTES: usize = 256;

/// A buffer that grows does not fail.
fn append(out: &mut BytesMut, text: fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

macro_rules! replies {
    ($($name:ident = $code:literal $enhanced:literal $text:expr, $when:literal;)*) => {
        impl Reply {
            $(
                #[doc = concat!("`", stringify!($code), " ", $enhanced, "` ", $when)]
                pub const $name: Self =
                    Self { row: &Row { name: stringify!($name), code: $code, enhanced: $enhanced, text: $text, when: $when }, n: 0, token: None };
            )*

            /// The whole table, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

replies! {
    // The door. Connections that are refused there never become a session: their replies are the gate's.
    GREETING = 220 "" "{host} ESMTP Gatepost", "The greeting.";
    RESTARTING = 421 "4.3.2" "{host} Service restarting, try again shortly", "R1: draining; at the next boundary.";
    PLACE_NEEDED = 421 "4.3.2" "{host} Place needed, reconnect any time", "R7: somebody else needs the place; at the next boundary.";
    TIMEOUT = 421 "4.4.2" "{host} Timeout", "R8: idle or too slow.";
    SESSION_TOO_LONG = 421 "4.4.2" "{host} Timeout, the session has lasted too long", "R8: the session's time is over.";

    SESSION_ENDED = 421 "4.3.2" "{host} Session ended by the operator, try again later", "An operator has ended the session; at the next boundary.";

    // The session.
    HELLO = 250 "" "{host} greets [{peer}]", "EHLO and LHLO, as their first line, and HELO.";
    BYE = 221 "2.0.0" "{host} Closing connection", "QUIT.";
    RESET = 250 "2.0.0" "Reset", "RSET.";
    NOTHING_DONE = 250 "2.0.0" "Nothing done", "NOOP.";
    HELP = 214 "2.0.0" "{detail}\nRFC 5321 tells what they do", "HELP.";
    NOT_VERIFIED = 252 "2.0.0" "Not verified here, send and see", "VRFY (RFC 5321 §3.5.3).";
    TLS_READY = 220 "2.0.0" "Ready to start TLS", "STARTTLS.";

    // A command that is wrong.
    UNKNOWN_COMMAND = 500 "5.5.2" "Command not recognised", "A verb we do not know.";
    NOT_A_LINE = 500 "5.5.2" "A command is text on one line, ended by CR LF", "A command with a bare CR or LF, a NUL, or octets that are not UTF-8.";
    LINE_TOO_LONG = 500 "5.5.2" "Line too long", "A command line beyond its limit.";
    ARGUMENTS_WRONG = 501 "5.5.4" "Arguments not understood", "Arguments that are missing, too many or not well formed.";
    CLIENT_NAME_WRONG = 501 "5.5.4" "A host name or address literal is expected", "EHLO or HELO without a name, or with what cannot be one.";
    NOT_IMPLEMENTED = 502 "5.5.1" "Command not implemented", "A verb we know and do not offer.";
    HELLO_FIRST = 503 "5.5.1" "Say EHLO first", "A command that needs EHLO, or HELO at least.";
    LHLO_FIRST = 503 "5.5.1" "Say LHLO first", "By LMTP, a command that needs LHLO.";
    MAIL_FIRST = 503 "5.5.1" "MAIL is needed first", "RCPT, DATA or BDAT outside of a transaction.";
    RCPT_FIRST = 503 "5.5.1" "RCPT is needed first", "DATA or BDAT before any RCPT.";
    MAIL_ALREADY = 503 "5.5.1" "A transaction is open already", "MAIL within a transaction (RFC 5321 §4.1.4).";
    CHUNKS_UNDER_WAY = 503 "5.5.1" "Only BDAT or RSET may follow BDAT", "MAIL, RCPT or DATA among chunks (RFC 3030 §2).";
    CHUNKS_ALONE = 503 "5.5.1" "A BINARYMIME message comes by BDAT alone", "DATA after MAIL with BODY=BINARYMIME (RFC 3030 §3).";
    NOT_IN_A_TRANSACTION = 503 "5.5.1" "Not within a transaction", "AUTH within a transaction (RFC 4954 §4).";
    PIPELINED = 503 "5.5.1" "Nothing may follow this command before its reply, closing", "Input behind EHLO, HELO, DATA, AUTH or STARTTLS (RFC 2920 §3.1, RFC 3207 §6); closes.";
    PARAMETER_WRONG = 501 "5.5.4" "A parameter is not well formed or given twice", "A parameter of MAIL we know, with a wrong value.";
    HELD_TOO_LONG = 501 "5.5.4" "It would be held for longer than EHLO has announced", "HOLDFOR or HOLDUNTIL beyond what FUTURERELEASE allows (RFC 4865 §4).";
    PARAMETER_UNKNOWN = 555 "5.5.4" "A parameter is not recognised", "A parameter of MAIL or RCPT we do not know (RFC 5321 §4.1.1.11).";
    TOO_MANY_ERRORS = 421 "4.7.0" "{host} Too many errors", "More bad commands, or more recipients refused for good, than allowed.";
    ENOUGH_MESSAGES = 421 "4.7.0" "{host} Enough messages for one session, reconnect for more", "MAIL beyond the MAILMAX that LIMITS has announced (RFC 9422).";
    XCLIENT_DENIED = 550 "5.7.0" "You may not speak for other clients", "XCLIENT from a client that is not listed.";
    CLIENT_NOT_LET_IN = 421 "4.7.0" "{host} The client you speak for is not let in", "XCLIENT for a client that may not come in; the gate's own line stands in the place of this one.";
    TOO_MANY_IDLE_COMMANDS = 421 "4.7.0" "{host} Too many commands without a message", "More idle commands than allowed.";

    // TLS and authentication.
    TLS_ACTIVE = 503 "5.5.1" "TLS is active already", "STARTTLS under TLS.";
    TLS_FIRST = 530 "5.7.0" "Say STARTTLS first", "MAIL on submission in clear (RFC 3207 §4).";
    TLS_FOR_AUTH = 538 "5.7.11" "Encryption is required for authentication", "AUTH in clear (RFC 4954 §6).";
    AUTH_FIRST = 530 "5.7.0" "Authentication required", "MAIL on submission before AUTH (RFC 4954 §6).";
    AUTH_CHALLENGE = 334 "" "{detail}", "AUTH goes on.";
    AUTHENTICATED = 235 "2.7.0" "Authenticated", "AUTH with the right password.";
    AUTH_ALREADY = 503 "5.5.1" "Authenticated already", "AUTH after AUTH.";
    AUTH_MECHANISM_UNKNOWN = 504 "5.5.4" "Authentication mechanism not recognised", "AUTH with a mechanism we do not offer.";
    AUTH_CANCELLED = 501 "5.7.0" "Authentication cancelled", "`*` in an AUTH exchange.";
    AUTH_RESPONSE_WRONG = 501 "5.5.2" "The response is not what the mechanism asks for", "An AUTH response that is not base64 or not well formed.";
    AUTH_LINE_TOO_LONG = 500 "5.5.6" "Authentication line too long", "An AUTH response beyond its limit (RFC 4954 §4).";
    CREDENTIALS_WRONG = 535 "5.7.8" "User name or password is wrong", "AUTH with a wrong password or an unknown user, alike.";
    TRY_LATER_AUTH = 454 "4.7.0" "Authentication is not possible now, try again later", "AUTH that cannot be decided now, or is asked for too often.";
    TOO_MANY_USER_SESSIONS = 421 "4.7.0" "{host} Too many sessions for this user (limit {n})", "R9: AUTH with the right password, by a user who has all the sessions it may.";
    TOO_MANY_AUTH_FAILURES = 421 "4.7.0" "{host} Too many failed authentications", "More wrong passwords than allowed.";

    // The envelope.
    SENDER_OK = 250 "2.1.0" "Sender ok", "MAIL.";
    MESSAGE_RATE = 451 "4.7.1" "{host} Too many messages in a short time, try again in {n} seconds", "R11: MAIL beyond a rate of messages.";
    OCTET_RATE = 451 "4.7.1" "{host} Too much mail in a short time, try again in {n} seconds", "R11: MAIL beyond a rate of octets.";
    FAILURE_RATE = 451 "4.7.1" "{host} Too many failed commands, try again in {n} seconds", "R11: MAIL beyond a rate of failed commands.";
    FAILURE_RATE_AUTH = 454 "4.7.0" "{host} Too many failed commands, try again in {n} seconds", "R11: AUTH beyond a rate of failed commands.";
    RECIPIENT_RATE = 450 "4.7.1" "{host} Too many recipients in a short time, try again in {n} seconds", "R11: RCPT beyond a rate of recipients.";
    RECIPIENT_OK = 250 "2.1.5" "Recipient ok", "RCPT.";
    REVERSE_PATH_WRONG = 501 "5.1.7" "Sender not understood: {detail}", "MAIL with a path that is not well formed.";
    FORWARD_PATH_WRONG = 501 "5.1.3" "Recipient not understood: {detail}", "RCPT with a path that is not well formed.";
    SENDER_NOT_YOURS = 550 "5.7.1" "The sender is not an address of yours", "MAIL after AUTH, with a sender that is neither the account's nor allowed to it (RFC 6409 §6.1).";
    SMTPUTF8_NEEDED = 553 "5.6.7" "This address needs SMTPUTF8", "A path that is not ASCII in a transaction without SMTPUTF8 (RFC 6531 §3.5).";
    MAILBOX_UNKNOWN = 550 "5.1.1" "No such mailbox here", "RCPT: the domain is ours, the mailbox does not exist.";
    MAILBOX_BUSY = 450 "4.2.1" "Mailbox unavailable now, try again later", "RCPT: the mailbox cannot take mail at the moment.";
    MAILBOX_FULL = 452 "4.2.2" "Mailbox full, try again later", "RCPT: the mailbox has no room for the message by its quota.";
    POSTING_DENIED = 550 "5.7.1" "You may not post to this list", "RCPT: a list that is not open to anyone, and the client has not authenticated as one who may post.";
    RELAY_DENIED = 550 "5.7.1" "We do not relay for you", "RCPT: a foreign domain, and the client is neither authenticated nor listed.";
    FOREIGN_UNTIL_QUEUE = 550 "5.7.1" "Mail to other hosts is not sent from here yet, local recipients only", "RCPT: a foreign domain, and the client may relay.";
    TOO_MANY_RECIPIENTS = 452 "4.5.3" "Too many recipients, send them the rest in another transaction", "RCPT beyond the limit.";
    LMTP_DENIED = 550 "5.7.1" "You may not deliver here by LMTP", "MAIL by LMTP from a client whose network is not listed.";
    NO_RECIPIENTS = 554 "5.5.1" "No valid recipients", "DATA or BDAT after every RCPT was refused.";
    LMTP_NO_RECIPIENTS = 503 "5.5.1" "No valid recipients", "By LMTP, DATA or BDAT after every RCPT was refused (RFC 2033 §4.2).";

    // The message.
    START_MAIL = 354 "" "Start mail input, end with <CRLF>.<CRLF>", "DATA.";
    CHUNK_TAKEN = 250 "2.0.0" "{n} octets received", "BDAT that is not the last.";
    ACCEPTED = 250 "2.0.0" "{detail} accepted", "The message is on stable storage.";
    MESSAGE_TOO_LARGE = 552 "5.3.4" "Message too large", "SIZE, or the message itself, beyond the limit.";
    BARE_CR_OR_LF = 554 "5.6.0" "Message refused: it holds a CR or LF that is not part of a CR LF", "End of data (RFC 5321 §2.3.8). RFC 3463 has no code for it; 5.6.0 is media, undefined.";
    NOT_CONVERTED = 554 "5.6.5" "Message refused: its binary parts cannot be told from the others", "End of data, after BODY=BINARYMIME: what is binary could not be made text.";
    AUTHOR_NOT_YOURS = 550 "5.7.1" "The From field must name addresses of yours alone", "End of data after AUTH: as for the sender in the envelope.";
    DELIVER_BY_PASSED = 554 "5.4.7" "The time by which to deliver has passed", "End of data: MAIL has asked by `BY=` to have the message back then (RFC 2852 §4).";
    TOO_MANY_HOPS = 554 "5.4.6" "Too many hops, this message is in a loop", "End of data: too many Received fields (RFC 5321 §6.3).";

    // What we think of it. Codes by RFC 7372 and RFC 3463.
    TALKED_FIRST = 550 "5.5.1" "Refused: you have talked before you were greeted", "MAIL: a rule that rejects, and the client has not waited for its greeting.";
    IPREV_FAILED = 550 "5.7.25" "Refused: your address has no name in DNS that leads back to it", "MAIL: a rule that rejects, and iprev failed.";
    CLIENT_NAME_REFUSED = 550 "5.7.1" "Refused: the name you gave in EHLO is not that of a mail server", "MAIL: a rule that rejects, and the check of the client's name failed.";
    CLIENT_LISTED = 550 "5.7.1" "Refused: {peer} is on a list of those who send unwanted mail{detail}", "MAIL: a rule that rejects, and DNS lists have enough against the client; behind a colon those of them that have a name to tell.";
    SPF_FAILED = 550 "5.7.23" "Refused: {detail} does not let {peer} send for it (SPF)", "MAIL: a rule that rejects, and SPF failed.";
    DKIM_FAILED = 550 "5.7.20" "Refused: no signature of the message holds (DKIM)", "End of data: a rule that rejects, and DKIM failed.";
    ARC_FAILED = 550 "5.7.29" "Refused: the message's chain of seals is broken (ARC)", "End of data: a rule that rejects, and ARC failed.";
    DMARC_FAILED = 550 "5.7.26" "Refused: {detail}, the domain in From, does not stand behind the message (DMARC)", "End of data: a rule that rejects, or the domain's policy, and DMARC failed.";
    AUTHOR_UNCLEAR = 550 "5.7.1" "Refused: a message needs one From field, with addresses of one domain", "End of data: a rule that rejects, or the domain's policy, and the message has no From, several, or one that DMARC cannot be asked about.";
    HEADER_UNCLEAR = 550 "5.6.0" "Refused: the header is too long, or has a NUL or a line that is no field", "End of data: a rule that rejects, or a policy, and DKIM, ARC, DMARC or a milter cannot look at the header.";
    ATTACHMENT_REFUSED = 550 "5.7.1" "Refused: the message has an attachment of a kind that is not taken here", "End of data: a rule that rejects, and an attachment by name or size; or a message made of too many parts.";
    CONTENT_REFUSED = 550 "5.7.1" "Refused: the message is taken for spam or worse", "End of data: a rule that rejects, and rspamd, a milter or a service of the operator's says no.";
    MILTER_REFUSES = 550 "5.7.1" "{detail}", "End of data: a rule that follows a milter, and it refuses in words of its own.";
    MILTER_DEFERS = 451 "4.7.1" "{detail}", "End of data: a rule that follows a milter, and it has the client come back in words of its own.";
    GREYLISTED = 451 "4.7.1" "You are new here, please try again in a few minutes", "MAIL: greylisting, and the sender has not come before.";
    SCREENING_DEFERS = 451 "4.7.1" "The message did not pass a check, try again later", "MAIL or end of data: a rule that defers, and its check failed.";
    SCREENING_UNSURE = 451 "4.7.0" "Whether the message is what it says cannot be told now, try again later", "MAIL or end of data: a rule that defers, and DNS or a service does not answer.";

    // Ourselves.
    STORE_FULL = 452 "4.3.1" "{host} Out of storage, try again later", "R6, MAIL, DATA or end of data: the disk is full.";
    STORE_SLOW = 451 "4.3.2" "{host} Mail is stored slowly at present, try again later", "R5, MAIL or DATA: the reply to the message would come too late; at the end of data it has.";
    STORE_UNAVAILABLE = 451 "4.3.0" "Mail store unavailable, try again later", "The store failed, or whether it succeeded is not known.";
    UNANSWERED = 451 "4.3.0" "Local error, try again later", "A fault of ours: a question was left without an answer.";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(reply: Reply, blanks: &Blanks<'_>) -> String {
        let mut out = BytesMut::new();
        reply.render(blanks, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn codes_agree_and_blanks_are_known() {
        for reply in Reply::ALL {
            let class = reply.code() / 100;
            let bare = class == 3 || matches!(reply.name(), "GREETING" | "HELLO");
            assert_eq!(reply.enhanced().is_empty(), bare, "{reply:?}");
            assert!(bare || reply.enhanced().starts_with(&format!("{class}.")), "{reply:?}");
            assert!(reply.code() != 421 || reply.text().starts_with("{host} "), "{reply:?} names us");
            for blank in reply.text().split('{').skip(1) {
                assert!(["host}", "peer}", "n}", "detail}"].iter().any(|known| blank.starts_with(known)), "{reply:?}");
            }
            assert!(reply.text().is_ascii() && !reply.when().is_empty());
            assert_eq!(Reply::ALL.iter().filter(|other| other.name() == reply.name()).count(), 1);
        }
    }

    #[test]
    fn blanks_are_filled() {
        let blanks = Blanks { host: "mx.example", peer: Some("::ffff:192.0.2.7".parse().unwrap()), ..Blanks::default() };
        assert_eq!(rendered(Reply::HELLO, &blanks), "250 mx.example greets [192.0.2.7]\r\n");
        assert_eq!(rendered(Reply::CHUNK_TAKEN.with(10), &blanks), "250 2.0.0 10 octets received\r\n");
        assert_eq!(rendered(Reply::AUTH_CHALLENGE, &Blanks::default()), "334 \r\n");
        assert_eq!(rendered(Reply::ACCEPTED, &Blanks { detail: Some(&"01ARZ3"), ..Blanks::default() }), "250 2.0.0 01ARZ3 accepted\r\n");
    }

    #[test]
    fn every_line_has_code_and_enhanced_code() {
        let help = rendered(Reply::HELP, &Blanks { detail: Some(&"EHLO"), ..Blanks::default() });
        assert!(help.starts_with("214-2.0.0 EHLO\r\n214 2.0.0 RFC 5321"));
    }

    #[test]
    fn a_refusal_is_one_short_line_with_everything_but_our_name_whole() {
        let labels = ["mx1", &"b".repeat(60), &"c".repeat(60), &"d".repeat(60), &"e".repeat(60)].join(".");
        for host in [labels.as_str(), &"h".repeat(mail::DOMAIN_OCTETS), "mx.example"] {
            let peer = IpAddr::from([0xffff; 8]);
            let blanks = Blanks { host, peer: Some(peer), ..Blanks::default() };
            for reply in Reply::ALL.iter().filter(|reply| reply.code() >= 400) {
                let line = rendered(reply.with(u64::MAX).signed(Token::new("R10", u64::MAX)), &blanks);
                assert!(line.len() <= REFUSAL_OCTETS && line.matches("\r\n").count() == 1, "{line}");
                let text = reply.text().replace("{n}", &u64::MAX.to_string());
                let (_, text) = text.split_once("{host}").unwrap_or(("", &text));
                assert!(
                    line.ends_with(&format!(
                        "{} [R10.fzzzzzzzzzzzz]\r\n",
                        text.replace("{detail}", "").replace("{peer}", &peer.to_string())
                    )),
                    "{line}"
                );
            }
        }
        let line = rendered(Reply::PLACE_NEEDED.signed(Token::new("R7", 1)), &Blanks { host: &labels, ..Blanks::default() });
        let kept = ["mx1", &"b".repeat(60), &"c".repeat(60)].join(".");
        assert_eq!(line, format!("421 4.3.2 {kept} Place needed, reconnect any time [R7.0001]\r\n"));
    }

    #[test]
    fn rules_are_named_by_their_ids() {
        let rules = Reply::ALL.iter().filter_map(|reply| reply.when().split_once([':', ',']).filter(|(rule, _)| rule.starts_with('R')));
        let ids = ["R1", "R5", "R6", "R7", "R8", "R9", "R11"];
        assert_eq!(rules.clone().filter(|(rule, _)| ids.contains(rule)).count(), 12);
    }

    #[test]
    fn no_line_is_too_long() {
        let host = "h".repeat(mail::DOMAIN_OCTETS);
        let blanks = Blanks { host: &host, peer: Some(IpAddr::from([0xffff; 8])), detail: Some(&host) };
        for reply in Reply::ALL {
            assert!(rendered(reply.with(u64::MAX), &blanks).split_inclusive("\r\n").all(|line| line.len() <= REPLY_LINE_BYTES));
        }
        let long = "d".repeat(1000);
        assert_eq!(rendered(Reply::ACCEPTED, &Blanks { detail: Some(&long), ..blanks }).len(), REPLY_LINE_BYTES);
    }
}
