//! Sessions in use, and the way to end one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Listening;

/// What is asked about a running server's sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum SessionsRequest {
    /// Who is there?
    List {
        /// Only those of this account.
        user: Option<String>,
        /// Only those from this address or network, as `192.0.2.7` or `2001:db8::/48`.
        source: Option<String>,
    },
    /// End one at its next command boundary.
    End {
        /// Its id.
        id: String,
    },
}

/// A session in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id, as in the log.
    pub id: String,
    /// Where it came in.
    pub listener: Option<Listening>,
    /// The client's address.
    pub source: IpAddr,
    /// What the gate thinks of it: `exempt`, `trusted`, `known_good` or `default`.
    pub class: String,
    /// Who has authenticated.
    pub user: Option<String>,
    /// What the client calls itself: the name of its EHLO.
    pub program: Option<String>,
    /// How long it has lasted.
    pub seconds: f64,
    /// What it is doing: `client`, `tls`, `own`, `store` or `tarpit`.
    pub phase: String,
    /// For how long it has been doing that.
    pub phase_seconds: f64,
    /// What its time went to, by phase.
    pub slot_seconds: BTreeMap<String, f64>,
    /// Commands so far.
    pub commands: u32,
    /// Octets received, TLS taken off.
    pub octets_in: u64,
    /// Octets sent, before TLS.
    pub octets_out: u64,
    /// It was told to end.
    pub ending: bool,
}
