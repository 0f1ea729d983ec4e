//! The operator's list, gone through for one message after the other.
//!
//! Rules are asked in their order, those of the envelope at MAIL and those of the message at its end; the first final verdict
//! ends it. Each has its time-out, after which its check is unsure. Dropping a future is safe: what was found is forgotten.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::{Domain, Host, ReversePath};

use crate::attachments::{Attachment, Attachments};
use crate::check::{Check, Rule, Stage};
use crate::dns::Dns;
use crate::early::{Early, Manners, Pause};
use crate::greylist::Greylist;
use crate::letter::Letter;
use crate::lists::Lists;
use crate::reading::Reading;
use crate::screening::{Found, Screening};
use crate::services::Services;
use crate::turns::{Turn, Turns};
use crate::verdict::Outcome;
use crate::{Forgeries, envelope, message};

/// Asks what the operator's list says, or a part of it: see [`Screener::only`].
pub struct Screener {
    common: Arc<Common>,
    /// For each rule whether it is asked here.
    asked: Vec<bool>,
}

/// One for all who ask: what is remembered, and how many are asked about at a time.
struct Common {
    host: Domain,
    rules: Vec<Rule>,
    lists: Lists,
    attachments: Arc<[Attachment]>,
    greylist: Greylist,
    early: Early,
    services: Services,
    dns: Dns,
    turns: Turns,
}

/// What the operator has written.
pub struct Policy {
    /// What is asked, in this order.
    pub rules: Vec<Rule>,
    /// The DNS lists that [`Check::Lists`] asks.
    pub lists: Lists,
    /// What [`Check::Attachments`] does not want; of several that a message meets the gravest counts.
    pub attachments: Vec<Attachment>,
    /// Whom [`Check::Rspamd`], [`Check::Milter`] and [`Check::Hook`] ask.
    pub services: Services,
    /// After how long somebody new may come back.
    pub greylist_delay: Duration,
    /// How many of them are remembered.
    pub greylist_senders: usize,
    /// For how long the greeting of a stranger is held back for [`Check::Early`].
    pub early_wait: Duration,
    /// How many greetings are held back at a time.
    pub early_places: usize,
    /// Messages that are asked about at a time.
    pub at_once: usize,
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
    /// It has delivered mail before, or the operator knows it.
    pub is_known: bool,
    /// How it has behaved before its greeting.
    pub manners: Manners,
}

/// The same, as the protocols want it.
pub(crate) struct Sender<'c> {
    pub(crate) ip: IpAddr,
    pub(crate) helo: &'c str,
    /// The reverse-path without brackets; empty for none.
    pub(crate) mail_from: String,
    /// Its domain, or the client's name where there is none (RFC 7208 §2.4); empty where neither is a name.
    pub(crate) domain: String,
    pub(crate) is_known: bool,
    pub(crate) manners: Manners,
}

impl Screener {
    /// Goes by this policy, for the host of this name.
    pub fn new(host: Domain, policy: Policy, dns: Dns) -> Self {
        let Policy { rules, lists, attachments, services, greylist_delay, greylist_senders, early_wait, early_places, at_once } = policy;
        let (greylist, turns) = (Greylist::new(greylist_delay, greylist_senders), Turns::new(at_once));
        let asked = vec![true; rules.len()];
        let common = Common {
            host,
            rules,
            lists,
            attachments: attachments.into(),
            greylist,
            early: Early::new(early_wait, early_places),
            services,
            dns,
            turns,
        };
        Self { common: Arc::new(common), asked }
    }

    /// One that asks only the rules that `is_asked` says yes to, by their place in the list, and shares everything else.
    pub fn only(&self, is_asked: impl Fn(usize, &Rule) -> bool) -> Self {
        let asked = self.common.rules.iter().zip(&self.asked).enumerate().map(|(number, (rule, asked))| *asked && is_asked(number, rule));
        Self { asked: asked.collect(), common: Arc::clone(&self.common) }
    }

    /// Whether anything is asked here.
    pub fn asks(&self) -> bool {
        self.asked.contains(&true)
    }

