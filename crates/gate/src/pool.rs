//! A counting semaphore whose limit can be changed, up or down, while its places are in use, and which keeps some of them
//! for those it knows.
//!
//! Three counts share one atomic word: the places in use, those of them that anonymous clients drew (`general`), and the
//! limit. Taking a place, returning one, moving one to the reserve and changing the limit are each one atomic step, and
//! they happen in one order that everybody sees.
//!
//! Guarantees:
//! - A place is given only when, in that same step, `in_use + 1 <= limit`; a general one only when also
//!   `general + 1 <= limit - reserve`. So what anonymous clients hold never reaches into the reserve.
//! - [`Place::keep`] moves a place from the general ones to the reserve in one step that always succeeds: `in_use` stays,
//!   `general` falls by one, and nobody can come in between.
//! - Lowering the limit takes nothing away. What is in use beyond it is a debt, [`Usage::over_limit`], that returning
//!   places pay; until it is paid nobody gets a place. Raising is effective for the next [`Pool::acquire`].
//! - A [`Place`] returns itself once, when dropped. So does a lane: at most so many places drawn by [`Draw::FirstPlace`]
//!   and by [`Draw::Authenticating`] exist at once as the lanes are wide.
//!
//! The reserve and the lanes lie beside the word, as they only say who may have a place, never how many there are. A draw
//! that meets a change of limit and reserve may be judged by the old limit and the new reserve.
//!
//! Why not tokio's semaphore: its permits cannot go below what is in use, so a lowered limit would live beside it, in a
//! second variable, and the two together would be neither exact at the instant of admission nor open to model checking.
//! `docs/adr/0002-a-semaphore-in-one-word.md` has the argument, `tests/loom.rs` the model.
//!
//! Refuses: with the [`Usage`] that was the reason. Nobody waits here, so no order among competitors is promised.
//! Cannot fail.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

#[cfg(loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;

use crate::lane::Lane;
use crate::vacancy::Vacancy;

/// A number of places and a count of those in use.
#[derive(Debug)]
pub struct Pool {
    word: AtomicU64,
    /// No atomic of the model's, which changes threads before each step on the word, so with the reserve changed and the word not.
    reserve: AtomicU32,
    first_places: Lane,
    authenticating: Lane,
    /// A statistic that nothing is decided by; the model leaves it out.
    peak: AtomicU32,
    vacancy: Vacancy,
}

impl Pool {
    /// The most places a pool can have: what a third of its word can count.
    pub const PLACES_MOST: u32 = (1 << FIELD_BITS) - 1;

    /// A pool of free places.
    pub fn new(size: Size) -> Self {
        let Size { limit, reserve, first_places, authenticating } = size.within_the_word();
        let usage = Usage { in_use: 0, general: 0, limit, reserve };
        Self {
            word: AtomicU64::new(usage.to_word()),
            reserve: AtomicU32::new(reserve),
            first_places: Lane::new(first_places),
            authenticating: Lane::new(authenticating),
            peak: AtomicU32::new(0),
            vacancy: Vacancy::default(),
        }
    }

    /// Takes a place, or says what stood in the way. Never waits.
    ///
    /// # Errors
    /// The usage at the instant of the refusal: `in_use >= limit`, for a general draw perhaps
    /// `general >= limit - reserve`, or neither when it was the lane that is full.
    pub fn acquire(self: &Arc<Self>, draw: Draw) -> Result<Place, Usage> {
        let Some(entry) = self.enter_lane(draw) else { return Err(self.usage()) };
        let one_more = |word| self.read(word).one_more(draw).map(Usage::to_word);
        match self.word.fetch_update(AcqRel, Acquire, one_more) {
            Ok(before) => {
                let place = Place { pool: Arc::clone(self), draw };
                entry.keep();
                // No overflow: the step was taken only with `in_use < limit`.
                self.peak.fetch_max(in_use(before) + 1, Relaxed);
                Ok(place)
            }
            Err(full) => Err(self.read(full)),
        }
    }

