//! How many sessions each prefix holds, and the ceilings for them.
//!
//! A session counts in one of three ways at every prefix of its source: as one of the anonymous ones, which the ceilings are for;
//! as one that is about to show a password; or beside all ceilings, because somebody we know holds it.
//!
//! Guarantees:
//! - A prefix is counted up as anonymous only when, at that instant, it holds fewer anonymous sessions than the ceiling of its
//!   level, by the rules that the attempt is judged by.
//! - A source is held at every level or at none, and a [`Held`] gives all of them back when dropped. It is there before the first of
//!   them is counted, so that not even a panic in between leaves a count behind.
//! - An entry exists exactly while it counts a session. The table has at most three entries for each session in use and each
//!   attempt under way; the space it keeps for them is what its busiest moment needed.
//! - A lowered ceiling takes nothing away; a prefix above it gets nothing more until it is below.
//!
//! Refuses: with the narrowest prefix at its ceiling. An attempt that is refused later, by a wider prefix or by the pool,
//! counts for the instant until it has given back what it took; a competitor from the same source can be refused for
//! that instant. Both stood at a limit, so only the reason they hear may differ.
//!
//! Cannot fail: the table's locks are not poisoned by a panic, no lock is held while another is taken, and its hash is
//! keyed at random, so that peers who choose their addresses cannot choose its collisions.

use std::sync::Arc;

use dashmap::DashMap;
use ipnet::IpNet;

use crate::refusal::Rule;
use crate::settings::Settings;
use crate::source::{Level, Source};

/// The sessions held by each prefix that holds any.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    held: DashMap<IpNet, Count>,
}

/// The ceiling of each level, each at least 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceilings {
    address: u32,
    network: u32,
    site: u32,
}

impl Ceilings {
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { sessions_per_address: address, sessions_per_network: network, sessions_per_site: site, .. } = *settings;
        Self { address, network, site }
    }

    fn at(self, level: Level) -> u32 {
        match level {
            Level::Address => self.address,
            Level::Network => self.network,
            Level::Site => self.site,
        }
    }
}

impl Sources {
    /// Counts one anonymous session for every prefix of `source`, and says where the source stood before it. A prefix at its
    /// ceiling is counted all the same where `met` says that it does not matter.
    ///
    /// # Errors
    /// What `met` made of [`Rule::SourceFull`] for the narrowest prefix at its ceiling; nothing is counted then.
    pub(crate) fn take(
        self: &Arc<Self>,
        source: Source,
        ceilings: Ceilings,
        met: impl Fn(Rule) -> Result<(), Rule>,
    ) -> Result<(Held, Standing), Rule> {
        let (mut held, mut standing) = (self.hold(source, Counting::Anonymous), Standing::default());
        for ((level, prefix), place) in source.prefixes().zip(&mut standing.0) {
            *place = Some((prefix, self.count_up(prefix, ceilings.at(level), &met)?));
            held.prefixes += 1;
        }
        Ok((held, standing))
    }

    /// Counts one session about to authenticate, if the widest prefix of `source` has fewer than `most` of them.
    pub(crate) fn take_authenticating(self: &Arc<Self>, source: Source, most: u32) -> Option<Held> {
        let (_, widest) = source.prefixes().last()?;
        let mut held = self.hold(source, Counting::Authenticating);
        for (_, prefix) in source.prefixes() {
            let mut count = self.held.entry(prefix).or_default();
            if prefix == widest && count.authenticating >= most {
                let is_vacant = count.is_zero();
                drop(count);
                if is_vacant {
                    self.held.remove_if(&widest, |_, count| count.is_zero());
                }
                return None;
            }
            count.authenticating += 1;
            held.prefixes += 1;
        }
        Some(held)
    }

