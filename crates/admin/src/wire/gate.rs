//! What is asked of the gate and what it answers.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Holder, Listening};

/// What is asked of a running server's gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum GateRequest {
    /// Why was this connection refused?
    Explain {
        /// What stands in the brackets at the end of the refusal, as `R4.k3f9`.
        token: String,
    },
}

/// One refusal, as it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Its token.
    pub token: String,
    /// The rule's id, as `R4`.
    pub rule: String,
    /// The rule in words.
    pub meaning: String,
    /// The numbers behind it.
    pub cause: String,
    /// When it was, RFC 3339.
    pub at: String,
    /// How long ago that is.
    pub seconds_ago: u64,
    /// Who was refused.
    pub source: IpAddr,
    /// Where.
    pub listener: Option<Listening>,
    /// The key that set the limit, where the rule has one, as it is now.
    pub key: Option<Setting>,
    /// Places in use at that instant.
    pub in_use: u32,
    /// Places there were.
    pub limit: u32,
    /// What the source's prefixes held at that instant, narrowest first.
    pub share: Vec<Holder>,
    /// The addresses that held the most about then, biggest first.
    pub holders: Vec<Holder>,
    /// What to do.
    pub remedy: String,
}

/// A key of the configuration with the value in force, and where that is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// With its table, as `gate.max_inbound`.
    pub key: String,
    /// As it would be written in the file.
    pub value: String,
    /// Where it is from.
    pub origin: Origin,
}

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// The key is not written anywhere.
    Default,
    /// It is in the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
    },
}
