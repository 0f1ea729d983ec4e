//! The limits an operator writes, the table `[gate]` of the configuration.
//!
//! The doc comments of [`Settings`] are the commented example configuration and the reference. Guarantees:
//! [`Settings::validate`] finds every fault there is, not the first, and a [`crate::Gate`] never has faulty settings in
//! force. Refuses: unknown keys, while reading. Fails: [`SettingsError`], which is the configuration's fault.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may come in. All of these can be changed while the server runs: edit the file, then reload. Nobody who is
/// connected is put out by a lower limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many sessions there may be at once, over all mail listeners (SMTP, submission and POP3) together. A session
    /// is one accepted connection, from accept to close, however many messages it carries. When all places are taken,
    /// the next client gets "421 4.3.2 ... Too many connections, try again later", and "-ERR [SYS/TEMP] ..." on POP3.
    ///
    /// An idle session costs a file descriptor and a few KiB of memory, more with TLS: at 1000 the sessions themselves
    /// stay in the tens of MiB, and a site of several thousand mailboxes seldom has that many at once. Must be at least
    /// 1; to take no more sessions at all, drain the server: send it SIGTERM.
    #[schemars(range(min = 1))]
    pub max_inbound: u32,

    /// How many sessions one client address may have at once: an IPv4 address, or an IPv6 /64. The next one gets
    /// "421 4.7.0 ... Too many connections from [192.0.2.7] (limit 20), try again later".
    ///
    /// Raise it when a whole office, a filtering service or a load balancer comes from one address, and
    /// sessions_per_network with it. Must be at least 1 and at most sessions_per_network.
    #[schemars(range(min = 1))]
    pub sessions_per_address: u32,

    /// How many sessions one network may have at once: an IPv4 /24, or an IPv6 /56, which is what one line of a provider
    /// usually gets. Must be at least sessions_per_address and at most sessions_per_site.
    #[schemars(range(min = 1))]
    pub sessions_per_network: u32,

    /// How many sessions one IPv6 /48 may have at once, which is what one site or one hosting customer usually gets.
    /// IPv4 has no such level. Must be at least sessions_per_network.
    #[schemars(range(min = 1))]
    pub sessions_per_site: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_inbound: 1000, sessions_per_address: 20, sessions_per_network: 100, sessions_per_site: 200 }
    }
}

impl Settings {
    /// Every fault in these settings; none when they can be put in force.
    pub fn validate(&self) -> Vec<Fault> {
        let zero = [
            ("max_inbound", self.max_inbound),
            ("sessions_per_address", self.sessions_per_address),
            ("sessions_per_network", self.sessions_per_network),
            ("sessions_per_site", self.sessions_per_site),
        ]
        .into_iter()
        .filter(|(_, number)| *number == 0)
        .map(|(key, _)| Fault::new(key, format!("{key} >= 1 does not hold: {key} = 0 would refuse everybody; {DRAIN}")));

        // A narrower ceiling above a wider one could never be reached: whoever raised it would look for the reason in
        // vain. A ceiling above `max_inbound` is no fault: a small pool is then simply anybody's.
        let unreachable = [
            ("sessions_per_address", self.sessions_per_address, "sessions_per_network", self.sessions_per_network),
            ("sessions_per_network", self.sessions_per_network, "sessions_per_site", self.sessions_per_site),
        ]
        .into_iter()
        .filter(|(_, narrow, _, wide)| narrow > wide && *wide > 0)
        .map(|(key, narrow, wider, wide)| {
            let hint = format!("the wider limit would always be met first; raise {wider} or lower {key}");
            Fault::new(key, format!("{key} <= {wider} does not hold: {narrow} > {wide}; {hint}"))
        });

        zero.chain(unreachable).collect()
    }
}

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key to change, as written in the table.
    pub key: &'static str,
    /// The inequality that does not hold, and what to do.
    pub message: String,
}

impl Fault {
    fn new(key: &'static str, message: String) -> Self {
        Self { key, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Settings that cannot be put in force: the fault of the configuration. The limits that were in force still are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError {
    /// At least one.
    pub faults: Vec<Fault>,
}

const DRAIN: &str = "to take no more sessions and let the present ones finish, drain the server: send it SIGTERM";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(settings: &Settings) -> Vec<&'static str> {
        settings.validate().iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn the_defaults_are_valid_and_stand_in_for_missing_keys() {
        assert_eq!(Settings::default().validate(), []);
        let settings: Settings = toml::from_str("max_inbound = 30").unwrap();
        assert_eq!(settings, Settings { max_inbound: 30, ..Settings::default() });
        assert_eq!(settings.validate(), []);
    }

    #[test]
    fn unknown_keys_and_impossible_numbers_are_refused_while_reading() {
        assert!(toml::from_str::<Settings>("max_inbuond = 30").unwrap_err().to_string().contains("max_inbuond"));
        assert!(toml::from_str::<Settings>("max_inbound = -1").is_err());
    }

    #[test]
    fn zero_names_drain() {
        let faults = Settings { max_inbound: 0, ..Settings::default() }.validate();
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults[0].to_string(),
            "max_inbound >= 1 does not hold: max_inbound = 0 would refuse everybody; \
             to take no more sessions and let the present ones finish, drain the server: send it SIGTERM"
        );
    }

    #[test]
    fn every_fault_is_found_with_its_inequality() {
        let settings = Settings { max_inbound: 0, sessions_per_address: 300, sessions_per_network: 250, sessions_per_site: 200 };
        assert_eq!(keys(&settings), ["max_inbound", "sessions_per_address", "sessions_per_network"]);
        let error = SettingsError { faults: settings.validate() };
        assert_eq!(error.to_string().lines().count(), 3);
        assert!(error.to_string().contains("sessions_per_address <= sessions_per_network does not hold: 300 > 250"));
    }

    #[test]
    fn a_zero_is_one_fault_not_two() {
        assert_eq!(keys(&Settings { sessions_per_network: 0, ..Settings::default() }), ["sessions_per_network"]);
    }

    #[test]
    fn every_key_is_documented() {
        let schema = schemars::schema_for!(Settings).to_value();
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 4);
        assert!(properties.values().all(|property| property["description"].is_string()));
    }
}