    /// All rules there are, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.common.rules
    }

    /// Takes out of a message what only we may write.
    pub fn forgeries(&self) -> Forgeries {
        Forgeries::new(self.common.host.clone())
    }

    /// Watches a message pass for the checks that there are.
    pub fn reading(&self) -> Reading {
        let asks = self.of(Stage::Message).any(|(_, rule)| rule.check == Check::Attachments);
        if asks { Reading::with(Attachments::new(Arc::clone(&self.common.attachments))) } else { Reading::new() }
    }

    /// Before a stranger is greeted: for how long that is to be held back; nothing, where it is not.
    pub fn pause(&self) -> Option<Pause<'_>> {
        let asks = self.of(Stage::Envelope).any(|(_, rule)| rule.check == Check::Early);
        if asks { self.common.early.pause() } else { None }
    }

    /// Asks what is known at MAIL.
    pub async fn envelope(&self, client: Client<'_>) -> Screening {
        let (sender, mut screening) = (Sender::new(client), Screening::default());
        let turn = self.turn(Stage::Envelope, &sender).await;
        for (number, rule) in self.of(Stage::Envelope) {
            if screening.verdict().is_final() {
                break;
            }
            let found = match turn {
                Some(_) => tokio::time::timeout(rule.timeout, envelope::ask(rule.check, self, &sender, &mut screening)).await.ok(),
                None => None,
            };
            let found = found.unwrap_or_else(|| too_late(rule));
            screening.add(rule.check, number, rule, found);
        }
        screening
    }

    /// Asks the rest when the message has passed.
    pub async fn message(&self, client: Client<'_>, mut screening: Screening, reading: Reading, letter: &mut Letter<'_>) -> Screening {
        let sender = Sender::new(client);
        // What MAIL has decided needs no turn: others wait for it.
        let turn = if screening.verdict().is_final() { None } else { self.turn(Stage::Message, &sender).await };
        let text = reading.finish();
        let message = text.message();
        let mut asked = message::Message::new(self, &sender, &text, message.as_ref());
        for (number, rule) in self.of(Stage::Message) {
            if screening.verdict().is_final() {
                break;
            }
            let found = match turn {
                Some(_) => {
                    asked.look_up_client(rule.check).await;
                    tokio::time::timeout(rule.timeout, asked.ask(rule.check, &mut screening, letter)).await.ok()
                }
                None => None,
            };
            let found = found.unwrap_or_else(|| Found { policy: asked.known(rule.check), ..too_late(rule) });
            screening.add(rule.check, number, rule, found);
        }
        screening.results = asked.results(&screening);
        screening
    }

    pub(crate) fn host(&self) -> &str {
        self.common.host.as_str()
    }

    pub(crate) fn dns(&self) -> &Dns {
        &self.common.dns
    }

    pub(crate) fn greylist(&self) -> &Greylist {
        &self.common.greylist
    }

    pub(crate) fn services(&self) -> &Services {
        &self.common.services
    }

    pub(crate) fn lists(&self) -> &Lists {
        &self.common.lists
    }

    /// Waits for a turn as long as the most patient rule of the stage would wait for an answer.
    async fn turn(&self, stage: Stage, sender: &Sender<'_>) -> Option<Turn<'_>> {
        let patience = self.of(stage).map(|(_, rule)| rule.timeout).max()?;
        tokio::time::timeout(patience, self.common.turns.take(sender.ip)).await.ok()?
    }

    fn of(&self, stage: Stage) -> impl Iterator<Item = (usize, &Rule)> {
        let asked = self.common.rules.iter().zip(&self.asked).enumerate();
        asked.filter(move |(_, (rule, asked))| **asked && rule.check.stage() == stage).map(|(number, (rule, _))| (number, rule))
    }
}

impl<'c> Sender<'c> {
    pub(crate) fn new(client: Client<'c>) -> Self {
        let (mail_from, domain) = match client.reverse_path {
            ReversePath::Null => (String::new(), named(client.helo.parse().ok())),
            ReversePath::Mailbox(mailbox) => (mailbox.to_string(), named(Some(mailbox.host().clone()))),
        };
        Self { ip: client.ip.to_canonical(), helo: client.helo, mail_from, domain, is_known: client.is_known, manners: client.manners }
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
