//! Why somebody was not let in, as a value.
//!
//! A [`Refusal`] is small, copied freely and owns nothing. It carries what was true at the instant of the decision, so
//! that whoever explains it later need not guess. Its `Display` is for the operator; the peer's words are in
//! [`Refusal::render`].

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use mail::Token;

use crate::limit::{Limit, Limits};
use crate::pool::Usage;
use crate::source::{Level, Source};

/// One refused connection: the rule it met and the token by which a person can ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule} [{token}]")]
pub struct Refusal {
    /// The rule and the numbers behind it.
    pub rule: Rule,
    /// The end of the reply line.
    pub token: Token,
    /// Whether mail from this source was accepted of late, whatever else it is: a refusal to look at.
    pub known_good: bool,
}

impl Refusal {
    pub(crate) fn new(rule: Rule, sequence: u64) -> Self {
        Self { rule, token: Token::new(rule.id(), sequence), known_good: false }
    }
}

/// What was in the way of one try at an admission. Nothing was counted yet: who made it is refused, or tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Obstacle {
    /// The first rule met.
    pub rule: Rule,
    /// The limits in shadow that were met before it.
    pub(crate) met: Limits,
    /// Whether it was a client of the operator's, who may have places of the reserve.
    pub(crate) is_named: bool,
}

/// As who somebody waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For whom turns are taken.
    pub source: IpAddr,
    /// Whether it comes before those without, because it may have places that they may not.
    pub precedence: bool,
    /// Whether there is a place that somebody else may have.
    pub others_may: bool,
}

impl Obstacle {
    /// How a client at `peer` may wait, where all that stood in the way is that no place was free.
    pub fn wait(&self, peer: IpAddr) -> Option<Wait> {
        let others_may = !matches!(self.rule, Rule::PoolFull { .. });
        let wait = Wait { source: Source::from(peer).turn(), precedence: self.is_named, others_may };
        self.rule.is_want_of_places().then_some(wait)
    }
}

/// The rules of the gate, by the ids of its reply table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// R1: the node is starting or draining.
    #[error("the node is starting or draining")]
    Restarting,
    /// R1b: the store takes no mail.
    #[error("the store takes no mail")]
    StoreDown,
    /// R0: the operator wants nothing from there.
    #[error("{network} is denied")]
    Denied {
        /// The narrowest denied network that the client is in.
        network: IpNet,
    },
    /// R0b: banned for a time.
    #[error("{network} is banned{}", if *.is_automatic { ", automatically" } else { "" })]
    Banned {
        /// The narrowest banned network that the client is in.
        network: IpNet,
        /// Whether nobody banned it but the gate.
        is_automatic: bool,
    },
    /// R1: the node has just started, and its places come one after the other.
    #[error("the node has just started: {general} unreserved places in use, {places} there so far")]
    Ramping {
        /// Unreserved places in use.
        general: u32,
        /// Unreserved places there at that moment.
        places: u32,
    },
    /// R2: a client the operator has named is at its own ceiling.
    #[error("the clients of {network} hold {held} sessions of {limit}")]
    ClientFull {
        /// The network that the entry was found by.
        network: IpNet,
        /// Sessions that all clients of the entry hold.
        held: u32,
        /// The entry's ceiling.
        limit: u32,
    },
    /// R2: a prefix of the source holds its fair share.
    #[error("{prefix} holds {held} sessions, and its share is {share} with {free} unreserved places free")]
    ShareSpent {
        /// The narrowest prefix that holds its share.
        prefix: IpNet,
        /// Sessions it held.
        held: u32,
        /// Its share.
        share: u32,
        /// Unreserved places that were free.
        free: u32,
    },
    /// R2: a prefix of the source is at its ceiling.
    #[error("{prefix} holds {held} sessions of {limit}")]
    SourceFull {
        /// The narrowest prefix at its ceiling.
        prefix: IpNet,
        /// Sessions it held; more than `limit` when that was lowered.
        held: u32,
        /// The ceiling in force for its level.
        limit: u32,
    },
    /// R3: connections come too often.
    #[error("{} too often; the next may in {retry_seconds} s", Often(prefix.as_ref()))]
    TooOften {
        /// The narrowest prefix of the source whose rate is spent; `None` when it is that of all clients together.
        prefix: Option<IpNet>,
        /// When one more will be let in, as far as this rule goes.
        retry_seconds: u32,
    },
    /// R4: every place that is not reserved is taken.
    #[error("{general} sessions in use of {unreserved} that are not reserved; {in_use} of {limit} in all")]
    UnreservedFull {
        /// Unreserved places in use.
        general: u32,
        /// Unreserved places there are.
        unreserved: u32,
        /// All places in use.
        in_use: u32,
        /// The limit in force.
        limit: u32,
    },
    /// R4: every place is taken.
    #[error("{in_use} sessions in use of {limit}")]
    PoolFull {
        /// Places in use; more than `limit` while a debt is being paid.
        in_use: u32,
        /// The limit in force.
        limit: u32,
    },
    /// R4b: the process is out of file descriptors; the caller found that out, not the gate.
    #[error("the process is out of file descriptors")]
    OutOfDescriptors,
}

