//! What the operator decides for a listener, and what is known of a connection before its first octet.

use std::time::Duration;

use mail::{Domain, Mechanisms};

use crate::{Error, limits};

/// A listener's settings, shared by its sessions. [`Settings::check`] says whether they may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Our own name, in the greeting and the farewell.
    pub host: Domain,
    /// Whether STLS is offered in clear (RFC 2595).
    pub stls: bool,
    /// The mechanisms of AUTH under TLS, where the connection is fit for them (RFC 5034).
    pub mechanisms: Mechanisms,
    /// The least time between two logins, as CAPA announces it (RFC 2449 §6.5). Whoever answers [`Auth`](crate::Auth) enforces it.
    pub login_delay: Option<Duration>,
    /// Commands that are wrong before the session is closed.
    pub bad_commands: u16,
    /// Logins that are refused, for whatever reason, before the session is closed.
    pub auth_failures: u16,
    /// How long a client may take.
    pub timing: Timing,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From the greeting to a successful login, however many commands that takes and whether or not STLS is one of them.
    pub login: Duration,
    /// After it, for one whole command line from when we began to wait for it; at least ten minutes (RFC 1939 §3).
    pub autologout: Duration,
    /// For the whole session, whatever it is doing.
    pub session: Duration,
}

impl Settings {
    /// STLS offered, no login delay, the defaults of [`limits::TABLE`].
    pub fn new(host: Domain) -> Self {
        Self {
            host,
            stls: true,
            mechanisms: Mechanisms::PASSWORD,
            login_delay: None,
            bad_commands: limits::BAD_COMMANDS,
            auth_failures: limits::AUTH_FAILURES,
            timing: Timing::default(),
        }
    }

    /// Whether a server may run with these.
    ///
    /// # Errors
    /// [`Error::HostNotAscii`], [`Error::AutologoutTooShort`].
    pub fn check(&self) -> Result<(), Error> {
        if !self.host.is_ascii() {
            return Err(Error::HostNotAscii);
        }
        if self.timing.autologout < limits::AUTOLOGOUT_AT_LEAST {
            return Err(Error::AutologoutTooShort);
        }
        Ok(())
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self { login: limits::LOGIN, autologout: limits::AUTOLOGOUT, session: limits::SESSION }
    }
}

/// What is known of a connection before its first octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstance {
    /// The TLS it speaks, when the listener began with TLS.
    pub tls: Option<Tls>,
}

/// The TLS of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether the listener has what identifies the channel (`tls-exporter`, RFC 9266).
    pub exporter: bool,
    /// Whether the client has a certificate that was verified, and names a mailbox.
    pub certificate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_settings_pass_and_faulty_ones_do_not() {
        let usual = Settings::new("mail.example".parse().unwrap());
        assert_eq!(usual.check(), Ok(()));
        let timing = Timing { autologout: Duration::from_secs(599), ..Timing::default() };
        assert_eq!(Settings { timing, ..usual.clone() }.check(), Err(Error::AutologoutTooShort));
        let foreign = Settings { host: "müller.example".parse().unwrap(), ..usual };
        assert_eq!(foreign.check(), Err(Error::HostNotAscii));
    }
}
