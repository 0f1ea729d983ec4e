//! Accepts, encrypts, drives and drains connections; knows no mail.
//!
//! - [`Listener`]: a socket bound, or passed by the service manager.
//! - [`serve`](serve()): the accept loop. A [`Service`] says who comes in and what a session is; refusing is cheap and bounded.
//! - [`Connection`]: what a session reads from and writes to, in clear or inside TLS, holding no buffer while it waits.
//! - [`Certificates`], [`Tls`]: certificates from watched files, handshakes with a limit and a deadline of their own.
//! - [`Drain`]: the tracker through which every task is spawned, and the way they all end.
//! - [`clock`]: the only clock, so that tests can move it.
//! - [`Counters`]: what only this crate can see. Everything else it tells its callers as values.
//!
//! Faults are [`NetError`], by whose they are.

mod budget;
mod certificates;
pub mod clock;
mod connection;
mod counters;
mod drain;
mod error;
mod lingering;
mod listener;
mod serve;
mod spare;
mod tls;
mod transport;

pub use certificates::{Certificate, Certificates, Pair};
pub use clock::now;
pub use connection::{Connection, GOODBYE, Read};
pub use counters::{Count, Counters, Snapshot};
pub use drain::{Drain, FAREWELL, Finished, HOLD_MOST, Hold};
pub use error::NetError;
pub use listener::{Listener, Listeners};
pub use serve::{Service, serve};
pub use tls::{Handshakes, REFUSAL_TIME, REFUSALS_MOST, Tls, TlsFacts};
