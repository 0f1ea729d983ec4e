//! Networks nobody may come from for a time, because an operator says so or because too much has gone wrong from there.
//!
//! Guarantees: a ban ends by itself; of several the narrowest is told; at most [`BANS_MOST`] are in force, and when there are as many, of
//! those that were made automatically the one that would have ended first makes room. Asking costs nothing while there is none, and a change
//! is one copy of the table. Who is let in by name is none of its business: see [`Gate::ban`](crate::Gate::ban). Refuses an operator's ban
//! when all of them are an operator's: [`BanRefused::Full`].

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::network::Networks;

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who may not come.
    pub network: IpNet,
    /// Why, in the words of whoever made it.
    pub reason: Arc<str>,
    /// When it ends.
    pub until: Instant,
    /// Whether nobody made it but the gate.
    pub is_automatic: bool,
}

/// A ban, and how often it has been met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanUse {
    /// The ban.
    pub ban: Ban,
    /// Connections it has refused since the server started.
    pub refused: u64,
}

/// Why there is no such ban.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanRefused {
    /// Some of the network has been let in by name.
    #[error("{network} is let in by {by}, and that goes before every ban: take it out there first")]
    LetIn {
        /// The network that the operator has written down.
        network: IpNet,
        /// Where.
        by: String,
    },
    /// There are as many as there may be.
    #[error("{BANS_MOST} networks are banned, which is as many as can be: take some out, or deny a wider network in gate.deny")]
    Full,
}

/// All bans in force.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    table: ArcSwap<Networks<Arc<Entry>>>,
    /// Keeps two changes apart. Admission does not take it.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    ban: Ban,
    refused: AtomicU64,
}

impl Bans {
    /// The ban that `address` is under; counts that it has been met.
    pub(crate) fn meet(&self, address: IpAddr, now: Instant) -> Option<Ban> {
        let table = self.table.load();
        let (_, entry) = table.find(address, |entry| entry.ban.until > now)?;
        entry.refused.fetch_add(1, Relaxed);
        Some(entry.ban.clone())
    }

    /// Whether `address` is under a ban.
    pub(crate) fn holds(&self, address: IpAddr, now: Instant) -> bool {
        self.table.load().find(address, |entry| entry.ban.until > now).is_some()
    }

    /// Makes a ban, in the place of another of the same network.
    ///
    /// # Errors
    /// [`BanRefused::Full`].
    pub(crate) fn add(&self, ban: Ban, now: Instant) -> Result<(), BanRefused> {
        self.change(now, |entries| {
            entries.retain(|entry| entry.ban.network != ban.network);
            if entries.len() >= BANS_MOST {
                let first = entries.iter().enumerate().filter(|(_, entry)| entry.ban.is_automatic).min_by_key(|(_, entry)| entry.ban.until);
                let first = first.map(|(at, _)| at).ok_or(BanRefused::Full)?;
                entries.swap_remove(first);
            }
            entries.push(Arc::new(Entry { ban, refused: AtomicU64::new(0) }));
            Ok(())
        })
    }

    /// Ends the ban of this network; whether there was one.
    pub(crate) fn remove(&self, network: IpNet, now: Instant) -> bool {
        self.change(now, |entries| {
            let before = entries.len();
            entries.retain(|entry| entry.ban.network != network);
            entries.len() < before
        })
    }

    /// Those in force, in the order of their networks.
    pub(crate) fn all(&self, now: Instant) -> Vec<BanUse> {
        let table = self.table.load();
        let in_force = table.values().filter(|entry| entry.ban.until > now);
        let mut all: Vec<_> = in_force.map(|entry| BanUse { ban: entry.ban.clone(), refused: entry.refused.load(Relaxed) }).collect();
        all.sort_unstable_by_key(|used| used.ban.network);
        all
    }

    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Vec<Arc<Entry>>) -> T) -> T {
        // What the lock guards is replaced whole, so a panic elsewhere cannot have left it half written.
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<_> = self.table.load().values().filter(|entry| entry.ban.until > now).cloned().collect();
        let changed = change(&mut entries);
        self.table.store(Arc::new(entries.into_iter().map(|entry| (entry.ban.network, entry)).collect()));
        changed
    }
}

/// About 2 MiB of them.
pub const BANS_MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn ban(network: &str, until: Instant, is_automatic: bool) -> Ban {
        Ban { network: network.parse().unwrap(), reason: "spam".into(), until, is_automatic }
    }

    fn met(bans: &Bans, address: &str, now: Instant) -> Option<String> {
        bans.meet(address.parse().unwrap(), now).map(|ban| ban.network.to_string())
    }

    #[test]
    fn a_ban_holds_for_its_network_until_it_ends() {
        let (bans, now) = (Bans::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        bans.add(ban("192.0.2.0/24", later(60), false), now).unwrap();
        bans.add(ban("192.0.2.7/32", later(30), true), now).unwrap();
        bans.add(ban("2001:db8::/48", later(30), false), now).unwrap();
        assert_eq!(met(&bans, "192.0.2.7", now).as_deref(), Some("192.0.2.7/32"));
        assert_eq!(met(&bans, "192.0.2.7", later(30)).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(met(&bans, "2001:db8::1", later(29)).as_deref(), Some("2001:db8::/48"));
        assert_eq!((met(&bans, "192.0.2.7", later(60)), met(&bans, "192.0.3.1", now)), (None, None));
        let told: Vec<_> = bans.all(later(30)).into_iter().map(|used| (used.ban.network.to_string(), used.refused)).collect();
        assert_eq!(told, [("192.0.2.0/24".to_owned(), 1)]);
        assert!(bans.remove("192.0.2.0/24".parse().unwrap(), now) && !bans.remove("192.0.2.0/24".parse().unwrap(), now));
    }

    #[test]
    fn the_table_is_bounded_and_automatic_bans_make_room() {
        let (bans, now) = (Bans::default(), Instant::now());
        let host = |number: usize| IpNet::from(IpAddr::V4(Ipv4Addr::from_bits(number as u32)));
        let entries = (0..BANS_MOST).map(|number| {
            let until = now + Duration::from_secs(if number == 5 { 50 } else { 100 });
            let ban = Ban { network: host(number), reason: "spam".into(), until, is_automatic: number == 5 };
            (ban.network, Arc::new(Entry { ban, refused: AtomicU64::new(0) }))
        });
        bans.table.store(Arc::new(entries.collect()));
        let until = now + Duration::from_secs(9);
        bans.add(ban("198.51.100.1/32", until, false), now).unwrap();
        assert_eq!(bans.all(now).len(), BANS_MOST);
        assert_eq!((bans.meet(host(5).addr(), now), bans.meet(host(6).addr(), now).is_some()), (None, true));
        assert_eq!(bans.add(ban("198.51.100.2/32", until, true), now), Err(BanRefused::Full));
        bans.add(ban("198.51.100.1/32", now + Duration::from_secs(99), false), now).unwrap();
    }
}
