//! How much mail, and how many failed commands: per source, per account and per sender domain.
//!
//! A limit is a [`Measure`] and a [`Scope`]; its [key](Limit::path) in the configuration is also its label in metrics and its row
//! in the documentation. Every scope that is known of a sender is asked, narrowest first in the order of the text; one that refuses gives the
//! others back what they took. A limit in shadow refuses nobody: it counts whom it would have refused, and takes nothing from them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, AtomicU64};
use std::time::{Duration, Instant};

use mail::{Rate, Span};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Limiter, Settings};
use crate::denial::seconds;
use crate::pool::{Draw, Place, Pool, Size};
use crate::source::{Level, Source};

/// The rates of messages, recipients, octets and failed commands.
#[derive(Debug)]
pub struct MailRates {
    /// In the order of [`Limit::ALL`].
    limiters: [Limiter; LIMITS],
    /// A [`Limits`].
    shadow: AtomicU16,
    in_shadow: [AtomicU64; LIMITS],
    tarpit: Arc<Pool>,
    tarpit_millis: AtomicU64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Messages begun: MAIL.
    Messages,
    /// Recipients: RCPT.
    Recipients,
    /// KiB of messages.
    Kib,
    /// Failed commands.
    FailedCommands,
}

/// Whom it is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// An IPv4 address or IPv6 /64.
    Source,
    /// Who has authenticated.
    Account,
    /// The domain of MAIL FROM.
    SenderDomain,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// What is counted.
    pub measure: Measure,
    /// For whom.
    pub scope: Scope,
}

/// Some of the limits: those that are meant; or those that have taken what they were asked for, where the others are in shadow and
/// would have refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(u16);

/// Who sends, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'s> {
    /// From where; `None` of a client that [no limit by source](crate::Gate::is_exempt) holds for.
    pub source: Option<Source>,
    /// Who has authenticated.
    pub account: Option<&'s str>,
    /// The domain of MAIL FROM.
    pub domain: Option<&'s str>,
}

/// A rate was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} exceeded, again in {} seconds", .limit.key(), .wait.as_secs())]
pub struct RateExceeded {
    /// Which.
    pub limit: Limit,
    /// After how long to try again.
    pub wait: Duration,
}

impl RateExceeded {
    /// The seconds to tell a client: once they are over it may try again.
    pub fn retry_seconds(&self) -> u32 {
        seconds(self.wait).saturating_add(1)
    }
}

impl MailRates {
    /// The rates that `settings` name.
    pub fn new(settings: &Settings) -> Self {
        Self {
            limiters: Limit::ALL.map(|limit| Limiter::new(limit.rate(settings), settings.keys())),
            shadow: AtomicU16::new(Limits::of(&settings.shadow).0),
            in_shadow: std::array::from_fn(|_| AtomicU64::new(0)),
            tarpit: Arc::new(Pool::new(Size::of(settings.tarpit_places))),
            tarpit_millis: AtomicU64::new(millis(settings.tarpit)),
        }
    }

    /// Puts other rates in force.
    pub fn apply(&self, settings: &Settings) {
        self.limiters.iter().zip(Limit::ALL).for_each(|(limiter, limit)| limiter.apply(limit.rate(settings)));
        self.shadow.store(Limits::of(&settings.shadow).0, Relaxed);
        self.tarpit.resize(Size::of(settings.tarpit_places));
        self.tarpit_millis.store(millis(settings.tarpit), Relaxed);
    }

    /// For how long an answer is to be held back, and the place to keep meanwhile; none without a tarpit, or when it is full.
    pub fn hold_back(&self) -> Option<(Place, Duration)> {
        let time = Duration::from_millis(self.tarpit_millis.load(Relaxed));
        if time.is_zero() { None } else { Some((self.tarpit.acquire(Draw::General).ok()?, time)) }
    }

    /// Sessions whose answer is held back.
    pub fn held_back(&self) -> u32 {
        self.tarpit.usage().in_use
    }

    /// Whether there is any limit on it.
    pub fn counts(&self, measure: Measure) -> bool {
        Limit::ALL.iter().zip(&self.limiters).any(|(limit, limiter)| limit.measure == measure && limiter.is_on())
    }

