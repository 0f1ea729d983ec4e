//! Lines: commands carried out, AUTH exchanges led.

use std::fmt::Display;

use bytes::{Buf, BytesMut};
use mail::line::{Line, Lines};
use mail::sasl::{self, Exchange, Turn};

use super::{Ask, Chunks, Session, Stage, Step, Transaction};
use crate::arguments::{self, MailFrom, Refusal};
use crate::command::{BdatSize, Command, Fault, begins_auth};
use crate::extensions::{self, Offer, Verbs};
use crate::limits::{AUTH_LINE_BYTES, COMMAND_LINE_BYTES, REQUESTS_BYTES, octets};
use crate::xclient::is_client_name;
use crate::{Blanks, Client, Reply, Role};

impl Session {
    /// Takes a line off the input and does what it says.
    pub(super) fn line(&mut self, input: &mut BytesMut) -> Step {
        let secret = matches!(self.stage, Stage::Sasl(_)) || begins_auth(input);
        if !self.overlong {
            self.lines = Lines::new(if secret { AUTH_LINE_BYTES } else { COMMAND_LINE_BYTES });
        }
        let mut lines = self.lines;
        let (step, used) = match lines.next(input) {
            Line::Text { text, used } => {
                self.clock.restart();
                (self.text_line(text, used < input.len()), used)
            }
            Line::Overlong { used } => {
                self.overlong = false;
                self.clock.restart();
                (self.overlong_line(), used)
            }
            Line::Partial { used } => {
                self.overlong |= used > 0;
                (Step::Wait, used)
            }
        };
        self.lines = lines;
        if secret && let Some(line) = input.get_mut(..used) {
            line.fill(0);
        }
        input.advance(used);
        step
    }

