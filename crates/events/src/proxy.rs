//! Proxies that are trusted and do not say on whose behalf they connect.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::warn;

use crate::listener::ListenerLabel;
use crate::{Event, Listener, Repeat};

/// A trusted proxy's connection was closed because it did not begin with a PROXY header.
pub struct ProxyRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which proxy.
    pub proxy: IpAddr,
    /// What it did instead.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

impl Event for ProxyRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.proxy.refused.get_or_create(&self.listener.label()).inc();
    }

    fn log(&self, left_out: u64) {
        warn!(target: "gatepost::gate", listener = %self.listener, proxy = %self.proxy, cause = %self.cause, left_out, "proxy refused");
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "proxy refused", source: Some(self.proxy), burst: 1, now: self.now })
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    refused: Family<ListenerLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { refused: Family::default() };
        registry.register(
            "proxies_refused",
            "Connections of trusted proxies that did not begin with a PROXY header",
            metrics.refused.clone(),
        );
        metrics
    }
}
