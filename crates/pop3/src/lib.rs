//! POP3 as a pure state machine, and the table of every POP3 reply.
//!
//! Bytes and `now` go into [`Session::next`]; output, a [deadline](Session::deadline) and a [`Want`] come out. What the machine
//! cannot decide is a [`Question`] that borrows the session and is answered by value, so that answering twice or out of order
//! does not compile. A question that is not answered counts as a temporary failure of ours: `-ERR [SYS/TEMP]`.
//!
//! ```
//! # use std::{sync::Arc, time::Instant};
//! # use bytes::BytesMut;
//! use pop3::{AuthRefusal, Circumstance, Question, Session, Settings, Tls, Want};
//!
//! # fn drive(now: Instant) -> BytesMut {
//! # let settings = Arc::new(Settings::new("mail.example".parse().expect("a domain")));
//! # let mut input = BytesMut::from("USER mrose\r\nPASS tanstaaf\r\nQUIT\r\n");
//! let mut session = Session::new(settings, Circumstance { tls: Some(Tls::default()) }, now);
//! loop {
//!     match session.next(&mut input, now) {
//!         // Write the output, so that the replies to pipelined commands leave together, then read more until
//!         // `session.deadline()`, and call `session.timed_out` when that has passed.
//!         Want::Input => break,
//!         Want::Flush => { /* write the output */ }
//!         Want::Answer(Question::Auth(auth)) => auth.refuse(AuthRefusal::WrongCredentials),
//!         Want::Answer(Question::Retrieve(retrieve)) => {
//!             // Read from the store into `transfer.write`, writing the output when it says so; then `transfer.finish`.
//!             let _transfer = retrieve.begin();
//!         }
//!         Want::Answer(Question::Update(update)) => update.failed(),
//!         // Write the output, shake hands, then `session = session.secured(tls, now)`.
//!         Want::Upgrade => break,
//!         // Write the output and close.
//!         Want::Close => break,
//!     }
//! }
//! # std::mem::take(session.output())
//! # }
//! # assert!(drive(Instant::now()).ends_with(b"+OK mail.example signing off\r\n"));
//! ```
//!
//! Speaks RFC 1939 (without APOP), CAPA, PIPELINING and response codes (RFC 2449, RFC 3206), STLS (RFC 2595), SASL PLAIN, LOGIN and
//! what the listener leads (RFC 5034), and UTF8 (RFC 6856).
//!
//! Guarantees:
//! - Passwords are taken only under TLS. Without it the answer is `[SYS/PERM]` and never `[AUTH]`, at which clients would ask a
//!   person for a new password. Nothing said before STLS survives it: [`Session::secured`] makes a new value.
//! - Octet counts are exact: a RETR that does not carry as many octets as it announced never gets its terminating dot.
//! - Deletions take effect at QUIT alone, in one [`Update`]. Every other end deletes nothing.
//! - Memory is bounded by [`limits`], whatever a client sends or asks for: a listing of any length leaves in pieces.
//!
//! Refuses lines that do not end in CRLF or are too long, and octets behind STLS. It has no sockets, no clock, no async and no log.
//!
//! The replies to connections that never become a session (the gate's) are the gate's own.

mod authorization;
mod capabilities;
mod command;
pub mod limits;
mod maildrop;
mod question;
mod reply;
mod session;
mod settings;
mod state;
mod transaction;
mod transfer;

pub use mail::sasl::{Credentials, Response, Said};
pub use mail::{Mechanism, Mechanisms};
pub use maildrop::{Entry, Maildrop};
pub use question::{Auth, AuthRefusal, Question, Retrieve, Update};
pub use reply::Refusal;
pub use session::{Farewell, Session, Want};
pub use settings::{Circumstance, Settings, Timing, Tls};
pub use transfer::{Progress, Transfer};

/// What is wrong on our side; a client's faults are answered by the machine itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Configuration: our name goes into replies, which are ASCII before UTF8 (RFC 6856 §2).
    #[error("the host's name is not ASCII: write it in its xn-- form")]
    HostNotAscii,
    /// Configuration: RFC 1939 §3 sets a minimum.
    #[error("autologout must be at least {} minutes (RFC 1939 section 3)", limits::AUTOLOGOUT_AT_LEAST.as_secs() / 60)]
    AutologoutTooShort,
    /// The store: a message is not as long as its listing says. The client was not told that it has all of it.
    #[error("the message was listed with {listed} octets and read with {read}")]
    OctetsDiffer {
        /// What LIST and RETR announced.
        listed: u64,
        /// What the store's pieces came to, a final CRLF that they lacked included.
        read: u64,
    },
}
