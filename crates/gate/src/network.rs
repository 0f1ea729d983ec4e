//! A network as an operator writes it, and a table that finds the narrowest one an address is in.
//!
//! Guarantees: what is displayed reads back as the same value; no bits are set behind the prefix, and no IPv4 hides in an IPv6
//! network. [`Networks::find`] looks at the longest prefix first, one hash lookup for each length that is in the table. Refuses
//! other texts with a message that shows how to write them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A network, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(pub IpNet);

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither a network nor an address.
    #[error("{0:?} is not a network: write \"192.0.2.0/24\", \"2001:db8::/32\" or a single address")]
    Unreadable(String),
    /// An address and a prefix length that do not fit together.
    #[error("\"{0}\" has bits set after its first {len}: write \"{net}\", or the single address without the \"/{len}\"", len = .0.prefix_len(), net = .0.trunc())]
    HostBits(IpNet),
    /// `::ffff:0:0/96` and within.
    #[error("{0:?} is an IPv4 address written as IPv6: write it as IPv4")]
    Mapped(String),
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network.map_err(|_| NetworkError::Unreadable(text.into()))?;
        if network.trunc() != network {
            return Err(NetworkError::HostBits(network));
        }
        // ::ffff:0:0/96 would be all of IPv4 without looking like it.
        match network {
            IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some() => Err(NetworkError::Mapped(text.into())),
            _ => Ok(Self(network)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

mail::as_text!(Network);

/// Something for each of many networks.
#[derive(Debug)]
pub(crate) struct Networks<T> {
    by_network: HashMap<IpNet, T>,
    /// The prefix lengths there are, by family, so that only those are looked for.
    v4_bits: Vec<u8>,
    v6_bits: Vec<u8>,
}

impl<T> Networks<T> {
    /// Each network with what belongs to it, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&IpNet, &T)> {
        self.by_network.iter()
    }

    /// What belongs to each network, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.by_network.values()
    }

    /// What belongs to the narrowest network that `address` is in, of those that `counts` says yes to.
    pub(crate) fn find(&self, address: IpAddr, counts: impl Fn(&T) -> bool) -> Option<(IpNet, &T)> {
        let lengths = if address.is_ipv4() { &self.v4_bits } else { &self.v6_bits };
        // A length fits its family, as it came from a network of it.
        let networks = lengths.iter().map(|bits| IpNet::new_assert(address, *bits).trunc());
        networks.filter_map(|network| Some((network, self.by_network.get(&network)?))).find(|(_, found)| counts(found))
    }
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl<T> FromIterator<(IpNet, T)> for Networks<T> {
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(entries: I) -> Self {
        let by_network: HashMap<IpNet, T> = entries.into_iter().collect();
        let longest_first = |v4: bool| {
            let lengths: BTreeSet<u8> = by_network.keys().filter(|network| network.addr().is_ipv4() == v4).map(IpNet::prefix_len).collect();
            lengths.into_iter().rev().collect()
        };
        Self { v4_bits: longest_first(true), v6_bits: longest_first(false), by_network }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_networks_or_single_addresses() {
        for text in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "2001:db8::1", "::1"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for (text, message) in [
            (
                "192.0.2.7/24",
                "\"192.0.2.7/24\" has bits set after its first 24: write \"192.0.2.0/24\", or the single address without the \"/24\"",
            ),
            ("::ffff:0:0/96", "\"::ffff:0:0/96\" is an IPv4 address written as IPv6: write it as IPv4"),
            ("::ffff:192.0.2.7", "\"::ffff:192.0.2.7\" is an IPv4 address written as IPv6: write it as IPv4"),
            ("office", "\"office\" is not a network: write \"192.0.2.0/24\", \"2001:db8::/32\" or a single address"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_longest_prefix_that_counts_wins() {
        let table = [("0.0.0.0/0", 0), ("192.0.2.0/24", 1), ("192.0.2.7/32", 2), ("2001:db8::/32", 3)];
        let networks: Networks<u8> = table.map(|(network, number)| (network.parse().unwrap(), number)).into_iter().collect();
        let found = |address: &str, most: u8| networks.find(address.parse().unwrap(), |number| *number <= most).map(|(_, number)| *number);
        assert_eq!([found("192.0.2.7", 9), found("192.0.2.8", 9), found("198.51.100.1", 9)], [Some(2), Some(1), Some(0)]);
        assert_eq!([found("192.0.2.7", 1), found("2001:db8::1", 9), found("2001:db9::1", 9)], [Some(1), Some(3), None]);
    }
}
