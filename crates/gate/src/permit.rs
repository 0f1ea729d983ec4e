//! Leave to be here, for as long as the value lives.
//!
//! Guarantees: dropping a [`Permit`] returns its place and its hold on the source, once, on every path. The place goes
//! last: who waits is told of it, and must find the source's count lowered then. A permit is
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
    held: Held,
    tenancy: Option<Tenancy>,
    place: Place,
    listener: ListenerId,
    admitted_at: Instant,
    is_counted: bool,
    is_authenticated: bool,
}

/// All that an admission took.
pub(crate) struct Taken<P = Place> {
    pub(crate) place: P,
    pub(crate) held: Held,
    pub(crate) tenancy: Option<Tenancy>,
    /// Whether the rates of connections have counted it.
    pub(crate) is_counted: bool,
}

impl Permit {
    pub(crate) fn new(taken: Taken, listener: ListenerId, admitted_at: Instant) -> Self {
        let Taken { place, held, tenancy, is_counted } = taken;
        Self { place, held, tenancy, listener, admitted_at, is_counted, is_authenticated: false }
    }

    /// The client has shown who it is: its place moves to the reserve in one step, nobody coming in between, and neither the
    /// ceilings of its source nor a lane count it any more. So others behind its address find room. Again is of no effect.
    pub fn authenticate(&mut self) {
        self.held.release();
        self.place.keep();
        self.is_authenticated = true;
    }

    /// The client is no longer who it was. What it held as that it holds until [`crate::Gate::move_to`] judges it anew.
    pub fn log_out(&mut self) {
        self.is_authenticated = false;
    }

    /// Whether the client has shown who it is.
    pub fn is_authenticated(&self) -> bool {
        self.is_authenticated
    }

    /// By what right the place is held now.
    pub fn draw(&self) -> Draw {
        self.place.draw()
    }

    /// Where the session comes from.
    pub fn source(&self) -> Source {
        self.held.source()
    }

    /// Counts the session beside all ceilings and for no client of the operator's, until it [settles](Self::settle). Whether the rates
    /// of connections have counted its source for the connection itself, which is said once.
    pub(crate) fn leave_source(&mut self) -> bool {
        self.held.release();
        self.tenancy = None;
        std::mem::take(&mut self.is_counted)
    }

    /// Its place, to be held by another right.
    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// The session is another source's. A later move gives back no connection: this client did connect.
    pub(crate) fn settle(&mut self, taken: Taken<()>) {
        let Taken { place: (), held, tenancy, is_counted: _ } = taken;
        (self.held, self.tenancy) = (held, tenancy);
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
