//! What happened at the door, in numbers that only this crate can see.
//!
//! Every field is written with relaxed atomics, one `fetch_add` an occurrence, and read as a [`Snapshot`] whose fields were each true at
//! some moment of the reading, not all at the same one. Cannot fail.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter, or a gauge when something can also be taken off.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, some: usize) {
        self.0.fetch_sub(some as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more for as long as what is returned lives.
    pub(crate) fn during(&self) -> During<'_> {
        self.add();
        During(self)
    }
}

/// One of something that is going on.
pub(crate) struct During<'c>(&'c Count);

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

/// The same fields as counters and as plain numbers.
macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Written by accept loops, connections and handshakes; one for the whole process, or one a listener.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: Count,)+
        }

        /// [`Counters`] as they were.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// The figures of now.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.read(),)+ }
            }
        }
    };
}

counters! {
    /// Connections admitted and handed to a session.
    accepted,
    /// Refused connections whose reply went out whole.
    refused_answered,
    /// Refused connections closed without the whole reply.
    refused_unanswered,
    /// Gauge: refused connections answered and waiting, for a moment, for the peer to close.
    lingering,
    /// Refused connections closed before the peer had closed or its time was over, to make room for a later one.
    lingering_cut,
    /// Gauge: connections of trusted proxies whose PROXY header is awaited.
    introductions,
    /// Connections that a trusted proxy made on behalf of a client.
    proxied,
    /// Gauge: connections that wait for a place.
    waiting,
    /// Connections that got a place after they had waited.
    waiting_served,
    /// Connections refused when their time to wait was over.
    waiting_timed_out,
    /// Connections that hung up while they waited.
    waiting_left,
    /// Connections refused before their time to wait was over: the room was full, or nobody came in any more.
    waiting_refused,
    /// Times the refusing paused because its budget of processor time was spent.
    refusal_pauses,
    /// Times accept found the connection gone already.
    accept_aborted,
    /// Times accept lacked a file descriptor (EMFILE, ENFILE).
    accept_out_of_descriptors,
    /// Times accept lacked kernel memory (ENOBUFS, ENOMEM).
    accept_out_of_memory,
    /// Times accept, or taking over what it returned, failed in another way.
    accept_failed,
    /// Gauge: TLS handshakes going on, those waiting for their turn included.
    handshakes_in_progress,
    /// TLS handshakes completed.
    handshakes_completed,
    /// TLS handshakes that failed.
    handshakes_failed,
    /// TLS handshakes not completed, or not begun, by their deadline.
    handshakes_timed_out,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_going_on_ends() {
        let counters = Counters::default();
        counters.accepted.add();
        let one = counters.handshakes_in_progress.during();
        assert_eq!(counters.snapshot(), Snapshot { accepted: 1, handshakes_in_progress: 1, ..Snapshot::default() });
        drop(one);
        assert_eq!(counters.snapshot().handshakes_in_progress, 0);
    }
}
