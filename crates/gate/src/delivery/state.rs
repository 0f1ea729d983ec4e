//! What the delivery gate knows, and what it concludes. Plain values under one lock; see the contract of the module above.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Late, Settings, Snapshot};

#[derive(Debug)]
pub(super) struct State {
    settings: Settings,
    /// Messages promised whose body has not begun.
    promised: u32,
    /// Messages whose body is coming.
    begun: u32,
    /// Whole messages, the first to come first.
    waiting: VecDeque<Waiter>,
    /// Commits under way, by their turn's id.
    in_flight: BTreeMap<u64, Flight>,
    next_id: u64,
    /// Commits there ever were.
    flights: u64,
    limit: f64,
    /// No commit has been too late yet.
    slow_start: bool,
    /// Commits before this one began under a limit that has been lowered since.
    round: u64,
    /// Commits that succeeded.
    stored: u64,
    /// Where the present measurement of the pace began; none while nothing is under way.
    mark: Option<Mark>,
    /// Seconds for each message, in the last round and the one before.
    paces: [f64; 2],
    /// Since when nothing was under way and no probe was promised.
    quiet_since: Option<Instant>,
    refused: u64,
    /// The latest time that was told.
    now: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    since: Instant,
    /// Commits under way when it began, itself included.
    beside: usize,
}

