//! How often: governor's GCRA over a table with a bound, on a clock that is told.
//!
//! A [`Limiter`] counts one thing for any number of keys (a prefix, an account, a domain), each against the same
//! [`Rate`]. The rates of connections are made of some, and so is [`MailRates`].
//!
//! Guarantees:
//! - What is refused takes nothing, and what another check refuses afterwards can be [given back](Limiter::give_back).
//! - Memory is under a bound of the caller's, whatever is counted: [`Limiter::octets`]. Beyond it nobody evades: the keys for
//!   which there is no room share buckets, and at worst wait for one another. See `buckets.rs`. Where that would be unjust they are not
//!   counted: [`Limiter::of_known_keys_only`].
//! - A rate that changes starts over with every bucket full; the same one again changes nothing.
//! - Time is the latest that anybody has told, so it does not run backwards.
//!
//! Refuses with how long to wait. Cannot fail, waits for nobody, reads no clock.

mod arrivals;
mod buckets;
mod mail;
mod settings;

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::mail::Rate;
use arc_swap::ArcSwapOption;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::{Quota, RateLimiter};

pub(crate) use arrivals::{ConnectionRates, Counted};
pub use mail::{Limit, Limits, MailRates, Measure, RateExceeded, Scope, Sender};
pub use settings::Settings;

use buckets::Buckets;

/// One rate for any number of keys.
#[derive(Debug)]
pub struct Limiter {
    in_force: ArcSwapOption<InForce>,
    /// Keys that have a bucket of their own.
    keys_most: usize,
    /// Buckets for all who find no room there.
    shared: usize,
    hasher: RandomState,
    /// What times are counted from: the first that was told.
    epoch: OnceLock<Instant>,
}

#[derive(Debug)]
struct InForce {
    rate: Rate,
    interval_nanos: u64,
    burst: NonZeroU32,
    limiter: RateLimiter<u64, Buckets, Told, NoOpMiddleware<Nanos>>,
    buckets: Buckets,
}

impl Limiter {
    /// A limiter that remembers `keys_most` keys one by one. Without a limit it takes no memory.
    pub fn new(rate: Rate, keys_most: usize) -> Self {
        Self::with(rate, keys_most, buckets::SHARED)
    }

    /// The same, for what nobody may suffer in another's place: who finds no room among the keys is not counted.
    pub fn of_known_keys_only(rate: Rate, keys_most: usize) -> Self {
        Self::with(rate, keys_most, 0)
    }

    fn with(rate: Rate, keys_most: usize, shared: usize) -> Self {
        let limiter = Self { in_force: ArcSwapOption::empty(), keys_most, shared, hasher: RandomState::new(), epoch: OnceLock::new() };
        limiter.apply(rate);
        limiter
    }

    /// The most memory that a limiter of so many keys takes.
    pub const fn octets(keys_most: usize) -> usize {
        Buckets::octets(keys_most)
    }

    /// Puts another rate in force.
    pub fn apply(&self, rate: Rate) {
        let same = self.in_force.load().as_ref().map_or(Rate::OFF, |in_force| in_force.rate) == rate;
        if !same {
            self.in_force.store(InForce::new(rate, self.keys_most, self.shared).map(Arc::new));
        }
    }

    /// Takes `n` for `key`, or says after how long that could be. More than there may ever be at once is taken as that many.
    ///
    /// # Errors
    /// The time to wait, if nobody else takes anything; nothing was taken.
    pub fn take(&self, key: impl Hash, n: u32, now: Instant) -> Result<(), Duration> {
        let in_force = self.in_force.load();
        let (Some(in_force), Some(n)) = (in_force.as_deref(), NonZeroU32::new(n)) else { return Ok(()) };
        self.tell(in_force, now);
        // It fails for more than a burst only, which this never is.
        let checked = in_force.limiter.check_key_n(&self.hasher.hash_one(key), n.min(in_force.burst)).unwrap_or(Ok(()));
        checked.map_err(|until| until.wait_time_from(in_force.limiter.clock().now()))
    }

