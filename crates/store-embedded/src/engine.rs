//! What all parts of one open store share, and who does what in it.
//!
//! Four threads: the *writer* commits to the log, the *indexer* follows it into SQLite, the *preparer* makes segments before they
//! are needed and watches the room on the disk, the *tender* frees what is dead. Sessions talk to the writer through the
//! [queue](crate::writer::Queue) and read on their own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use store::{Error, Leases};
use tokio::sync::{RwLock, oneshot};

use crate::Settings;
use crate::backlog::Backlog;
use crate::disk::Disk;
use crate::figures::Meters;
use crate::health::Health;
use crate::listing::Listings;
use crate::loads::Loads;
use crate::people::People;
use crate::preparer::Ready;
use crate::segment::Shelf;
use crate::tender::Tender;
use crate::usage::Usage;
use crate::writer::{Command, Durable, Queue};

/// One open store.
pub(crate) struct Engine {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Settings,
    pub(crate) shelf: Shelf,
    pub(crate) health: Health,
    pub(crate) meters: Meters,
    pub(crate) memory: Arc<Budget>,
    pub(crate) queue: Queue,
    pub(crate) ready: Ready,
    pub(crate) backlog: Backlog,
    pub(crate) usage: Mutex<Usage>,
    pub(crate) listings: Listings,
    pub(crate) loads: Loads,
    pub(crate) tender: Tender,
    pub(crate) people: People,
    pub(crate) leases: Leases,
    /// Marks are written under a read lock; compaction, which must see no mark come between looking and copying, takes it whole.
    pub(crate) marks: Arc<RwLock<()>>,
    /// Held while segments are moved or freed, and by those who walk the log or decide about what is held.
    pub(crate) walking: Mutex<()>,
}

impl Engine {
    /// Hands a record to the writer; what comes back says whether it is durable.
    pub(crate) fn submit(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<Durable, Error>>) -> Command,
    ) -> oneshot::Receiver<Result<Durable, Error>> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(make(answer));
        answered
    }
}

/// What the writer's silence means: it has stopped.
pub(crate) fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    ms_of(SystemTime::now())
}

/// The same of any time; 0 of one before.
pub(crate) fn ms_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Memory for bodies.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    octets: usize,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    octets: usize,
}

impl Budget {
    pub(crate) fn new(octets: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), octets })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Nothing of it yet.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        Charge { budget: Arc::clone(self), octets: 0 }
    }
}

impl Charge {
    /// Whether there was room to hold `octets` in all.
    pub(crate) fn grow_to(&mut self, octets: usize) -> bool {
        let more = octets.saturating_sub(self.octets);
        let limit = self.budget.octets;
        let grown = self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| used.checked_add(more).filter(|used| *used <= limit));
        if grown.is_ok() {
            self.octets += more;
        }
        grown.is_ok()
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.octets, Ordering::Relaxed);
    }
}
