//! The values a configuration holds beside sizes and durations, each read from text. Networks are the gate's own.
//!
//! Guarantees: what is displayed reads back as the same value. A text that cannot be read is refused with a message that shows
//! how to write it; that message is what the postmaster sees.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use mail::Domain;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hostname(pub(crate) Domain);

/// An address and port to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

/// What is logged: a level, and levels for parts of the program.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Filter {
    text: String,
    targets: Targets,
}

/// Why a text is not the value it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("{0:?} is not a host name: write the full name, as in \"mail.example.org\"")]
    Hostname(String),
    #[error("{0:?} is not an address with its port: write it as in \"192.0.2.1:PORT\", or \"[2001:db8::1]:PORT\" for IPv6")]
    Address(String),
    #[error(
        "{0:?} is not a log level: write error, warn, info, debug or trace, alone or followed by parts, as in \"info,smtp_listener=debug\""
    )]
    Filter(String),
}

impl Filter {
    /// The default: `info`.
    pub(crate) fn info() -> Self {
        Self { text: "info".into(), targets: Targets::new().with_default(LevelFilter::INFO) }
    }

    /// For `tracing_subscriber`.
    pub(crate) fn targets(&self) -> Targets {
        self.targets.clone()
    }
}

impl FromStr for Hostname {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Self).map_err(|_| ValueError::Hostname(text.into()))
    }
}

impl FromStr for Address {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        text.parse().map(Self).map_err(|_| ValueError::Address(text.into()))
    }
}

impl FromStr for Filter {
    type Err = ValueError;

    /// Stricter than `Targets`, to which a misspelt level is the name of a part.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Filter(text.into());
        let (mut rest, mut targets) = (text.split(','), Targets::new());
        targets = targets.with_default(level(rest.next().unwrap_or_default()).ok_or_else(wrong)?);
        for part in &mut rest {
            let (target, word) = part.split_once('=').ok_or_else(wrong)?;
            targets = targets.with_target(target.trim(), level(word).ok_or_else(wrong)?);
        }
        Ok(Self { text: text.into(), targets })
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    let word = word.trim();
    // `LevelFilter` reads numbers and the empty text, too.
    word.chars().all(|c| c.is_ascii_alphabetic()).then(|| word.parse().ok()).flatten().filter(|_| !word.is_empty())
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

mail::as_text!(Hostname);
mail::as_text!(Address);
mail::as_text!(Filter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_no_part_of_the_program() {
        for text in ["info", "warn,smtp=trace", "info, gate = debug", "OFF"] {
            assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
        }
        for text in ["", "infoo", "smtp=debug", "info,smtp", "info,smtp=", "3"] {
            assert_eq!(text.parse::<Filter>(), Err(ValueError::Filter(text.into())), "{text:?}");
        }
    }
}
