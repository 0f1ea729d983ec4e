//! Messages on their way in.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{MessageId, ReversePath};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::field::display;
use tracing::{info, warn};

use crate::about::{About, FirstFew, Told};
use crate::listener::{ListenerLabel, listener_and};
use crate::{Event, Listener, Repeat, Repeats, Said, SessionId};

/// A message is on stable storage; its 250 is about to be written.
#[derive(Debug)]
pub struct MessageAccepted<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Who has authenticated.
    pub account: Option<&'e str>,
    /// The message.
    pub message: MessageId,
    /// From whom.
    pub reverse_path: &'e ReversePath,
    /// The accounts it is for.
    pub recipients: &'e [Arc<str>],
    /// Octets of its body.
    pub octets: u64,
    /// What MT-PRIORITY said, where anything was (RFC 6710 §4.1).
    pub priority: Option<i8>,
    /// How long the store took to put it on stable storage.
    pub commit: Duration,
}

/// A message did not get its 250: a refusal at MAIL, DATA or its end.
pub struct MessageRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Which.
    pub about: About<'e>,
    /// The reply's code, as 452.
    pub code: u16,
    /// For the operator: what was wrong, in words that may say more than the reply.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

/// A recipient was not taken.
pub struct RecipientRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Whom.
    pub recipient: &'e dyn Display,
    /// The reply's code, as 550.
    pub code: u16,
    /// For the operator.
    pub cause: &'e dyn Display,
    /// When.
    pub now: Instant,
}

/// The report of its delivery that a sender has asked for was given, or could not be; the message is accepted either way.
pub struct DeliveryReported<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// The message that was delivered.
    pub message: MessageId,
    /// Why there is none; `None` where it is with its sender.
    pub cause: Option<&'e dyn Display>,
    /// When.
    pub now: Instant,
}

/// A sender has met a rate, and was told to come back.
pub struct RateMet<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Who has authenticated.
    pub account: Option<&'e str>,
    /// The rate, by its key in the configuration, with its table: `rates.messages_per_account`.
    pub limit: &'static str,
    /// After how long it may go on.
    pub wait: Duration,
    /// When.
    pub now: Instant,
}

impl Event for MessageAccepted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let on = self.listener.smtp(metrics);
        on.accepted.inc();
        on.recipients.inc_by(self.recipients.len() as u64);
        #[expect(clippy::cast_precision_loss, reason = "a histogram's bucket does not tell octets apart beyond 2^52")]
        on.octets.observe(self.octets as f64);
        on.commit_seconds.observe(self.commit.as_secs_f64());
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::smtp", id = %self.message, session = %self.session, listener = %self.listener, source = %self.source,
            account = self.account.map(Said).map(display), from = %Said(self.reverse_path), to = %FirstFew(self.recipients),
            recipients = self.recipients.len(), octets = self.octets, priority = self.priority,
            commit_seconds = self.commit.as_secs_f64(), "message accepted",
        );
    }
}

impl Event for MessageRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let labels = ReplyLabels { listener: self.listener.shared_name(), reply: class(self.code) };
        metrics.smtp.refused.get_or_create(&labels).inc();
    }

    fn log(&self, left_out: u64) {
        let Told { id, helo, from, to } = Told::of(&self.about);
        info!(
            target: "gatepost::smtp", id, session = %self.session, listener = %self.listener, source = %self.source, helo, from, to,
            code = self.code, cause = %Said(self.cause), left_out, "message refused",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "message_refused", source: Some(self.source), burst: Repeats::BURST, now: self.now })
    }
}

impl Event for RecipientRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let labels = ReplyLabels { listener: self.listener.shared_name(), reply: class(self.code) };
        metrics.smtp.recipients_refused.get_or_create(&labels).inc();
    }

    fn log(&self, left_out: u64) {
        info!(
            target: "gatepost::smtp", session = %self.session, listener = %self.listener, source = %self.source,
            recipient = %Said(self.recipient), code = self.code, cause = %Said(self.cause), left_out, "recipient refused",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: "recipient_refused", source: Some(self.source), burst: Repeats::BURST, now: self.now })
    }
}

