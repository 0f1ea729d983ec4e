//! Asking DNS: hickory-resolver with its cache, the operator's servers and time-outs.
//!
//! Guarantees: an answer, or which of four kinds of silence it was; names are asked as they are, without search domains and
//! without /etc/hosts. Memory is bounded by [`DnsSettings::cache`]: an
//! answer takes [`ANSWER_OCTETS`] at most. Fails to start only without servers. Dropping a future is
//! safe.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::MessageAuthenticator;

use crate::Error;

/// How DNS is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSettings {
    /// Whom to ask. None: those of /etc/resolv.conf.
    pub servers: Vec<SocketAddr>,
    /// How long one server may take to answer one question; each is asked twice.
    pub timeout: Duration,
    /// Answers that are remembered, for as long as they say they may be.
    pub cache: u64,
}

/// Asks DNS. Clones share one cache.
#[derive(Clone)]
pub struct Dns {
    authenticator: MessageAuthenticator,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Text.
    Txt,
    /// Names of an address.
    Ptr,
    /// Mail exchangers.
    Mx,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// There is no such name (NXDOMAIN).
    #[error("there is no such name")]
    NoName,
    /// The name has nothing of the kind.
    #[error("the name has no such record")]
    NoData,
    /// The servers do not say (SERVFAIL, REFUSED, or no server can be reached).
    #[error("DNS fails: {0}")]
    Failed(String),
    /// Nobody has answered in time.
    #[error("DNS does not answer in time")]
    TimedOut,
    /// It cannot be the name of anything.
    #[error("it cannot be a name in DNS")]
    NotAName,
}

impl Dns {
    /// Starts asking. To be called within a runtime.
    ///
    /// # Errors
    /// No servers are configured, and the machine has none.
    pub fn new(settings: &DnsSettings) -> Result<Self, Error> {
        let (config, mut options) = if settings.servers.is_empty() {
            read_system_conf().map_err(|error| Error::NoServers(error.to_string()))?
        } else {
            let servers = settings.servers.iter().map(|server| name_server(*server)).collect();
            (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
        };
        options.timeout = settings.timeout;
        options.attempts = 1;
        options.cache_size = settings.cache;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        options.positive_max_ttl = Some(POSITIVE_LONGEST);
        options.negative_max_ttl = Some(NEGATIVE_LONGEST);
        let authenticator = MessageAuthenticator::new(config, options).map_err(|error| Error::Resolver(error.to_string()))?;
        Ok(Self { authenticator })
    }

    /// What DNS holds of `kind` at `name`, one text for each record.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn lookup(&self, name: &str, kind: Kind) -> Result<Vec<String>, Unanswered> {
        let mut name = Name::from_str_relaxed(name).map_err(|_| Unanswered::NotAName)?;
        name.set_fqdn(true);
        let lookup = self.authenticator.resolver().lookup(name, kind.record_type()).await.map_err(unanswered)?;
        let texts: Vec<String> = lookup.answers().iter().filter_map(|record| text(kind, &record.data)).collect();
        if texts.is_empty() { Err(Unanswered::NoData) } else { Ok(texts) }
    }

    pub(crate) fn authenticator(&self) -> &MessageAuthenticator {
        &self.authenticator
    }
}

impl Unanswered {
    /// Whether it is known that there is nothing.
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::NoName | Self::NoData | Self::NotAName)
    }
}

impl Kind {
    /// As it is written in a zone.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Txt => "TXT",
            Self::Ptr => "PTR",
            Self::Mx => "MX",
        }
    }

    fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Txt => RecordType::TXT,
            Self::Ptr => RecordType::PTR,
            Self::Mx => RecordType::MX,
        }
    }
}

/// The labels by which an address is looked up, from its end to its beginning (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn reversed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(v6) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// Where the name of an address is.
pub(crate) fn reverse_name(ip: IpAddr) -> String {
    format!("{}.{}", reversed(ip), if ip.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" })
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let on = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    NameServerConfig::new(server.ip(), true, vec![on(ConnectionConfig::udp()), on(ConnectionConfig::tcp())])
}

/// A record of the kind; others, such as the CNAMEs on the way to it, are none.
fn text(kind: Kind, data: &RData) -> Option<String> {
    match (kind, data) {
        (Kind::A, RData::A(a)) => Some(a.0.to_string()),
        (Kind::Aaaa, RData::AAAA(aaaa)) => Some(aaaa.0.to_string()),
        (Kind::Ptr, RData::PTR(name)) => Some(name.0.to_ascii()),
        (Kind::Mx, RData::MX(mx)) => Some(format!("{} {}", mx.preference, mx.exchange.to_ascii())),
        (Kind::Txt, RData::TXT(txt)) => Some(txt.txt_data.iter().map(|part| String::from_utf8_lossy(part)).collect()),
        _ => None,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn unanswered(error: NetError) -> Unanswered {
    match &error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => Unanswered::NoName,
        NetError::Dns(DnsError::NoRecordsFound(_)) => Unanswered::NoData,
        NetError::Timeout => Unanswered::TimedOut,
        _ => Unanswered::Failed(error.to_string()),
    }
}

/// The most memory that one answer can take: 64 KiB of records of 14 octets, CNAMEs that only point at names, each of which is 280 octets
/// here and has two names of up to 288 besides. Whoever sends mail chooses what is in them. Without TCP they would be smaller, and the records of many honest
/// domains could not be had.
pub const ANSWER_OCTETS: u64 = 4 << 20;
/// The servers remember for longer, and are near.
const POSITIVE_LONGEST: Duration = Duration::from_secs(60 * 60);
/// What is not there may come soon: a sender who is told of a missing record repairs it.
const NEGATIVE_LONGEST: Duration = Duration::from_secs(15 * 60);
