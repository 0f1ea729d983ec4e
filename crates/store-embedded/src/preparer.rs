//! The preparer: one thread that has segments ready before the writer needs them, and watches the room on the disk.
//!
//! A full disk shows itself here, before anything depends on it: mail is refused, and tried again every second. The last
//! ready segment is kept for deletions then, because they are what makes room. Nothing is made before it is wanted: a store that
//! is opened to change accounts and commits no record leaves the log as it was.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use store::Error;

use crate::disk::{no_descriptor, no_room};
use crate::engine::Engine;
use crate::figures::read;
use crate::health::Health;
use crate::lock;
use crate::segment::{FIRST_RECORD, Segment, spare_path};

/// Segments that can be written at once, and the files to make more of.
pub(crate) struct Ready {
    state: Mutex<State>,
    changed: Condvar,
    next_number: AtomicU64,
    /// So that whoever comes after the first does not ask for the lock.
    wanted: AtomicBool,
    /// Held by whoever tends: two who looked at the room at different moments would contradict each other.
    tending: Mutex<()>,
}

#[derive(Default)]
struct State {
    segments: VecDeque<Segment>,
    spares: Vec<u64>,
    /// Why there are no more.
    lacking: Option<String>,
    /// A session has begun: there will be something to write.
    wanted: bool,
    /// The writer waits.
    hurry: bool,
    closed: bool,
}

impl State {
    fn is_missing(&self) -> bool {
        self.wanted && self.segments.len() < READY
    }
}

impl Ready {
    /// The next segment made is `next_number`; `spares` are files to make segments of.
    pub(crate) fn new(next_number: u64, spares: Vec<u64>) -> Self {
        let state = State { spares, ..State::default() };
        Self {
            state: Mutex::new(state),
            tending: Mutex::default(),
            changed: Condvar::new(),
            next_number: AtomicU64::new(next_number),
            wanted: AtomicBool::new(false),
        }
    }

    /// Something will be written: segments are made ahead from now on.
    pub(crate) fn want(&self) {
        if !self.wanted.swap(true, Ordering::Relaxed) {
            lock(&self.state).wanted = true;
            self.changed.notify_all();
        }
    }

    /// The next segment. Waits while one is being made; mail leaves the last one when there is no room for more.
    pub(crate) fn take(&self, for_mail: bool, health: &Health) -> Result<Segment, Error> {
        self.want();
        let mut state = lock(&self.state);
        loop {
            health.check_poison()?;
            let enough = state.segments.len() > usize::from(for_mail && state.lacking.is_some());
            if let Some(segment) = enough.then(|| state.segments.pop_front()).flatten() {
                state.hurry = false;
                self.changed.notify_all();
                return Ok(segment);
            }
            if let Some(cause) = &state.lacking {
                return Err(Error::Full(cause.clone()));
            }
            if state.closed {
                return Err(Error::Unavailable("the store is closed".into()));
            }
            state.hurry = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether somebody waits for the preparer itself.
    fn is_hurried(&self) -> bool {
        let state = lock(&self.state);
        state.hurry || state.closed
    }

    /// Whether another file is worth keeping for reuse.
    pub(crate) fn wants_spare(&self) -> bool {
        lock(&self.state).spares.len() < SPARES
    }

    /// A file that may be written over.
    pub(crate) fn add_spare(&self, number: u64) {
        lock(&self.state).spares.push(number);
        self.changed.notify_all();
    }

    /// How many segments are ready or can be made without asking for room.
    pub(crate) fn count(&self) -> usize {
        let state = lock(&self.state);
        state.segments.len() + state.spares.len()
    }

    /// Nobody waits any more.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

/// Works until [`Ready::close`].
pub(crate) fn run(engine: &Arc<Engine>) {
    loop {
        tend(engine);
        let state = lock(&engine.ready.state);
        if state.closed || engine.health.check_poison().is_err() {
            engine.ready.changed.notify_all();
            return;
        }
        if !state.is_missing() && !engine.health.is_full() {
            let idle = |state: &mut State| !state.closed && !state.is_missing();
            drop(engine.ready.changed.wait_timeout_while(state, ROOM_CHECK, idle));
        } else if state.lacking.is_some() || engine.health.is_full() {
            drop(engine.ready.changed.wait_timeout_while(state, ROOM_CHECK, |state| !state.closed && state.spares.is_empty()));
        }
    }
}

/// Looks at the room and makes one segment if one is wanted and missing.
pub(crate) fn tend(engine: &Engine) {
    let _alone = lock(&engine.ready.tending);
    let reserve = engine.settings.reserve_free.0;
    let free = engine.disk.free_bytes();
    let (missing, spare, none) = {
        let mut state = lock(&engine.ready.state);
        (state.is_missing(), state.spares.pop(), state.segments.is_empty())
    };
    let short = match free {
        Ok(free) if free < reserve => Some(format!("{free} octets are free, {reserve} are to be left free")),
        Ok(_) => None,
        Err(error) => Some(format!("asking for the free room: {error}")),
    };
    let mut lacking = short.clone();
    // The first segment is made even from the reserve: without one nothing could be deleted.
    if missing && (short.is_none() || none || spare.is_some()) {
        match make(engine, spare) {
            Ok(segment) => {
                lock(&engine.ready.state).segments.push_back(segment);
                lacking = short;
            }
            Err(error) if no_room(&error) || no_descriptor(&error) => lacking = Some(format!("making a segment: {error}")),
            Err(error) => {
                engine.health.judge("making a segment", &error);
            }
        }
    } else if let Some(spare) = spare {
        lock(&engine.ready.state).spares.push(spare);
    }
    match &lacking {
        Some(cause) => engine.health.set_full(cause),
        None => engine.health.set_open(),
    }
    lock(&engine.ready.state).lacking = lacking;
    engine.ready.changed.notify_all();
}

impl Engine {
    /// Whether zeros are not worth writing: somebody waits, or commits are so large that the file system's journal, which zeros
    /// save them, is a small part of each.
    fn is_busy(&self) -> bool {
        read(&self.meters.batch_bytes) >= LARGE_BATCH_BYTES || self.ready.is_hurried()
    }
}

fn make(engine: &Engine, spare: Option<u64>) -> std::io::Result<Segment> {
    let number = engine.ready.next_number.fetch_add(1, Ordering::Relaxed);
    let capacity = engine.settings.segment.0;
    debug_assert!(capacity > FIRST_RECORD, "checked when the settings were");
    Segment::prepare(&*engine.disk, number, capacity, spare, &|| engine.is_busy()).inspect_err(|_| {
        if let Some(spare) = spare.filter(|spare| engine.disk.open(&spare_path(*spare)).is_ok()) {
            engine.ready.add_spare(spare);
        }
    })
}

/// Segments kept ready.
const READY: usize = 2;
/// Files kept for reuse besides.
pub(crate) const SPARES: usize = 2;
/// Measured: one sender's commits of 10 KiB are faster on zeros; with 50 senders' they cost a sixth of the messages, with 600 KiB a third.
const LARGE_BATCH_BYTES: u64 = 96 << 10;
const ROOM_CHECK: Duration = Duration::from_secs(1);
