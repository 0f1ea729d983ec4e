//! What answers do. Each closes its question and leaves the session where the next command can be read.

use std::fmt::Display;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use mail::dot::Decoder;
use mail::sasl::{Exchange, Response, Said};
use mail::{Mechanism, MessageId};

use super::{Counts, Session, Stage, Text, Transaction};
use crate::limits::CHALLENGE_BYTES;
use crate::{Client, MailFrom, Reply, Told};

impl Session {
    pub(crate) fn auth_accepted(&mut self, identity: Box<str>) {
        self.unanswered = None;
        self.identity = Some(identity);
        self.counts = Counts::default();
        self.say(Reply::AUTHENTICATED);
    }

    pub(crate) fn auth_challenged(&mut self, said: &Said, challenge: &[u8]) {
        self.unanswered = None;
        let challenge = challenge.get(..CHALLENGE_BYTES).unwrap_or(challenge);
        self.say_challenge(challenge);
        // A name and a password say everything at once: nothing follows them.
        if let Said::Response(Response { mechanism, .. }) = said {
            self.stage = Stage::Sasl(Exchange::Led { mechanism: *mechanism, first: false });
        }
    }

    /// The next line is to be a response.
    pub(super) fn say_challenge(&mut self, challenge: &[u8]) {
        self.say_with(Reply::AUTH_CHALLENGE, Some(&Base64Display::new(challenge, &STANDARD)));
    }

    pub(crate) fn auth_malformed(&mut self) {
        self.unanswered = None;
        self.wrong(Reply::AUTH_RESPONSE_WRONG);
    }

    pub(crate) fn auth_wrong(&mut self) {
        self.unanswered = None;
        self.counts.auth_failures = self.counts.auth_failures.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        self.say(Reply::CREDENTIALS_WRONG);
        if self.counts.auth_failures >= self.settings.auth_failures {
            self.say(Reply::TOO_MANY_AUTH_FAILURES);
        }
    }

    /// Whoever is told to try later and does not wait is not told for ever. That is between the two of us: nothing has failed that
    /// a rate counts, or the rate that refuses would never see an end of it.
    pub(crate) fn auth_refused(&mut self, reply: Reply) {
        self.unanswered = None;
        self.say(reply);
        self.count_bad();
    }

    pub(crate) fn mail_accepted(&mut self, from: &MailFrom) {
        self.unanswered = None;
        self.excused = false;
        self.mails = self.mails.saturating_add(1);
        self.transaction = Some(Transaction { utf8: from.utf8, traced: from.is_traced(), binary: from.binary, ..Transaction::default() });
        self.say(Reply::SENDER_OK);
    }

    /// No fault of the client's, but one that does not wait is not told for ever.
    pub(crate) fn mail_refused(&mut self, reply: Reply) {
        self.mail_refused_saying(reply, None);
    }

    pub(crate) fn mail_refused_saying(&mut self, reply: Reply, detail: Option<&dyn Display>) {
        self.unanswered = None;
        self.excused = true;
        self.say_with(reply, detail);
        self.count_idle();
    }

    pub(crate) fn rcpt_accepted(&mut self, requests: u32) {
        self.unanswered = None;
        if let Some(transaction) = &mut self.transaction {
            transaction.requests = transaction.requests.saturating_add(requests);
            transaction.recipients = transaction.recipients.saturating_add(1);
        }
        self.say(Reply::RECIPIENT_OK);
    }

    pub(crate) fn rcpt_refused(&mut self, reply: Reply) {
        self.unanswered = None;
        if let Some(transaction) = &mut self.transaction {
            transaction.refused = true;
        }
        self.say(reply);
        if reply.is_permanent() {
            self.counts.refused_recipients = self.counts.refused_recipients.saturating_add(1);
            self.failures = self.failures.saturating_add(1);
            if self.counts.refused_recipients >= self.settings.refused_recipients {
                self.end(Reply::TOO_MANY_ERRORS);
            }
        }
    }

    /// After BDAT the stage is the chunk already, and no 354 is given.
    pub(crate) fn data_accepted(&mut self) {
        self.unanswered = None;
        if matches!(self.stage, Stage::Command) {
            self.stage = Stage::Text(Text { decoder: Decoder::new(), octets: 0, refusal: None, replies: 1 });
            self.say(Reply::START_MAIL);
        }
    }

    pub(crate) fn data_refused(&mut self, reply: Reply) {
        match self.stage {
            Stage::Chunk { .. } => self.chunk_refused(reply),
            _ => self.refuse_message(reply, None, 1),
        }
    }

    pub(crate) fn chunk_taken(&mut self) {
        self.unanswered = None;
    }

    /// The reply is given when the rest has come; the client is excused for what it pipelined behind a chunk.
    pub(crate) fn chunk_refused(&mut self, reply: Reply) {
        self.unanswered = None;
        let replies = self.replies();
        match &mut self.stage {
            Stage::Text(text) => (text.refusal, text.replies) = (Some(reply), replies),
            Stage::Chunk { left, size } => {
                self.excused |= self.transaction.is_some();
                let (left, replies) = (*left, if size.last { replies } else { 1 });
                self.stage = Stage::Discard { left, reply, replies };
            }
            _ => {}
        }
        self.transaction = None;
    }

    pub(crate) fn message_accepted(&mut self, id: MessageId) {
        self.unanswered = None;
        let replies = self.replies();
        self.transaction = None;
        self.counts.bad_commands = 0;
        self.counts.idle_commands = 0;
        self.say_of_message(Reply::ACCEPTED, Some(&id), replies);
    }

    pub(crate) fn message_refused(&mut self, reply: Reply) {
        self.message_refused_saying(reply, None);
    }

    pub(crate) fn message_refused_saying(&mut self, reply: Reply, detail: Option<&dyn Display>) {
        self.refuse_message(reply, detail, self.replies());
    }

    fn refuse_message(&mut self, reply: Reply, detail: Option<&dyn Display>, replies: u32) {
        self.unanswered = None;
        self.transaction = None;
        self.excused = true;
        self.say_of_message(reply, detail, replies);
    }

    /// The session begins again, as that client's. What is not mentioned is as it was, but for the name after EHLO. Channel and certificate
    /// are the proxy's and say nothing of its client, after another handshake either.
    pub(crate) fn xclient_accepted(&mut self, client: &Client, identity: Option<&str>) {
        self.unanswered = None;
        if let Told::Is(address) = client.address {
            self.circumstance.peer = address;
        }
        self.helo = match &client.helo {
            Told::Is(helo) => Some(helo.clone()),
            Told::Unavailable | Told::No => None,
        };
        self.extended = match client.extended {
            Told::Is(extended) => extended,
            Told::Unavailable | Told::No => self.extended,
        };
        match &client.login {
            Told::Is(_) => self.identity = identity.map(Box::from),
            Told::Unavailable => self.identity = None,
            Told::No => {}
        }
        self.circumstance.withheld = self.circumstance.withheld.with(Mechanism::ScramSha256Plus).with(Mechanism::External);
        self.counts = Counts::default();
        self.excused = false;
        self.mails = 0;
        self.say(Reply::GREETING);
    }

    pub(crate) fn xclient_refused(&mut self, reply: Reply) {
        self.unanswered = None;
        if reply.is_permanent() {
            self.wrong(reply);
        } else {
            self.say(reply);
        }
    }

    /// The client may not go on: it is told so in `line`, which ends in CR LF, and the session wants to be closed.
    pub fn turn_away(&mut self, line: &[u8]) {
        self.unanswered = None;
        self.output.extend_from_slice(line);
        self.close(Reply::CLIENT_NOT_LET_IN);
    }
}
