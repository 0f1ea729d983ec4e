//! The last refusals, each to be found by the token that its client was given.
//!
//! A refusal, at the door or within a session, is written down with what was true at that instant: the rule and its numbers, the pool,
//! what each prefix of the source held. Who held the most is looked up far less often, because it walks the table of sources: a record shares what was
//! found [`LOOK_EVERY`] ago or less, or longer ago where the table is so large that looking costs more.
//!
//! Guarantees: the last [`REMEMBERED`] refusals are here and no other; memory is taken once, with the first refusal, but for the
//! holders, of which there are at most [`HOLDERS`] a record. A record costs one short lock, and allocates nothing.
//!
//! Refuses a token it has no record of, and says whether it was forgotten or never given: [`Unexplained`]. Cannot fail.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mail::Token;

use crate::denial::Denial;
use crate::meaning::Meaning;
use crate::permit::ListenerId;
use crate::pool::Usage;
use crate::refusal::Rule;
use crate::source::{Level, Source};
use crate::sources::Holder;

/// What was written down about one refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What the client was given.
    pub token: Token,
    /// The rule with its numbers.
    pub cause: Cause,
    /// Who was refused.
    pub source: IpAddr,
    /// Who that had authenticated as, or was about to.
    pub account: Option<Arc<str>>,
    /// Where.
    pub listener: ListenerId,
    /// When.
    pub at: Instant,
    /// Places in use and the limit at that instant.
    pub usage: Usage,
    /// What each prefix of the source held at that instant, narrowest first; 0 where it held nothing.
    pub share: Vec<Holder>,
    /// The addresses that held the most about then, biggest first.
    pub holders: Arc<[Holder]>,
}

/// What a refusal was by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum Cause {
    /// A rule at the door: nobody came in.
    Door(#[from] Rule),
    /// A rule of the session.
    Session(#[from] Denial),
}

impl Cause {
    /// The id of the rule.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Door(rule) => rule.id(),
            Self::Session(denial) => denial.id(),
        }
    }

    /// The key that the rule comes from, if it comes from one, with its table.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Door(rule) => rule.key(),
            Self::Session(denial) => Some(denial.key()),
        }
    }

    /// What it means, for whoever runs the server.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Door(rule) => rule.meaning(),
            Self::Session(denial) => denial.meaning(),
        }
    }
}

/// Why there is nothing to say about a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// It is no token.
    #[error("{0:?} is not a token: it is what stands in the brackets at the end of a refusal, as in R4.k3f9")]
    NotAToken(String),
    /// No refusal of this process has that number.
    #[error(
        "{token} was not given since this server started: it has refused {refused} time{}; the numbers start over when the server \
         does, and another server has its own",
        if *refused == 1 { "" } else { "s" }
    )]
    NeverGiven {
        /// The token as it was asked for.
        token: String,
        /// Refusals so far.
        refused: u64,
    },
    /// Too many refusals have followed.
    #[error(
        "{token} is forgotten: only the last {remembered} refusals are remembered; the log has a line for its rule and source at that time"
    )]
    Forgotten {
        /// The token as it was asked for.
        token: String,
        /// How many are remembered.
        remembered: usize,
    },
    /// The number is right and the rule is not.
    #[error("{token} was not given; {given} was")]
    OtherRule {
        /// The token as it was asked for.
        token: String,
        /// The one with that number.
        given: String,
    },
}

/// The ring of records.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Ring>);

/// What was true when somebody was refused, for [`Ledger::record`].
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) source: Source,
    pub(crate) account: Option<Arc<str>>,
    pub(crate) listener: ListenerId,
    pub(crate) at: Instant,
    pub(crate) usage: Usage,
    /// By level, narrowest first.
    pub(crate) share: [u32; Level::ALL.len()],
}

impl Ledger {
    /// Writes a refusal down. `look` gives the biggest holders and says how many prefixes there are; it is asked when what was
    /// found last is old.
    pub(crate) fn record(&self, token: Token, cause: Cause, scene: Scene, look: impl FnOnce() -> (Vec<Holder>, usize)) {
        let mut ring = self.lock();
        let holders = ring.holders(scene.at, look);
        let place = place(token);
        if ring.records.is_empty() {
            // Written to at once: what is only promised would be taken page by page, as a flood fills it.
            ring.records = vec![None; REMEMBERED];
        }
        if let Some(record) = ring.records.get_mut(place) {
            *record = Some(Record { token, cause, scene, holders });
        }
    }

