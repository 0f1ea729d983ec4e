//! SMTP as a pure state machine: the server's side of a session (RFC 5321), and the table of every reply.
//!
//! Octets and the time go in; output, a deadline and a [`Want`] come out. What the machine cannot decide by itself it asks: a
//! [`Question`] borrows the session and is answered by value, so it cannot be answered twice or out of turn; one that is
//! dropped means 451. There are no sockets here, no clock, no tasks and no log. A driver looks like this:
//!
//! ```
//! # use std::{net::IpAddr, sync::Arc, time::Instant};
//! # use bytes::BytesMut;
//! use smtp::{Circumstance, Question, Reply, Session, Settings, Want};
//!
//! # fn drive(now: Instant) -> Result<BytesMut, mail::AddressError> {
//! let settings = Arc::new(Settings::relay("mx.example".parse()?));
//! let here = Circumstance::new(IpAddr::from([192, 0, 2, 7]));
//! let mut input = BytesMut::from(&b"EHLO client.example\r\nQUIT\r\n"[..14]);
//! let mut session = Session::new(settings, here, now);
//! loop {
//!     match session.next(&mut input, now) {
//!         // The only moment to write, so that the replies to pipelined commands leave together: take the output, write it,
//!         // then read more until `session.deadline()`, and call `session.timed_out` when that has passed.
//!         Want::Input => break,
//!         Want::Flush => { /* take the output and write it */ }
//!         Want::Answer(Question::Rcpt(rcpt)) => { rcpt.reject(Reply::MAILBOX_UNKNOWN); }
//!         Want::Answer(_) => { /* left unanswered: 451 */ }
//!         Want::Refused { .. } => { /* for the log */ }
//!         // Write, shake hands, then `session = session.secured(tls, now)`.
//!         Want::Upgrade => break,
//!         Want::Close => break,
//!     }
//! }
//! # Ok(std::mem::take(session.output()))
//! # }
//! # assert!(drive(Instant::now()).unwrap().starts_with(b"220 mx.example ESMTP"));
//! ```
//!
//! **Guarantees.** The final 250 is written from a [`mail::Receipt`] and from nothing else. Nothing said before TLS is known
//! after it, and nothing that arrived behind STARTTLS is executed. Passwords are taken only under TLS. Only CRLF ends a line,
//! only CRLF . CRLF ends a message, and a message with a bare CR or LF is read to its true end and refused, unless it was declared
//! binary: then it comes by BDAT, and is shown as it comes. Memory does not
//! grow with what the peer sends: an idle session is [`Session`] itself and the name the client gave.
//!
//! **Lines of text** may be longer than RFC 5321's 998 octets and may hold any octet: real programs send such messages, and what
//! is stored is what was received. [`limits`] has every limit that is enforced, [`Reply::ALL`] every reply.

mod arguments;
mod clock;
mod command;
mod extensions;
pub mod limits;
mod parameters;
mod question;
mod reply;
mod session;
mod settings;
mod xclient;
mod xtext;

pub use arguments::MailFrom;
pub use clock::{Deadline, Overdue};
pub use mail::sasl::{Credentials, Response, Said};
pub use mail::{Mechanism, Mechanisms};
pub use question::{Auth, Chunk, Data, EndOfData, Mail, Question, Rcpt, Xclient};
pub use reply::{Blanks, Reply};
pub use session::{Phase, Session, Want};
pub use settings::{Circumstance, FutureRelease, Role, Settings, Timing, Tls};
pub use xclient::{Client, Told, is_client_name};
