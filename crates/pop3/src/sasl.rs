//! The two password mechanisms: PLAIN (RFC 4616) and LOGIN (as Outlook speaks it), inside of AUTH (RFC 5034).
//!
//! Decoded passwords live in [`Secret`]s from the first moment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail::Secret;

use crate::reply::{Refusal, Reply};

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// USER and PASS (RFC 1939 §7).
    User,
    /// SASL PLAIN.
    Plain,
    /// SASL LOGIN.
    Login,
}

impl Mechanism {
    /// The word for it, as CAPA and the log have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }
}

/// What CAPA and AUTH announce.
pub(crate) const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

/// What a client claims, to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How they came.
    pub mechanism: Mechanism,
    /// Whose password it is. Not empty, otherwise as sent.
    pub authcid: Box<str>,
    /// As whom the client wants to act, where it says so (RFC 4616 §2).
    pub authzid: Option<Box<str>>,
    /// The password; any octets.
    pub password: Secret,
}

/// An exchange that waits for the client's next response.
pub(crate) enum Exchange {
    Plain,
    LoginName,
    LoginPassword(Box<str>),
}

/// What a response leads to.
pub(crate) enum Outcome {
    Ask(Credentials),
    Challenge(Exchange),
}

impl Exchange {
    pub(crate) fn begin(mechanism: &[u8]) -> Result<Self, Refusal> {
        let named = MECHANISMS.into_iter().find(|known| known.name().as_bytes().eq_ignore_ascii_case(mechanism));
        match named.ok_or(Refusal::UnknownMechanism)? {
            Mechanism::Login => Ok(Self::LoginName),
            Mechanism::Plain | Mechanism::User => Ok(Self::Plain),
        }
    }

    /// What the client is asked for.
    pub(crate) fn challenge(&self) -> Reply<'static> {
        match self {
            Self::Plain => Reply::ChallengeEmpty,
            Self::LoginName => Reply::ChallengeUsername,
            Self::LoginPassword(_) => Reply::ChallengePassword,
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
            Self::Plain => plain(&decoded).map(Outcome::Ask),
            Self::LoginName => name(decoded.expose()).map(Self::LoginPassword).map(Outcome::Challenge),
            Self::LoginPassword(authcid) => {
                Ok(Outcome::Ask(Credentials { mechanism: Mechanism::Login, authcid, authzid: None, password: decoded }))
            }
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
    Ok(Credentials { mechanism: Mechanism::Plain, authcid: name(authcid)?, authzid, password: Secret::new(password) })
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
            Outcome::Ask(credentials) => Ok(credentials),
            Outcome::Challenge(_) => panic!("one response says it all"),
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
