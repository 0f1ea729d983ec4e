//! What the listener answers when the session asks: gate, directory, passwords and store on one side, replies on the other.
//!
//! Every question is answered on every path; where something of ours fails the reply is temporary, and the cause goes to the
//! log. A question dropped with its future means 451, so all of this may be dropped at any time: what was begun is undone, but for
//! a commit under way, whose outcome is open then, and which the drain waits for.

mod authenticating;
mod binary;
mod message;
mod recipients;
mod refusing;
mod reporting;
mod submitting;
mod xclient;

pub(crate) use recipients::NearlyFull;

use std::cell::Cell;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;

use ::screening::Manners;
use auth::Exchange;
use events::{About, SessionId};
use gate::delivery::Promise;
use gate::rates::{Limits, Measure, Sender};
use gate::{Permit, Seat};
use mail::{Host, ReversePath};
use net::{Connection, Hold};
use smtp::{Mail, Mechanism, Question, Reply};

use crate::freight::Freight;
use crate::screening::Desk;
use crate::transaction::Transaction;
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
    pub(crate) fn refused_unasked(&self, reply: Reply, helo: Option<&str>, reverse_path: Option<&ReversePath>) {
        let begun = self.transaction.as_deref().map(Transaction::about).unwrap_or_default();
        let about = match reverse_path {
            Some(_) => About { reverse_path, ..About::default() },
            None => begun,
        };
        self.refused(reply, About { helo, ..about }, &reply.text());
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
                Err((reply, None)) => return question.reject(reply),
                Err((reply, Some(said))) => return question.reject_saying(reply, &said),
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
        let about = About { helo: question.session().helo(), reverse_path, ..About::default() };
        if !self.shared.may_deliver(self.source) {
            self.refused(Reply::LMTP_DENIED, about, &"not in relay.lmtp_networks");
            return Err(Reply::LMTP_DENIED);
        }
        self.shared.store.ready().map_err(|error| self.store_failed("accept mail", &error, about))?;
        let promise = self.shared.delivery.promise(now).map_err(|late| {
            let reply = Reply::STORE_SLOW.signed(self.deny(late));
            self.refused(reply, about, &late);
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
            self.refused(reply, about, &met);
            reply
        })?;
        Ok((promise, freight))
    }

    fn desk(&self) -> Desk<'_> {
        let Self { shared, settings, seat, session, source, manners, .. } = self;
        Desk { shared, settings, seat, session: *session, source: *source, manners: *manners }
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
        let source = (!self.shared.gate.is_exempt(self.source)).then(|| self.source.into());
        Sender { source, account, domain }
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
