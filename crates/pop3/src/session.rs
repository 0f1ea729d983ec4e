//! One session, from greeting to close: takes lines, keeps time, and says what it wants next.
//!
//! Guarantees:
//! - Every call of [`Session::next`] makes progress or says what it waits for; between two flushes the output stays below
//!   16 KiB and one reply (or one [`Transfer`](crate::Transfer) piece).
//! - A whole command line must have come by [`Session::deadline`]; octets that trickle in do not move it.
//! - Autologout, in either state, closes without a word and deletes nothing (RFC 1939 §3). A session that ends for a reason of
//!   ours says so with `[SYS/TEMP]` at a command boundary.
//!
//! Refuses input behind STLS by closing. Cannot fail: every fault of the client has its reply.

use std::fmt::Display;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use mail::line::{Line, Lines};
use mail::sasl::Exchange;
use mail::{Mechanisms, Token};

use crate::command::Command;
use crate::limits;
use crate::question::{Auth, Question, Retrieve, Update};
use crate::reply::{self, Refusal, Reply};
use crate::settings::{Circumstance, Settings, Tls};
use crate::state::{Ask, Asked, Ending, Login, State, Step};

/// What a session wants.
#[must_use]
pub enum Want<'s> {
    /// The client's next octets. Flush [`Session::output`], then read until [`Session::deadline`].
    Input,
    /// Much output is waiting: write all of it, then go on.
    Flush,
    /// An answer. A question that is dropped counts as a temporary failure of ours.
    Answer(Question<'s>),
    /// Flush, do the TLS handshake, and go on with [`Session::secured`]. Only what arrives after the handshake is its input.
    Upgrade,
    /// Flush and close. Nothing else will ever be wanted.
    Close,
}

/// How a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The client said QUIT.
    Quit,
    /// The client was idle (RFC 1939 §3), or did not log in.
    TimedOut,
    /// The session's time was over.
    TooLong,
    /// The server goes away.
    Drained,
    /// Its place was needed for somebody else.
    GaveWay,
    /// A newer session has the maildrop.
    TakenOver,
    /// Somebody wanted it to end.
    Ended,
    /// For what the client did.
    Dismissed,
    /// For a fault of ours, in the middle of a message or of an update.
    Failed,
}

/// A POP3 session. See the crate's contract.
pub struct Session {
    pub(crate) settings: Arc<Settings>,
    pub(crate) state: State,
    pub(crate) asked: Option<Asked>,
    pub(crate) tls: Option<Tls>,
    pub(crate) auth_failures: u16,
    pub(crate) output: BytesMut,
    lines: Lines,
    started: Instant,
    waiting_since: Instant,
    /// A line has been dealt with since the last wait, so the next one starts anew.
    dealt: bool,
    bad_commands: u16,
    /// Failed commands nobody has asked for yet.
    pub(crate) failures: u16,
    commands: u32,
    ending: Option<Ending>,
    pub(crate) withheld: Mechanisms,
}

impl Session {
    /// A session in the AUTHORIZATION state, its greeting in the output.
    pub fn new(settings: Arc<Settings>, circumstance: Circumstance, now: Instant) -> Self {
        let mut session = Self::silent(settings, circumstance.tls, now);
        reply::write_line(Reply::Greeting { host: &session.settings.host }, &mut session.output);
        session
    }

    /// With mechanisms of [`Settings::mechanisms`] that are neither offered nor taken in it.
    #[must_use]
    pub fn withholding(self, withheld: Mechanisms) -> Self {
        Self { withheld, ..self }
    }

    /// The session under TLS that follows this one after STLS: a new value without a greeting (RFC 2595 §4), in which nothing lives on
    /// but the settings, what is withheld, the time that has been used up, and a [`Session::drain`].
    pub fn secured(self, tls: Tls, now: Instant) -> Self {
        let Self { started, ending, failures, commands, withheld, .. } = self;
        Self { started, ending, failures, commands, withheld, ..Self::silent(self.settings, Some(tls), now) }
    }

    fn silent(settings: Arc<Settings>, tls: Option<Tls>, now: Instant) -> Self {
        Self {
            settings,
            state: State::Authorization(Login::Start),
            asked: None,
            tls,
            auth_failures: 0,
            output: BytesMut::new(),
            lines: Lines::new(limits::COMMAND_LINE_OCTETS),
            started: now,
            waiting_since: now,
            dealt: false,
            bad_commands: 0,
            failures: 0,
            commands: 0,
            ending: None,
            withheld: Mechanisms::NONE,
        }
    }

