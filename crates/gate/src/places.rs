//! Where an admission gets its place: from the pool, or, for a session whose client becomes another, from itself.
//!
//! The checks are the same for both and are written once, in `gate.rs`. Neither waits. Refuses with the [`Usage`] that was the reason.

use std::sync::Arc;

use crate::pool::{Draw, Place, Pool, Usage};

/// One of the two.
pub(crate) trait Places {
    /// What a place is to whoever asked for it.
    type Place;

    /// The pool, as the newcomer finds it.
    fn usage(&self) -> Usage;

    /// A place by this right.
    fn draw(&mut self, draw: Draw) -> Result<Self::Place, Usage>;
}

impl Places for &Arc<Pool> {
    type Place = Place;

    fn usage(&self) -> Usage {
        Pool::usage(self)
    }

    fn draw(&mut self, draw: Draw) -> Result<Place, Usage> {
        self.acquire(draw)
    }
}

/// The place stays; by what right it is held changes.
impl Places for Place {
    type Place = ();

    fn usage(&self) -> Usage {
        self.others()
    }

    fn draw(&mut self, draw: Draw) -> Result<(), Usage> {
        self.redraw(draw)
    }
}
