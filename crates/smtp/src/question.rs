//! What the machine asks the listener.
//!
//! A question borrows the session, tells what is asked, and is consumed by its answer: the session cannot go on before, and a
//! second answer does not compile. A question that is dropped, as it is when the future that holds it is dropped, is answered
//! `451 4.3.0` when the session goes on, and what it was about is undone. Questions are [`Send`]: a driver may hold
//! one while it waits for the store.
//!
//! Any refusal may be a 421, which closes the connection behind it.

use std::fmt::Display;

use mail::sasl::Said;
use mail::{ForwardPath, MessageId, Receipt, RecipientRequests};

use crate::limits::octets;
use crate::{Client, MailFrom, Reply, Session};

/// A question, to be answered by value.
#[derive(Debug)]
pub enum Question<'s> {
    /// Who is this?
    Auth(Auth<'s>),
    /// Is mail from this sender taken?
    Mail(Mail<'s>),
    /// Is mail for this recipient taken?
    Rcpt(Rcpt<'s>),
    /// May the message come?
    Data(Data<'s>),
    /// Octets of the message: are they kept?
    Chunk(Chunk<'s>),
    /// The message is whole: is it safe?
    EndOfData(EndOfData<'s>),
    /// Is this who the proxy speaks for?
    Xclient(Xclient<'s>),
}

/// Someone wants to authenticate, under TLS.
#[derive(Debug)]
pub struct Auth<'s> {
    session: &'s mut Session,
    /// Boxed: questions are held while they are answered, and this one is rare.
    said: Box<Said>,
}

/// MAIL opens a transaction.
#[derive(Debug)]
pub struct Mail<'s> {
    session: &'s mut Session,
    from: MailFrom,
}

/// RCPT names a recipient.
#[derive(Debug)]
pub struct Rcpt<'s> {
    session: &'s mut Session,
    path: ForwardPath,
    requests: Option<Box<RecipientRequests>>,
    /// What they take.
    octets: u32,
}

/// DATA, or the first BDAT, with at least one recipient accepted.
#[derive(Debug)]
pub struct Data<'s> {
    session: &'s mut Session,
}

/// Octets of the message, dots taken off, as they lie in the input.
#[derive(Debug)]
pub struct Chunk<'s> {
    session: &'s mut Session,
    text: &'s [u8],
}

/// The whole message has come, within its limits and without a bare CR or LF, unless MAIL has said that it is binary
/// ([`MailFrom::binary`]): what it is made of is then for the listener to see.
#[derive(Debug)]
pub struct EndOfData<'s> {
    session: &'s mut Session,
}

/// A proxy that is trusted says for whom it speaks.
#[derive(Debug)]
pub struct Xclient<'s> {
    session: &'s mut Session,
    client: Box<Client>,
}

