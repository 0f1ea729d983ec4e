//! An engine for tests: everything in memory, durable for as long as the process lives.
//!
//! It keeps every promise of the traits and passes the conformance suite. Beyond that it does what tests of services need: it
//! is [full or unavailable](Condition) when told, [holds commits](Memory::hold_commits) until they are released, and
//! [damages](Memory::damage) a message. [`Memory::reopen`] is its restart: what was committed is there, no maildrop is held.
//!
//! Fails only as told. Every future may be dropped; a commit dropped while it is held stores nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use mail::{Envelope, ForwardPath, MessageId, Receipt, Requests};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};

use crate::{
    Account, Body, Book, Change, ChangeError, Decision, Directory, Entry, Error, HELD_PIECE, HELD_SHOWN, HeldMessage, Hold, Incoming,
    Intake, Lease, Leases, Load, Maildrop, Maildrops, Quarantine, Resolution,
};

/// The engine. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Shared>,
    leases: Leases,
}

/// What the store can do at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Everything.
    #[default]
    Ready,
    /// It takes no messages; reading and deleting work.
    Full,
    /// Nothing.
    Unavailable,
}

/// While it lives no commit is done; dropping it lets them go on.
#[derive(Debug)]
pub struct CommitHold {
    _none_passes: OwnedRwLockWriteGuard<()>,
    waiting: watch::Receiver<usize>,
}

impl Memory {
    /// An empty store, whose maildrops can be taken over from a session that was silent for `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { shared: Arc::default(), leases: Leases::new(grace) }
    }

    /// The store as it is after a restart, with a new grace time: what was committed, ready, no maildrop held.
    pub fn reopen(&self, grace: Duration) -> Self {
        let kept = lock(&self.shared.kept).clone();
        Self { shared: Arc::new(Shared { kept: Mutex::new(kept), ..Shared::default() }), leases: Leases::new(grace) }
    }

    /// Changes what the store can do, from now on.
    pub fn set(&self, condition: Condition) {
        *lock(&self.shared.condition) = condition;
    }

    /// Lets no further commit be done until the hold is dropped. Waits for those under way. Cancel-safe.
    pub async fn hold_commits(&self) -> CommitHold {
        CommitHold { _none_passes: Arc::clone(&self.shared.gate).write_owned().await, waiting: self.shared.waiting.subscribe() }
    }

    /// Spoils a message: from now on the last piece of it is [`Error::Damaged`].
    pub fn damage(&self, id: MessageId) {
        lock(&self.shared.kept).damaged.insert(id);
    }

    /// What the sender of a message asked for besides delivery.
    pub fn requests(&self, id: MessageId) -> Option<Requests> {
        lock(&self.shared.kept).requests.get(&id).cloned()
    }

    /// The text of every message in a maildrop, oldest first, without opening it.
    pub fn texts(&self, account: &str) -> Vec<Vec<u8>> {
        lock(&self.shared.kept).maildrops.get(account).into_iter().flatten().map(|message| message.text.to_vec()).collect()
    }
}

impl CommitHold {
    /// Waits until `commits` of them wait for this hold to end. Cancel-safe.
    pub async fn waiting(&mut self, commits: usize) {
        // The sender cannot have gone while this hold has its lock; if it has, nobody will ever wait.
        let _reached = self.waiting.wait_for(|waiting| *waiting >= commits).await;
    }
}

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    condition: Mutex<Condition>,
    gate: Arc<RwLock<()>>,
    waiting: watch::Sender<usize>,
}

/// What would be on disk.
#[derive(Debug, Clone, Default)]
struct Kept {
    book: Arc<Book>,
    maildrops: HashMap<Arc<str>, Vec<Message>>,
    damaged: HashSet<MessageId>,
    requests: HashMap<MessageId, Requests>,
}

#[derive(Debug, Clone)]
struct Message {
    id: MessageId,
    text: Arc<[u8]>,
    held: Option<Arc<Held>>,
}

/// What is told of a message that is not listed.
#[derive(Debug)]
struct Held {
    received: SystemTime,
    sender: String,
    hold: Hold,
}

impl Message {
    /// Why it is not listed now.
    fn held(&self) -> Option<&Held> {
        self.held.as_deref().filter(|held| held.hold.until.is_none_or(|until| until > SystemTime::now()))
    }
}

impl Shared {
    /// For taking messages in.
    fn has_room(&self) -> Result<(), Error> {
        match *lock(&self.condition) {
            Condition::Ready => Ok(()),
            Condition::Full => Err(Error::Full("told to be full".into())),
            Condition::Unavailable => Err(unavailable()),
        }
    }

    /// For everything else.
    fn is_there(&self) -> Result<(), Error> {
        match *lock(&self.condition) {
            Condition::Ready | Condition::Full => Ok(()),
            Condition::Unavailable => Err(unavailable()),
        }
    }
}

#[async_trait]
impl Intake for Memory {
    fn ready(&self) -> Result<(), Error> {
        self.shared.has_room()
    }

