//! CAPA (RFC 2449 §5): the same in both states, and only what can be had on this connection.
//!
//! Without TLS neither USER nor SASL is announced, so that no client is led to say a password in clear. IMPLEMENTATION names us
//! without a version: whoever reads it here has not logged in.

use crate::reply::Reply;
use crate::session::Session;

impl Session {
    pub(crate) fn capabilities(&mut self) {
        self.say(Reply::Capabilities);
        ALWAYS.into_iter().for_each(|capability| self.say(capability));
        if self.tls.is_some() {
            self.say("USER");
            self.say(format_args!("SASL {}", self.offered()));
        } else if self.settings.stls {
            self.say("STLS");
        }
        if let Some(delay) = self.settings.login_delay {
            self.say(format_args!("LOGIN-DELAY {}", delay.as_secs()));
        }
        self.say(".");
    }
}

const ALWAYS: [&str; 8] = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "UTF8", "EXPIRE NEVER", "IMPLEMENTATION Gatepost"];
