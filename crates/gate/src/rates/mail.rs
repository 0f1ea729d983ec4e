//! How much mail, and how many failed commands: per source, per account and per sender domain.
//!
//! A limit is a [`Measure`] and a [`Scope`]; its [key](Limit::key) in the configuration is also its label in metrics and its row
//! in the documentation. Every scope that is known of a sender is asked, narrowest first in the order of the text; one that refuses gives the
//! others back what they took.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mail::{Rate, Span};

use super::{Limiter, Settings};
use crate::pool::{Draw, Place, Pool, Size};
use crate::source::{Level, Source};

/// The rates of messages, recipients, octets and failed commands.
#[derive(Debug)]
pub struct MailRates {
    /// In the order of [`Limit::ALL`].
    limiters: [Limiter; LIMITS],
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

/// Who sends, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'s> {
    /// From where.
    pub source: Source,
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

impl MailRates {
    /// The rates that `settings` name.
    pub fn new(settings: &Settings) -> Self {
        Self {
            limiters: Limit::ALL.map(|limit| Limiter::new(limit.rate(settings), settings.keys())),
            tarpit: Arc::new(Pool::new(Size::of(settings.tarpit_places))),
            tarpit_millis: AtomicU64::new(millis(settings.tarpit)),
        }
    }

    /// Puts other rates in force.
    pub fn apply(&self, settings: &Settings) {
        self.limiters.iter().zip(Limit::ALL).for_each(|(limiter, limit)| limiter.apply(limit.rate(settings)));
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

    /// Takes `n` of what is measured, for everything that is known of the sender.
    ///
    /// # Errors
    /// The first limit met; nothing was taken.
    pub fn take(&self, measure: Measure, n: u32, sender: &Sender<'_>, now: Instant) -> Result<(), RateExceeded> {
        for (at, (limit, limiter, key)) in self.asked(measure, sender).enumerate() {
            if let Err(wait) = limiter.take(key, n, now) {
                self.asked(measure, sender).take(at).for_each(|(_, limiter, key)| limiter.give_back(key, n));
                return Err(RateExceeded { limit, wait });
            }
        }
        Ok(())
    }

    /// Whether one could be taken.
    ///
    /// # Errors
    /// The first limit met.
    pub fn look(&self, measure: Measure, sender: &Sender<'_>, now: Instant) -> Result<(), RateExceeded> {
        let met = self.asked(measure, sender).find_map(|(limit, limiter, key)| Some((limit, limiter.look(key, now).err()?)));
        met.map_or(Ok(()), |(limit, wait)| Err(RateExceeded { limit, wait }))
    }

    /// Takes what was had without being asked for.
    pub fn owe(&self, measure: Measure, n: u32, sender: &Sender<'_>, now: Instant) {
        self.asked(measure, sender).for_each(|(_, limiter, key)| limiter.owe(key, n, now));
    }

    /// Gives back what was taken in vain.
    pub fn give_back(&self, measure: Measure, n: u32, sender: &Sender<'_>) {
        self.asked(measure, sender).for_each(|(_, limiter, key)| limiter.give_back(key, n));
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

    /// Its key in the configuration, its label in metrics.
    pub fn key(self) -> &'static str {
        match (self.measure, self.scope) {
            (Measure::Messages, Scope::Source) => "messages_per_source",
            (Measure::Messages, Scope::Account) => "messages_per_account",
            (Measure::Messages, Scope::SenderDomain) => "messages_per_sender_domain",
            (Measure::Recipients, Scope::Source) => "recipients_per_source",
            (Measure::Recipients, Scope::Account) => "recipients_per_account",
            (Measure::Recipients, Scope::SenderDomain) => "recipients_per_sender_domain",
            (Measure::Kib, Scope::Source) => "bytes_per_source",
            (Measure::Kib, Scope::Account) => "bytes_per_account",
            (Measure::Kib, Scope::SenderDomain) => "bytes_per_sender_domain",
            (Measure::FailedCommands, Scope::Source) => "failed_commands_per_source",
            (Measure::FailedCommands, Scope::Account) => "failed_commands_per_account",
            (Measure::FailedCommands, Scope::SenderDomain) => "failed_commands_per_sender_domain",
        }
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

impl Scope {
    fn key<'s>(self, sender: &'s Sender<'_>) -> Option<Key<'s>> {
        match self {
            Self::Source => sender.source.prefix(Level::Address).map(Key::Prefix),
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
    /// Whatever the case it is written in.
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

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

const LIMITS: usize = 12;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn sender<'s>(account: Option<&'s str>, domain: &'s str) -> Sender<'s> {
        Sender { source: Source::from(IpAddr::from([192, 0, 2, 7])), account, domain: Some(domain) }
    }

    fn rates(text: &str) -> MailRates {
        MailRates::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn each_scope_counts_for_itself_and_who_refuses_gives_back() {
        let rates = rates("messages_per_account = \"2/1m\"\nmessages_per_sender_domain = \"1/1m\"");
        let now = Instant::now();
        let take = |account, domain| rates.take(Measure::Messages, 1, &sender(account, domain), now).map_err(|met| met.limit.key());
        assert_eq!(take(Some("ann"), "example.org"), Ok(()));
        for _ in 0..9 {
            assert_eq!(take(Some("ann"), "EXAMPLE.org"), Err("messages_per_sender_domain"));
        }
        assert_eq!(take(Some("ann"), "example.net"), Ok(()), "what was refused did not count for the account");
        assert_eq!(take(Some("ann"), "example.com"), Err("messages_per_account"));
        assert_eq!(take(None, "example.com"), Ok(()));
        assert_eq!(rates.take(Measure::Recipients, 1000, &sender(None, "example.org"), now), Ok(()), "no limit");
    }

    #[test]
    fn octets_beyond_what_was_announced_are_owed() {
        let (rates, start) = (rates("bytes_per_source = \"60KiB/1m\""), Instant::now());
        let take = |seconds| rates.take(Measure::Kib, 1, &sender(None, "a.example"), start + Duration::from_secs(seconds)).is_ok();
        assert!(take(0));
        rates.owe(Measure::Kib, 99, &sender(None, "a.example"), start);
        assert!(!take(0) && !take(40) && take(41));
    }

    #[test]
    fn the_tarpit_holds_no_more_than_its_places() {
        let rates = rates("tarpit = \"2s\"\ntarpit_places = 1");
        let (place, time) = rates.hold_back().unwrap();
        assert_eq!((time, rates.held_back(), rates.hold_back().is_none()), (Duration::from_secs(2), 1, true));
        drop(place);
        rates.apply(&Settings::default());
        assert!(rates.hold_back().is_none(), "none by default");
    }

    #[test]
    fn every_limit_is_a_key_of_the_table() {
        let table = serde_json::to_value(Settings::default()).unwrap();
        for limit in Limit::ALL {
            assert!(table.get(limit.key()).is_some(), "{limit}");
            let settings: Settings =
                toml::from_str(&format!("{limit} = \"{}\"", if limit.measure == Measure::Kib { "7KiB/1s" } else { "7/1s" })).unwrap();
            assert_eq!(limit.rate(&settings).burst(), 7, "{limit}");
        }
    }
}
