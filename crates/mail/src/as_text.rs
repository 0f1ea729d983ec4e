//! Types that are written and read as text, in a configuration and in its schema.
//!
//! What their `Display` writes their `FromStr` must read. Fails, while reading, with what `FromStr` says.

/// Gives a type with `Display` and `FromStr` the traits of serde and schemars, by way of its text: `as_text!(Type)`, or
/// `as_text!(Type, "pattern")` with a regular expression for the schema. Whoever uses it depends on `serde` and `schemars`.
#[macro_export]
macro_rules! as_text {
    ($type:ident $(, $pattern:literal)?) => {
        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'_, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(::serde::de::Error::custom)
            }
        }

        impl ::schemars::JsonSchema for $type {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({ "type": "string" $(, "pattern": $pattern)? })
            }
        }
    };
}
