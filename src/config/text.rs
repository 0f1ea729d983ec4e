//! The commented example and the reference, made from the doc comments of the tables.
//!
//! In the example a line that begins with `#` and no space is a key with its default: taking the `#` away changes nothing. What
//! nearly everyone must set stands there uncommented, with a value to replace.

use std::fmt::Write;

use serde_json::Value;

use super::Config;
use super::change::{TakesEffect, written};
use super::schema::{self, Schema, part};

/// `conf/gatepost.toml`.
pub(crate) fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    for (table, keys) in tables() {
        if let Some(table) = table {
            text.push('\n');
            prose(&mut text, &table.description);
            let _ = writeln!(text, "[{}]", table.name);
        }
        for key in keys {
            text.push('\n');
            prose(&mut text, &key.description);
            if key.restart {
                text.push_str("# Takes effect after a restart.\n");
            }
            let _ = match (&key.default, &key.example) {
                (Some(default), _) => writeln!(text, "#{} = {default}", key.name),
                (None, Some(example)) if key.set => writeln!(text, "{} = {example}", key.name),
                (None, example) => writeln!(text, "# For example: {} = {}", key.name, example.as_deref().unwrap_or_default()),
            };
        }
    }
    text
}

/// `docs/configuration.md`.
pub(crate) fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    for (table, keys) in tables() {
        match &table {
            Some(table) => {
                let _ = write!(text, "\n## [{}]\n\n{}\n", table.name, table.description);
            }
            None => text.push_str("\n## At the top of the file\n"),
        }
        for key in keys {
            let path = table.as_ref().map_or_else(|| key.name.clone(), |table| format!("{}.{}", table.name, key.name));
            let default = key.default.as_ref().map_or_else(|| "none".into(), |default| format!("`{default}`"));
            let when = if key.restart { "after a restart" } else { "on reload" };
            let _ = write!(text, "\n### `{path}`\n\nDefault: {default}. Takes effect {when}.\n\n{}\n", key.description);
        }
    }
    text
}

struct Key {
    name: String,
    description: String,
    default: Option<String>,
    example: Option<String>,
    set: bool,
    restart: bool,
}

/// The keys before the first table, then table by table.
fn tables() -> Vec<(Option<Key>, Vec<Key>)> {
    let (schema, defaults) = (schema::whole(), serde_json::to_value(Config::default()).unwrap_or_default());
    let file = Schema(&schema);
    let top = file.keys().filter(|(_, known)| !known.is_table()).map(|(name, _)| Key::new(file, name, &defaults, TakesEffect::Live));
    let tables = file.keys().filter(|(_, known)| known.is_table()).map(|(name, table)| {
        let above = file.takes_effect(name, TakesEffect::Live);
        let keys = table.keys().map(|(key, _)| Key::new(table, key, part(&defaults, name), above));
        (Some(Key::new(file, name, &defaults, TakesEffect::Live)), keys.collect())
    });
    [(None, top.collect())].into_iter().chain(tables).collect()
}

impl Key {
    fn new(table: Schema<'_>, name: &str, defaults: &Value, above: TakesEffect) -> Self {
        let known = table.key(name);
        Self {
            name: name.to_owned(),
            description: known.map(Schema::description).unwrap_or_default().to_owned(),
            default: Some(part(defaults, name)).filter(|default| !default.is_null()).map(written),
            example: known.and_then(Schema::example).map(written),
            set: known.is_some_and(Schema::is_to_be_set),
            restart: table.takes_effect(name, above) == TakesEffect::Restart,
        }
    }
}

/// Paragraphs as comments.
fn prose(text: &mut String, description: &str) {
    for (number, paragraph) in description.split("\n\n").enumerate() {
        if number > 0 {
            text.push_str("#\n");
        }
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS {
                let _ = writeln!(text, "{line}");
                line.truncate(1);
            }
            let _ = write!(line, " {word}");
        }
        let _ = writeln!(text, "{line}");
    }
}

const COLUMNS: usize = 100;

const EXAMPLE_HEAD: &str = r##"# Gatepost: the example configuration, with every key there is.
#
# A line that begins with "#" and no space is a key with its default: take the "#" away and change the value. Sizes have units
# (B, KiB, MiB, GiB), and so have times (ms, s, m, h, d). Relative paths are taken from the folder of this file.
#
# gatepost check --config FILE    says what is wrong with a file, with line and key, and changes nothing
# gatepost reload --config FILE   puts a changed file in force, all of it or nothing; so does SIGHUP
# gatepost config example         prints this file
"##;

const REFERENCE_HEAD: &str = "# Configuration

Gatepost reads one TOML file, by default `/etc/gatepost/gatepost.toml`. Every key has a default, but for the certificate that passwords need. Sizes have units
(`B`, `KiB`, `MiB`, `GiB`), and so have times (`ms`, `s`, `m`, `h`, `d`, as in `\"1h30m\"`). Relative paths are taken from the folder of the file. There are no secrets in
it, only paths of files that hold them.

- `gatepost config example > gatepost.toml` writes a commented file to start from.
- `gatepost check --config FILE` reports everything that is wrong with a file, with line and key, and changes nothing.
- `gatepost reload`, or SIGHUP, puts a changed file in force. It is checked as a whole first: all of it is taken over or nothing, and a faulty file leaves
  everything as it was. What takes effect after a restart only is named.

This page is made from the program's source: `gatepost config reference` prints it.
";