    /// Puts `size` in force and returns the usage under it, with the debt if there is one.
    pub fn resize(&self, size: Size) -> Usage {
        let Size { limit, reserve, first_places, authenticating } = size.within_the_word();
        self.first_places.widen(first_places);
        self.authenticating.widen(authenticating);
        // Before the word: whoever sees the new limit there sees the new reserve, too.
        self.reserve.store(reserve, Relaxed);
        let relimited = |word| Some(Usage { limit, ..self.read(word) }.to_word());
        let (Ok(before) | Err(before)) = self.word.fetch_update(AcqRel, Acquire, relimited);
        self.vacancy.tell();
        Usage { limit, reserve, ..self.read(before) }
    }

    /// In use, general and limit, as they were together at one instant.
    pub fn usage(&self) -> Usage {
        self.read(self.word.load(Acquire))
    }

    /// How who waits for a place is told of one.
    pub fn vacancy(&self) -> &Vacancy {
        &self.vacancy
    }

    /// The most places that were ever in use at once.
    pub fn peak(&self) -> u32 {
        self.peak.load(Relaxed)
    }

    /// Places in use that were drawn in this way; `None` for those that are not counted apart.
    pub fn in_lane(&self, draw: Draw) -> Option<u32> {
        self.lane(draw).map(Lane::in_use)
    }

    /// Whether there is room in the lane of this draw, if it has one: a look, by which nobody is promised anything.
    pub(crate) fn lane_has_room(&self, draw: Draw) -> bool {
        self.lane(draw).is_none_or(Lane::has_room)
    }

    fn lane(&self, draw: Draw) -> Option<&Lane> {
        match draw {
            Draw::General | Draw::Reserved => None,
            Draw::FirstPlace => Some(&self.first_places),
            Draw::Authenticating => Some(&self.authenticating),
        }
    }

    /// Enters the lane of this draw, if it has one and there is room.
    fn enter_lane(&self, draw: Draw) -> Option<Entry<'_>> {
        let lane = self.lane(draw);
        lane.is_none_or(Lane::enter).then(|| Entry(lane))
    }

    fn read(&self, word: u64) -> Usage {
        // Relaxed: the word was read first, and orders it as far as it matters.
        Usage::from_word(word, self.reserve.load(Relaxed))
    }
}

/// How large a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Places there may be, at most [`Pool::PLACES_MOST`]; what is above that counts as that.
    pub limit: u32,
    /// Places of them that [`Draw::General`] leaves alone.
    pub reserve: u32,
    /// Places that [`Draw::FirstPlace`] may have at once.
    pub first_places: u32,
    /// Places that [`Draw::Authenticating`] may have at once.
    pub authenticating: u32,
}

impl Size {
    /// So many places for anybody.
    pub fn of(limit: u32) -> Self {
        Self { limit, reserve: 0, first_places: 0, authenticating: 0 }
    }

    fn within_the_word(self) -> Self {
        Self { limit: self.limit.min(Pool::PLACES_MOST), ..self }
    }
}

/// By what right somebody draws a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Draw {
    /// None: from the unreserved places.
    General,
    /// As a client of the operator's, or as a person who has shown a password.
    Reserved,
    /// As a source that holds nothing yet: from a lane of the reserve.
    FirstPlace,
    /// As somebody who is about to show a password: from another lane of it.
    Authenticating,
}

/// One place of a [`Pool`], returned when dropped.
#[must_use = "dropping a place returns it at once"]
#[derive(Debug)]
pub struct Place {
    pool: Arc<Pool>,
    draw: Draw,
}

impl Place {
    /// By what right it is held now.
    pub fn draw(&self) -> Draw {
        self.draw
    }

    /// The pool as it is without this place.
    pub(crate) fn others(&self) -> Usage {
        let Usage { in_use, general, limit, reserve } = self.pool.usage();
        let of_general = u32::from(self.draw == Draw::General);
        Usage { in_use: in_use.saturating_sub(1), general: general.saturating_sub(of_general), limit, reserve }
    }

