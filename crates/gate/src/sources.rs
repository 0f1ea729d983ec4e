//! How many sessions each prefix holds, and the ceilings for them.
//!
//! Guarantees:
//! - A prefix is counted up only when, at that instant, it holds less than the ceiling in force for its level. The
//!   ceiling is read while the prefix's own entry is locked, so the two cannot drift apart in between.
//! - A source is held at every level or at none, and a [`Held`] gives all of them back when dropped.
//! - An entry exists exactly while its count is at least 1. The table has at most three entries for each session in use
//!   and each attempt under way; the space it keeps for them is what its busiest moment needed.
//! - A lowered ceiling takes nothing away; a prefix above it gets nothing more until it is below.
//!
//! Refuses: with the narrowest prefix at its ceiling. An attempt that is refused later, by a wider prefix or by the pool,
//! counts for the instant until it has given back what it took; a competitor from the same source can be refused for
//! that instant. Both stood at a limit, so only the reason they hear may differ.
//!
//! Cannot fail: the table's locks are not poisoned by a panic, no lock is held while another is taken, and its hash is
//! keyed at random, so that peers who choose their addresses cannot choose its collisions.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use dashmap::{DashMap, Entry};
use ipnet::IpNet;

use crate::refusal::Rule;
use crate::settings::Settings;
use crate::source::{Level, Source};

/// The sessions held by each prefix that holds any.
#[derive(Debug)]
pub(crate) struct Sources {
    held: DashMap<IpNet, u32>,
    per_address: AtomicU32,
    per_network: AtomicU32,
    per_site: AtomicU32,
}

impl Sources {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            held: DashMap::new(),
            per_address: AtomicU32::new(settings.sessions_per_address),
            per_network: AtomicU32::new(settings.sessions_per_network),
            per_site: AtomicU32::new(settings.sessions_per_site),
        }
    }

    /// Puts new ceilings in force for the next [`Sources::take`].
    pub(crate) fn apply(&self, settings: &Settings) {
        self.per_address.store(settings.sessions_per_address, Relaxed);
        self.per_network.store(settings.sessions_per_network, Relaxed);
        self.per_site.store(settings.sessions_per_site, Relaxed);
    }

    /// Counts one session for every prefix of `source`.
    ///
    /// # Errors
    /// [`Rule::SourceFull`] for the narrowest prefix at its ceiling; nothing is counted then.
    pub(crate) fn take(self: &Arc<Self>, source: Source) -> Result<Held, Rule> {
        for (level, prefix) in source.prefixes() {
            if let Err(full) = self.count_up(level, prefix) {
                let narrower = source.prefixes().take_while(|(taken, _)| *taken < level);
                narrower.for_each(|(_, prefix)| self.count_down(prefix));
                return Err(full);
            }
        }
        Ok(Held { sources: Arc::clone(self), source })
    }

    /// Prefixes that hold a session now, over all levels.
    pub(crate) fn prefixes(&self) -> usize {
        self.held.len()
    }

    /// The `most` biggest holders at `level`, biggest first. Walks the whole table: for people, not for admission.
    pub(crate) fn holders(&self, level: Level, most: usize) -> Vec<Holder> {
        let mut holders: Vec<_> = self
            .held
            .iter()
            .filter(|entry| Level::of(entry.key()) == level)
            .map(|entry| Holder { prefix: *entry.key(), sessions: *entry.value() })
            .collect();
        holders.sort_unstable_by(|a, b| b.sessions.cmp(&a.sessions).then(a.prefix.cmp(&b.prefix)));
        holders.truncate(most);
        holders
    }

    fn ceiling(&self, level: Level) -> u32 {
        let ceiling = match level {
            Level::Address => &self.per_address,
            Level::Network => &self.per_network,
            Level::Site => &self.per_site,
        };
        // Relaxed: the number guards no other memory, and whoever knows that `apply` has returned sees it.
        ceiling.load(Relaxed)
    }

    fn count_up(&self, level: Level, prefix: IpNet) -> Result<(), Rule> {
        match self.held.entry(prefix) {
            Entry::Occupied(mut entry) => {
                let (held, limit) = (*entry.get(), self.ceiling(level));
                if held >= limit {
                    return Err(Rule::SourceFull { prefix, held, limit });
                }
                entry.insert(held + 1);
            }
            // A ceiling is at least 1: `Settings::validate`.
            Entry::Vacant(entry) => drop(entry.insert(1)),
        }
        Ok(())
    }

    fn count_down(&self, prefix: IpNet) {
        self.held.remove_if_mut(&prefix, |_, held| {
            *held = held.saturating_sub(1);
            *held == 0
        });
    }
}

