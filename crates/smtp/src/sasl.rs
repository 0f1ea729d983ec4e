//! Authentication exchanges (RFC 4954 §4): each mechanism is a small state machine in a module of its own.
//!
//! The exchange takes the client's responses, decoded, and gives challenges until it has credentials or finds that a response is
//! not well formed. Who the credentials belong to is asked of the listener. A mechanism that must look something up in the
//! middle (SCRAM) becomes one more variant of [`Exchange`] and of [`Next`].

mod login;
mod plain;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::Secret;

/// A mechanism we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// `draft-murchison-sasl-login`, which Outlook still prefers.
    Login,
}

impl Mechanism {
    /// The line EHLO answers.
    pub(crate) const OFFER: &'static str = "AUTH PLAIN LOGIN";

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Login].into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What a client claims, to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How they came.
    pub mechanism: Mechanism,
    /// Whose password it is.
    pub authcid: Box<str>,
    /// As whom the client wants to act, where it says so (RFC 4616 §2).
    pub authzid: Option<Box<str>>,
    /// The password.
    pub password: Secret,
}

/// An exchange under way.
#[derive(Debug)]
pub(crate) enum Exchange {
    Plain,
    Login(login::Login),
}

/// How it goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// Base64, to be sent as it is.
    Challenge(&'static str),
    Credentials(Credentials),
    Malformed,
}

impl Exchange {
    pub(crate) fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::Login(login::Login::default()),
        }
    }

    /// The first challenge, when the client sent no initial response.
    pub(crate) fn begin(&self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Login(_) => login::USERNAME,
        }
    }

    /// Takes a response in base64.
    pub(crate) fn respond(&mut self, response: &str) -> Next {
        let Ok(decoded) = STANDARD.decode(response).map(Secret::new) else { return Next::Malformed };
        match self {
            Self::Plain => plain::respond(decoded.expose()).map_or(Next::Malformed, Next::Credentials),
            Self::Login(login) => login.respond(&decoded),
        }
    }

    /// Takes an initial response, in which `=` stands for an empty one (RFC 4954 §4).
    pub(crate) fn respond_initially(&mut self, response: &str) -> Next {
        self.respond(if response == "=" { "" } else { response })
    }
}
