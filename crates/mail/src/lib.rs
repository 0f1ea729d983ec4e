//! The words of mail, shared by every crate and knowing none of them.
//!
//! Addresses and the envelope (RFC 5321 §4.1.2, RFC 6531) with what senders ask for, the id a message keeps from accept to fetch, the receipt that proves
//! it is on stable storage, the two framings of the wire (CRLF lines and dot-stuffed data), binary messages made of lines, secrets that do not print,
//! SASL mechanisms and what is said in them, the token that names a refusal, and sizes, durations and rates written with units.
//!
//! Everything here is a plain value: no sockets, no clock, no async. Parsing either yields a valid value or names what is wrong.

pub mod address;
mod as_text;
pub mod binary;
mod domain;
pub mod dot;
mod envelope;
mod id;
mod limits;
pub mod line;
mod rate;
mod receipt;
mod requests;
pub mod sasl;
mod secret;
mod token;
pub mod units;

pub use address::{AddressError, ForwardPath, Host, Mailbox, ReversePath, canonical};
pub use domain::Domain;
pub use envelope::{BodyType, Envelope, Release};
pub use id::{IdError, MessageId};
pub use limits::{DOMAIN_OCTETS, LABEL_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS};
pub use rate::{ByteRate, Rate};
pub use receipt::Receipt;
pub use requests::{DeliverBy, Notify, OriginalRecipient, RecipientRequests, Requests, Returned};
pub use sasl::{Mechanism, Mechanisms};
pub use secret::Secret;
pub use token::{REFUSAL_OCTETS, RULE_OCTETS, Token, first_labels};
pub use units::{ByteSize, Span};
