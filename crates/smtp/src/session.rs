//! The server's side of one SMTP session.
//!
//! [`Session::next`] reads what it can and says what it wants. It always gets somewhere: each call uses input, asks, closes, or
//! wants more input. It never fails: whatever the peer sends has a reply. Commands are carried out by
//! `session/commands.rs`, message octets by `session/message.rs`, answers by `session/answers.rs`; what may be known of it is in `session/facts.rs`.

mod answers;
mod commands;
mod facts;
mod message;
mod saying;

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BytesMut};
use mail::dot::Decoder;
use mail::line::{BareWatch, Lines};
use mail::sasl::{Exchange, Said};
use mail::{ForwardPath, RecipientRequests, ReversePath, Token};

use crate::clock::{Awaited, Clock, Deadline, Overdue};
use crate::command::BdatSize;
use crate::limits::{COMMAND_LINE_BYTES, OUTPUT_BYTES};
use crate::question::{Auth, Chunk, Data, EndOfData, Mail, Question, Rcpt, Xclient};
use crate::{Circumstance, Client, MailFrom, Reply, Settings, Tls};

pub use facts::Phase;

/// One session, a plain value: no task, no socket, at most 376 octets and the client's name.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    output: BytesMut,
    circumstance: Circumstance,
    helo: Option<Box<str>>,
    identity: Option<Box<str>>,
    stage: Stage,
    transaction: Option<Transaction>,
    clock: Clock,
    lines: Lines,
    /// What an open question means when it is dropped.
    unanswered: Option<fn(&mut Session, Reply)>,
    /// Octets at the front of the input that the last chunk showed.
    shown_bytes: usize,
    counts: Counts,
    /// Transactions begun.
    mails: u32,
    /// Failed commands nobody has asked for yet.
    failures: u16,
    commands: u32,
    extended: bool,
    /// The front of the input is the rest of a line that is too long.
    overlong: bool,
    /// MAIL was refused, so the RCPT and DATA that were pipelined behind it are no fault of the client's.
    excused: bool,
    /// What the session is closed with as soon as no transaction is open.
    parting: Option<Parting>,
}

/// What the session wants of its driver.
#[derive(Debug)]
pub enum Want<'s> {
    /// Write all output, then read more, until [`Session::deadline`].
    Input,
    /// There is much output: write it, then go on.
    Flush,
    /// Answer.
    Answer(Question<'s>),
    /// Take note, then go on: a message was refused without a question, for its size or for a bare CR or LF. The reply is on its way.
    Refused {
        /// Why.
        reply: Reply,
        /// From whom, where MAIL was refused; otherwise it is the transaction's, which is over.
        reverse_path: Option<ReversePath>,
    },
    /// Write all output, then shake hands for TLS and go on with [`Session::secured`].
    Upgrade,
    /// Write all output, then close.
    Close,
}

impl Session {
    /// A session on a new connection. The greeting is in the output.
    pub fn new(settings: Arc<Settings>, circumstance: Circumstance, now: Instant) -> Self {
        let clock = Clock::new(&settings.timing, now);
        let mut session = Self::begin(settings, circumstance, clock);
        session.say(Reply::GREETING);
        session
    }

    /// The session that goes on after STARTTLS: a new value that knows only what was known before the first octet, and when the
    /// session must end. It does not greet (RFC 3207 §4.2). Input read before the handshake must not be given to it.
    pub fn secured(self, tls: Tls, now: Instant) -> Self {
        let circumstance = Circumstance { tls: Some(tls), ..self.circumstance };
        let Self { parting, failures, commands, .. } = self;
        Self { parting, failures, commands, ..Self::begin(self.settings, circumstance, self.clock.secured(now)) }
    }

    fn begin(settings: Arc<Settings>, circumstance: Circumstance, clock: Clock) -> Self {
        Self {
            settings,
            output: BytesMut::new(),
            circumstance,
            helo: None,
            identity: None,
            stage: Stage::Command,
            transaction: None,
            clock,
            lines: Lines::new(COMMAND_LINE_BYTES),
            unanswered: None,
            shown_bytes: 0,
            counts: Counts::default(),
            mails: 0,
            failures: 0,
            commands: 0,
            extended: false,
            overlong: false,
            excused: false,
            parting: None,
        }
    }

