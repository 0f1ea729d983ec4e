//! The clients an operator has named, and what a name is worth.
//!
//! Guarantees: of several entries an address is in, the one with the longest prefix counts, and one that has expired counts as
//! absent. What an entry holds and how often it was used survive a reload as long as its name does. Cannot fail.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::day::Day;
use crate::lane::Lane;
use crate::network::{Network, Networks};

/// Clients the operator knows, with the limits that hold for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// What the entry is called in status and log.
    pub name: String,
    /// Where these clients come from.
    pub networks: Vec<Network>,
    /// What they are let off.
    pub class: Privilege,
    /// How many sessions they may have at once, all of them together, in place of every limit by address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// Why; for whoever reads this later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last day the entry counts, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Day>,
}

/// What an operator can grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// No limit by address or share, no rate of connections or of a source; only a place is needed, a reserved one will do.
    Exempt,
    /// No fair share; a reserved place will do.
    Trusted,
}

/// What the gate thinks of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Named by the operator: [`Privilege::Exempt`].
    Exempt,
    /// Named by the operator: [`Privilege::Trusted`].
    Trusted,
    /// Its mail was accepted within [`crate::KNOWN_GOOD_DAYS`].
    KnownGood,
    /// Anybody.
    Default,
}

impl Class {
    /// As in gate.clients and in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::Trusted => "trusted",
            Self::KnownGood => "known_good",
            Self::Default => "default",
        }
    }
}

/// An entry with what it has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientUse {
    /// The entry.
    pub settings: ClientSettings,
    /// Sessions that it let in and that are not over.
    pub in_use: u32,
    /// Sessions it ever let in.
    pub admitted_total: u64,
    /// Whether its last day is over.
    pub expired: bool,
}

/// An entry in force.
#[derive(Debug)]
pub(crate) struct Client {
    settings: ClientSettings,
    holding: Arc<Holding>,
}

/// What an entry holds, whatever becomes of its settings.
#[derive(Debug)]
struct Holding {
    sessions: Lane,
    admitted: AtomicU64,
}

impl Client {
    pub(crate) fn class(&self) -> Privilege {
        self.settings.class
    }

    /// Whether the entry's own ceiling, or none, stands in the place of those for sources.
    pub(crate) fn is_beside_the_ceilings(&self) -> bool {
        self.settings.class == Privilege::Exempt || self.settings.sessions.is_some()
    }

    /// Holds one more session for the entry, or says how many it holds and may.
    pub(crate) fn enter(&self) -> Result<Tenancy, (u32, u32)> {
        if self.holding.sessions.enter() {
            Ok(Tenancy(Arc::clone(&self.holding)))
        } else {
            Err((self.holding.sessions.in_use(), self.settings.sessions.unwrap_or_default()))
        }
    }

    /// As [`Client::enter`], above the ceiling if need be.
    pub(crate) fn enter_regardless(&self) -> Tenancy {
        self.holding.sessions.enter_regardless();
        Tenancy(Arc::clone(&self.holding))
    }

    fn has_expired(&self, today: Day) -> bool {
        self.settings.expires.is_some_and(|last| today > last)
    }
}

/// One session held for an entry, until dropped.
#[must_use = "dropping a tenancy ends it at once"]
#[derive(Debug)]
pub(crate) struct Tenancy(Arc<Holding>);

impl Tenancy {
    /// Counts a session that was let in.
    pub(crate) fn admitted(&self) {
        self.0.admitted.fetch_add(1, Relaxed);
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.0.sessions.leave();
    }
}

/// All entries in force.
#[derive(Debug)]
pub(crate) struct Clients {
    entries: Vec<Arc<Client>>,
    by_network: Networks<Arc<Client>>,
}

