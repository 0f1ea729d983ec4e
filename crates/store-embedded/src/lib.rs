//! The store on one machine's disk, nothing to install.
//!
//! A log of records in segment files is the truth; an SQLite index trails it and is rebuilt from it whenever it is missing or
//! damaged (`docs/adr/0004-the-log-is-the-truth.md`). A [`Receipt`](mail::Receipt) is made after an fdatasync of the log, and of the body's
//! own file where it has one; everything acknowledged is there after a crash, whole, and nothing deleted comes back. What can be
//! on the disk at any moment, and who cleans it up, is listed in `docs/durable-states.md`.
//!
//! One process at a time has a data directory. A full disk refuses mail ([`store::Error::Full`]) and passes by itself; any other failed
//! write or sync ends all commits ([`store::Error::Unavailable`]) until the store is opened again. Reading goes on in both.
//!
//! ```text
//! writer     queue -> batch -> segment, fdatasync -> backlog -> answers       (writer, record, segment)
//! indexer    backlog -> index.sqlite -> listings, loads                       (backlog, indexer, index, listing, loads)
//! preparer   segments ready before they are needed, room on the disk         (preparer)
//! tender     bodies and segments that are dead, segments mostly dead          (tender, compaction, usage)
//! sessions   messages in and out                                              (intake, body_file, maildrop)
//! operators  messages that are held                                           (quarantine)
//! opening    log -> index                                                     (recovery, version, spelling, verify)
//! ```

mod backlog;
mod body_file;
mod compaction;
mod disk;
mod engine;
mod figures;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod index;
mod indexer;
mod intake;
mod listing;
mod loads;
mod maildrop;
mod opening;
mod people;
mod preparer;
mod quarantine;
mod record;
mod recovery;
mod requests;
mod segment;
mod settings;
mod spelling;
mod tender;
mod usage;
mod verify;
mod version;
mod writer;

#[cfg(test)]
mod compaction_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod simulated_disk;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod version_tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use mail::{Envelope, ForwardPath, MessageId};
use store::{
    Account, Book, Change, ChangeError, Decision, Directory, Error, HeldMessage, Incoming, Intake, Load, Maildrop, Maildrops, Quarantine,
    Resolution,
};

use crate::backlog::What;
use crate::engine::{Engine, closed};
use crate::intake::Arriving;
use crate::maildrop::Opened;
use crate::record::{HEADER_BYTES, Header, Kind, encode_removal};
use crate::writer::{Command, Held};

pub use figures::{Figures, SYNC_BOUNDS};
pub use intake::ARRIVING_OCTETS;
pub use opening::{Embedded, OpenError};
pub use recovery::Progress;
pub use settings::{Settings, SettingsError};
pub use verify::VerifyReport;

#[async_trait]
impl Intake for Embedded {
    fn ready(&self) -> Result<(), Error> {
        self.engine().health.check()
    }

    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error> {
        Ok(Box::new(Arriving::begin(self.engine(), envelope)?))
    }
}

#[async_trait]
impl Maildrops for Embedded {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let maildrop = self.engine().people.register().maildrop(&account.into());
        Ok(Box::new(Opened::open(self.engine(), &maildrop).await?))
    }
}

#[async_trait]
impl Directory for Embedded {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        Ok(self.engine().people.book().resolve(recipient))
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        Ok(self.engine().people.book().account(login).cloned())
    }

    async fn load(&self, account: &str) -> Result<Load, Error> {
        let engine = self.engine();
        Ok(engine.loads.of(&engine.people.register().maildrop(&account.into())))
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        let engine = Arc::clone(self.engine());
        let changed = tokio::task::spawn_blocking(move || {
            let gone = engine.people.change(change)?;
            gone.iter().try_for_each(|maildrop| remove_maildrop(&engine, maildrop))?;
            Ok(())
        });
        changed.await.map_err(|_| closed())?
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        Ok(self.engine().people.book())
    }
}

#[async_trait]
impl Quarantine for Embedded {
    async fn held(&self, account: Option<&str>) -> Result<Vec<HeldMessage>, Error> {
        let (engine, account) = (Arc::clone(self.engine()), account.map(str::to_owned));
        tokio::task::spawn_blocking(move || quarantine::list(&engine, account.as_deref())).await.map_err(|_| closed())?
    }

    async fn text(&self, id: MessageId, from: u64) -> Result<Option<Vec<u8>>, Error> {
        let engine = Arc::clone(self.engine());
        tokio::task::spawn_blocking(move || quarantine::text(&engine, id, from)).await.map_err(|_| closed())?
    }

    async fn decide(&self, id: MessageId, account: Option<&str>, decision: Decision) -> Result<usize, Error> {
        let (engine, account) = (Arc::clone(self.engine()), account.map(str::to_owned));
        tokio::task::spawn_blocking(move || quarantine::decide(&engine, id, account.as_deref(), decision)).await.map_err(|_| closed())?
    }

    async fn expire(&self, before: SystemTime, most: usize) -> Result<Load, Error> {
        let engine = Arc::clone(self.engine());
        tokio::task::spawn_blocking(move || quarantine::expire(&engine, before, most)).await.map_err(|_| closed())?
    }
}

/// Ends every delivery to an account that is gone. Waits for the disk; what a crash leaves undone the next open does.
fn remove_maildrop(engine: &Engine, maildrop: &str) -> Result<(), Error> {
    let mut head = vec![0; HEADER_BYTES];
    encode_removal(maildrop, &mut head);
    let header = Header::of_mark(Kind::Removal, &head)?;
    let held = Held { marks: Some(engine.hold_marks()), ..Held::default() };
    let what = What::Removal { account: maildrop.to_owned(), origin: None };
    let answered = engine.submit(|answer| Command { header, moved: false, head, body: Vec::new(), what, held, answer });
    answered.blocking_recv().map_err(|_| closed())?.map(drop)
}

/// A panic elsewhere leaves what our mutexes guard whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
