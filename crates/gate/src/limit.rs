//! The limits that can be tried before they are enforced, each by its key.
//!
//! A limit in shadow counts whom it would have refused, and lets them in. What has no shadow: `max_inbound`, which is exact, and
//! what is no limit. The rates of messages and commands have their own, [`crate::rates::Settings::shadow`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// A limit, by its key in `[gate]`; the rates of connections, which are in `[rates]`, go by one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Networks that are not let in.
    Deny,
    /// The ceilings of `clients`.
    Clients,
    /// What may fail before a source is banned.
    BanAfter,
    /// Sessions of one address.
    SessionsPerAddress,
    /// Sessions of one network.
    SessionsPerNetwork,
    /// Sessions of one site.
    SessionsPerSite,
    /// The rates of connections.
    Connections,
    /// The fair share.
    FairShareAlpha,
    /// The start ramp.
    StartRamp,
    /// Sessions of one account, by its own rule, too.
    SessionsPerUser,
}

impl Limit {
    /// Every one, in the order they are asked in.
    pub const ALL: [Self; 10] = [
        Self::Deny,
        Self::Clients,
        Self::BanAfter,
        Self::SessionsPerAddress,
        Self::SessionsPerNetwork,
        Self::SessionsPerSite,
        Self::Connections,
        Self::FairShareAlpha,
        Self::StartRamp,
        Self::SessionsPerUser,
    ];

    /// The key.
    pub fn key(self) -> &'static str {
        self.path().split_once('.').map_or_else(|| self.path(), |(_table, key)| key)
    }

    /// The key with its table.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Deny => "gate.deny",
            Self::Clients => "gate.clients",
            Self::BanAfter => "gate.ban_after",
            Self::SessionsPerAddress => "gate.sessions_per_address",
            Self::SessionsPerNetwork => "gate.sessions_per_network",
            Self::SessionsPerSite => "gate.sessions_per_site",
            Self::Connections => "rates.connections",
            Self::FairShareAlpha => "gate.fair_share_alpha",
            Self::StartRamp => "gate.start_ramp",
            Self::SessionsPerUser => "gate.sessions_per_user",
        }
    }
}

/// Some of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits(u32);

impl Limits {
    /// Those that are in shadow.
    pub(crate) fn in_shadow(settings: &Settings) -> Self {
        settings.shadow.iter().fold(Self::default(), |limits, limit| limits.with(*limit))
    }

    pub(crate) fn hold(self, limit: Limit) -> bool {
        self.0 & bit(limit) != 0
    }

    pub(crate) fn with(self, limit: Limit) -> Self {
        Self(self.0 | bit(limit))
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Limit> {
        Limit::ALL.into_iter().filter(move |limit| self.hold(*limit))
    }
}

fn bit(limit: Limit) -> u32 {
    1 << limit as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_written_as_its_key() {
        for limit in Limit::ALL {
            let settings: Settings = toml::from_str(&format!("shadow = [\"{}\"]", limit.key())).unwrap();
            assert_eq!(settings.shadow, [limit]);
            assert_eq!(Limits::in_shadow(&settings).iter().collect::<Vec<_>>(), [limit]);
        }
    }

    #[test]
    fn every_limit_is_a_key() {
        let [gate, rates] =
            [schemars::schema_for!(Settings), schemars::schema_for!(crate::rates::Settings)].map(|schema| schema.to_value());
        for limit in Limit::ALL {
            let schema = if limit.path().starts_with("gate.") { &gate } else { &rates };
            assert!(schema["properties"][limit.key()].is_object(), "{}", limit.path());
        }
    }
}
