//! The least time between two logins of one account (RFC 2449 §8.1.1), for all listeners together.
//!
//! Remembers an account for as long as its delay lasts and no longer, so the table is bounded by how many accounts log in
//! within one delay. Cannot fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Whether `account` may log in now; if so, it has.
    pub(crate) fn login(&self, account: &Arc<str>, delay: Option<Duration>, now: Instant) -> bool {
        let Some(delay) = delay else { return true };
        // A panic elsewhere leaves a table of instants whole.
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let too_soon = |last: &Instant| now.saturating_duration_since(*last) < delay;
        if table.last.get(account).is_some_and(too_soon) {
            return false;
        }
        if table.last.len() >= table.sweep_at {
            table.last.retain(|_, last| too_soon(last));
            table.sweep_at = (table.last.len() * 2).max(SWEEP_LEAST);
        }
        table.last.insert(Arc::clone(account), now);
        true
    }
}

/// Accounts remembered before the first sweep.
const SWEEP_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_waits_and_others_do_not() {
        let (logins, start, delay) = (LoginDelay::default(), Instant::now(), Some(Duration::from_secs(60)));
        let (ann, bob) = ("ann".into(), "bob".into());
        assert!(logins.login(&ann, delay, start));
        assert!(logins.login(&bob, delay, start));
        assert!(!logins.login(&ann, delay, start + Duration::from_secs(59)));
        assert!(logins.login(&ann, delay, start + Duration::from_secs(60)));
        assert!(logins.login(&ann, None, start + Duration::from_secs(61)));
    }

    #[test]
    fn the_past_is_forgotten() {
        let (logins, start, delay) = (LoginDelay::default(), Instant::now(), Some(Duration::from_secs(1)));
        for number in 0..100_000u32 {
            logins.login(&number.to_string().into(), delay, start + Duration::from_millis(number.into()));
        }
        assert!(logins.0.lock().unwrap().last.len() <= 2 * SWEEP_LEAST);
    }
}
