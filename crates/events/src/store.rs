//! A store that does not do what it was asked.

use std::fmt::Display;
use std::time::{Duration, Instant};

use mail::MessageId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{error, warn};

use crate::{Event, Repeat};

/// The store could not do something and may not be able to do anything.
pub struct StoreFailed<'e> {
    /// What it was asked: begin, write, commit, open, read, update, resolve, ...
    pub operation: &'static str,
    /// What it said.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

/// The store has no room.
pub struct StoreFull<'e> {
    /// What it said.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

/// The store takes no mail, and nobody is let in who would bring some.
pub struct StoreDown<'e> {
    /// What it says.
    pub cause: &'e dyn Display,
}

/// The store takes mail again.
#[derive(Debug)]
pub struct StoreRecovered {
    /// How long it did not.
    pub after: Duration,
}

/// A stored message is not what was stored.
pub struct MessageDamaged<'e> {
    /// Which.
    pub message: MessageId,
    /// What was found.
    pub cause: &'e dyn Display,
}

impl Event for StoreFailed<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.store.count("failed");
    }

    fn log(&self, left_out: u64) {
        error!(target: "gatepost::store", operation = self.operation, cause = %self.cause, left_out, "store failed");
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: self.operation, source: None, burst: 1, now: self.now })
    }
}

impl Event for StoreFull<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.store.count("full");
    }

    fn log(&self, left_out: u64) {
        error!(target: "gatepost::store", cause = %self.cause, left_out, "store full");
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "store_full", source: None, burst: 1, now: self.now })
    }
}

impl Event for StoreDown<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        error!(target: "gatepost::store", cause = %self.cause, "store down");
    }
}

impl Event for StoreRecovered {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.store.recoveries.inc();
    }

    fn log(&self, _: u64) {
        warn!(target: "gatepost::store", seconds = self.after.as_secs_f64(), "store recovered");
    }
}

impl Event for MessageDamaged<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.store.count("damaged");
    }

    fn log(&self, _: u64) {
        error!(target: "gatepost::store", id = %self.message, cause = %self.cause, "message damaged");
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    errors: Family<KindLabel, Counter>,
    recoveries: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { errors: Family::default(), recoveries: Counter::default() };
        registry.register("store_errors", "Answers of the store that were errors, by kind", metrics.errors.clone());
        registry.register("store_recoveries", "Times the store took mail again after it had been down", metrics.recoveries.clone());
        metrics
    }

    fn count(&self, kind: &'static str) {
        self.errors.get_or_create(&KindLabel { kind }).inc();
    }
}
