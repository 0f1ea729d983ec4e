//! What is asked of the gate and what it answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Holder, Listening};

/// What is asked of a running server's gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum GateRequest {
    /// Why was this refused?
    Explain {
        /// What stands in the brackets at the end of the refusal, as `R4.k3f9`.
        token: String,
    },
    /// How are you?
    Status,
    /// Who was refused, and has come back or has not?
    Returns {
        /// Only those who should have come back by now.
        missing: bool,
        /// At most so many.
        most: usize,
    },
    /// Let nobody in, and have the sessions there are finish.
    Drain,
    /// Let people in again.
    UndoDrain,
    /// Have another limit for a time, whatever the file says.
    SetMaxInbound {
        /// The limit.
        max_inbound: u32,
        /// The time.
        seconds: u64,
    },
    /// Go by the file again.
    UnsetMaxInbound,
}

/// How the gate is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateStatus {
    /// `starting`, `open`, `store_down` (mail is fetched, and none taken), `drained` (by an operator) or `draining` (for good).
    pub node: String,
    /// `clear`, `filling` (80 % for a minute) or `full`.
    pub occupancy: String,
    /// Sessions in use.
    pub in_use: u32,
    /// The limit in force.
    pub limit: u32,
    /// Sessions beyond a limit that was lowered.
    pub over_limit: u32,
    /// Sessions in use in places that are not reserved.
    pub unreserved_in_use: u32,
    /// Places that anonymous clients leave alone.
    pub reserve: u32,
    /// Sessions in places of the reserve, for sources that held nothing.
    pub first_places: u32,
    /// Sessions in places of the reserve, about to show a password.
    pub authenticating: u32,
    /// The most sessions ever in use at once.
    pub peak: u32,
    /// The limit that the configuration says.
    pub max_inbound: Setting,
    /// What an operator has set in its place.
    pub overridden: Option<Override>,
    /// Sessions let in since the start.
    pub admitted: u64,
    /// Connections turned away since the start, by rule.
    pub refused: BTreeMap<String, u64>,
    /// Those of them that came from sources known to be good.
    pub known_good_refused: u64,
    /// Sources that were refused, and have not come in again within four hours.
    #[serde(default)]
    pub missing: u64,
    /// What limits in shadow would have turned away, by key.
    pub in_shadow: BTreeMap<String, u64>,
    /// What the sessions do, and what their time went to.
    pub phases: Vec<PhaseStatus>,
    /// The addresses with the most sessions, biggest first.
    pub holders: Vec<Holder>,
    /// The clients that the configuration names.
    pub clients: Vec<ClientStatus>,
    /// The accounts with limits of their own.
    pub users: Vec<ExemptionStatus>,
    /// What to do, while it is filling or full.
    pub remedy: Option<String>,
}

/// A limit set for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The limit.
    pub max_inbound: u32,
    /// Time left.
    pub seconds_left: u64,
    /// When it ends, RFC 3339.
    pub until: String,
}

/// One thing sessions do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseStatus {
    /// `client`, `tls`, `own`, `store` or `tarpit`.
    pub phase: String,
    /// Sessions that do it now.
    pub sessions: u32,
    /// What went to it of all sessions' time in about the last minute, from 0 to 1.
    pub share_of_late: f64,
    /// What went to it since the start.
    pub seconds: f64,
}

/// Clients that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// The entry's name.
    pub name: String,
    /// The ceiling of all of them together, where they have one.
    pub sessions: Option<u32>,
    /// Why.
    pub reason: Option<String>,
    /// The last day it holds.
    pub expires: Option<String>,
    /// That day is over.
    pub expired: bool,
    /// Sessions they have.
    pub in_use: u32,
    /// Sessions the entry ever let in.
    pub admitted: u64,
}

/// An account with a limit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExemptionStatus {
    /// The account.
    pub name: String,
    /// Its limit; none when it is exempt.
    pub sessions: Option<u32>,
    /// Why.
    pub reason: String,
    /// The last day it holds.
    pub expires: Option<String>,
    /// That day is over.
    pub expired: bool,
    /// Sessions it has.
    pub held: u32,
    /// Logins it has let in that the general limit would have refused.
    pub hits: u64,
}

/// Who was refused since the start and may come back, those first of whom the least has been heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returns {
    /// The sources asked for.
    pub sources: Vec<RefusedSource>,
    /// How many there are, with those that were not asked for.
    pub known: u64,
    /// How many of them are missing.
    pub missing: u64,
    /// Refusals of sources that there was no room to remember.
    pub left_out: u64,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSource {
    /// Its address, as `192.0.2.7/32` or `2001:db8::/64`.
    pub prefix: String,
    /// What the gate thinks of it: `exempt`, `trusted`, `known_good` or `default`.
    pub class: String,
    /// How often it was refused since it last came in.
    pub refusals: u32,
    /// The rule it met last, as `R4`.
    pub rule: String,
    /// When the first of these refusals was, RFC 3339.
    pub first: String,
    /// How long ago that is.
    pub first_seconds_ago: u64,
    /// How long ago the last of them is.
    pub last_seconds_ago: u64,
    /// How long after the first it was let in again, if it was.
    pub back_after_seconds: Option<u64>,
    /// How long after the first a message of it was accepted, if one was.
    pub delivered_after_seconds: Option<u64>,
    /// It has not come in for four hours since: what it wanted to bring may be stuck.
    pub missing: bool,
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
    /// Whose session it was, or would have been.
    pub account: Option<String>,
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
