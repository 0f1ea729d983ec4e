//! What refusing may cost in processor time.
//!
//! Refusing may take the whole of one core while no admitted session is working. Every exchange of an admitted session takes
//! [`PER_EXCHANGE`] off what refusing may take, down to [`FLOOR_PERCENT`] of a core: the busier the sessions, the longer the kernel's
//! queue holds those who will be refused. Time not used can be kept, up to [`SAVED_MOST`], and is overdrawn by one turn at most.
//!
//! A pure value: the time of day, the processor time spent and the count of exchanges are told. Cannot fail.

use std::time::{Duration, Instant};

/// A budget in nanoseconds, refilled by the passing of time.
#[derive(Debug)]
pub(crate) struct Budget {
    left: i64,
    refilled: Instant,
    exchanges: u64,
}

impl Budget {
    pub(crate) fn new(now: Instant, exchanges: u64) -> Self {
        Self { left: nanos(SAVED_MOST), refilled: now, exchanges }
    }

    /// Takes off what refusing has cost.
    pub(crate) fn spend(&mut self, processor_time: Duration) {
        self.left -= nanos(processor_time);
    }

    /// Whether refusing has to wait. `exchanges` is the count of all there ever were.
    pub(crate) fn is_spent(&mut self, now: Instant, exchanges: u64) -> bool {
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

/// A burst that nobody notices.
const SAVED_MOST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers more refusals than fit for ten seconds, beside so many exchanges a second; the share of a core they got, in percent.
    fn share(exchanges_a_second: u64) -> u64 {
        let (start, turn, mut refusing) = (Instant::now(), Duration::from_micros(500), Duration::ZERO);
        let (mut now, mut budget) = (start, Budget::new(start, 0));
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
        let (mut budget, later) = (Budget::new(start, 0), start + Duration::from_secs(3600));
        assert!(!budget.is_spent(later, 0));
        budget.spend(SAVED_MOST + Duration::from_micros(1));
        assert!(budget.is_spent(later, 0));
        assert!(!budget.is_spent(later + PERIOD, 0));
    }
}
