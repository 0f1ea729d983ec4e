//! What several services of one check have found, which are asked one after the other.
//!
//! The gravest counts. Who has refused, or says nothing, is the last: those behind are not asked. What the ones before have said stands all the
//! same, and is known as soon as they have. Cannot fail.

use std::fmt::Display;

use crate::screening::Found;
use crate::verdict::{Outcome, Verdict};

/// Those that were asked.
pub(crate) struct Several {
    found: Found,
    details: Vec<String>,
}

impl Several {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self { found: Found::new(Outcome::Pass, ""), details: Vec::new() }
    }

    /// What `who` has found, and what it comes to `so_far`; whether nobody else is to be asked.
    pub(crate) fn is_last(&mut self, who: &dyn Display, mut found: Found, so_far: &mut Verdict) -> bool {
        self.details.push(format!("{who}: {}", found.detail));
        let is_last = found.policy.is_final() || found.outcome == Outcome::Unsure;
        if found.outcome == Outcome::Unsure {
            found.policy = *so_far;
        }
        if is_last || found.policy > *so_far {
            *so_far = found.policy;
            self.found = found;
        }
        is_last
    }

    /// All of it.
    pub(crate) fn found(self) -> Found {
        Found { detail: self.details.join("; "), ..self.found }
    }
}
