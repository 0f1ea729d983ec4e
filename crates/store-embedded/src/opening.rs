//! A data directory opened, and closed.
//!
//! [`Embedded::open`] takes the lock, looks at the version, recovers and starts the threads; it waits for the disk and is to be called
//! where that is allowed. [`Embedded::close`] commits what is queued, brings the index up to it and ends the threads; dropping does the
//! same. Neither is needed for safety: a process that is killed has lost nothing it acknowledged.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::fs::{FlockOperation, flock};
use store::Leases;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::backlog::Backlog;
use crate::disk::{Disk, RealDisk, private_file};
use crate::engine::{Budget, Engine};
use crate::figures::{Figures, Meters, read};
use crate::health::Health;
use crate::index::Index;
use crate::listing::Listings;
use crate::loads::Loads;
use crate::people::People;
use crate::preparer::{self, Ready};
use crate::recovery::{Progress, Recovered, recover, remove_index};
use crate::segment::Shelf;
use crate::tender::{self, Tender};
use crate::verify::{self, VerifyReport};
use crate::writer::{Queue, Writer};
use crate::{Settings, SettingsError, indexer, lock, remove_maildrop, version};

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by process {pid}", dir.display())]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process that says it has it; `unknown` when it has not said so.
        pid: String,
    },
    /// It was written by a later version of this program.
    #[error("{} has version {found}; this program knows versions up to {known}: use the program that wrote it, or a newer one", dir.display())]
    Newer {
        /// The data directory.
        dir: PathBuf,
        /// Its version.
        found: u32,
        /// The highest version known here.
        known: u32,
    },
    /// There is something in it, and it is not a store.
    #[error("{} is not a store: {cause}", dir.display())]
    NotAStore {
        /// The data directory.
        dir: PathBuf,
        /// What is missing or wrong.
        cause: &'static str,
    },
    /// No right to use it.
    #[error("no permission for {}: it must belong to the user this program runs as", dir.display())]
    Permission {
        /// The data directory.
        dir: PathBuf,
    },
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// SQLite failed on the index.
    #[error("the index: {0}")]
    Index(rusqlite::Error),
    /// SQLite failed on the directory of accounts.
    #[error("the directory of domains and accounts (directory.sqlite): {0}")]
    Directory(rusqlite::Error),
    /// The file system failed.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// How it failed.
        error: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(doing: &'static str, error: io::Error) -> Self {
        Self::Io { doing, error }
    }
}

/// An open store.
pub struct Embedded {
    engine: Arc<Engine>,
    running: Mutex<Option<Running>>,
}

/// What ends when the store is closed.
struct Running {
    writer: JoinHandle<()>,
    indexer: JoinHandle<()>,
    preparer: JoinHandle<()>,
    tender: JoinHandle<()>,
    lock_file: Option<File>,
}

/// Where the parts of a store are.
pub(crate) struct Places {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Embedded {
    /// Opens the store in `dir`, which is made when it is not there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, settings: Settings) -> Result<Self, OpenError> {
        Self::open_with(dir, settings, &mut |_| {})
    }