    /// Counts one session beside all ceilings.
    pub(crate) fn take_beside(self: &Arc<Self>, source: Source) -> Held {
        let mut held = self.hold(source, Counting::Beside);
        for (_, prefix) in source.prefixes() {
            self.held.entry(prefix).or_default().beside += 1;
            held.prefixes += 1;
        }
        held
    }

    /// Prefixes that hold a session now, over all levels.
    pub(crate) fn prefixes(&self) -> usize {
        self.held.len()
    }

    /// What each prefix of `source` holds now, by level.
    pub(crate) fn held_by(&self, source: Source) -> [u32; Level::ALL.len()] {
        Level::ALL
            .map(|level| source.prefix(level).and_then(|prefix| self.held.get(&prefix).map(|count| count.sessions())).unwrap_or_default())
    }

    /// The `most` biggest holders at `level`, biggest first. Walks the whole table: for people, not for admission.
    pub(crate) fn holders(&self, level: Level, most: usize) -> Vec<Holder> {
        let mut holders: Vec<_> = self
            .held
            .iter()
            .filter(|entry| Level::of(entry.key()) == level)
            .map(|entry| Holder { prefix: *entry.key(), sessions: entry.value().sessions() })
            .collect();
        holders.sort_unstable_by(|a, b| b.sessions.cmp(&a.sessions).then(a.prefix.cmp(&b.prefix)));
        holders.truncate(most);
        holders
    }

    /// A hold on nothing yet.
    fn hold(self: &Arc<Self>, source: Source, counting: Counting) -> Held {
        Held { sources: Arc::clone(self), source, counting, prefixes: 0 }
    }

    /// Counts an anonymous session, and says how many there were before.
    fn count_up(&self, prefix: IpNet, limit: u32, met: impl Fn(Rule) -> Result<(), Rule>) -> Result<u32, Rule> {
        let mut count = self.held.entry(prefix).or_default();
        let held = count.anonymous;
        if held >= limit {
            // A ceiling is at least 1, so the entry is not one that was made just now.
            met(Rule::SourceFull { prefix, held, limit })?;
        }
        count.anonymous += 1;
        Ok(held)
    }

    fn count_down(&self, prefix: IpNet, counting: Counting) {
        self.held.remove_if_mut(&prefix, |_, count| {
            let number = count.of(counting);
            *number = number.saturating_sub(1);
            count.is_zero()
        });
    }

    /// Counts a session in another way than before. There is an entry, as the session is in it.
    fn recount(&self, prefix: IpNet, before: Counting, after: Counting) {
        if let Some(mut count) = self.held.get_mut(&prefix) {
            let number = count.of(before);
            *number = number.saturating_sub(1);
            *count.of(after) += 1;
        }
    }
}

/// The sessions of one prefix, by how they count.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    anonymous: u32,
    authenticating: u32,
    beside: u32,
}

impl Count {
    fn of(&mut self, counting: Counting) -> &mut u32 {
        match counting {
            Counting::Anonymous => &mut self.anonymous,
            Counting::Authenticating => &mut self.authenticating,
            Counting::Beside => &mut self.beside,
        }
    }

    fn sessions(self) -> u32 {
        self.anonymous + self.authenticating + self.beside
    }

    fn is_zero(self) -> bool {
        self.sessions() == 0
    }
}

/// How a session counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    /// Towards the ceilings.
    Anonymous,
    /// Towards the source's part of the authenticating lane.
    Authenticating,
    /// Towards nothing.
    Beside,
}

/// The anonymous sessions each prefix of a source held when it asked for one more, narrowest first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing([Option<(IpNet, u32)>; Level::ALL.len()]);

impl Standing {
    pub(crate) fn held(&self) -> impl Iterator<Item = (IpNet, u32)> {
        self.0.iter().flatten().copied()
    }

    /// What the widest prefix held.
    pub(crate) fn at_its_widest(&self) -> u32 {
        self.held().last().map_or(0, |(_, held)| held)
    }
}

