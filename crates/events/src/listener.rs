//! The listener that an event happened on, with its metrics found beforehand.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::EncodeLabelSet;

use crate::{Metrics, gate, pop3, smtp};

/// A listener's name and its metrics. Clones are the same. Made by [`Events::listener`](crate::Events::listener).
#[derive(Clone)]
pub struct Listener(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    // Found when first needed: a POP3 listener has no metrics of SMTP.
    gate: OnceLock<gate::OnListener>,
    smtp: OnceLock<smtp::OnListener>,
    pop3: OnceLock<pop3::OnListener>,
}

/// The label of what is counted for each listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ListenerLabel {
    pub(crate) listener: Arc<str>,
}

/// Labels of what is counted for each listener and small sets of words of our own.
macro_rules! listener_and {
    ($name:ident, $($word:ident: $type:ty),+) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
        pub(crate) struct $name {
            pub(crate) listener: std::sync::Arc<str>,
            $(pub(crate) $word: $type,)+
        }
    };
}
pub(crate) use listener_and;

impl Listener {
    pub(crate) fn new(name: &str) -> Self {
        Self(Arc::new(Inner { name: name.into(), gate: OnceLock::new(), smtp: OnceLock::new(), pop3: OnceLock::new() }))
    }

    /// The name in configuration, log and metrics.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn label(&self) -> ListenerLabel {
        ListenerLabel { listener: self.shared_name() }
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    pub(crate) fn gate(&self, metrics: &Metrics) -> &gate::OnListener {
        self.0.gate.get_or_init(|| metrics.gate.on(self))
    }

    pub(crate) fn smtp(&self, metrics: &Metrics) -> &smtp::OnListener {
        self.0.smtp.get_or_init(|| metrics.smtp.on(self))
    }

    pub(crate) fn pop3(&self, metrics: &Metrics) -> &pop3::OnListener {
        self.0.pop3.get_or_init(|| metrics.pop3.on(self))
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.0.name)
    }
}
