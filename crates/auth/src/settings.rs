//! The table `[auth]` of the configuration.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use argon2::Params;
use mail::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How passwords are kept and compared, and what happens to those who guess. The limits on failures, the delays and `scram` can be changed while
/// the server runs; the others need a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Memory that one password hash (Argon2id) takes. More makes guessing from a stolen file dearer. A hash that is stored already is made
    /// anew when its owner logs in; until the last one has been, each wrong password takes the time of the old and of the new. At least
    /// 8KiB, and a multiple of 1KiB.
    pub hash_memory: ByteSize,

    /// Passes over that memory; stored hashes follow as for hash_memory.
    pub hash_passes: NonZeroU32,

    /// Whether SCRAM-SHA-256, and SCRAM-SHA-256-PLUS under TLS 1.3, are offered beside PLAIN and LOGIN: the password itself is not sent. It
    /// takes a verifier of the password, kept beside its hash and cheaper to guess from than that, should the file be stolen. The
    /// verifier is made when a password is set, and when somebody logs in by PLAIN, LOGIN or USER who has none yet. SCRAM is offered
    /// when the last account has one, from the next session on, because a program that prefers it does not try another; `gatepost user
    /// list` says who has none. With false none is made, and those that are there stay.
    pub scram: bool,

    /// How many passwords are compared at once; each takes a processor and hash_memory for some ten milliseconds.
    pub concurrent_hashes: NonZeroU32,

    /// How many more may wait for that. Beyond it a client is told to come back later.
    pub waiting_hashes: u32,

    /// How many wrong passwords in a row an account may see before further attempts are refused without looking at the password. The right
    /// password is still taken from a source that has used it within `remember`, so that others who guess do not lock people out.
    pub failures_per_account: NonZeroU32,

    /// After how long an account gets one more attempt.
    pub account_recovery: Span,

    /// How many wrong passwords may come from one source, an IPv4 address or an IPv6 /64, before further attempts are refused.
    pub failures_per_source: NonZeroU32,

    /// After how long a source gets one more attempt.
    pub source_recovery: Span,

    /// How long the answer to a first wrong password is held back; it doubles with each further one.
    pub first_delay: Span,

    /// The longest that an answer is held back.
    pub longest_delay: Span,

    /// For how long a right password is recognised again without computing its hash, for programs that log in every minute. "0s" never.
    pub remember: Span,
}

impl Default for Settings {
    fn default() -> Self {
        const fn count(n: u32) -> NonZeroU32 {
            NonZeroU32::MIN.saturating_add(n - 1)
        }
        Self {
            // What OWASP recommends for Argon2id with one lane.
            hash_memory: ByteSize::mib(19),
            hash_passes: count(2),
            scram: true,
            concurrent_hashes: count(4),
            waiting_hashes: 256,
            failures_per_account: count(10),
            account_recovery: Span::mins(1),
            failures_per_source: count(30),
            source_recovery: Span::secs(10),
            first_delay: Span(Duration::from_millis(500)),
            longest_delay: Span::secs(8),
            remember: Span::mins(10),
        }
    }
}

impl Settings {
    /// Every fault in these settings; none when they can be used.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !self.hash_memory.0.is_multiple_of(1024) {
            faults.push(Fault { key: "hash_memory", message: format!("{} is not a multiple of 1KiB", self.hash_memory) });
        } else if let Err(error) = self.params() {
            faults.push(Fault { key: "hash_memory", message: format!("{} cannot be used: {error}", self.hash_memory) });
        }
        for (key, span) in [("account_recovery", self.account_recovery), ("source_recovery", self.source_recovery)] {
            if span.0.is_zero() || span.0 > LONGEST {
                faults.push(Fault { key, message: format!("{span} must be more than 0s and at most {}", Span(LONGEST)) });
            }
        }
        for (key, span) in [("first_delay", self.first_delay), ("longest_delay", self.longest_delay), ("remember", self.remember)] {
            if span.0 > LONGEST {
                faults.push(Fault { key, message: format!("{span} must be at most {}", Span(LONGEST)) });
            }
        }
        if self.first_delay > self.longest_delay {
            let message = format!("{} must be at most longest_delay, which is {}", self.first_delay, self.longest_delay);
            faults.push(Fault { key: "first_delay", message });
        }
        faults
    }

    pub(crate) fn params(&self) -> Result<Params, argon2::Error> {
        let memory_kib = u32::try_from(self.hash_memory.0 / 1024).map_err(|_| argon2::Error::MemoryTooMuch)?;
        Params::new(memory_kib, self.hash_passes.get(), 1, None)
    }
}

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key to change, as written in the table.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// No span here has a use beyond a day.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let settings: Settings = toml::from_str("hash_memory = \"64MiB\"\nremember = \"0s\"").unwrap();
        assert_eq!((settings.hash_memory, settings.remember), (ByteSize::mib(64), Span::secs(0)));
        let written = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&written), Ok(settings));
        assert!(toml::from_str::<Settings>("hash_memroy = \"64MiB\"").is_err());
        assert_eq!(Settings::default().validate(), []);
    }

    #[test]
    fn every_fault_is_named() {
        let faulty = Settings {
            hash_memory: ByteSize::kib(1),
            account_recovery: Span::secs(0),
            first_delay: Span::secs(9),
            remember: Span::mins(60 * 25),
            ..Settings::default()
        };
        let keys: Vec<_> = faulty.validate().into_iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["hash_memory", "account_recovery", "remember", "first_delay"]);
        assert_eq!(Settings { hash_memory: ByteSize(19_000_001), ..Settings::default() }.validate().len(), 1);
    }
}
