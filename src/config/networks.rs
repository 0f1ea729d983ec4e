//! Networks that are trusted by their address alone: invariant 3, no single setting makes an open relay.
//!
//! Who may relay, and who is believed of whom they speak for or what they have judged, is listed in networks of the operator's own. A network
//! that is larger than any one site has is refused with the reason. Pure; finds everything.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fault::Finding;
use super::{Config, Network};

/// Who is trusted to name clients could name one that may relay: invariant 3, again. Who delivers by LMTP is believed to have judged.
pub(super) fn trusted(config: &Config) -> Vec<Finding> {
    let proxies = "any of them could pretend to be any client; list the proxies only";
    let servers = "any of them could deliver what nobody has screened; list your mail servers only";
    [("proxy.trusted_proxies", &config.proxy.trusted_proxies, proxies), ("relay.lmtp_networks", &config.relay.lmtp_networks, servers)]
        .into_iter()
        .flat_map(|(key, networks, consequence)| {
            networks.iter().enumerate().map(move |(index, network)| (key, index, network.0, consequence))
        })
        .filter(|(_, _, network, _)| too_large(network))
        .map(|(key, index, network, consequence)| Finding::error(key, format!("{network} is {}: {consequence}", whose(&network))).at(index))
        .collect()
}

/// Invariant 3. One network is refused when it is larger than any one site's, and so are many that come to as much.
pub(super) fn relay(key: &str, networks: &[Network]) -> Vec<Finding> {
    let networks: Vec<IpNet> = networks.iter().map(|network| network.0).collect();
    let strangers = |network: &IpNet| {
        format!("{network} is {}: this would be an open relay, which spammers find within hours; {INSTEAD}", whose(network))
    };
    let mut found: Vec<Finding> = networks
        .iter()
        .enumerate()
        .filter(|(_, network)| too_large(network))
        .map(|(index, network)| Finding::error(key, strangers(network)).at(index))
        .collect();
    let public: Vec<IpNet> = IpNet::aggregate(&networks).into_iter().filter(|network| !is_private(network)).collect();
    let addresses: u64 =
        public.iter().filter(|network| matches!(network, IpNet::V4(_))).map(|network| 1u64 << (32 - network.prefix_len())).sum();
    let sites: u64 = public
        .iter()
        .filter(|network| matches!(network, IpNet::V6(_)))
        .map(|network| 1u64 << 48u8.saturating_sub(network.prefix_len()))
        .sum();
    if found.is_empty() && (addresses > IPV4_ADDRESSES || sites > IPV6_SITES) {
        let message = format!(
            "together these networks hold {addresses} IPv4 addresses and {sites} IPv6 sites: this would be an open relay; {INSTEAD}"
        );
        found.push(Finding::error(key, message));
    }
    found
}

fn too_large(network: &IpNet) -> bool {
    !is_private(network)
        && match network {
            IpNet::V4(v4) => 1u64 << (32 - v4.prefix_len()) > IPV4_ADDRESSES,
            IpNet::V6(v6) => 1u128 << 48u8.saturating_sub(v6.prefix_len()) > u128::from(IPV6_SITES),
        }
}

fn whose(network: &IpNet) -> String {
    match network {
        network if network.prefix_len() == 0 => "everybody".into(),
        IpNet::V4(v4) => format!("{} addresses, most of them strangers'", 1u64 << (32 - v4.prefix_len())),
        IpNet::V6(_) => "larger than any one site's".into(),
    }
}

/// Addresses that do not come from the Internet (RFC 1918, RFC 6598, RFC 4193, loopback, link-local).
fn is_private(network: &IpNet) -> bool {
    const V4: [Ipv4Net; 6] = [
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 0, 0, 0), 8),
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(172, 16, 0, 0), 12),
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(192, 168, 0, 0), 16),
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(100, 64, 0, 0), 10),
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8),
        Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 0, 0), 16),
    ];
    const V6: [Ipv6Net; 2] = [
        Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
        Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    ];
    match network {
        IpNet::V4(v4) => V4.iter().any(|private| private.contains(v4)),
        IpNet::V6(v6) => V6.iter().any(|private| private.contains(v6)),
    }
}

/// A /8, which is more than any one site has, and all an operator may list.
const IPV4_ADDRESSES: u64 = 1 << 24;
/// /48s: a /28, the like for IPv6.
const IPV6_SITES: u64 = 1 << 20;
const INSTEAD: &str = "list your own networks only, and give everyone else an account";

#[cfg(test)]
mod tests {
    use super::*;

    fn relaying(networks: &[&str]) -> Vec<String> {
        let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
        relay("relay.networks", &networks).into_iter().map(|finding| finding.message).collect()
    }

    /// Invariant 3, and its edges.
    #[test]
    fn no_networks_make_an_open_relay() {
        for fine in [
            &["10.0.0.0/8", "172.16.0.0/12", "fc00::/7", "192.0.2.0/24"][..],
            &["11.0.0.0/8"],
            &["2001:db0::/28"],
            &["127.0.0.1", "::1"],
            &[],
        ] {
            assert_eq!(relaying(fine), [""; 0], "{fine:?}");
        }
        for wrong in [
            &["0.0.0.0/0"][..],
            &["::/0"],
            &["0.0.0.0/1"],
            &["128.0.0.0/7"],
            &["2000::/3"],
            &["2001:da0::/27"],
            &["11.0.0.0/8", "12.0.0.0/9"],
            &["10.0.0.0/7"],
        ] {
            assert_eq!(relaying(wrong).len(), 1, "{wrong:?}");
        }
        assert_eq!(relaying(&["0.0.0.0/0", "::/0"]).len(), 2);
        assert!(relaying(&["0.0.0.0/0"])[0].starts_with("0.0.0.0/0 is everybody: this would be an open relay"));
    }
}
