//! The writer: one thread that makes records durable, many at a time.
//!
//! Group commit: while one batch is being synced the next gathers; whatever waits is taken, up to
//! [`BATCH_RECORDS`] and [`BATCH_BYTES`], written in one stretch and synced once. Behind a batch of a [`CROWD`] the next gathers for half as long
//! again as the sync took, as PostgreSQL's commit_delay has it: in a crowd others are about to come, and what a sync costs the processor is
//! shared by more. One who sends alone never waits for others. Then the records go to the index's backlog, and
//! only then is anybody answered, so that whoever has an answer finds his message. [`Durable`] is made here, after the sync, and
//! nowhere else.
//!
//! A write that finds no room ends the segment: what may stand there was never acknowledged, and its sequences are not used
//! again. Any other failed write or sync poisons the store. Dropping the receiver of an answer changes nothing: the record is written.

use std::io::IoSlice;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::{Error, Lease};
use tokio::sync::{OwnedRwLockReadGuard, oneshot};

use crate::backlog::{Logged, What};
use crate::body_file::BodyFile;
use crate::disk::write_whole;
use crate::engine::{Charge, Engine, closed};
use crate::lock;
use crate::people::Register;
use crate::record::{HEADER_BYTES, Header};
use crate::segment::{FIRST_RECORD, Place, Segment};

/// Proof that a record is on stable storage; what it is worth is said by whoever asked for it.
#[derive(Debug)]
pub(crate) struct Durable(());

/// A record to be written.
pub(crate) struct Command {
    pub(crate) header: Header,
    /// Keeps the header's sequence instead of giving the next: for what is moved.
    pub(crate) moved: bool,
    /// Room for the header, then envelope and trace fields.
    pub(crate) head: Vec<u8>,
    /// The body, unless it has a file.
    pub(crate) body: Vec<u8>,
    pub(crate) what: What,
    pub(crate) held: Held,
    pub(crate) answer: oneshot::Sender<Result<Durable, Error>>,
}

/// What must live until the record is written and the index's backlog has it.
#[derive(Default)]
#[expect(dead_code, reason = "held to be dropped at the right moment")]
pub(crate) struct Held {
    pub(crate) charge: Option<Charge>,
    pub(crate) body_file: Option<BodyFile>,
    pub(crate) lease: Option<Lease>,
    pub(crate) marks: Option<OwnedRwLockReadGuard<()>>,
}

/// Records on their way to the writer. As many as there are sessions, at most; their bodies are within the memory budget.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    commands: Vec<Command>,
    /// The writer waits to be woken: while it works it is not, which would be a system call for nothing.
    asleep: bool,
    closed: bool,
}

impl Queue {
    /// Adds one; after [`Queue::close`] it is dropped and its answer with it.
    pub(crate) fn push(&self, command: Command) {
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            return;
        }
        waiting.commands.push(command);
        let wake = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        lock(&self.waiting).closed = true;
        self.filled.notify_all();
    }

    /// Exchanges the empty `commands` for all that wait, and those who come while they `gather`; `false` when it is closed and empty.
    fn take(&self, commands: &mut Vec<Command>, gather: Duration) -> bool {
        let mut waiting = lock(&self.waiting);
        if !gather.is_zero() {
            // Those who come wake nobody meanwhile; the end does.
            let gathered = self.filled.wait_timeout_while(waiting, gather, |waiting| !waiting.closed);
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        while waiting.commands.is_empty() && !waiting.closed {
            waiting.asleep = true;
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(commands, &mut waiting.commands);
        !commands.is_empty()
    }
}

/// The writer's own state.
pub(crate) struct Writer {
    engine: Arc<Engine>,
    active: Option<Active>,
    next_sequence: u64,
    batch: Vec<Command>,
    batch_bytes: u64,
    logged: Vec<Logged>,
    /// How long the next batch gathers.
    gather: Duration,
}

struct Active {
    segment: Arc<Segment>,
    end: u64,
}

impl Writer {
    /// Begins in the next ready segment, with sequences from `next_sequence` on.
    pub(crate) fn new(engine: Arc<Engine>, next_sequence: u64) -> Self {
        Self { engine, active: None, next_sequence, batch: Vec::new(), batch_bytes: 0, logged: Vec::new(), gather: Duration::ZERO }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut commands = Vec::new();
        while self.engine.queue.take(&mut commands, self.gather) {
            // An account goes out of the book before its removal comes into the queue: mail behind a removal finds it gone.
            let register = self.engine.people.register();
            for command in commands.drain(..) {
                match command.owner_gone(&register) {
                    Some(maildrop) => command.refuse(Error::Unavailable(format!("{maildrop} has been removed"))),
                    None => self.add(command),
                }
            }
            self.commit();
        }
    }

    /// Puts a record into the batch, committing what must be committed before.
    fn add(&mut self, mut command: Command) {
        let bytes = command.header.record_bytes();
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes + bytes > BATCH_BYTES {
            self.commit();
        }
        if let Err(error) = self.engine.health.check_poison() {
            return command.refuse(error);
        }
        if !self.fits(bytes) {
            self.commit();
            if let Err(error) = self.rotate(&command) {
                return command.refuse(error);
            }
        }
        let Some(active) = &self.active else { return command.refuse(closed()) };
        if !command.moved {
            command.header.sequence = self.next_sequence;
            self.next_sequence += 1;
        }
        if let Some(place) = command.head.first_chunk_mut::<HEADER_BYTES>() {
            *place = command.header.encode(active.segment.tag.unwrap_or(0));
        }
        // From here on the record may be found after a crash: its body must be there.
        if let Some(body_file) = command.held.body_file.take() {
            body_file.keep();
        }
        self.batch_bytes += bytes;
        self.batch.push(command);
    }

    fn fits(&self, bytes: u64) -> bool {
        self.active.as_ref().is_some_and(|active| active.end + self.batch_bytes + bytes <= active.segment.capacity)
    }

    /// Goes on in the next segment that is ready.
    fn rotate(&mut self, command: &Command) -> Result<(), Error> {
        if command.header.record_bytes() > self.engine.settings.segment.0 - FIRST_RECORD {
            return Err(Error::Unavailable("the record is larger than a segment".into()));
        }
        let is_mail = matches!(command.what, What::Message { .. }) && !command.moved;
        let segment = Arc::new(self.engine.ready.take(is_mail, &self.engine.health)?);
        self.engine.shelf.insert(Arc::clone(&segment));
        self.active = Some(Active { segment, end: FIRST_RECORD });
        self.engine.tender.wake();
        Ok(())
    }

    /// Makes the batch durable, tells the index, and answers.
    fn commit(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.batch.is_empty()) else { return };
        let (start, bytes) = (active.end, std::mem::take(&mut self.batch_bytes));
        let written = write(&self.batch, active).and_then(|()| {
            let begun = Instant::now();
            active.segment.file.sync().map(|()| begun.elapsed())
        });
        active.end += bytes;
        let sync = match written {
            Ok(sync) => sync,
            Err(error) => {
                // What stands there now is nobody's: never write over it, so that no sequence is seen twice.
                self.active = None;
                let judged = self.engine.health.judge("writing the log", &error);
                self.batch.drain(..).for_each(|command| command.refuse(again(&judged)));
                return;
            }
        };
        let mut answers = Vec::with_capacity(self.batch.len());
        let mut place = Place { segment: active.segment.number, offset: start };
        let mut loads = self.engine.loads.counting();
        for command in self.batch.drain(..) {
            if !command.moved {
                loads.logged(&command.what);
            }
            let bytes = command.header.record_bytes();
            self.logged.push(Logged { place, bytes, sequence: command.header.sequence, what: command.what });
            place.offset += bytes;
            answers.push((command.answer, command.held));
        }
        drop(loads);
        self.engine.meters.count_batch(answers.len(), bytes, sync);
        self.gather = if answers.len() >= CROWD { GATHER_MOST.min(sync / 2) } else { Duration::ZERO };
        self.engine.backlog.push(&mut self.logged);
        for (answer, held) in answers {
            drop(held);
            // Nobody waits any more: the record stays all the same.
            drop(answer.send(Ok(Durable(()))));
        }
    }
}

