//! What a service does with clients when every place is taken: `"refuse"`, or a waiting room.
//!
//! Guarantees: what is written reads back as the same value. Refuses other words and other keys, and shows how to write it.

use std::fmt;

use mail::Span;
use net::WaitingRoom;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What becomes of a client that finds every place taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Refuse,
    Wait(Room),
}

/// A waiting room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Room {
    pub(crate) wait: Span,
    pub(crate) places: u32,
}

impl Patience {
    /// The room, where there is one.
    pub(crate) fn room(self) -> Option<WaitingRoom> {
        let Self::Wait(Room { wait, places }) = self else { return None };
        Some(WaitingRoom { wait: wait.0, places: usize::try_from(places).unwrap_or(usize::MAX) })
    }
}

impl Default for Room {
    fn default() -> Self {
        Self { wait: Span::secs(5), places: 256 }
    }
}

impl Serialize for Patience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Refuse => REFUSE.serialize(serializer),
            Self::Wait(room) => room.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrRoom)
    }
}

struct WordOrRoom;

impl<'de> Visitor<'de> for WordOrRoom {
    type Value = Patience;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""refuse", or a waiting room as in { wait = "5s", places = 256 }"#)
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Patience, E> {
        if word == REFUSE {
            Ok(Patience::Refuse)
        } else {
            Err(E::custom(format_args!(r#"{word:?} is neither "refuse" nor a waiting room, as in {{ wait = "5s", places = 256 }}"#)))
        }
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Patience, M::Error> {
        Room::deserialize(MapAccessDeserializer::new(map)).map(Patience::Wait)
    }
}

impl JsonSchema for Patience {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Patience".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "enum": [REFUSE] },
                {
                    "type": "object",
                    "properties": {
                        "wait": { "type": "string", "examples": ["5s"] },
                        "places": { "type": "integer", "minimum": 0, "maximum": u32::MAX, "examples": [256] },
                    },
                },
            ],
        })
    }
}

const REFUSE: &str = "refuse";
