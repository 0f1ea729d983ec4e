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
//! when all the others were in use, so their number is bounded by the limit at that instant. The same holds for the general
//! places among them and what the reserve leaves of the limit. The counts are kept in std's
//! atomics: loom changes threads only at its own, so that the models stay small and the counts close to the truth.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use gate::{Draw, Place, Pool, Size, Usage};
use loom::thread;

/// A pool whose size changes at most once, with counts kept beside it.
struct Watched {
    pool: Arc<Pool>,
    sizes: [Size; 2],
    /// 0 before the resize, 1 while it is under way, 2 once it is in force.
    progress: AtomicU32,
    live: AtomicU32,
    general: AtomicU32,
}

impl Watched {
    /// So many places for anybody, and then so many.
    fn new(limit: u32, next: u32) -> Arc<Self> {
        Self::sized(Size::of(limit), Size::of(next))
    }

    fn sized(size: Size, next: Size) -> Arc<Self> {
        let pool = Arc::new(Pool::new(size));
        let (progress, live, general) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { pool, sizes: [size, next], progress, live, general })
    }

    fn resize(&self) {
        self.progress.store(1, SeqCst);
        self.pool.resize(self.sizes[1]);
        self.progress.store(2, SeqCst);
    }

    fn acquire(&self) -> Option<Place> {
        self.draw(Draw::General)
    }

    fn draw(&self, draw: Draw) -> Option<Place> {
        let before = self.progress.load(SeqCst);
        let place = self.pool.acquire(draw).ok()?;
        let live = self.live.fetch_add(1, SeqCst) + 1;
        let general = if draw == Draw::General { self.general.fetch_add(1, SeqCst) + 1 } else { 0 };
        let after = self.progress.load(SeqCst);
        let old = (before < 2).then_some(self.sizes[0]);
        let new = (after > 0).then_some(self.sizes[1]);
        let in_force = || old.into_iter().chain(new);
        let limit = in_force().map(|size| size.limit).max().unwrap();
        let reserve = in_force().map(|size| size.reserve).min().unwrap();
        assert!(live <= limit, "{live} places live, {limit} allowed");
        assert!(general <= limit - reserve, "{general} general places live, {reserve} reserved of {limit}");
        Some(place)
    }

    fn keep(&self, place: &mut Place) {
        self.general.fetch_sub(1, SeqCst);
        place.keep();
    }

    /// Makes a reserved place a general one, if there is room for one more.
    fn give_up(&self, place: &mut Place) -> bool {
        if place.redraw(Draw::General).is_err() {
            return false;
        }
        let general = self.general.fetch_add(1, SeqCst) + 1;
        assert!(general <= self.sizes[0].limit - self.sizes[0].reserve, "{general} general places live");
        true
    }

    fn release(&self, place: Place) {
        if place.draw() == Draw::General {
            self.general.fetch_sub(1, SeqCst);
        }
        self.live.fetch_sub(1, SeqCst);
        drop(place);
    }

    /// Every place is back, none of them twice: exactly `limit` can be taken.
    fn assert_whole(&self, limit: u32) {
        let reserve = self.pool.usage().reserve;
        assert_eq!(self.pool.usage(), Usage { in_use: 0, general: 0, limit, reserve });
        let unreserved = limit - reserve;
        let places: Vec<_> = (0..unreserved).map(|_| self.pool.acquire(Draw::General).unwrap()).collect();
        assert!(self.pool.acquire(Draw::General).is_err());
        let reserved: Vec<_> = (0..reserve).map(|_| self.pool.acquire(Draw::Reserved).unwrap()).collect();
        assert_eq!(self.pool.acquire(Draw::Reserved).unwrap_err(), Usage { in_use: limit, general: unreserved, limit, reserve });
        drop((places, reserved));
        assert_eq!(self.pool.usage(), Usage { in_use: 0, general: 0, limit, reserve });
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
        assert_eq!(watched.pool.usage(), Usage { in_use: 1, general: 1, limit: 1, reserve: 0 });
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

#[test]
fn a_place_that_is_kept_makes_room_for_exactly_one() {
    loom::model(|| {
        let size = Size { reserve: 1, ..Size::of(3) };
        let watched = Watched::sized(size, size);
        let [first, mut second] = [(); 2].map(|()| watched.acquire().unwrap());
        let rival = spawn(&watched, Watched::acquire);
        let keeper = spawn(&watched, move |watched| {
            watched.keep(&mut second);
            second
        });
        let mine = watched.acquire();
        let (kept, theirs) = (keeper.join().unwrap(), rival.join().unwrap());
        assert!(mine.is_none() || theirs.is_none(), "one place was kept, two came in");
        let last = watched.acquire();
        assert_eq!([&mine, &theirs, &last].iter().filter(|place| place.is_some()).count(), 1, "nobody found the room");
        for place in [Some(first), Some(kept), mine, theirs, last].into_iter().flatten() {
            watched.release(place);
        }
        watched.assert_whole(3);
    });
}

#[test]
fn a_place_is_kept_through_a_lowering_and_comes_back_once() {
    loom::model(|| {
        let watched = Watched::sized(Size::of(2), Size { reserve: 1, ..Size::of(2) });
        let mut place = watched.acquire().unwrap();
        let keeper = spawn(&watched, move |watched| {
            watched.keep(&mut place);
            watched.release(place);
        });
        let visitor = spawn(&watched, visit);
        watched.resize();
        keeper.join().unwrap();
        visitor.join().unwrap();
        watched.assert_whole(2);
    });
}

#[test]
fn the_reserve_is_there_for_whoever_may_have_it() {
    loom::model(|| {
        let size = Size { reserve: 1, ..Size::of(2) };
        let watched = Watched::sized(size, size);
        let strangers = [(); 2].map(|()| spawn(&watched, visit));
        let known = watched.draw(Draw::Reserved);
        assert!(known.is_some(), "strangers had the reserve");
        for stranger in strangers {
            stranger.join().unwrap();
        }
        known.into_iter().for_each(|place| watched.release(place));
        watched.assert_whole(2);
    });
}

#[test]
fn who_waits_is_told_of_a_place_that_comes_back() {
    loom::model(|| {
        let watched = Watched::new(1, 1);
        let place = watched.acquire().unwrap();
        let leaver = spawn(&watched, move |watched| watched.release(place));
        let mine = wait_for_one(&watched);
        leaver.join().unwrap();
        watched.release(mine);
        watched.assert_whole(1);
    });
}

#[test]
fn who_waits_is_told_of_a_place_that_is_kept() {
    loom::model(|| {
        let size = Size { reserve: 1, ..Size::of(2) };
        let watched = Watched::sized(size, size);
        let mut place = watched.acquire().unwrap();
        let keeper = spawn(&watched, move |watched| {
            watched.keep(&mut place);
            place
        });
        let mine = wait_for_one(&watched);
        let kept = keeper.join().unwrap();
        [mine, kept].into_iter().for_each(|place| watched.release(place));
        watched.assert_whole(2);
    });
}

/// A place, waited for. A wake-up that is lost leaves nobody to go on, which loom reports.
fn wait_for_one(watched: &Watched) -> Place {
    loop {
        let told = watched.pool.vacancy().told();
        match watched.acquire() {
            Some(place) => return place,
            None => loom::future::block_on(told),
        }
    }
}

#[test]
fn a_reserved_place_becomes_a_general_one_where_there_is_room_for_one() {
    loom::model(|| {
        let size = Size { reserve: 1, ..Size::of(3) };
        let watched = Watched::sized(size, size);
        let first = watched.acquire().unwrap();
        let mut known = watched.draw(Draw::Reserved).unwrap();
        let mover = spawn(&watched, move |watched| (watched.give_up(&mut known), known));
        let stranger = watched.acquire();
        let (moved, place) = mover.join().unwrap();
        assert!(moved != stranger.is_some(), "one general place was free, and not exactly one has it");
        assert_eq!(watched.pool.usage().general, 2);
        for place in [Some(first), Some(place), stranger].into_iter().flatten() {
            watched.release(place);
        }
        watched.assert_whole(3);
    });
}