    /// Takes `n` of what is measured, for everything that is known of the sender. Says by which limits it was taken: all that were
    /// asked, but for those in shadow that were met.
    ///
    /// # Errors
    /// The first limit met that is not in shadow; nothing was taken.
    pub fn take(&self, measure: Measure, n: u32, sender: &Sender<'_>, now: Instant) -> Result<Limits, RateExceeded> {
        let mut taken = Limits::NONE;
        for (limit, limiter, key) in self.asked(measure, sender) {
            match limiter.take(key, n, now) {
                Ok(()) => taken = taken.and(limit),
                Err(wait) => self.met(limit, wait).inspect_err(|_| self.give_back(measure, n, sender, taken))?,
            }
        }
        Ok(taken)
    }

    /// Whether one could be taken, by `limits`: who comes to be known little by little is asked for each time only what is new, so that
    /// a limit in shadow counts nobody twice.
    ///
    /// # Errors
    /// The first limit met that is not in shadow.
    pub fn look(&self, measure: Measure, sender: &Sender<'_>, limits: Limits, now: Instant) -> Result<(), RateExceeded> {
        let mut concerned = self.asked(measure, sender).filter(|(limit, ..)| limits.hold(*limit));
        concerned.try_for_each(|(limit, limiter, key)| limiter.look(key, now).or_else(|wait| self.met(limit, wait)))
    }

    /// Takes what was had without being asked for, by `limits`.
    pub fn owe(&self, measure: Measure, n: u32, sender: &Sender<'_>, limits: Limits, now: Instant) {
        let concerned = self.asked(measure, sender).filter(|(limit, ..)| limits.hold(*limit));
        concerned.for_each(|(_, limiter, key)| limiter.owe(key, n, now));
    }

    /// Makes up, by `limits`, for what was had beside what was asked for: [`MailRates::take`] was asked for `asked`, and it came to `had`.
    pub fn settle(&self, measure: Measure, asked: u32, had: u32, sender: &Sender<'_>, limits: Limits, now: Instant) {
        let concerned = self.asked(measure, sender).filter(|(limit, ..)| limits.hold(*limit));
        concerned.for_each(|(_, limiter, key)| limiter.settle(key, asked, had, now));
    }

    /// Gives back what was taken in vain, by `limits`.
    pub fn give_back(&self, measure: Measure, n: u32, sender: &Sender<'_>, limits: Limits) {
        let concerned = self.asked(measure, sender).filter(|(limit, ..)| limits.hold(*limit));
        concerned.for_each(|(_, limiter, key)| limiter.give_back(key, n));
    }

    /// How often each limit, in shadow, would have refused somebody.
    pub fn in_shadow(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().zip(&self.in_shadow).map(|(limit, count)| (limit, count.load(Relaxed)))
    }

    /// A limit was met: that is a refusal, unless the limit is in shadow.
    fn met(&self, limit: Limit, wait: Duration) -> Result<(), RateExceeded> {
        if !Limits(self.shadow.load(Relaxed)).hold(limit) {
            return Err(RateExceeded { limit, wait });
        }
        if let Some(count) = self.in_shadow.get(limit.place()) {
            count.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// The limits in force that concern a sender, and who it is to each of them.
    fn asked<'a>(&'a self, measure: Measure, sender: &'a Sender<'_>) -> impl Iterator<Item = (Limit, &'a Limiter, Key<'a>)> {
        let of_measure =
            Limit::ALL.into_iter().zip(&self.limiters).filter(move |(limit, limiter)| limit.measure == measure && limiter.is_on());
        of_measure.filter_map(|(limit, limiter)| Some((limit, limiter, limit.scope.key(sender)?)))
    }
}

impl Limit {
    /// Every one.
    pub const ALL: [Self; LIMITS] = {
        use {Measure::*, Scope::*};
        const fn of(measure: Measure, scope: Scope) -> Limit {
            Limit { measure, scope }
        }
        [
            of(Messages, Source),
            of(Messages, Account),
            of(Messages, SenderDomain),
            of(Recipients, Source),
            of(Recipients, Account),
            of(Recipients, SenderDomain),
            of(Kib, Source),
            of(Kib, Account),
            of(Kib, SenderDomain),
            of(FailedCommands, Source),
            of(FailedCommands, Account),
            of(FailedCommands, SenderDomain),
        ]
    };

    /// Its key in its table of the configuration.
    pub fn key(self) -> &'static str {
        self.path().split_once('.').map_or_else(|| self.path(), |(_table, key)| key)
    }

