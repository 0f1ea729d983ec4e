//! Greylisting (RFC 6647): who comes for the first time is asked to come back, which those who only shout do not.
//!
//! A sender is its network, IPv4 /24 or IPv6 /64, with the domain it sends for; where SPF has vouched for that domain it is the domain alone,
//! so that a large sender may come back from another of its networks. One that comes back after the delay, and within [`REMEMBERED`], passes.
//! Who has delivered mail before is not asked at all: that is known better elsewhere, and told with the client.
//!
//! Memory is bounded: at most so many senders are remembered, as hashes; then the oldest is forgotten, who has to come back once more.
//! Cannot fail. A restart forgets all.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Who has come once.
#[derive(Debug)]
pub(crate) struct Greylist {
    delay: Duration,
    most: usize,
    hasher: RandomState,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// When each came for the first time.
    since: HashMap<u64, Instant>,
    /// The same, the oldest first.
    order: VecDeque<(Instant, u64)>,
}

impl Greylist {
    /// Has a sender come back after `delay`, and remembers `most` of them.
    pub(crate) fn new(delay: Duration, most: usize) -> Self {
        Self { delay, most: most.max(1), hasher: RandomState::new(), waiting: Mutex::default() }
    }

    /// How long this sender has still to wait, if it has to. `vouched`: SPF has said that it may send for the domain.
    pub(crate) fn wait(&self, ip: IpAddr, domain: &str, vouched: bool, now: Instant) -> Option<Duration> {
        let network = (!vouched).then(|| network(ip, 64));
        let key = self.hasher.hash_one((network, domain));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = waiting.since.contains_key(&key);
        while let Some((since, oldest)) = waiting.order.front().copied()
            && (now.saturating_duration_since(since) > REMEMBERED || (!is_known && waiting.order.len() >= self.most))
        {
            waiting.order.pop_front();
            waiting.since.remove(&oldest);
        }
        let since = match waiting.since.get(&key).copied() {
            Some(since) => since,
            None => {
                waiting.order.push_back((now, key));
                waiting.since.insert(key, now);
                now
            }
        };
        self.delay.checked_sub(now.saturating_duration_since(since)).filter(|wait| !wait.is_zero())
    }
}

/// What senders of one network share, IPv4 /24 or so many bits of IPv6, of which there are some: the same mail comes again from a neighbour.
pub(crate) fn network(ip: IpAddr, v6_bits: u32) -> impl Hash {
    match ip {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (!0 << (128 - v6_bits)))),
    }
}

/// Queues give up after days; who has not come back by then is new again.
const REMEMBERED: Duration = Duration::from_secs(2 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_comes_back_in_time_passes() {
        let (greylist, start) = (Greylist::new(2 * MINUTE, 100), Instant::now());
        let wait = |ip: &str, domain, vouched, at: Duration| greylist.wait(ip.parse().unwrap(), domain, vouched, start + at);
        assert_eq!(wait("192.0.2.1", "a.example", false, Duration::ZERO), Some(2 * MINUTE));
        assert_eq!(wait("192.0.2.1", "a.example", false, MINUTE), Some(MINUTE), "to come sooner does not start it again");
        assert_eq!(wait("192.0.2.200", "a.example", false, 2 * MINUTE), None, "from a neighbour");
        assert_eq!(wait("192.0.3.1", "a.example", false, 2 * MINUTE), Some(2 * MINUTE), "another network");
        assert_eq!(wait("192.0.2.1", "b.example", false, 2 * MINUTE), Some(2 * MINUTE), "another domain");
        assert_eq!(wait("2001:db8::1", "a.example", false, Duration::ZERO), Some(2 * MINUTE));
        assert_eq!(wait("2001:db8::2:1", "a.example", false, 3 * MINUTE), None);
        assert_eq!(wait("2001:db8:0:1::1", "a.example", false, 3 * MINUTE), Some(2 * MINUTE));
        assert_eq!(wait("198.51.100.1", "big.example", true, Duration::ZERO), Some(2 * MINUTE));
        assert_eq!(wait("203.0.113.1", "big.example", true, 3 * MINUTE), None, "its domain is vouched for, wherever it comes from");
        assert_eq!(wait("192.0.2.1", "a.example", false, REMEMBERED + MINUTE), Some(2 * MINUTE), "too late");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_is_forgotten() {
        let (greylist, start) = (Greylist::new(MINUTE, 10), Instant::now());
        for sender in 0..1000_u32 {
            let ip = IpAddr::V4(Ipv4Addr::from_bits(sender << 8));
            assert_eq!(greylist.wait(ip, "a.example", false, start), Some(MINUTE));
            let waiting = greylist.waiting.lock().unwrap();
            assert!(waiting.since.len() <= 10 && waiting.order.len() == waiting.since.len());
        }
        let again = |sender: u32| greylist.wait(IpAddr::V4(Ipv4Addr::from_bits(sender << 8)), "a.example", false, start + MINUTE);
        assert_eq!((again(999), again(0)), (None, Some(MINUTE)));
    }
}
