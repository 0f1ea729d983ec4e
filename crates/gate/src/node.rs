//! Whether this node takes sessions at all: the first check of an admission.
//!
//! Three facts that different parts of the server learn at different times (the start is complete, the store is away,
//! the end has begun) share one atomic, and the state is derived from them. So a store that fails during the start
//! is still down when the start completes, and nothing leads back out of a drain. Cannot fail.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crate::refusal::Rule;

/// The state of this node, in the order of what a peer is told first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// On its way out: sessions finish, nobody comes in. Final.
    Draining,
    /// Not yet ready.
    Starting,
    /// Ready, but its store is not.
    StoreDown,
    /// Taking sessions.
    Open,
}

impl Node {
    /// The state as a metric's label and a log's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::StoreDown => "store_down",
            Self::Open => "open",
        }
    }

    /// The first check of an admission.
    pub(crate) fn check(self) -> Result<(), Rule> {
        match self {
            Self::Draining | Self::Starting => Err(Rule::Restarting),
            Self::StoreDown => Err(Rule::StoreDown),
            Self::Open => Ok(()),
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

    pub(crate) fn store_down(&self) {
        self.0.fetch_or(STORE_DOWN, AcqRel);
    }

    pub(crate) fn store_up(&self) {
        self.0.fetch_and(!STORE_DOWN, AcqRel);
    }

    pub(crate) fn draining(&self) {
        self.0.fetch_or(DRAINING, AcqRel);
    }

    pub(crate) fn node(&self) -> Node {
        let facts = self.0.load(Acquire);
        let known = |fact| facts & fact != 0;
        if known(DRAINING) {
            Node::Draining
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_opens_loses_its_store_and_gets_it_back() {
        let facts = Facts::default();
        assert_eq!(facts.node(), Node::Starting);
        facts.opened();
        assert_eq!(facts.node(), Node::Open);
        facts.store_down();
        assert_eq!(facts.node(), Node::StoreDown);
        facts.store_up();
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
        assert_eq!(facts.node(), Node::Draining);
    }
}
