//! The services of the operator's that screening asks: where they are, and whether that can be.
//!
//! Guarantees: what is written reads back as the same value.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use screening::{Check, Endpoint, Milter};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::fault::Finding;
use super::Screening;

/// Where hooks are: one address, or a list of them. None is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks(pub(crate) Vec<String>);

impl Serialize for Hooks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => "".serialize(serializer),
            [only] => only.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Hooks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Hooks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an address, as "http://127.0.0.1:8080/hook", or a list of them"#)
    }

    fn visit_str<E: serde::de::Error>(self, address: &str) -> Result<Hooks, E> {
        Ok(Hooks(Some(address.to_owned()).filter(|address| !address.is_empty()).into_iter().collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Hooks, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Hooks)
    }
}

impl JsonSchema for Hooks {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hooks".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// What is written for checks that are not asked: it looks like protection, and is none.
pub(super) fn idle(screening: &Screening) -> Vec<Finding> {
    let written = [
        ("dns_lists", !screening.dns_lists.is_empty(), Check::Lists),
        ("attachments", !screening.attachments.is_empty(), Check::Attachments),
        ("rspamd", !screening.rspamd.is_empty(), Check::Rspamd),
        ("milters", !screening.milters.is_empty(), Check::Milter),
        ("hook", !screening.hook.0.is_empty(), Check::Hook),
    ];
    let idle = written.into_iter().filter(|(_, is_written, check)| *is_written && !screening.asks(*check));
    let warned = idle.map(|(key, _, check)| {
        let message = format!("counts for nothing: {:?} is not among screening.checks", check.as_str());
        Finding::warning(format!("screening.{key}"), message)
    });
    warned.collect()
}

/// What does not hold of them.
pub(super) fn findings(screening: &Screening) -> Vec<Finding> {
    let mut found = Vec::new();
    let missing = |check: Check, example: &str| {
        format!("is empty, and {:?} is among the checks: write where it is, as in {example:?}", check.as_str())
    };
    if screening.rspamd.is_empty() {
        if screening.asks(Check::Rspamd) {
            found.push(Finding::error("screening.rspamd", missing(Check::Rspamd, "http://127.0.0.1:11333")));
        }
    } else if let Err(error) = screening.rspamd.parse::<Endpoint>() {
        found.push(Finding::error("screening.rspamd", error.to_string()));
    }
    let Hooks(hooks) = &screening.hook;
    if screening.asks(Check::Hook) && hooks.is_empty() {
        found.push(Finding::error(HOOK, missing(Check::Hook, "http://127.0.0.1:8080/hook")));
    }
    if hooks.len() > HOOKS_MOST {
        let message = format!("has {} addresses, which are asked one after the other: write at most {HOOKS_MOST}", hooks.len());
        found.push(Finding::error(HOOK, message));
    }
    let wrong = |(index, text): (usize, &String)| {
        let finding = Finding::error(HOOK, text.parse::<Endpoint>().err()?.to_string());
        Some(if hooks.len() > 1 { finding.at(index) } else { finding })
    };
    found.extend(hooks.iter().enumerate().filter_map(wrong));
    let asks_milters = screening.asks(Check::Milter);
    if asks_milters && screening.milters.is_empty() {
        found.push(Finding::error(
            MILTERS,
            "is empty, and \"milter\" is among the checks: write where they are, as in [\"inet:127.0.0.1:8891\"]",
        ));
    }
    if screening.milters.len() > MILTERS_MOST {
        let message = format!("has {} milters, which are asked one after the other: write at most {MILTERS_MOST}", screening.milters.len());
        found.push(Finding::error(MILTERS, message));
    }
    let wrong = |(index, text): (usize, &String)| Some(Finding::error(MILTERS, text.parse::<Milter>().err()?.to_string()).at(index));
    found.extend(screening.milters.iter().enumerate().filter_map(wrong));
    found
}

const HOOK: &str = "screening.hook";
const HOOKS_MOST: usize = 8;
const MILTERS: &str = "screening.milters";
const MILTERS_MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Screening, String> {
        toml::from_str::<Screening>(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_hook_is_one_address_or_a_list() {
        let (one, other) = ("http://127.0.0.1:8080/hook".to_owned(), "https://hooks.example.org/".to_owned());
        for (text, hooks, written) in [
            (String::new(), vec![], "\"\"".to_owned()),
            ("hook = \"\"".into(), vec![], "\"\"".into()),
            (format!("hook = \"{one}\""), vec![one.clone()], format!("{one:?}")),
            (format!("hook = [\"{one}\"]"), vec![one.clone()], format!("{one:?}")),
            (format!("hook = [\"{one}\", \"{other}\"]"), vec![one.clone(), other.clone()], format!("[{one:?},{other:?}]")),
        ] {
            let screening = read(&text).unwrap();
            assert_eq!((&screening.hook.0, findings(&screening).len()), (&hooks, 0), "{text}");
            assert_eq!(serde_json::to_string(&screening.hook).unwrap(), written);
        }
        assert!(read("hook = 1").unwrap_err().contains("or a list of them"));
        let said = |text: &str| findings(&read(text).unwrap()).into_iter().map(|finding| finding.message).collect::<Vec<_>>();
        assert!(said(&format!("hook = [\"{one}\", \"x\"]"))[0].contains("\"x\" is not the address of a service"));
        assert!(said("checks = [{ check = \"hook\" }]\nhook = []")[0].starts_with("is empty, and \"hook\" is among the checks"));
        let nine = vec![format!("{one:?}"); 9].join(", ");
        assert!(said(&format!("hook = [{nine}]"))[0].ends_with("write at most 8"));
    }
}
