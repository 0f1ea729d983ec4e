//! What it means to have accepted, listed, read and deleted a message, and to know whom mail is for.
//!
//! Four small traits, each a promise that services rely on and every engine keeps in its own way:
//!
//! - [`Intake`]: a message is taken in pieces and [committed](Incoming::commit); the receipt is made after the commit is on
//!   stable storage, never before. Dropping an [`Incoming`] leaves no trace of it.
//! - [`Maildrops`]: one session at a time holds a maildrop, sees a listing that does not change, reads bodies in pieces and
//!   deletes all it wants deleted in one step.
//! - [`Directory`]: domains, accounts, aliases and lists; the rules are one pure value, [`Book`], which an engine keeps durable.
//! - [`Quarantine`]: messages that were [held](Incoming::hold) back from the listing, for an operator to decide about.
//!
//! [`Error`] says whose fault it was and nothing of the engine; services map it to a reply in their `rescue.rs`. An engine that
//! cannot know whether a commit happened reports an error: a duplicate is possible, a loss is not.
//!
//! `memory` is an engine for tests. With the feature `conformance` the suite every engine passes is here, too.

mod book;
mod change;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod held;
mod lease;
mod list;
pub mod memory;
mod quota;

use std::sync::Arc;

use async_trait::async_trait;
use mail::{Envelope, ForwardPath, MessageId, Receipt};

pub use book::{Account, Alias, Book, DELIMITERS, DomainRecord, Resolution, Terms, cost};
pub use change::{Change, ChangeError};
pub use held::{Decision, HELD_PIECE, HELD_SHOWN, HeldMessage, Hold, Quarantine};
pub use lease::{Lease, Leases, Refused};
pub use list::{Closed, List, Posters, Posting};
pub use quota::{Allowance, Limit, Load, Quota, QuotaChange};

/// Everything the services need of one engine.
pub trait Store: Intake + Maildrops + Directory {}

impl<T: Intake + Maildrops + Directory> Store for T {}

/// Takes messages in.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Whether a message could be taken now; asked at MAIL, before the client sends anything large. Never waits.
    ///
    /// While it is [`Error::Unavailable`] nobody is let in who would bring mail; [`Error::Full`] is said at MAIL alone.
    ///
    /// # Errors
    /// What [`Intake::begin`] would answer: full, or unavailable.
    fn ready(&self) -> Result<(), Error>;

    /// Begins to take a message. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room, [`Error::Unavailable`] when nothing can be committed at present.
    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error>;
}

/// A message on its way in. Dropped before its commit it leaves nothing behind, on disk or in memory.
#[async_trait]
pub trait Incoming: Send {
    /// Takes the next piece of the body, before the next is read from the socket. Waits while memory or disk is behind.
    /// Not cancel-safe: a message whose `write` was dropped must be dropped, too.
    ///
    /// # Errors
    /// As [`Intake::begin`].
    async fn write(&mut self, piece: &[u8]) -> Result<(), Error>;

    /// Reads again what was written: a piece of it from octet `from` on, empty where there is no more. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be read.
    async fn reread(&mut self, from: u64) -> Result<Vec<u8>, Error>;

    /// From its commit on the message is in its maildrops, and not in their listings, until somebody [decides](Quarantine::decide) or the
    /// hold's time has come: then it is in the listing of the next session. Without it a message is listed.
    fn hold(&mut self, hold: Hold);

    /// Puts message and envelope on stable storage, `trace` fields before the body, and attests it. Dropping the future leaves
    /// the outcome open: the message is stored whole or not at all.
    ///
    /// # Errors
    /// Whatever the error, the message must be taken as not accepted.
    async fn commit(self: Box<Self>, trace: Vec<u8>) -> Result<Receipt, Error>;
}

