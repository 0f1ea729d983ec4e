//! Leave to be here, for as long as the value lives.
//!
//! Guarantees: dropping a [`Permit`] returns its place and its hold on the source, once, on every path. The place goes
//! first, in the reverse order of taking, so that the sources never count fewer sessions than the pool. A permit is
//! `Send`, borrows nothing and is at most 96 bytes. [`Permit::authenticate`] cannot be refused. Cannot fail.

use std::time::Instant;

use crate::client::Tenancy;
use crate::pool::{Draw, Place};
use crate::source::Source;
use crate::sources::Held;

/// One session's place, and its hold on every prefix of its source. Move it into the task that serves the session.
#[must_use = "dropping a permit ends it at once"]
#[derive(Debug)]
pub struct Permit {
    // Fields drop in this order.
    place: Place,
    held: Held,
    _tenancy: Option<Tenancy>,
    listener: ListenerId,
    admitted_at: Instant,
}

/// All that an admission took.
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) held: Held,
    pub(crate) tenancy: Option<Tenancy>,
}

impl Permit {
    pub(crate) fn new(taken: Taken, listener: ListenerId, admitted_at: Instant) -> Self {
        let Taken { place, held, tenancy } = taken;
        Self { place, held, _tenancy: tenancy, listener, admitted_at }
    }

    /// The client has shown who it is: its place moves to the reserve in one step, nobody coming in between, and neither the
    /// ceilings of its source nor a lane count it any more. So others behind its address find room. Again is of no effect.
    pub fn authenticate(&mut self) {
        self.place.keep();
        self.held.release();
    }

    /// By what right the place is held now.
    pub fn draw(&self) -> Draw {
        self.place.draw()
    }

    /// Where the session comes from.
    pub fn source(&self) -> Source {
        self.held.source()
    }

    /// The listener it came in by.
    pub fn listener(&self) -> ListenerId {
        self.listener
    }

    /// The `now` of its [`crate::Arrival`].
    pub fn admitted_at(&self) -> Instant {
        self.admitted_at
    }
}

/// A listener, by a number of the caller's choosing; the gate only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_small_and_can_move_into_a_task() {
        fn can_move_into_a_task<T: Send + Sync + 'static>() {}
        can_move_into_a_task::<Permit>();
        assert!(size_of::<Permit>() <= 96, "{} bytes", size_of::<Permit>());
    }
}
