//! The server's own life, its configuration and its certificates.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::{error, info};

use crate::Event;

/// Everything is open.
pub struct ServerStarted<'e> {
    /// The server's version.
    pub version: &'static str,
    /// When the process started.
    pub started: SystemTime,
    /// How long it took to open.
    pub after: Duration,
    /// The listeners' names and addresses, in words.
    pub listeners: &'e dyn Display,
}

/// No new session is let in; those there are finish.
#[derive(Debug)]
pub struct ServerDraining {
    /// Sessions still in use.
    pub sessions: u64,
    /// When the rest is cut off.
    pub deadline: Duration,
}

/// The last session is over.
#[derive(Debug)]
pub struct ServerStopped {
    /// Sessions cut off at the deadline.
    pub sessions_cut: u64,
    /// How long the drain took.
    pub after: Duration,
}

/// A new configuration is in force.
#[derive(Debug)]
pub struct ConfigurationReloaded<'e> {
    /// Keys that changed and are in force.
    pub applied: &'e [String],
    /// Keys that changed and need a restart.
    pub needs_restart: &'e [String],
}

/// A new configuration was not taken; the old one stays in force.
pub struct ConfigurationRejected<'e> {
    /// Every fault, with line and key.
    pub cause: &'e dyn Display,
}

/// An administrator changed who mail is for or who may log in.
#[derive(Debug)]
pub struct DirectoryChanged<'e> {
    /// What was done, as "account added".
    pub change: &'static str,
    /// To which domain, account or alias.
    pub name: &'e str,
}

/// An administrator has decided about a message that was held.
#[derive(Debug)]
pub struct QuarantineChanged<'e> {
    /// What was done, as "message released".
    pub change: &'static str,
    /// The message's id.
    pub message: &'e str,
    /// In whose mailbox, where it was not done in all.
    pub user: Option<&'e str>,
}

/// Messages that were held have been deleted, because they were old.
pub struct QuarantineExpired<'e> {
    /// How many, one for each recipient.
    pub messages: u64,
    /// Their octets.
    pub octets: u64,
    /// After how long nobody had decided.
    pub keep: &'e dyn Display,
}

/// A certificate is in use.
#[derive(Debug)]
pub struct CertificateLoaded<'e> {
    /// Its file, as configured.
    pub certificate: &'e str,
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// A certificate could not be used; the former one stays.
pub struct CertificateRejected<'e> {
    /// Its file, as configured.
    pub certificate: &'e str,
    /// Why not.
    pub cause: &'e dyn Display,
}

impl Event for ServerStarted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.server.build.get_or_create(&BuildLabel { version: self.version }).set(1);
        metrics.server.started.set(unix_seconds(self.started));
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::server", version = self.version, seconds = self.after.as_secs_f64(), listeners = %self.listeners,
            "server started",
        );
    }
}

impl Event for ServerDraining {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::server", sessions = self.sessions, deadline_seconds = self.deadline.as_secs_f64(), "server draining",
        );
    }
}

impl Event for ServerStopped {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(target: "gatepost::server", sessions_cut = self.sessions_cut, seconds = self.after.as_secs_f64(), "server stopped");
    }
}

impl Event for ConfigurationReloaded<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.server.reloads.get_or_create(&OutcomeLabel { outcome: "applied" }).inc();
    }

    fn log(&self, _: u64) {
        let (applied, needs_restart) = (self.applied.join(","), self.needs_restart.join(","));
        info!(target: "gatepost::server", applied, needs_restart, "configuration reloaded");
    }
}

impl Event for ConfigurationRejected<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.server.reloads.get_or_create(&OutcomeLabel { outcome: "rejected" }).inc();
    }

    fn log(&self, _: u64) {
        error!(target: "gatepost::server", cause = %self.cause, "configuration rejected");
    }
}

impl Event for DirectoryChanged<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(target: "gatepost::server", change = self.change, name = self.name, "directory changed");
    }
}

impl Event for QuarantineChanged<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(target: "gatepost::server", change = self.change, id = self.message, user = self.user, "quarantine changed");
    }
}

impl Event for QuarantineExpired<'_> {
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        info!(target: "gatepost::server", messages = self.messages, octets = self.octets, keep = %self.keep, "quarantine expired");
    }
}

impl Event for CertificateLoaded<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.server.certificates.get_or_create(&OutcomeLabel { outcome: "loaded" }).inc();
        let label = CertificateLabel { certificate: self.certificate.into() };
        metrics.server.certificate_expiry.get_or_create(&label).set(unix_seconds(self.not_after));
    }

    fn log(&self, _: u64) {
        // A date beyond the year 9999 is the last there is.
        let not_after = Timestamp::try_from(self.not_after).unwrap_or(Timestamp::MAX);
        info!(target: "gatepost::server", certificate = self.certificate, %not_after, "certificate loaded");
    }
}

impl Event for CertificateRejected<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.server.certificates.get_or_create(&OutcomeLabel { outcome: "rejected" }).inc();
    }

    fn log(&self, _: u64) {
        error!(target: "gatepost::server", certificate = self.certificate, cause = %self.cause, "certificate rejected");
    }
}

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or_default()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: Arc<str>,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    build: Family<BuildLabel, Gauge>,
    started: Gauge,
    reloads: Family<OutcomeLabel, Counter>,
    certificates: Family<OutcomeLabel, Counter>,
    certificate_expiry: Family<CertificateLabel, Gauge>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            build: Family::default(),
            started: Gauge::default(),
            reloads: Family::default(),
            certificates: Family::default(),
            certificate_expiry: Family::default(),
        };
        registry.register("build_info", "1, with the server's version", metrics.build.clone());
        registry.register("server_start_timestamp_seconds", "When the server started, in Unix time", metrics.started.clone());
        registry.register("configuration_reloads", "Reloads of the configuration, by outcome", metrics.reloads.clone());
        registry.register("certificate_loads", "Certificates read, by outcome", metrics.certificates.clone());
        let help = "Until when a certificate is valid, in Unix time";
        registry.register("certificate_expiry_timestamp_seconds", help, metrics.certificate_expiry.clone());
        metrics
    }
}