    /// What was written down for the refusal that `text` names; `refused` is how many there were so far.
    ///
    /// # Errors
    /// See [`Unexplained`].
    pub(crate) fn explain(&self, text: &str, refused: u64) -> Result<Explanation, Unexplained> {
        let token = text.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
        let Some(asked) = Token::parse(&token) else { return Err(Unexplained::NotAToken(token)) };
        let ring = self.lock();
        let record = ring.records.get(place(asked)).and_then(Option::as_ref);
        match record {
            Some(record) if record.token == asked => Ok(record.explanation()),
            Some(Record { token: given, .. }) if given.sequence() == asked.sequence() => {
                Err(Unexplained::OtherRule { token, given: given.to_string() })
            }
            _ if asked.sequence() >= refused => Err(Unexplained::NeverGiven { token, refused }),
            _ => Err(Unexplained::Forgotten { token, remembered: REMEMBERED }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Records are replaced whole, so a panic elsewhere cannot have left one half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Ring {
    /// By the refusal's number, modulo [`REMEMBERED`].
    records: Vec<Option<Record>>,
    /// When to look again, and what was found.
    looked: Option<(Instant, Arc<[Holder]>)>,
}

impl Ring {
    fn holders(&mut self, now: Instant, look: impl FnOnce() -> (Vec<Holder>, usize)) -> Arc<[Holder]> {
        if let Some((again, holders)) = &self.looked
            && now < *again
        {
            return Arc::clone(holders);
        }
        let (found, prefixes) = look();
        let holders: Arc<[Holder]> = found.into();
        let rest = LOOK_EVERY.max(LOOK_PER_PREFIX.saturating_mul(u32::try_from(prefixes).unwrap_or(u32::MAX)));
        self.looked = Some((now + rest, Arc::clone(&holders)));
        holders
    }
}

/// One refusal, as small as it can be kept.
#[derive(Clone, Debug)]
struct Record {
    token: Token,
    cause: Cause,
    scene: Scene,
    holders: Arc<[Holder]>,
}

impl Record {
    fn explanation(&self) -> Explanation {
        let Self { token, cause, holders, scene } = self.clone();
        let Scene { source, account, listener, at, usage, share } = scene;
        let share = source.prefixes().zip(share).map(|((_, prefix), sessions)| Holder { prefix, sessions }).collect();
        Explanation { token, cause, source: source.address(), account, listener, at, usage, share, holders }
    }
}

/// Where in the ring the record of a refusal is.
fn place(token: Token) -> usize {
    // What is left is less than the ring is long.
    (token.sequence() % REMEMBERED as u64) as usize
}

/// Refusals that can be explained: a busy day's, or the last seconds of a flood.
pub const REMEMBERED: usize = 1 << 16;
/// The biggest holders that are written down.
pub(crate) const HOLDERS: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// About a hundred times what looking at one prefix takes.
const LOOK_PER_PREFIX: Duration = Duration::from_micros(5);

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule::PoolFull { in_use: 9, limit: 9 };

    fn scene(at: Instant) -> Scene {
        let source = Source::from("192.0.2.7".parse::<IpAddr>().unwrap());
        Scene {
            source,
            account: None,
            listener: ListenerId(3),
            at,
            usage: Usage { in_use: 9, general: 9, limit: 9, reserve: 0 },
            share: [2, 5, 0],
        }
    }

    fn holder(prefix: &str, sessions: u32) -> Holder {
        Holder { prefix: prefix.parse().unwrap(), sessions }
    }

    fn record(ledger: &Ledger, sequence: u64, at: Instant) {
        ledger.record(Token::new("R4", sequence), RULE.into(), scene(at), || (Vec::new(), 0));
    }

    #[test]
    fn a_refusal_is_told_as_it_was() {
        let (ledger, at) = (Ledger::default(), Instant::now());
        ledger.record(Token::new("R4", 7), RULE.into(), scene(at), || (vec![holder("198.51.100.1/32", 6)], 9));
        let told = ledger.explain("R4.0007", 8).unwrap();
        assert_eq!((told.cause, told.source.to_string(), told.listener, told.at), (RULE.into(), "192.0.2.7".into(), ListenerId(3), at));
        assert_eq!((told.usage.in_use, told.share), (9, vec![holder("192.0.2.7/32", 2), holder("192.0.2.0/24", 5)]));
        assert_eq!(*told.holders, [holder("198.51.100.1/32", 6)]);
        assert!(ledger.explain(" [r4.0007]", 8).is_ok(), "as it is copied from a log, or typed");
    }

    #[test]
    fn what_cannot_be_told_has_its_reason() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        let refused = u64::try_from(REMEMBERED).unwrap() + 2;
        for sequence in 0..=u64::try_from(REMEMBERED).unwrap() {
            record(&ledger, sequence, now);
        }
        let why = |token: &str| ledger.explain(token, refused).unwrap_err();
        assert_eq!(why("k3f9"), Unexplained::NotAToken("k3f9".into()));
        assert_eq!(why("R4.zzzzzz"), Unexplained::NeverGiven { token: "R4.zzzzzz".into(), refused });
        assert!(Unexplained::NeverGiven { token: "R4.zzzzzz".into(), refused: 1 }.to_string().contains(" refused 1 time; "));
        assert_eq!(why("R4.0000"), Unexplained::Forgotten { token: "R4.0000".into(), remembered: REMEMBERED });
        assert_eq!(why("R2.0001"), Unexplained::OtherRule { token: "R2.0001".into(), given: "R4.0001".into() });
        assert!(ledger.explain("R4.20000", refused).is_err() && ledger.explain("R4.0001", refused).is_ok());
        // Days of a flood later.
        let refused = refused + (1 << 32);
        let why = |token: &str| ledger.explain(token, refused).unwrap_err();
        assert_eq!(why("R4.4000000"), Unexplained::Forgotten { token: "R4.4000000".into(), remembered: REMEMBERED });
        record(&ledger, 1 << 32, now);
        assert!(ledger.explain("R4.4000000", refused).is_ok() && ledger.explain("R4.0000", refused).is_err());
        assert_eq!(ledger.lock().records.capacity(), REMEMBERED, "memory is taken once");
    }

    #[test]
    fn holders_are_looked_up_now_and_then_and_seldom_where_there_are_many() {
        let (ledger, start) = (Ledger::default(), Instant::now());
        let mut looks = 0;
        let mut at = |millis: u64, prefixes| {
            ledger.record(Token::new("R4", 0), RULE.into(), scene(start + Duration::from_millis(millis)), || {
                looks += 1;
                (Vec::new(), prefixes)
            });
            looks
        };
        assert_eq!([at(0, 4), at(99, 4), at(100, 4), at(199, 4), at(200, 4)], [1, 1, 2, 2, 3]);
        assert_eq!([at(300, 60_000), at(599, 4), at(600, 4)], [4, 4, 5]);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<Option<Record>>() <= 144, "{} octets", size_of::<Option<Record>>());
    }
}
