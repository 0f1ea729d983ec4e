//! What events tell: lines in the log and figures in the metrics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod lines;
mod reference;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use events::Events;
use tracing::field::{Field, Visit};
use tracing::{Metadata, Subscriber, span};

/// What one log line held.
#[derive(Debug, Clone)]
struct LogLine {
    level: String,
    target: String,
    text: String,
    fields: Vec<String>,
    values: BTreeMap<String, String>,
}

/// Keeps every line that is logged while it listens.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<LogLine>>>);

impl Log {
    /// All of them up to now.
    fn lines(&self) -> Vec<LogLine> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut values = Values::default();
        event.record(&mut values);
        let fields: Vec<_> = event.metadata().fields().iter().map(|field| field.name().to_owned()).collect();
        let text = values.0.remove("message").unwrap_or_default();
        let fields = fields.into_iter().filter(|name| name != "message").collect();
        let metadata = event.metadata();
        let line = LogLine { level: metadata.level().to_string(), target: metadata.target().into(), text, fields, values: values.0 };
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Values(BTreeMap<String, String>);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }
}

/// The metrics as they are now.
fn encoded(events: &Events) -> String {
    let mut text = String::new();
    events.encode(&mut text).unwrap();
    text
}
