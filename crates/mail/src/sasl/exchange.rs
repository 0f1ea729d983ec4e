//! An authentication exchange as SMTP (RFC 4954 §4) and POP3 (RFC 5034 §4) have it: the client's responses, line by line.
//!
//! PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login) go to their end here. A mechanism whose challenges take more than is known here is
//! [led](Exchange::Led) by the listener: each response is a question to it. Whose the credentials are is asked of the listener, too.
//!
//! Guarantees: names are UTF-8 and not empty; passwords and responses live in [`Secret`]s from the first moment. Refuses what is not base64 or
//! not what the mechanism asks for, with a [`Fault`]; the exchange is over then.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Mechanism;
use crate::Secret;

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
    /// How they came; none is POP3's USER and PASS (RFC 1939 §7).
    pub mechanism: Option<Mechanism>,
    /// Whose password it is. Not empty, otherwise as sent.
    pub authcid: Box<str>,
    /// As whom the client wants to act, where it says so (RFC 4616 §2).
    pub authzid: Option<Box<str>>,
    /// The password; any octets, so that one in another charset is wrong and not malformed.
    pub password: Secret,
}

/// One response of an exchange that has several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Of which mechanism.
    pub mechanism: Mechanism,
    /// Whether it is the first of its exchange.
    pub first: bool,
    /// What it says, base64 taken off; any octets, fewer than a line of AUTH may have.
    pub octets: Secret,
}

/// An exchange that waits for the client's next response.
#[derive(Debug)]
pub enum Exchange {
    /// All of it comes at once.
    Plain,
    /// The name is next.
    LoginName,
    /// The password of this name is next.
    LoginPassword(Box<str>),
    /// What comes is for the listener.
    Led {
        /// The mechanism.
        mechanism: Mechanism,
        /// Nothing has been said in it yet.
        first: bool,
    },
}

/// What a response leads to.
#[derive(Debug)]
pub enum Turn {
    /// A question to the listener.
    Ask(Said),
    /// The client is asked for more, by the exchange's [prompt](Exchange::prompt).
    Prompt(Exchange),
}

/// Why an exchange is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client gave up, by `*`.
    Cancelled,
    /// Not base64, or not what the mechanism asks for.
    Malformed,
    /// A name is not UTF-8.
    NameNotUtf8,
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

