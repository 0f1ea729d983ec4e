//! What happens inside of AUTH (RFC 5034): PLAIN (RFC 4616) and LOGIN (as Outlook speaks it) to their end, and the rounds of the
//! mechanisms that the listener leads.
//!
//! Decoded passwords and responses live in [`Secret`]s from the first moment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::{Mechanism, Mechanisms, Secret};

use crate::reply::{Refusal, Reply};

/// What a client has said to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A name and a password.
    Password(Credentials),
    /// A response of a mechanism that the listener leads.
    Response(Response),
}

/// What a client claims, to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How they came; none is USER and PASS (RFC 1939 §7).
    pub mechanism: Option<Mechanism>,
    /// Whose password it is. Not empty, otherwise as sent.
    pub authcid: Box<str>,
    /// As whom the client wants to act, where it says so (RFC 4616 §2).
    pub authzid: Option<Box<str>>,
    /// The password; any octets.
    pub password: Secret,
}

/// One response of an exchange that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Of which mechanism.
    pub mechanism: Mechanism,
    /// Whether it is the first of its exchange.
    pub first: bool,
    /// What it says, base64 taken off; any octets, fewer than an [AUTH line](crate::limits::AUTH_LINE_OCTETS) has.
    pub octets: Secret,
}

impl Said {
    /// The word for how it was said, as the log has it.
    pub fn method(&self) -> &'static str {
        match self {
            Self::Password(Credentials { mechanism: None, .. }) => "USER",
            Self::Password(Credentials { mechanism: Some(mechanism), .. }) | Self::Response(Response { mechanism, .. }) => mechanism.name(),
        }
    }
}

/// An exchange that waits for the client's next response.
pub(crate) enum Exchange {
    Plain,
    LoginName,
    LoginPassword(Box<str>),
    Led { mechanism: Mechanism, first: bool },
}

/// What a response leads to.
pub(crate) enum Outcome {
    Ask(Said),
    Challenge(Exchange),
}

impl Exchange {
    /// Begins with the mechanism of this name, if it is one of those offered.
    pub(crate) fn begin(name: &[u8], offered: Mechanisms) -> Result<Self, Refusal> {
        match offered.named(name).ok_or(Refusal::UnknownMechanism)? {
            Mechanism::Login => Ok(Self::LoginName),
            Mechanism::Plain => Ok(Self::Plain),
            mechanism => Ok(Self::Led { mechanism, first: true }),
        }
    }

    /// What the client is asked for.
    pub(crate) fn challenge(&self) -> Reply<'static> {
        match self {
            Self::Plain | Self::Led { .. } => Reply::Challenge { octets: b"" },
            Self::LoginName => Reply::Challenge { octets: b"Username:" },
            Self::LoginPassword(_) => Reply::Challenge { octets: b"Password:" },
        }
    }

    /// An initial response: `=` stands for an empty one (RFC 5034 §4).
    pub(crate) fn initial(self, response: &[u8]) -> Result<Outcome, Refusal> {
        self.respond(if response == b"=" { b"" } else { response })
    }

    /// A response line; `*` cancels.
    pub(crate) fn respond(self, response: &[u8]) -> Result<Outcome, Refusal> {
        if response == b"*" {
            return Err(Refusal::Cancelled);
        }
        let decoded = Secret::new(STANDARD.decode(response).map_err(|_| Refusal::BadResponse)?);
        match self {
            Self::Plain => plain(&decoded).map(Said::Password).map(Outcome::Ask),
            Self::LoginName => name(decoded.expose()).map(Self::LoginPassword).map(Outcome::Challenge),
            Self::LoginPassword(authcid) => {
                let mechanism = Some(Mechanism::Login);
                Ok(Outcome::Ask(Said::Password(Credentials { mechanism, authcid, authzid: None, password: decoded })))
            }
            Self::Led { mechanism, first } => Ok(Outcome::Ask(Said::Response(Response { mechanism, first, octets: decoded }))),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`
fn plain(message: &Secret) -> Result<Credentials, Refusal> {
    let mut parts = message.expose().split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::BadResponse);
    };
    let authzid = if authzid.is_empty() { None } else { Some(name(authzid)?) };
    Ok(Credentials { mechanism: Some(Mechanism::Plain), authcid: name(authcid)?, authzid, password: Secret::new(password) })
}

fn name(octets: &[u8]) -> Result<Box<str>, Refusal> {
    if octets.is_empty() || octets.contains(&0) {
        return Err(Refusal::BadResponse);
    }
    std::str::from_utf8(octets).map(Box::from).map_err(|_| Refusal::NameNotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responded(exchange: Exchange, response: &[u8]) -> Result<Credentials, Refusal> {
        match exchange.respond(STANDARD.encode(response).as_bytes())? {
            Outcome::Ask(Said::Password(credentials)) => Ok(credentials),
            Outcome::Ask(_) | Outcome::Challenge(_) => panic!("one response says it all"),
        }
    }

    #[test]
    fn plain_responses() {
        let mrose = responded(Exchange::Plain, b"\0mrose\0tanstaaf").unwrap();
        assert_eq!((&*mrose.authcid, &mrose.authzid, &mrose.password), ("mrose", &None, &Secret::new("tanstaaf")));
        let root = responded(Exchange::Plain, b"root\0mrose\0tanstaaf").unwrap();
        assert_eq!(root, Credentials { authzid: Some("root".into()), ..mrose });
        for malformed in [&b""[..], b"\0mrose", b"\0mrose\0tan\0staaf", b"\0\0tanstaaf"] {
            assert_eq!(responded(Exchange::Plain, malformed), Err(Refusal::BadResponse), "{malformed:?}");
        }
        assert_eq!(responded(Exchange::Plain, b"\0\xff\0tanstaaf"), Err(Refusal::NameNotUtf8));
    }

    #[test]
    fn responses_that_are_not_base64() {
        for response in [&b"!"[..], b"bXJvc2", b"bXJvc2U", b"bXJvc2U=\n", b" bXJvc2U="] {
            assert!(matches!(Exchange::LoginName.respond(response), Err(Refusal::BadResponse)), "{response:?}");
        }
        assert!(matches!(Exchange::LoginName.respond(b"*"), Err(Refusal::Cancelled)));
        assert!(matches!(Exchange::LoginName.initial(b"="), Err(Refusal::BadResponse)));
    }
}
