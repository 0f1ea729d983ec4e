//! What each segment is still needed for.
//!
//! A segment is free when no live message is in it and no *mark* (deletion or removal) in it is needed. A mark is needed as long
//! as another segment holds a record of a message it ended: without the mark, a rebuilt index would bring that message back. That
//! segment may be one the message was moved away from, when something damaged keeps it from being freed.

use std::collections::{BTreeMap, BTreeSet};

use crate::segment::Place;

/// One segment's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Use {
    /// Live deliveries whose message is in it.
    pub(crate) rows: u64,
    /// Octets of their records, a record for many shared among them.
    pub(crate) live_bytes: u64,
    /// Octets of its marks.
    pub(crate) mark_bytes: u64,
}

/// All segments' shares, as of what the index has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    pub(crate) segments: BTreeMap<u64, Use>,
    /// Segment of a mark, segment of a message it ended.
    pub(crate) needs: BTreeSet<(u64, u64)>,
    /// Segment of a message that was moved, segment where a record of it may still stand.
    pub(crate) moves: BTreeSet<(u64, u64)>,
    /// Where in the log the index stands: everything before is in it.
    pub(crate) covered: Place,
    /// Higher than every sequence in the log before `covered`.
    pub(crate) next_sequence: u64,
}

impl Usage {
    /// What `segment` is used for.
    pub(crate) fn of(&self, segment: u64) -> Use {
        self.segments.get(&segment).copied().unwrap_or_default()
    }

    /// Whether its marks are needed.
    pub(crate) fn has_needed_marks(&self, segment: u64) -> bool {
        self.needs.range((segment, 0)..=(segment, u64::MAX)).any(|(_, message)| *message != segment)
    }

    /// Whether it can go: all of it is indexed and nothing in it is needed.
    pub(crate) fn is_free(&self, segment: u64) -> bool {
        segment < self.covered.segment && self.of(segment).rows == 0 && !self.has_needed_marks(segment)
    }

    /// Octets that would have to be moved before it could go.
    pub(crate) fn kept_bytes(&self, segment: u64) -> u64 {
        let own = self.of(segment);
        own.live_bytes + if self.has_needed_marks(segment) { own.mark_bytes } else { 0 }
    }

    /// It is gone.
    pub(crate) fn forget(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.needs.retain(|(mark, message)| *mark != segment && *message != segment);
        self.moves.retain(|(to, from)| *to != segment && *from != segment);
    }
}