    /// Goes on as far as `input` reaches and takes off it what is dealt with. What remains must be there at the next call, with
    /// new octets behind it.
    pub fn next<'s>(&'s mut self, input: &mut BytesMut, now: Instant) -> Want<'s> {
        self.settle();
        match self.advance(input, now) {
            Step::Input => Want::Input,
            Step::Flush => Want::Flush,
            Step::Upgrade => Want::Upgrade,
            Step::Close => Want::Close,
            Step::Ask(ask) => Want::Answer(match ask {
                Ask::Auth(said) => Question::Auth(Auth::new(self, said)),
                Ask::Retrieve { index, entry, top } => Question::Retrieve(Retrieve::new(self, index, entry, top)),
                Ask::Update => Question::Update(Update::new(self)),
            }),
        }
    }

    /// Octets for the client. The driver takes off what it has written; when all is written it may put an empty buffer in its
    /// place, so that a waiting session holds no memory.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// When the wait for input ends. Call [`Session::timed_out`] then.
    pub fn deadline(&self) -> Instant {
        let autologout = later(self.waiting_since, self.settings.timing.autologout);
        if self.is_authenticated() { self.latest().min(autologout) } else { self.latest() }
    }

    /// Ends the session without a word (RFC 1939 §3) if its deadline has passed.
    pub fn timed_out(&mut self, now: Instant) {
        if now >= self.deadline() {
            let too_long = self.is_authenticated() && now >= self.latest();
            self.state = State::Closed(if too_long { Farewell::TooLong } else { Farewell::TimedOut });
        }
    }

    /// The server restarts: ends the session at the next command boundary, which is at once when it waits for input. A QUIT that has
    /// arrived already is still obeyed; otherwise nothing is deleted and the client will ask again.
    /// `sign` makes its token when this is new.
    pub fn drain(&mut self, sign: impl FnOnce() -> Token) {
        // A server that leaves says so, whatever else it wanted; but what was taken over stays that.
        if !matches!(self.ending, Some(Ending::TakenOver | Ending::Drain(_))) {
            self.ending = Some(Ending::Drain(sign()));
        }
    }

    /// The session may stay after all, where it has not been told otherwise yet. What else asks for its end stands.
    pub fn undo_drain(&mut self) {
        self.ending.take_if(|ending| matches!(ending, Ending::Drain(_)));
    }

    /// The place is needed for somebody else: as [`Session::drain`], with words that ask the client to come back at once (gate R7),
    /// and a token that `sign` makes when this is new.
    pub fn give_way(&mut self, sign: impl FnOnce() -> Token) {
        self.ending.get_or_insert_with(|| Ending::PlaceNeeded(sign()));
    }

    /// A newer session of the same user has taken the maildrop over: ends this one at the next command boundary. Not even QUIT
    /// deletes any more.
    pub fn take_over(&mut self) {
        self.ending = Some(Ending::TakenOver);
    }

    /// Somebody wants this session to end: at the next command boundary, as [`Session::drain`].
    pub fn dismiss(&mut self) {
        self.ending.get_or_insert(Ending::Dismissed);
    }

    /// Commands that have failed since this was last asked: wrong ones, wrong passwords.
    pub fn take_failures(&mut self) -> u16 {
        mem::take(&mut self.failures)
    }

    /// Commands so far, before TLS too.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// How the session has ended, once it wants to be closed.
    pub fn farewell(&self) -> Option<Farewell> {
        match self.state {
            State::Closed(farewell) => Some(farewell),
            _ => None,
        }
    }

    /// Whether an AUTH exchange is under way.
    pub fn is_authenticating(&self) -> bool {
        self.in_exchange()
    }

    /// Whether a user is logged in: the session is in the TRANSACTION state.
    pub fn is_authenticated(&self) -> bool {
        matches!(self.state, State::Transaction { .. })
    }
}

impl Session {
    /// Deals with a question that was dropped.
    pub(crate) fn settle(&mut self) {
        match self.asked.take() {
            None => {}
            Some(Asked::Auth) => self.login_refused(Refusal::LoginUnavailable, None),
            Some(Asked::Retrieve) => self.say(Refusal::MessageUnavailable),
            // Without the terminating dot nobody takes the message for whole.
            Some(Asked::Transfer) => self.state = State::Closed(Farewell::Failed),
            Some(Asked::Update) => self.close(Refusal::NotRemoved, Farewell::Failed),
        }
    }

