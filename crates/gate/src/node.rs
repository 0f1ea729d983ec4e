//! Whether this node takes sessions at all: the first check of an admission.
//!
//! Four facts that different parts of the server learn at different times (the start is complete, the store is away, an
//! operator wants no sessions, the end has begun) share one atomic, and the state is derived from them. So a store that fails
//! during the start is still down when the start completes, an operator may change their mind, and nothing leads back out of the
//! drain at the end. Cannot fail.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::refusal::Rule;

/// The state of this node, in the order of what a peer is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// On its way out: sessions finish, nobody comes in. Final.
    Draining,
    /// An operator wants no sessions: those there are finish, nobody comes in until it is undone.
    Drained,
    /// Not yet ready.
    Starting,
    /// Ready, but its store takes no mail.
    StoreDown,
    /// Taking sessions.
    Open,
}

impl Node {
    /// The state as a metric's label and a log's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Starting => "starting",
            Self::StoreDown => "store_down",
            Self::Open => "open",
        }
    }

    /// The first check of an admission. A store that takes no mail may be read all the same, and people go on fetching theirs.
    pub(crate) fn check(self, brings_mail: bool) -> Result<(), Rule> {
        match self {
            Self::Draining | Self::Drained | Self::Starting => Err(Rule::Restarting),
            Self::StoreDown if brings_mail => Err(Rule::StoreDown),
            Self::StoreDown | Self::Open => Ok(()),
        }
    }
}

/// The facts a [`Node`] is derived from.
#[derive(Debug, Default)]
pub(crate) struct Facts(AtomicU8);

impl Facts {
    pub(crate) fn opened(&self) {
        self.0.fetch_or(OPENED, AcqRel);
    }

    /// Whether this changed anything.
    pub(crate) fn store_down(&self) -> bool {
        self.0.fetch_or(STORE_DOWN, AcqRel) & STORE_DOWN == 0
    }

    /// Whether this changed anything.
    pub(crate) fn store_up(&self) -> bool {
        self.0.fetch_and(!STORE_DOWN, AcqRel) & STORE_DOWN != 0
    }

    pub(crate) fn draining(&self) {
        self.0.fetch_or(DRAINING, AcqRel);
    }

    /// Whether this changed anything.
    pub(crate) fn drained(&self) -> bool {
        self.0.fetch_or(DRAINED, AcqRel) & DRAINED == 0
    }

    /// The deadline of an operator's drain has come.
    pub(crate) fn sends_idle_away(&self) {
        self.0.fetch_or(IDLE_SENT_AWAY, AcqRel);
    }

    pub(crate) fn is_idle_sent_away(&self) -> bool {
        self.0.load(Acquire) & IDLE_SENT_AWAY != 0
    }

    /// Whether this changed anything.
    pub(crate) fn drain_undone(&self) -> bool {
        self.0.fetch_and(!(DRAINED | IDLE_SENT_AWAY), AcqRel) & DRAINED != 0
    }

    pub(crate) fn node(&self) -> Node {
        let facts = self.0.load(Acquire);
        let known = |fact| facts & fact != 0;
        if known(DRAINING) {
            Node::Draining
        } else if known(DRAINED) {
            Node::Drained
        } else if !known(OPENED) {
            Node::Starting
        } else if known(STORE_DOWN) {
            Node::StoreDown
        } else {
            Node::Open
        }
    }
}

const OPENED: u8 = 1;
const STORE_DOWN: u8 = 2;
const DRAINING: u8 = 4;
const DRAINED: u8 = 8;
const IDLE_SENT_AWAY: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_opens_loses_its_store_and_gets_it_back() {
        let facts = Facts::default();
        assert_eq!(facts.node(), Node::Starting);
        facts.opened();
        assert_eq!(facts.node(), Node::Open);
        assert!(facts.store_down() && !facts.store_down());
        assert_eq!(facts.node(), Node::StoreDown);
        assert_eq!((facts.node().check(true), facts.node().check(false)), (Err(Rule::StoreDown), Ok(())));
        assert!(facts.store_up() && !facts.store_up());
        assert_eq!(facts.node(), Node::Open);
    }

    #[test]
    fn a_store_lost_during_the_start_is_still_lost_after_it() {
        let facts = Facts::default();
        facts.store_down();
        assert_eq!(facts.node(), Node::Starting);
        facts.opened();
        assert_eq!(facts.node(), Node::StoreDown);
    }

    #[test]
    fn draining_is_final() {
        let facts = Facts::default();
        facts.draining();
        facts.opened();
        facts.store_down();
        facts.store_up();
        facts.drained();
        facts.drain_undone();
        assert_eq!(facts.node(), Node::Draining);
    }

    #[test]
    fn an_operator_may_change_their_mind() {
        let facts = Facts::default();
        assert!(facts.drained() && !facts.drained());
        facts.opened();
        facts.store_down();
        assert_eq!(facts.node(), Node::Drained);
        assert!(facts.drain_undone() && !facts.drain_undone());
        assert_eq!(facts.node(), Node::StoreDown, "what was learned in between is not forgotten");
    }
}
