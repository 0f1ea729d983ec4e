//! How often somebody may connect: by every prefix of the source, and all together (R3).
//!
//! Asked between the source's ceilings and its fair share; what the fair share or the pool refuses is given back, so that an
//! attempt that is refused for whatever reason has taken nothing. The narrowest prefix is asked first, as for ceilings, and a wider one
//! that refuses gives the narrower ones back what they took: addresses without number behind one /48 leave no trace.

use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::{Limiter, Settings};
use crate::source::{Level, Source};

/// The rates of connections.
#[derive(Debug)]
pub(crate) struct ConnectionRates {
    per_address: Limiter,
    per_network: Limiter,
    per_site: Limiter,
    total: Limiter,
}

/// Somebody connects too often, or everybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOften {
    /// The narrowest prefix that does; none when it is all of them together.
    pub(crate) prefix: Option<IpNet>,
    /// After how long it may again, if nobody else does.
    pub(crate) wait: Duration,
}

impl ConnectionRates {
    /// The rates that `settings` name.
    pub(crate) fn new(settings: &Settings) -> Self {
        let keyed = |rate| Limiter::new(rate, settings.keys());
        Self {
            per_address: keyed(settings.connections_per_address),
            per_network: keyed(settings.connections_per_network),
            per_site: keyed(settings.connections_per_site),
            total: Limiter::new(settings.connections, 1),
        }
    }

    /// Puts other rates in force.
    pub(crate) fn apply(&self, settings: &Settings) {
        self.per_address.apply(settings.connections_per_address);
        self.per_network.apply(settings.connections_per_network);
        self.per_site.apply(settings.connections_per_site);
        self.total.apply(settings.connections);
    }

    /// Counts one connection from `source`, until what is returned is dropped; for good when it is [kept](Counted::keep).
    ///
    /// # Errors
    /// It comes too soon; nothing was counted.
    pub(crate) fn count(&self, source: Source, now: Instant) -> Result<Counted<'_>, TooOften> {
        self.take(source, now).map(|()| Counted { rates: self, source, kept: false })
    }

    fn take(&self, source: Source, now: Instant) -> Result<(), TooOften> {
        for (level, prefix) in source.prefixes() {
            if let Err(wait) = self.of(level).take(prefix, 1, now) {
                let narrower = source.prefixes().take_while(|(taken, _)| *taken < level);
                narrower.for_each(|(level, prefix)| self.of(level).give_back(prefix, 1));
                return Err(TooOften { prefix: Some(prefix), wait });
            }
        }
        self.total.take((), 1, now).map_err(|wait| {
            self.give_back_prefixes(source);
            TooOften { prefix: None, wait }
        })
    }

    /// Takes back a connection of `source` that was counted.
    pub(crate) fn give_back(&self, source: Source) {
        self.give_back_prefixes(source);
        self.total.give_back((), 1);
    }

    fn give_back_prefixes(&self, source: Source) {
        source.prefixes().for_each(|(level, prefix)| self.of(level).give_back(prefix, 1));
    }

    fn of(&self, level: Level) -> &Limiter {
        match level {
            Level::Address => &self.per_address,
            Level::Network => &self.per_network,
            Level::Site => &self.per_site,
        }
    }
}

/// A connection that was counted, and is not when it is refused after all.
#[derive(Debug)]
pub(crate) struct Counted<'r> {
    rates: &'r ConnectionRates,
    source: Source,
    kept: bool,
}

impl Counted<'_> {
    /// It was let in.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.rates.give_back(self.source);
        }
    }
}

impl TooOften {
    /// The wait in whole seconds, at least one.
    pub(crate) fn seconds(self) -> u32 {
        u32::try_from(self.wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use super::*;

    fn source(address: &str) -> Source {
        Source::from(address.parse::<IpAddr>().unwrap())
    }

    fn rates(address: &str, site: &str, total: &str) -> ConnectionRates {
        ConnectionRates::new(&Settings {
            connections_per_address: address.parse().unwrap(),
            connections_per_site: site.parse().unwrap(),
            connections: total.parse().unwrap(),
            ..Settings::default()
        })
    }

    #[test]
    fn the_narrowest_is_named_and_what_is_refused_takes_nothing() {
        let (rates, now) = (rates("1/1m", "2/1m", "3/1m"), Instant::now());
        let refused = |source| rates.take(source, now).unwrap_err().prefix.map(|prefix| prefix.to_string());
        rates.take(source("2001:db8::1"), now).unwrap();
        assert_eq!(refused(source("2001:db8::2")).as_deref(), Some("2001:db8::/64"));
        rates.take(source("2001:db8:0:1::1"), now).unwrap();
        assert_eq!(refused(source("2001:db8:0:2::1")).as_deref(), Some("2001:db8::/48"));
        rates.take(source("192.0.2.1"), now).unwrap();
        assert_eq!(refused(source("192.0.2.2")), None, "all together");
        // None of those who were refused have a bucket.
        assert_eq!((rates.per_address.keys(), rates.per_site.keys()), (3, 1));
    }

    #[test]
    fn whom_the_pool_refuses_has_taken_nothing() {
        let (rates, now) = (rates("1/1m", "1/1m", "1/1m"), Instant::now());
        for _ in 0..9 {
            drop(rates.count(source("192.0.2.1"), now).unwrap());
        }
        rates.count(source("192.0.2.1"), now).unwrap().keep();
        assert!(rates.count(source("192.0.2.1"), now).is_err());
    }

    #[test]
    fn a_million_addresses_stay_under_the_bound_and_their_site_still_limits_them() {
        let (rates, now) = (rates("1/1h", "1000/1h", "off"), Instant::now());
        let admitted = (0..1_000_000_u128)
            .filter(|subnet| {
                // Scattered over the 65,536 subnets of each of 16 sites.
                let bits = 0x2001_0db8_u128 << 96 | (subnet % 16) << 80 | (subnet * 40_503 % 65_536) << 64 | subnet;
                rates.take(Source::from(IpAddr::V6(Ipv6Addr::from_bits(bits))), now).is_ok()
            })
            .count();
        assert_eq!(admitted, 16_000, "each site its thousand");
        assert_eq!((rates.per_address.keys(), rates.per_site.keys()), (16_000, 16), "the refused ones left nothing");
    }
}
