//! Who logs in, and who tries to.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::listener::listener_and;
use crate::{Event, Listener, Repeat, Repeats, Said, SessionId};

/// Somebody has proved who they are.
#[derive(Debug)]
pub struct AuthSucceeded<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Who.
    pub account: &'e str,
    /// How: a mechanism of SASL, USER; XCLIENT where a proxy says so.
    pub mechanism: &'static str,
}

/// Wrong name or wrong password; the log does not tell which, as the reply does not. Of a token or a certificate it tells why.
#[derive(Debug)]
pub struct AuthFailed<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// The name that was given.
    pub login: &'e str,
    /// How: a mechanism of SASL, USER.
    pub mechanism: &'static str,
    /// Why, where it was a token or a certificate.
    pub cause: Option<&'static str>,
    /// When.
    pub now: Instant,
}

/// The password was not even looked at.
#[derive(Debug)]
pub struct AuthThrottled<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// The name that was given.
    pub login: &'e str,
    /// Why not.
    pub throttle: Throttle,
    /// When.
    pub now: Instant,
}

/// It is not known what a token is worth, through no fault of the client's: the provider's service has not said so.
pub struct IntrospectionFailed<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// What was answered, or that nothing was.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

/// R9: the password was right, and the user has all the sessions it may.
pub struct UserSessionsRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Who.
    pub account: &'e str,
    /// The key that it comes from, with its table.
    pub key: &'static str,
    /// The limit.
    pub limit: u32,
    /// Who holds the sessions: address, program, age, commands and octets of each.
    pub holders: &'e dyn Display,
    /// When.
    pub now: Instant,
}

impl AuthFailed<'_> {
    /// The word in the metric's label.
    pub const OUTCOME: &'static str = "failed";
}

impl UserSessionsRefused<'_> {
    /// The word in the metric's label.
    pub const OUTCOME: &'static str = "too_many_sessions";
}

/// Why a password was not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Too many failures for this account.
    Account,
    /// Too many failures from this source.
    Source,
    /// Too many passwords are being checked at once.
    Busy,
}

impl Throttle {
    /// The word in the log and in the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "throttled_account",
            Self::Source => "throttled_source",
            Self::Busy => "throttled_busy",
        }
    }
}

impl Event for AuthSucceeded<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.auth.count(self.listener, "succeeded");
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::auth", listener = %self.listener, session = %self.session, source = %self.source,
            account = %Said(self.account), mechanism = self.mechanism, "authentication succeeded",
        );
    }
}

impl Event for AuthFailed<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.auth.count(self.listener, Self::OUTCOME);
    }

    fn log(&self, left_out: u64) {
        warn!(
            target: "gatepost::auth", listener = %self.listener, session = %self.session, source = %self.source, login = %Said(self.login),
            mechanism = self.mechanism, cause = self.cause, left_out, "authentication failed",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "auth_failed", source: Some(self.source), burst: Repeats::BURST, now: self.now })
    }
}

impl Event for AuthThrottled<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.auth.count(self.listener, self.throttle.as_str());
    }

    fn log(&self, left_out: u64) {
        warn!(
            target: "gatepost::auth", listener = %self.listener, session = %self.session, source = %self.source, login = %Said(self.login),
            throttle = self.throttle.as_str(), left_out, "authentication throttled",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: self.throttle.as_str(), source: Some(self.source), burst: 1, now: self.now })
    }
}

impl Event for IntrospectionFailed<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.auth.count(self.listener, "introspection_failed");
    }

    fn log(&self, left_out: u64) {
        warn!(target: "gatepost::auth", listener = %self.listener, cause = %self.cause, left_out, "introspection failed");
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "introspection_failed", source: None, burst: 1, now: self.now })
    }
}

impl Event for UserSessionsRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.auth.count(self.listener, Self::OUTCOME);
        let labels = LimitLabels { listener: self.listener.shared_name(), limit: self.key };
        metrics.auth.sessions_refused.get_or_create(&labels).inc();
    }

    fn log(&self, left_out: u64) {
        warn!(
            target: "gatepost::auth", listener = %self.listener, session = %self.session, source = %self.source,
            account = %Said(self.account), key = self.key, limit = self.limit, holders = %self.holders, left_out, "user has too many sessions",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "user_sessions", source: Some(self.source), burst: Repeats::BURST, now: self.now })
    }
}

listener_and!(OutcomeLabels, outcome: &'static str);
listener_and!(LimitLabels, limit: &'static str);

#[derive(Debug)]
pub(crate) struct Metrics {
    attempts: Family<OutcomeLabels, Counter>,
    sessions_refused: Family<LimitLabels, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { attempts: Family::default(), sessions_refused: Family::default() };
        registry.register("authentications", "Attempts to log in, by outcome", metrics.attempts.clone());
        let help = "Right passwords of users who had all the sessions they may, by the key of the limit";
        registry.register("user_sessions_refused", help, metrics.sessions_refused.clone());
        metrics
    }

    fn count(&self, listener: &Listener, outcome: &'static str) {
        self.attempts.get_or_create(&OutcomeLabels { listener: listener.shared_name(), outcome }).inc();
    }
}