    /// Reads what it can of the input, the same buffer each time, and says what it wants.
    ///
    /// When [`Session::in_transaction`] turns false between two calls, or [`Question::Mail`] comes again, what the listener keeps
    /// for a transaction is to be dropped: RSET, a fault in the message and the like end one without a question.
    pub fn next<'s>(&'s mut self, input: &'s mut BytesMut, now: Instant) -> Want<'s> {
        self.clock.resume(now);
        input.advance(std::mem::take(&mut self.shown_bytes).min(input.len()));
        if let Some(refuse) = self.unanswered.take() {
            refuse(self, Reply::UNANSWERED);
        }
        // Time counts here too: a client that never pauses meets no deadline.
        if self.clock.is_over(now) {
            self.end(Reply::SESSION_TOO_LONG);
        }
        let ask = loop {
            if self.output.len() >= OUTPUT_BYTES {
                return Want::Flush;
            }
            match self.step(input) {
                Step::Again => {}
                Step::Ask(ask) => break ask,
                Step::Refused { reply, reverse_path } => return Want::Refused { reply, reverse_path },
                Step::Upgrade => return Want::Upgrade,
                Step::Close => return Want::Close,
                Step::Wait => {
                    self.clock.wait(now);
                    return Want::Input;
                }
            }
        };
        Want::Answer(self.ask(ask, input))
    }

    /// What is to be written. The driver empties it; an idle session holds no memory when it is taken with [`std::mem::take`].
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// When to call [`Session::timed_out`], unless input comes first.
    pub fn deadline(&self) -> Instant {
        self.clock.deadline(self.waits_for(), &self.settings.timing)
    }

    /// The client or the session has taken too long: `421 4.4.2` with the token that `sign` makes of it, and the session wants to be
    /// closed. Before its deadline nothing happens.
    pub fn timed_out(&mut self, now: Instant, sign: impl FnOnce(Overdue) -> Token) {
        if now >= self.deadline() && !self.is_leaving() {
            let overdue = self.clock.overdue(self.waits_for(), &self.settings.timing, now);
            let reply = if overdue.deadline == Deadline::Session { Reply::SESSION_TOO_LONG } else { Reply::TIMEOUT };
            self.end(reply.signed(sign(overdue)));
        }
    }

    /// Whether the session's own time is over, as that of a client that never pauses will be without its meeting any deadline:
    /// [`Session::timed_out`] is to be called, or [`Session::next`] says it without a token.
    pub fn is_over(&self, now: Instant) -> bool {
        self.clock.is_over(now) && !self.is_leaving()
    }

    /// From now on, or until [`Session::undo_drain`], the session is closed with `421 4.3.2` as soon as no transaction is open; the
    /// driver goes on with [`Session::next`] at once.
    /// `sign` makes its token when this is new.
    pub fn drain(&mut self, sign: impl FnOnce() -> Token) {
        if !matches!(self.parting, Some(Parting::Restarting(_))) {
            self.parting = Some(Parting::Restarting(sign()));
        }
    }

    /// The session may stay after all, where it has not been told otherwise yet. What else asks for its end stands.
    pub fn undo_drain(&mut self) {
        self.parting.take_if(|parting| matches!(parting, Parting::Restarting(_)));
    }

    /// The place is needed for somebody else: as [`Session::drain`], with words that ask the client to come back at once (gate R7),
    /// and a token that `sign` makes when this is new.
    pub fn give_way(&mut self, sign: impl FnOnce() -> Token) {
        self.parting.get_or_insert_with(|| Parting::PlaceNeeded(sign()));
    }

    /// Commands that have failed since this was last asked: wrong ones, recipients refused for good, wrong passwords; not what was
    /// refused for now.
    pub fn take_failures(&mut self) -> u16 {
        std::mem::take(&mut self.failures)
    }

    /// The server leaves now, whatever the session is doing: `421 4.3.2` with this token, and the session wants to be closed.
    pub fn leave(&mut self, token: Token) {
        self.end(Reply::RESTARTING.signed(token));
    }

    /// Somebody wants this session to end: `421`, whatever it is doing, and the session wants to be closed.
    pub fn dismiss(&mut self, farewell: Reply) {
        self.end(farewell);
    }

    fn step(&mut self, input: &mut BytesMut) -> Step {
        match self.stage {
            Stage::Close(_) => return Step::Close,
            Stage::Upgrade => return Step::Upgrade,
            Stage::Text(_) => return self.text(input),
            Stage::Chunk { .. } => return self.chunk(input),
            Stage::Discard { .. } => return self.discard(input),
            Stage::Command | Stage::Sasl(_) => {}
        }
        if let Some(parting) = self.parting.filter(|_| self.transaction.is_none()) {
            self.say(match parting {
                Parting::Restarting(token) => Reply::RESTARTING.signed(token),
                Parting::PlaceNeeded(token) => Reply::PLACE_NEEDED.signed(token),
            });
            return Step::Again;
        }
        self.line(input)
    }

