//! What the listener answers when the session asks: gate, directory, passwords and store on one side, replies on the other.
//!
//! Every question is answered on every path; where something of ours fails the reply is temporary, and the cause goes to the
//! log. A question dropped with its future means 451, so all of this may be dropped at any time: what was begun is undone, but for
//! a commit under way, whose outcome is open then, and which the drain waits for.

mod authenticating;
mod refusing;
mod xclient;

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use auth::Exchange;
use events::{MessageAccepted, SessionId, StoreFailed};
use gate::delivery::{Passage, Promise};
use gate::rates::{Limits, Measure, Sender};
use gate::{Permit, Phase, Seat};
use jiff::Timestamp;
use mail::{ForwardPath, Host, MessageId, ReversePath};
use net::{Connection, Hold};
use smtp::{Chunk, Data, EndOfData, Mail, MailFrom, Mechanism, Question, Rcpt, Reply};
use store::Resolution;

use crate::freight::Freight;
use crate::hops::Hops;
use crate::screening::{Desk, Judged};
use crate::trace::Trace;
use crate::transaction::{Message, Transaction};
use crate::{Settings, Shared};

/// One session's answers, and what they remember.
pub(crate) struct Answers {
    shared: Arc<Shared>,
    /// What the session began with.
    settings: Arc<Settings>,
    seat: Arc<Seat>,
    session: SessionId,
    /// The client's address, of whomever a proxy speaks for.
    source: IpAddr,
    transaction: Option<Box<Transaction>>,
    exchange: Option<Box<Exchange>>,
    /// What TLS says of the client and of the channel, where a login may go by it.
    bond: Option<Box<Bond>>,
    /// A rate has been met since the last reply was written.
    rate_met: Cell<bool>,
    /// From before a commit until its 250 has been written.
    hold: Option<Hold>,
}

/// What a login may go by beside what the client says.
struct Bond {
    /// What identifies the TLS channel.
    channel: Option<[u8; 32]>,
    /// Whom the client's certificate names.
    certificate: Option<String>,
}

impl Answers {
    pub(crate) fn new(shared: Arc<Shared>, settings: Arc<Settings>, seat: Arc<Seat>, session: SessionId, source: IpAddr) -> Self {
        let (rate_met, hold) = (Cell::new(false), None);
        Self { shared, settings, seat, session, source, transaction: None, exchange: None, bond: None, rate_met, hold }
    }

    /// The session goes on over this connection, as it is now.
    pub(crate) fn bind(&mut self, connection: &Connection) {
        let offers = |mechanism| self.settings.smtp.auth && self.settings.smtp.mechanisms.contains(mechanism);
        let channel = offers(Mechanism::ScramSha256Plus).then(|| connection.channel()).flatten();
        let certificate = offers(Mechanism::External).then(|| connection.mailbox()).flatten();
        let any = channel.is_some() || certificate.is_some();
        self.bond = any.then(|| Box::new(Bond { channel, certificate }));
    }

    /// No login is under way.
    pub(crate) fn forget_exchange(&mut self) {
        self.exchange = None;
    }

    /// The transaction has ended without a question: RSET, a fault, a new greeting.
    pub(crate) fn forget_transaction(&mut self) {
        self.transaction = None;
    }

    /// All replies have been written.
    pub(crate) fn written(&mut self) {
        self.hold = None;
    }

    /// The machine has refused a message by itself.
    pub(crate) fn refused_unasked(&self, reply: Reply, reverse_path: Option<&ReversePath>) {
        let begun = self.transaction.as_ref().map(|transaction| &transaction.from.reverse_path);
        self.refused(reply, reverse_path.or(begun), &reply.text());
    }

    /// Answers. May be dropped: the question then means 451.
    pub(crate) async fn answer(&mut self, question: Question<'_>, permit: &mut Permit) {
        match question {
            Question::Auth(auth) => Box::pin(self.auth(auth)).await,
            Question::Mail(mail) => self.mail(mail).await,
            Question::Rcpt(rcpt) => self.rcpt(rcpt).await,
            Question::Data(data) => Box::pin(self.data(data)).await,
            Question::Chunk(chunk) => self.chunk(chunk).await,
            Question::EndOfData(end) => Box::pin(self.end_of_data(end)).await,
            Question::Xclient(xclient) => Box::pin(self.xclient(xclient, permit)).await,
        }
    }

