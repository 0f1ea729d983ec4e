//! What DNS says of everything a message's sender is judged by, for `gatepost explain`.
//!
//! Asks again for the names that the checks ask for: the reverse name, the client's name, SPF records with what they include,
//! keys, and policies up to the top. After a screening most of it comes from the cache. It is for people to read: nothing is
//! judged by it.

use std::net::IpAddr;

use crate::dns::{Kind, Unanswered, reverse_name, reversed};
use crate::reading::Reading;
use crate::screener::{Client, Screener, Sender};

/// One question to DNS, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What was asked about.
    pub name: String,
    /// What for.
    pub kind: Kind,
    /// The records, or why there are none.
    pub records: Result<Vec<String>, Unanswered>,
}

impl Screener {
    /// Everything DNS says of this sender and, where there is one, of this message.
    pub async fn answers(&self, client: Client<'_>, reading: Option<Reading>) -> Vec<Answer> {
        let (sender, mut asked) = (Sender::new(client), Asked { screener: self, answers: Vec::new() });
        asked.host(sender.ip, sender.helo).await;
        for list in &self.lists().lists {
            asked.ask(&format!("{}.{}", reversed(sender.ip), list.zone), Kind::A).await;
        }
        asked.spf(&sender.domain).await;
        let text = reading.map(Reading::finish);
        let message = text.as_ref().and_then(|text| text.message());
        if let Some(message) = &message {
            for signature in &message.dkim_headers {
                let (s, d) = (&signature.header.s, &signature.header.d);
                asked.ask(&format!("{s}._domainkey.{d}"), Kind::Txt).await;
            }
            if let Some((_, domain)) = message.from().rsplit_once('@') {
                asked.policies(domain).await;
            }
        }
        asked.answers
    }
}

struct Asked<'a> {
    screener: &'a Screener,
    answers: Vec<Answer>,
}

impl Asked<'_> {
    async fn ask(&mut self, name: &str, kind: Kind) -> Vec<String> {
        if name.is_empty() || self.answers.iter().any(|answer| answer.kind == kind && answer.name.eq_ignore_ascii_case(name)) {
            return Vec::new();
        }
        let records = self.screener.dns().lookup(name, kind).await;
        let found = records.clone().unwrap_or_default();
        self.answers.push(Answer { name: name.to_owned(), kind, records });
        found
    }

    /// The name of an address and back, and the addresses of the client's own name.
    async fn host(&mut self, ip: IpAddr, helo: &str) {
        let forward = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
        for name in self.ask(&reverse_name(ip), Kind::Ptr).await.iter().take(2) {
            self.ask(name.trim_end_matches('.'), forward).await;
        }
        if helo.contains('.') && !helo.starts_with('[') {
            self.ask(helo, Kind::A).await;
            self.ask(helo, Kind::Aaaa).await;
        }
    }

    /// A record and what it includes, but for names that are made of macros.
    async fn spf(&mut self, domain: &str) {
        let mut pending = vec![domain.to_owned()];
        while let Some(domain) = pending.pop() {
            if self.answers.len() >= QUESTIONS_MOST {
                return;
            }
            let records = self.ask(&domain, Kind::Txt).await;
            for term in records.iter().filter(|record| record.starts_with("v=spf1")).flat_map(|record| record.split(' ')) {
                let name = term.trim_start_matches(['+', '-', '~', '?']);
                let (name, kind) = match name.split_once([':', '=']) {
                    Some(("include" | "redirect", name)) => (name, Kind::Txt),
                    Some(("mx", name)) => (name, Kind::Mx),
                    Some(("a" | "exists", name)) => (name, Kind::A),
                    None if name == "mx" => (domain.as_str(), Kind::Mx),
                    None if name == "a" => (domain.as_str(), Kind::A),
                    _ => continue,
                };
                let name = name.split('/').next().unwrap_or(name);
                match kind {
                    _ if name.contains('%') => {}
                    Kind::Txt => pending.push(name.to_owned()),
                    kind => drop(self.ask(name, kind).await),
                }
            }
        }
    }

    /// The tree walk of RFC 9989 §4.10, without its short cut for long names.
    async fn policies(&mut self, domain: &str) {
        let mut name = domain;
        while name.contains('.') && self.answers.len() < QUESTIONS_MOST {
            self.ask(&format!("_dmarc.{name}"), Kind::Txt).await;
            name = name.split_once('.').map_or("", |(_, above)| above);
        }
    }
}

/// Enough for anything but a loop of includes.
const QUESTIONS_MOST: usize = 40;