    fn ask<'s>(&'s mut self, ask: Ask, input: &'s BytesMut) -> Question<'s> {
        self.unanswered = Some(match ask {
            Ask::Auth(_) => Self::auth_refused,
            Ask::Mail(_) => Self::mail_refused,
            Ask::Rcpt(..) => Self::rcpt_refused,
            Ask::Data => Self::data_refused,
            Ask::Chunk { .. } => Self::chunk_refused,
            Ask::EndOfData => Self::message_refused,
            Ask::Xclient(_) => Self::xclient_refused,
        });
        match ask {
            Ask::Auth(said) => Question::Auth(Auth::new(self, said)),
            Ask::Mail(from) => Question::Mail(Mail::new(self, from)),
            Ask::Rcpt(path, requests) => Question::Rcpt(Rcpt::new(self, path, requests)),
            Ask::Data => Question::Data(Data::new(self)),
            Ask::Chunk { at, octets } => Question::Chunk(Chunk::new(self, input.get(at..at.saturating_add(octets)).unwrap_or_default())),
            Ask::EndOfData => Question::EndOfData(EndOfData::new(self)),
            Ask::Xclient(client) => Question::Xclient(Xclient::new(self, client)),
        }
    }

    fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Upgrade | Stage::Close(_))
    }

    fn waits_for(&self) -> Awaited {
        match self.stage {
            Stage::Text(_) | Stage::Chunk { .. } | Stage::Discard { .. } => Awaited::Message,
            _ => Awaited::Command,
        }
    }
}

/// What one step came to.
enum Step {
    Again,
    Wait,
    Ask(Ask),
    Refused { reply: Reply, reverse_path: Option<ReversePath> },
    Upgrade,
    Close,
}

/// A question that has not borrowed anything yet.
enum Ask {
    Auth(Box<Said>),
    Mail(MailFrom),
    Rcpt(ForwardPath, Option<Box<RecipientRequests>>),
    Data,
    /// These octets of the input.
    Chunk {
        at: usize,
        octets: usize,
    },
    EndOfData,
    Xclient(Box<Client>),
}

/// What the front of the input is.
#[derive(Debug)]
enum Stage {
    /// A command.
    Command,
    /// A response in an AUTH exchange.
    Sasl(Exchange),
    /// The text after DATA.
    Text(Text),
    /// Octets of a BDAT chunk.
    Chunk { size: BdatSize, left: u64 },
    /// Octets of a BDAT chunk that is refused; the reply comes behind them (RFC 3030 §2).
    Discard { left: u64, reply: Reply, replies: u32 },
    /// The client's TLS handshake.
    Upgrade,
    /// Of no interest: this was the last reply.
    Close(Reply),
}

#[derive(Debug)]
struct Text {
    decoder: Decoder,
    octets: u64,
    refusal: Option<Reply>,
    /// How often the refusal is said.
    replies: u32,
}

/// From MAIL's 250 to the end of the message.
#[derive(Debug, Default)]
struct Transaction {
    utf8: bool,
    /// MAIL asked to hear of each step.
    traced: bool,
    /// MAIL said that the message is not made of lines.
    binary: bool,
    /// Some recipient was refused.
    refused: bool,
    /// Octets of what was asked for recipients, at most [`REQUESTS_BYTES`](crate::limits::REQUESTS_BYTES).
    requests: u32,
    recipients: u32,
    chunks: Option<Chunks>,
}

/// The chunks of a message so far.
#[derive(Debug, Default)]
struct Chunks {
    octets: u64,
    bare: BareWatch,
}

/// Why a session ends between two transactions.
#[derive(Debug, Clone, Copy)]
enum Parting {
    Restarting(Token),
    PlaceNeeded(Token),
}

#[derive(Debug, Default)]
struct Counts {
    bad_commands: u16,
    idle_commands: u16,
    refused_recipients: u16,
    auth_failures: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_small() {
        assert!(size_of::<Session>() <= 376, "{} octets", size_of::<Session>());
    }

    #[test]
    fn questions_may_wait_on_another_thread() {
        fn send<T: Send>() {}
        send::<Session>();
        send::<Question<'_>>();
    }
}
