//! A bounded part of something: at most so many at once.
//!
//! Guarantees: [`Lane::enter`] says yes only while fewer are in it than it is wide; made narrower, it puts nobody out and
//! lets nobody in until enough have left. Who enters leaves once; the caller sees to that. Never waits, cannot fail.
//!
//! What is in a lane is a statistic beside the pool's own word, so the model leaves it alone.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Debug)]
pub(crate) struct Lane {
    in_use: AtomicU32,
    width: AtomicU32,
}

impl Lane {
    pub(crate) fn new(width: u32) -> Self {
        Self { in_use: AtomicU32::new(0), width: AtomicU32::new(width) }
    }

    /// Enters, if there is room.
    pub(crate) fn enter(&self) -> bool {
        // Relaxed: a count guards no other memory.
        let width = self.width.load(Relaxed);
        self.in_use.fetch_update(Relaxed, Relaxed, |in_use| (in_use < width).then(|| in_use + 1)).is_ok()
    }

    /// Enters, whether there is room or not.
    pub(crate) fn enter_regardless(&self) {
        self.in_use.fetch_add(1, Relaxed);
    }

    /// Whether somebody could enter now.
    pub(crate) fn has_room(&self) -> bool {
        self.in_use.load(Relaxed) < self.width.load(Relaxed)
    }

    pub(crate) fn leave(&self) {
        self.in_use.fetch_sub(1, Relaxed);
    }

    pub(crate) fn widen(&self, width: u32) {
        self.width.store(width, Relaxed);
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.in_use.load(Relaxed)
    }
}
