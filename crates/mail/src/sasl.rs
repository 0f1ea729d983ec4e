//! SASL mechanisms by their names (RFC 4422 §3.1), sets of them, and the [exchange](Exchange) in which a client uses one.

mod exchange;

use std::fmt;

pub use exchange::{Credentials, Exchange, Fault, Response, Said, Turn};

/// A mechanism. In the order in which they are announced, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Who the client's certificate says it is (RFC 4422 appendix A).
    External,
    /// SCRAM-SHA-256 bound to its TLS channel (RFC 5802, RFC 7677, RFC 9266).
    ScramSha256Plus,
    /// SCRAM-SHA-256 (RFC 5802, RFC 7677).
    ScramSha256,
    /// A bearer token (RFC 7628).
    OauthBearer,
    /// A bearer token as Google and Microsoft began to take it, before RFC 7628.
    Xoauth2,
    /// RFC 4616.
    Plain,
    /// `draft-murchison-sasl-login`, which Outlook still prefers.
    Login,
}

impl Mechanism {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::External, Self::ScramSha256Plus, Self::ScramSha256, Self::OauthBearer, Self::Xoauth2, Self::Plain, Self::Login];

    /// Its registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// A set of mechanisms. Displays as their names with blanks between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// None.
    pub const NONE: Self = Self(0);
    /// A name and a password: PLAIN and LOGIN.
    pub const PASSWORD: Self = Self(0).with(Mechanism::Plain).with(Mechanism::Login);
    /// Both forms of SCRAM-SHA-256.
    pub const SCRAM: Self = Self(0).with(Mechanism::ScramSha256Plus).with(Mechanism::ScramSha256);

    /// Both that take a bearer token.
    pub const TOKENS: Self = Self(0).with(Mechanism::OauthBearer).with(Mechanism::Xoauth2);

    /// With one more.
    pub const fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | 1 << mechanism as u16)
    }

    /// Without this one.
    pub const fn without(self, mechanism: Mechanism) -> Self {
        Self(self.0 & !(1 << mechanism as u16))
    }

    /// Without any of those.
    pub const fn except(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Those of both.
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether it is one of them.
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }

    /// Each, the strongest first.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |mechanism| self.contains(*mechanism))
    }

    /// The one of this name, without regard to case.
    pub fn named(self, name: &[u8]) -> Option<Mechanism> {
        self.iter().find(|mechanism| mechanism.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Mechanisms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for mechanism in self.iter() {
            write!(f, "{between}{}", mechanism.name())?;
            between = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let all = Mechanisms::PASSWORD.and(Mechanisms::SCRAM);
        assert_eq!(all.to_string(), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(all.without(Mechanism::ScramSha256Plus).to_string(), "SCRAM-SHA-256 PLAIN LOGIN");
        assert_eq!(all.except(Mechanisms::SCRAM), Mechanisms::PASSWORD);
        assert_eq!(all.named(b"scram-sha-256"), Some(Mechanism::ScramSha256));
        assert_eq!(Mechanisms::PASSWORD.named(b"SCRAM-SHA-256"), None);
        assert_eq!(all.iter().count(), 4);
    }
}
