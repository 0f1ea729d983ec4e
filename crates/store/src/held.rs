//! Messages that are accepted and not listed: in their maildrops, counted by quotas, and out of sight until somebody decides or a time has
//! come.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use mail::MessageId;

use crate::{Error, Load};

/// That a message is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// A line for whoever decides, of at most 64 KiB.
    pub reason: String,
    /// When it ends by itself, to the millisecond; `None`: when somebody decides.
    pub until: Option<SystemTime>,
}

/// One message, held in one maildrop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldMessage {
    /// The message.
    pub id: MessageId,
    /// Whose maildrop it is in.
    pub account: Arc<str>,
    /// When it was accepted, to the millisecond.
    pub received: SystemTime,
    /// Its reverse path, with its brackets.
    pub sender: String,
    /// See [`Entry::octets`](crate::Entry::octets).
    pub octets: u64,
    /// What [`Incoming::hold`](crate::Incoming::hold) was told.
    pub hold: Hold,
}

/// What becomes of a message that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is listed from the next time on that the maildrop is opened, in its old place.
    Release,
    /// It is deleted.
    Remove,
}

/// Shows what is held, and ends it.
#[async_trait]
pub trait Quarantine: Send + Sync {
    /// What is held at present in the maildrop of `account`, or in all of them, oldest first; of more than [`HELD_SHOWN`] messages the oldest.
    /// Nothing for an account that is not there.
    ///
    /// # Errors
    /// That the store is unavailable.
    async fn held(&self, account: Option<&str>) -> Result<Vec<HeldMessage>, Error>;

    /// A piece of message `id`, as its recipients would fetch it: at most [`HELD_PIECE`] octets from octet `from` on, and empty where there is no more. None of a
    /// message that is not held.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot be read, or that the store is unavailable.
    async fn text(&self, id: MessageId, from: u64) -> Result<Option<Vec<u8>>, Error>;

    /// Decides about message `id` where it is held: in the maildrop of `account`, or in all of them. Durable when it is answered; the
    /// number of maildrops it was held in, so that 0 says that nothing was done. Dropping the future stops nothing.
    ///
    /// # Errors
    /// As [`Incoming::commit`](crate::Incoming::commit): it may be done in some maildrops.
    async fn decide(&self, id: MessageId, account: Option<&str>, decision: Decision) -> Result<usize, Error>;

    /// Deletes what was accepted before this time and is held until somebody decides; at most `most` deliveries of it, the oldest first, to the
    /// millisecond. Durable when it is answered; how much it was. Dropping the future stops nothing.
    ///
    /// # Errors
    /// As [`Incoming::commit`](crate::Incoming::commit): some of it may be done.
    async fn expire(&self, before: SystemTime, most: usize) -> Result<Load, Error>;
}

/// The most octets of a message that are shown at once.
pub const HELD_PIECE: usize = 64 << 10;
/// The most messages that are shown at once.
pub const HELD_SHOWN: usize = 10_000;
