//! Errors of our own that ended no more than they had to.

use std::fmt::Display;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::error;

use crate::listener::ListenerLabel;
use crate::{Event, Listener, Repeat};

/// The gate's checks have failed by an error of our own. Who came was let in where there was a place for anybody.
#[derive(Debug)]
pub struct GateFaulted {
    /// Connections about which they have failed since the last such event.
    pub faults: u64,
}

/// A listener's accept loop has failed by an error of our own, and was begun anew. Who waited there for a place was disconnected.
pub struct ListenerFaulted<'e> {
    /// Which.
    pub listener: &'e Listener,
    /// What the panic said.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

impl Event for GateFaulted {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.fault.gate.inc_by(self.faults);
    }

    fn log(&self, _: u64) {
        error!(target: "gatepost::gate", faults = self.faults, "gate has failed to decide");
    }
}

impl Event for ListenerFaulted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.fault.listeners.get_or_create(&self.listener.label()).inc();
    }

    fn log(&self, left_out: u64) {
        error!(target: "gatepost::gate", listener = %self.listener, cause = %self.cause, left_out, "listener failed and goes on");
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "listener_faulted", source: None, burst: 1, now: self.now })
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    gate: Counter,
    listeners: Family<ListenerLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { gate: Counter::default(), listeners: Family::default() };
        registry.register(
            "gate_faults",
            "Connections about which the gate has failed to decide by an error of our own, which were let in where there was a place",
            metrics.gate.clone(),
        );
        registry.register(
            "listener_faults",
            "Times an accept loop has failed by an error of our own and was begun anew",
            metrics.listeners.clone(),
        );
        metrics
    }
}
