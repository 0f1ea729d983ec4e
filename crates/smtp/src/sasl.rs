//! Authentication exchanges (RFC 4954 §4): each mechanism is a small state machine in a module of its own.
//!
//! The exchange takes the client's responses, decoded, and gives challenges until it has credentials or finds that a response is
//! not well formed. Who the credentials belong to is asked of the listener. A mechanism whose challenges take more than
//! is known here is [led](Exchange::Led) by the listener: each response is a question to it.

mod login;
mod plain;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{Mechanism, Secret};

/// What the client has said in an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Who it is and what proves it, all of it.
    Password(Credentials),
    /// A response of a mechanism that the listener leads.
    Response(Response),
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

/// One response of an exchange that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Of which mechanism.
    pub mechanism: Mechanism,
    /// Whether it is the first of its exchange.
    pub first: bool,
    /// What it says, base64 taken off; any octets, fewer than an [AUTH line](crate::limits::AUTH_LINE_BYTES) has.
    pub octets: Secret,
}

impl Said {
    /// The mechanism it was said in.
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password(credentials) => credentials.mechanism,
            Self::Response(response) => response.mechanism,
        }
    }
}

/// An exchange under way.
#[derive(Debug)]
pub(crate) enum Exchange {
    Plain,
    Login(login::Login),
    Led { mechanism: Mechanism, first: bool },
}

/// How it goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// Base64, to be sent as it is.
    Challenge(&'static str),
    Said(Said),
    Malformed,
}

impl Exchange {
    pub(crate) fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::Login(login::Login::default()),
            _ => Self::Led { mechanism, first: true },
        }
    }

    /// The first challenge, when the client sent no initial response.
    pub(crate) fn begin(&self) -> &'static str {
        match self {
            Self::Plain | Self::Led { .. } => "",
            Self::Login(_) => login::USERNAME,
        }
    }

    /// Takes a response in base64.
    pub(crate) fn respond(&mut self, response: &str) -> Next {
        let Ok(decoded) = STANDARD.decode(response).map(Secret::new) else { return Next::Malformed };
        match self {
            Self::Plain => plain::respond(decoded.expose()).map_or(Next::Malformed, |credentials| Next::Said(Said::Password(credentials))),
            Self::Login(login) => login.respond(&decoded),
            Self::Led { mechanism, first } => {
                Next::Said(Said::Response(Response { mechanism: *mechanism, first: *first, octets: decoded }))
            }
        }
    }

    /// Takes an initial response, in which `=` stands for an empty one (RFC 4954 §4).
    pub(crate) fn respond_initially(&mut self, response: &str) -> Next {
        self.respond(if response == "=" { "" } else { response })
    }
}
