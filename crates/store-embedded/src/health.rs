//! Whether the store can take mail, known to everybody in one step.
//!
//! Full comes and goes by itself. Poisoned does not: after a failed write or sync nobody can know what the disk holds, so nothing
//! is committed any more until the store is opened again and has read it (retrying an fsync would report success for lost pages).

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use store::Error;

use crate::disk::{no_descriptor, no_room};
use crate::lock;

/// The state of one open store.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: AtomicU8,
    cause: Mutex<String>,
}

impl Health {
    /// Whether mail can be taken.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.state.load(Ordering::Acquire) {
            OPEN => Ok(()),
            FULL => Err(Error::Full(lock(&self.cause).clone())),
            _ => Err(self.unavailable()),
        }
    }

    /// Whether anything can be committed; deletions are even when the disk is full.
    pub(crate) fn check_poison(&self) -> Result<(), Error> {
        if self.state.load(Ordering::Acquire) == POISONED { Err(self.unavailable()) } else { Ok(()) }
    }

    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        self.state.load(Ordering::Acquire) == FULL
    }

    /// No room for mail.
    pub(crate) fn set_full(&self, cause: &str) {
        if self.change(OPEN, FULL, cause) {
            tracing::error!(cause, "the store is full: mail is answered 452 until there is room");
        }
    }

    /// Room again.
    pub(crate) fn set_open(&self) {
        if self.change(FULL, OPEN, "") {
            tracing::info!("the store has room again");
        }
    }

    /// Nothing is committed from here on.
    pub(crate) fn poison(&self, cause: &str) {
        let mut held = lock(&self.cause);
        if self.state.swap(POISONED, Ordering::AcqRel) != POISONED {
            *held = cause.to_owned();
            tracing::error!(cause, "the store accepts nothing more: open it again after the disk has been looked after");
        }
    }

    /// What a failed operation means: a full disk passes, everything else poisons.
    pub(crate) fn judge(&self, doing: &str, error: &io::Error) -> Error {
        let cause = format!("{doing}: {error}");
        if no_room(error) {
            return Error::Full(cause);
        }
        self.poison(&cause);
        Error::Unavailable(cause)
    }

    /// What a failure means for the file of a body that no record names yet. As [`Health::judge`], but a want of descriptors passes:
    /// the message is not taken, and nothing is in doubt.
    pub(crate) fn judge_body(&self, error: &io::Error) -> Error {
        match no_descriptor(error) {
            true => Error::Unavailable(format!("{BODY}: {error}")),
            false => self.judge(BODY, error),
        }
    }

    /// `open`, `full` or `poisoned`.
    pub(crate) fn name(&self) -> &'static str {
        match self.state.load(Ordering::Acquire) {
            OPEN => "open",
            FULL => "full",
            _ => "poisoned",
        }
    }

    fn unavailable(&self) -> Error {
        Error::Unavailable(lock(&self.cause).clone())
    }

    fn change(&self, from: u8, to: u8, cause: &str) -> bool {
        let mut held = lock(&self.cause);
        let changed = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if changed {
            *held = cause.to_owned();
        }
        changed
    }
}

const OPEN: u8 = 0;
const FULL: u8 = 1;
const POISONED: u8 = 2;
const BODY: &str = "writing a body";

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_want_of_descriptors_refuses_a_message_and_a_failing_disk_refuses_all() {
        let health = Health::default();
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(matches!(health.judge_body(&errno.into()), Error::Unavailable(_)));
            assert_eq!((health.name(), health.check().is_ok()), ("open", true));
        }
        assert!(matches!(health.judge_body(&Errno::NOSPC.into()), Error::Full(_)));
        assert_eq!(health.name(), "open");
        assert!(matches!(health.judge_body(&Errno::IO.into()), Error::Unavailable(_)));
        assert_eq!(health.name(), "poisoned");
    }
}