    /// Whether one could be taken; takes nothing.
    ///
    /// # Errors
    /// The time to wait.
    pub fn look(&self, key: impl Hash + Copy, now: Instant) -> Result<(), Duration> {
        self.take(key, 1, now)?;
        self.give_back(key, 1);
        Ok(())
    }

    /// Makes up for what was had beside what was asked for: [`Limiter::take`] was asked for `asked`, and it came to `had`. Less is given
    /// back; more is owed, all of it, however long that takes to earn.
    pub fn settle(&self, key: impl Hash, asked: u32, had: u32, now: Instant) {
        let in_force = self.in_force.load();
        let Some(in_force) = in_force.as_deref() else { return };
        // More than a burst was never taken.
        let taken = asked.min(in_force.burst.get());
        if had > taken {
            self.charge(in_force, key, had - taken, CENTURY_NANOS, now);
        } else {
            self.give_back(key, taken - had);
        }
    }

    /// Takes `n` that were not asked for, and were had all the same; `key` waits for it to be made up, but never longer than
    /// two bursts take to earn.
    pub fn owe(&self, key: impl Hash, n: u32, now: Instant) {
        let in_force = self.in_force.load();
        if let (Some(in_force), true) = (in_force.as_deref(), n > 0) {
            self.charge(in_force, key, n, in_force.nanos(in_force.burst.get()).saturating_mul(2), now);
        }
    }

    /// Gives back what was taken in vain.
    pub fn give_back(&self, key: impl Hash, n: u32) {
        if let Some(in_force) = self.in_force.load().as_deref() {
            let returned = in_force.nanos(n.min(in_force.burst.get()));
            in_force.buckets.change(self.hasher.hash_one(key), |full_at| full_at.saturating_sub(returned));
        }
    }

    /// Keys that are remembered one by one now.
    pub fn keys(&self) -> usize {
        self.in_force.load().as_deref().map_or(0, |in_force| in_force.buckets.keys())
    }

    /// Whether there is a limit.
    pub fn is_on(&self) -> bool {
        self.in_force.load().is_some()
    }

    /// Puts `key` in debt for `n`, with `most` nanoseconds to go until its bucket is full again.
    fn charge(&self, in_force: &InForce, key: impl Hash, n: u32, most: u64, now: Instant) {
        let now = self.tell(in_force, now);
        let (owed, most) = (in_force.nanos(n), now.saturating_add(most));
        in_force.buckets.change(self.hasher.hash_one(key), |full_at| full_at.max(now).saturating_add(owed).min(most));
    }

    fn tell(&self, in_force: &InForce, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| now);
        // 0 is no time in a bucket.
        let nanos = u64::try_from(now.saturating_duration_since(epoch).as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        in_force.limiter.clock().tell(nanos)
    }
}

impl InForce {
    /// None without a limit.
    fn new(rate: Rate, keys_most: usize, shared: usize) -> Option<Self> {
        let (interval, burst) = (rate.interval()?, NonZeroU32::new(rate.burst())?);
        let quota = Quota::with_period(interval)?.allow_burst(burst);
        let told = Told::default();
        let buckets = Buckets::new(keys_most, shared, told.clone());
        // A clock that was told nothing stands at 0, and so that is the limiter's start.
        let limiter = RateLimiter::new(quota, buckets.clone(), told);
        Some(Self { rate, interval_nanos: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX), burst, limiter, buckets })
    }

    fn nanos(&self, n: u32) -> u64 {
        self.interval_nanos.saturating_mul(n.into())
    }
}

/// A clock that stands where it was told, in nanoseconds since the limiter's first time. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU64>);

impl Told {
    /// Goes on to `nanos`, unless it is later already; the time it is then.
    fn tell(&self, nanos: u64) -> u64 {
        // Read first: of many who come in the same moment only one has to write.
        match self.nanos() {
            later if later >= nanos => later,
            _ => self.0.fetch_max(nanos, Relaxed).max(nanos),
        }
    }

