//! What the store counts, for whoever exports metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of [`Figures::sync_buckets`].
pub const SYNC_BOUNDS: [Duration; 7] = [
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(16),
    Duration::from_millis(64),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

/// The store's figures at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Messages in maildrops; one that is in three counts three times.
    pub messages: u64,
    /// Those of them that are held until somebody decides, about a second ago.
    pub held_messages: u64,
    /// Their octets.
    pub held_bytes: u64,
    /// Octets of the log that live messages use.
    pub live_bytes: u64,
    /// Segments in use.
    pub segments: u64,
    /// Octets those segments take on the disk.
    pub segment_bytes: u64,
    /// Segments ready to be written next.
    pub spare_segments: u64,
    /// Commits to the log: each is one write and one fdatasync.
    pub batches: u64,
    /// Records committed; divided by `batches` it tells how well commits are shared.
    pub records: u64,
    /// Octets committed to the log.
    pub logged_bytes: u64,
    /// Time spent in fdatasync of the log.
    pub sync_time: Duration,
    /// How many of those took at most each of [`SYNC_BOUNDS`] and more than the one before; the last counts the longer ones.
    pub sync_buckets: [u64; SYNC_BOUNDS.len() + 1],
    /// Records that are committed and not yet in the index.
    pub index_lag: u64,
    /// Octets of arriving messages held in memory.
    pub body_memory_bytes: u64,
    /// Messages that went through a file of their own.
    pub body_files: u64,
    /// Messages, deletions and removals moved so that a segment could be freed.
    pub moved: u64,
    /// `open`, `full` or `poisoned`.
    pub state: &'static str,
}

/// The counters behind them.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    pub(crate) batches: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) logged_bytes: AtomicU64,
    /// Octets of a batch, in the mean of some 16.
    pub(crate) batch_bytes: AtomicU64,
    pub(crate) sync_nanos: AtomicU64,
    pub(crate) sync_buckets: [AtomicU64; SYNC_BOUNDS.len() + 1],
    pub(crate) held_messages: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
    pub(crate) body_files: AtomicU64,
    pub(crate) moved: AtomicU64,
}

impl Meters {
    /// One commit of the log, by the writer alone.
    pub(crate) fn count_batch(&self, records: usize, bytes: u64, sync: Duration) {
        add(&self.batches, 1);
        add(&self.records, records as u64);
        add(&self.logged_bytes, bytes);
        let mean = read(&self.batch_bytes);
        self.batch_bytes.store(mean - mean / 16 + bytes / 16, Ordering::Relaxed);
        add(&self.sync_nanos, u64::try_from(sync.as_nanos()).unwrap_or(u64::MAX));
        let bucket = SYNC_BOUNDS.iter().position(|bound| sync <= *bound).unwrap_or(SYNC_BOUNDS.len());
        if let Some(counter) = self.sync_buckets.get(bucket) {
            add(counter, 1);
        }
    }
}

/// Counts.
pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Reads.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