/// The beginning of a round, and what came of it so far.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    /// Messages stored before it.
    stored: u64,
    /// The commit whose end is the round's: the first to begin after one was over.
    flight: Option<u64>,
    /// When the last one was stored.
    last: Instant,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            promised: 0,
            begun: 0,
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_id: 0,
            flights: 0,
            limit: settings.least_in_flight.into(),
            slow_start: true,
            round: 0,
            stored: 0,
            mark: None,
            paces: [0.0; 2],
            quiet_since: None,
            refused: 0,
            now: None,
        }
    }

    pub(super) fn apply(&mut self, settings: &Settings) {
        self.settings = settings.clone();
        self.set_limit(self.limit);
        self.admit();
    }

    pub(super) fn deadline(&self) -> Duration {
        self.settings.deadline.0
    }

    /// Whether it is a probe.
    pub(super) fn promise(&mut self, now: Instant) -> Result<bool, Late> {
        self.tell(now);
        let probes = match self.in_time(self.promised + self.begun) {
            Ok(()) => false,
            Err(late) if !self.probes(now) => return Err(self.refuse(late)),
            Err(_seen_by_nobody) => true,
        };
        self.promised += 1;
        Ok(probes)
    }

    /// The caller is one of the promised, and those who have not come this far are behind it. A probe is not asked again.
    pub(super) fn begin(&mut self, probes: bool, now: Instant) -> Result<(), Late> {
        self.tell(now);
        if !probes {
            self.in_time(self.begun).map_err(|late| self.refuse(late))?;
        }
        self.promised = self.promised.saturating_sub(1);
        self.begun += 1;
        Ok(())
    }

    /// A promise that nothing came of. A probe among them has shown nothing, and is whoever's comes next: somebody who is refused for another
    /// reason, again and again, does not have them all.
    pub(super) fn give_up(&mut self, begun: bool, probes: bool) {
        self.take_back(begun);
        if probes && self.in_flight.is_empty() {
            self.quiet_since = self.quiet_since.map(|since| since.checked_sub(PROBE_PAUSE).unwrap_or(since));
        }
    }

    fn take_back(&mut self, begun: bool) {
        let count = if begun { &mut self.begun } else { &mut self.promised };
        *count = count.saturating_sub(1);
    }

    pub(super) fn enqueue(&mut self, begun: bool, now: Instant) -> u64 {
        self.tell(now);
        self.take_back(begun);
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Waiter { id, waker: None });
        self.admit();
        id
    }

    /// Whether a turn has come; who waits for it is woken then.
    pub(super) fn has_come(&mut self, id: u64, waker: &Waker) -> bool {
        let waiter = self.waiting.binary_search_by_key(&id, |waiter| waiter.id).ok().and_then(|at| self.waiting.get_mut(at));
        match waiter {
            Some(waiter) => {
                waiter.waker.get_or_insert_with(|| waker.clone()).clone_from(waker);
                false
            }
            None => true,
        }
    }

    /// A turn or a commit is given up, or is over.
    pub(super) fn leave(&mut self, id: u64) {
        if self.in_flight.remove(&id).is_none()
            && let Ok(at) = self.waiting.binary_search_by_key(&id, |waiter| waiter.id)
        {
            self.waiting.remove(at);
        }
        self.admit();
        if self.in_flight.is_empty() {
            self.end_round();
            self.mark = None;
            self.quiet_since = self.now;
        }
    }

    pub(super) fn stored(&mut self, id: u64, now: Instant) {
        self.tell(now);
        let Some(flight) = self.in_flight.get(&id).copied() else { return };
        self.stored += 1;
        self.measure(flight, now);
        if now.saturating_duration_since(flight.since) > self.settings.latency_target.0 {
            self.lower(flight);
        } else if 2.0 * count(flight.beside.max(self.in_flight.len())) >= self.limit {
            self.set_limit(self.limit + if self.slow_start { 1.0 } else { 1.0 / self.limit });
        }
    }

    pub(super) fn failed(&mut self, id: u64, now: Instant) {
        self.tell(now);
        if let Some(flight) = self.in_flight.get(&id).copied() {
            self.lower(flight);
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> Snapshot {
        let promised = self.promised + self.begun;
        Snapshot {
            limit: self.whole_limit(),
            in_flight: whole(self.in_flight.len()),
            waiting: whole(self.waiting.len()),
            promised,
            estimate: self.estimate(self.ahead(promised), self.now.map_or(now, |told| told.max(now))),
            refused_total: self.refused,
        }
    }

    /// Whether one more would have its reply in time, behind so many who are not whole yet.
    fn in_time(&self, coming: u32) -> Result<(), Late> {
        let ahead = self.ahead(coming);
        let (estimate, deadline) = (self.now.map_or(Duration::ZERO, |now| self.estimate(ahead, now)), self.deadline());
        if ahead < self.settings.least_in_flight || estimate <= deadline {
            return Ok(());
        }
        Err(Late { estimate, deadline, ahead })
    }

    /// Whether one is let through for the store to show how it does: whoever was promised something may take their time, or never send it, and
    /// while nothing is under way nothing is measured.
    fn probes(&mut self, now: Instant) -> bool {
        let is_due = self.in_flight.is_empty() && self.quiet_since.is_some_and(|since| now >= since + PROBE_PAUSE);
        if is_due {
            self.quiet_since = Some(now);
        }
        is_due
    }

    fn refuse(&mut self, late: Late) -> Late {
        self.refused += 1;
        late
    }

    fn ahead(&self, coming: u32) -> u32 {
        coming.saturating_add(whole(self.waiting.len())).saturating_add(whole(self.in_flight.len()))
    }

    fn estimate(&self, ahead: u32, now: Instant) -> Duration {
        let oldest = self.in_flight.values().next().map(|flight| now.saturating_duration_since(flight.since).as_secs_f64());
        let silent = oldest.map_or(0.0, |age| age / count(self.in_flight.len()));
        let so_far = self.mark.and_then(|mark| self.pace_since(mark)).unwrap_or_default();
        let pace = self.paces.into_iter().fold(silent.max(so_far), f64::max);
        Duration::try_from_secs_f64(pace * (f64::from(ahead) + 1.0)).unwrap_or(Duration::MAX)
    }

    /// A round is over when a commit is that began after another one was over, or when nothing is under way any more: all that was stored
    /// in between took so long. The first to be over would stand for all that were committed together with it.
    fn measure(&mut self, flight: Flight, now: Instant) {
        let next = self.flights;
        let Some(mark) = &mut self.mark else { return };
        mark.last = now;
        let ends = *mark.flight.get_or_insert(next);
        if flight.number >= ends {
            self.end_round();
        }
    }

    fn end_round(&mut self) {
        let Some((mark, pace)) = self.mark.and_then(|mark| Some((mark, self.pace_since(mark)?))) else { return };
        self.paces = [pace, self.paces[0]];
        self.mark = Some(Mark { at: mark.last, stored: self.stored, flight: Some(self.flights), last: mark.last });
    }

    /// Seconds for each message of a round so far, if there was one.
    #[expect(clippy::cast_precision_loss, reason = "a round has not that many messages")]
    fn pace_since(&self, mark: Mark) -> Option<f64> {
        let stored = self.stored.saturating_sub(mark.stored);
        (stored > 0).then(|| mark.last.saturating_duration_since(mark.at).as_secs_f64() / stored as f64)
    }

    /// Once a round: what began under the limit before says nothing about the present one.
    fn lower(&mut self, flight: Flight) {
        if flight.number >= self.round {
            self.round = self.flights;
            self.slow_start = false;
            self.set_limit(self.limit * DECREASE);
        }
    }

    fn set_limit(&mut self, limit: f64) {
        let Settings { least_in_flight, most_in_flight, .. } = self.settings;
        self.limit = limit.min(most_in_flight.into()).max(least_in_flight.into());
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two numbers of that type")]
    fn whole_limit(&self) -> u32 {
        (self.limit + ROUNDING) as u32
    }

    /// Lets the first in the queue pass, as far as the limit reaches.
    fn admit(&mut self) {
        let Some(now) = self.now else { return };
        while whole(self.in_flight.len()) < self.whole_limit() {
            let Some(Waiter { id, waker }) = self.waiting.pop_front() else { return };
            let flight = Flight { number: self.flights, since: now, beside: self.in_flight.len() + 1 };
            self.mark.get_or_insert(Mark { at: now, stored: self.stored, flight: None, last: now });
            self.flights += 1;
            self.in_flight.insert(id, flight);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn tell(&mut self, now: Instant) {
        self.now = Some(self.now.map_or(now, |before| before.max(now)));
    }
}

fn whole(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// For dividing by: at least 1.
fn count(count: usize) -> f64 {
    f64::from(whole(count).max(1))
}

/// The back-off ratio of Netflix's limiter. TCP halves; a store does not lose what is too much for it.
const DECREASE: f64 = 0.9;

/// How long nothing is under way before one more message is let through, and the next one after that.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// Many parts of one make one.
const ROUNDING: f64 = 1e-6;
