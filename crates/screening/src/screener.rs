//! The operator's list, gone through for one message after the other.
//!
//! Rules are asked in their order, those of the envelope at MAIL and those of the message at its end; the first final verdict
//! ends it. Each has its time-out, after which its check is unsure. Dropping a future is safe: what was found is forgotten.

use std::net::IpAddr;
use std::sync::Arc;

use mail::{Domain, Host, ReversePath};

use crate::check::{Rule, Stage};
use crate::dns::Dns;
use crate::reading::Reading;
use crate::screening::{Found, Screening};
use crate::verdict::Outcome;
use crate::{Forgeries, envelope, message};

/// Asks what the operator's list says. Clones are the same.
#[derive(Clone)]
pub struct Screener {
    host: Domain,
    rules: Arc<[Rule]>,
    dns: Dns,
}

/// Who sends, and in whose name.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c> {
    /// Its address.
    pub ip: IpAddr,
    /// What it calls itself.
    pub helo: &'c str,
    /// Where bounces would go.
    pub reverse_path: &'c ReversePath,
}

/// The same, as the protocols want it.
pub(crate) struct Sender<'c> {
    pub(crate) ip: IpAddr,
    pub(crate) helo: &'c str,
    /// The reverse-path without brackets; empty for none.
    pub(crate) mail_from: String,
    /// Its domain, or the client's name where there is none (RFC 7208 §2.4); empty where neither is a name.
    pub(crate) domain: String,
}

impl Screener {
    /// Goes by these rules, for the host of this name.
    pub fn new(host: Domain, rules: Vec<Rule>, dns: Dns) -> Self {
        Self { host, rules: rules.into(), dns }
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Takes out of a message what only we may write.
    pub fn forgeries(&self) -> Forgeries {
        Forgeries::new(self.host.clone())
    }

    /// Asks what is known at MAIL.
    pub async fn envelope(&self, client: Client<'_>) -> Screening {
        let (sender, mut screening) = (Sender::new(client), Screening::default());
        for (number, rule) in self.of(Stage::Envelope) {
            if screening.verdict().is_final() {
                break;
            }
            let asked = envelope::ask(rule.check, self, &sender, &mut screening);
            let found = tokio::time::timeout(rule.timeout, asked).await.unwrap_or_else(|_| too_late(rule));
            screening.add(rule.check, number, rule, found);
        }
        screening
    }

    /// Asks the rest when the message has passed.
    pub async fn message(&self, client: Client<'_>, mut screening: Screening, reading: Reading) -> Screening {
        let (sender, text) = (Sender::new(client), reading.finish());
        let message = text.message();
        let mut asked = message::Message::new(self, &sender, &text, message.as_ref());
        for (number, rule) in self.of(Stage::Message) {
            if screening.verdict().is_final() {
                break;
            }
            let found = tokio::time::timeout(rule.timeout, asked.ask(rule.check, &mut screening)).await;
            screening.add(rule.check, number, rule, found.unwrap_or_else(|_| too_late(rule)));
        }
        screening.results = asked.results(&screening);
        screening
    }

    pub(crate) fn host(&self) -> &str {
        self.host.as_str()
    }

    pub(crate) fn dns(&self) -> &Dns {
        &self.dns
    }

    fn of(&self, stage: Stage) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().filter(move |(_, rule)| rule.check.stage() == stage)
    }
}

impl<'c> Sender<'c> {
    pub(crate) fn new(client: Client<'c>) -> Self {
        let (mail_from, domain) = match client.reverse_path {
            ReversePath::Null => (String::new(), named(client.helo.parse().ok())),
            ReversePath::Mailbox(mailbox) => (mailbox.to_string(), named(Some(mailbox.host().clone()))),
        };
        Self { ip: client.ip.to_canonical(), helo: client.helo, mail_from, domain }
    }
}

fn named(host: Option<Host>) -> String {
    match host {
        Some(Host::Domain(domain)) => domain.as_str().to_owned(),
        Some(Host::Literal(_)) | None => String::new(),
    }
}

fn too_late(rule: &Rule) -> Found {
    Found::new(Outcome::Unsure, format!("not answered within {}", mail::Span(rule.timeout)))
}
