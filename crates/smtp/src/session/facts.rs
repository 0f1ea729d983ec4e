//! What others may know of a session: for the log, the trace fields, and those who account for its time.

use std::net::IpAddr;

use super::{Session, Stage};
use crate::{Reply, Role, Tls};

/// What a session is doing, for those who account for its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not introduced: EHLO or HELO is still to come.
    Greeted,
    /// Between transactions.
    Idle,
    /// In an AUTH exchange.
    Authenticating,
    /// Between MAIL and DATA.
    Envelope,
    /// Receiving a message.
    Message,
    /// STARTTLS was accepted.
    Upgrading,
    /// The last reply has been given.
    Closing,
}

impl Session {
    /// The row of the last reply, once that has been given: how the session has ended.
    pub fn farewell(&self) -> Option<Reply> {
        match self.stage {
            Stage::Close(reply) => Some(reply),
            _ => None,
        }
    }

    /// The client's address.
    pub fn peer(&self) -> IpAddr {
        self.circumstance.peer
    }

    /// The connection's TLS.
    pub fn tls(&self) -> Option<Tls> {
        self.circumstance.tls
    }

    /// What the client called itself; letters, digits and `-_.:[]` only.
    pub fn helo(&self) -> Option<&str> {
        self.helo.as_deref()
    }

    /// Who has authenticated.
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Commands so far, before TLS too.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// Whether a transaction is open: from MAIL's 250 to the reply to the message, RSET, or a fault that ends it.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Recipients accepted in this transaction.
    pub fn recipients(&self) -> u32 {
        self.transaction.as_ref().map_or(0, |transaction| transaction.recipients)
    }

    /// What the session is doing.
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Close(_) => Phase::Closing,
            Stage::Upgrade => Phase::Upgrading,
            Stage::Text(_) | Stage::Chunk { .. } | Stage::Discard { .. } => Phase::Message,
            Stage::Sasl(_) => Phase::Authenticating,
            Stage::Command if self.transaction.is_some() => Phase::Envelope,
            Stage::Command if self.helo.is_some() => Phase::Idle,
            Stage::Command => Phase::Greeted,
        }
    }

    /// The word after `with` in the Received field (RFC 3848, RFC 6531 §4.3).
    pub fn protocol(&self) -> &'static str {
        let utf8 = self.transaction.as_ref().is_some_and(|transaction| transaction.utf8);
        let guarded = (utf8, self.circumstance.tls.is_some(), self.identity.is_some());
        if self.settings.role == Role::Lmtp {
            return match guarded {
                (false, false, false) => "LMTP",
                (false, false, true) => "LMTPA",
                (false, true, false) => "LMTPS",
                (false, true, true) => "LMTPSA",
                (true, false, false) => "UTF8LMTP",
                (true, false, true) => "UTF8LMTPA",
                (true, true, false) => "UTF8LMTPS",
                (true, true, true) => "UTF8LMTPSA",
            };
        }
        let (utf8, tls, identified) = guarded;
        match (self.extended, utf8, tls, identified) {
            (false, ..) => "SMTP",
            (true, false, false, false) => "ESMTP",
            (true, false, false, true) => "ESMTPA",
            (true, false, true, false) => "ESMTPS",
            (true, false, true, true) => "ESMTPSA",
            (true, true, false, false) => "UTF8SMTP",
            (true, true, false, true) => "UTF8SMTPA",
            (true, true, true, false) => "UTF8SMTPS",
            (true, true, true, true) => "UTF8SMTPSA",
        }
    }
}
