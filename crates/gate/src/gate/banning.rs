//! Bans, and who is never banned: whoever the operator lets in by name goes before every ban.
//!
//! That is who is in `clients`, and every network the server was told of by [`Gate::let_in`]: trusted proxies, those who may relay. An
//! automatic ban is made where more has gone wrong from one source than `ban_after` allows, by sessions that have shown no password.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::Gate;
use crate::bans::{Ban, BanRefused, BanUse};
use crate::network::Networks;
use crate::rules::Rules;
use crate::source::{Level, Source};

impl Gate {
    /// Networks that are never banned, each with the key that it is written under. They replace those told before; `clients` are known.
    pub fn let_in(&self, networks: impl IntoIterator<Item = (IpNet, &'static str)>) {
        self.let_in.store(Arc::new(networks.into_iter().collect()));
    }

    /// Lets nobody in from a network, for a time; who is in stays in.
    ///
    /// # Errors
    /// See [`BanRefused`].
    pub fn ban(&self, ban: Ban, now: Instant) -> Result<(), BanRefused> {
        if let Some((network, by)) = self.allows(&self.rules.load(), ban.network) {
            return Err(BanRefused::LetIn { network, by });
        }
        self.bans.add(ban, now)?;
        self.bans_changed.notify_one();
        Ok(())
    }

    /// Ends a ban; whether there was one of just this network.
    pub fn unban(&self, network: IpNet, now: Instant) -> bool {
        let was_banned = self.bans.remove(network, now);
        self.bans_changed.notify_one();
        was_banned
    }

    /// The bans in force, in the order of their networks.
    pub fn bans(&self, now: Instant) -> Vec<BanUse> {
        self.bans.all(now)
    }

    /// When bans have changed since this was last done. May be dropped.
    pub async fn bans_changed(&self) {
        self.bans_changed.notified().await;
    }

    /// So many commands of a session that has shown no password have failed. The ban that comes of it, where one does.
    pub fn failed(&self, peer: IpAddr, failures: u32, now: Instant) -> Option<Ban> {
        let rules = self.rules.load();
        let network = Source::from(peer).prefix(Level::Address)?;
        let is_too_much = self.ban_rate.is_on() && self.ban_rate.take(network, failures, now).is_err();
        // Who was banned while connected goes on failing.
        if !is_too_much || self.bans.holds(network.addr(), now) {
            return None;
        }
        let reason = format!("more commands failed than gate.ban_after allows, {}", rules.settings.ban_after);
        let ban = Ban { network, reason: reason.into(), until: now + rules.settings.ban_time.0, is_automatic: true };
        self.ban(ban.clone(), now).ok().map(|()| ban)
    }

    /// The ban that `source` is under and that nothing goes before.
    pub(super) fn banned(&self, source: Source, now: Instant) -> Option<Ban> {
        let is_let_in = self.let_in.load().find(source.address(), |_| true).is_some();
        if is_let_in { None } else { self.bans.meet(source.address(), now) }
    }

    /// What lets in some of `network`, if anything does: a network of the same kind within it or around it.
    fn allows(&self, rules: &Rules, network: IpNet) -> Option<(IpNet, String)> {
        let overlaps = |other: &IpNet| other.contains(&network) || network.contains(other);
        let told = self.let_in.load();
        let by_key = told.iter().find(|(other, _)| overlaps(other)).map(|(other, key)| (*other, (*key).to_owned()));
        by_key.or_else(|| {
            let today = self.day();
            let clients = rules.clients.in_use(today).into_iter().filter(|client| !client.expired).map(|client| client.settings);
            let mut networks = clients.flat_map(|client| client.networks.into_iter().map(move |network| (network.0, client.name.clone())));
            networks.find(|(other, _)| overlaps(other)).map(|(other, name)| (other, format!("gate.clients, {name:?}")))
        })
    }
}

/// Networks that are let in, each by the key it is written under.
pub(super) type LetIn = Networks<&'static str>;