/// One session counted for every prefix of its source, until dropped.
#[must_use = "dropping a hold gives it back at once"]
#[derive(Debug)]
pub(crate) struct Held {
    sources: Arc<Sources>,
    source: Source,
    counting: Counting,
    /// Prefixes of the source that it is counted for, the narrowest first: all of them once somebody has the hold.
    prefixes: u8,
}

impl Held {
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// Counts the session beside all ceilings from now on.
    pub(crate) fn release(&mut self) {
        if self.counting != Counting::Beside {
            self.source.prefixes().for_each(|(_, prefix)| self.sources.recount(prefix, self.counting, Counting::Beside));
            self.counting = Counting::Beside;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.source.prefixes().take(self.prefixes.into()).for_each(|(_, prefix)| self.sources.count_down(prefix, self.counting));
    }
}

/// A prefix and the sessions it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The prefix, at the level asked for.
    pub prefix: IpNet,
    /// Sessions in use from it, however they count, at least 1.
    pub sessions: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    fn sources() -> Arc<Sources> {
        Arc::default()
    }

    fn ceilings(address: u32, network: u32, site: u32) -> Ceilings {
        Ceilings { address, network, site }
    }

    fn take(sources: &Arc<Sources>, host: &str, ceilings: Ceilings) -> Result<Held, Rule> {
        sources.take(source(host), ceilings, Err).map(|(held, _)| held)
    }

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    fn full(prefix: &str, held: u32, limit: u32) -> Rule {
        Rule::SourceFull { prefix: prefix.parse().unwrap(), held, limit }
    }

    #[test]
    fn each_level_has_its_own_ceiling_and_the_narrowest_is_named() {
        let (sources, ceilings) = (sources(), ceilings(1, 2, 3));
        let hosts = ["2001:db8:0:100::1", "2001:db8:0:101::1", "2001:db8:0:200::1"];
        let _held: Vec<_> = hosts.map(|host| take(&sources, host, ceilings).unwrap()).into();
        let refused = |host| take(&sources, host, ceilings).unwrap_err();
        assert_eq!(refused("2001:db8:0:100::2"), full("2001:db8:0:100::/64", 1, 1));
        assert_eq!(refused("2001:db8:0:102::1"), full("2001:db8:0:100::/56", 2, 2));
        assert_eq!(refused("2001:db8:0:300::1"), full("2001:db8::/48", 3, 3));
        assert!(take(&sources, "2001:db8:1::1", ceilings).is_ok());
        assert!(take(&sources, "192.0.2.1", ceilings).is_ok());
    }

