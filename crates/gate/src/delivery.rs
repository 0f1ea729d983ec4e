//! The delivery gate: how many messages are on their way to the store, by how fast the store is.
//!
//! A message passes in three steps. At MAIL it is [promised](Delivery::promise) a reply in time, or the client is told to come
//! back (R5), before it has sent anything. At DATA the promise is [looked at again](Promise::begin). At the end of data it takes
//! its [turn](Promise::turn), and commits with a [`Passage`]. Each is a value that undoes itself when it is dropped. A session's length is
//! set by its client and a commit's by the store, so only commits are counted against the store's limit: a slow client holds a
//! promise and keeps no one waiting.
//!
//! **How many commit at once** follows the store's latency by additive increase and multiplicative decrease: Chiu and Jain, *Analysis of the
//! Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks* (1989), as TCP has it (RFC 5681), with a latency target
//! in the place of a lost packet, as in the AIMD limiter of Netflix's concurrency-limits. A commit within the target raises the limit
//! by one part of it, one for a whole round, and by one before the first that was not (slow start); one beyond the target, or one that
//! fails, lowers it by a tenth, once a round. What does not use half of the limit does not raise it (RFC 7661). Vegas and Gradient2,
//! which that library has, too, compare with the latency of an idle store. A store that commits in groups takes twice that as
//! soon as two messages meet: Vegas would keep its groups small, and Gradient2, which follows the long-term mean, would follow a queue up.
//!
//! **How long a reply will take** is the messages ahead times the store's pace: seconds for each message, measured over rounds of
//! commits as BBR measures its delivery rate (Cardwell and others, 2016), the slowest of the last two and of the present one. While nothing comes back the age of
//! the oldest commit, shared by all that are under way, stands for it, so that a store that hangs is noticed before it answers. All who were
//! promised are taken to be ahead, though some will send nothing: a promise is kept rather than the store kept busy at any price.
//!
//! Guarantees: at most the limit commit at once, and turns come in the order in which they were asked for; the limit stays between its
//! floor and its ceiling; while fewer messages than the floor are anywhere in here, one more is promised whatever was measured, so that
//! a store that is well again shows it. Those who were promised something may take their time over it, or never send it: while no commit is
//! under way, one more is promised each second, a probe, whoever else was.
//! Memory is bounded by the sessions in use. Refuses with [`Late`]. Cannot fail; time is told.

mod settings;
mod state;

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use settings::Settings;

use state::State;

/// The delivery gate of one store. Clones are the same.
#[derive(Clone, Debug)]
pub struct Delivery(Arc<Mutex<State>>);

/// The reply would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store would answer in {} s, {} s are the deadline: {ahead} messages are ahead", .estimate.as_secs(), .deadline.as_secs())]
pub struct Late {
    /// How long it would take.
    pub estimate: Duration,
    /// How long it may take.
    pub deadline: Duration,
    /// Messages ahead.
    pub ahead: u32,
}

/// A message that is to have its reply in time. Dropped, it is not sent.
#[must_use = "dropping a promise takes it back at once"]
#[derive(Debug)]
pub struct Promise {
    delivery: Delivery,
    /// Its body is coming.
    begun: bool,
    /// It is kept whatever was measured, for the store to be measured by.
    probes: bool,
    /// It has become a turn.
    spent: bool,
}

/// A message that is whole and waits to be committed. Dropping it leaves the queue.
#[must_use = "a turn that is not awaited never comes"]
#[derive(Debug)]
pub struct Turn {
    delivery: Delivery,
    id: u64,
    taken: bool,
}

/// A commit under way. Dropped without a word it tells nothing of the store.
#[must_use = "dropping a passage ends it at once"]
#[derive(Debug)]
pub struct Passage {
    delivery: Delivery,
    id: u64,
}

/// The delivery gate at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Commits that may be under way at once.
    pub limit: u32,
    /// Commits under way.
    pub in_flight: u32,
    /// Messages that are whole and wait for their turn.
    pub waiting: u32,
    /// Messages promised whose end has not come.
    pub promised: u32,
    /// What a message promised now would wait for its reply.
    pub estimate: Duration,
    /// Messages ever refused at MAIL or DATA.
    pub refused_total: u64,
}

impl Delivery {
    /// A store of which nothing is known yet.
    pub fn new(settings: &Settings) -> Self {
        Self(Arc::new(Mutex::new(State::new(settings))))
    }

    /// Puts other settings in force. What is under way goes on.
    pub fn apply(&self, settings: &Settings) {
        self.lock().apply(settings);
    }

    /// At MAIL: whether the reply to a message that begins now would come in time.
    ///
    /// # Errors
    /// It would not.
    pub fn promise(&self, now: Instant) -> Result<Promise, Late> {
        let probes = self.lock().promise(now)?;
        Ok(Promise { delivery: self.clone(), begun: false, probes, spent: false })
    }

