//! Why somebody who is in was refused something, as a value: R1 and R5 to R11, as [`Rule`](crate::Rule) is R0 to R4 at the door.
//!
//! A [`Denial`] is written down by [`Gate::deny`](crate::Gate::deny), whose token goes with the protocol's own reply. It is small,
//! copied freely and owns nothing; its `Display` is for the operator. Cannot fail.

use std::time::Duration;

use crate::delivery::Late;
use crate::limit::Limit;
use crate::rates::{self, RateExceeded};
use crate::users::UserFull;

/// The rules of a session, by the ids of the reply table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// R1: the server stops, or an operator drains it.
    #[error("the server is draining, and sessions come to an end within drain")]
    Restarting,
    /// R5: the reply to a message would come too late.
    #[error("the store would answer in {estimate_seconds} s, {deadline_seconds} s are the deadline: {ahead} messages are ahead")]
    StoreSlow {
        /// How long it would take.
        estimate_seconds: u32,
        /// How long it may take.
        deadline_seconds: u32,
        /// Messages ahead.
        ahead: u32,
    },
    /// R6: the store has no room.
    #[error("the store is full")]
    StoreFull,
    /// R7: somebody else found no place.
    #[error("somebody else found no place, and this session had rested for longest")]
    PlaceNeeded,
    /// R8: the client has missed a deadline.
    #[error("the client has taken longer than the {allowed_seconds} s it may")]
    TimedOut {
        /// The key of the deadline, with its table.
        key: &'static str,
        /// How long it might take.
        allowed_seconds: u32,
    },
    /// R9: the user has all the sessions it may.
    #[error(transparent)]
    UserFull(UserFull),
    /// R10: another session has the maildrop.
    #[error("another session has the maildrop")]
    MaildropLocked,
    /// R11: a rate of messages, recipients, octets or failed commands is spent.
    #[error("{limit} exceeded, again in {retry_seconds} s")]
    TooMuch {
        /// The rate.
        limit: rates::Limit,
        /// When one more may be, as far as this rate goes.
        retry_seconds: u32,
    },
}

impl Denial {
    /// The id, which is also the head of the token.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Restarting => "R1",
            Self::StoreSlow { .. } => "R5",
            Self::StoreFull => "R6",
            Self::PlaceNeeded => "R7",
            Self::TimedOut { .. } => "R8",
            Self::UserFull(_) => "R9",
            Self::MaildropLocked => "R10",
            Self::TooMuch { .. } => "R11",
        }
    }

    /// Whether a message is put off by it, which its client is to bring again.
    pub(crate) fn puts_off_mail(&self) -> bool {
        match self {
            Self::StoreSlow { .. } | Self::StoreFull => true,
            Self::TooMuch { limit, .. } => limit.measure != rates::Measure::FailedCommands,
            Self::Restarting | Self::PlaceNeeded | Self::TimedOut { .. } | Self::UserFull(_) | Self::MaildropLocked => false,
        }
    }

    /// The key that it comes from, with its table: `gate.sessions_per_user`, `rates.messages_per_account`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Restarting => "timeouts.drain",
            Self::StoreSlow { .. } => "delivery.deadline",
            Self::StoreFull => "store.reserve_free",
            Self::PlaceNeeded => "gate.give_way_after",
            Self::TimedOut { key, .. } => key,
            Self::UserFull(UserFull { by_rule: true, .. }) => "gate.users",
            Self::UserFull(_) => Limit::SessionsPerUser.path(),
            Self::MaildropLocked => "store.takeover_grace",
            Self::TooMuch { limit, .. } => limit.path(),
        }
    }
}

impl From<Late> for Denial {
    fn from(Late { estimate, deadline, ahead }: Late) -> Self {
        Self::StoreSlow { estimate_seconds: seconds(estimate), deadline_seconds: seconds(deadline), ahead }
    }
}

impl From<UserFull> for Denial {
    fn from(full: UserFull) -> Self {
        Self::UserFull(full)
    }
}

impl From<RateExceeded> for Denial {
    fn from(met: RateExceeded) -> Self {
        Self::TooMuch { limit: met.limit, retry_seconds: met.retry_seconds() }
    }
}

/// Whole seconds, as far as a person wants to know.
pub(crate) fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::Limit as RateLimit;

    #[test]
    fn the_ids_are_those_of_the_table_and_keys_are_written_with_their_table() {
        let full = |by_rule| Denial::UserFull(UserFull { held: 2, limit: 2, by_rule });
        let rates = RateLimit::ALL.map(|limit| Denial::from(RateExceeded { limit, wait: Duration::from_millis(1500) }));
        let late = Late { estimate: Duration::from_secs(31), deadline: Duration::from_secs(30), ahead: 7 };
        let denials = [
            ("R1", "timeouts.drain", Denial::Restarting),
            ("R5", "delivery.deadline", Denial::from(late)),
            ("R6", "store.reserve_free", Denial::StoreFull),
            ("R7", "gate.give_way_after", Denial::PlaceNeeded),
            ("R8", "timeouts.command", Denial::TimedOut { key: "timeouts.command", allowed_seconds: 300 }),
            ("R9", "gate.sessions_per_user", full(false)),
            ("R9", "gate.users", full(true)),
            ("R10", "store.takeover_grace", Denial::MaildropLocked),
            ("R11", "rates.messages_per_source", rates[0]),
        ];
        for (id, key, denial) in denials {
            assert_eq!((denial.id(), denial.key()), (id, key));
            assert!(id.len() <= mail::RULE_OCTETS);
        }
        for (limit, denial) in RateLimit::ALL.into_iter().zip(rates) {
            assert_eq!(denial.key(), format!("rates.{limit}"));
            assert_eq!(denial.to_string(), format!("{limit} exceeded, again in 2 s"));
        }
        assert_eq!(Denial::from(late).to_string(), "the store would answer in 31 s, 30 s are the deadline: 7 messages are ahead");
    }
}
