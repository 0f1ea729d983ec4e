//! The gate watched: how full it is over time, told when it fills and when it is clear again; whether there is a store to bring mail to;
//! errors of our own; and what the log has left out meanwhile.
//!
//! [`Admin::look`] is to be called about once a second. It never waits; what it costs is a glance at the pool, and every ten seconds
//! a walk over the roster.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use events::{GateCleared, GateFaulted, GateFilling, GateFull, GateSteered, StoreDown, StoreRecovered};
use gate::{Gate, Holder, Level, Look, Notice, Occupancy, SlotTime, remedy};
use store::Error;

use crate::Admin;

/// What is remembered between looks.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    occupancy: Occupancy,
    noted: Option<Instant>,
    /// Since when the store takes no mail.
    store_down: Option<Instant>,
    /// Errors of our own that were told.
    faults: u64,
}

/// The gate over time, for its status.
pub(crate) struct WatchReport {
    pub(crate) occupancy: &'static str,
    pub(crate) clear: bool,
    /// Since the start.
    pub(crate) slot_time: SlotTime,
    /// In about the last minute.
    pub(crate) of_late: SlotTime,
}

impl Watch {
    pub(crate) fn report(&self, gate: &Gate, now: Instant) -> WatchReport {
        let (watched, slot_time) = (self.lock(), gate.roster().slot_time(now));
        let occupancy = &watched.occupancy;
        WatchReport { occupancy: occupancy.as_str(), clear: occupancy.is_clear(), slot_time, of_late: occupancy.of_late(&slot_time) }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Plain values, each whole whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admin {
    /// Looks at the gate, and tells what there is to tell; of floods that are over, too.
    pub fn look(&self, now: Instant) {
        self.gate.look_for_places(now);
        if let Some(in_use) = self.gate.look_at_drain(now) {
            self.events.emit(GateSteered { change: "idle sessions sent away", detail: &format_args!("{in_use} sessions in use") });
        }
        self.events.tell_left_out(now);
        let snapshot = self.gate.snapshot();
        let mut watched = self.watch.lock();
        self.look_at_store(&mut watched.store_down, now);
        let faults = snapshot.faults_total.saturating_sub(watched.faults);
        if faults > 0 {
            watched.faults += faults;
            self.events.emit(GateFaulted { faults });
        }
        if watched.noted.is_none_or(|noted| now.saturating_duration_since(noted) >= NOTED_EVERY) {
            watched.noted = Some(now);
            watched.occupancy.note(now, self.gate.roster().slot_time(now));
        }
        let look = Look { now, usage: snapshot.usage, refused: snapshot.refused_total.pool_full };
        let Some(notice) = watched.occupancy.look(look) else { return };
        let of_late = watched.occupancy.of_late(&self.gate.roster().slot_time(now));
        drop(watched);
        let holders = self.gate.holders(Level::Address, HOLDERS);
        let remedy = remedy(&of_late, &holders, snapshot.usage);
        let (in_use, limit) = (snapshot.usage.in_use, snapshot.usage.limit);
        let (slot_time, holders) = (&Split(of_late), &Most(&holders));
        match notice {
            Notice::Filling(lasted) => self.events.emit(GateFilling { in_use, limit, lasted, slot_time, holders, remedy }),
            Notice::Full { lasted, refused } => self.events.emit(GateFull { in_use, limit, lasted, refused, slot_time, holders, remedy }),
            Notice::Cleared { was_full, refused } => self.events.emit(GateCleared { in_use, limit, was_full, refused }),
        }
    }
}

impl Admin {
    /// Has the gate refuse those who would bring mail while the store takes none; not for want of room, which passes by itself and is said
    /// at MAIL.
    fn look_at_store(&self, down_since: &mut Option<Instant>, now: Instant) {
        match self.store.ready() {
            Err(cause @ Error::Unavailable(_)) => {
                if self.gate.store_down() {
                    *down_since = Some(now);
                    self.events.emit(StoreDown { cause: &cause });
                }
            }
            _ => {
                if self.gate.store_up() {
                    let after = down_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
                    self.events.emit(StoreRecovered { after });
                }
            }
        }
    }
}

/// Slot time in percent.
struct Split(SlotTime);

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (phase, _)) in self.0.iter().enumerate() {
            let between = if number > 0 { ", " } else { "" };
            write!(f, "{between}{} {:.0}%", phase.as_str(), 100.0 * self.0.share(phase))?;
        }
        Ok(())
    }
}

/// The biggest holders in a line.
struct Most<'h>(&'h [Holder]);

impl fmt::Display for Most<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Holder { prefix, sessions }) in self.0.iter().enumerate() {
            let between = if number > 0 { ", " } else { "" };
            write!(f, "{between}{prefix} {sessions}")?;
        }
        Ok(())
    }
}

const NOTED_EVERY: Duration = Duration::from_secs(10);
const HOLDERS: usize = 3;
