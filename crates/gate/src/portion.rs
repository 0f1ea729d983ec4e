//! A number of places, written as such or as a part of another number: `100` or `"10%"`.
//!
//! Guarantees: what is displayed reads back as the same value. Refuses texts that are neither, with a message that shows how to
//! write them. Cannot fail otherwise.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// So many places, or so many of each hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// A number.
    Places(u32),
    /// A part, at most 100.
    Percent(u8),
}

/// Why a text is not a portion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a number of places nor a part of them: write 100 or \"10%\"")]
pub struct PortionError(String);

impl Portion {
    /// In places. A part is rounded up, so that only 0 % of something is nothing.
    pub fn of(self, whole: u32) -> u32 {
        match self {
            Self::Places(places) => places,
            // At most `whole`, as the part is at most all of it.
            Self::Percent(percent) => (u64::from(whole) * u64::from(percent)).div_ceil(100) as u32,
        }
    }
}

impl FromStr for Portion {
    type Err = PortionError;

    fn from_str(text: &str) -> Result<Self, PortionError> {
        let digits = text.strip_suffix('%').unwrap_or_default().trim_end();
        let percent = digits.parse().ok().filter(|percent| *percent <= 100 && digits.bytes().all(|octet| octet.is_ascii_digit()));
        percent.map(Self::Percent).ok_or_else(|| PortionError(text.to_owned()))
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Places(places) => places.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Places(places) => places.serialize(serializer),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EitherOne)
    }
}

impl JsonSchema for Portion {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Portion".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+ *%$" })
    }
}

struct EitherOne;

impl Visitor<'_> for EitherOne {
    type Value = Portion;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of places, as in 100, or a part of them, as in \"10%\"")
    }

    fn visit_u64<E: serde::de::Error>(self, places: u64) -> Result<Portion, E> {
        u32::try_from(places).map(Portion::Places).map_err(|_| E::invalid_value(Unexpected::Unsigned(places), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, places: i64) -> Result<Portion, E> {
        u32::try_from(places).map(Portion::Places).map_err(|_| E::invalid_value(Unexpected::Signed(places), &self))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Portion, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Holder {
        portion: Portion,
    }

    #[test]
    fn reads_numbers_and_parts() {
        for (text, portion) in [("100", Portion::Places(100)), ("\"10%\"", Portion::Percent(10)), ("\"0%\"", Portion::Percent(0))] {
            let holder: Holder = toml::from_str(&format!("portion = {text}")).unwrap();
            assert_eq!(holder, Holder { portion });
            assert_eq!(toml::to_string(&holder).unwrap(), format!("portion = {text}\n"));
        }
        for text in ["-1", "1.5", "\"101%\"", "\"ten\"", "\"10\"", "\"+5%\"", "true", "5000000000"] {
            assert!(toml::from_str::<Holder>(&format!("portion = {text}")).is_err(), "{text}");
        }
        let error = "a tenth".parse::<Portion>().unwrap_err().to_string();
        assert_eq!(error, "\"a tenth\" is neither a number of places nor a part of them: write 100 or \"10%\"");
    }

    #[test]
    fn a_part_is_rounded_up() {
        let tenth = Portion::Percent(10);
        assert_eq!([0, 1, 5, 10, 11, 1000, u32::MAX].map(|whole| tenth.of(whole)), [0, 1, 1, 1, 2, 100, 429_496_730]);
        assert_eq!((Portion::Percent(100).of(7), Portion::Percent(0).of(7), Portion::Places(9).of(7)), (7, 0, 9));
    }
}
