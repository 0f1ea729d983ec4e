//! The name of a client's address in DNS, for services that want to know it: rspamd and milters weigh clients that have none.
//!
//! Asked once for a message, and only where one of them is asked; the check `iprev` has its own verdict on it, of the same cached answers.
//! What DNS does not say in time is no name, and no name is told that is not a domain's. Dropping the future is safe.

use std::net::IpAddr;
use std::time::Duration;

use mail::Domain;

use crate::dns::{Dns, Kind, reverse_name};

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientName {
    /// The name that DNS has for the address, whether it leads back or not.
    pub(crate) claimed: Option<Domain>,
    /// The name that leads back to the address (RFC 8601 §3).
    pub(crate) confirmed: Option<Domain>,
}

impl ClientName {
    /// Asks for it.
    pub(crate) async fn of(dns: &Dns, ip: IpAddr) -> Self {
        let mut name = Self::default();
        // What was found before the time was over stands.
        let _late = tokio::time::timeout(LONGEST, name.ask(dns, ip)).await;
        name
    }

    async fn ask(&mut self, dns: &Dns, ip: IpAddr) {
        let forward = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
        let names = dns.lookup(&reverse_name(ip), Kind::Ptr).await.unwrap_or_default();
        for name in names.iter().filter_map(|name| name.trim_end_matches('.').parse::<Domain>().ok()).take(NAMES_MOST) {
            self.claimed.get_or_insert_with(|| name.clone());
            let addresses = dns.lookup(name.as_str(), forward).await.unwrap_or_default();
            if addresses.iter().any(|address| address.parse() == Ok(ip)) {
                self.confirmed = Some(name);
                return;
            }
        }
    }
}

/// As many as `iprev` looks at.
const NAMES_MOST: usize = 2;
/// Beside the time of the check: a silent DNS is to hold nobody up for long.
const LONGEST: Duration = Duration::from_secs(3);
