//! How a node comes to have no sessions: an operator's drain, which can be undone, and the one at the end.
//!
//! Nobody comes in any more, and who is in finds at the next command boundary that [`Gate::is_draining`]. Who stays idle comes to none:
//! an operator's drain has a deadline for them, behind which [`Gate::sends_idle_away`], and [`Gate::look_at_drain`] wakes them so that they
//! see it. A transaction that is open is finished first, then too. Undone before, idle sessions have noticed nothing; undone at any
//! time, nobody is sent away any more. At the end of the process it is not the gate that sees to the idle: nothing outlasts that.
//!
//! Nothing here waits or fails.

use std::sync::PoisonError;
use std::time::Instant;

use super::Gate;
use crate::node::Node;

impl Gate {
    /// The end has begun: nobody comes in any more. Final.
    pub fn drain(&self) {
        self.node.draining();
        self.vacancy().tell();
    }

    /// An operator wants no sessions: nobody comes in, and those there are are to finish, the idle ones by `deadline`, until
    /// [`Gate::undo_drain`]. Whether that is new; otherwise the deadline stays, too.
    pub fn drain_for_operator(&self, deadline: Instant) -> bool {
        let mut idle_until = self.idle_until.lock().unwrap_or_else(PoisonError::into_inner);
        let drained = self.node.drained();
        if drained {
            *idle_until = Some(deadline);
        }
        drop(idle_until);
        self.vacancy().tell();
        drained
    }

    /// The operator wants sessions again. Whether there was a drain of theirs. The drain at the end stays.
    pub fn undo_drain(&self) -> bool {
        let mut idle_until = self.idle_until.lock().unwrap_or_else(PoisonError::into_inner);
        *idle_until = None;
        self.node.drain_undone()
    }

    /// Sends idle sessions away when the deadline of an operator's drain has come; to be called about once a second. How many sessions
    /// there are then, once a drain.
    pub fn look_at_drain(&self, now: Instant) -> Option<u32> {
        let mut idle_until = self.idle_until.lock().unwrap_or_else(PoisonError::into_inner);
        idle_until.take_if(|deadline| now >= *deadline)?;
        self.node.sends_idle_away();
        drop(idle_until);
        self.roster.wake();
        Some(self.pool.usage().in_use)
    }

    /// Whether sessions are to finish, for good or for an operator.
    pub fn is_draining(&self) -> bool {
        matches!(self.node(), Node::Draining | Node::Drained)
    }

    /// Whether a session that waits for its client, with nothing under way, is to finish too.
    pub fn sends_idle_away(&self) -> bool {
        self.node.is_idle_sent_away()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Settings;

    #[test]
    fn the_idle_have_until_the_deadline_unless_it_is_undone() {
        let (gate, start, minute) = (Gate::new(Settings::default()).unwrap(), Instant::now(), Duration::from_secs(60));
        gate.open();
        let deadline = start + minute;
        assert!(gate.drain_for_operator(deadline) && !gate.drain_for_operator(start), "the first one's deadline counts");
        assert_eq!((gate.look_at_drain(deadline - Duration::from_secs(1)), gate.sends_idle_away()), (None, false));
        assert_eq!((gate.look_at_drain(deadline), gate.sends_idle_away()), (Some(0), true));
        assert_eq!((gate.look_at_drain(deadline + minute), gate.sends_idle_away()), (None, true), "it is told once, and stays so");
        assert!(gate.undo_drain() && !gate.sends_idle_away() && !gate.is_draining());

        assert!(gate.drain_for_operator(deadline) && gate.undo_drain());
        assert_eq!((gate.look_at_drain(deadline + minute), gate.sends_idle_away()), (None, false), "what was undone has no deadline");
    }
}
