//! The fair share: how much of what is free one source may come to hold.
//!
//! A source that already holds something may have one place more while it holds less than `alpha` times the unreserved places
//! that are free now, and at least one in any case. So a lone source settles at `alpha * G / (1 + alpha)` of `G` unreserved places,
//! and the more others come, the less room each has to grow; what somebody holds is never taken away (the thresholds of Choudhury
//! and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998).
//!
//! Guarantees: asked at every level, so that a source gains nothing by many addresses; a source that holds nothing is never
//! refused. Where nothing is free it says nothing, as then the pool is full, and that is what the client should hear. What is free is
//! read once for each attempt: attempts that meet can exceed the share by as many places as there are of them at that instant.
//! Refuses with [`Rule::ShareSpent`]. Cannot fail.

use crate::pool::Usage;
use crate::refusal::Rule;
use crate::sources::Standing;

/// The part of what is free that one source may hold; off for `alpha` = 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    alpha: f64,
}

impl Share {
    pub(crate) fn new(alpha: f64) -> Self {
        Self { alpha }
    }

    /// Whether one more place is within the share of every prefix of `standing`.
    pub(crate) fn check(self, standing: &Standing, usage: Usage) -> Result<(), Rule> {
        let free = usage.unreserved_free();
        if self.alpha == 0.0 || free == 0 {
            return Ok(());
        }
        let share = self.of(free);
        match standing.held().find(|(_, held)| *held >= share) {
            Some((prefix, held)) => Err(Rule::ShareSpent { prefix, held, share, free }),
            None => Ok(()),
        }
    }

    fn of(self, free: u32) -> u32 {
        // A conversion from a fraction keeps within the type, at its ends if need be.
        ((self.alpha * f64::from(free)) as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settled(alpha: f64, places: u32) -> u32 {
        let share = Share::new(alpha);
        (0..).find(|held| *held >= places || *held >= share.of(places - held)).unwrap()
    }

    #[test]
    fn a_lone_source_settles_at_the_formula() {
        assert_eq!(settled(0.5, 30), 10);
        assert_eq!(settled(1.0, 30), 15);
        assert_eq!(settled(0.5, 900), 300);
        assert_eq!((settled(0.5, 1), settled(0.5, 2), settled(0.5, 4)), (1, 1, 1));
    }

    proptest! {
        #[test]
        fn one_place_either_way(alpha in 0.05_f64..8.0, places in 1_u32..10_000) {
            let formula = (alpha * f64::from(places) / (1.0 + alpha)).max(1.0);
            prop_assert!((f64::from(settled(alpha, places)) - formula).abs() <= 1.0);
        }
    }
}