    #[test]
    fn a_source_is_told_where_it_stood() {
        let sources = sources();
        let _held = ["192.0.2.1", "192.0.2.2"].map(|host| take(&sources, host, ceilings(9, 9, 9)).unwrap());
        let (_held, standing) = sources.take(source("192.0.2.1"), ceilings(9, 9, 9), Err).unwrap();
        assert_eq!(standing.held().map(|(_, held)| held).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(standing.at_its_widest(), 2);
    }

    #[test]
    fn a_ceiling_that_does_not_matter_is_counted_past() {
        let sources = sources();
        let _held = [(); 2].map(|()| sources.take(source("192.0.2.1"), ceilings(1, 1, 1), |_| Ok(())).unwrap().0);
        assert_eq!(take(&sources, "192.0.2.1", ceilings(1, 1, 1)).unwrap_err(), full("192.0.2.1/32", 2, 1));
    }

    #[test]
    fn a_refusal_keeps_nothing_and_the_last_session_removes_the_entry() {
        let sources = sources();
        let held = take(&sources, "192.0.2.1", ceilings(5, 1, 1)).unwrap();
        assert!(take(&sources, "192.0.2.2", ceilings(5, 1, 1)).is_err());
        assert_eq!(sources.prefixes(), 2);
        drop(held);
        assert!(sources.take_authenticating(source("192.0.2.2"), 0).is_none());
        assert_eq!(sources.prefixes(), 0);
        drop(take(&sources, "192.0.2.2", ceilings(5, 1, 1)).unwrap());
        assert_eq!(sources.prefixes(), 0);
    }

    #[test]
    fn a_panic_half_way_keeps_nothing() {
        let sources = sources();
        let held = take(&sources, "192.0.2.1", ceilings(5, 1, 1)).unwrap();
        let panics = |_| resume_unwind(Box::new("an error of ours"));
        let taken = catch_unwind(AssertUnwindSafe(|| sources.take(source("192.0.2.2"), ceilings(5, 1, 1), panics).map(drop)));
        assert!(taken.is_err());
        assert_eq!(sources.prefixes(), 2, "what was counted before it is back");
        drop(held);
        assert_eq!(sources.prefixes(), 0);
    }

    #[test]
    fn who_is_known_makes_room_for_others() {
        let sources = sources();
        let mut held = take(&sources, "192.0.2.1", ceilings(1, 1, 1)).unwrap();
        let _beside = sources.take_beside(source("192.0.2.1"));
        assert!(take(&sources, "192.0.2.1", ceilings(1, 1, 1)).is_err());
        held.release();
        held.release();
        let _anonymous = take(&sources, "192.0.2.1", ceilings(1, 1, 1)).unwrap();
        assert_eq!(sources.holders(Level::Address, 1)[0].sessions, 3);
        drop(held);
        assert!(take(&sources, "192.0.2.1", ceilings(1, 1, 1)).is_err());
    }

    #[test]
    fn a_source_has_its_part_of_the_lane_by_its_widest_prefix() {
        let sources = sources();
        let mut held: Vec<_> = ["192.0.2.1", "192.0.2.2"].map(|host| sources.take_authenticating(source(host), 2).unwrap()).into();
        assert!(sources.take_authenticating(source("192.0.2.3"), 2).is_none());
        assert!(sources.take_authenticating(source("198.51.100.1"), 2).is_some());
        held[0].release();
        held.push(sources.take_authenticating(source("192.0.2.3"), 2).unwrap());
        assert!(take(&sources, "192.0.2.1", ceilings(1, 1, 1)).is_ok(), "none of these counts towards a ceiling");
        drop(held);
        assert_eq!(sources.prefixes(), 0);
    }

    #[test]
    fn ceilings_change_both_ways_and_put_nobody_out() {
        let sources = sources();
        let mut held: Vec<_> = (0..2).map(|_| take(&sources, "192.0.2.1", ceilings(2, 9, 9)).unwrap()).collect();
        assert_eq!(take(&sources, "192.0.2.1", ceilings(1, 9, 9)).unwrap_err(), full("192.0.2.1/32", 2, 1));
        held.pop();
        assert_eq!(take(&sources, "192.0.2.1", ceilings(1, 9, 9)).unwrap_err(), full("192.0.2.1/32", 1, 1));
        assert!(take(&sources, "192.0.2.1", ceilings(2, 9, 9)).is_ok());
    }

    #[test]
    fn the_biggest_holders_come_first() {
        let sources = sources();
        let hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "198.51.100.1", "192.0.2.2", "192.0.2.2"];
        let _held: Vec<_> = hosts.map(|host| take(&sources, host, ceilings(9, 9, 9)).unwrap()).into();
        let holders = |level, most| -> Vec<_> {
            let holders = sources.holders(level, most);
            holders.iter().map(|holder| (holder.prefix.to_string(), holder.sessions)).collect()
        };
        assert_eq!(holders(Level::Address, 2), [("192.0.2.2/32".to_owned(), 3), ("192.0.2.1/32".to_owned(), 2)]);
        assert_eq!(holders(Level::Network, 9), [("192.0.2.0/24".to_owned(), 5), ("198.51.100.0/24".to_owned(), 1)]);
        assert_eq!(holders(Level::Site, 9), []);
    }
}
