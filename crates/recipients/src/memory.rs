//! What was asked before, for as long as it is believed, within a bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Answers by address.
#[derive(Debug)]
pub(crate) struct Memory {
    time: Duration,
    most: usize,
    answers: HashMap<String, (Instant, Arc<[String]>)>,
}

impl Memory {
    /// Believes an answer for `time`; keeps `most`.
    pub(crate) fn new(time: Duration, most: usize) -> Self {
        Self { time, most, answers: HashMap::new() }
    }

    /// What was answered, if it is still believed.
    pub(crate) fn recall(&self, address: &str, now: Instant) -> Option<Arc<[String]>> {
        self.answers.get(address).filter(|(until, _)| now < *until).map(|(_, accounts)| Arc::clone(accounts))
    }

    /// Keeps an answer. When there is no room, what is no longer believed goes; when that is not enough, everything, and what is wanted
    /// comes back by being asked for.
    pub(crate) fn keep(&mut self, address: &str, accounts: Arc<[String]>, now: Instant) {
        if self.time.is_zero() || self.most == 0 {
            return;
        }
        if self.answers.len() >= self.most {
            self.answers.retain(|_, (until, _)| now < *until);
        }
        if self.answers.len() >= self.most {
            self.answers.clear();
        }
        self.answers.insert(address.to_owned(), (now + self.time, accounts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_believed_for_their_time_and_never_too_many() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut memory = Memory::new(10 * second, 2);
        let answer = || Arc::from(["ann@example.org".to_owned()]);
        memory.keep("a", answer(), start);
        memory.keep("b", answer(), start + 5 * second);
        assert!(memory.recall("a", start + 9 * second).is_some() && memory.recall("a", start + 10 * second).is_none());
        memory.keep("c", answer(), start + 11 * second);
        assert!(memory.recall("b", start + 11 * second).is_some() && memory.recall("c", start + 11 * second).is_some());
        memory.keep("d", answer(), start + 12 * second);
        assert_eq!(memory.answers.len(), 1);
        let mut forgetful = Memory::new(Duration::ZERO, 2);
        forgetful.keep("a", answer(), start);
        assert!(forgetful.recall("a", start).is_none());
    }
}