impl<'s> Auth<'s> {
    pub(crate) fn new(session: &'s mut Session, said: Box<Said>) -> Self {
        Self { session, said }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// What the client has said.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// `334`: the exchange goes on; the client's next response is the next question, unless it gives up. A challenge of more than
    /// [`CHALLENGE_BYTES`](crate::limits::CHALLENGE_BYTES) is cut off.
    pub fn challenge(self, challenge: &[u8]) {
        self.session.auth_challenged(&self.said, challenge);
    }

    /// `501`: that is no response of its mechanism. It counts as a bad command.
    pub fn malformed(self) {
        self.session.auth_malformed();
    }

    /// `235`: the client is `identity` for the rest of the session.
    pub fn accept(self, identity: impl Into<Box<str>>) {
        self.session.auth_accepted(identity.into());
    }

    /// `535`: wrong password or unknown user. After [`Settings::auth_failures`](crate::Settings::auth_failures) of them the session is closed.
    pub fn wrong(self) {
        self.session.auth_wrong();
    }

    /// Any other refusal, such as [`Reply::TRY_LATER_AUTH`]; it says nothing of the password. It counts as a bad command of the session,
    /// and not as a failed one ([`Session::take_failures`]).
    pub fn reject(self, reply: Reply) {
        self.session.auth_refused(reply);
    }
}

impl<'s> Mail<'s> {
    pub(crate) fn new(session: &'s mut Session, from: MailFrom) -> Self {
        Self { session, from }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// What MAIL said.
    pub fn from(&self) -> &MailFrom {
        &self.from
    }

    /// `250`: a transaction is open. Gives what MAIL said, to be kept.
    pub fn accept(self) -> MailFrom {
        self.session.mail_accepted(&self.from);
        self.from
    }

    /// No transaction. It counts as a command that brings no message nearer.
    pub fn reject(self, reply: Reply) {
        self.session.mail_refused(reply);
    }

    /// The same, with what fills the reply's `{detail}`: printable ASCII on one line.
    pub fn reject_saying(self, reply: Reply, detail: &dyn Display) {
        self.session.mail_refused_saying(reply, Some(detail));
    }
}

impl<'s> Rcpt<'s> {
    pub(crate) fn new(session: &'s mut Session, path: ForwardPath, requests: Option<Box<RecipientRequests>>) -> Self {
        let octets = requests.as_deref().map_or(0, |requests| u32::try_from(octets(requests)).unwrap_or(u32::MAX));
        Self { session, path, requests, octets }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// The recipient.
    pub fn forward_path(&self) -> &ForwardPath {
        &self.path
    }

    /// What is asked for this recipient besides delivery, to be kept; nothing, mostly, and nothing the second time.
    pub fn take_requests(&mut self) -> Option<Box<RecipientRequests>> {
        self.requests.take()
    }

    /// `250`: one recipient more. Gives it back, to be kept.
    pub fn accept(self) -> ForwardPath {
        self.session.rcpt_accepted(self.octets);
        self.path
    }

    /// Not this one; the transaction goes on, unless that was the last of
    /// [`Settings::refused_recipients`](crate::Settings::refused_recipients) that are refused for good.
    pub fn reject(self, reply: Reply) {
        self.session.rcpt_refused(reply);
    }
}

impl<'s> Data<'s> {
    pub(crate) fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// `354`, or the chunk is read. Chunks follow, then the end of data.
    pub fn accept(self) {
        self.session.data_accepted();
    }

    /// The transaction is over.
    pub fn reject(self, reply: Reply) {
        self.session.data_refused(reply);
    }
}

impl<'s> Chunk<'s> {
    pub(crate) fn new(session: &'s mut Session, text: &'s [u8]) -> Self {
        Self { session, text }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// The octets; never none.
    pub fn text(&self) -> &[u8] {
        self.text
    }

    /// They are kept; the next may come.
    pub fn taken(self) {
        self.session.chunk_taken();
    }

    /// The transaction is over. The rest of the message is read and thrown away; then the reply is given.
    pub fn refuse(self, reply: Reply) {
        self.session.chunk_refused(reply);
    }
}

impl<'s> EndOfData<'s> {
    pub(crate) fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// `250` with the message's id: it is ours now.
    #[expect(clippy::needless_pass_by_value, reason = "one receipt, one 250: it is spent here")]
    pub fn accept(self, receipt: Receipt) {
        self.session.message_accepted(receipt.id());
    }

    /// `250` as if it had been taken, by a rule of the operator's that throws it away: it is nowhere. The one 250 without a receipt.
    pub fn discard(self, id: MessageId) {
        self.session.message_accepted(id);
    }

    /// The message is not taken; the transaction is over.
    pub fn reject(self, reply: Reply) {
        self.session.message_refused(reply);
    }

    /// The same, with what fills the reply's `{detail}`: printable ASCII on one line.
    pub fn reject_saying(self, reply: Reply, detail: &dyn Display) {
        self.session.message_refused_saying(reply, Some(detail));
    }
}

impl<'s> Xclient<'s> {
    pub(crate) fn new(session: &'s mut Session, client: Box<Client>) -> Self {
        Self { session, client }
    }

    /// The session that asks.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// For whom it speaks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The session is that client's, and begins again: `220`. Gives back what was said. Where that named who has logged in, the client is
    /// `identity` from here on, which may be another spelling of it.
    pub fn accept(self, identity: Option<&str>) -> Client {
        self.session.xclient_accepted(&self.client, identity);
        *self.client
    }

    /// It is not; the session goes on as it was, unless it is a reply that closes.
    pub fn reject(self, reply: Reply) {
        self.session.xclient_refused(reply);
    }

    /// That client may not come in: it is told so in `line`, which ends in CR LF, as if it had connected itself, and the session is over.
    pub fn turn_away(self, line: &[u8]) {
        self.session.turn_away(line);
    }
}
