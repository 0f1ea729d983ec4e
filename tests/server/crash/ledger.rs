//! What the server has promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::message::Message;

/// Written by every client while the server runs, compared with the store after every crash.
#[derive(Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    /// There is an acknowledgement more.
    grown: Condvar,
}

/// One session's deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Update(usize);

#[derive(Default)]
struct Book {
    deliveries: BTreeMap<(usize, Message), State>,
    /// Every unique id there ever was.
    ids: BTreeMap<(usize, String), Message>,
    updates: usize,
    acknowledged: usize,
    deleted: usize,
}

/// Of a message in a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not answered yet: it may be there.
    Sent,
    /// It must be there.
    There,
    /// QUIT is not answered yet: it may be gone, with all others of its update.
    Leaving(Update),
    /// It must not be there.
    Gone,
}

impl Ledger {
    /// A client begins to send.
    pub(crate) fn sending(&self, message: Message, accounts: &[usize]) {
        let mut book = self.book();
        accounts.iter().for_each(|account| assert_eq!(book.deliveries.insert((*account, message), State::Sent), None));
    }

    /// It has been told 250.
    pub(crate) fn acknowledged(&self, message: Message, accounts: &[usize]) {
        let mut book = self.book();
        accounts.iter().for_each(|account| book.there(*account, message));
        book.acknowledged += 1;
        self.grown.notify_all();
    }

    /// Whether somebody has read the message with this id.
    pub(crate) fn knows(&self, account: usize, id: &str) -> bool {
        self.book().ids.contains_key(&(account, id.to_owned()))
    }

    /// Somebody has read a message: its id is its own for ever, and it stays.
    pub(crate) fn seen(&self, account: usize, id: &str, message: Message) {
        let mut book = self.book();
        let before = book.ids.insert((account, id.to_owned()), message);
        assert!(before.is_none_or(|before| before == message), "{id} was {before:?} and is {message:?}");
        assert_ne!(book.deliveries.get(&(account, message)), Some(&State::Gone), "{message:?} was deleted and has come back");
        book.there(account, message);
    }

    /// A client is about to say QUIT behind these deletions.
    pub(crate) fn leaving(&self, account: usize, ids: &[String]) -> Update {
        let mut book = self.book();
        let update = Update(book.updates);
        book.updates += 1;
        for id in ids {
            let message = book.ids[&(account, id.clone())];
            assert_eq!(book.deliveries.insert((account, message), State::Leaving(update)), Some(State::There), "{id}");
        }
        update
    }

    /// It has its answer.
    pub(crate) fn left(&self, update: Update) {
        let mut book = self.book();
        let deleted = book.decide(update, State::Gone);
        book.deleted += deleted;
    }

    /// Compares an account's ids with what must be there, and learns what has become of what was under way.
    pub(crate) fn settle<'i>(&self, account: usize, ids: impl Iterator<Item = &'i String>) {
        let mut book = self.book();
        let listed: Vec<Message> = ids.map(|id| book.ids[&(account, id.clone())]).collect();
        let there: BTreeSet<Message> = listed.iter().copied().collect();
        assert_eq!(there.len(), listed.len(), "a message is there twice");
        let mut updates: BTreeMap<Update, BTreeSet<bool>> = BTreeMap::new();
        for ((whose, message), state) in &mut book.deliveries {
            let is_there = there.contains(message);
            match state {
                _ if *whose != account => {}
                State::There => assert!(is_there, "{message:?} was promised and is lost"),
                State::Gone => assert!(!is_there, "{message:?} was deleted and has come back"),
                // Were it there, it would have been seen. Nobody was told, and so it never was.
                State::Sent => *state = State::Gone,
                State::Leaving(update) => drop(updates.entry(*update).or_default().insert(is_there)),
            }
        }
        for (update, stayed) in updates {
            assert_eq!(stayed.len(), 1, "some of a session's deletions have happened and some have not");
            book.decide(update, if stayed.contains(&true) { State::There } else { State::Gone });
        }
    }

    /// Waits for so many more acknowledgements, or so long.
    pub(crate) fn wait_for(&self, more: usize, time: Duration) {
        let book = self.book();
        let wanted = book.acknowledged.saturating_add(more);
        drop(self.grown.wait_timeout_while(book, time, |book| book.acknowledged < wanted).unwrap_or_else(PoisonError::into_inner));
    }

    /// Messages acknowledged, deletions done.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let book = self.book();
        (book.acknowledged, book.deleted)
    }

    /// A client that fails must not keep the others from ending.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Somebody has been told that it is there; somebody else may have deleted it since.
    fn there(&mut self, account: usize, message: Message) {
        let state = self.deliveries.get_mut(&(account, message)).expect("only what was sent is there");
        if *state == State::Sent {
            *state = State::There;
        }
    }

    /// How many deletions these were.
    fn decide(&mut self, update: Update, outcome: State) -> usize {
        let of_it = self.deliveries.values_mut().filter(|state| **state == State::Leaving(update));
        of_it.map(|state| *state = outcome).count()
    }
}
