//! What the listener answers when the session asks: gate, directory, passwords and store on one side, replies on the other.
//!
//! Every question is answered on every path; where something of ours fails the reply is temporary, and the cause goes to the
//! log. A question dropped with its future means 451, so all of this may be dropped at any time: what was begun is undone, but for
//! a commit under way, whose outcome is open then, and which the drain waits for.

mod authenticating;
mod recipients;
mod refusing;
mod reporting;
mod submitting;
mod xclient;

pub(crate) use recipients::NearlyFull;

use std::borrow::Cow;
use std::cell::Cell;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::SystemTime;

use ::screening::Manners;
use auth::Exchange;
use events::{MessageAccepted, SessionId};
use gate::delivery::{Passage, Promise};
use gate::rates::{Limits, Measure, Sender};
use gate::{Denial, Permit, Phase, Seat};
use jiff::Timestamp;
use mail::{ForwardPath, Host, MessageId, ReversePath};
use net::{Connection, Hold};
use smtp::{Chunk, Data, EndOfData, Mail, MailFrom, Mechanism, Question, Reply};

use crate::freight::Freight;
use crate::hops::Hops;
use crate::report::Report;
use crate::screening::{Arrived, Desk, Judged};
use crate::submission;
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
    /// Its own, until a proxy speaks for another.
    manners: Manners,
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
    pub(crate) fn new(
        shared: Arc<Shared>,
        settings: Arc<Settings>,
        seat: Arc<Seat>,
        session: SessionId,
        source: IpAddr,
        manners: Manners,
    ) -> Self {
        let (rate_met, hold) = (Cell::new(false), None);
        Self { shared, settings, seat, session, source, manners, transaction: None, exchange: None, bond: None, rate_met, hold }
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
        if account.is_none() {
            self.shared.failed(self.source, failures);
        }
        Some(hold_back(&self.shared))
    }

    async fn mail(&mut self, question: Mail<'_>) {
        self.transaction = None;
        let (promise, freight) = match self.may_begin(&question) {
            Ok(begun) => begun,
            Err(reply) => return question.reject(reply),
        };
        // Boxed, as what follows: a session that is not asked has no room for it.
        if question.session().identity().is_some()
            && let Err(reply) = Box::pin(self.own_sender(&question)).await
        {
            return question.reject(reply);
        }
        let screened = match self.settings.screener.clone() {
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
        if !self.shared.may_deliver(self.source) {
            self.refused(Reply::LMTP_DENIED, reverse_path, &"not in relay.lmtp_networks");
            return Err(Reply::LMTP_DENIED);
        }
        self.shared.store.ready().map_err(|error| self.store_failed("accept mail", &error, reverse_path))?;
        let promise = self.shared.delivery.promise(now).map_err(|late| {
            let reply = Reply::STORE_SLOW.signed(self.deny(late));
            self.refused(reply, reverse_path, &late);
            reply
        })?;
        let sender = self.sender(account, reverse_path);
        let freight = Freight::new(&self.shared.rates, &sender, from.size.map_or(0, NonZeroU64::get), now).map_err(|met| {
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
                let (header, draft) = (transaction.is_reported().then(Box::default), self.draft(question.session()));
                if let Some(transaction) = &mut self.transaction {
                    transaction.message = Some(Message { id, incoming, hops: Hops::new(self.settings.hops), header, draft });
                }
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
        if let Some(header) = &mut message.header {
            header.watch(text);
        }
        transaction.freight.octets += text.len() as u64;
        let drafted = message.draft.as_mut().map_or(Cow::Borrowed(text), |draft| draft.pass(text));
        let kept = transaction.screened.as_mut().map_or(Cow::Borrowed(&*drafted), |screened| screened.pass(&drafted));
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
        let Transaction { from, promise, freight, accounts, limited, sole_recipient, message: Some(message), mut screened, .. } =
            *transaction
        else {
            return;
        };
        let (MailFrom { reverse_path, requests, utf8, release, .. }, octets) = (from, freight.octets);
        let Message { id, mut incoming, hops, header, draft } = message;
        if let Some(hops) = hops.too_many() {
            self.refused(Reply::TOO_MANY_HOPS, Some(&reverse_path), &format_args!("{hops} Received fields"));
            return question.reject(Reply::TOO_MANY_HOPS);
        }
        let draft = (draft, screened.as_deref_mut());
        let missing = match self.finish_draft(&question, draft, (id, &reverse_path), &mut *incoming).await {
            Ok(missing) => missing,
            Err(reply) => return question.reject(reply),
        };
        let release = release.map(|release| submission::hold(release, SystemTime::now()));
        if let Some(hold) = release.clone() {
            incoming.hold(hold);
        }
        let mut fields = match screened {
            Some(screened) => {
                let arrived = Arrived { id, accounts: &accounts, incoming: &mut *incoming };
                match self.desk().at_end(*screened, &question, &reverse_path, arrived).await {
                    Judged::Deliver(results) => results,
                    Judged::Hold(results, reason) => {
                        // Until somebody decides, whatever its sender wants.
                        incoming.hold(store::Hold { reason, until: None });
                        results
                    }
                    Judged::Refuse(reply, None) => return question.reject(reply),
                    Judged::Refuse(reply, Some(said)) => return question.reject_saying(reply, &said),
                    Judged::Failed(error) => {
                        let reply = self.store_failed("write", &error, Some(&reverse_path));
                        return question.reject(reply);
                    }
                    Judged::Discard => return question.discard(id),
                }
            }
            None => Vec::new(),
        };
        fields.extend(missing);
        let deadline = net::now() + self.shared.delivery.deadline();
        let Some(passage) = self.seat.during(Phase::Store, net::now, pin!(net::clock::within(deadline, promise.turn(net::now())))).await
        else {
            let reply = Reply::STORE_SLOW.signed(self.deny(self.shared.delivery.late(net::now())));
            self.refused(reply, Some(&reverse_path), &"the store has become too slow since the message began");
            return question.reject(reply);
        };
        let Some(hold) = self.shared.drain.hold() else {
            let reply = Reply::RESTARTING.signed(self.deny(Denial::Restarting));
            self.refused(reply, Some(&reverse_path), &"the server is leaving");
            return question.reject(reply);
        };
        self.hold = Some(hold);
        let priority = requests.as_ref().and_then(|requests| requests.priority);
        let trace = self.trace(&question, id, &reverse_path, &fields, sole_recipient.as_ref(), priority);
        let begun = net::now();
        let outcome = self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await;
        let told = if outcome.is_ok() { Passage::stored } else { Passage::failed };
        let ended = net::now();
        told(passage, ended);
        match outcome {
            Ok(receipt) => {
                let Shared { events, listener, .. } = &*self.shared;
                let (session, commit) = (self.session, ended - begun);
                let (reverse_path, recipients) = (&reverse_path, &accounts[..]);
                events.emit(MessageAccepted { listener, session, message: id, reverse_path, recipients, octets, commit });
                self.shared.gate.delivered(self.source, ended);
                if let (Some(requests), Some(header)) = (&requests, &header) {
                    let smtp = Arc::clone(&self.settings.smtp);
                    let host = smtp.host.as_str();
                    let report = Report { host, reverse_path, requests, utf8, message: id, header, at: Timestamp::now(), hold: release };
                    Box::pin(self.report(report, question.session().identity())).await;
                }
                question.accept(receipt);
                if !limited.is_empty() {
                    Box::pin(recipients::warn(&self.shared, self.settings.quota_warning_percent, &limited)).await;
                }
            }
            Err(error) => {
                let reply = self.store_failed("commit", &error, Some(&reverse_path));
                question.reject(reply);
            }
        }
    }

    fn desk(&self) -> Desk<'_> {
        let Self { shared, settings, seat, session, source, manners, .. } = self;
        Desk { shared, settings, seat, session: *session, source: *source, manners: *manners }
    }

    fn trace(
        &self,
        question: &EndOfData<'_>,
        id: MessageId,
        reverse_path: &ReversePath,
        fields: &[u8],
        sole_recipient: Option<&ForwardPath>,
        priority: Option<i8>,
    ) -> Vec<u8> {
        let session = question.session();
        let trace = Trace {
            reverse_path,
            fields,
            helo: session.helo().unwrap_or_default(),
            peer: self.shows_client(session).then_some(self.source),
            host: self.settings.smtp.host.as_str(),
            protocol: session.protocol(),
            tls: session.tls(),
            id,
            sole_recipient,
            priority,
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
