//! Who may ask at present: so many messages at a time, and of them a quarter at most for one network.
//!
//! What the asking takes is bounded, however many sessions there are. Whoever sends slow names of his own holds his turns for long, so a
//! network, IPv4 /24 or IPv6 /48, has only its share, and whoever has networks enough for all turns takes them from everybody. Shares
//! are counted in [`SHARES`] places by hash: two networks that have the same place share it. Turns are given in the order in which they
//! were asked for. Dropping a future is safe.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::greylist::network;

/// See the module.
pub(crate) struct Turns {
    all: Semaphore,
    shares: Vec<Semaphore>,
    hasher: RandomState,
}

/// Held while one message is asked about.
pub(crate) struct Turn<'t> {
    _share: SemaphorePermit<'t>,
    _turn: SemaphorePermit<'t>,
}

impl Turns {
    /// So many at a time.
    pub(crate) fn new(at_once: usize) -> Self {
        let shares = (0..SHARES).map(|_| Semaphore::new(at_once.div_ceil(4))).collect();
        Self { all: Semaphore::new(at_once), shares, hasher: RandomState::new() }
    }

    /// Waits for a turn for a message from this address.
    pub(crate) async fn take(&self, ip: IpAddr) -> Option<Turn<'_>> {
        let [place, ..] = self.hasher.hash_one(network(ip, 48)).to_le_bytes();
        let share = self.shares.get(usize::from(place))?.acquire().await.ok()?;
        let turn = self.all.acquire().await.ok()?;
        Some(Turn { _share: share, _turn: turn })
    }
}

/// As many as an octet can name.
const SHARES: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A turn that is there now.
    async fn now<'t>(turns: &'t Turns, ip: &str) -> Option<Turn<'t>> {
        tokio::time::timeout(Duration::ZERO, turns.take(ip.parse().unwrap())).await.ok().flatten()
    }

    #[tokio::test]
    async fn one_network_has_a_quarter_of_the_turns() {
        for (neighbours, others) in [(["192.0.2.1", "192.0.2.99"], "203.0"), (["2001:db8:0:1::1", "2001:db8:0:2::9"], "2001:db8")] {
            let turns = Turns::new(8);
            let held = [now(&turns, neighbours[0]).await, now(&turns, neighbours[1]).await];
            assert!(held.iter().all(Option::is_some) && now(&turns, neighbours[0]).await.is_none());
            let mut served = 0;
            for number in 1..=50 {
                let other = if others.contains(':') { format!("{others}:{number}::1") } else { format!("{others}.{number}.1") };
                served += usize::from(now(&turns, &other).await.is_some());
            }
            assert!(served >= 40, "few have the same place: {served}");
            drop(held);
            assert!(now(&turns, neighbours[0]).await.is_some(), "a turn comes back");
        }
    }

    #[tokio::test]
    async fn all_of_them_have_as_many_as_there_are() {
        let turns = Turns::new(8);
        let mut held = Vec::new();
        for number in 0..200 {
            held.extend(now(&turns, &format!("198.51.{number}.1")).await);
        }
        assert_eq!(held.len(), 8);
    }
}