impl Event for DeliveryReported<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let outcome = if self.cause.is_none() { "given" } else { "missing" };
        metrics.smtp.reports.get_or_create(&ReportLabels { listener: self.listener.shared_name(), outcome }).inc();
    }

    fn log(&self, left_out: u64) {
        let Some(cause) = self.cause else { return };
        warn!(
            target: "gatepost::smtp", session = %self.session, listener = %self.listener, source = %self.source, id = %self.message,
            cause = %Said(cause), left_out, "delivery not reported",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        let source = Some(self.source);
        self.cause.map(|_| Repeat { kind: "delivery_not_reported", source, burst: Repeats::BURST, now: self.now })
    }
}

impl Event for RateMet<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.smtp.rates_met.get_or_create(&LimitLabels { listener: self.listener.shared_name(), limit: self.limit }).inc();
    }

    fn log(&self, left_out: u64) {
        let account = self.account.map(Said).map(display);
        info!(
            target: "gatepost::smtp", session = %self.session, listener = %self.listener, source = %self.source, account, limit = self.limit,
            wait_seconds = self.wait.as_secs_f64(), left_out, "rate met",
        );
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat { kind: self.limit, source: Some(self.source), burst: 1, now: self.now })
    }
}

/// A temporary or a permanent refusal (RFC 5321 §4.2.1).
fn class(code: u16) -> &'static str {
    match code {
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "other",
    }
}

listener_and!(LimitLabels, limit: &'static str);
listener_and!(ReportLabels, outcome: &'static str);
listener_and!(ReplyLabels, reply: &'static str);
listener_and!(VerdictLabels, verdict: &'static str);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct CheckLabels {
    pub(crate) check: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    accepted: Family<ListenerLabel, Counter>,
    recipients: Family<ListenerLabel, Counter>,
    octets: Family<ListenerLabel, Histogram, fn() -> Histogram>,
    commit_seconds: Family<ListenerLabel, Histogram, fn() -> Histogram>,
    refused: Family<ReplyLabels, Counter>,
    recipients_refused: Family<ReplyLabels, Counter>,
    reports: Family<ReportLabels, Counter>,
    rates_met: Family<LimitLabels, Counter>,
    pub(crate) screened: Family<VerdictLabels, Counter>,
    pub(crate) checks: Family<CheckLabels, Counter>,
}

/// What is counted for one listener.
pub(crate) struct OnListener {
    accepted: Counter,
    recipients: Counter,
    octets: Histogram,
    commit_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        const OCTETS: [f64; 8] = [1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];
        const SECONDS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];
        let metrics = Self {
            accepted: Family::default(),
            recipients: Family::default(),
            octets: Family::new_with_constructor(|| Histogram::new(OCTETS)),
            commit_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            refused: Family::default(),
            recipients_refused: Family::default(),
            reports: Family::default(),
            rates_met: Family::default(),
            screened: Family::default(),
            checks: Family::default(),
        };
        registry.register("messages_accepted", "Messages on stable storage", metrics.accepted.clone());
        registry.register("recipients_accepted", "Recipients of those messages", metrics.recipients.clone());
        registry.register("message_octets", "Octets of the bodies of accepted messages", metrics.octets.clone());
        registry.register("message_commit_seconds", "How long the store took to commit a message", metrics.commit_seconds.clone());
        registry.register("messages_refused", "Messages refused at MAIL, DATA or their end", metrics.refused.clone());
        registry.register("rates_met", "Commands told to come back because a rate was met, by its key", metrics.rates_met.clone());
        registry.register("recipients_refused", "Recipients refused", metrics.recipients_refused.clone());
        registry.register(
            "delivery_reports",
            "Reports of delivery that senders asked for (NOTIFY=SUCCESS), by whether they were given",
            metrics.reports.clone(),
        );
        registry.register("messages_screened", "Messages that were screened, by what became of them", metrics.screened.clone());
        registry.register("screening_checks", "Checks of screened messages, by what they came to", metrics.checks.clone());
        metrics
    }

    pub(crate) fn on(&self, listener: &Listener) -> OnListener {
        let label = listener.label();
        OnListener {
            accepted: self.accepted.get_or_create_owned(&label),
            recipients: self.recipients.get_or_create_owned(&label),
            octets: self.octets.get_or_create_owned(&label),
            commit_seconds: self.commit_seconds.get_or_create_owned(&label),
        }
    }
}
