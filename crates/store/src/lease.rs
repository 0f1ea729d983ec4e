//! Who holds which maildrop, within one process.
//!
//! A lease is exclusive. A second claim is refused at once, unless the holder has shown no sign of life for the grace time:
//! then the newcomer has it and the old lease is revoked, so that a client whose connection died need not wait for the
//! autologout. A holder that has begun its update cannot be revoked, and a revoked holder cannot begin one: deletions are
//! never applied behind a newcomer's listing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// The leases of one engine.
#[derive(Debug, Clone)]
pub struct Leases {
    held: Arc<Mutex<HashMap<Arc<str>, Arc<Hold>>>>,
    grace: Duration,
}

/// Another session holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another session holds the maildrop")]
pub struct Refused;

/// One session's hold on one maildrop; dropping it releases the maildrop.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    account: Arc<str>,
    hold: Arc<Hold>,
}

#[derive(Debug)]
struct Hold {
    state: Mutex<State>,
    revoked: Notify,
}

#[derive(Debug)]
struct State {
    last_sign: Instant,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Updating,
    Revoked,
}

impl Leases {
    /// No leases yet; a holder silent for `grace` may lose its own.
    pub fn new(grace: Duration) -> Self {
        Self { held: Arc::default(), grace }
    }

    /// Takes the maildrop of `account`.
    ///
    /// # Errors
    /// [`Refused`] when a live session has it.
    pub fn claim(&self, account: &str) -> Result<Lease, Refused> {
        let account: Arc<str> = account.into();
        let now = Instant::now();
        let hold = Arc::new(Hold { state: Mutex::new(State { last_sign: now, stage: Stage::Reading }), revoked: Notify::new() });
        match lock(&self.held).entry(Arc::clone(&account)) {
            Entry::Vacant(free) => {
                free.insert(Arc::clone(&hold));
            }
            Entry::Occupied(mut held) => {
                if !held.get().revoke(now, self.grace) {
                    return Err(Refused);
                }
                held.insert(Arc::clone(&hold));
            }
        }
        Ok(Lease { leases: self.clone(), account, hold })
    }
}

impl Lease {
    /// A sign of life: the grace time starts anew.
    pub fn touch(&self) {
        lock(&self.hold.state).last_sign = Instant::now();
    }

    /// Whether a newer session has taken the maildrop.
    pub fn is_revoked(&self) -> bool {
        lock(&self.hold.state).stage == Stage::Revoked
    }

    /// Waits until a newer session has taken the maildrop. Cancel-safe.
    pub async fn revoked(&self) {
        let notified = self.hold.revoked.notified();
        if !self.is_revoked() {
            notified.await;
        }
    }

    /// From here on it cannot be taken over; for engines, before an update is written.
    ///
    /// # Errors
    /// [`Refused`] when that has happened already.
    pub fn begin_update(&self) -> Result<(), Refused> {
        let mut state = lock(&self.hold.state);
        if state.stage == Stage::Revoked {
            return Err(Refused);
        }
        state.stage = Stage::Updating;
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Entry::Occupied(held) = lock(&self.leases.held).entry(Arc::clone(&self.account))
            && Arc::ptr_eq(held.get(), &self.hold)
        {
            held.remove();
        }
    }
}

impl Hold {
    fn revoke(&self, now: Instant, grace: Duration) -> bool {
        let mut state = lock(&self.state);
        let idle = now.saturating_duration_since(state.last_sign) >= grace;
        if state.stage != Stage::Reading || !idle {
            return false;
        }
        state.stage = Stage::Revoked;
        self.revoked.notify_waiters();
        true
    }
}

/// A panic elsewhere leaves these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_exclusive_until_dropped() {
        let leases = Leases::new(GRACE);
        let first = leases.claim("ann").unwrap();
        assert_eq!(leases.claim("ann").unwrap_err(), Refused);
        let _other = leases.claim("bob").unwrap();
        drop(first);
        leases.claim("ann").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_holder_is_taken_over_and_told_so() {
        let leases = Leases::new(GRACE);
        let old = leases.claim("ann").unwrap();
        tokio::time::advance(GRACE / 2).await;
        old.touch();
        tokio::time::advance(GRACE / 2).await;
        leases.claim("ann").unwrap_err();
        tokio::time::advance(GRACE / 2).await;
        let new = leases.claim("ann").unwrap();
        old.revoked().await;
        assert_eq!(old.begin_update(), Err(Refused));
        drop(old);
        leases.claim("ann").unwrap_err();
        assert_eq!(new.begin_update(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_under_way_is_not_taken_over() {
        let leases = Leases::new(GRACE);
        let old = leases.claim("ann").unwrap();
        old.begin_update().unwrap();
        tokio::time::advance(GRACE * 2).await;
        leases.claim("ann").unwrap_err();
    }
}
