//! One descriptor kept for the moment when there is none left.
//!
//! When accept fails for want of a descriptor, the connection stays in the kernel's queue and its peer waits for nothing. Giving the
//! spare up makes room to accept that one connection, answer it and close it; then the spare is taken again. Should another
//! thread have been faster, there is no spare until the next try. Cannot fail.

use std::fs::File;
use std::os::fd::OwnedFd;

/// A descriptor that is worth nothing but its number.
#[derive(Debug)]
pub(crate) struct Spare(Option<OwnedFd>);

impl Spare {
    pub(crate) fn new() -> Self {
        Self(take())
    }

    /// Calls `answer` with one more descriptor to be had than there is now.
    pub(crate) fn lend<T>(&mut self, answer: impl FnOnce() -> T) -> T {
        self.0 = None;
        let answered = answer();
        self.0 = take();
        answered
    }
}

fn take() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}