/// One session counted for every prefix of its source, until dropped.
#[must_use = "dropping a hold gives it back at once"]
#[derive(Debug)]
pub(crate) struct Held {
    sources: Arc<Sources>,
    source: Source,
}

impl Held {
    pub(crate) fn source(&self) -> Source {
        self.source
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.source.prefixes().for_each(|(_, prefix)| self.sources.count_down(prefix));
    }
}

/// A prefix and the sessions it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The prefix, at the level asked for.
    pub prefix: IpNet,
    /// Sessions in use from it, at least 1.
    pub sessions: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn sources(address: u32, network: u32, site: u32) -> Arc<Sources> {
        Arc::new(Sources::new(&limits(address, network, site)))
    }

    fn limits(address: u32, network: u32, site: u32) -> Settings {
        Settings { sessions_per_address: address, sessions_per_network: network, sessions_per_site: site, ..Settings::default() }
    }

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    fn full(prefix: &str, held: u32, limit: u32) -> Rule {
        Rule::SourceFull { prefix: prefix.parse().unwrap(), held, limit }
    }

    #[test]
    fn each_level_has_its_own_ceiling_and_the_narrowest_is_named() {
        let sources = sources(1, 2, 3);
        let hosts = ["2001:db8:0:100::1", "2001:db8:0:101::1", "2001:db8:0:200::1"];
        let _held: Vec<_> = hosts.map(|host| sources.take(source(host)).unwrap()).into();
        let refused = |host| sources.take(source(host)).unwrap_err();
        assert_eq!(refused("2001:db8:0:100::2"), full("2001:db8:0:100::/64", 1, 1));
        assert_eq!(refused("2001:db8:0:102::1"), full("2001:db8:0:100::/56", 2, 2));
        assert_eq!(refused("2001:db8:0:300::1"), full("2001:db8::/48", 3, 3));
        assert!(sources.take(source("2001:db8:1::1")).is_ok());
        assert!(sources.take(source("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_refusal_keeps_nothing_and_the_last_session_removes_the_entry() {
        let sources = sources(5, 1, 1);
        let held = sources.take(source("192.0.2.1")).unwrap();
        assert!(sources.take(source("192.0.2.2")).is_err());
        assert_eq!(sources.prefixes(), 2);
        drop(held);
        assert_eq!(sources.prefixes(), 0);
        drop(sources.take(source("192.0.2.2")).unwrap());
        assert_eq!(sources.prefixes(), 0);
    }

    #[test]
    fn ceilings_change_both_ways_and_put_nobody_out() {
        let sources = sources(2, 9, 9);
        let mut held: Vec<_> = (0..2).map(|_| sources.take(source("192.0.2.1")).unwrap()).collect();
        sources.apply(&limits(1, 9, 9));
        assert_eq!(sources.take(source("192.0.2.1")).unwrap_err(), full("192.0.2.1/32", 2, 1));
        held.pop();
        assert_eq!(sources.take(source("192.0.2.1")).unwrap_err(), full("192.0.2.1/32", 1, 1));
        sources.apply(&limits(2, 9, 9));
        assert!(sources.take(source("192.0.2.1")).is_ok());
    }

    #[test]
    fn the_biggest_holders_come_first() {
        let sources = sources(9, 9, 9);
        let hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "198.51.100.1", "192.0.2.2", "192.0.2.2"];
        let _held: Vec<_> = hosts.map(|host| sources.take(source(host)).unwrap()).into();
        let holders = |level, most| -> Vec<_> {
            let holders = sources.holders(level, most);
            holders.iter().map(|holder| (holder.prefix.to_string(), holder.sessions)).collect()
        };
        assert_eq!(holders(Level::Address, 2), [("192.0.2.2/32".to_owned(), 3), ("192.0.2.1/32".to_owned(), 2)]);
        assert_eq!(holders(Level::Network, 9), [("192.0.2.0/24".to_owned(), 5), ("198.51.100.0/24".to_owned(), 1)]);
        assert_eq!(holders(Level::Site, 9), []);
    }
}
