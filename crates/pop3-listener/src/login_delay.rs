//! The least time between two logins of one account (RFC 2449 §8.1.1), for all listeners together.
//!
//! Only a login that opened the maildrop counts. Accounts whose delay is over are forgotten when the table has doubled, so it is
//! bounded by how many accounts log in within one delay. Cannot fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When accounts logged in last.
#[derive(Debug, Default)]
pub struct LoginDelay(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    last: HashMap<Arc<str>, Instant>,
    sweep_at: usize,
}

impl LoginDelay {
    /// Whether `account` may log in now: its last login is `delay` ago.
    pub(crate) fn allows(&self, account: &str, delay: Duration, now: Instant) -> bool {
        self.lock().last.get(account).is_none_or(|last| now.saturating_duration_since(*last) >= delay)
    }

    /// `account` has logged in; it is remembered for `delay`.
    pub(crate) fn remember(&self, account: &Arc<str>, delay: Duration, now: Instant) {
        let mut table = self.lock();
        if table.last.len() >= table.sweep_at {
            table.last.retain(|_, last| now.saturating_duration_since(*last) < delay);
            table.sweep_at = (table.last.len() * 2).max(SWEEP_LEAST);
        }
        table.last.insert(Arc::clone(account), now);
    }

    /// A panic elsewhere leaves a table of instants whole.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accounts remembered before the first sweep.
const SWEEP_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_waits_and_others_do_not() {
        let (logins, start, delay) = (LoginDelay::default(), Instant::now(), Duration::from_secs(60));
        assert!(logins.allows("ann", delay, start));
        logins.remember(&"ann".into(), delay, start);
        assert!(logins.allows("bob", delay, start));
        assert!(!logins.allows("ann", delay, start + Duration::from_secs(59)));
        assert!(logins.allows("ann", delay, start + Duration::from_secs(60)));
    }

    #[test]
    fn the_past_is_forgotten() {
        let (logins, start, delay) = (LoginDelay::default(), Instant::now(), Duration::from_secs(1));
        for number in 0..100_000u32 {
            logins.remember(&number.to_string().into(), delay, start + Duration::from_millis(number.into()));
        }
        assert!(logins.lock().last.len() <= 2 * SWEEP_LEAST);
    }
}
