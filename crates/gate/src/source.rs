//! A client's address as the gate sees it: cut to nested prefixes.
//!
//! | level | IPv4 | IPv6 | what it usually is |
//! | --- | --- | --- | --- |
//! | [`Level::Address`] | /32 | /64 | one host, or one office behind its router |
//! | [`Level::Network`] | /24 | /56 | one small network, or one customer's line |
//! | [`Level::Site`] | | /48 | one site, or one hosting customer |
//!
//! Guarantees: an IPv4-mapped IPv6 address is its IPv4 address, so that a client counts the same on a listener of
//! either family; each prefix contains the one before it and the address itself. Cannot fail.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The address a session comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    address: IpAddr,
}

impl Source {
    /// The address, IPv4 when it was IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// This source at `level`; `None` for an IPv4 site, which is no prefix anybody is assigned.
    pub fn prefix(self, level: Level) -> Option<IpNet> {
        let prefix_bits = match (self.address, level) {
            (IpAddr::V4(_), Level::Address) => 32,
            (IpAddr::V4(_), Level::Network) => 24,
            (IpAddr::V4(_), Level::Site) => return None,
            (IpAddr::V6(_), Level::Address) => 64,
            (IpAddr::V6(_), Level::Network) => 56,
            (IpAddr::V6(_), Level::Site) => 48,
        };
        // Every number above fits its family, which is all that `new_assert` asserts.
        Some(IpNet::new_assert(self.address, prefix_bits).trunc())
    }

    /// For whom turns are taken where several wait: the first address of its narrowest prefix.
    pub fn turn(self) -> IpAddr {
        self.prefix(Level::Address).map_or(self.address, |prefix| prefix.addr())
    }

    /// Every prefix of this source with its level, narrowest first.
    pub fn prefixes(self) -> impl Iterator<Item = (Level, IpNet)> {
        Level::ALL.into_iter().filter_map(move |level| Some((level, self.prefix(level)?)))
    }
}

impl From<IpAddr> for Source {
    fn from(peer: IpAddr) -> Self {
        Self { address: peer.to_canonical() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// How much of an address is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// IPv4 /32, IPv6 /64.
    Address,
    /// IPv4 /24, IPv6 /56.
    Network,
    /// IPv6 /48.
    Site,
}

impl Level {
    /// Every level, narrowest first.
    pub const ALL: [Self; 3] = [Self::Address, Self::Network, Self::Site];

    /// The level a [`Source`]'s prefix was cut at.
    pub(crate) fn of(prefix: &IpNet) -> Self {
        match (prefix, prefix.prefix_len()) {
            (IpNet::V4(_), 32) | (IpNet::V6(_), 64) => Self::Address,
            (IpNet::V4(_), _) | (IpNet::V6(_), 56) => Self::Network,
            (IpNet::V6(_), _) => Self::Site,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn prefixes(address: &str) -> Vec<String> {
        Source::from(address.parse::<IpAddr>().unwrap()).prefixes().map(|(_, prefix)| prefix.to_string()).collect()
    }

    #[test]
    fn cuts_each_family_at_its_own_lengths() {
        assert_eq!(prefixes("192.0.2.7"), ["192.0.2.7/32", "192.0.2.0/24"]);
        assert_eq!(prefixes("2001:db8:aaaa:bbcc:1::7"), ["2001:db8:aaaa:bbcc::/64", "2001:db8:aaaa:bb00::/56", "2001:db8:aaaa::/48"]);
        assert_eq!(prefixes("::ffff:192.0.2.7"), prefixes("192.0.2.7"));
    }

    #[test]
    fn turns_are_taken_by_address_or_by_64() {
        let turn = |address: &str| Source::from(address.parse::<IpAddr>().unwrap()).turn().to_string();
        assert_eq!(turn("2001:db8::1:2:3:4"), "2001:db8::");
        assert_eq!((turn("::ffff:192.0.2.7"), turn("192.0.2.7")), ("192.0.2.7".into(), "192.0.2.7".into()));
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        ]
    }

    proptest! {
        #[test]
        fn prefixes_nest_and_contain_their_address(address in any_address()) {
            let source = Source::from(address);
            let mut narrower: Option<IpNet> = None;
            for (level, prefix) in source.prefixes() {
                prop_assert!(prefix.contains(&source.address()));
                prop_assert_eq!(prefix, prefix.trunc());
                prop_assert_eq!(Level::of(&prefix), level);
                prop_assert!(narrower.is_none_or(|narrower| prefix.contains(&narrower) && prefix != narrower));
                narrower = Some(prefix);
            }
            prop_assert_eq!(source.prefixes().count(), if source.address().is_ipv4() { 2 } else { 3 });
        }

        #[test]
        fn a_mapped_address_is_its_ipv4_address(bits in any::<u32>()) {
            let plain = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(Source::from(IpAddr::V6(plain.to_ipv6_mapped())), Source::from(IpAddr::V4(plain)));
        }

        #[test]
        fn addresses_share_a_prefix_exactly_when_they_share_its_bits(one in any::<u128>(), flipped in 0_u32..128) {
            let other = one ^ (1_u128 << (127 - flipped));
            let [one, other] = [one, other].map(|bits| Source { address: IpAddr::V6(Ipv6Addr::from_bits(bits)) });
            for ((_, ours), (_, theirs)) in one.prefixes().zip(other.prefixes()) {
                prop_assert_eq!(ours == theirs, flipped >= u32::from(ours.prefix_len()));
            }
        }
    }
}