impl Command {
    /// A maildrop of this mail whose account is no more: to accept it would lose it, or hand it to whoever has the name next.
    fn owner_gone(&self, register: &Register) -> Option<Arc<str>> {
        match &self.what {
            What::Message { accounts, .. } if !self.moved => accounts.iter().find(|maildrop| !register.is_owned(maildrop)).cloned(),
            _ => None,
        }
    }

    /// Nothing of it was written, or nobody knows.
    fn refuse(self, error: Error) {
        drop(self.held);
        drop(self.answer.send(Err(error)));
    }
}

/// Writes a batch in one stretch.
fn write(batch: &[Command], active: &Active) -> std::io::Result<()> {
    let mut slices = Vec::with_capacity(batch.len() * 3);
    for command in batch {
        let unpadded = (command.head.len() + command.body.len()) as u64;
        let padding = usize::try_from(command.header.record_bytes() - unpadded).unwrap_or(0);
        slices.extend([command.head.as_slice(), command.body.as_slice(), PADDING.get(..padding).unwrap_or_default()].map(IoSlice::new));
    }
    write_whole(&*active.segment.file, &mut slices, active.end)
}

/// The same error for the next who asked.
fn again(error: &Error) -> Error {
    match error {
        Error::Full(cause) => Error::Full(cause.clone()),
        other => Error::Unavailable(other.to_string()),
    }
}

const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: u64 = 8 << 20;
/// So many records in one batch are a crowd's.
const CROWD: usize = 8;
const GATHER_MOST: Duration = Duration::from_millis(1);
const PADDING: &[u8] = &[0; 8];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Flags, Kind};

    fn removal(account: &str) -> Command {
        let header = Header {
            kind: Kind::Removal,
            flags: Flags::default(),
            envelope_bytes: 0,
            trace_bytes: 0,
            envelope_crc: 0,
            body_bytes: 0,
            sequence: 0,
            id: [0; 16],
            text_crc: 0,
        };
        let what = What::Removal { account: account.to_owned(), origin: None };
        let (head, body, held) = (Vec::new(), Vec::new(), Held::default());
        Command { header, moved: false, head, body, what, held, answer: oneshot::channel().0 }
    }

    #[test]
    fn those_who_come_while_others_gather_are_taken_with_them_and_the_end_waits_for_nobody() {
        let (queue, mut commands) = (Queue::default(), Vec::new());
        queue.push(removal("ann"));
        std::thread::scope(|scope| {
            let gathering = scope.spawn(|| queue.take(&mut commands, Duration::from_secs(600)));
            queue.push(removal("bob"));
            queue.close();
            assert!(gathering.join().unwrap());
        });
        assert_eq!(commands.len(), 2);
        assert!(!queue.take(&mut Vec::new(), Duration::from_secs(600)), "closed and empty");
    }
}
