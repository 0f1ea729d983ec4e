//! What a listener is for: who comes in, who waits, who is turned away, and what a session is.
//!
//! The accept loop asks, a [`Service`] answers at once. Nothing here waits but [`Service::session`] and [`Service::vacated`], and
//! both may be dropped at any time.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::{Connection, ProxyFault, Tls};

/// What a listener is for.
pub trait Service: Send + Sync + 'static {
    /// A place, held as long as the session has it.
    type Permit: Send + 'static;

    /// Decides at once, and before anything is read, what becomes of a connection from `peer`. Who is refused is told what this
    /// put into `reply` (empty when called): a whole line with its CR LF, or nothing, to be closed without a word.
    ///
    /// Asked again for who waits: with `may_wait` when a place may be free, without when its time is over.
    fn admit(&self, peer: SocketAddr, may_wait: bool, reply: &mut BytesMut) -> Admission<Self::Permit>;

    /// Whether this address is a proxy's that says on whose behalf it connects: the connection must begin with a PROXY header then, and the
    /// client that is named there is who [`Service::admit`] is asked about.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let _nobody = peer;
        false
    }

    /// A proxy did not say on whose behalf it has connected; the connection is closed.
    fn proxy_failed(&self, proxy: SocketAddr, fault: ProxyFault) {
        let _nobody = (proxy, fault);
    }

    /// Puts into `reply` what a peer is told that cannot be admitted because the process is out of file descriptors.
    fn out_of_descriptors(&self, peer: SocketAddr, reply: &mut BytesMut);

    /// The accept loop has panicked, which would be an error of ours, and is begun anew; `cause` is what the panic said.
    fn faulted(&self, cause: &str) {
        let _nobody = cause;
    }

    /// The life of an admitted connection; the connection closes, and the place is free, when this ends in whatever way. With
    /// implicit TLS it begins with [`Connection::start_tls`].
    fn session(self: Arc<Self>, connection: Connection, permit: Self::Permit) -> impl Future<Output = ()> + Send + 'static;

    /// How this listener speaks TLS, when it does so from the first octet.
    fn implicit_tls(&self) -> Option<&Tls> {
        None
    }

    /// The waiting room there is now; `None`: nobody waits, and who does is asked about a last time.
    fn waiting_room(&self) -> Option<WaitingRoom> {
        None
    }

    /// Returns when it is worth asking again for who waits. It must count what happens from this call on, polled or not.
    fn vacated(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What becomes of a connection.
#[derive(Debug)]
pub enum Admission<P> {
    /// It comes in.
    Admitted(P),
    /// There is no place for it now, and it may wait for one. Only where the caller said that it may.
    Wait {
        /// As who it waits.
        turn: Turn,
        /// Whether there is a place that somebody else may have.
        others_may: bool,
    },
    /// It does not come in.
    Refused,
}

/// As who somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// For whom turns are taken.
    pub source: IpAddr,
    /// Whether it comes before those without, because it may have places that they may not.
    pub precedence: bool,
}

/// How many may wait for a place, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingRoom {
    /// From accept to place or refusal.
    pub wait: Duration,
    /// Connections that wait at once, on one listener.
    pub places: usize,
}
