//! What is committed to the log and not yet in the index: the way from the writer to the indexer.
//!
//! Bounded by count: a writer that is too far ahead waits here, before it acknowledges. Whoever needs the index to know of
//! everything committed so far waits at a barrier, which also makes the indexer commit at once. When the index has failed,
//! nobody waits any more; [`Health`](crate::health::Health) says why.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use mail::MessageId;
use store::Error;
use tokio::sync::watch;

use crate::lock;
use crate::record::Flags;
use crate::segment::Place;

/// One record of the log, as the index learns of it.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) place: Place,
    /// Octets of the record.
    pub(crate) bytes: u64,
    pub(crate) sequence: u64,
    pub(crate) what: What,
}

/// What the record says.
#[derive(Debug)]
pub(crate) enum What {
    Message { id: MessageId, accounts: Vec<Arc<str>>, octets: u64, flags: Flags, text_offset: u64, until_ms: u64 },
    Deletion { account: String, sequences: Vec<u64>, origin: Option<u64> },
    Removal { account: String, origin: Option<u64> },
    Release { account: String, sequences: Vec<u64>, origin: Option<u64> },
}

/// The queue and its counters.
#[derive(Debug)]
pub(crate) struct Backlog {
    queue: Mutex<Queue>,
    changed: Condvar,
    drained: Condvar,
    advanced: Condvar,
    /// Records the index has; `FAILED` when it will have no more.
    indexed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Logged>,
    pushed: u64,
    wanted: u64,
    closed: bool,
}

/// What the indexer is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Somebody waits at the barrier, or nothing has come for a while: commit.
    pub(crate) commit: bool,
    /// No more will come.
    pub(crate) closed: bool,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            drained: Condvar::new(),
            advanced: Condvar::new(),
            indexed: watch::Sender::new(0),
        }
    }

    /// Adds records, emptying `records`. Waits while there are too many.
    pub(crate) fn push(&self, records: &mut Vec<Logged>) {
        let mut queue = lock(&self.queue);
        while queue.records.len() >= BACKLOG_RECORDS && *self.indexed.borrow() != FAILED {
            queue = self.drained.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let before = queue.records.len();
        queue.pushed += records.len() as u64;
        queue.records.append(records);
        if before == 0 || before < ENOUGH && queue.records.len() >= ENOUGH {
            self.changed.notify_one();
        }
    }

    /// Fills the empty `records` with what there is. Waits until there is enough, or somebody wants it, or [`IDLE`] has passed
    /// since there was something; so that the indexer is not woken for each batch.
    pub(crate) fn take(&self, records: &mut Vec<Logged>, uncommitted: bool) -> Turn {
        let mut queue = lock(&self.queue);
        let mut idle = false;
        while queue.records.len() < ENOUGH && !queue.closed && queue.wanted <= *self.indexed.borrow() && !idle {
            if uncommitted || !queue.records.is_empty() {
                let (held, timeout) = self.changed.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
                (queue, idle) = (held, timeout.timed_out());
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
        std::mem::swap(records, &mut queue.records);
        self.drained.notify_all();
        Turn { commit: idle || queue.closed || queue.wanted > *self.indexed.borrow(), closed: queue.closed }
    }

    /// So many more records are in the index, and everybody may see them.
    pub(crate) fn mark_indexed(&self, records: u64) {
        let _queue = lock(&self.queue);
        self.indexed.send_modify(|indexed| *indexed += records);
        self.advanced.notify_all();
    }

    /// The index takes no more.
    pub(crate) fn mark_failed(&self) {
        let _queue = lock(&self.queue);
        self.indexed.send_replace(FAILED);
        self.advanced.notify_all();
        self.drained.notify_all();
    }

    /// No more will be pushed.
    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.changed.notify_all();
    }

    /// Waits until the index has everything committed before this call. Cancel-safe.
    pub(crate) async fn barrier(&self) -> Result<(), Error> {
        let Some(target) = self.want() else { return Ok(()) };
        let reached = self.indexed.subscribe().wait_for(|indexed| *indexed >= target).await.map(|indexed| *indexed);
        if reached.is_ok_and(|indexed| indexed != FAILED) { Ok(()) } else { Err(index_failed()) }
    }

    /// The same for a thread that may wait.
    pub(crate) fn barrier_blocking(&self) -> Result<(), Error> {
        let Some(target) = self.want() else { return Ok(()) };
        let mut queue = lock(&self.queue);
        while *self.indexed.borrow() < target {
            queue = self.advanced.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if *self.indexed.borrow() == FAILED { Err(index_failed()) } else { Ok(()) }
    }

    /// Records committed to the log and not yet indexed.
    pub(crate) fn lag(&self) -> u64 {
        lock(&self.queue).pushed.saturating_sub(*self.indexed.borrow())
    }

    fn want(&self) -> Option<u64> {
        let mut queue = lock(&self.queue);
        let target = queue.pushed;
        if *self.indexed.borrow() == FAILED {
            return Some(FAILED);
        }
        if *self.indexed.borrow() >= target {
            return None;
        }
        queue.wanted = queue.wanted.max(target);
        self.changed.notify_one();
        Some(target)
    }
}

fn index_failed() -> Error {
    Error::Unavailable("the index has failed".into())
}

const FAILED: u64 = u64::MAX;
const BACKLOG_RECORDS: usize = 32_768;
/// Worth a turn of the indexer when nobody is in a hurry.
const ENOUGH: usize = 4096;
const IDLE: Duration = Duration::from_millis(200);
