//! The pool under every interleaving of its threads.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p gate --release --test loom`
//!
//! Without `--cfg loom` this file is empty. What is modelled is [`gate::Pool`], where the limit is decided and changed;
//! the sources are counted under locks and are hammered with real threads in `tests/hammer.rs`.
//!
//! The models do not believe what the pool says of itself. `Watched` keeps a count of live places from outside, raised
//! after a place was given and lowered before it is returned, so it never exceeds the truth; and it knows which
//! limits can have been in force while a place was being given. Among the live places the one given last was given
//! when all the others were in use, so their number is bounded by the limit at that instant. The count is kept in std's
//! atomics: loom changes threads only at its own, so that the models stay small and the count close to the truth.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use gate::{Place, Pool, Usage};
use loom::thread;

/// A pool whose limit changes at most once, with a count kept beside it.
struct Watched {
    pool: Arc<Pool>,
    limits: [u32; 2],
    /// 0 before the resize, 1 while it is under way, 2 once it is in force.
    progress: AtomicU32,
    live: AtomicU32,
}

impl Watched {
    fn new(limit: u32, next: u32) -> Arc<Self> {
        let pool = Arc::new(Pool::new(limit));
        Arc::new(Self { pool, limits: [limit, next], progress: AtomicU32::new(0), live: AtomicU32::new(0) })
    }

    fn resize(&self) {
        self.progress.store(1, SeqCst);
        self.pool.resize(self.limits[1]);
        self.progress.store(2, SeqCst);
    }

    fn acquire(&self) -> Option<Place> {
        let before = self.progress.load(SeqCst);
        let place = self.pool.acquire().ok()?;
        let live = self.live.fetch_add(1, SeqCst) + 1;
        let after = self.progress.load(SeqCst);
        let old = (before < 2).then_some(self.limits[0]);
        let new = (after > 0).then_some(self.limits[1]);
        let in_force = old.max(new).unwrap();
        assert!(live <= in_force, "{live} places live, {in_force} allowed");
        Some(place)
    }

    fn release(&self, place: Place) {
        self.live.fetch_sub(1, SeqCst);
        drop(place);
    }

    /// Every place is back, none of them twice: exactly `limit` can be taken.
    fn assert_whole(&self, limit: u32) {
        assert_eq!(self.pool.usage(), Usage { in_use: 0, limit });
        let places: Vec<_> = (0..limit).map(|_| self.pool.acquire().unwrap()).collect();
        assert_eq!(self.pool.acquire().unwrap_err(), Usage { in_use: limit, limit });
        drop(places);
        assert_eq!(self.pool.usage(), Usage { in_use: 0, limit });
    }
}

fn spawn<T: 'static>(watched: &Arc<Watched>, work: impl FnOnce(&Watched) -> T + 'static) -> thread::JoinHandle<T> {
    let watched = Arc::clone(watched);
    thread::spawn(move || work(&watched))
}

/// Takes a place if there is one, looks around, returns it, and says whether there was one. Looking at the pool is what lets
/// loom bring in the others meanwhile; without it nobody would ever be there together.
fn visit(watched: &Watched) -> bool {
    let Some(place) = watched.acquire() else { return false };
    assert!(watched.pool.usage().in_use > 0, "the place I hold is not counted");
    watched.release(place);
    true
}

#[test]
fn two_visitors_through_a_lowering() {
    loom::model(|| {
        let watched = Watched::new(2, 1);
        let visitors = [spawn(&watched, visit), spawn(&watched, visit)];
        watched.resize();
        for visitor in visitors {
            visitor.join().unwrap();
        }
        watched.assert_whole(1);
    });
}

#[test]
fn two_visitors_through_a_raising() {
    loom::model(|| {
        let watched = Watched::new(1, 2);
        let visitors = [spawn(&watched, visit), spawn(&watched, visit)];
        watched.resize();
        for visitor in visitors {
            visitor.join().unwrap();
        }
        watched.assert_whole(2);
    });
}

#[test]
fn two_visitors_are_never_both_in_one_place() {
    loom::model(|| {
        let watched = Watched::new(1, 1);
        let visitor = spawn(&watched, visit);
        let came_in = [visit(&watched), visitor.join().unwrap()];
        assert!(came_in.contains(&true), "both refused at a free place");
        watched.assert_whole(1);
    });
}

#[test]
fn of_two_visitors_and_two_places_nobody_is_refused() {
    loom::model(|| {
        let watched = Watched::new(2, 2);
        let visitor = spawn(&watched, visit);
        assert!(visit(&watched), "refused beside a free place");
        assert!(visitor.join().unwrap(), "refused beside a free place");
        watched.assert_whole(2);
    });
}

#[test]
fn a_returned_place_is_there_for_the_next_after_any_resize() {
    loom::model(|| {
        let watched = Watched::new(2, 1);
        let place = watched.acquire().unwrap();
        let leaver = spawn(&watched, move |watched| watched.release(place));
        let resizer = spawn(&watched, Watched::resize);
        let visitor = spawn(&watched, visit);
        for thread in [leaver, resizer] {
            thread.join().unwrap();
        }
        visitor.join().unwrap();
        watched.assert_whole(1);
    });
}

#[test]
fn a_debt_is_paid_before_anybody_comes_in() {
    loom::model(|| {
        let watched = Watched::new(2, 1);
        let [first, second] = [(); 2].map(|()| watched.acquire().unwrap());
        watched.resize();
        let leaver = spawn(&watched, move |watched| watched.release(first));
        let visitor = spawn(&watched, visit);
        assert!(!visit(&watched), "came in over a debt, or into the place of somebody who is still there");
        leaver.join().unwrap();
        assert!(!visitor.join().unwrap(), "came in over a debt, or into the place of somebody who is still there");
        assert_eq!(watched.pool.usage(), Usage { in_use: 1, limit: 1 });
        watched.release(second);
        watched.assert_whole(1);
    });
}

#[test]
fn a_raised_limit_serves_whoever_asks_after_it() {
    loom::model(|| {
        let watched = Watched::new(1, 2);
        let held = watched.acquire().unwrap();
        let rival = spawn(&watched, |watched| watched.acquire());
        watched.resize();
        let mine = watched.acquire();
        let theirs = rival.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "one more place is for exactly one of two");
        for place in [Some(held), mine, theirs].into_iter().flatten() {
            watched.release(place);
        }
        watched.assert_whole(2);
    });
}