    /// Before replies are written: so many commands have failed. Their answers, and those to whom a rate has refused, may be held back.
    pub(crate) fn failed(&self, failures: u16, account: Option<&str>) -> Option<impl Future<Output = ()> + Send + use<'_>> {
        if failures == 0 {
            return self.rate_met.take().then(|| hold_back(&self.shared));
        }
        let reverse_path = self.transaction.as_ref().map(|transaction| &transaction.from.reverse_path);
        self.shared.rates.owe(Measure::FailedCommands, failures.into(), &self.sender(account, reverse_path), Limits::ALL, net::now());
        self.rate_met.set(false);
        Some(hold_back(&self.shared))
    }

    async fn mail(&mut self, question: Mail<'_>) {
        self.transaction = None;
        let (promise, freight) = match self.may_begin(&question) {
            Ok(begun) => begun,
            Err(reply) => return question.reject(reply),
        };
        let screened = match self.settings.screener.clone() {
            // Boxed: a session that is not screened has no room for it.
            Some(screener) => match Box::pin(self.desk().at_mail(screener, &question)).await {
                Ok(screened) => Some(Box::new(screened)),
                Err(reply) => return question.reject(reply),
            },
            None => None,
        };
        let mut transaction = Box::new(Transaction::new(question.accept(), promise, freight));
        transaction.screened = screened;
        self.transaction = Some(transaction);
    }

    /// The store, its pace, and then the sender's rates: what one of the first refuses has taken nothing.
    fn may_begin(&self, question: &Mail<'_>) -> Result<(Promise, Freight), Reply> {
        let (from, account, now) = (question.from(), question.session().identity(), net::now());
        let reverse_path = Some(&from.reverse_path);
        self.shared.store.ready().map_err(|error| self.store_failed("accept mail", &error, reverse_path))?;
        let promise = self.shared.delivery.promise(now).map_err(|late| {
            let reply = Reply::STORE_SLOW.signed(self.deny(late));
            self.refused(reply, reverse_path, &late);
            reply
        })?;
        let sender = self.sender(account, reverse_path);
        let freight = Freight::new(&self.shared.rates, &sender, from.size.unwrap_or_default(), now).map_err(|met| {
            let row = match met.limit.measure {
                Measure::Messages => Reply::MESSAGE_RATE,
                Measure::Recipients => Reply::RECIPIENT_RATE,
                Measure::Kib => Reply::OCTET_RATE,
                Measure::FailedCommands => Reply::FAILURE_RATE,
            };
            let reply = self.rate_met(row, &met, account, None);
            self.refused(reply, reverse_path, &met);
            reply
        })?;
        Ok((promise, freight))
    }

    async fn rcpt(&mut self, question: Rcpt<'_>) {
        let account = question.session().identity();
        let reverse_path = self.transaction.as_ref().map(|transaction| &transaction.from.reverse_path);
        if let Err(met) = self.shared.rates.take(Measure::Recipients, 1, &self.sender(account, reverse_path), net::now()) {
            let known = self.transaction.as_ref().and_then(|transaction| transaction.refused_by);
            let reply = self.rate_met(Reply::RECIPIENT_RATE, &met, account, known);
            if let (Some(transaction), Some(token)) = (&mut self.transaction, reply.token()) {
                transaction.refused_by = Some((met.limit, token));
            }
            return self.refuse_recipient(question, reply, &met);
        }
        match self.seat.during(Phase::Store, net::now, self.shared.store.resolve(question.forward_path())).await {
            Ok(Resolution::Accounts(accounts)) => {
                let recipient = question.accept();
                if let Some(transaction) = &mut self.transaction {
                    transaction.add(recipient, accounts);
                }
            }
            Ok(Resolution::UnknownUser) => self.refuse_recipient(question, Reply::MAILBOX_UNKNOWN, &"no such account or alias"),
            Ok(Resolution::Foreign) if self.may_relay(&question) => {
                self.refuse_recipient(question, Reply::FOREIGN_UNTIL_QUEUE, &"mail to other hosts is not sent from here yet");
            }
            Ok(Resolution::Foreign) => {
                self.refuse_recipient(
                    question,
                    Reply::RELAY_DENIED,
                    &"not a local domain, and the client is neither authenticated nor listed",
                );
            }
            Err(error) => {
                self.shared.events.emit(StoreFailed { operation: "resolve", cause: &error, now: net::now() });
                self.refuse_recipient(question, self.rescue(&error), &error);
            }
        }
    }

    /// Invariant 3: authentication, or a network the operator has written down.
    fn may_relay(&self, question: &Rcpt<'_>) -> bool {
        question.session().identity().is_some() || self.shared.may_relay(self.source)
    }

    async fn data(&mut self, question: Data<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        if let Err(late) = transaction.promise.begin(net::now()) {
            let (transaction, reply) = (self.transaction.take(), Reply::STORE_SLOW.signed(self.deny(late)));
            self.refused(reply, transaction.as_ref().map(|transaction| &transaction.from.reverse_path), &late);
            return question.reject(reply);
        }
        let id = MessageId::generate();
        let envelope = transaction.envelope(id);
        match self.seat.during(Phase::Store, net::now, self.shared.store.begin(envelope)).await {
            Ok(incoming) => {
                transaction.message = Some(Message { id, incoming, hops: Hops::new(self.settings.hops) });
                question.accept();
            }
            Err(error) => {
                let reply = self.transaction_failed("begin", &error);
                question.reject(reply);
            }
        }
    }

    async fn chunk(&mut self, question: Chunk<'_>) {
        let Some(transaction) = self.transaction.as_mut() else { return };
        let Some(message) = transaction.message.as_mut() else { return };
        let text = question.text();
        message.hops.watch(text);
        transaction.freight.octets += text.len() as u64;
        let kept = transaction.screened.as_mut().map_or(Cow::Borrowed(text), |screened| screened.pass(text));
        match self.seat.during(Phase::Store, net::now, message.incoming.write(&kept)).await {
            Ok(()) => question.taken(),
            Err(error) => {
                let reply = self.transaction_failed("write", &error);
                question.refuse(reply);
            }
        }
    }

    async fn end_of_data(&mut self, question: EndOfData<'_>) {
        let Some(transaction) = self.transaction.take() else { return };
        let Transaction { from, promise, freight, accounts, sole_recipient, message: Some(message), screened, .. } = *transaction else {
            return;
        };
        let (MailFrom { reverse_path, .. }, octets) = (from, freight.octets);
        let Message { id, mut incoming, hops } = message;
        if let Some(hops) = hops.too_many() {
            self.refused(Reply::TOO_MANY_HOPS, Some(&reverse_path), &format_args!("{hops} Received fields"));
            return question.reject(Reply::TOO_MANY_HOPS);
        }
        let results = match screened {
            Some(screened) => match self.desk().at_end(*screened, &question, &reverse_path, &mut *incoming).await {
                Judged::Deliver(results) => results,
                Judged::Refuse(reply) => return question.reject(reply),
                Judged::Failed(error) => {
                    let reply = self.store_failed("write", &error, Some(&reverse_path));
                    return question.reject(reply);
                }
                Judged::Discard => return question.discard(id),
            },
            None => Vec::new(),
        };
        let deadline = net::now() + self.shared.delivery.deadline();
        let Some(passage) = self.seat.during(Phase::Store, net::now, pin!(net::clock::within(deadline, promise.turn(net::now())))).await
        else {
            let reply = Reply::STORE_SLOW.signed(self.deny(self.shared.delivery.late(net::now())));
            self.refused(reply, Some(&reverse_path), &"the store has become too slow since the message began");
            return question.reject(reply);
        };
        let Some(hold) = self.shared.drain.hold() else {
            self.refused(Reply::RESTARTING, Some(&reverse_path), &"the server is leaving");
            return question.reject(Reply::RESTARTING);
        };
        self.hold = Some(hold);
        let trace = self.trace(&question, id, &reverse_path, &results, sole_recipient.as_ref());
        let begun = net::now();
        let outcome = self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await;
        let told = if outcome.is_ok() { Passage::stored } else { Passage::failed };
        told(passage, net::now());
        match outcome {
            Ok(receipt) => {
                let Shared { events, listener, .. } = &*self.shared;
                let (session, commit) = (self.session, net::now() - begun);
                let (reverse_path, recipients) = (&reverse_path, &accounts[..]);
                events.emit(MessageAccepted { listener, session, message: id, reverse_path, recipients, octets, commit });
                self.shared.gate.delivered(self.source);
                question.accept(receipt);
            }
            Err(error) => {
                let reply = self.store_failed("commit", &error, Some(&reverse_path));
                question.reject(reply);
            }
        }
    }

    fn desk(&self) -> Desk<'_> {
        Desk { shared: &self.shared, settings: &self.settings, seat: &self.seat, session: self.session, source: self.source }
    }

    fn trace(
        &self,
        question: &EndOfData<'_>,
        id: MessageId,
        reverse_path: &ReversePath,
        results: &[u8],
        sole_recipient: Option<&ForwardPath>,
    ) -> Vec<u8> {
        let session = question.session();
        let trace = Trace {
            reverse_path,
            results,
            helo: session.helo().unwrap_or_default(),
            peer: self.source,
            host: self.settings.smtp.host.as_str(),
            protocol: session.protocol(),
            tls: session.tls(),
            id,
            sole_recipient,
            at: Timestamp::now(),
        };
        trace.fields()
    }

    /// Whom the rates count for.
    fn sender<'s>(&self, account: Option<&'s str>, reverse_path: Option<&'s ReversePath>) -> Sender<'s> {
        let domain = reverse_path.and_then(|path| match path {
            ReversePath::Mailbox(mailbox) => match mailbox.host() {
                Host::Domain(domain) => Some(domain.as_str()),
                Host::Literal(_) => None,
            },
            ReversePath::Null => None,
        });
        Sender { source: self.source.into(), account, domain }
    }
}

/// The tarpit, where there is one and it has a place. Boxed: it is rare.
fn hold_back(shared: &Shared) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async {
        let Some((_place, time)) = shared.rates.hold_back() else { return };
        // The drain does not wait for it.
        let _left = net::clock::within(net::now() + time, shared.drain.wait()).await;
    })
}