    /// How long a message that is whole may wait for its turn before its client is told to come back.
    pub fn deadline(&self) -> Duration {
        self.lock().deadline()
    }

    /// What to say of a message that is whole and whose turn has not come within the deadline.
    pub fn late(&self, now: Instant) -> Late {
        let (Snapshot { estimate, in_flight, waiting, .. }, deadline) = (self.snapshot(now), self.deadline());
        Late { estimate: estimate.max(deadline), deadline, ahead: in_flight.saturating_add(waiting) }
    }

    /// What is known now.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        self.lock().snapshot(now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain numbers and a queue, whole after every statement that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Promise {
    /// At DATA, before the body: whether the promise still holds. Those who were promised something and have not come this far are
    /// not ahead any more.
    ///
    /// # Errors
    /// The store has become slower since.
    pub fn begin(&mut self, now: Instant) -> Result<(), Late> {
        if !self.begun {
            self.delivery.lock().begin(self.probes, now)?;
            self.begun = true;
        }
        Ok(())
    }

    /// At the end of data: queues for the commit. Await it; dropping it is safe.
    pub fn turn(mut self, now: Instant) -> Turn {
        self.spent = true;
        let id = self.delivery.lock().enqueue(self.begun, now);
        Turn { delivery: self.delivery.clone(), id, taken: false }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.spent {
            self.delivery.lock().give_up(self.begun, self.probes);
        }
    }
}

impl Future for Turn {
    type Output = Passage;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Passage> {
        if self.delivery.lock().has_come(self.id, cx.waker()) {
            self.taken = true;
            return Poll::Ready(Passage { delivery: self.delivery.clone(), id: self.id });
        }
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.taken {
            self.delivery.lock().leave(self.id);
        }
    }
}

impl Passage {
    /// The message is stored.
    pub fn stored(self, now: Instant) {
        self.delivery.lock().stored(self.id, now);
    }

