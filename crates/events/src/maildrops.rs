//! Maildrops that come near what they may hold, or have reached it.

use std::fmt::Display;

use mail::MessageId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::warn;

use crate::listener::ListenerLabel;
use crate::{Event, Listener, Said, SessionId};

/// A message has brought a maildrop near its quota, once for each time it gets there.
pub struct MaildropNearlyFull<'e> {
    /// Where it came.
    pub listener: &'e Listener,
    /// Whose.
    pub account: &'e str,
    /// Octets in it.
    pub octets: u64,
    /// Messages in it.
    pub messages: u64,
    /// What it may hold.
    pub quota: &'e dyn Display,
}

/// A message to a list was stored, and not for a member whose maildrop is full.
pub struct ListCopyLeftOut<'e> {
    /// Where it came.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// The message.
    pub message: MessageId,
    /// The member.
    pub account: &'e str,
    /// Octets in the maildrop.
    pub octets: u64,
    /// Messages in it.
    pub messages: u64,
    /// What it may hold.
    pub quota: &'e dyn Display,
}

impl Event for MaildropNearlyFull<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.maildrops.nearly_full.get_or_create(&self.listener.label()).inc();
    }

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::smtp", listener = %self.listener, account = %Said(self.account), octets = self.octets,
            messages = self.messages, quota = %self.quota, "maildrop nearly full",
        );
    }
}

impl Event for ListCopyLeftOut<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        metrics.maildrops.left_out.get_or_create(&self.listener.label()).inc();
    }

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::smtp", id = %self.message, session = %self.session, listener = %self.listener, account = %Said(self.account),
            octets = self.octets, messages = self.messages, quota = %self.quota, "list copy left out",
        );
    }
}

#[derive(Debug)]
pub(crate) struct Metrics {
    nearly_full: Family<ListenerLabel, Counter>,
    left_out: Family<ListenerLabel, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { nearly_full: Family::default(), left_out: Family::default() };
        registry.register("maildrops_nearly_full", "Times a message has brought a maildrop near its quota", metrics.nearly_full.clone());
        registry.register(
            "list_copies_left_out",
            "Copies of a list's mail that a member did not get because its maildrop was full",
            metrics.left_out.clone(),
        );
        metrics
    }
}
