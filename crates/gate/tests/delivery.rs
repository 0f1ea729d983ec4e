//! A store that becomes slow and fast again, a crowd of clients, and simulated time.
//!
//! The store commits one message after the other. A thousand sessions send a message, wait for the reply, think, and send the
//! next; one that is refused comes back later. A client gives up after a minute. Others may be promised something and stay behind MAIL, or
//! take minutes for their message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use gate::Delivery;
use gate::delivery::{Passage, Promise, Settings, Turn};

#[test]
fn a_store_that_slows_down_and_recovers() {
    let outcome =
        Simulation::new(|second| if (SLOW..FAST_AGAIN).contains(&second) { Duration::from_millis(100) } else { Duration::from_millis(2) })
            .run(140);
    assert_eq!(outcome.refused_after_body, 0);
    assert!(outcome.longest < Duration::from_secs(35), "a client waited for {:?}", outcome.longest);

    // While it is slow: all that it can do. The first seconds are those in which it is found out.
    let slow = &outcome.seconds[SLOW as usize + 1..FAST_AGAIN as usize];
    let stored: u32 = slow.iter().map(|second| second.stored).sum();
    assert!(stored * 10 >= slow.len() as u32 * 10 * 9, "{stored} messages in {} seconds", slow.len());
    assert!(slow.iter().map(|second| second.refused).sum::<u32>() > 100, "the others were told before they sent anything");
    // As many at once as take a second, and that steadily.
    let settled = &outcome.seconds[SLOW as usize + 20..FAST_AGAIN as usize];
    assert!(settled.iter().all(|second| (7..=12).contains(&second.limit)), "{:?}", settled.iter().map(|s| s.limit).collect::<Vec<_>>());

    // When it is fast again: nobody is refused any more, at the latest after 30 seconds, and it stays like that.
    let recovered = &outcome.seconds[FAST_AGAIN as usize + 30..];
    assert!(recovered.iter().all(|second| second.refused == 0 && second.stored > 100));
    let back = outcome.seconds[FAST_AGAIN as usize..].iter().position(|second| second.refused == 0 && second.stored > 100);
    assert!(back.is_some_and(|seconds| seconds <= 3), "{back:?}");
}

#[test]
fn a_store_that_was_never_fast() {
    let outcome = Simulation::new(|_| Duration::from_millis(100)).run(60);
    assert_eq!(outcome.refused_after_body, 0);
    assert!(outcome.longest < Duration::from_secs(35), "a client waited for {:?}", outcome.longest);
    assert!(outcome.seconds.iter().skip(3).all(|second| second.stored >= 9));
}

/// A disk that hangs for twelve seconds in the middle of a commit and is well again, while most of those who were promised something take
/// their time over it: whoever sends at once is not kept out because of them.
#[test]
fn a_store_that_hangs_once_and_clients_that_take_their_time() {
    for crowd in [
        Crowd { prompt: 3, parked: 8, uploading: 0 },
        Crowd { prompt: 3, parked: 0, uploading: 8 },
        Crowd { prompt: 5, parked: 500, uploading: 400 },
    ] {
        let hangs = |second| if second == SLOW { Duration::from_secs(12) } else { Duration::from_millis(2) };
        let outcome = Simulation::with(crowd, hangs).run(140);
        assert_eq!(outcome.refused_after_body, 0);
        let recovered = &outcome.seconds[SLOW as usize + 12 + 30..];
        assert_eq!(recovered.iter().map(|second| second.refused).sum::<u32>(), 0, "{crowd:?}");
        // Each sends a message about every five seconds.
        let stored: u32 = recovered.iter().map(|second| second.stored).sum();
        assert!(stored as usize >= crowd.prompt * recovered.len() / 7, "{crowd:?}: {stored} in {} seconds", recovered.len());
    }
}

const SLOW: u64 = 20;
const FAST_AGAIN: u64 = 80;
const SESSIONS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is there: sessions that send at once, that stay behind MAIL for good, and whose messages take from five to ten minutes.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    prompt: usize,
    parked: usize,
    uploading: usize,
}

struct Simulation {
    crowd: Crowd,
    delivery: Delivery,
    start: Instant,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    next_event: u64,
    promises: Vec<Option<Promise>>,
    /// Whole messages: whose, since when.
    waiting: VecDeque<(usize, Instant, Pin<Box<Turn>>)>,
    /// What the store has been given.
    store: VecDeque<(usize, Instant, Passage)>,
    /// How long the store takes for a message, by the second of the run.
    service: fn(u64) -> Duration,
    dice: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Mail(usize),
    Data(usize),
    EndOfData(usize),
    Stored,
}

