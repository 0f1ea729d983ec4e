//! The one description of the file that faults, example, reference and reload go by, made from the tables' types.
//!
//! Beside what `schemars` writes it holds our marks: `x-set` for what nearly everyone must set, `x-takes-effect = "restart"` at a
//! key or a table, and `x-restart`, a table's list of such keys, for tables that a crate of ours defines.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{Config, TakesEffect};

/// The whole schema, every table described in place.
pub(super) fn whole() -> Value {
    let inline = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    inline.into_generator().into_root_schema_for::<Config>().to_value()
}

/// What is known of one key, or of all of a table.
#[derive(Clone, Copy)]
pub(super) struct Schema<'v>(pub(super) &'v Value);

impl<'v> Schema<'v> {
    /// The keys of a table, in the order of the file; none of anything else.
    pub(super) fn keys(self) -> impl Iterator<Item = (&'v str, Self)> {
        self.of("properties").as_object().into_iter().flatten().map(|(name, known)| (name.as_str(), Self(known)))
    }

    /// One key of a table.
    pub(super) fn key(self, name: &str) -> Option<Self> {
        self.of("properties").get(name).map(Self)
    }

    /// What it must be when it is written as a table, where that is one of the ways to write it.
    pub(super) fn as_table(self) -> Self {
        let ways = self.of("anyOf").as_array().map(Vec::as_slice).unwrap_or_default();
        ways.iter().map(Self).find(|way| way.is_table()).unwrap_or(self)
    }

    pub(super) fn is_table(self) -> bool {
        self.of("properties").is_object()
    }

    /// What the elements of a list must be.
    pub(super) fn elements(self) -> Self {
        Self(self.of("items"))
    }

    /// JSON Schema's word for the type.
    pub(super) fn kind(self) -> Option<&'v str> {
        self.of("type").as_str()
    }

    /// The only texts allowed, where not every text is.
    pub(super) fn words(self) -> Option<&'v [Value]> {
        self.of("enum").as_array().map(Vec::as_slice)
    }

    /// The least number allowed, where it says so.
    pub(super) fn least(self) -> Option<u64> {
        self.of("minimum").as_u64()
    }

    /// The greatest number allowed.
    pub(super) fn most(self) -> u64 {
        self.of("maximum").as_u64().unwrap_or(u32::MAX.into())
    }

    /// The doc comment.
    pub(super) fn description(self) -> &'v str {
        self.of("description").as_str().unwrap_or_default()
    }

    /// A value to show, for a key without a default.
    pub(super) fn example(self) -> Option<&'v Value> {
        self.of("examples").get(0)
    }

    /// Whether nearly everyone must set it.
    pub(super) fn is_to_be_set(self) -> bool {
        self.of("x-set") == true
    }

    /// When a key of this table takes effect: as the key says, else the table, else what the table is in.
    pub(super) fn takes_effect(self, name: &str, above: TakesEffect) -> TakesEffect {
        let listed = self.of("x-restart").as_array().is_some_and(|names| names.iter().any(|other| other == name));
        let marked = self.key(name).is_some_and(|key| key.of("x-takes-effect") == "restart");
        if listed || marked { TakesEffect::Restart } else { above }
    }

    fn of(self, word: &str) -> &'v Value {
        self.0.get(word).unwrap_or(&Value::Null)
    }
}

/// A part of a value that has the schema's shape; null where there is none.
pub(super) fn part<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}