impl Clients {
    /// The entries of `settings`; those that `before` knows by name hold what they held.
    pub(crate) fn new(settings: &[ClientSettings], before: Option<&Self>) -> Self {
        let entries: Vec<_> = settings.iter().map(|settings| Arc::new(Client::new(settings, before))).collect();
        let of = |entry: &Arc<Client>| {
            let entry = Arc::clone(entry);
            entry.settings.networks.clone().into_iter().map(move |network| (network.0, Arc::clone(&entry)))
        };
        let by_network = entries.iter().flat_map(of).collect();
        Self { entries, by_network }
    }

    /// The entry that counts for `address` today, and the network that made it so.
    pub(crate) fn find(&self, address: IpAddr, today: Day) -> Option<(IpNet, &Client)> {
        let (network, client) = self.by_network.find(address, |client| !client.has_expired(today))?;
        Some((network, client))
    }

    /// Every network that is let in today, and the name of its entry.
    pub(crate) fn named(&self, today: Day) -> impl Iterator<Item = (IpNet, &str)> {
        let today = self.entries.iter().filter(move |entry| !entry.has_expired(today)).map(|entry| &entry.settings);
        today.flat_map(|settings| settings.networks.iter().map(|network| (network.0, &*settings.name)))
    }

    pub(crate) fn in_use(&self, today: Day) -> Vec<ClientUse> {
        let told = |entry: &Arc<Client>| ClientUse {
            settings: entry.settings.clone(),
            in_use: entry.holding.sessions.in_use(),
            admitted_total: entry.holding.admitted.load(Relaxed),
            expired: entry.has_expired(today),
        };
        self.entries.iter().map(told).collect()
    }
}

impl Client {
    fn new(settings: &ClientSettings, before: Option<&Clients>) -> Self {
        let ceiling = settings.sessions.unwrap_or(u32::MAX);
        let known = before.and_then(|before| before.entries.iter().find(|entry| entry.settings.name == settings.name));
        let holding = match known {
            Some(entry) => Arc::clone(&entry.holding),
            None => Arc::new(Holding { sessions: Lane::new(ceiling), admitted: AtomicU64::new(0) }),
        };
        holding.sessions.widen(ceiling);
        Self { settings: settings.clone(), holding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, network: &str, class: Privilege) -> ClientSettings {
        let networks = vec![network.parse().unwrap()];
        ClientSettings { name: name.into(), networks, class, sessions: None, reason: None, expires: None }
    }

    fn found(clients: &Clients, address: &str, today: u32) -> Option<String> {
        clients.find(address.parse().unwrap(), Day(today)).map(|(_, client)| client.settings.name.clone())
    }

    #[test]
    fn the_longest_prefix_wins_until_it_expires() {
        let host = ClientSettings { expires: Some(Day(100)), ..entry("host", "192.0.2.7", Privilege::Exempt) };
        let clients = Clients::new(&[entry("office", "192.0.2.0/24", Privilege::Trusted), host], None);
        assert_eq!(found(&clients, "192.0.2.7", 100).as_deref(), Some("host"));
        assert_eq!(found(&clients, "192.0.2.7", 101).as_deref(), Some("office"));
        assert_eq!(found(&clients, "192.0.3.7", 1), None);
        assert!(clients.in_use(Day(101))[1].expired);
    }

    #[test]
    fn a_reload_keeps_what_an_entry_holds() {
        let office = ClientSettings { sessions: Some(2), ..entry("office", "192.0.2.0/24", Privilege::Trusted) };
        let before = Clients::new(std::slice::from_ref(&office), None);
        let enter = |clients: &Clients| clients.find("192.0.2.7".parse().unwrap(), Day(0)).unwrap().1.enter();
        let held = [(); 2].map(|()| enter(&before).unwrap());
        let after = Clients::new(&[ClientSettings { sessions: Some(1), ..office }], Some(&before));
        assert_eq!(enter(&after).unwrap_err(), (2, 1));
        drop(held);
        assert!(enter(&after).is_ok());
        assert_eq!(after.in_use(Day(0))[0].in_use, 0);
    }
}
