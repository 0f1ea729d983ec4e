//! Maildrops opened, read and emptied.

use std::fmt::Display;

use mail::MessageId;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tracing::{info, warn};

use crate::listener::{ListenerLabel, listener_and};
use crate::{Event, Listener, Said, SessionId};

/// A session has a maildrop.
#[derive(Debug)]
pub struct MaildropOpened<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub account: &'e str,
    /// Messages in it.
    pub messages: usize,
    /// Their octets.
    pub octets: u64,
}

/// The password was right, but the maildrop could not be opened.
pub struct MaildropRefused<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub account: &'e str,
    /// The key of the limit that it met, with its table; empty where it met none.
    pub limit: &'static str,
    /// In use, or what is wrong with the store.
    pub cause: &'e dyn Display,
}

/// A newer session of the same account has the maildrop.
#[derive(Debug)]
pub struct MaildropTakenOver<'e> {
    /// Where the old session is.
    pub listener: &'e Listener,
    /// The session that lost it.
    pub session: SessionId,
    /// Whose.
    pub account: &'e str,
}

/// The last octet of a message was handed over.
#[derive(Debug)]
pub struct MessageFetched<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// The message: the id it was accepted by.
    pub message: MessageId,
    /// By whom.
    pub account: &'e str,
    /// Its octets.
    pub octets: u64,
}

/// The update after QUIT is done.
#[derive(Debug)]
pub struct MessagesDeleted<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// Whose.
    pub account: &'e str,
    /// How many.
    pub messages: usize,
}

impl Event for MaildropOpened<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        self.listener.pop3(metrics).opened.inc();
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::pop3", listener = %self.listener, session = %self.session, account = %Said(self.account),
            messages = self.messages, octets = self.octets, "maildrop opened",
        );
    }
}

impl Event for MaildropRefused<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let labels = LimitLabels { listener: self.listener.shared_name(), limit: self.limit };
        metrics.pop3.refused.get_or_create(&labels).inc();
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::pop3", listener = %self.listener, session = %self.session, account = %Said(self.account),
            cause = %Said(self.cause), "maildrop refused",
        );
    }
}

impl Event for MaildropTakenOver<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        self.listener.pop3(metrics).taken_over.inc();
    }

    fn log(&self, _: u64) {
        warn!(
            target: "gatepost::pop3", listener = %self.listener, session = %self.session, account = %Said(self.account),
            "maildrop taken over",
        );
    }
}

impl Event for MessageFetched<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let on = self.listener.pop3(metrics);
        on.fetched.inc();
        on.fetched_octets.inc_by(self.octets);
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::pop3", id = %self.message, session = %self.session, listener = %self.listener,
            account = %Said(self.account), octets = self.octets, "message fetched",
        );
    }
}

impl Event for MessagesDeleted<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        self.listener.pop3(metrics).deleted.inc_by(self.messages as u64);
    }

    fn log(&self, _: u64) {
        info!(
            target: "gatepost::pop3", listener = %self.listener, session = %self.session, account = %Said(self.account),
            messages = self.messages, "messages deleted",
        );
    }
}

listener_and!(LimitLabels, limit: &'static str);

#[derive(Debug)]
pub(crate) struct Metrics {
    opened: Family<ListenerLabel, Counter>,
    refused: Family<LimitLabels, Counter>,
    taken_over: Family<ListenerLabel, Counter>,
    fetched: Family<ListenerLabel, Counter>,
    fetched_octets: Family<ListenerLabel, Counter>,
    deleted: Family<ListenerLabel, Counter>,
}

/// What is counted for one listener.
pub(crate) struct OnListener {
    opened: Counter,
    taken_over: Counter,
    fetched: Counter,
    fetched_octets: Counter,
    deleted: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let refused = Family::default();
        let help = "Maildrops that could not be opened after a right password, by the key of the limit, if it was one";
        registry.register("maildrops_refused", help, refused.clone());
        let mut family = |name: &str, help: &str| {
            let family = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        Self {
            opened: family("maildrops_opened", "Maildrops opened"),
            refused,
            taken_over: family("maildrops_taken_over", "Maildrops that a newer session took from a silent one"),
            fetched: family("messages_fetched", "Messages handed over whole"),
            fetched_octets: family("messages_fetched_octets", "Octets of those messages"),
            deleted: family("messages_deleted", "Messages deleted at the end of a session"),
        }
    }

    pub(crate) fn on(&self, listener: &Listener) -> OnListener {
        let label = listener.label();
        OnListener {
            opened: self.opened.get_or_create_owned(&label),
            taken_over: self.taken_over.get_or_create_owned(&label),
            fetched: self.fetched.get_or_create_owned(&label),
            fetched_octets: self.fetched_octets.get_or_create_owned(&label),
            deleted: self.deleted.get_or_create_owned(&label),
        }
    }
}
