//! How much is in each maildrop, at any moment and without asking the disk.
//!
//! Read from the index when the store opens. From then on a delivery is counted by the writer when it is on stable storage and before anybody
//! hears of it, and what was deleted is taken off when the index has it, some 200 ms later at most unless the index is behind: so the figures
//! are never too low for what was accepted, and a moment too high for what was deleted. Nothing of it is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use store::Load;

use crate::backlog::What;
use crate::lock;

/// The maildrops that are not empty.
#[derive(Debug)]
pub(crate) struct Loads(Mutex<Counts>);

/// By maildrop.
#[derive(Debug, Default)]
pub(crate) struct Counts(HashMap<Arc<str>, Load>);

impl Loads {
    /// Begins with what the index knows.
    pub(crate) fn new(counts: HashMap<Arc<str>, Load>) -> Self {
        Self(Mutex::new(Counts(counts)))
    }

    /// What is in one.
    pub(crate) fn of(&self, maildrop: &str) -> Load {
        lock(&self.0).0.get(maildrop).copied().unwrap_or_default()
    }

    /// To count a batch.
    pub(crate) fn counting(&self) -> MutexGuard<'_, Counts> {
        lock(&self.0)
    }

    /// So much is no longer there.
    pub(crate) fn end(&self, ended: HashMap<String, Load>) {
        if ended.is_empty() {
            return;
        }
        let mut counts = lock(&self.0);
        for (maildrop, ended) in ended {
            let Some(load) = counts.0.get_mut(maildrop.as_str()) else { continue };
            load.octets = load.octets.saturating_sub(ended.octets);
            load.messages = load.messages.saturating_sub(ended.messages);
            if load.messages == 0 {
                counts.0.remove(maildrop.as_str());
            }
        }
    }
}

impl Counts {
    /// A new record is on stable storage.
    pub(crate) fn logged(&mut self, what: &What) {
        let What::Message { accounts, octets, .. } = what else { return };
        for maildrop in accounts {
            match self.0.get_mut(maildrop) {
                Some(load) => {
                    load.octets = load.octets.saturating_add(*octets);
                    load.messages += 1;
                }
                None => drop(self.0.insert(Arc::clone(maildrop), Load { octets: *octets, messages: 1 })),
            }
        }
    }
}
