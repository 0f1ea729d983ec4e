//! The maildrop as one session sees it: a listing that does not change, and marks for what it has deleted.
//!
//! Opening costs one pass over the listing for its total and no allocation per message; the marks are a bit each, allocated at the
//! first DELE. STAT is O(1) after that. Message numbers are 1..n in the listing's order and keep their meaning until the session
//! ends (RFC 1939 §4).

use std::iter;
use std::sync::Arc;

use mail::MessageId;

use crate::reply::Refusal;

/// One message of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its name and unique-id (RFC 1939 §7).
    pub id: MessageId,
    /// Its length as RETR sends it, before dot-stuffing, a final CRLF that has to be added included.
    pub octets: u64,
}

/// A listing, taken when the maildrop was locked. Message number `n` is index `n - 1`.
///
/// Must not change while it is used: the totals are taken once.
pub trait Maildrop: Send + Sync {
    /// How many messages there are.
    fn messages(&self) -> usize;
    /// The message at `index`; none from [`Maildrop::messages`] on.
    fn entry(&self, index: usize) -> Option<Entry>;
}

impl Maildrop for Arc<[Entry]> {
    fn messages(&self) -> usize {
        self.len()
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        self.get(index).copied()
    }
}

/// A maildrop in the TRANSACTION state.
pub(crate) struct Opened {
    maildrop: Box<dyn Maildrop>,
    /// Messages and octets not marked as deleted.
    left: usize,
    left_octets: u64,
    total: usize,
    total_octets: u64,
    marks: Option<Box<[u64]>>,
}

impl Opened {
    pub(crate) fn new(maildrop: Box<dyn Maildrop>) -> Self {
        let total = maildrop.messages();
        let octets = (0..total).filter_map(|index| maildrop.entry(index)).fold(0u64, |sum, entry| sum.saturating_add(entry.octets));
        Self { maildrop, left: total, left_octets: octets, total, total_octets: octets, marks: None }
    }

    pub(crate) fn left(&self) -> usize {
        self.left
    }

    pub(crate) fn left_octets(&self) -> u64 {
        self.left_octets
    }

    pub(crate) fn any_deleted(&self) -> bool {
        self.left < self.total
    }

    /// The message with this number, or why there is none.
    pub(crate) fn message(&self, number: u32) -> Result<(usize, Entry), Refusal> {
        let index = usize::try_from(number).unwrap_or(usize::MAX).wrapping_sub(1);
        let entry = self.maildrop.entry(index).ok_or(Refusal::NoSuchMessage { messages: self.total })?;
        if self.is_deleted(index) { Err(Refusal::AlreadyDeleted { number }) } else { Ok((index, entry)) }
    }

    /// The first message at or after `index` that is not deleted.
    pub(crate) fn next_left(&self, index: usize) -> Option<(usize, Entry)> {
        (index..self.total).find(|&at| !self.is_deleted(at)).and_then(|at| self.maildrop.entry(at).map(|entry| (at, entry)))
    }

    /// The deleted messages, in order.
    pub(crate) fn deleted(&self) -> impl Iterator<Item = (usize, Entry)> {
        let marks = self.marks.iter().flat_map(|words| words.iter().enumerate());
        let indexes = marks.flat_map(|(at, &word)| {
            let mut rest = word;
            iter::from_fn(move || {
                let bit = (rest != 0).then_some(rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(at * WORD + bit as usize)
            })
        });
        indexes.filter_map(|index| self.maildrop.entry(index).map(|entry| (index, entry)))
    }

    /// Marks a message that [`Opened::message`] has found.
    pub(crate) fn delete(&mut self, index: usize, entry: Entry) {
        let words = self.total.div_ceil(WORD);
        let marks = self.marks.get_or_insert_with(|| vec![0; words].into_boxed_slice());
        if let Some(word) = marks.get_mut(index / WORD) {
            *word |= bit(index);
            self.left -= 1;
            self.left_octets = self.left_octets.saturating_sub(entry.octets);
        }
    }

    /// Takes all marks off again.
    pub(crate) fn reset(&mut self) {
        self.marks = None;
        (self.left, self.left_octets) = (self.total, self.total_octets);
    }

    fn is_deleted(&self, index: usize) -> bool {
        let word = self.marks.as_ref().and_then(|marks| marks.get(index / WORD));
        word.is_some_and(|word| word & bit(index) != 0)
    }
}

const WORD: usize = u64::BITS as usize;

fn bit(index: usize) -> u64 {
    1 << (index % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(octets: impl IntoIterator<Item = u64>) -> Opened {
        let entries: Vec<Entry> = octets.into_iter().map(|octets| Entry { id: MessageId::generate(), octets }).collect();
        Opened::new(Box::new(Arc::<[Entry]>::from(entries)))
    }

    #[test]
    fn marks_leave_and_come_back_with_their_octets() {
        let mut maildrop = opened((1..=130).collect::<Vec<u64>>());
        assert!(!maildrop.any_deleted() && maildrop.marks.is_none());
        for number in [1, 64, 65, 130] {
            let (index, entry) = maildrop.message(number).unwrap();
            maildrop.delete(index, entry);
            assert_eq!(maildrop.message(number), Err(Refusal::AlreadyDeleted { number }));
        }
        assert_eq!((maildrop.left(), maildrop.left_octets()), (126, 130 * 131 / 2 - 1 - 64 - 65 - 130));
        assert_eq!(maildrop.deleted().map(|(index, _)| index).collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(maildrop.next_left(63).map(|(index, _)| index), Some(65));
        assert_eq!(maildrop.next_left(129), None);
        maildrop.reset();
        assert_eq!((maildrop.left(), maildrop.left_octets(), maildrop.any_deleted()), (130, 130 * 131 / 2, false));
        assert_eq!(maildrop.deleted().count(), 0);
    }

    #[test]
    fn numbers_outside_of_the_maildrop_name_no_message() {
        let maildrop = opened([10, 20]);
        for number in [0, 3, u32::MAX] {
            assert_eq!(maildrop.message(number), Err(Refusal::NoSuchMessage { messages: 2 }), "{number}");
        }
        assert_eq!(opened([]).message(1), Err(Refusal::NoSuchMessage { messages: 0 }));
        assert_eq!(opened([u64::MAX, 1]).left_octets(), u64::MAX);
    }
}