#[derive(Default)]
struct Outcome {
    seconds: Vec<Second>,
    refused_after_body: u32,
    longest: Duration,
}

#[derive(Clone, Copy, Default)]
struct Second {
    stored: u32,
    refused: u32,
    limit: u32,
}

impl Simulation {
    fn new(service: fn(u64) -> Duration) -> Self {
        Self::with(Crowd { prompt: SESSIONS, parked: 0, uploading: 0 }, service)
    }

    fn with(crowd: Crowd, service: fn(u64) -> Duration) -> Self {
        let (start, sessions) = (Instant::now(), crowd.prompt + crowd.parked + crowd.uploading);
        let mut simulation = Self {
            crowd,
            delivery: Delivery::new(&Settings::default()),
            start,
            now: start,
            events: BinaryHeap::new(),
            next_event: 0,
            promises: (0..sessions).map(|_| None).collect(),
            waiting: VecDeque::new(),
            store: VecDeque::new(),
            service,
            dice: 1,
            outcome: Outcome::default(),
        };
        for session in 0..sessions {
            let at = simulation.between(0, 6000);
            simulation.later(at, Event::Mail(session));
        }
        simulation
    }

    fn run(mut self, seconds: u64) -> Outcome {
        self.outcome.seconds = vec![Second::default(); seconds as usize];
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now >= self.start + Duration::from_secs(seconds) {
                break;
            }
            self.now = now;
            self.happens(event);
            self.turns_come();
            self.second().limit = self.delivery.snapshot(now).limit;
        }
        self.outcome
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Mail(session) => match self.delivery.promise(self.now) {
                Ok(promise) => {
                    self.promises[session] = Some(promise);
                    if (self.crowd.prompt..self.crowd.prompt + self.crowd.parked).contains(&session) {
                        return;
                    }
                    let envelope = self.between(1, 50);
                    self.later(envelope, Event::Data(session));
                }
                Err(_) => self.refused(session),
            },
            Event::Data(session) => match self.promises[session].as_mut().unwrap().begin(self.now) {
                Ok(()) => {
                    let body = if session < self.crowd.prompt { self.between(10, 1500) } else { self.between(300_000, 600_000) };
                    self.later(body, Event::EndOfData(session));
                }
                Err(_) => {
                    self.promises[session] = None;
                    self.refused(session);
                }
            },
            Event::EndOfData(session) => {
                let turn = self.promises[session].take().unwrap().turn(self.now);
                self.waiting.push_back((session, self.now, Box::pin(turn)));
            }
            Event::Stored => {
                let (session, since, passage) = self.store.pop_front().unwrap();
                passage.stored(self.now);
                self.second().stored += 1;
                self.replied(session, since);
                if !self.store.is_empty() {
                    self.serve();
                }
            }
        }
    }

    /// Turns come in order, so only the first can have come; who has waited for too long is told to come back.
    fn turns_come(&mut self) {
        while let Some((session, since, turn)) = self.waiting.front_mut() {
            let (session, since) = (*session, *since);
            match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(passage) => {
                    self.waiting.pop_front();
                    self.store.push_back((session, since, passage));
                    if self.store.len() == 1 {
                        self.serve();
                    }
                }
                Poll::Pending if self.now - since > self.delivery.deadline() => {
                    self.waiting.pop_front();
                    self.outcome.refused_after_body += 1;
                    self.replied(session, since);
                }
                Poll::Pending => break,
            }
        }
    }

    fn serve(&mut self) {
        let second = (self.now - self.start).as_secs();
        self.later((self.service)(second).as_millis() as u64, Event::Stored);
    }

    fn refused(&mut self, session: usize) {
        self.second().refused += 1;
        let pause = self.between(5_000, 15_000);
        self.later(pause, Event::Mail(session));
    }

    fn replied(&mut self, session: usize, since: Instant) {
        self.outcome.longest = self.outcome.longest.max(self.now - since);
        assert!(self.now - since < PATIENCE, "a client has given up");
        let think = self.between(4_000, 6_000);
        self.later(think, Event::Mail(session));
    }

    fn later(&mut self, millis: u64, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.now + Duration::from_millis(millis), self.next_event, event)));
    }

    fn second(&mut self) -> &mut Second {
        let second = (self.now - self.start).as_secs() as usize;
        &mut self.outcome.seconds[second]
    }

    /// The same dice in every run.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (self.dice >> 33) % (most - least)
    }
}
