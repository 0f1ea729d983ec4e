//! The keys there are, each with its default: from the configuration's types, as `gatepost config reference` prints them.

use std::process::Command;

/// Every key of the file, in its order.
pub(crate) struct Keys(Vec<(String, String)>);

impl Keys {
    pub(crate) fn of_the_configuration() -> Self {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost")).args(["config", "reference"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let keys: Vec<_> = text.split("\n### `").skip(1).map(key).collect();
        assert!(keys.len() > 80, "{} keys found", keys.len());
        Self(keys)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// What holds where the file says nothing, as it would be written there.
    pub(crate) fn default(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(name, _)| name == key);
        &found.unwrap_or_else(|| panic!("{key} is no key")).1
    }

    /// The key called `name` in the first of `tables` that has one.
    pub(crate) fn named(&self, name: &str, tables: &[&str]) -> &str {
        let mut keys = tables.iter().map(|table| format!("{table}.{name}"));
        let found = keys.find_map(|key| self.names().find(|known| *known == key));
        found.unwrap_or_else(|| panic!("none of {tables:?} has the key {name}"))
    }
}

/// A key and its default; `text` begins with the name.
fn key(text: &str) -> (String, String) {
    let (name, rest) = text.split_once("`\n\nDefault: ").unwrap();
    let (default, _) = rest.split_once(". Takes effect ").unwrap();
    (name.to_owned(), default.to_owned())
}
