//! What the settings come to, ready to decide by: read once for each admission, replaced whole by a reload.
//!
//! A [`Trial`] is one try at an admission under them. It counts nothing itself: a client that waits for a place is tried again and
//! again, and is one connection all the same.

use std::cell::Cell;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::client::Clients;
use crate::limit::Limits;
use crate::network::Networks;
use crate::refusal::{Obstacle, Rule};
use crate::settings::Settings;
use crate::share::Share;
use crate::sources::Ceilings;

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) ceilings: Ceilings,
    pub(crate) share: Share,
    pub(crate) shadow: Limits,
    pub(crate) clients: Clients,
    pub(crate) deny: Networks<()>,
    /// Sessions about to authenticate that one source may have at once.
    pub(crate) authenticating_per_source: u32,
    pub(crate) settings: Settings,
}

impl Rules {
    /// The rules that `settings` come to, in the place of `before`. The settings have no faults.
    pub(crate) fn new(settings: Settings, before: Option<&Self>) -> Self {
        Self {
            ceilings: Ceilings::of(&settings),
            share: Share::new(settings.fair_share_alpha),
            shadow: Limits::in_shadow(&settings),
            clients: Clients::new(&settings.clients, before.map(|before| &before.clients)),
            deny: settings.deny.iter().map(|network| (network.0, ())).collect::<Networks<()>>(),
            authenticating_per_source: settings.size().authenticating.div_ceil(2),
            settings,
        }
    }

    /// The denied network that `address` is in.
    pub(crate) fn denied(&self, address: IpAddr) -> Option<IpNet> {
        self.deny.find(address, |()| true).map(|(network, ())| network)
    }
}

/// One try at an admission: the rules it is judged by, and the limits in shadow that it has met.
#[derive(Debug)]
pub(crate) struct Trial<'r> {
    pub(crate) rules: &'r Rules,
    met: Cell<Limits>,
    is_named: Cell<bool>,
}

impl<'r> Trial<'r> {
    pub(crate) fn new(rules: &'r Rules) -> Self {
        Self { rules, met: Cell::default(), is_named: Cell::default() }
    }

    /// A limit was met: that is in the way, unless the limit is in shadow.
    pub(crate) fn meet(&self, rule: Rule) -> Result<(), Rule> {
        let limit = rule.limit().filter(|limit| self.rules.shadow.hold(*limit)).ok_or(rule)?;
        self.met.set(self.met.get().with(limit));
        Ok(())
    }

    /// Whoever comes is a client of the operator's.
    pub(crate) fn name(&self) {
        self.is_named.set(true);
    }

    /// The limits in shadow that were met.
    pub(crate) fn met(&self) -> Limits {
        self.met.get()
    }

    /// The end of a try that `rule` was in the way of.
    pub(crate) fn failed(&self, rule: Rule) -> Obstacle {
        Obstacle { rule, met: self.met(), is_named: self.is_named.get() }
    }
}
