//! From text to [`Config`], past every fault: syntax, unknown keys, types, units.
//!
//! The text is read into a table whose every key and value knows its place. What the schema can tell is checked first: unknown
//! keys and wrong types. Then the table is turned into a `Config` as often as needed: each failure names one value, which is
//! noted and taken out, so that its default stands in and the next fault shows.
//!
//! Guarantees: always ends, with a `Config` and all faults; the `Config` is worth something only when there are none.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;

use serde_json::Value;
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Config;
use super::change::written;
use super::fault::{Fault, Finding, Severity};
use super::schema::{self, Schema, part};

/// What a text came to.
pub(super) struct Read<'t> {
    pub(super) config: Config,
    pub(super) faults: Vec<Fault>,
    pub(super) document: Document<'t>,
}

/// Where everything is, without what was taken out.
pub(super) struct Document<'t> {
    text: &'t str,
    table: Spanned<DeTable<'t>>,
    /// Keys that were taken out: what is said about their defaults is not about the file.
    lost: Vec<String>,
}

/// Reads all of it.
pub(super) fn read(text: &str) -> Read<'_> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut document = Document { text, table, lost: Vec::new() };
    if !errors.is_empty() {
        // What follows a fault of syntax may be taken for something else: more faults would be guesses.
        let mut faults: Vec<Fault> = errors.iter().map(|error| document.syntax(error)).collect();
        // One bracket that is missing makes many faults of one line.
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup_by_key(|fault| fault.line);
        document.lost.push(String::new());
        return Read { config: Config::default(), faults, document };
    }
    let mut faults = Vec::new();
    let mut table = mem::replace(&mut document.table, Spanned::new(0..0, DeTable::new()));
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let schema = schema::whole();
    let whole = Schema(&schema);
    Examiner { whole, document: &mut document, faults: &mut faults }.table(whole, &defaults, "", table.get_mut());
    document.table = table;
    let config = document.deserialize(whole, &mut faults);
    Read { config, faults, document }
}