    fn text_line(&mut self, text: &[u8], behind: bool) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Command) {
            Stage::Sasl(exchange) => self.response(exchange, text, behind),
            _ => self.command(text, behind),
        }
    }

    fn overlong_line(&mut self) -> Step {
        match std::mem::replace(&mut self.stage, Stage::Command) {
            Stage::Sasl(_) => self.wrong(Reply::AUTH_LINE_TOO_LONG),
            _ => self.wrong(Reply::LINE_TOO_LONG),
        }
    }

    fn command(&mut self, line: &[u8], behind: bool) -> Step {
        self.commands = self.commands.saturating_add(1);
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(Fault::Wrong(reply)) => return self.wrong(reply),
            Err(Fault::Astray(reply)) => {
                self.say_and_close(reply);
                return Step::Again;
            }
        };
        if behind && command.is_last_of_its_group() {
            self.say_and_close(Reply::PIPELINED);
            return Step::Again;
        }
        match command {
            // By LMTP nobody may be led to think that this is SMTP (RFC 2033 §4.1).
            Command::Ehlo(_) | Command::Helo(_) if self.is_lmtp() => self.wrong(Reply::UNKNOWN_COMMAND),
            Command::Ehlo(name) => self.hello(name, true),
            Command::Helo(name) => self.hello(name, false),
            Command::Lhlo(name) if self.is_lmtp() => self.hello(name, true),
            Command::Lhlo(_) => self.wrong(Reply::UNKNOWN_COMMAND),
            Command::Mail(arguments) => self.mail(arguments),
            Command::Rcpt(arguments) => self.rcpt(arguments),
            Command::Data => self.data(),
            Command::Bdat(size) => self.bdat(size),
            Command::Rset => {
                self.transaction = None;
                self.excused = false;
                self.idle(Reply::RESET)
            }
            Command::Noop => self.idle(Reply::NOTHING_DONE),
            Command::Vrfy => self.idle(Reply::NOT_VERIFIED),
            Command::Help => self.help(),
            Command::Quit => {
                self.say_and_close(Reply::BYE);
                Step::Again
            }
            Command::StartTls => self.starttls(),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
            Command::Xclient(arguments) => self.xclient(arguments),
        }
    }

    /// EHLO, HELO and LHLO, which also do what RSET does (RFC 5321 §4.1.4).
    fn hello(&mut self, name: &str, extended: bool) -> Step {
        if !is_client_name(name) {
            return self.wrong(Reply::CLIENT_NAME_WRONG);
        }
        self.transaction = None;
        self.excused = false;
        self.extended = extended;
        let again = self.helo.replace(name.into()).is_some();
        if extended {
            let blanks = Blanks { host: self.settings.host.as_str(), peer: Some(self.circumstance.peer), ..Blanks::default() };
            extensions::answer(&self.settings, &self.circumstance, &blanks, &mut self.output);
        } else {
            self.say(Reply::HELLO);
        }
        if again { self.count_idle() } else { Step::Again }
    }

    fn help(&mut self) -> Step {
        let offer = Offer::of(&self.settings, &self.circumstance, self.extended);
        let verbs = Verbs { offer, lmtp: self.is_lmtp(), xclient: self.circumstance.xclient };
        self.say_with(Reply::HELP, Some(&verbs));
        self.count_idle()
    }

    fn mail(&mut self, arguments: &str) -> Step {
        let refusal = match &self.transaction {
            _ if self.helo.is_none() => Some(self.hello_first()),
            Some(transaction) if transaction.chunks.is_some() => Some(Reply::CHUNKS_UNDER_WAY),
            Some(_) => Some(Reply::MAIL_ALREADY),
            None if self.settings.role != Role::Submission || self.identity.is_some() => None,
            None if self.circumstance.tls.is_none() => Some(Reply::TLS_FIRST),
            None => Some(Reply::AUTH_FIRST),
        };
        self.excused |= self.transaction.is_none();
        if let Some(reply) = refusal {
            return self.wrong(reply);
        }
        match MailFrom::parse(arguments, self.offer()) {
            Ok(from) if from.size.is_some_and(|size| size.get() > self.settings.message_bytes) => {
                let reply = Reply::MESSAGE_TOO_LARGE;
                self.say(reply);
                Step::Refused { reply, reverse_path: Some(from.reverse_path) }
            }
            Ok(_) if self.circumstance.mails.is_some_and(|most| self.mails >= most) => {
                self.say(Reply::ENOUGH_MESSAGES);
                Step::Again
            }
            Ok(from) => Step::Ask(Ask::Mail(from)),
            Err(refusal) => self.refuse_arguments(refusal),
        }
    }

    fn rcpt(&mut self, arguments: &str) -> Step {
        let offer = self.offer();
        let Some(transaction) = &mut self.transaction else { return self.out_of_turn(Reply::MAIL_FIRST) };
        if transaction.chunks.is_some() {
            return self.wrong(Reply::CHUNKS_UNDER_WAY);
        }
        match arguments::recipient(arguments, transaction.utf8, transaction.traced, offer) {
            Ok((path, requests)) => {
                let asked = transaction.requests as usize + requests.as_deref().map_or(0, octets);
                if asked > REQUESTS_BYTES || transaction.recipients >= self.settings.recipients {
                    self.rcpt_refused(Reply::TOO_MANY_RECIPIENTS);
                    return Step::Again;
                }
                Step::Ask(Ask::Rcpt(path, requests))
            }
            Err(refusal) => {
                transaction.refused = true;
                self.refuse_arguments(refusal)
            }
        }
    }

    fn data(&mut self) -> Step {
        match &self.transaction {
            Some(transaction) if transaction.chunks.is_some() => self.wrong(Reply::CHUNKS_UNDER_WAY),
            // What state that leaves is for us to say (RFC 3030 §3): the one before.
            Some(transaction) if transaction.binary => self.wrong(Reply::CHUNKS_ALONE),
            Some(transaction) if transaction.recipients > 0 => Step::Ask(Ask::Data),
            other => {
                let reply = self.no_message(other.as_ref());
                self.out_of_turn(reply)
            }
        }
    }

    fn bdat(&mut self, size: BdatSize) -> Step {
        self.stage = Stage::Chunk { size, left: size.octets };
        if !self.extended {
            return self.refuse_chunk_unasked(size, self.hello_first());
        }
        let limit = self.settings.message_bytes;
        match &mut self.transaction {
            Some(transaction) if transaction.recipients > 0 => match &mut transaction.chunks {
                Some(chunks) if chunks.octets.saturating_add(size.octets) > limit => {
                    self.refuse_chunk_unasked(size, Reply::MESSAGE_TOO_LARGE)
                }
                None if size.octets > limit => self.refuse_chunk_unasked(size, Reply::MESSAGE_TOO_LARGE),
                Some(_) => Step::Again,
                chunks @ None => {
                    *chunks = Some(Chunks::default());
                    Step::Ask(Ask::Data)
                }
            },
            _ => {
                let reply = self.no_message(self.transaction.as_ref());
                self.refuse_chunk_unasked(size, reply)
            }
        }
    }

    fn is_lmtp(&self) -> bool {
        self.settings.role == Role::Lmtp
    }

    fn hello_first(&self) -> Reply {
        if self.is_lmtp() { Reply::LHLO_FIRST } else { Reply::HELLO_FIRST }
    }

    /// What is understood here and now. A proxy whose clients have logged in has offered them AUTH itself.
    fn offer(&self) -> Offer {
        let offer = Offer::of(&self.settings, &self.circumstance, self.extended);
        Offer { auth: offer.auth || self.identity.is_some(), ..offer }
    }

    /// Why no message may come: no transaction, or one without recipients, of which some were refused.
    fn no_message(&self, transaction: Option<&Transaction>) -> Reply {
        match transaction.map(|transaction| transaction.refused) {
            None => Reply::MAIL_FIRST,
            Some(false) => Reply::RCPT_FIRST,
            Some(true) if self.is_lmtp() => Reply::LMTP_NO_RECIPIENTS,
            Some(true) => Reply::NO_RECIPIENTS,
        }
    }

    fn starttls(&mut self) -> Step {
        if self.circumstance.tls.is_some() {
            return self.wrong(Reply::TLS_ACTIVE);
        }
        if !self.settings.starttls {
            return self.wrong(Reply::NOT_IMPLEMENTED);
        }
        if !self.extended {
            return self.wrong(self.hello_first());
        }
        self.say(Reply::TLS_READY);
        self.transaction = None;
        self.stage = Stage::Upgrade;
        Step::Again
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Step {
        let Some(tls) = self.circumstance.tls.filter(|_| self.settings.auth) else {
            return self.wrong(if self.settings.auth { Reply::TLS_FOR_AUTH } else { Reply::NOT_IMPLEMENTED });
        };
        let refusal = if !self.extended {
            Reply::HELLO_FIRST
        } else if self.identity.is_some() {
            Reply::AUTH_ALREADY
        } else if self.transaction.is_some() {
            Reply::NOT_IN_A_TRANSACTION
        } else if let Some(mechanism) = self.settings.offered(tls, self.circumstance.withheld).named(mechanism.as_bytes()) {
            return self.exchanged(Exchange::new(mechanism).begin(initial.map(str::as_bytes)));
        } else {
            Reply::AUTH_MECHANISM_UNKNOWN
        };
        self.wrong(refusal)
    }

    /// A response in an exchange.
    fn response(&mut self, exchange: Exchange, text: &[u8], behind: bool) -> Step {
        if behind {
            self.say_and_close(Reply::PIPELINED);
            return Step::Again;
        }
        self.exchanged(exchange.respond(text))
    }

    fn exchanged(&mut self, outcome: Result<Turn, sasl::Fault>) -> Step {
        match outcome {
            Ok(Turn::Ask(said)) => Step::Ask(Ask::Auth(Box::new(said))),
            Ok(Turn::Prompt(exchange)) => {
                self.say_challenge(exchange.prompt());
                self.stage = Stage::Sasl(exchange);
                Step::Again
            }
            Err(sasl::Fault::Cancelled) => self.wrong(Reply::AUTH_CANCELLED),
            Err(sasl::Fault::Malformed | sasl::Fault::NameNotUtf8) => self.wrong(Reply::AUTH_RESPONSE_WRONG),
        }
    }

    fn xclient(&mut self, arguments: &str) -> Step {
        let refusal = match Client::parse(arguments) {
            _ if !self.circumstance.xclient => Reply::XCLIENT_DENIED,
            _ if self.transaction.is_some() => Reply::NOT_IN_A_TRANSACTION,
            Some(client) => return Step::Ask(Ask::Xclient(Box::new(client))),
            None => Reply::ARGUMENTS_WRONG,
        };
        self.wrong(refusal)
    }

    fn refuse_arguments(&mut self, refusal: Refusal) -> Step {
        self.say_with(refusal.reply, refusal.why.as_ref().map(|why| why as &dyn Display));
        self.count_failed()
    }

    /// A command that must not come now, unless a refused MAIL explains it.
    fn out_of_turn(&mut self, reply: Reply) -> Step {
        self.say(reply);
        if self.excused || matches!(reply, Reply::NO_RECIPIENTS | Reply::LMTP_NO_RECIPIENTS) { Step::Again } else { self.count_failed() }
    }

    /// A bad command.
    pub(super) fn wrong(&mut self, reply: Reply) -> Step {
        self.say(reply);
        self.count_failed()
    }

    /// A command that brings no message nearer.
    pub(super) fn idle(&mut self, reply: Reply) -> Step {
        self.say(reply);
        self.count_idle()
    }

    /// Counts for this session, and for the rates.
    fn count_failed(&mut self) -> Step {
        self.failures = self.failures.saturating_add(1);
        self.count_bad()
    }

    /// Counts for this session only.
    pub(super) fn count_bad(&mut self) -> Step {
        self.counts.bad_commands = self.counts.bad_commands.saturating_add(1);
        if self.counts.bad_commands >= self.settings.bad_commands {
            self.end(Reply::TOO_MANY_ERRORS);
        }
        Step::Again
    }

    pub(super) fn count_idle(&mut self) -> Step {
        self.counts.idle_commands = self.counts.idle_commands.saturating_add(1);
        if self.counts.idle_commands >= self.settings.idle_commands {
            self.end(Reply::TOO_MANY_IDLE_COMMANDS);
        }
        Step::Again
    }

    /// A chunk that is refused before anyone is asked. One far too large is not waited for.
    fn refuse_chunk_unasked(&mut self, size: BdatSize, reply: Reply) -> Step {
        if size.octets > crate::limits::patience_bytes(self.settings.message_bytes) {
            self.say_and_close(reply);
        } else {
            let mine = !self.excused && matches!(reply, Reply::HELLO_FIRST | Reply::LHLO_FIRST | Reply::MAIL_FIRST | Reply::RCPT_FIRST);
            self.chunk_refused(reply);
            if mine {
                return self.count_failed();
            }
        }
        if reply == Reply::MESSAGE_TOO_LARGE { Step::Refused { reply, reverse_path: None } } else { Step::Again }
    }
}