    /// The key with its table, which is its label in metrics.
    pub fn path(self) -> &'static str {
        match (self.measure, self.scope) {
            (Measure::Messages, Scope::Source) => "rates.messages_per_source",
            (Measure::Messages, Scope::Account) => "rates.messages_per_account",
            (Measure::Messages, Scope::SenderDomain) => "rates.messages_per_sender_domain",
            (Measure::Recipients, Scope::Source) => "rates.recipients_per_source",
            (Measure::Recipients, Scope::Account) => "rates.recipients_per_account",
            (Measure::Recipients, Scope::SenderDomain) => "rates.recipients_per_sender_domain",
            (Measure::Kib, Scope::Source) => "rates.bytes_per_source",
            (Measure::Kib, Scope::Account) => "rates.bytes_per_account",
            (Measure::Kib, Scope::SenderDomain) => "rates.bytes_per_sender_domain",
            (Measure::FailedCommands, Scope::Source) => "rates.failed_commands_per_source",
            (Measure::FailedCommands, Scope::Account) => "rates.failed_commands_per_account",
            (Measure::FailedCommands, Scope::SenderDomain) => "rates.failed_commands_per_sender_domain",
        }
    }

    /// Where it stands in [`Limit::ALL`].
    fn place(self) -> usize {
        self.measure as usize * Scope::NUMBER + self.scope as usize
    }

    pub(super) fn rate(self, settings: &Settings) -> Rate {
        match (self.measure, self.scope) {
            (Measure::Messages, Scope::Source) => settings.messages_per_source,
            (Measure::Messages, Scope::Account) => settings.messages_per_account,
            (Measure::Messages, Scope::SenderDomain) => settings.messages_per_sender_domain,
            (Measure::Recipients, Scope::Source) => settings.recipients_per_source,
            (Measure::Recipients, Scope::Account) => settings.recipients_per_account,
            (Measure::Recipients, Scope::SenderDomain) => settings.recipients_per_sender_domain,
            (Measure::Kib, Scope::Source) => settings.bytes_per_source.kib(),
            (Measure::Kib, Scope::Account) => settings.bytes_per_account.kib(),
            (Measure::Kib, Scope::SenderDomain) => settings.bytes_per_sender_domain.kib(),
            (Measure::FailedCommands, Scope::Source) => settings.failed_commands_per_source,
            (Measure::FailedCommands, Scope::Account) => settings.failed_commands_per_account,
            (Measure::FailedCommands, Scope::SenderDomain) => settings.failed_commands_per_sender_domain,
        }
    }
}

impl Limits {
    /// All of them.
    pub const ALL: Self = Self((1 << LIMITS) - 1);
    const NONE: Self = Self(0);

    /// Those of one scope.
    pub fn in_scope(scope: Scope) -> Self {
        Limit::ALL.into_iter().filter(|limit| limit.scope == scope).fold(Self::NONE, Self::and)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    fn of(limits: &[Limit]) -> Self {
        limits.iter().fold(Self::NONE, |limits, limit| limits.and(*limit))
    }

    fn and(self, limit: Limit) -> Self {
        Self(self.0 | 1 << limit.place())
    }

    fn hold(self, limit: Limit) -> bool {
        self.0 & 1 << limit.place() != 0
    }
}

impl Scope {
    const NUMBER: usize = 3;

    fn key<'s>(self, sender: &'s Sender<'_>) -> Option<Key<'s>> {
        match self {
            Self::Source => sender.source?.prefix(Level::Address).map(Key::Prefix),
            Self::Account => sender.account.map(Key::Name),
            Self::SenderDomain => sender.domain.map(Key::Domain),
        }
    }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

/// Whom a limiter counts for.
#[derive(Clone, Copy)]
enum Key<'s> {
    Prefix(ipnet::IpNet),
    Name(&'s str),
    /// As DNS has it, whatever the case.
    Domain(&'s str),
}

impl std::hash::Hash for Key<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Prefix(prefix) => prefix.hash(state),
            Self::Name(name) => name.hash(state),
            Self::Domain(domain) => domain.bytes().for_each(|octet| state.write_u8(octet.to_ascii_lowercase())),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.key())
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Cow::<'_, str>::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|limit| limit.key() == key);
        known.ok_or_else(|| D::Error::custom(format_args!("{key:?} is no rate that can be in shadow, as messages_per_source is")))
    }
}

impl JsonSchema for Limit {
    fn schema_name() -> Cow<'static, str> {
        "RateLimit".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::key) })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

const LIMITS: usize = 12;

#[cfg(test)]
mod tests;
