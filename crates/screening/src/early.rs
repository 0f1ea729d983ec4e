//! Who does not wait to be greeted: the greeting of a stranger is held back for a while, and whoever talks meanwhile has no ear for it
//! (RFC 5321 §3.1 has the client wait).
//!
//! What holds a greeting back takes a place, of which there are few; without one nothing is held back, and nothing found.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::screening::Found;
use crate::verdict::Outcome;

/// How a client has behaved before its greeting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manners {
    /// It was not waited for.
    #[default]
    Unknown,
    /// It has waited.
    Waits,
    /// It has talked first.
    TalksFirst,
}

/// A greeting that is held back; the place is free when it is dropped.
#[derive(Debug)]
pub struct Pause<'p> {
    /// For how long.
    pub wait: Duration,
    _place: SemaphorePermit<'p>,
}

pub(crate) struct Early {
    wait: Duration,
    places: Semaphore,
}

impl Early {
    pub(crate) fn new(wait: Duration, places: usize) -> Self {
        Self { wait, places: Semaphore::new(places.min(Semaphore::MAX_PERMITS)) }
    }

    /// None where there is no place, or no time to wait.
    pub(crate) fn pause(&self) -> Option<Pause<'_>> {
        if self.wait.is_zero() { None } else { Some(Pause { wait: self.wait, _place: self.places.try_acquire().ok()? }) }
    }
}

/// What a rule makes something of.
pub(crate) fn found(manners: Manners) -> Found {
    match manners {
        Manners::Unknown => Found::new(Outcome::None, "its greeting was not held back"),
        Manners::Waits => Found::new(Outcome::Pass, "it has waited for its greeting"),
        Manners::TalksFirst => Found::new(Outcome::Fail, "it has talked before its greeting"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_held_back_and_no_more() {
        let early = Early::new(Duration::from_secs(5), 1);
        let held = early.pause();
        assert!(held.is_some() && early.pause().is_none());
        drop(held);
        assert!(early.pause().is_some());
        assert!(Early::new(Duration::ZERO, 1).pause().is_none());
    }
}
