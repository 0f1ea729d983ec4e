//! What differs between two configurations, and what of it a running server can take over.
//!
//! Goes by the schema, so that a new key is compared without anyone thinking of it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Config;
use super::schema::{self, Schema, part};

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TakesEffect {
    /// On reload.
    Live,
    /// When the server is started again.
    Restart,
}

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// With its table, as in `gate.max_inbound`.
    pub(crate) key: String,
    /// As it would be written in the file; `unset` for none.
    pub(crate) from: String,
    /// Likewise.
    pub(crate) to: String,
    pub(crate) takes_effect: TakesEffect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.key, self.from, self.to)?;
        if self.takes_effect == TakesEffect::Restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

impl Config {
    /// What changes when `new` is put in the place of `self`, in the order of the file. A reload takes all of it or, when any
    /// of it needs a restart, names that.
    pub(crate) fn changes(&self, new: &Self) -> Vec<Change> {
        let value = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let mut changes = Vec::new();
        compare(Schema(&schema::whole()), "", TakesEffect::Live, [&value(self), &value(new)], &mut changes);
        changes
    }
}

fn compare(table: Schema<'_>, path: &str, above: TakesEffect, [old, new]: [&Value; 2], changes: &mut Vec<Change>) {
    for (name, known) in table.keys() {
        let (old, new, takes_effect) = (part(old, name), part(new, name), table.takes_effect(name, above));
        if known.is_table() {
            compare(known, &format!("{path}{name}."), takes_effect, [old, new], changes);
        } else if old != new {
            changes.push(Change { key: format!("{path}{name}"), from: written(old), to: written(new), takes_effect });
        }
    }
}

/// A value as TOML. What JSON writes for the kinds a configuration has is TOML, too.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Null => "unset".into(),
        Value::Array(elements) => format!("[{}]", elements.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, value)| format!("{key} = {}", written(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