impl Document<'_> {
    /// Whether a fault of this key was reported already, or of the table it is in.
    pub(super) fn lost(&self, key: &str) -> bool {
        self.lost
            .iter()
            .any(|lost| key.strip_prefix(lost.as_str()).is_some_and(|rest| lost.is_empty() || rest.is_empty() || rest.starts_with('.')))
    }

    /// Whether a key is written, with nothing wrong about it by itself.
    pub(super) fn has(&self, key: &str) -> bool {
        let mut names = key.split('.');
        let first = names.next().and_then(|name| self.table.get_ref().get(name));
        names.fold(first, |value, name| value?.get_ref().as_table()?.get(name)).is_some()
    }

    /// Gives a finding its place: that of its value, else of the table the value is missing from.
    pub(super) fn place(&self, finding: Finding) -> Fault {
        let fault = self.fault(self.span(&finding.key, finding.index), finding.key, finding.message);
        Fault { severity: finding.severity, ..fault }
    }

    /// The line of every key that is written, by its name with its tables. Of a list of tables, that of the list.
    pub(super) fn lines(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        self.lines_below(self.table.get_ref(), "", &mut lines);
        lines
    }

    fn lines_below(&self, table: &DeTable<'_>, path: &str, lines: &mut BTreeMap<String, usize>) {
        for (name, value) in table {
            let key = format!("{path}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.lines_below(inner, &format!("{key}."), lines),
                _ => drop(self.line(name.span()).map(|line| lines.insert(key, line))),
            }
        }
    }

    fn line(&self, span: Range<usize>) -> Option<usize> {
        self.text.get(..span.start).map(|before| before.matches('\n').count() + 1)
    }

    fn deserialize(&mut self, whole: Schema<'_>, faults: &mut Vec<Fault>) -> Config {
        loop {
            let error = match serde_path_to_error::deserialize(toml::Deserializer::from(self.table.clone())) {
                Ok(config) => return config,
                Err(error) => error,
            };
            let path: Vec<Segment> = error.path().iter().cloned().collect();
            let (key, removed) = (dotted(&path), remove(self.table.get_mut(), &path));
            let known = key.split('.').try_fold(whole, Schema::key);
            let explained = known.zip(removed.as_ref()).and_then(|(known, value)| out_of_range(known, known.least()?, value.get_ref()));
            let span = removed.map(|value| value.span());
            let message = explained.unwrap_or_else(|| error.inner().message().into());
            faults.push(self.fault(span.clone().or_else(|| error.inner().span()), key.clone(), message));
            // What is left of a list is still about the file.
            if !matches!(path.last(), Some(Segment::Seq { .. })) {
                self.lost.push(key);
            }
            if span.is_none() {
                return Config::default();
            }
        }
    }

    fn span(&self, key: &str, index: Option<usize>) -> Option<Range<usize>> {
        let (mut table, mut span) = (self.table.get_ref(), None);
        for name in key.split('.') {
            let Some((key, value)) = table.get_key_value(name) else { return span };
            span = Some(key.span());
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                DeValue::Array(array) => return index.and_then(|index| array.get(index)).map(Spanned::span).or(span),
                _ => return span,
            }
        }
        span
    }

    /// The parser's words, and what it stumbled over.
    fn syntax(&self, error: &toml::de::Error) -> Fault {
        let over =
            error.span().and_then(|span| self.text.get(span)).and_then(|over| over.lines().next()).filter(|over| !over.trim().is_empty());
        let over = over.map(|over| format!(", at `{over}`")).unwrap_or_default();
        self.fault(error.span(), String::new(), format!("{}{over}", error.message().lines().collect::<Vec<_>>().join("; ")))
    }

    fn fault(&self, span: Option<Range<usize>>, key: String, message: String) -> Fault {
        let line = span.clone().and_then(|span| self.line(span));
        let before = span.and_then(|span| self.text.get(..span.start));
        let column = before.map(|before| before.rsplit('\n').next().unwrap_or_default().chars().count() + 1);
        Fault { severity: Severity::Error, line, column, key, message }
    }
}

/// Takes out of a table what the schema does not know or has as another type.
struct Examiner<'a, 't> {
    whole: Schema<'a>,
    document: &'a mut Document<'t>,
    faults: &'a mut Vec<Fault>,
}

impl Examiner<'_, '_> {
    fn table(&mut self, schema: Schema<'_>, defaults: &Value, path: &str, table: &mut DeTable<'_>) {
        let mut faulty: Vec<String> = Vec::new();
        for (name, value) in table.iter_mut() {
            let (place, name): (_, &str) = (name.span(), name.get_ref());
            let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let (known, default) = (schema.key(name), part(defaults, name));
            let fault = match known {
                None => Some((place, unknown(self.whole, schema, path, name))),
                Some(known) => mistyped(known, default, value.get_ref()).map(|message| (value.span(), message)),
            };
            match (fault, known, value.get_mut()) {
                (Some((place, message)), _, _) => {
                    self.faults.push(self.document.fault(Some(place), key.clone(), message));
                    self.document.lost.push(key);
                    faulty.push(name.to_owned());
                }
                (None, Some(known), DeValue::Table(table)) => self.table(known.as_table(), default, &key, table),
                (None, Some(known), DeValue::Array(array)) => self.array(known.elements(), default, &key, array),
                _ => {}
            }
        }
        for name in faulty {
            table.remove(name.as_str());
        }
    }

    fn array<'t>(&mut self, schema: Schema<'_>, default: &Value, key: &str, array: &mut DeArray<'t>) {
        let elements: Vec<Spanned<DeValue<'t>>> = mem::replace(array, DeArray::new()).into_iter().collect();
        for element in elements {
            match mistyped(schema, default.get(0).unwrap_or(&Value::Null), element.get_ref()) {
                Some(message) => self.faults.push(self.document.fault(Some(element.span()), key.to_owned(), message)),
                None => array.push(element),
            }
        }
    }
}

