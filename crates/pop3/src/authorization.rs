//! The AUTHORIZATION state (RFC 1939 §4): who is it, and under TLS?
//!
//! USER says the same of every name. PASS counts only as the very next command. A login that is not accepted, for whatever reason,
//! counts toward [`Settings::auth_failures`](crate::Settings::auth_failures).

use mail::sasl::{Credentials, Exchange, Fault, Response, Said, Turn};
use mail::{Mechanism, Mechanisms, Secret, Token};

use crate::command::Command;
use crate::limits;
use crate::maildrop::{Maildrop, Opened};
use crate::reply::{self, Refusal, Reply};
use crate::session::{Farewell, Session};
use crate::state::{Ask, Asked, Login, State};

impl Session {
    /// Deals with a line of this state. `login` is what the line before it has come to; unless this one goes on with it, it is
    /// forgotten.
    pub(crate) fn authorization(&mut self, login: Login, text: &[u8], more_behind: bool) -> Option<Ask> {
        if let Login::Sasl(exchange) = login {
            return self.exchange(exchange.respond(text));
        }
        match Command::parse(text) {
            Ok(Command::Quit) => {
                reply::write_line(Reply::SigningOff { host: &self.settings.host }, &mut self.output);
                self.state = State::Closed(Farewell::Quit);
            }
            Ok(Command::Capa) => self.capabilities(),
            // Messages are sent as they are either way (RFC 6856 §2.1, §5), so there is nothing to remember.
            Ok(Command::Utf8) => self.say(Reply::Utf8),
            Ok(Command::Stls) => return self.stls(more_behind),
            Ok(Command::User(_) | Command::Pass(_) | Command::Auth { .. }) if self.tls.is_none() => {
                return self.fault(Refusal::TlsRequired);
            }
            Ok(Command::User(name)) => {
                self.state = State::Authorization(Login::Named(name.into()));
                self.say(Reply::NameTaken);
            }
            Ok(Command::Pass(password)) => {
                let Login::Named(name) = login else { return self.fault(Refusal::UserFirst) };
                let password = Secret::new(password);
                return Some(self.ask(Said::Password(Credentials { mechanism: None, authcid: name, authzid: None, password })));
            }
            Ok(Command::Auth { mechanism, initial }) => return self.auth(mechanism, initial),
            Ok(_) => return self.fault(Refusal::LogInFirst),
            Err(refusal) => return self.fault(refusal),
        }
        None
    }

    /// The answer to [`Auth`](crate::Auth): into the TRANSACTION state.
    pub(crate) fn login_accepted(&mut self, maildrop: Box<dyn Maildrop>) {
        let maildrop = Opened::new(maildrop);
        self.say(Reply::Maildrop { messages: maildrop.left(), octets: maildrop.left_octets() });
        self.state = State::Transaction { maildrop, listing: None };
    }

    /// It goes on; the next line is a response.
    pub(crate) fn login_challenged(&mut self, said: &Said, challenge: &[u8]) {
        let octets = challenge.get(..limits::CHALLENGE_OCTETS).unwrap_or(challenge);
        self.say(Reply::Challenge { octets });
        // A name and a password say everything at once: nothing follows them.
        if let Said::Response(Response { mechanism, .. }) = said {
            self.expect_response(Exchange::Led { mechanism: *mechanism, first: false });
        }
    }

    /// The other answers.
    pub(crate) fn login_refused(&mut self, refusal: Refusal, token: Option<Token>) {
        self.auth_failures += 1;
        self.failures = self.failures.saturating_add(u16::from(refusal == Refusal::WrongCredentials));
        self.say_refusal(refusal, token);
        if self.auth_failures >= self.settings.auth_failures {
            self.state = State::Closed(Farewell::Dismissed);
        }
    }

    /// STLS (RFC 2595 §4). What was sent behind it in clear could only be meant to be taken for something said under TLS.
    fn stls(&mut self, more_behind: bool) -> Option<Ask> {
        match (self.tls.is_some(), self.settings.stls) {
            (true, _) => return self.fault(Refusal::TlsAlready),
            (_, false) => return self.fault(Refusal::StlsUnavailable),
            _ if more_behind => self.close(Refusal::BehindStls, Farewell::Dismissed),
            _ => {
                self.say(Reply::BeginTls);
                self.state = State::Upgrade;
            }
        }
        None
    }

    /// AUTH (RFC 5034 §4); without a mechanism it lists them, as its clients of old expect.
    fn auth(&mut self, mechanism: Option<&[u8]>, initial: Option<&[u8]>) -> Option<Ask> {
        let Some(mechanism) = mechanism else {
            self.say(Reply::Mechanisms);
            self.offered().iter().for_each(|mechanism| self.say(mechanism.name()));
            self.say(".");
            return None;
        };
        match self.offered().named(mechanism) {
            Some(mechanism) => self.exchange(Exchange::new(mechanism).begin(initial)),
            None => self.fault(Refusal::UnknownMechanism),
        }
    }

    fn exchange(&mut self, outcome: Result<Turn, Fault>) -> Option<Ask> {
        match outcome {
            Ok(Turn::Ask(said)) => return Some(self.ask(said)),
            Ok(Turn::Prompt(exchange)) => {
                self.say(Reply::Challenge { octets: exchange.prompt() });
                self.expect_response(exchange);
            }
            Err(Fault::Cancelled) => return self.fault(Refusal::Cancelled),
            Err(Fault::Malformed) => return self.fault(Refusal::BadResponse),
            Err(Fault::NameNotUtf8) => return self.fault(Refusal::NameNotUtf8),
        }
        None
    }

    fn ask(&mut self, said: Said) -> Ask {
        self.asked = Some(Asked::Auth);
        Ask::Auth(Box::new(said))
    }

    /// The mechanisms that AUTH takes: bound to the channel only where it can be told from others, and by certificate only where there is one.
    pub(crate) fn offered(&self) -> Mechanisms {
        let tls = self.tls.unwrap_or_default();
        let mut offered = self.settings.mechanisms.except(self.withheld);
        if !tls.exporter {
            offered = offered.without(Mechanism::ScramSha256Plus);
        }
        if !tls.certificate {
            offered = offered.without(Mechanism::External);
        }
        offered
    }
}
