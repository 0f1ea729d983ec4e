//! What the operator decides for a listener, and what is known of a connection before its first octet.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use mail::{Domain, Mechanism, Mechanisms, Release};

use crate::limits;

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Port 25: takes mail from other hosts; nobody has to authenticate.
    Relay,
    /// Ports 587 and 465 (RFC 6409): MAIL only after AUTH, AUTH only under TLS.
    Submission,
    /// LMTP (RFC 2033): takes mail from servers of ours, and answers for each recipient.
    Lmtp,
}

/// A listener's settings, shared by its sessions. A reload makes new ones for new sessions.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name this host gives itself in greeting and replies.
    pub host: Domain,
    /// What the listener is for.
    pub role: Role,
    /// Whether STARTTLS is offered in clear (RFC 3207).
    pub starttls: bool,
    /// Whether AUTH is offered under TLS (RFC 4954).
    pub auth: bool,
    /// By which mechanisms, where the connection is fit for them.
    pub mechanisms: Mechanisms,
    /// The largest message, in octets, announced by SIZE (RFC 1870).
    pub message_bytes: u64,
    /// Accepted recipients in one transaction; RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients: u32,
    /// Commands that are wrong, AUTH told to try later among them, before the session is closed; an accepted message starts the count again.
    pub bad_commands: u16,
    /// Commands that bring no message nearer (NOOP, RSET, VRFY and their like, and MAIL told to try later) before the session is closed;
    /// counted likewise.
    pub idle_commands: u16,
    /// Recipients refused for good before the session is closed; an accepted message does not start the count again.
    pub refused_recipients: u16,
    /// Wrong passwords before the session is closed.
    pub auth_failures: u16,
    /// How long a client may take.
    pub timing: Timing,
}

/// How long a client may take. Only time in which we wait for the client counts, never the store's or our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For one whole command line, from when we began to wait for it (RFC 5321 §4.5.3.2.7 asks for 5 minutes). An octet now and
    /// then does not start it again.
    pub command: Duration,
    /// From one piece of a message to the next (RFC 5321 §4.5.3.2.5: 3 minutes).
    pub data_block: Duration,
    /// Octets of message a second, on average since its beginning and after [`Timing::data_grace`]; 0 for no such rule.
    pub data_rate_bytes: u32,
    /// What a message may take beyond what its rate allows.
    pub data_grace: Duration,
    /// For the whole session, whatever it is doing.
    pub session: Duration,
}

impl Settings {
    /// Port 25: STARTTLS offered, no AUTH, the defaults of [`limits::TABLE`].
    pub fn relay(host: Domain) -> Self {
        Self {
            host,
            role: Role::Relay,
            starttls: true,
            auth: false,
            mechanisms: Mechanisms::PASSWORD,
            message_bytes: limits::MESSAGE_BYTES,
            recipients: limits::RECIPIENTS,
            bad_commands: limits::BAD_COMMANDS,
            idle_commands: limits::IDLE_COMMANDS,
            refused_recipients: limits::REFUSED_RECIPIENTS,
            auth_failures: limits::AUTH_FAILURES,
            timing: Timing::default(),
        }
    }

    /// LMTP: as [`Settings::relay`], but for LHLO and the replies.
    pub fn lmtp(host: Domain) -> Self {
        Self { role: Role::Lmtp, ..Self::relay(host) }
    }

    /// Ports 587 and 465: as [`Settings::relay`], and AUTH is offered under TLS and asked for.
    pub fn submission(host: Domain) -> Self {
        Self { role: Role::Submission, auth: true, ..Self::relay(host) }
    }

    /// The mechanisms that AUTH takes on a connection with this TLS: bound to the channel only where it can be told from others, and by
    /// certificate only where there is one.
    pub(crate) fn offered(&self, tls: Tls, withheld: Mechanisms) -> Mechanisms {
        let mut offered = self.mechanisms.except(withheld);
        if !tls.exporter {
            offered = offered.without(Mechanism::ScramSha256Plus);
        }
        if !tls.certificate {
            offered = offered.without(Mechanism::External);
        }
        offered
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            command: limits::COMMAND_WAIT,
            data_block: limits::DATA_BLOCK_WAIT,
            data_rate_bytes: limits::DATA_RATE_BYTES,
            data_grace: limits::DATA_GRACE,
            session: limits::SESSION,
        }
    }
}

/// What is known of a connection before its first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstance {
    /// The client's address.
    pub peer: IpAddr,
    /// The TLS it speaks, when the listener began with TLS.
    pub tls: Option<Tls>,
    /// Whether it may say for whom it speaks, by XCLIENT.
    pub xclient: bool,
    /// Transactions it may begin, from 1 to [`limits::MAILS_MOST`], announced by LIMITS (RFC 9422); none for no limit.
    pub mails: Option<u32>,
    /// How long a message may be held for whoever submits it (RFC 4865); none where that is not offered.
    pub future_release: Option<FutureRelease>,
    /// Mechanisms of [`Settings::mechanisms`] that are neither offered nor taken in this session.
    pub withheld: Mechanisms,
}

/// How long a message may be held for its sender: what EHLO announces, and what is refused beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FutureRelease {
    /// Seconds, up to 999,999,999.
    pub interval: NonZeroU32,
    /// The time so long after the session's beginning, in seconds since 1970: eight octets in all, because every session has them.
    pub until: u32,
}

impl FutureRelease {
    /// Seconds from the session's beginning, or from the message's arrival, to the release; negative when it is over.
    pub(crate) fn wait(self, release: Release) -> i64 {
        match release {
            Release::After(seconds) => seconds.into(),
            Release::At(time) => time.saturating_sub(i64::from(self.until) - i64::from(self.interval.get())),
        }
    }
}

impl Circumstance {
    /// A client in clear that is nobody special.
    pub fn new(peer: IpAddr) -> Self {
        Self { peer, tls: None, xclient: false, mails: None, future_release: None, withheld: Mechanisms::NONE }
    }
}

/// The TLS of a connection, in words for the Received field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tls {
    /// As in `TLSv1.3`.
    pub version: &'static str,
    /// As in `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// Whether the listener has what identifies the channel (`tls-exporter`, RFC 9266).
    pub exporter: bool,
    /// Whether the client has a certificate that was verified, and names a mailbox.
    pub certificate: bool,
}