    /// The store has answered with an error.
    pub fn failed(self, now: Instant) {
        self.delivery.lock().failed(self.id, now);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.delivery.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use mail::Span;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn delivery(least: u32, most: u32) -> Delivery {
        Delivery::new(&Settings { least_in_flight: least, most_in_flight: most, ..Settings::default() })
    }

    fn come(turn: Pin<&mut Turn>) -> Option<Passage> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(passage) => Some(passage),
            Poll::Pending => None,
        }
    }

    fn counts(delivery: &Delivery, now: Instant) -> (u32, u32, u32) {
        let Snapshot { promised, waiting, in_flight, .. } = delivery.snapshot(now);
        (promised, waiting, in_flight)
    }

    #[test]
    fn every_step_undoes_itself() {
        let (delivery, now) = (delivery(1, 1), Instant::now());
        let promise = || delivery.promise(now).unwrap();
        let mut begun = promise();
        begun.begin(now).unwrap();
        drop((promise(), begun));
        let mut first = pin!(promise().turn(now));
        let passage = come(first.as_mut()).unwrap();
        let waiting = promise().turn(now);
        assert_eq!(counts(&delivery, now), (0, 1, 1));
        drop(waiting);
        drop(passage);
        assert_eq!(counts(&delivery, now), (0, 0, 0));
        // A turn that has come, and that nobody was there for.
        drop(promise().turn(now));
        assert_eq!(counts(&delivery, now), (0, 0, 0));
    }

    #[test]
    fn turns_come_in_order_and_never_more_than_the_limit() {
        let (delivery, now) = (delivery(2, 2), Instant::now());
        let mut turns: Vec<_> = (0..6).map(|_| Box::pin(delivery.promise(now).unwrap().turn(now))).collect();
        let mut passages: Vec<_> = turns.iter_mut().map(|turn| come(turn.as_mut())).collect();
        assert_eq!(passages.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false, false, false]);
        drop(turns.remove(2));
        passages[0].take().unwrap().stored(now);
        assert!(come(turns[3].as_mut()).is_none());
        assert!(come(turns[2].as_mut()).is_some(), "who left the queue is not waited for");
    }

    #[test]
    fn a_store_that_hangs_is_noticed_before_it_answers_and_when_it_is_back() {
        let (delivery, start) = (delivery(4, 100), Instant::now());
        let mut turns: Vec<_> = (0..4).map(|_| Box::pin(delivery.promise(start).unwrap().turn(start))).collect();
        let passages: Vec<_> = turns.iter_mut().map(|turn| come(turn.as_mut()).unwrap()).collect();
        assert!(delivery.promise(start + SECOND).is_ok());
        let late = delivery.promise(start + 29 * SECOND).unwrap_err();
        assert_eq!((late.ahead, late.deadline), (4, 30 * SECOND));
        passages.into_iter().for_each(|passage| passage.stored(start + 60 * SECOND));
        // Fewer than the floor: whatever was measured.
        let probes: Vec<_> = (0..4).map(|_| delivery.promise(start + 60 * SECOND).unwrap()).collect();
        assert!(delivery.promise(start + 60 * SECOND).is_err());
        for (number, probe) in (1..).zip(probes) {
            let now = start + 60 * SECOND + number * Duration::from_millis(10);
            come(pin!(probe.turn(now))).unwrap().stored(now + Duration::from_millis(1));
        }
        assert!(delivery.snapshot(start + 61 * SECOND).estimate < 10 * SECOND);
    }

    #[test]
    fn while_nothing_is_committed_one_a_second_is_let_through_whoever_else_was() {
        let (delivery, start) = (delivery(1, 100), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let mut slow = pin!(delivery.promise(start).unwrap().turn(start));
        come(slow.as_mut()).unwrap().stored(at(20_000));
        let _parked = [delivery.promise(at(20_000)).unwrap(), delivery.promise(at(21_000)).unwrap()];
        assert!(delivery.promise(at(21_999)).is_err(), "one has had its chance");
        let mut probe = delivery.promise(at(22_000)).unwrap();
        let mut uploads = delivery.promise(at(23_000)).unwrap();
        uploads.begin(at(23_000)).unwrap();
        probe.begin(at(23_000)).unwrap();
        let mut turn = pin!(probe.turn(at(23_100)));
        let passage = come(turn.as_mut()).unwrap();
        assert!(delivery.promise(at(25_000)).is_err(), "something is under way, and will tell");
        passage.stored(at(25_001));
        assert!(delivery.promise(at(25_002)).is_err(), "the slower of two rounds");
        assert!(delivery.promise(at(26_001)).is_ok());
    }

    #[test]
    fn a_probe_that_nothing_comes_of_is_the_next_ones() {
        let (delivery, start) = (delivery(1, 100), Instant::now());
        let mut slow = pin!(delivery.promise(start).unwrap().turn(start));
        come(slow.as_mut()).unwrap().stored(start + 20 * SECOND);
        let _parked = [20, 21].map(|second| delivery.promise(start + second * SECOND).unwrap());
        let now = start + 22 * SECOND;
        drop(delivery.promise(now).unwrap());
        let _probe = delivery.promise(now).expect("somebody whose message is refused has not used it up");
        assert!(delivery.promise(now).is_err());
    }

    #[test]
    fn what_is_committed_together_took_that_long_together() {
        let (delivery, start) = (delivery(10, 100), Instant::now());
        let mut turns: Vec<_> = (0..10).map(|_| Box::pin(delivery.promise(start).unwrap().turn(start))).collect();
        let group: Vec<_> = turns.iter_mut().map(|turn| come(turn.as_mut()).unwrap()).collect();
        group.into_iter().for_each(|passage| passage.stored(start + 10 * SECOND));
        assert_eq!(delivery.snapshot(start + 10 * SECOND).estimate, SECOND);
    }

    #[test]
    fn the_limit_follows_the_latency_between_floor_and_ceiling() {
        let patient = Settings { least_in_flight: 4, most_in_flight: 20, deadline: Span::mins(5), ..Settings::default() };
        let (delivery, mut now) = (Delivery::new(&patient), Instant::now());
        let mut round = |latency: Duration, many: u32| {
            let mut turns: Vec<_> = (0..many).map(|_| Box::pin(delivery.promise(now).unwrap().turn(now))).collect();
            let passages: Vec<_> = turns.iter_mut().filter_map(|turn| come(turn.as_mut())).collect();
            now += latency;
            passages.into_iter().for_each(|passage| passage.stored(now));
            drop(turns);
            delivery.snapshot(now).limit
        };
        assert_eq!(round(SECOND / 100, 1), 4, "nobody needs more");
        assert_eq!(round(SECOND / 100, 4), 8, "slow start, while half of it is used");
        for _ in 0..9 {
            round(SECOND / 100, 20);
        }
        assert_eq!(round(SECOND / 100, 20), 20, "the ceiling");
        assert_eq!(round(2 * SECOND, 20), 18, "a tenth less, once");
        round(SECOND / 2, 20);
        assert_eq!(round(SECOND / 2, 20), 19, "not quite one a round");
        for _ in 0..99 {
            round(2 * SECOND, 4);
        }
        assert_eq!(round(2 * SECOND, 4), 4, "the floor");
    }

    #[test]
    fn settings_change_live() {
        let (delivery, now) = (delivery(8, 8), Instant::now());
        delivery.apply(&Settings { least_in_flight: 1, most_in_flight: 2, deadline: Span::secs(7), ..Settings::default() });
        assert_eq!((delivery.snapshot(now).limit, delivery.deadline()), (2, 7 * SECOND));
    }
}