    fn nanos(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Clock for Told {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.nanos())
    }
}

/// No debt is greater: times are told in nanoseconds, of which 2^64 are not six centuries.
const CENTURY_NANOS: u64 = 100 * 365 * 24 * 60 * 60 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(rate: &str, keys_most: usize) -> Limiter {
        Limiter::new(rate.parse().unwrap(), keys_most)
    }

    #[test]
    fn a_burst_then_one_at_a_time_and_a_refusal_takes_nothing() {
        let (limiter, start) = (limiter("60/1m burst 3", 8), Instant::now());
        for _ in 0..3 {
            assert_eq!(limiter.take("a", 1, start), Ok(()));
        }
        for _ in 0..100 {
            assert_eq!(limiter.take("a", 1, start), Err(SECOND));
        }
        assert_eq!(limiter.take("b", 1, start), Ok(()), "each for itself");
        assert_eq!(limiter.take("a", 1, start + SECOND), Ok(()));
        assert_eq!(limiter.take("a", 2, start + 2 * SECOND), Err(SECOND), "all of it or nothing");
        assert_eq!(limiter.take("a", 9, start + 5 * SECOND), Ok(()), "more than a burst is a burst");
        assert_eq!(limiter.take("a", 1, start), Err(SECOND), "time does not run backwards");
    }

    #[test]
    fn what_is_given_back_can_be_taken_and_leaves_no_trace() {
        let (limiter, start) = (limiter("1/1m", 8), Instant::now());
        for _ in 0..100 {
            limiter.take("a", 1, start).unwrap();
            limiter.give_back("a", 1);
            assert_eq!(limiter.keys(), 0);
        }
        limiter.look("a", start).unwrap();
        limiter.look("a", start).unwrap();
        limiter.take("a", 1, start).unwrap();
        assert_eq!((limiter.look("a", start), limiter.keys()), (Err(60 * SECOND), 1));
    }

    #[test]
    fn what_was_had_unasked_is_made_up_within_two_bursts() {
        let (limiter, start) = (limiter("60/1m burst 10", 8), Instant::now());
        limiter.owe("a", 5, start);
        assert_eq!(limiter.take("a", 6, start), Err(SECOND));
        limiter.owe("a", 1_000_000, start);
        assert_eq!(limiter.look("a", start), Err(11 * SECOND));
    }

    #[test]
    fn what_was_asked_for_is_settled_by_what_was_had() {
        let (limiter, start) = (limiter("60/1m burst 10", 8), Instant::now());
        let after = |asked: u32, had: u32| {
            limiter.take(asked, asked, start).unwrap();
            limiter.settle(asked, asked, had, start);
            limiter.look(asked, start).map_or_else(|wait| wait.as_secs(), |()| 0)
        };
        assert_eq!(after(9, 0), 0, "nothing came of it");
        assert_eq!(after(10, 10), 1);
        assert_eq!(after(1_000_000, 10), 1, "however much was asked for, a burst was taken");
        assert_eq!(after(2, 1_000), 991, "all of it is made up");
        assert_eq!(after(1_000, 1_000), 991);
        assert_eq!(limiter.keys(), 4);
    }

    #[test]
    fn the_greatest_debt_can_be_reckoned_with() {
        let (limiter, start) = (limiter("1/365d", 8), Instant::now());
        for _ in 0..9 {
            limiter.settle("a", 0, u32::MAX, start);
        }
        let years = limiter.take("a", 1, start).unwrap_err().as_secs() / (365 * 24 * 60 * 60);
        assert_eq!(years, 100);
    }

    #[test]
    fn another_rate_starts_over_and_the_same_one_does_not() {
        let (limiter, start) = (limiter("1/1h", 8), Instant::now());
        limiter.take("a", 1, start).unwrap();
        limiter.apply("1/1h".parse().unwrap());
        assert!(limiter.take("a", 1, start).is_err());
        limiter.apply("1/1m".parse().unwrap());
        limiter.take("a", 1, start).unwrap();
        limiter.apply(Rate::OFF);
        assert_eq!((limiter.take("a", 1, start), limiter.is_on()), (Ok(()), false));
    }

    #[test]
    fn keys_beyond_the_bound_share_and_do_not_evade() {
        let (limiter, start) = (limiter("1/1m", 2), Instant::now());
        for key in ["a", "b"] {
            limiter.take(key, 1, start).unwrap();
        }
        let served = (0..200_000).filter(|key| limiter.take(key, 1, start).is_ok()).count();
        assert!(limiter.keys() <= 2 && (1..=buckets::SHARED).contains(&served), "{served}");
        // Every key that was served is refused now, and so is the tail it is in.
        assert!((0..200_000).all(|key| limiter.take(key, 1, start + SECOND).is_err()));
        assert!(limiter.take("c", 1, start + 61 * SECOND).is_ok());
    }

    #[test]
    fn nobody_suffers_in_anothers_place_where_keys_share_nothing() {
        let (limiter, start) = (Limiter::of_known_keys_only("1/1m".parse().unwrap(), 2), Instant::now());
        assert!(limiter.take("a", 1, start).is_ok() && limiter.take("b", 1, start).is_ok());
        (0..100_000).for_each(|stranger| assert_eq!(limiter.take(stranger, 1, start), Ok(())));
        assert!(limiter.take("a", 1, start).is_err());
        assert!(
            limiter.take("c", 1, start + 61 * SECOND).is_ok() && limiter.take("c", 1, start + 61 * SECOND).is_err(),
            "there is room again"
        );
    }

    #[test]
    fn whose_bucket_is_full_again_makes_room() {
        let (limiter, start) = (limiter("1/1s", 2), Instant::now());
        for second in 0..10 {
            for key in ["a", "b"] {
                limiter.take((second, key), 1, start + second * 2 * SECOND).unwrap();
            }
        }
        assert_eq!(limiter.keys(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is taken and given back, in any stretch of time no key gets more than a burst and what the stretch earns.
        #[test]
        fn nobody_gets_more_than_the_rate(steps in proptest::collection::vec((0_u64..5000, 0_u8..4, 1_u32..4, any::<bool>()), 1..200)) {
            let (limiter, start) = (limiter("10/1s burst 5", 2), Instant::now());
            let (mut now, mut taken) = (start, Vec::new());
            for (millis, key, n, back) in steps {
                now += Duration::from_millis(millis / 10);
                if limiter.take(key, n, now).is_ok() {
                    if back { limiter.give_back(key, n) } else { taken.push((key, n, now)) }
                }
                prop_assert!(limiter.keys() <= 2);
            }
            for (at, (key, _, begun)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (_, n, ended) in taken.iter().skip(at).filter(|(other, ..)| other == key) {
                    sum += n;
                    let earned = 5.0 + (*ended - *begun).as_secs_f64() * 10.0;
                    prop_assert!(f64::from(sum) <= earned + 1e-6, "{} of {}", sum, earned);
                }
            }
        }

        /// A key alone gets all that its rate allows.
        #[test]
        fn a_key_gets_its_rate(millis in proptest::collection::vec(0_u64..1000, 1..100)) {
            let (limiter, start) = (limiter("10/1s burst 5", 2), Instant::now());
            let (mut now, mut tokens, mut before) = (start, 5.0_f64, start);
            for millis in millis {
                now += Duration::from_millis(millis);
                tokens = (tokens + (now - before).as_secs_f64() * 10.0).min(5.0);
                before = now;
                // At the edge of a token the two ways to reckon may differ by a rounding.
                if (tokens - 1.0).abs() < 1e-6 {
                    continue;
                }
                prop_assert_eq!(limiter.look("a", now).is_ok(), tokens >= 1.0);
                if limiter.take("a", 1, now).is_ok() {
                    tokens -= 1.0;
                }
            }
        }
    }
}
