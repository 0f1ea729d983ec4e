//! Whom the directory does not know, asked of others: of an SQL database which accounts an address stands for, and of the mail server behind
//! ours whether it knows the address.
//!
//! A [`Lookup`] remembers what was found for a while, and what was not for another; each within bounds of its own, so that addresses which
//! nobody has do not drive out those which somebody has, and whatever is asked memory stays bounded. Of each of the two at most [`AT_ONCE`]
//! questions are under way; others wait for their turn within the time that a question may take.
//!
//! Everything that is not an answer is an error, and never "nobody". Errors are not remembered. Dropping a future gives its question up: of a
//! database it is interrupted, with a server its connection is closed.

mod asking;
mod call_forward;
mod database;
mod memory;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use asking::{AT_ONCE, QUESTION_OCTETS};
pub use call_forward::{CallForward, Protocol};
pub use database::{Database, MOST_ACCOUNTS};
pub use memory::REMEMBERED_OCTETS;

use crate::asking::Asking;

/// Who is asked, and what is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which accounts an address stands for is asked there.
    pub database: Option<Database>,
    /// Whether an address is known is asked there.
    pub call_forward: Option<CallForward>,
    /// What is remembered of each.
    pub remembering: Remembering,
}

/// For how long answers are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembering {
    /// For how long is remembered who was found.
    pub found: Duration,
    /// For how long is remembered that nobody was.
    pub unknown: Duration,
    /// How many addresses are remembered, of each kind, in at most [`REMEMBERED_OCTETS`] times as many octets.
    pub addresses: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The query cannot be asked.
    #[error("the query: {0}")]
    Query(#[from] rusqlite::Error),
    /// It is not to be asked with an address.
    #[error("the query has {0} parameters: write one, ?1, for the address")]
    Parameters(usize),
    /// It could change something.
    #[error("the query is not one that only reads")]
    Writes,
    /// More accounts than an address may stand for.
    #[error("the query gives more than {MOST_ACCOUNTS} accounts")]
    TooMany,
    /// The server cannot be reached, or has gone in the midst of it.
    #[error("{server}: {source}")]
    Connection {
        /// Where it is to be.
        server: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server has said something that does not tell whether it knows the address.
    #[error("{server} answers {command} with {reply:?}")]
    Unwilling {
        /// Where it is.
        server: String,
        /// What it was asked.
        command: &'static str,
        /// The beginning of what it said.
        reply: String,
    },
    /// The server has said what is no reply.
    #[error("{server} answers {command} with what is no reply of SMTP: {reply:?}")]
    Nonsense {
        /// Where it is.
        server: String,
        /// What it was asked.
        command: &'static str,
        /// The beginning of what it said.
        reply: String,
    },
    /// No answer in time.
    #[error("no answer from {0} within {1:?}")]
    TimedOut(String, Duration),
    /// The process ends.
    #[error("the question was given up")]
    GivenUp,
}

/// Asks, and remembers.
#[derive(Debug)]
pub struct Lookup {
    database: Option<Asking<Database, Arc<[String]>>>,
    call_forward: Option<Asking<CallForward, bool>>,
}

impl Lookup {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let Settings { database, call_forward, remembering } = settings;
        Self {
            database: database.map(|database| Asking::new(database, &remembering)),
            call_forward: call_forward.map(|server| Asking::new(server, &remembering)),
        }
    }

    /// The database that is asked.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref().map(|asking| &**asking.whom())
    }

    /// The server that is asked.
    pub fn call_forward(&self) -> Option<&CallForward> {
        self.call_forward.as_ref().map(|asking| &**asking.whom())
    }

    /// The accounts that an address stands for, as the database has it; none when nobody has it, or no database is asked.
    ///
    /// # Errors
    /// See [`Error`]: it is not known who has it.
    pub async fn accounts(&self, address: &str) -> Result<Arc<[String]>, Error> {
        let Some(asking) = &self.database else { return Ok(Arc::default()) };
        let (whom, timeout) = (|| "the database".to_owned(), asking.whom().timeout);
        asking.answer(address, timeout, whom, |place| database::accounts(Arc::clone(asking.whom()), address, place)).await
    }

    /// Whether the server behind ours takes mail for an address; where none is asked, it does not.
    ///
    /// # Errors
    /// See [`Error`]: it is not known.
    pub async fn is_known(&self, address: &str) -> Result<bool, Error> {
        let Some(asking) = &self.call_forward else { return Ok(false) };
        let server = asking.whom();
        let ask = |place| async move {
            let known = server.knows(address).await;
            drop(place);
            known
        };
        asking.answer(address, server.timeout, || server.server.clone(), ask).await
    }
}

/// A panic elsewhere leaves these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
