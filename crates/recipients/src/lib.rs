//! Whom the directory does not know, asked of an SQL database: which accounts an address stands for.
//!
//! A [`Lookup`] asks one query with one parameter, the address, and takes the first column of every row for an account's name. What was found is
//! remembered for a while, and what was not for another; each within a bound of its own, so that addresses which nobody has do not drive out
//! those which somebody has. The database is an SQLite file, opened for reading for each question, so that a file which replaces it is seen.
//!
//! Questions wait on threads that may; at most [`AT_ONCE`] of them. One that takes too long is interrupted and is an error, as everything is that
//! is not an answer: never "nobody". Errors are not remembered. Dropping the future of [`Lookup::accounts`] interrupts its question, which also looks
//! at the time itself as it works: none keeps its place for much longer than it may take.

mod memory;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::memory::Memory;

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The SQLite file.
    pub database: PathBuf,
    /// The query: one parameter, and accounts' names in its first column.
    pub query: String,
    /// How long one question may take, its waiting for others included.
    pub timeout: Duration,
    /// For how long is remembered who was found.
    pub remember: Duration,
    /// For how long is remembered that nobody was.
    pub remember_unknown: Duration,
    /// How many addresses are remembered, of each kind.
    pub remembered: usize,
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
    /// No answer in time.
    #[error("no answer from the database within {0:?}")]
    TimedOut(Duration),
    /// The process ends.
    #[error("the question was given up")]
    GivenUp,
}

/// Whether a query can be asked of a database. Waits for the disk.
///
/// # Errors
/// See [`Error`].
pub fn check(database: &Path, query: &str) -> Result<(), Error> {
    let db = open(database, Duration::from_secs(1))?;
    let statement = db.prepare(query)?;
    match (statement.readonly(), statement.parameter_count()) {
        (false, _) => Err(Error::Writes),
        (true, 1) => Ok(()),
        (true, other) => Err(Error::Parameters(other)),
    }
}

/// Asks, and remembers.
#[derive(Debug)]
pub struct Lookup {
    settings: Arc<Settings>,
    places: Arc<Semaphore>,
    found: Mutex<Memory>,
    unknown: Mutex<Memory>,
}

impl Lookup {
    /// Nothing is asked yet.
    pub fn new(settings: Settings) -> Self {
        let memory = |time| Mutex::new(Memory::new(time, settings.remembered));
        let (found, unknown) = (memory(settings.remember), memory(settings.remember_unknown));
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), found, unknown, settings: Arc::new(settings) }
    }

    /// The accounts that an address stands for; none when nobody has it.
    ///
    /// # Errors
    /// See [`Error`]: it is not known who has it.
    pub async fn accounts(&self, address: &str) -> Result<Arc<[String]>, Error> {
        let now = Instant::now().into_std();
        let remembered = lock(&self.found).recall(address, now).or_else(|| lock(&self.unknown).recall(address, now));
        if let Some(accounts) = remembered {
            return Ok(accounts);
        }
        let timeout = self.settings.timeout;
        let asked = tokio::time::timeout(timeout, self.ask(address)).await;
        let accounts: Arc<[String]> = asked.unwrap_or(Err(Error::TimedOut(timeout)))?.into();
        let memory = if accounts.is_empty() { &self.unknown } else { &self.found };
        lock(memory).keep(address, Arc::clone(&accounts), Instant::now().into_std());
        Ok(accounts)
    }

    async fn ask(&self, address: &str) -> Result<Vec<String>, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::GivenUp)?;
        let (settings, address, question) = (Arc::clone(&self.settings), address.to_owned(), Question::default());
        let (asked, deadline) = (question.clone(), Instant::now() + settings.timeout);
        let answer = tokio::task::spawn_blocking(move || {
            let answer = query(&settings, &address, &asked, deadline);
            drop(place);
            answer
        });
        let answer = answer.await.map_err(|_| Error::GivenUp)?;
        drop(question);
        answer
    }
}

/// A question under way: dropped by who asked, it is interrupted.
#[derive(Clone, Default)]
struct Question(Arc<Mutex<Progress>>);

#[derive(Default)]
enum Progress {
    #[default]
    Waiting,
    Asking(InterruptHandle),
    GivenUp,
}

impl Question {
    /// Whether it is still to be asked.
    fn begin(&self, db: &Connection) -> bool {
        let mut progress = lock(&self.0);
        let wanted = !matches!(*progress, Progress::GivenUp);
        if wanted {
            *progress = Progress::Asking(db.get_interrupt_handle());
        }
        wanted
    }

    /// Has the database look now and then whether the answer is still waited for. An interruption alone would be lost where it comes before a
    /// statement begins, and as often as one does.
    fn watch(&self, db: &mut Connection, deadline: Instant) -> rusqlite::Result<()> {
        let progress = Arc::clone(&self.0);
        db.progress_handler(LOOK_AFTER, Some(move || Instant::now() >= deadline || matches!(*lock(&progress), Progress::GivenUp)))
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Progress::Asking(handle) = std::mem::replace(&mut *lock(&self.0), Progress::GivenUp) {
            handle.interrupt();
        }
    }
}

fn open(path: &Path, timeout: Duration) -> Result<Connection, Error> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    db.busy_timeout(timeout).map_err(failed)?;
    Ok(db)
}

/// Waits for the disk, and for whoever writes to the database.
fn query(settings: &Settings, address: &str, question: &Question, deadline: Instant) -> Result<Vec<String>, Error> {
    let mut db = open(&settings.database, deadline.saturating_duration_since(Instant::now()))?;
    if !question.begin(&db) {
        return Err(Error::GivenUp);
    }
    question.watch(&mut db, deadline)?;
    let mut statement = db.prepare(&settings.query)?;
    let mut rows = statement.query([address])?;
    let mut accounts = Vec::new();
    while let Some(row) = rows.next()? {
        accounts.extend(row.get::<_, Option<String>>(0)?);
        if accounts.len() > MOST_ACCOUNTS {
            return Err(Error::TooMany);
        }
    }
    Ok(accounts)
}

/// A panic elsewhere leaves these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Questions that wait for the database at once, each with a thread; others wait without one.
pub const AT_ONCE: usize = 4;
/// Steps of SQLite's machine between two looks at the time: some microseconds.
const LOOK_AFTER: i32 = 10_000;
/// Accounts that one address may stand for.
pub const MOST_ACCOUNTS: usize = 1000;

#[cfg(test)]
mod tests;
