//! Tells who waits that a place may be free.
//!
//! The gate makes nobody wait. Callers who do (a waiting room) ask it again when [`Vacancy::told`] returns. A place that comes back
//! looks at one number; while nobody waits, that is all it costs.
//!
//! Guarantees: whoever calls [`Vacancy::told`], is refused a place afterwards and then awaits what it returned misses no place
//! that comes back after that refusal: either the one who returns it sees that somebody waits, or the one who waits had seen
//! the place. One place wakes all of them, which are as many as there are listeners: it depends on who waits whether they may have it.
//! Dropping the future is safe. Refuses nobody, cannot fail.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, fence};
use tokio::sync::Notify;

/// Who waits, and how they are told.
#[derive(Debug, Default)]
pub struct Vacancy {
    waiting: AtomicUsize,
    signal: Notify,
}

impl Vacancy {
    /// Returns when a place may be free. It counts from this call on, not from the first poll.
    pub fn told(&self) -> impl Future<Output = ()> + Send {
        self.waiting.fetch_add(1, Relaxed);
        let (waiting, told) = (Waiting(self), self.signal.notified());
        // Before any look at the pool: see `tell`.
        fence(SeqCst);
        async move {
            told.await;
            drop(waiting);
        }
    }

    /// Whether anybody waits.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Wakes who waits, if anybody does.
    pub(crate) fn tell(&self) {
        // The place is back before this fence, and the look at who waits comes after it; who waits does the reverse. So one
        // of the two sees the other.
        fence(SeqCst);
        if self.waiting.load(Relaxed) > 0 {
            self.signal.notify_waiters();
        }
    }
}

/// One who waits, until dropped.
struct Waiting<'v>(&'v Vacancy);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn is_ready(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn nobody_waits_nobody_is_told() {
        let vacancy = Vacancy::default();
        vacancy.tell();
        let mut waits = pin!(vacancy.told());
        assert!(!is_ready(waits.as_mut()), "what was told before is not kept");
        vacancy.tell();
        assert!(is_ready(waits.as_mut()));
    }

    #[test]
    fn what_is_told_before_the_first_poll_counts() {
        let vacancy = Vacancy::default();
        let mut waits = pin!(vacancy.told());
        vacancy.tell();
        assert!(is_ready(waits.as_mut()));
        let mut waits = [pin!(vacancy.told()), pin!(vacancy.told())];
        vacancy.tell();
        assert!(waits.iter_mut().all(|waits| is_ready(waits.as_mut())));
    }

    #[test]
    fn one_place_wakes_all_and_who_leaves_is_forgotten() {
        let vacancy = Vacancy::default();
        let (mut first, second) = (Box::pin(vacancy.told()), Box::pin(vacancy.told()));
        assert!(!is_ready(first.as_mut()) && vacancy.is_awaited());
        drop(second);
        vacancy.tell();
        assert!(is_ready(first.as_mut()));
        drop(first);
        assert!(!vacancy.is_awaited());
    }
}
