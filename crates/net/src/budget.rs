//! What refusing may cost in processor time, for all listeners together.
//!
//! Refusing may take the whole of one core while no admitted session is working. Every exchange of an admitted session takes
//! [`PER_EXCHANGE`] off what refusing may take, down to [`FLOOR_PERCENT`] of a core, however many listeners refuse: the busier the
//! sessions, the longer the kernel's queues hold those who will be refused. Time not used can be kept, up to [`SAVED_MOST`], and is
//! overdrawn by one turn of each listener at most. Listeners that have to rest go on in the order in which they began to.
//!
//! The account is a pure value: the time of day, the processor time spent and the count of exchanges are told. Cannot fail.
//! Dropping the future of [`Budget::turn`] is safe: another listener goes on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::{Counters, clock};

/// One for the whole server; a clone is the same budget.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    account: Mutex<Account>,
    /// Those who rest, first come first: a semaphore of tokio's is fair.
    line: Semaphore,
    counters: Arc<Counters>,
}

impl Budget {
    /// For listeners whose sessions count their exchanges in `counters`.
    pub fn new(counters: Arc<Counters>) -> Self {
        let account = Mutex::new(Account::new(clock::now(), counters.exchanges.read()));
        Self(Arc::new(Shared { account, line: Semaphore::new(1), counters }))
    }

    /// Takes off what refusing has cost.
    pub(crate) fn spend(&self, processor_time: Duration) {
        self.account().spend(processor_time);
    }

    /// Whether refusing has to wait.
    pub(crate) fn is_spent(&self, now: Instant) -> bool {
        self.account().is_spent(now, self.0.counters.exchanges.read())
    }

    /// Returns when a listener that has rested may go on.
    pub(crate) async fn turn(self) {
        let _first = self.0.line.acquire().await;
        while self.is_spent(clock::now()) {
            clock::pause(REST).await;
        }
    }

    /// Numbers, which no panic leaves half written.
    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A budget in nanoseconds, refilled by the passing of time.
#[derive(Debug)]
struct Account {
    left: i64,
    refilled: Instant,
    exchanges: u64,
}

impl Account {
    fn new(now: Instant, exchanges: u64) -> Self {
        Self { left: nanos(SAVED_MOST), refilled: now, exchanges }
    }

    fn spend(&mut self, processor_time: Duration) {
        self.left -= nanos(processor_time);
    }

    /// `exchanges` is the count of all there ever were.
    fn is_spent(&mut self, now: Instant, exchanges: u64) -> bool {
        let passed = now.saturating_duration_since(self.refilled);
        if passed >= PERIOD {
            self.refill(nanos(passed), exchanges);
            self.refilled = now;
        }
        self.left < 0
    }

    fn refill(&mut self, passed: i64, exchanges: u64) {
        let worked = i64::try_from(exchanges.saturating_sub(self.exchanges)).unwrap_or(i64::MAX).saturating_mul(nanos(PER_EXCHANGE));
        let earned = passed.saturating_sub(worked).max(passed / 100 * FLOOR_PERCENT);
        self.left = self.left.saturating_add(earned).min(nanos(SAVED_MOST));
        self.exchanges = exchanges;
    }
}

fn nanos(length: Duration) -> i64 {
    i64::try_from(length.as_nanos()).unwrap_or(i64::MAX)
}

/// Several times what an exchange costs us, so that sessions come first well before the machine is full.
const PER_EXCHANGE: Duration = Duration::from_micros(100);

/// Of one core: enough to answer some thousand a second on any machine.
const FLOOR_PERCENT: i64 = 15;

/// Long enough to even out that exchanges come in bursts.
const PERIOD: Duration = Duration::from_millis(10);

/// How long refusing rests before it looks whether it may go on.
const REST: Duration = Duration::from_millis(5);

/// A burst that nobody notices.
const SAVED_MOST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers more refusals than fit for ten seconds, beside so many exchanges a second; the share of a core they got, in percent.
    fn share(exchanges_a_second: u64) -> u64 {
        let (start, turn, mut refusing) = (Instant::now(), Duration::from_micros(500), Duration::ZERO);
        let (mut now, mut budget) = (start, Account::new(start, 0));
        while now - start < Duration::from_secs(10) {
            let exchanges = (now - start).as_millis() as u64 * exchanges_a_second / 1000;
            if budget.is_spent(now, exchanges) {
                now += Duration::from_millis(1);
            } else {
                budget.spend(turn);
                refusing += turn;
                now += turn;
            }
        }
        refusing.as_millis() as u64 / 100
    }

    #[test]
    fn refusing_gets_what_sessions_leave_and_never_less_than_its_floor() {
        assert!(share(0) >= 99, "{}", share(0));
        assert!((45..=55).contains(&share(5_000)), "{}", share(5_000));
        assert!((14..=17).contains(&share(50_000)), "{}", share(50_000));
    }

    #[test]
    fn a_quiet_hour_saves_no_more_than_a_burst() {
        let start = Instant::now();
        let (mut budget, later) = (Account::new(start, 0), start + Duration::from_secs(3600));
        assert!(!budget.is_spent(later, 0));
        budget.spend(SAVED_MOST + Duration::from_micros(1));
        assert!(budget.is_spent(later, 0));
        assert!(!budget.is_spent(later + PERIOD, 0));
    }

    /// Five listeners that only refuse, beside sessions that are as busy as can be: what each gets of a core, in ten-thousandths.
    #[tokio::test(start_paused = true)]
    async fn listeners_share_one_floor_in_turns() {
        let counters = Arc::<Counters>::default();
        let (budget, start) = (Budget::new(Arc::clone(&counters)), clock::now());
        let refuses = async || {
            let mut refusing = Duration::ZERO;
            while clock::now() - start < Duration::from_secs(10) {
                budget.clone().turn().await;
                (0..10_000).for_each(|_| counters.exchanges.add());
                budget.spend(TURN);
                refusing += TURN;
                clock::pause(TURN).await;
            }
            refusing.as_micros() / 1000
        };
        let shares: [u128; 5] = tokio::join!(refuses(), refuses(), refuses(), refuses(), refuses()).into();
        let all: u128 = shares.iter().sum();
        assert!((1_450..=1_600).contains(&all), "{shares:?}");
        assert!(shares.iter().all(|share| (all / 5 - 20..=all / 5 + 20).contains(share)), "{shares:?}");
    }

    const TURN: Duration = Duration::from_micros(900);
}
