//! TLS handshakes.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{debug, info};

use crate::listener::listener_and;
use crate::{Event, Listener, Repeat, Said, SessionId};

/// A session is encrypted from here on.
#[derive(Debug)]
pub struct HandshakeCompleted<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: &'e str,
    /// The cipher suite's name.
    pub cipher: &'e str,
}

/// A handshake came to nothing.
pub struct HandshakeFailed<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// With whom.
    pub source: IpAddr,
    /// Whose fault, in the TLS library's words.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

impl Event for HandshakeCompleted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.tls.count(self.listener, "completed");
    }

    fn log(&self, _: u64) {
        debug!(
            target: "gatepost::tls", listener = %self.listener, session = %self.session, version = self.version, cipher = self.cipher,
            "handshake completed",
        );
    }
}

impl Event for HandshakeFailed<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.tls.count(self.listener, "failed");
    }

    fn log(&self, left_out: u64) {
        info!(
            target: "gatepost::tls", listener = %self.listener, session = %self.session, source = %self.source, cause = %Said(self.cause),
            left_out, "handshake failed",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "handshake_failed", source: Some(self.source), burst: 1, now: self.now })
    }
}

listener_and!(OutcomeLabels, outcome: &'static str);

#[derive(Debug)]
pub(crate) struct Metrics {
    handshakes: Family<OutcomeLabels, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { handshakes: Family::default() };
        registry.register("tls_handshakes", "TLS handshakes, by outcome", metrics.handshakes.clone());
        metrics
    }

    fn count(&self, listener: &Listener, outcome: &'static str) {
        self.handshakes.get_or_create(&OutcomeLabels { listener: listener.shared_name(), outcome }).inc();
    }
}
