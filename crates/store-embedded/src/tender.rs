//! The tender: one thread that frees what is dead.
//!
//! Body files nobody refers to are unlinked; whoever has one open reads on. A segment that is free (`usage`) becomes a spare, or is
//! unlinked when somebody still holds it or there are spares enough; the directory is synced after each, so that a mark never goes
//! before what it ended. A segment mostly dead is emptied by `compaction` and then is free.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mail::MessageId;

use crate::body_file::body_path;
use crate::compaction;
use crate::engine::Engine;
use crate::lock;
use crate::quarantine;
use crate::segment::{LOG, segment_path, spare_path};

/// What waits for the tender, and what it has done.
#[derive(Default)]
pub(crate) struct Tender {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    discarded: Vec<MessageId>,
    freed: Vec<u64>,
    /// Segments that could not be emptied: something in them is damaged.
    stuck: HashSet<u64>,
    woken: bool,
    closed: bool,
}

impl Tender {
    /// There may be something to do.
    pub(crate) fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    /// Nobody refers to these bodies.
    pub(crate) fn discard(&self, bodies: Vec<MessageId>) {
        if !bodies.is_empty() {
            lock(&self.state).discarded.extend(bodies);
            self.wake();
        }
    }

    /// Segments freed and not yet out of the index.
    pub(crate) fn take_freed(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.state).freed)
    }

    /// The thread ends after its present round.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }
}

/// Works until [`Tender::close`].
pub(crate) fn run(engine: &Arc<Engine>) {
    let mut counted: Option<Instant> = None;
    loop {
        tend(engine);
        // All of it is looked at, and peers can wake this thread as often as they like.
        if counted.is_none_or(|at| at.elapsed() >= ROUND) {
            count_held(engine);
            counted = Some(Instant::now());
        }
        let state = lock(&engine.tender.state);
        if state.closed {
            return;
        }
        let idle = |state: &mut State| !state.closed && !std::mem::take(&mut state.woken);
        drop(engine.tender.changed.wait_timeout_while(state, ROUND, idle));
    }
}

/// For the figures. An index that cannot be read is told of elsewhere.
fn count_held(engine: &Engine) {
    if let Ok(waiting) = quarantine::waiting(engine) {
        engine.meters.held_messages.store(waiting.messages, Ordering::Relaxed);
        engine.meters.held_bytes.store(waiting.octets, Ordering::Relaxed);
    }
}

/// One round: bodies, free segments, and one segment emptied.
pub(crate) fn tend(engine: &Arc<Engine>) {
    remove_bodies(engine);
    if engine.health.check_poison().is_err() {
        return;
    }
    let _walking = lock(&engine.walking);
    free_segments(engine);
    let Some(number) = mostly_dead(engine) else { return };
    match compaction::empty(engine, number, &|| engine.tender.is_closed()) {
        // The copies of its marks are needed from now on, in their place.
        Ok(true) if lock(&engine.usage).of(number).rows == 0 => free_or_judge(engine, number),
        Ok(_) if lock(&engine.usage).is_free(number) => free_or_judge(engine, number),
        Ok(_) if engine.tender.is_closed() => {}
        Ok(_) => {
            lock(&engine.tender.state).stuck.insert(number);
            tracing::error!(segment = number, "records in this segment of the log cannot be read and keep it from being freed: run verify");
        }
        Err(error) => tracing::warn!(segment = number, %error, "the segment could not be emptied; it is tried again"),
    }
}

/// Unlinks bodies that were given up. A name that comes back in a crash is removed at the next open.
pub(crate) fn remove_bodies(engine: &Engine) {
    let discarded = std::mem::take(&mut lock(&engine.tender.state).discarded);
    for id in discarded {
        match engine.disk.unlink(&body_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!(%id, %error, "a body file could not be removed"),
            _ => {}
        }
    }
}

fn free_segments(engine: &Engine) {
    for segment in engine.shelf.all() {
        let (number, is_sound) = (segment.number, segment.tag.is_some());
        drop(segment);
        if is_sound && lock(&engine.usage).is_free(number) {
            free_or_judge(engine, number);
        }
    }
}

fn free_or_judge(engine: &Engine, number: u64) {
    if engine.health.check_poison().is_ok()
        && let Err(error) = free(engine, number)
    {
        engine.health.judge("freeing a segment", &error);
    }
}

/// Takes the segment off the shelf, then off the log.
fn free(engine: &Engine, number: u64) -> io::Result<()> {
    let Some(segment) = engine.shelf.remove(number) else { return Ok(()) };
    let reusable = segment.capacity == engine.settings.segment.0 && engine.ready.wants_spare();
    // Off the shelf nobody can begin to hold it; if nobody does, it may be written over.
    if reusable && Arc::into_inner(segment).is_some() {
        engine.disk.rename(&segment_path(number), &spare_path(number))?;
        engine.disk.sync_dir(LOG)?;
        engine.ready.add_spare(number);
    } else {
        engine.disk.unlink(&segment_path(number))?;
        engine.disk.sync_dir(LOG)?;
    }
    lock(&engine.usage).forget(number);
    lock(&engine.tender.state).freed.push(number);
    Ok(())
}

/// The segment that gives most for least, if any gives enough.
fn mostly_dead(engine: &Engine) -> Option<u64> {
    let stuck = lock(&engine.tender.state).stuck.clone();
    let usage = lock(&engine.usage);
    let candidate = |segment: &Arc<crate::segment::Segment>| {
        let kept = usage.kept_bytes(segment.number);
        let worth = segment.number < usage.covered.segment && segment.tag.is_some() && kept < segment.capacity / 2;
        (worth && !stuck.contains(&segment.number)).then_some((kept, segment.number))
    };
    engine.shelf.all().iter().filter_map(candidate).min().map(|(_, number)| number)
}

const ROUND: Duration = Duration::from_secs(1);
