//! What travels around a message: who it is from, whom it is for, and how its body may be written.

use std::sync::Arc;

use crate::{MessageId, Requests, ReversePath};

/// The form of the body the sender declared with BODY= (RFC 6152).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyType {
    /// Lines of US-ASCII, the default.
    #[default]
    SevenBit,
    /// Lines that may carry octets above 127.
    EightBitMime,
}

/// When a message is to be released for delivery (RFC 4865).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// HOLDFOR: so many seconds from its arrival on.
    After(u32),
    /// HOLDUNTIL: at this time, in seconds since 1970.
    At(i64),
}

/// One message's envelope, as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The id the message keeps from accept to fetch.
    pub id: MessageId,
    /// Where bounces go; null for bounces themselves.
    pub reverse_path: ReversePath,
    /// The local accounts that receive it: canonical names from the directory, each once.
    pub recipients: Vec<Arc<str>>,
    /// What BODY= said.
    pub body: BodyType,
    /// Whether SMTPUTF8 was asked for (RFC 6531).
    pub utf8: bool,
    /// What MAIL and RCPT asked for besides; nothing, mostly.
    pub requests: Option<Box<Requests>>,
}
