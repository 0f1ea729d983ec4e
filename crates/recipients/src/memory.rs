//! What was asked before, for as long as it is believed, within a bound of addresses and of octets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What somebody has said about an address.
pub(crate) trait Answer: Clone {
    /// Whether somebody has it.
    fn is_found(&self) -> bool;
    /// What it takes beside the address.
    fn octets(&self) -> usize;
}

impl Answer for Arc<[String]> {
    fn is_found(&self) -> bool {
        !self.is_empty()
    }

    fn octets(&self) -> usize {
        self.iter().map(|account| size_of::<String>() + account.capacity()).sum()
    }
}

impl Answer for bool {
    fn is_found(&self) -> bool {
        *self
    }

    fn octets(&self) -> usize {
        0
    }
}

/// Answers by address.
#[derive(Debug)]
pub(crate) struct Memory<A> {
    time: Duration,
    most: usize,
    answers: HashMap<String, (Instant, A)>,
    octets: usize,
}

impl<A: Answer> Memory<A> {
    /// Believes an answer for `time`; keeps `most`, in [`REMEMBERED_OCTETS`] each on average.
    pub(crate) fn new(time: Duration, most: usize) -> Self {
        Self { time, most, answers: HashMap::new(), octets: 0 }
    }

    /// What was answered, if it is still believed.
    pub(crate) fn recall(&self, address: &str, now: Instant) -> Option<A> {
        self.answers.get(address).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer. When there is no room, what is no longer believed goes; when that is not enough, everything, and what is wanted
    /// comes back by being asked for. One that takes more than all may is not kept.
    pub(crate) fn keep(&mut self, address: &str, answer: A, now: Instant) {
        let octets = weight(address, &answer);
        if self.time.is_zero() || self.most == 0 || octets > self.most_octets() {
            return;
        }
        if let Some((_, before)) = self.answers.remove(address) {
            self.octets -= weight(address, &before);
        }
        if !self.has_room(octets) {
            let left = &mut self.octets;
            self.answers.retain(|address, (until, answer)| {
                let is_believed = now < *until;
                *left -= if is_believed { 0 } else { weight(address, answer) };
                is_believed
            });
        }
        if !self.has_room(octets) {
            self.answers.clear();
            self.octets = 0;
        }
        self.answers.insert(address.to_owned(), (now + self.time, answer));
        self.octets += octets;
    }

    fn has_room(&self, octets: usize) -> bool {
        self.answers.len() < self.most && self.octets + octets <= self.most_octets()
    }

    fn most_octets(&self) -> usize {
        self.most.saturating_mul(REMEMBERED_OCTETS)
    }
}

fn weight<A: Answer>(address: &str, answer: &A) -> usize {
    ENTRY_OCTETS + address.len() + answer.octets()
}

/// Octets that a remembered address may take, on average over all of them: most take half of it.
pub const REMEMBERED_OCTETS: usize = 512;
/// An entry's place in a table that has grown to twice what is in it, and what the allocator adds.
const ENTRY_OCTETS: usize = 192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_believed_for_their_time_and_never_too_many() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut memory = Memory::new(10 * second, 2);
        memory.keep("a", true, start);
        memory.keep("b", true, start + 5 * second);
        assert!(memory.recall("a", start + 9 * second).is_some() && memory.recall("a", start + 10 * second).is_none());
        memory.keep("c", true, start + 11 * second);
        assert!(memory.recall("b", start + 11 * second).is_some() && memory.recall("c", start + 11 * second).is_some());
        memory.keep("d", true, start + 12 * second);
        assert_eq!(memory.answers.len(), 1);
        let mut forgetful = Memory::new(Duration::ZERO, 2);
        forgetful.keep("a", true, start);
        assert!(forgetful.recall("a", start).is_none());
    }

    #[test]
    fn answers_never_take_more_octets_than_they_may() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut memory = Memory::new(minute, 4);
        let of = |accounts: usize| -> Arc<[String]> { (0..accounts).map(|_| "a".repeat(76)).collect() };
        let counted =
            |memory: &Memory<Arc<[String]>>| -> usize { memory.answers.iter().map(|(address, (_, answer))| weight(address, answer)).sum() };
        for (address, accounts, now, kept) in [
            ("a", 1, start, 1),
            // 100 octets each: some 1200 of 2048.
            ("b", 7, start + minute / 2, 2),
            // The same address again takes its own place.
            ("b", 7, start + minute / 2, 2),
            // More than all may take.
            ("huge", 20, start, 2),
            // No room, but what is not believed any more makes some.
            ("c", 8, start + minute, 2),
            // None at all.
            ("d", 8, start + minute, 1),
        ] {
            memory.keep(address, of(accounts), now);
            assert_eq!(memory.answers.len(), kept, "{address}");
            assert_eq!(memory.octets, counted(&memory), "{address}");
            assert!(memory.octets <= 4 * REMEMBERED_OCTETS, "{address}");
        }
        assert!(memory.recall("d", start + minute).is_some() && memory.recall("huge", start).is_none());
    }
}
