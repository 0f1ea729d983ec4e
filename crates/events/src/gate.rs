//! Sessions that come, go and are turned away.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::{debug, info, warn};

use crate::listener::{ListenerLabel, listener_and};
use crate::{Event, Listener, Repeat, SessionEnd, SessionId};

/// The gate let a connection in.
#[derive(Debug)]
pub struct SessionAdmitted<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Its id from here on.
    pub session: SessionId,
    /// Who.
    pub source: IpAddr,
}

/// The connection is closed and its place given back.
#[derive(Debug)]
pub struct SessionEnded<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Its id.
    pub session: SessionId,
    /// Who.
    pub source: IpAddr,
    /// How.
    pub end: SessionEnd,
    /// From accept to close.
    pub duration: Duration,
}

/// The gate turned a connection away.
pub struct SessionRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Who.
    pub source: IpAddr,
    /// The gate's rule, by its id: R1, R2, ...
    pub rule: &'static str,
    /// The configuration's key of the limit that was met, with its table: `gate.max_inbound`. Empty where it was none.
    pub limit: &'static str,
    /// Whether mail from there was accepted of late.
    pub known_good: bool,
    /// Limit and use at that instant, and the token the peer was given.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

impl Event for SessionAdmitted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        self.listener.gate(metrics).admitted.inc();
    }

    fn log(&self, _: u64) {
        debug!(target: "gatepost::gate", listener = %self.listener, session = %self.session, source = %self.source, "session admitted");
    }
}

impl Event for SessionEnded<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let listener = self.listener.shared_name();
        metrics.gate.ended.get_or_create(&EndLabels { listener, end: self.end }).inc();
        self.listener.gate(metrics).seconds.observe(self.duration.as_secs_f64());
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::gate", listener = %self.listener, session = %self.session, source = %self.source, end = self.end.as_str(),
            seconds = self.duration.as_secs_f64(), "session ended",
        );
    }
}

impl Event for SessionRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let Self { rule, limit, .. } = *self;
        metrics.gate.refused.get_or_create(&RuleLabels { listener: self.listener.shared_name(), rule, limit }).inc();
    }

    fn log(&self, left_out: u64) {
        if self.known_good {
            // That is mail somebody misses.
            return warn!(
                target: "gatepost::gate", listener = %self.listener, source = %self.source, class = "known_good", rule = self.rule,
                cause = %self.cause, left_out, "session refused",
            );
        }
        info!(
            target: "gatepost::gate", listener = %self.listener, source = %self.source, rule = self.rule, cause = %self.cause, left_out,
            "session refused",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        // A kind of its own, so that no flood of strangers takes the place of its lines.
        let kind = if self.known_good { "known_good" } else { self.rule };
        Some(Repeat { kind, source: Some(self.source), burst: 1, now: self.now })
    }
}

listener_and!(EndLabels, end: SessionEnd);
listener_and!(RuleLabels, rule: &'static str, limit: &'static str);

#[derive(Debug)]
pub(crate) struct Metrics {
    admitted: Family<ListenerLabel, Counter>,
    ended: Family<EndLabels, Counter>,
    refused: Family<RuleLabels, Counter>,
    seconds: Family<ListenerLabel, Histogram, fn() -> Histogram>,
}

/// What is counted for one listener.
pub(crate) struct OnListener {
    admitted: Counter,
    seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // A session may be over in a millisecond and may last for an hour.
        const SECONDS: [f64; 10] = [0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
        let metrics = Self {
            admitted: Family::default(),
            ended: Family::default(),
            refused: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        };
        registry.register("sessions_admitted", "Sessions the gate let in", metrics.admitted.clone());
        registry.register("sessions_ended", "Sessions that are over, by how they ended", metrics.ended.clone());
        registry.register(
            "sessions_refused",
            "Connections the gate turned away, by its rule and the key of the limit, if it was one",
            metrics.refused.clone(),
        );
        registry.register("session_seconds", "How long sessions lasted, from accept to close", metrics.seconds.clone());
        metrics
    }

    pub(crate) fn on(&self, listener: &Listener) -> OnListener {
        let label = listener.label();
        OnListener { admitted: self.admitted.get_or_create_owned(&label), seconds: self.seconds.get_or_create_owned(&label) }
    }
}
