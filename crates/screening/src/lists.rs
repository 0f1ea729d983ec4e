//! DNS lists (RFC 5782): what others say of a client's address, added up.
//!
//! Each list has a weight, negative for lists of good senders; the check fails when the sum reaches the threshold. A list is believed as far
//! as it shows that it works: 127.0.0.2 must be on it and 127.0.0.1 must not (§5), which DNS's cache remembers; what it answers must lie in
//! 127.0.0.0/8 (§2.1); and 127.255.255.0/24 is how lists say that they do not serve this resolver. A list that is not believed
//! counts for nothing, and where it could have made the difference, either way, the check is unsure.

use std::fmt;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::Poll;

use crate::dns::{Dns, Kind, Unanswered, reversed};
use crate::screening::{Found, SAID_OCTETS};
use crate::verdict::Outcome;

/// The lists that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Each of them.
    pub lists: Vec<List>,
    /// The sum of weights with which the check fails.
    pub threshold: i32,
}

/// One list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Under which name it is in DNS.
    pub zone: String,
    /// What it adds when an address is on it.
    pub weight: i32,
    /// What clients are told that it is called, in printable ASCII. Its zone is not told: it may have the operator's key in it.
    pub name: Option<String>,
}

/// What one list says of an address.
enum Said {
    /// It is on the list; with what the list answers.
    Listed(Vec<String>),
    Unlisted,
    Unbelieved(Doubt),
}

/// Why a list is not believed.
enum Doubt {
    Dns(Unanswered),
    /// 127.255.255.x: it does not serve this resolver.
    Blocked(String),
    /// It answers what no list answers.
    Strange(String),
    /// 127.0.0.1 is on it: so is everything.
    ListsAll,
    /// 127.0.0.2 is not on it: so is nothing.
    ListsNothing,
}

impl Lists {
    /// Asks all of them, at once.
    pub(crate) async fn ask(&self, dns: &Dns, ip: IpAddr) -> Found {
        let asked = self.lists.iter().map(|list| -> Pin<Box<dyn Future<Output = Said> + Send + '_>> { Box::pin(list.ask(dns, ip)) });
        let answers = all(asked.collect()).await;
        // The sum of those that are believed, and what the others could still make of it.
        let (mut sum, mut low, mut high, mut told, mut named) = (0_i64, 0_i64, 0_i64, Vec::new(), Vec::new());
        for (list, said) in self.lists.iter().zip(&answers) {
            let weight = i64::from(list.weight);
            match said {
                Said::Listed(codes) => {
                    sum += weight;
                    told.push(format!("{} {:+} ({})", list.zone, list.weight, codes.join(" ")));
                    named.extend(list.name.as_deref().filter(|_| list.weight > 0));
                }
                Said::Unlisted => {}
                Said::Unbelieved(doubt) => {
                    (low, high) = (low + weight.min(0), high + weight.max(0));
                    told.push(format!("{} is not believed: {doubt}", list.zone));
                }
            }
        }
        let threshold = i64::from(self.threshold);
        let outcome = match () {
            () if sum + low >= threshold => Outcome::Fail,
            () if sum + high >= threshold => Outcome::Unsure,
            () => Outcome::Pass,
        };
        let told = if told.is_empty() { "on no list".into() } else { told.join(", ") };
        let said: String = named.join(", ").chars().take(SAID_OCTETS).collect();
        let said = (!said.is_empty()).then(|| format!(": {said}"));
        Found { said, ..Found::new(outcome, format!("{ip} has {sum} of {}: {told}", self.threshold)) }
    }
}

impl List {
    async fn ask(&self, dns: &Dns, ip: IpAddr) -> Said {
        let said = self.look(dns, ip).await;
        let doubt = match &said {
            Said::Unbelieved(_) => return said,
            Said::Listed(_) => matches!(self.look(dns, NEVER_LISTED).await, Said::Listed(_)).then_some(Doubt::ListsAll),
            Said::Unlisted => matches!(self.look(dns, ALWAYS_LISTED).await, Said::Unlisted).then_some(Doubt::ListsNothing),
        };
        doubt.map_or(said, Said::Unbelieved)
    }

    async fn look(&self, dns: &Dns, ip: IpAddr) -> Said {
        let codes = match dns.lookup(&format!("{}.{}", reversed(ip), self.zone), Kind::A).await {
            Ok(codes) => codes,
            Err(error) if error.is_definite() => return Said::Unlisted,
            Err(error) => return Said::Unbelieved(Doubt::Dns(error)),
        };
        let odd = codes.iter().find_map(|code| match code.parse::<Ipv4Addr>().map(|code| code.octets()) {
            Ok([127, 255, 255, _]) => Some(Doubt::Blocked(code.clone())),
            Ok([127, ..]) => None,
            _ => Some(Doubt::Strange(code.clone())),
        });
        odd.map_or(Said::Listed(codes), Said::Unbelieved)
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(error) => error.fmt(f),
            Self::Blocked(code) => {
                write!(f, "it answers {code}, which means that it does not serve this DNS server; ask it through a resolver of your own")
            }
            Self::Strange(code) => write!(f, "it answers {code}, which no list does"),
            Self::ListsAll => f.write_str("127.0.0.1 is on it, so everything is"),
            Self::ListsNothing => f.write_str("127.0.0.2 is not on it, so nothing is"),
        }
    }
}

/// What each of them yields, when all have.
async fn all<T>(mut futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// RFC 5782 §5.
const ALWAYS_LISTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NEVER_LISTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