    /// The same, telling how far the log has been replayed into the index.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(dir: &Path, settings: Settings, progress: &mut dyn FnMut(Progress)) -> Result<Self, OpenError> {
        settings.check()?;
        let (lock_file, places) = enter(dir)?;
        Self::start(places, settings, Some(lock_file), progress)
    }

    /// Makes the index of the stopped store in `dir` anew from its log.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn rebuild_index(dir: &Path, settings: Settings, progress: &mut dyn FnMut(Progress)) -> Result<(), OpenError> {
        settings.check()?;
        let (lock_file, places) = enter(dir)?;
        remove_index(&places.index)?;
        Self::start(places, settings, Some(lock_file), progress)?.close();
        Ok(())
    }

    /// Reads everything there is and compares it: every record and body with its checksum, the index with the log in both
    /// directions. Mail goes in and out meanwhile. Waits for the disk.
    ///
    /// # Errors
    /// What kept it from looking; what it found wrong is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<VerifyReport, OpenError> {
        verify::verify(&self.engine, progress)
    }

    /// The store's figures now.
    pub fn figures(&self) -> Figures {
        let engine = &self.engine;
        let (messages, live_bytes) = {
            let usage = lock(&engine.usage);
            usage.segments.values().fold((0, 0), |(rows, bytes), own| (rows + own.rows, bytes + own.live_bytes))
        };
        let segments = engine.shelf.all();
        Figures {
            messages,
            held_messages: read(&engine.meters.held_messages),
            held_bytes: read(&engine.meters.held_bytes),
            live_bytes,
            segments: segments.len() as u64,
            segment_bytes: segments.iter().map(|segment| segment.capacity).sum(),
            spare_segments: engine.ready.count() as u64,
            batches: read(&engine.meters.batches),
            records: read(&engine.meters.records),
            logged_bytes: read(&engine.meters.logged_bytes),
            sync_time: std::time::Duration::from_nanos(read(&engine.meters.sync_nanos)),
            sync_buckets: std::array::from_fn(|at| engine.meters.sync_buckets.get(at).map_or(0, read)),
            index_lag: engine.backlog.lag(),
            body_memory_bytes: engine.memory.used() as u64,
            body_files: read(&engine.meters.body_files),
            moved: read(&engine.meters.moved),
            state: engine.health.name(),
        }
    }

    /// Commits what is queued, brings the index up to it, and ends. What is asked of the store afterwards is answered
    /// [`store::Error::Unavailable`]. Waits for the disk; a second call does nothing.
    pub fn close(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        let engine = &self.engine;
        // The tender may wait for the writer, the writer for the preparer and the indexer: that is the order.
        engine.tender.close();
        join(running.tender);
        engine.queue.close();
        join(running.writer);
        engine.ready.close();
        join(running.preparer);
        engine.backlog.close();
        join(running.indexer);
        tender::remove_bodies(engine);
        engine.listings.close();
        engine.people.close();
        // Given up in so many words: a process that another thread is starting has the descriptor, too, until it runs its program.
        if let Some(file) = &running.lock_file {
            let _gone_with_the_file = flock(file, FlockOperation::Unlock);
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Recovers what is at `places` and starts the threads.
    pub(crate) fn start(
        places: Places,
        settings: Settings,
        lock_file: Option<File>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, OpenError> {
        let people = People::open(&places.directory).map_err(OpenError::Directory)?;
        if version::read(&*places.disk).map_err(|error| OpenError::io("reading the version", error))? == version::Found::New {
            version::write(&*places.disk, version::CURRENT).map_err(|error| OpenError::io("writing the version", error))?;
        }
        let Recovered { segments, spares, index, usage, next_number } =
            recover(&*places.disk, settings.segment.0, &places.index, progress)?;
        let next_sequence = usage.next_sequence;
        let engine = Arc::new(Engine {
            disk: places.disk,
            shelf: Shelf::default(),
            health: Health::default(),
            meters: Meters::default(),
            memory: Budget::new(settings.body_memory.octets()),
            queue: Queue::default(),
            ready: Ready::new(next_number, spares),
            backlog: Backlog::new(),
            usage: Mutex::new(usage),
            listings: Listings::new(places.index),
            loads: Loads::new(index.loads().map_err(OpenError::Index)?),
            tender: Tender::default(),
            people,
            leases: Leases::new(settings.takeover_grace.0),
            marks: Arc::new(RwLock::new(())),
            walking: Mutex::default(),
            settings,
        });
        segments.into_iter().for_each(|segment| engine.shelf.insert(Arc::new(segment)));
        let orphaned = maildrops_without_owner(&engine, &index).map_err(OpenError::Index)?;
        preparer::tend(&engine);
        let running = Running::start(&engine, index, next_sequence, lock_file)?;
        let store = Self { engine, running: Mutex::new(Some(running)) };
        // On a thread that may wait, whoever calls.
        thread::scope(|scope| scope.spawn(|| orphaned.iter().for_each(|maildrop| store.sweep(maildrop))).join().is_ok());
        Ok(store)
    }

    fn sweep(&self, maildrop: &str) {
        tracing::info!(maildrop, "removing the maildrop of an account that is no more");
        if let Err(error) = remove_maildrop(&self.engine, maildrop) {
            tracing::warn!(maildrop, %error, "the maildrop could not be removed; the next open tries again");
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Engine {
    /// Keeps compaction out while a mark is written; for a thread that may wait.
    pub(crate) fn hold_marks(&self) -> OwnedRwLockReadGuard<()> {
        loop {
            if let Ok(held) = Arc::clone(&self.marks).try_read_owned() {
                return held;
            }
            // Compaction is at work: wait for it.
            drop(self.marks.blocking_read());
        }
    }
}

impl Running {
    fn start(engine: &Arc<Engine>, index: Index, next_sequence: u64, lock_file: Option<File>) -> Result<Self, OpenError> {
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.into()).spawn(work).map_err(|error| OpenError::io("starting a thread", error))
        };
        let (writer, [of_indexer, of_preparer, of_tender]) =
            (Writer::new(Arc::clone(engine), next_sequence), [(); 3].map(|()| Arc::clone(engine)));
        Ok(Self {
            writer: spawn("store-writer", Box::new(move || writer.run()))?,
            indexer: spawn("store-indexer", Box::new(move || indexer::run(&of_indexer, index)))?,
            preparer: spawn("store-preparer", Box::new(move || preparer::run(&of_preparer)))?,
            tender: spawn("store-tender", Box::new(move || tender::run(&of_tender)))?,
            lock_file,
        })
    }
}

/// Takes the lock of a data directory and looks whether it is one of ours.
fn enter(dir: &Path) -> Result<(File, Places), OpenError> {
    let denied = |doing, error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => OpenError::Permission { dir: dir.to_owned() },
        _ => OpenError::io(doing, error),
    };
    let mut builder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
    builder.create(dir).map_err(|error| denied("making the data directory", error))?;
    let lock_file = take_lock(dir).map_err(|error| denied("locking the data directory", error))?;
    let lock_file = lock_file.map_err(|pid| OpenError::InUse { dir: dir.to_owned(), pid })?;
    let disk = RealDisk::new(dir.to_owned());
    let (index, directory) = (dir.join("index.sqlite"), dir.join("directory.sqlite"));
    let not_a_store = |cause| OpenError::NotAStore { dir: dir.to_owned(), cause };
    match version::read(&disk).map_err(|error| denied("reading the version", error))? {
        version::Found::New if dir.join(crate::segment::LOG).exists() => return Err(not_a_store("it has a log and no VERSION")),
        version::Found::New => {}
        version::Found::Unreadable => return Err(not_a_store("its VERSION is not a number")),
        version::Found::Version(found) if found > version::CURRENT => {
            return Err(OpenError::Newer { dir: dir.to_owned(), found, known: version::CURRENT });
        }
        // Without the directory every maildrop would be taken for one without an account, and swept.
        version::Found::Version(_) if !directory.exists() => return Err(not_a_store("its directory.sqlite is missing: restore it")),
        version::Found::Version(found) => {
            version::migrate(&disk, &directory, found).map_err(|error| denied("carrying the store forward", error))?;
        }
    }
    Ok((lock_file, Places { disk: Arc::new(disk), index, directory }))
}

/// The lock file, locked for as long as it is open; or the pid of the process that has it.
fn take_lock(dir: &Path) -> io::Result<Result<File, String>> {
    let mut file = private_file(&dir.join("lock"))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid)?;
        return Ok(Err(if pid.trim().is_empty() { "unknown".into() } else { pid.trim().into() }));
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Ok(file))
}

fn maildrops_without_owner(engine: &Engine, index: &Index) -> rusqlite::Result<Vec<String>> {
    let register = engine.people.register();
    Ok(index.accounts()?.into_iter().filter(|maildrop| !register.is_owned(maildrop)).collect())
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store has panicked");
    }
}
