//! Where one session tells what it does, and hears that it is to end.
//!
//! Guarantees: telling costs an atomic or an uncontended lock; what is kept of a client's words is bounded. Cannot fail: what the lock
//! guards is plain values, whole after a panic too.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::permit::ListenerId;
use crate::pool::Draw;
use crate::roster::{Newcomer, Session};
use crate::slot_time::{Phase, SlotClock};

/// Where one session tells what it does.
#[derive(Debug)]
pub struct Seat {
    newcomer: Newcomer,
    words: Mutex<Words>,
    commands: AtomicU32,
    octets_in: AtomicU64,
    octets_out: AtomicU64,
    /// It waits for its client, and nothing is under way.
    rests: AtomicBool,
    /// A [`Parting`], or 0.
    parting: AtomicU8,
}

impl Seat {
    pub(crate) fn new(newcomer: Newcomer) -> Self {
        Self {
            newcomer,
            words: Mutex::new(Words {
                clock: SlotClock::new(newcomer.admitted_at),
                source: newcomer.source,
                draw: newcomer.draw,
                user: None,
                program: None,
                waker: None,
            }),
            commands: AtomicU32::new(0),
            octets_in: AtomicU64::new(0),
            octets_out: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            parting: AtomicU8::new(0),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.newcomer.id
    }

    pub(crate) fn admitted_at(&self) -> Instant {
        self.newcomer.admitted_at
    }

    /// From `now` on the session's time goes to `phase`.
    pub fn enter(&self, phase: Phase, now: Instant) {
        self.words().clock.enter(phase, now);
    }

    /// Whether the wait that begins is one the session can be ended in without loss: between two commands, with nothing under way.
    pub fn rest(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    /// Attributes to `phase` what the session waits for `future`, and then goes on with our own work; `clock` tells the time. What does
    /// not wait is our own work, and the clock is not asked. Dropping it is as safe as dropping `future`, which is boxed or
    /// pinned, so that an idle session holds it once.
    pub async fn during<T>(&self, phase: Phase, clock: fn() -> Instant, mut future: impl Future<Output = T> + Unpin) -> T {
        let mut waits = false;
        let outcome = poll_fn(|cx| {
            let polled = Pin::new(&mut future).poll(cx);
            if polled.is_pending() && !waits {
                waits = true;
                self.enter(phase, clock());
            }
            polled
        })
        .await;
        if waits {
            self.enter(Phase::Own, clock());
        }
        outcome
    }

    /// What the client calls itself; the first [`PROGRAM_OCTETS`] of it are kept.
    pub fn introduce(&self, program: &str) {
        let kept = program.get(..program.floor_char_boundary(PROGRAM_OCTETS)).unwrap_or_default();
        let mut words = self.words();
        if words.program.as_deref() != Some(kept) {
            words.program = Some(kept.into());
        }
    }

    /// The client is another than who has connected: a proxy speaks for it. By which right it has the place is said, too.
    pub fn speak_for(&self, source: IpAddr, draw: Draw) {
        let mut words = self.words();
        (words.source, words.draw) = (source, draw);
    }

    /// How many commands there were so far.
    pub fn count_commands(&self, so_far: u32) {
        self.commands.store(so_far, Relaxed);
    }

    /// So many octets more have come.
    pub fn received(&self, octets: usize) {
        self.octets_in.fetch_add(octets as u64, Relaxed);
    }

    /// So many octets more are sent.
    pub fn sent(&self, octets: usize) {
        self.octets_out.fetch_add(octets as u64, Relaxed);
    }

    /// The task to wake when the session is to end. To be told before [`Seat::parting`] is asked for the last time before a wait.
    pub fn attend(&self, waker: &Waker) {
        let mut words = self.words();
        if !words.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            words.waker = Some(waker.clone());
        }
    }

    /// Whether the session is to end at its next command boundary, and why.
    pub fn parting(&self) -> Option<Parting> {
        [Parting::GivesWay, Parting::Ended].into_iter().find(|parting| *parting as u8 == self.parting.load(Relaxed))
    }

    /// For how long its place could have been given up: since it waits for a client who has shown nothing, with nothing under way. `None`
    /// where the place is not one of those that are `wanted`.
    pub(crate) fn at_rest(&self, wanted: Wanted, now: Instant) -> Option<Duration> {
        let resting = self.rests.load(Relaxed) && self.parting().is_none();
        let words = resting.then(|| self.words())?;
        let would_help = match wanted {
            Wanted::General => words.draw == Draw::General,
            Wanted::Any => words.draw != Draw::Reserved,
        };
        (would_help && words.user.is_none() && words.clock.phase() == Phase::Client).then(|| words.clock.in_phase(now))
    }

    /// For how long a place of the lane for those about to show a password was only sat in by a client of `network`: since it waits for that
    /// client, between two commands or in the middle of a handshake. Of a handshake the first [`OUR_PART`] may have been ours.
    pub(crate) fn sits_in_lane(&self, network: IpNet, now: Instant) -> Option<Duration> {
        if self.parting().is_some() {
            return None;
        }
        let words = self.words();
        let ours = match words.clock.phase() {
            Phase::Client if self.rests.load(Relaxed) => Duration::ZERO,
            Phase::Tls => OUR_PART,
            _ => return None,
        };
        let sits = words.draw == Draw::Authenticating && words.user.is_none() && network.contains(&words.source);
        sits.then(|| words.clock.in_phase(now).saturating_sub(ours))
    }

    /// What `future` yields, where the session is not to end before that. Dropping it is as safe as dropping `future`.
    ///
    /// # Errors
    /// Why it is to end; `future` is dropped half done.
    pub async fn unless_parting<T>(&self, mut future: impl Future<Output = T> + Unpin) -> Result<T, Parting> {
        poll_fn(|cx| {
            self.attend(cx.waker());
            match (Pin::new(&mut future).poll(cx), self.parting()) {
                (Poll::Pending, Some(parting)) => Poll::Ready(Err(parting)),
                (polled, _) => polled.map(Ok),
            }
        })
        .await
    }

    /// Marks the session and wakes its task.
    pub(crate) fn part(&self, parting: Parting) {
        self.parting.fetch_max(parting as u8, Relaxed);
        self.wake();
    }

    /// Wakes the session's task, to look at what has changed before.
    pub(crate) fn wake(&self) {
        // The lock orders the change before whatever the woken task looks at.
        if let Some(waker) = &self.words().waker {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn session(&self, now: Instant) -> Session {
        let (Newcomer { id, listener, admitted_at, .. }, words) = (self.newcomer, self.words());
        Session {
            id,
            listener,
            source: words.source,
            user: words.user.clone(),
            program: words.program.clone(),
            age: now.saturating_duration_since(admitted_at),
            phase: words.clock.phase(),
            in_phase: words.clock.in_phase(now),
            slot_time: words.clock.spent(now),
            commands: self.commands.load(Relaxed),
            octets_in: self.octets_in.load(Relaxed),
            octets_out: self.octets_out.load(Relaxed),
            ending: self.parting().is_some(),
        }
    }

    /// The client's address, of whomever a proxy speaks for.
    pub fn source(&self) -> IpAddr {
        self.words().source
    }

    /// The listener the session came in by.
    pub(crate) fn listener(&self) -> ListenerId {
        self.newcomer.listener
    }

    pub(crate) fn words(&self) -> MutexGuard<'_, Words> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which places somebody lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One that is not reserved: there are others.
    General,
    /// Whichever.
    Any,
}

/// Why a session is to end. The later one counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Somebody else needs the place (R7).
    GivesWay = 1,
    /// An operator has said so.
    Ended = 2,
}

/// What is not a plain number.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) clock: SlotClock,
    source: IpAddr,
    draw: Draw,
    /// The account whose sessions it is counted with.
    pub(crate) user: Option<Arc<str>>,
    program: Option<Box<str>>,
    waker: Option<Waker>,
}

/// What is kept of a client's name for itself.
pub const PROGRAM_OCTETS: usize = 64;
/// How long a handshake may be held up by us, in a crowd: it waits for its turn, and for a processor.
const OUR_PART: Duration = Duration::from_secs(3);