/// Why a value cannot be what the schema wants, whatever it says.
fn mistyped(schema: Schema<'_>, default: &Value, value: &DeValue<'_>) -> Option<String> {
    let (wanted, fits) = match schema.kind()? {
        "string" => ("a text in quotes", value.is_str()),
        "integer" => ("a whole number", value.is_integer()),
        "boolean" => ("true or false", value.is_bool()),
        "array" => ("a list in brackets", value.is_array()),
        "object" => ("a table", value.is_table()),
        _ => return None,
    };
    if !fits {
        let example = if default.is_null() { schema.example() } else { Some(default) };
        let example =
            example.filter(|example| !example.is_object()).map(|example| format!(", as in {}", written(example))).unwrap_or_default();
        return Some(format!("must be {wanted}{example}; this is {}", found(value)));
    }
    match value {
        DeValue::String(text) => none_of(schema.words()?, text),
        // A least number above zero is for the rules, which can say why, or for the type.
        DeValue::Integer(_) => out_of_range(schema, 0, value),
        _ => None,
    }
}

fn out_of_range(schema: Schema<'_>, least: u64, value: &DeValue<'_>) -> Option<String> {
    let number = value.as_integer().map(|number| i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))?;
    let most = schema.most();
    let within = (i128::from(least)..=i128::from(most)).contains(&number);
    (!within).then(|| format!("{number} is out of range: write a whole number from {least} to {most}"))
}

fn none_of(words: &[Value], text: &str) -> Option<String> {
    let all = words.iter().map(written).collect::<Vec<_>>().join(", ");
    (!words.iter().any(|word| word == text)).then(|| format!("{text:?} is none of {all}"))
}

fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What to say about a key that is not in the schema: the nearest that is, in this table or another.
fn unknown(whole: Schema<'_>, schema: Schema<'_>, path: &str, name: &str) -> String {
    let siblings: Vec<&str> = schema.keys().map(|(key, _)| key).collect();
    if let Some(meant) = nearest(name, &siblings) {
        return format!("there is no such key; did you mean {meant}?");
    }
    let elsewhere = whole.keys().find(|(_, table)| table.key(name).is_some());
    match elsewhere {
        Some((table, _)) => format!("there is no such key here; it belongs in [{table}]"),
        None if whole.key(name).is_some() => "there is no such key here; it belongs at the top of the file, before the first table".into(),
        None if path.is_empty() => format!("there is no such key or table; there are {}", siblings.join(", ")),
        None => format!("there is no such key; [{path}] has {}", siblings.join(", ")),
    }
}

fn nearest<'k>(name: &str, among: &[&'k str]) -> Option<&'k str> {
    let distance = |key: &str| strsim::damerau_levenshtein(name, key);
    among.iter().copied().min_by_key(|key| distance(key)).filter(|key| distance(key) <= name.len().max(4) / 3)
}

fn dotted(path: &[Segment]) -> String {
    let names = path.iter().filter_map(|segment| match segment {
        Segment::Map { key } => Some(key.as_str()),
        _ => None,
    });
    names.collect::<Vec<_>>().join(".")
}

/// Takes the value at the path out, or the element; none when there is nothing there.
fn remove<'t>(table: &mut DeTable<'t>, path: &[Segment]) -> Option<Spanned<DeValue<'t>>> {
    let (Segment::Map { key }, rest) = path.split_first()? else { return None };
    let inner = match (table.get_mut(key.as_str())?.get_mut(), rest) {
        (DeValue::Table(inner), [_, ..]) => remove(inner, rest),
        (DeValue::Array(array), [Segment::Seq { index }, ..]) => {
            let mut gone = None;
            for (at, element) in mem::replace(array, DeArray::new()).into_iter().enumerate() {
                if at == *index {
                    gone = Some(element);
                } else {
                    array.push(element);
                }
            }
            gone
        }
        _ => None,
    };
    inner.or_else(|| table.remove(key.as_str()))
}
