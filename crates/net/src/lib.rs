//! Accepts, encrypts, drives and drains connections; knows no mail.
//!
//! - [`Listener`]: a socket bound, or passed by the service manager.
//! - [`serve`](serve()): the accept loop. A [`Service`] says who comes in, who may wait for a place and what a session is; refusing
//!   and waiting are cheap and bounded.
//! - A trusted proxy's connections begin with a PROXY header, and are its clients' from there on ([`Service::is_proxy`]).
//! - [`Connection`]: what a session reads from and writes to, in clear or inside TLS, holding no buffer while it waits.
//! - [`Certificates`], [`Tls`]: certificates from watched files, handshakes with a limit and a deadline of their own.
//! - [`Drain`]: the tracker through which every task is spawned, and the way they all end.
//! - [`clock`]: the only clock, so that tests can move it.
//! - [`Budget`]: what refusing may cost, all listeners together.
//! - [`Counters`]: what only this crate can see. Everything else it tells its callers as values.
//!
//! Faults are [`NetError`], by whose they are.

mod authorities;
mod budget;
mod certificates;
pub mod clock;
mod connection;
mod counters;
mod door;
mod drain;
mod error;
mod introduction;
mod lingering;
mod listener;
mod queue;
mod serve;
mod service;
mod spare;
mod tls;
mod transport;
mod watch;

pub use authorities::Authorities;
pub use budget::Budget;
pub use certificates::{Certificate, Certificates, Pair};
pub use clock::now;
pub use connection::{Connection, Expected, GOODBYE, OCTETS_MOST, Read};
pub use counters::{Count, Counters, Snapshot};
pub use door::INTRODUCTIONS_MOST;
pub use drain::{Drain, FAREWELL, Finished, HOLD_MOST, Hold};
pub use error::NetError;
pub use introduction::ProxyFault;
pub use lingering::LINGERING_MOST;
pub use listener::{Listener, Listeners};
pub use serve::serve;
pub use service::{Admission, Service, Turn, WaitingRoom};
pub use tls::{Handshakes, REFUSAL_TIME, REFUSALS_MOST, Tls, TlsFacts};