    async fn begin(&self, envelope: Envelope) -> Result<Box<dyn Incoming>, Error> {
        self.shared.has_room()?;
        Ok(Box::new(Taking { shared: Arc::clone(&self.shared), envelope, body: Vec::new(), hold: None }))
    }
}

struct Taking {
    shared: Arc<Shared>,
    envelope: Envelope,
    body: Vec<u8>,
    hold: Option<Hold>,
}

/// Counts one waiting commit for as long as it lives.
struct Waiting<'s>(&'s watch::Sender<usize>);

impl<'s> Waiting<'s> {
    fn new(count: &'s watch::Sender<usize>) -> Self {
        count.send_modify(|waiting| *waiting += 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[async_trait]
impl Incoming for Taking {
    async fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        self.shared.has_room()?;
        self.body.extend_from_slice(piece);
        Ok(())
    }

    async fn reread(&mut self, from: u64) -> Result<Vec<u8>, Error> {
        let rest = usize::try_from(from).ok().and_then(|from| self.body.get(from..)).unwrap_or_default();
        Ok(rest.get(..PIECE_OCTETS).unwrap_or(rest).to_vec())
    }

    fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    async fn commit(self: Box<Self>, trace: Vec<u8>) -> Result<Receipt, Error> {
        let waiting = Waiting::new(&self.shared.waiting);
        let _passing = self.shared.gate.read().await;
        drop(waiting);
        self.shared.has_room()?;
        let mut text = trace;
        text.extend_from_slice(&self.body);
        let sender = self.envelope.reverse_path.to_string();
        let held = self.hold.map(|hold| Arc::new(Held { received: SystemTime::now(), sender, hold }));
        let message = Message { id: self.envelope.id, text: text.into(), held };
        let mut kept = lock(&self.shared.kept);
        let recipients = self.envelope.recipients.iter().map(|name| {
            let account = kept.book.account(name).map(|account| Arc::clone(&account.name));
            account.ok_or_else(|| Error::Unavailable(format!("account {name} has gone")))
        });
        for account in recipients.collect::<Result<Vec<_>, _>>()? {
            kept.maildrops.entry(account).or_default().push(message.clone());
        }
        if let Some(requests) = self.envelope.requests {
            kept.requests.insert(message.id, *requests);
        }
        #[expect(clippy::disallowed_methods, reason = "the message is where this engine keeps what it has accepted")]
        Ok(Receipt::attest(message.id))
    }
}

#[async_trait]
impl Maildrops for Memory {
    async fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.shared.is_there()?;
        let lease = self.leases.claim(account).map_err(|_| Error::InUse)?;
        let mut messages = lock(&self.shared.kept).maildrops.get(account).cloned().unwrap_or_default();
        messages.retain(|message| message.held().is_none());
        let listing = messages.iter().zip(0..).map(|(message, place)| Entry { id: message.id, octets: octets(&message.text), place });
        Ok(Box::new(Opened { listing: listing.collect(), shared: Arc::clone(&self.shared), account: account.into(), lease, messages }))
    }
}

struct Opened {
    shared: Arc<Shared>,
    account: Arc<str>,
    lease: Lease,
    listing: Arc<[Entry]>,
    messages: Vec<Message>,
}

#[async_trait]
impl Maildrop for Opened {
    fn listing(&self) -> &Arc<[Entry]> {
        &self.listing
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    async fn read(&self, entry: &Entry) -> Result<Box<dyn Body>, Error> {
        self.shared.is_there()?;
        let message = usize::try_from(entry.place).ok().and_then(|place| self.messages.get(place));
        let message = message.filter(|message| message.id == entry.id);
        let damaged = |cause: &str| Error::Damaged { id: entry.id, cause: cause.into() };
        let text = Arc::clone(&message.ok_or_else(|| damaged("not in this maildrop"))?.text);
        let spoilt = lock(&self.shared.kept).damaged.contains(&entry.id).then(|| damaged("told to be damaged"));
        Ok(Box::new(Reading { shared: Arc::clone(&self.shared), text, at: 0, spoilt }))
    }

    async fn update(self: Box<Self>, deleted: Vec<Entry>) -> Result<(), Error> {
        self.shared.is_there()?;
        self.lease.begin_update().map_err(|_| Error::InUse)?;
        let deleted: HashSet<_> = deleted.iter().map(|entry| entry.id).collect();
        if let Some(messages) = lock(&self.shared.kept).maildrops.get_mut(&self.account) {
            messages.retain(|message| !deleted.contains(&message.id));
        }
        Ok(())
    }
}

struct Reading {
    shared: Arc<Shared>,
    text: Arc<[u8]>,
    at: usize,
    spoilt: Option<Error>,
}

#[async_trait]
impl Body for Reading {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<bool, Error> {
        self.shared.is_there()?;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let (now, later) = rest.split_at(rest.len().min(PIECE_OCTETS));
        if later.is_empty()
            && let Some(spoilt) = self.spoilt.take()
        {
            return Err(spoilt);
        }
        piece.extend_from_slice(now);
        self.at += now.len();
        Ok(!later.is_empty())
    }
}

#[async_trait]
impl Directory for Memory {
    async fn resolve(&self, recipient: &ForwardPath) -> Result<Resolution, Error> {
        Ok(self.book().await?.resolve(recipient))
    }

