//! A gate that fills, is full and clears, and what an operator does to it.

use std::fmt::Display;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::Event;

/// Most places have been taken for a while; nobody was refused for it yet.
pub struct GateFilling<'e> {
    /// Sessions in use.
    pub in_use: u32,
    /// The limit.
    pub limit: u32,
    /// For how long it has been like this.
    pub lasted: Duration,
    /// What the sessions spend their time on.
    pub slot_time: &'e dyn Display,
    /// Who holds the most.
    pub holders: &'e dyn Display,
    /// What to do.
    pub remedy: &'e str,
}

/// Every place is taken, or was within the last seconds; said again now and then.
pub struct GateFull<'e> {
    /// Sessions in use.
    pub in_use: u32,
    /// The limit.
    pub limit: u32,
    /// For how long it has been full.
    pub lasted: Duration,
    /// Connections refused for it in that time.
    pub refused: u64,
    /// What the sessions spend their time on.
    pub slot_time: &'e dyn Display,
    /// Who holds the most.
    pub holders: &'e dyn Display,
    /// What to do.
    pub remedy: &'e str,
}

/// There is room again.
#[derive(Debug)]
pub struct GateCleared {
    /// Sessions in use.
    pub in_use: u32,
    /// The limit.
    pub limit: u32,
    /// For how long it was full; no time when it was only filling.
    pub was_full: Duration,
    /// Connections refused for it in that time.
    pub refused: u64,
}

/// An operator has steered the gate, or the time of what they wanted is over.
pub struct GateSteered<'e> {
    /// What was done, as "drain begun".
    pub change: &'static str,
    /// To what.
    pub detail: &'e dyn Display,
}

/// The gate has banned a source by itself: too much had gone wrong from there.
pub struct SourceBanned<'e> {
    /// Who.
    pub network: &'e dyn Display,
    /// For how long.
    pub time: Duration,
    /// Why.
    pub reason: &'e str,
}

impl Event for GateFilling<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::gate", in_use = self.in_use, limit = self.limit, seconds = self.lasted.as_secs(),
            slot_time = %self.slot_time, holders = %self.holders, remedy = self.remedy, "gate is filling",
        );
    }
}

impl Event for GateFull<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        // The first line of a time; the others say how it goes on.
        if self.lasted.is_zero() {
            metrics.occupancy.full.inc();
        }
    }

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::gate", in_use = self.in_use, limit = self.limit, seconds = self.lasted.as_secs(), refused = self.refused,
            slot_time = %self.slot_time, holders = %self.holders, remedy = self.remedy, "gate is full",
        );
    }
}

impl Event for GateCleared {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::gate", in_use = self.in_use, limit = self.limit, seconds = self.was_full.as_secs(), refused = self.refused,
            "gate is clear again",
        );
    }
}

impl Event for GateSteered<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(target: "gatepost::gate", change = self.change, detail = %self.detail, "gate steered");
    }
}

impl Event for SourceBanned<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.occupancy.banned.inc();
    }

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::gate", network = %self.network, seconds = self.time.as_secs(), reason = self.reason, "source banned",
        );
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    full: Counter,
    banned: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { full: Counter::default(), banned: Counter::default() };
        registry.register("gate_full", "Times the gate has become full, each until it was clear again", metrics.full.clone());
        registry.register("gate_sources_banned", "Sources that the gate has banned by itself", metrics.banned.clone());
        metrics
    }
}
