//! An SQL database that is asked which accounts an address stands for.
//!
//! One query with one parameter, the address; the first column of every row is an account's name. The database is an SQLite file, opened for
//! reading for each question, so that a file which replaces it is seen. Questions wait on threads that may. One that takes too long is
//! interrupted and is an error.
//!
//! Dropping the future of a question interrupts it, and it also looks at the time itself as it works: none keeps its place for much longer than it
//! may take.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::{Error, lock};

/// How to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The SQLite file.
    pub path: PathBuf,
    /// The query: one parameter, and accounts' names in its first column.
    pub query: String,
    /// How long one question may take, its waiting for others included.
    pub timeout: Duration,
}

impl Database {
    /// Whether the query can be asked of it. Waits for the disk.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn check(&self) -> Result<(), Error> {
        let db = open(&self.path, Duration::from_secs(1))?;
        let statement = db.prepare(&self.query)?;
        match (statement.readonly(), statement.parameter_count()) {
            (false, _) => Err(Error::Writes),
            (true, 1) => Ok(()),
            (true, other) => Err(Error::Parameters(other)),
        }
    }
}

/// Asks, on a thread of its own, where it keeps its `place` for as long as that is at work.
pub(crate) async fn accounts(database: Arc<Database>, address: &str, place: OwnedSemaphorePermit) -> Result<Arc<[String]>, Error> {
    let (address, question) = (address.to_owned(), Question::default());
    let (asked, deadline) = (question.clone(), Instant::now() + database.timeout);
    let answer = tokio::task::spawn_blocking(move || {
        let answer = query(&database, &address, &asked, deadline);
        drop(place);
        answer
    });
    let answer = answer.await.map_err(|_| Error::GivenUp)?;
    drop(question);
    answer.map(Arc::from)
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
fn query(database: &Database, address: &str, question: &Question, deadline: Instant) -> Result<Vec<String>, Error> {
    let mut db = open(&database.path, deadline.saturating_duration_since(Instant::now()))?;
    if !question.begin(&db) {
        return Err(Error::GivenUp);
    }
    question.watch(&mut db, deadline)?;
    let mut statement = db.prepare(&database.query)?;
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

/// Steps of SQLite's machine between two looks at the time: some microseconds.
const LOOK_AFTER: i32 = 10_000;
/// Accounts that one address may stand for.
pub const MOST_ACCOUNTS: usize = 1000;

#[cfg(test)]
mod tests;