    fn advance(&mut self, input: &mut BytesMut, now: Instant) -> Step {
        loop {
            match self.state {
                State::Closed(_) => return Step::Close,
                State::Upgrade => return Step::Upgrade,
                _ if self.output.len() >= limits::OUTPUT_OCTETS => return Step::Flush,
                State::Transaction { listing: Some(listing), .. } => {
                    self.list(listing);
                    continue;
                }
                _ => {}
            }
            let may_hold_password = matches!(self.state, State::Authorization(_));
            let (used, ask) = match self.lines.next(input) {
                Line::Text { text, used } => (used, self.line(text, input.len() > used, now)),
                Line::Overlong { used } => (used, self.overlong(now)),
                Line::Partial { used } => {
                    input.advance(used);
                    let Some(ending) = self.ending else { return self.wait(now) };
                    self.depart(ending);
                    continue;
                }
            };
            if may_hold_password {
                input.iter_mut().take(used).for_each(|octet| *octet = 0);
            }
            input.advance(used);
            self.dealt = true;
            self.lines = Lines::new(if self.in_exchange() { limits::AUTH_LINE_OCTETS } else { limits::COMMAND_LINE_OCTETS });
            if let Some(ask) = ask {
                return Step::Ask(ask);
            }
        }
    }

    fn wait(&mut self, now: Instant) -> Step {
        if mem::take(&mut self.dealt) {
            self.waiting_since = now;
        }
        Step::Input
    }

    fn line(&mut self, text: &[u8], more_behind: bool, now: Instant) -> Option<Ask> {
        self.commands = self.commands.saturating_add(u32::from(!self.in_exchange()));
        if let Some(ending) = self.ending_at(now) {
            let obeyed = ending != Ending::TakenOver && Command::parse(text) == Ok(Command::Quit);
            if !obeyed {
                self.depart(ending);
                return None;
            }
        }
        match &mut self.state {
            State::Authorization(login) => {
                let login = mem::replace(login, Login::Start);
                self.authorization(login, text, more_behind)
            }
            State::Transaction { .. } => match Command::parse(text) {
                Ok(command) => self.transaction(command),
                Err(refusal) => self.fault(refusal),
            },
            State::Upgrade | State::Closed(_) => None,
        }
    }

    fn overlong(&mut self, now: Instant) -> Option<Ask> {
        if let Some(ending) = self.ending_at(now) {
            self.depart(ending);
            return None;
        }
        let refusal = if self.in_exchange() { Refusal::ResponseTooLong } else { Refusal::LineTooLong };
        if let State::Authorization(login) = &mut self.state {
            *login = Login::Start;
        }
        self.fault(refusal)
    }

    /// Why the next command will not be obeyed. Time counts here too: a client that never pauses meets no deadline.
    fn ending_at(&self, now: Instant) -> Option<Ending> {
        self.ending.or((now >= self.latest()).then_some(Ending::TooLong))
    }

    /// The end of the session's time, or of the time to log in.
    fn latest(&self) -> Instant {
        let timing = &self.settings.timing;
        later(self.started, if self.is_authenticated() { timing.session } else { timing.login })
    }

    fn in_exchange(&self) -> bool {
        matches!(self.state, State::Authorization(Login::Sasl(_)))
    }

    /// The next line is a response in this exchange.
    pub(crate) fn expect_response(&mut self, exchange: Exchange) {
        self.state = State::Authorization(Login::Sasl(exchange));
        self.lines = Lines::new(limits::AUTH_LINE_OCTETS);
    }

    pub(crate) fn say(&mut self, line: impl Display) {
        reply::write_line(line, &mut self.output);
    }

    /// Says a refusal, and where it was written down whose it is and what it is called.
    pub(crate) fn say_refusal(&mut self, refusal: Refusal, token: Option<Token>) {
        match token {
            Some(token) => reply::write_signed(refusal, &self.settings.host, token, &mut self.output),
            None => self.say(refusal),
        }
    }

    fn depart(&mut self, ending: Ending) {
        self.say_refusal(ending.refusal(), ending.token());
        self.state = State::Closed(ending.farewell());
    }

    /// Says a last line.
    pub(crate) fn close(&mut self, line: impl Display, farewell: Farewell) {
        self.say(line);
        self.state = State::Closed(farewell);
    }

    /// Answers what should not have been said, and counts it.
    pub(crate) fn fault(&mut self, refusal: Refusal) -> Option<Ask> {
        self.bad_commands += 1;
        self.failures = self.failures.saturating_add(1);
        if self.bad_commands < self.settings.bad_commands {
            self.say(refusal);
        } else {
            self.close(Refusal::TooManyBadCommands, Farewell::Dismissed);
        }
        None
    }
}

/// Keeps sums in their range: no session lasts a year.
fn later(instant: Instant, by: Duration) -> Instant {
    instant + by.min(Duration::from_secs(365 * 24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_session_is_small() {
        assert!(size_of::<Session>() <= 300, "{} octets", size_of::<Session>());
    }
}
