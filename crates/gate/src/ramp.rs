//! The start ramp: after a start the unreserved places come one after the other.
//!
//! Senders that found the server away all come back in its first moments, when its caches are cold and every one of them wants a
//! handshake. From a tenth at once the unreserved places grow to all of them in `start_ramp`, in a straight line.
//!
//! By places, not by connections a second: what a session costs at the start it costs while it is there, places are what the rest of
//! the gate counts in, and no second account is kept that could be wrong.
//!
//! Guarantees: a source that is alone, holding all that anonymous clients hold, is never refused, nor is anybody the operator
//! knows. Time comes from the arrival; nothing is remembered but the instant of the start. Refuses with [`Rule::Ramping`]. What is in
//! use is read before the place is drawn: attempts that meet can exceed the ramp by as many places as there are of them at that
//! instant. Cannot fail.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::pool::Usage;
use crate::refusal::Rule;
use crate::sources::Standing;

/// When the node opened, if it is to be ramped up.
#[derive(Debug, Default)]
pub(crate) struct Ramp {
    began: OnceLock<Instant>,
}

impl Ramp {
    /// Begins; a second beginning is none.
    pub(crate) fn begin(&self, now: Instant) {
        let _began_before = self.began.set(now);
    }

    /// Whether the source of `standing` may have one more place at `now`, `whole` after the beginning being the end.
    pub(crate) fn check(&self, standing: &Standing, usage: Usage, now: Instant, whole: Duration) -> Result<(), Rule> {
        let Some(began) = self.began.get() else { return Ok(()) };
        let elapsed = now.saturating_duration_since(*began);
        if elapsed >= whole {
            return Ok(());
        }
        let (general, places) = (usage.general, allowed(usage.unreserved(), elapsed.as_secs_f64() / whole.as_secs_f64()));
        let is_alone = standing.at_its_widest() >= general;
        if general < places || is_alone { Ok(()) } else { Err(Rule::Ramping { general, places }) }
    }
}

/// Of `unreserved` places, those that may be had when this part of the ramp is behind us.
fn allowed(unreserved: u32, part: f64) -> u32 {
    let first = unreserved.div_ceil(10);
    // A conversion from a fraction keeps within the type.
    first + (f64::from(unreserved - first) * part) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_from_a_tenth_to_all_of_them() {
        assert_eq!([0.0, 0.5, 1.0].map(|part| allowed(900, part)), [90, 495, 900]);
        assert_eq!([1, 2, 9, 11].map(|unreserved| allowed(unreserved, 0.0)), [1, 1, 1, 2]);
    }
}