    async fn account(&self, login: &str) -> Result<Option<Account>, Error> {
        Ok(self.book().await?.account(login).cloned())
    }

    async fn load(&self, account: &str) -> Result<Load, Error> {
        self.shared.is_there()?;
        let kept = lock(&self.shared.kept);
        let messages = kept.maildrops.get(account).map(Vec::as_slice).unwrap_or_default();
        Ok(Load { octets: messages.iter().map(|message| octets(&message.text)).sum(), messages: messages.len() as u64 })
    }

    async fn change(&self, change: Change) -> Result<(), ChangeError> {
        self.shared.is_there()?;
        let mut kept = lock(&self.shared.kept);
        Arc::make_mut(&mut kept.book).apply(change)?;
        let Kept { book, maildrops, .. } = &mut *kept;
        maildrops.retain(|account, _| book.account(account).is_some());
        Ok(())
    }

    async fn book(&self) -> Result<Arc<Book>, Error> {
        self.shared.is_there()?;
        Ok(Arc::clone(&lock(&self.shared.kept).book))
    }
}

#[async_trait]
impl Quarantine for Memory {
    async fn held(&self, account: Option<&str>) -> Result<Vec<HeldMessage>, Error> {
        self.shared.is_there()?;
        let kept = lock(&self.shared.kept);
        let maildrops = kept.maildrops.iter().filter(|(name, _)| account.is_none_or(|account| ***name == *account));
        let messages = maildrops.flat_map(|(name, messages)| messages.iter().map(move |message| (name, message)));
        let held = messages.filter_map(|(name, message)| {
            let Held { received, sender, hold } = message.held()?;
            let (sender, hold, octets) = (sender.clone(), hold.clone(), octets(&message.text));
            Some(HeldMessage { id: message.id, account: Arc::clone(name), received: *received, sender, octets, hold })
        });
        let mut held: Vec<_> = held.collect();
        held.sort_by_key(|held| (held.received, held.id.to_bytes()));
        held.truncate(HELD_SHOWN);
        Ok(held)
    }

    async fn text(&self, id: MessageId, from: u64) -> Result<Option<Vec<u8>>, Error> {
        self.shared.is_there()?;
        let kept = lock(&self.shared.kept);
        let held = kept.maildrops.values().flatten().find(|message| message.id == id && message.held().is_some());
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(held.map(|message| message.text.iter().skip(from).take(HELD_PIECE).copied().collect()))
    }

    async fn decide(&self, id: MessageId, account: Option<&str>, decision: Decision) -> Result<usize, Error> {
        self.shared.is_there()?;
        let (mut kept, mut decided) = (lock(&self.shared.kept), 0);
        for (_, messages) in kept.maildrops.iter_mut().filter(|(name, _)| account.is_none_or(|account| ***name == *account)) {
            let Some(at) = messages.iter().position(|message| message.id == id && message.held().is_some()) else { continue };
            decided += 1;
            match decision {
                Decision::Remove => drop(messages.remove(at)),
                Decision::Release => messages.iter_mut().skip(at).take(1).for_each(|message| message.held = None),
            }
        }
        Ok(decided)
    }

    async fn expire(&self, before: SystemTime, most: usize) -> Result<Load, Error> {
        self.shared.is_there()?;
        let mut kept = lock(&self.shared.kept);
        let is_old = |held: &&Held| held.hold.until.is_none() && held.received < before;
        let messages = kept.maildrops.iter().flat_map(|(name, messages)| messages.iter().map(move |message| (name, message)));
        let old = messages.filter_map(|(name, message)| Some((message.held().filter(is_old)?.received, Arc::clone(name), message.id)));
        let mut old: Vec<_> = old.collect();
        old.sort();
        old.truncate(most);
        let mut expired = Load::default();
        for (_, name, id) in old {
            let Some(messages) = kept.maildrops.get_mut(&name) else { continue };
            for gone in messages.extract_if(.., |message| message.id == id) {
                expired.messages += 1;
                expired.octets += octets(&gone.text);
            }
        }
        Ok(expired)
    }
}

/// See [`Entry::octets`].
fn octets(text: &[u8]) -> u64 {
    let ended = text.is_empty() || text.ends_with(b"\r\n");
    text.len() as u64 + if ended { 0 } else { 2 }
}

fn unavailable() -> Error {
    Error::Unavailable("told to be unavailable".into())
}

/// A panic elsewhere leaves these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PIECE_OCTETS: usize = 64 * 1024;

#[cfg(test)]
mod tests;