    /// Holds the place by another right from now on. The places in use stay as many, and nobody can come in between.
    ///
    /// # Errors
    /// There is no room for one more of that right, and the place is held as before: `general >= limit - reserve`, or the lane is full.
    /// Never for [`Draw::Reserved`].
    pub fn redraw(&mut self, draw: Draw) -> Result<(), Usage> {
        if draw == self.draw {
            return Ok(());
        }
        // The new right first: what is given up may be somebody else's at once.
        let pool = Arc::clone(&self.pool);
        let Some(entry) = pool.enter_lane(draw) else { return Err(pool.usage()) };
        if draw == Draw::General {
            let one_more = |word| self.pool.read(word).one_more_general().map(Usage::to_word);
            self.pool.word.fetch_update(AcqRel, Acquire, one_more).map_err(|full| self.pool.read(full))?;
        }
        self.keep();
        self.draw = draw;
        entry.keep();
        Ok(())
    }

    /// Moves the place to the reserve, in one step that always succeeds. A lane it was drawn from has room again. One that is there
    /// already frees nothing, and nobody who waits is told.
    pub fn keep(&mut self) {
        if self.draw == Draw::Reserved {
            return;
        }
        if self.draw == Draw::General {
            self.pool.word.fetch_sub(ONE_GENERAL, AcqRel);
        }
        self.pool.lane(self.draw).into_iter().for_each(Lane::leave);
        self.draw = Draw::Reserved;
        self.pool.vacancy.tell();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // `in_use` counts this place, and `general` does if it is one, so no field borrows from the next.
        let returned = if self.draw == Draw::General { ONE_IN_USE + ONE_GENERAL } else { ONE_IN_USE };
        self.pool.word.fetch_sub(returned, AcqRel);
        self.pool.lane(self.draw).into_iter().for_each(Lane::leave);
        self.pool.vacancy.tell();
    }
}

/// Somebody in a lane whose place is not there yet: leaves it when dropped, whatever was the reason.
struct Entry<'l>(Option<&'l Lane>);

impl Entry<'_> {
    /// The place is there, and leaves the lane from now on.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.into_iter().for_each(Lane::leave);
    }
}

/// A pool at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Places given out and not yet returned.
    pub in_use: u32,
    /// Those of them that anonymous clients hold.
    pub general: u32,
    /// Places there may be. Less than `in_use` while a debt is being paid.
    pub limit: u32,
    /// Places of them that anonymous clients cannot have.
    pub reserve: u32,
}

impl Usage {
    /// Places that could be given out now.
    pub fn free(self) -> u32 {
        self.limit.saturating_sub(self.in_use)
    }

    /// Places that anonymous clients may have together.
    pub fn unreserved(self) -> u32 {
        self.limit.saturating_sub(self.reserve)
    }

    /// Places that could be given to anonymous clients now.
    pub fn unreserved_free(self) -> u32 {
        self.unreserved().saturating_sub(self.general).min(self.free())
    }

    /// Places in use beyond the limit, because it was lowered: the debt.
    pub fn over_limit(self) -> u32 {
        self.in_use.saturating_sub(self.limit)
    }

    fn one_more(self, draw: Draw) -> Option<Self> {
        match draw {
            Draw::General => (self.unreserved_free() > 0).then(|| Self { in_use: self.in_use + 1, general: self.general + 1, ..self }),
            _ => (self.free() > 0).then(|| Self { in_use: self.in_use + 1, ..self }),
        }
    }

    /// A place in use becomes a general one.
    fn one_more_general(self) -> Option<Self> {
        (self.general < self.unreserved()).then(|| Self { general: self.general + 1, ..self })
    }

    fn to_word(self) -> u64 {
        u64::from(self.limit) << (2 * FIELD_BITS) | u64::from(self.general) << FIELD_BITS | u64::from(self.in_use)
    }

    fn from_word(word: u64, reserve: u32) -> Self {
        let field = |number: u32| (word >> (number * FIELD_BITS)) as u32 & Pool::PLACES_MOST;
        Self { in_use: field(0), general: field(1), limit: field(2), reserve }
    }
}

fn in_use(word: u64) -> u32 {
    Usage::from_word(word, 0).in_use
}

const FIELD_BITS: u32 = 21;
const ONE_IN_USE: u64 = 1;
const ONE_GENERAL: u64 = 1 << FIELD_BITS;

#[cfg(test)]
mod tests;