impl Exchange {
    /// One that begins.
    pub fn new(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::Login => Self::LoginName,
            _ => Self::Led { mechanism, first: true },
        }
    }

    /// What the client is asked with, base64 not yet put on.
    pub fn prompt(&self) -> &'static [u8] {
        match self {
            Self::Plain | Self::Led { .. } => b"",
            Self::LoginName => b"Username:",
            Self::LoginPassword(_) => b"Password:",
        }
    }

    /// Begins with what came with the command, if anything did: `=` stands for an empty response.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn begin(self, initial: Option<&[u8]>) -> Result<Turn, Fault> {
        match initial {
            None => Ok(Turn::Prompt(self)),
            Some(b"=") => self.take(b""),
            Some(response) => self.take(response),
        }
    }

    /// A response's line: base64, or `*` to give up.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn respond(self, line: &[u8]) -> Result<Turn, Fault> {
        if line == b"*" { Err(Fault::Cancelled) } else { self.take(line) }
    }

    fn take(self, base64: &[u8]) -> Result<Turn, Fault> {
        let decoded = Secret::new(STANDARD.decode(base64).map_err(|_| Fault::Malformed)?);
        match self {
            Self::Plain => plain(decoded.expose()).map(Said::Password).map(Turn::Ask),
            Self::LoginName => name(decoded.expose()).map(Self::LoginPassword).map(Turn::Prompt),
            Self::LoginPassword(_) if decoded.expose().is_empty() => Err(Fault::Malformed),
            Self::LoginPassword(authcid) => {
                let mechanism = Some(Mechanism::Login);
                Ok(Turn::Ask(Said::Password(Credentials { mechanism, authcid, authzid: None, password: decoded })))
            }
            Self::Led { mechanism, first } => Ok(Turn::Ask(Said::Response(Response { mechanism, first, octets: decoded }))),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd`
fn plain(message: &[u8]) -> Result<Credentials, Fault> {
    let mut parts = message.split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(Fault::Malformed);
    };
    if password.is_empty() {
        return Err(Fault::Malformed);
    }
    let authzid = if authzid.is_empty() { None } else { Some(name(authzid)?) };
    Ok(Credentials { mechanism: Some(Mechanism::Plain), authcid: name(authcid)?, authzid, password: Secret::new(password) })
}

fn name(octets: &[u8]) -> Result<Box<str>, Fault> {
    if octets.is_empty() || octets.contains(&0) {
        return Err(Fault::Malformed);
    }
    str::from_utf8(octets).map(Box::from).map_err(|_| Fault::NameNotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn responded(exchange: Exchange, response: &[u8]) -> Result<Turn, Fault> {
        exchange.respond(STANDARD.encode(response).as_bytes())
    }

    fn credentials(outcome: Result<Turn, Fault>) -> Result<Credentials, Fault> {
        match outcome? {
            Turn::Ask(Said::Password(credentials)) => Ok(credentials),
            turn => panic!("everything has been said: {turn:?}"),
        }
    }

    #[test]
    fn plain_has_three_parts_of_which_the_first_may_be_empty() {
        let plain = |response: &[u8]| credentials(responded(Exchange::Plain, response));
        let tim = plain(b"\0tim\0tanstaaftanstaaf").unwrap();
        assert_eq!((&*tim.authcid, &tim.authzid, &tim.password), ("tim", &None, &Secret::new("tanstaaftanstaaf")));
        assert_eq!(plain(b"Ursel\0tim\0tanstaaftanstaaf").unwrap(), Credentials { authzid: Some("Ursel".into()), ..tim });
        assert_eq!(plain(b"\0tim\0\xff").unwrap().password, Secret::new(*b"\xff"), "any octets");
        for malformed in [&b""[..], b"tim", b"\0tim", b"\0tim\0", b"\0\0password", b"\0tim\0pass\0word"] {
            assert_eq!(plain(malformed), Err(Fault::Malformed), "{}", malformed.escape_ascii());
        }
        for binary in [&b"\0\xff\0p"[..], b"\xff\0t\0p"] {
            assert_eq!(plain(binary), Err(Fault::NameNotUtf8), "{}", binary.escape_ascii());
        }
    }

    #[test]
    fn login_has_a_name_then_a_password() {
        let login = |name: &[u8]| match responded(Exchange::LoginName, name)? {
            Turn::Prompt(exchange) => Ok::<_, Fault>(exchange),
            turn => panic!("a name is not enough: {turn:?}"),
        };
        let tim = login(b"tim").unwrap();
        assert_eq!((Exchange::new(Mechanism::Login).prompt(), tim.prompt()), (&b"Username:"[..], &b"Password:"[..]));
        let credentials = credentials(responded(tim, b"secret")).unwrap();
        assert_eq!((&*credentials.authcid, credentials.password), ("tim", Secret::new("secret")));
        assert!(matches!(responded(login(b"tim").unwrap(), b""), Err(Fault::Malformed)));
        for (wrong, fault) in [(&b""[..], Fault::Malformed), (b"a\0b", Fault::Malformed), (b"\xff", Fault::NameNotUtf8)] {
            assert_eq!(login(wrong).unwrap_err(), fault);
        }
    }

    #[test]
    fn the_listener_hears_all_that_is_said_in_what_it_leads() {
        let Ok(Turn::Ask(Said::Response(response))) = Exchange::new(Mechanism::ScramSha256).begin(Some(b"=")) else { panic!("it is led") };
        assert_eq!(response, Response { mechanism: Mechanism::ScramSha256, first: true, octets: Secret::new("") });
        let on = Exchange::Led { mechanism: Mechanism::ScramSha256, first: false };
        assert!(matches!(responded(on, b"\0\xff"), Ok(Turn::Ask(Said::Response(Response { first: false, .. })))));
    }

    #[test]
    fn what_is_no_base64_is_no_response_and_an_asterisk_gives_up() {
        for line in [&b"!"[..], b"bXJvc2", b"bXJvc2U", b"bXJvc2U=\n", b" bXJvc2U=", b"=", b"\xff\xfe"] {
            assert_eq!(Exchange::LoginName.respond(line).unwrap_err(), Fault::Malformed, "{}", line.escape_ascii());
        }
        assert_eq!(Exchange::LoginName.respond(b"*").unwrap_err(), Fault::Cancelled);
        assert!(matches!(Exchange::Plain.begin(None), Ok(Turn::Prompt(Exchange::Plain))));
    }
}
