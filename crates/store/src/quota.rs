//! How much a maildrop may hold, and how much is in it.
//!
//! An account's own word goes before its domain's, octets and messages each for themselves; where neither says anything there is no limit.
//! Plain values: who counts, and when, is the engine's affair.

use std::fmt;

use mail::ByteSize;

/// One limit, as it was said of an account or a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Nothing was said: an account has its domain's, a domain has none.
    #[default]
    Unsaid,
    /// As much as there is room for.
    None,
    /// So much and no more.
    At(u64),
}

/// What was said of an account or a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Octets, as POP3 counts them.
    pub octets: Limit,
    /// Messages.
    pub messages: Limit,
}

/// What is to be said from now on; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaChange {
    /// Octets, as POP3 counts them.
    pub octets: Option<Limit>,
    /// Messages.
    pub messages: Option<Limit>,
}

/// What a maildrop may hold, where there is a limit at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Octets, as POP3 counts them.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

/// What is in a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Octets, as POP3 counts them.
    pub octets: u64,
    /// Messages.
    pub messages: u64,
}

impl Limit {
    fn or(self, other: Self) -> Option<u64> {
        match (self, other) {
            (Self::At(most), _) | (Self::Unsaid, Self::At(most)) => Some(most),
            _ => None,
        }
    }
}

impl Quota {
    /// What an account may hold of which this was said, and `domain` of its domain.
    pub fn or(self, domain: Self) -> Option<Allowance> {
        let allowance = Allowance { octets: self.octets.or(domain.octets), messages: self.messages.or(domain.messages) };
        (allowance.octets.is_some() || allowance.messages.is_some()).then_some(allowance)
    }

    /// After a change.
    #[must_use]
    pub fn with(self, change: QuotaChange) -> Self {
        Self { octets: change.octets.unwrap_or(self.octets), messages: change.messages.unwrap_or(self.messages) }
    }
}

impl Allowance {
    /// Whether a message of `octets` more fits, or one of any size where that is not known, which is 0.
    pub fn admits(self, load: Load, octets: u64) -> bool {
        self.octets.is_none_or(|most| load.octets.saturating_add(octets.max(1)) <= most)
            && self.messages.is_none_or(|most| load.messages < most)
    }

    /// Whether so many percent of it are used, of octets or of messages.
    pub fn is_used_to(self, percent: u8, load: Load) -> bool {
        let reached =
            |load: u64, most: Option<u64>| most.is_some_and(|most| u128::from(load) * 100 >= u128::from(most) * u128::from(percent));
        reached(load.octets, self.octets) || reached(load.messages, self.messages)
    }
}

impl fmt::Display for Load {
    /// As in `1024 octets in 2 messages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets in {} messages", self.octets, self.messages)
    }
}

impl fmt::Display for Allowance {
    /// As in `2GiB and 10000 messages`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.octets.map(ByteSize), self.messages) {
            (Some(octets), Some(messages)) => write!(f, "{octets} and {messages} messages"),
            (Some(octets), None) => octets.fmt(f),
            (None, Some(messages)) => write!(f, "{messages} messages"),
            (None, None) => f.write_str("no limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_own_word_goes_before_its_domains() {
        let quota = |octets, messages| Quota { octets, messages };
        let domain = quota(Limit::At(1000), Limit::Unsaid);
        for (own, expected) in [
            (Quota::default(), Some((Some(1000), None))),
            (quota(Limit::At(5), Limit::At(2)), Some((Some(5), Some(2)))),
            (quota(Limit::None, Limit::At(2)), Some((None, Some(2)))),
            (quota(Limit::None, Limit::None), None),
        ] {
            assert_eq!(own.or(domain).map(|allowance| (allowance.octets, allowance.messages)), expected, "{own:?}");
        }
        assert_eq!(Quota::default().or(Quota::default()), None);
    }

    #[test]
    fn what_fits_and_what_is_nearly_full() {
        let allowance = Allowance { octets: Some(100), messages: Some(10) };
        let load = |octets, messages| Load { octets, messages };
        for (load, size, admitted, nearly_full) in [
            (load(0, 0), 100, true, false),
            (load(0, 0), 101, false, false),
            (load(89, 8), 0, true, false),
            (load(90, 8), 10, true, true),
            (load(90, 8), 11, false, true),
            (load(0, 9), 1, true, true),
            (load(0, 10), 1, false, true),
            (load(100, 1), 0, false, true),
            (load(u64::MAX, 1), u64::MAX, false, true),
        ] {
            assert_eq!((allowance.admits(load, size), allowance.is_used_to(90, load)), (admitted, nearly_full), "{load} and {size}");
        }
    }
}