/// Opens maildrops (RFC 1939 §4).
#[async_trait]
pub trait Maildrops: Send + Sync {
    /// Opens the maildrop of `account` for one session alone, with everything committed before this call in its listing, but for what is held.
    /// Answers at once when another session has it, unless that one has been idle for the grace time: then it is taken over,
    /// and the old session's lease is [revoked](Lease::revoked). Cancel-safe.
    ///
    /// # Errors
    /// [`Error::InUse`], or that the store is unavailable.
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error>;
}

/// One session's hold on one maildrop. Dropping it releases the maildrop and deletes nothing.
#[async_trait]
pub trait Maildrop: Send + Sync {
    /// The messages, oldest first; it does not change while the maildrop is open.
    fn listing(&self) -> &Arc<[Entry]>;

    /// This session's claim: to be [touched](Lease::touch) at each sign of life, and watched.
    fn lease(&self) -> &Lease;

    /// Starts to read the message that `entry` of this listing names. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Damaged`] when what was stored is not what is read, or that the store is unavailable.
    async fn read(&self, entry: &Entry) -> Result<Box<dyn Body>, Error>;

    /// Deletes these messages, all or none, durably, and releases the maildrop.
    ///
    /// # Errors
    /// [`Error::InUse`] when the maildrop was taken over meanwhile; otherwise as [`Incoming::commit`].
    async fn update(self: Box<Self>, deleted: Vec<Entry>) -> Result<(), Error>;
}

/// A message on its way out.
#[async_trait]
pub trait Body: Send {
    /// Appends the next piece, at most 64 KiB, to `piece`; `false` when there is no more. Its checksum has been compared by
    /// the time the last piece is handed out. Not cancel-safe.
    ///
    /// # Errors
    /// As [`Maildrop::read`].
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool, Error>;
}

/// One message of a listing. 32 octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The message's id and, written out, its unique-id (RFC 1939 §7).
    pub id: MessageId,
    /// Octets as POP3 counts them: trace fields and body, and two more where the last line lacks its CRLF.
    pub octets: u64,
    /// The engine's own mark; it means nothing to others.
    pub place: u64,
}

/// Knows whom mail is for and who may log in.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Whose maildrops a recipient's mail goes to.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be told at present.
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error>;

    /// The account that logs in by this name, in any [spelling](mail::canonical).
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn account(&self, login: &str) -> Result<Option<Account>, Error>;

    /// What is in the maildrop of an account, held or not, with everything committed before this call; what was deleted may be counted for a moment
    /// more. Cheap: it is asked at RCPT where there is a quota.
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn load(&self, account: &str) -> Result<Load, Error>;

    /// What the accounts' password hashes [cost], each once: the work by which accounts could be told from each other.
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn costs(&self) -> Result<Vec<Arc<str>>, Error> {
        Ok(self.book().await?.costs().cloned().collect())
    }

    /// How many accounts [have no verifier](Book::unverified).
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn unverified(&self) -> Result<u64, Error> {
        Ok(self.book().await?.unverified())
    }

    /// The directory's [secret](Book::secret).
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn secret(&self) -> Result<[u8; 32], Error> {
        Ok(self.book().await?.secret())
    }

    /// Makes one change durable.
    ///
    /// # Errors
    /// A [`ChangeError`] that names the thing and the fix, or that the store is unavailable.
    async fn change(&self, change: Change) -> Result<(), ChangeError>;

    /// Everything the directory holds, at one instant.
    ///
    /// # Errors
    /// As [`Directory::resolve`].
    async fn book(&self) -> Result<Arc<Book>, Error>;
}

/// Why a store did not do what was asked. What is inside is for the operator, never for the peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room: it recovers by itself when there is some.
    #[error("the store is full: {0}")]
    Full(String),
    /// Another session holds the maildrop, or has taken it over.
    #[error("the maildrop is in use by another session")]
    InUse,
    /// A stored message does not match its checksum or cannot be found.
    #[error("message {id} is damaged: {cause}")]
    Damaged {
        /// The message.
        id: MessageId,
        /// What was found.
        cause: String,
    },
    /// Nothing can be done at present, or it is not known whether it was done.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}
