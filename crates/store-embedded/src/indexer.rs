//! The indexer: one thread that follows the log into the index, in transactions as large as the hurry allows.
//!
//! It commits when somebody waits for it, when it has enough, or when nothing comes. A full disk makes it try again until there
//! is room, the records kept in memory, which the backlog bounds; any other failure stops it, and with it the store: the log has
//! everything, and the next open makes the index right.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::backlog::Logged;
use crate::engine::Engine;
use crate::index::{Index, is_full};
use crate::lock;

/// Follows the log until the backlog is closed and empty.
pub(crate) fn run(engine: &Arc<Engine>, mut index: Index) {
    let (mut arrived, mut uncommitted) = (Vec::new(), Vec::new());
    loop {
        let turn = engine.backlog.take(&mut arrived, !uncommitted.is_empty());
        let mut outcome = apply(engine, &mut index, &arrived);
        uncommitted.append(&mut arrived);
        if outcome.is_ok() && (turn.commit || uncommitted.len() >= COMMIT_RECORDS) {
            outcome = commit(engine, &mut index, &mut uncommitted);
        }
        while let Err(error) = outcome {
            index.roll_back();
            if !is_full(&error) || turn.closed {
                engine.health.poison(&format!("writing the index: {error}"));
                engine.backlog.mark_failed();
                return;
            }
            engine.health.set_full(&format!("writing the index: {error}"));
            drop(Condvar::new().wait_timeout(lock(&Mutex::new(())), RETRY));
            outcome = apply(engine, &mut index, &uncommitted).and_then(|()| commit(engine, &mut index, &mut uncommitted));
        }
        if turn.closed && uncommitted.is_empty() {
            break;
        }
    }
    if let Err(error) = index.checkpoint() {
        tracing::warn!(%error, "the index could not be checkpointed: the next open does it");
    }
}

fn apply(engine: &Engine, index: &mut Index, records: &[Logged]) -> rusqlite::Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let usage = lock(&engine.usage);
    records.iter().try_for_each(|record| index.apply(record, &usage))
}

fn commit(engine: &Engine, index: &mut Index, uncommitted: &mut Vec<Logged>) -> rusqlite::Result<()> {
    let mut usage = lock(&engine.usage);
    for segment in engine.tender.take_freed() {
        index.forget_freed(segment)?;
    }
    let committed = index.commit(&mut usage)?;
    drop(usage);
    engine.loads.end(committed.ended);
    engine.listings.forget(committed.touched.iter().map(String::as_str));
    engine.backlog.mark_indexed(uncommitted.len() as u64);
    uncommitted.clear();
    engine.tender.discard(committed.orphans);
    Ok(())
}

const COMMIT_RECORDS: usize = 8192;
const RETRY: Duration = Duration::from_secs(1);