impl Rule {
    /// The id, which is also a label of the metric and the head of the token.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Denied { .. } => "R0",
            Self::Banned { .. } => "R0b",
            Self::Restarting | Self::Ramping { .. } => "R1",
            Self::StoreDown => "R1b",
            Self::SourceFull { .. } | Self::ClientFull { .. } | Self::ShareSpent { .. } => "R2",
            Self::TooOften { .. } => "R3",
            Self::PoolFull { .. } | Self::UnreservedFull { .. } => "R4",
            Self::OutOfDescriptors => "R4b",
        }
    }

    /// Whether who is refused by it is expected to come again.
    pub(crate) fn is_for_now(&self) -> bool {
        !matches!(self, Self::Denied { .. } | Self::Banned { is_automatic: false, .. })
    }

    /// Whether all that stood in the way is that no place was free, so that waiting for one may help.
    pub(crate) fn is_want_of_places(&self) -> bool {
        matches!(self, Self::PoolFull { .. } | Self::UnreservedFull { .. })
    }

    /// The limit that was met, where it is one that can be in shadow.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Denied { .. } => Some(Limit::Deny),
            Self::Banned { is_automatic: true, .. } => Some(Limit::BanAfter),
            Self::ClientFull { .. } => Some(Limit::Clients),
            Self::SourceFull { prefix, .. } => Some(match Level::of(prefix) {
                Level::Address => Limit::SessionsPerAddress,
                Level::Network => Limit::SessionsPerNetwork,
                Level::Site => Limit::SessionsPerSite,
            }),
            Self::TooOften { .. } => Some(Limit::Connections),
            Self::ShareSpent { .. } => Some(Limit::FairShareAlpha),
            Self::Ramping { .. } => Some(Limit::StartRamp),
            Self::Restarting
            | Self::StoreDown
            | Self::Banned { is_automatic: false, .. }
            | Self::PoolFull { .. }
            | Self::UnreservedFull { .. }
            | Self::OutOfDescriptors => None,
        }
    }

    /// The key that the rule comes from, if it comes from one, with its table: `gate.max_inbound`, `rates.connections`. It is a label of the
    /// metric, too.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::TooOften { prefix: Some(prefix), .. } => Some(match Level::of(prefix) {
                Level::Address => "rates.connections_per_address",
                Level::Network => "rates.connections_per_network",
                Level::Site => "rates.connections_per_site",
            }),
            Self::UnreservedFull { .. } => Some("gate.reserve"),
            Self::PoolFull { .. } => Some("gate.max_inbound"),
            other => other.limit().map(Limit::path),
        }
    }
}

/// Who connects.
struct Often<'p>(Option<&'p IpNet>);

impl fmt::Display for Often<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(prefix) => write!(f, "{prefix} connects"),
            None => f.write_str("all clients together connect"),
        }
    }
}

impl From<Usage> for Rule {
    /// Why a pool that was used like this had no place.
    fn from(usage: Usage) -> Self {
        let Usage { in_use, general, limit, .. } = usage;
        match usage.free() {
            0 => Self::PoolFull { in_use, limit },
            _ => Self::UnreservedFull { general, unreserved: usage.unreserved(), in_use, limit },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_reads_the_numbers() {
        let rule = Rule::SourceFull { prefix: "192.0.2.7/32".parse().unwrap(), held: 20, limit: 20 };
        assert_eq!(Refusal::new(rule, 7).to_string(), "192.0.2.7/32 holds 20 sessions of 20 [R2.0007]");
        let of = |prefix| Rule::TooOften { prefix, retry_seconds: 30 }.to_string();
        assert_eq!(of(Some("192.0.2.0/24".parse().unwrap())), "192.0.2.0/24 connects too often; the next may in 30 s");
        assert_eq!(of(None), "all clients together connect too often; the next may in 30 s");
    }

    #[test]
    fn the_key_of_a_rule_is_one_that_can_be_written() {
        let network = "192.0.2.0/24".parse().unwrap();
        let prefixes: [IpNet; 3] = ["192.0.2.7/32", "192.0.2.0/24", "2001:db8::/48"].map(|prefix| prefix.parse().unwrap());
        let too_often = prefixes.map(Some).into_iter().chain([None]).map(|prefix| Rule::TooOften { prefix, retry_seconds: 1 });
        let ceilings = prefixes.map(|prefix| Rule::SourceFull { prefix, held: 1, limit: 1 });
        let others = [
            Rule::Denied { network },
            Rule::Banned { network, is_automatic: true },
            Rule::Ramping { general: 1, places: 1 },
            Rule::ClientFull { network, held: 1, limit: 1 },
            Rule::ShareSpent { prefix: network, held: 1, share: 1, free: 1 },
            Rule::PoolFull { in_use: 1, limit: 1 },
            Rule::UnreservedFull { general: 1, unreserved: 1, in_use: 1, limit: 1 },
        ];
        let keys: Vec<_> = too_often.chain(ceilings).chain(others).map(|rule| (rule.key().unwrap(), rule.limit())).collect();
        let names = ["", "_per_address", "_per_network", "_per_site"].map(|of| format!("rates.connections{of}"));
        assert!(names.iter().all(|name| keys.iter().any(|(key, _)| key == name)), "{keys:?}");
        let [gate, rates] =
            [schemars::schema_for!(crate::Settings), schemars::schema_for!(crate::rates::Settings)].map(|schema| schema.to_value());
        for (key, limit) in keys {
            let (table, name) = key.split_once('.').unwrap();
            let schema = if table == "gate" { &gate } else { &rates };
            assert!(schema["properties"][name].is_object(), "{key}");
            assert!(limit.is_none_or(|limit| name == limit.key() || table == "rates"), "{key}");
        }
    }
}
