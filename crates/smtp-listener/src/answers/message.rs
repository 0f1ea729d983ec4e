//! The answers to a message: where it begins, as it comes, and when it has come.
//!
//! What has come is judged, waits for its turn at the store, and is committed behind the fields we put before it; the 250 has the receipt
//! (invariant 1). On every other path the reply says why not, and the store forgets what it has. May be dropped at any time, as
//! [`Answers::answer`] may.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use events::{About, ListCopyLeftOut, MessageAccepted};
use gate::delivery::{Passage, Promise};
use gate::{Denial, Phase};
use jiff::Timestamp;
use mail::{ForwardPath, MessageId, Receipt, ReversePath};
use smtp::{Chunk, Data, EndOfData, MailFrom, Reply};
use store::{Hold, Incoming, Load};

use super::{Answers, recipients};
use crate::Shared;
use crate::hops::Hops;
use crate::report::Report;
use crate::screening::{Arrived, Judged, Screened};
use crate::submission;
use crate::trace::Trace;
use crate::transaction::{Limited, Message, Transaction};

impl Answers {
    pub(super) async fn data(&mut self, question: Data<'_>) {
        let Some(transaction) = &mut self.transaction else { return };
        if let Err(late) = transaction.promise.begin(net::now()) {
            let (transaction, reply) = (self.transaction.take(), Reply::STORE_SLOW.signed(self.deny(late)));
            let about = transaction.as_deref().map(Transaction::about).unwrap_or_default();
            self.refused(reply, About { helo: question.session().helo(), ..about }, &late);
            return question.reject(reply);
        }
        let id = MessageId::generate();
        let envelope = transaction.envelope(id);
        match self.seat.during(Phase::Store, net::now, self.shared.store.begin(envelope)).await {
            Ok(incoming) => {
                let (conversion, header) = (transaction.from.binary.then(Box::default), transaction.is_reported().then(Box::default));
                let (draft, hops) = (self.draft(question.session()), Hops::new(self.settings.hops));
                if let Some(transaction) = &mut self.transaction {
                    transaction.message = Some(Message { id, incoming, conversion, hops, header, draft });
                }
                question.accept();
            }
            Err(error) => {
                let reply = self.transaction_failed("begin", &error, question.session().helo());
                question.reject(reply);
            }
        }
    }

    pub(super) async fn chunk(&mut self, question: Chunk<'_>) {
        let Some(transaction) = self.transaction.as_mut().filter(|transaction| transaction.message.is_some()) else { return };
        let text = question.text();
        transaction.freight.octets += text.len() as u64;
        // Boxed, as what comes behind it: it is rare.
        let kept = if transaction.from.binary { Box::pin(self.convert(text)).await } else { self.keep(text).await };
        match kept {
            Ok(()) => question.taken(),
            Err(error) => {
                let reply = self.transaction_failed("write", &error, question.session().helo());
                question.refuse(reply);
            }
        }
    }

    /// Takes a piece of the message that is made of lines, and gives the store what is to be kept of it.
    pub(super) async fn keep(&mut self, text: &[u8]) -> Result<(), store::Error> {
        let Some(transaction) = self.transaction.as_mut() else { return Ok(()) };
        let Some(message) = transaction.message.as_mut() else { return Ok(()) };
        message.hops.watch(text);
        let drafted = message.draft.as_mut().map_or(Cow::Borrowed(text), |draft| draft.pass(text));
        if let Some(header) = &mut message.header {
            header.watch(&drafted);
        }
        let kept = transaction.screened.as_mut().map_or(Cow::Borrowed(&*drafted), |screened| screened.pass(&drafted));
        self.seat.during(Phase::Store, net::now, message.incoming.write(&kept)).await
    }

    pub(super) async fn end_of_data(&mut self, question: EndOfData<'_>) {
        if self.transaction.as_ref().is_some_and(|transaction| transaction.from.binary)
            && let Err(reply) = Box::pin(self.end_conversion(question.session().helo())).await
        {
            return question.reject(reply);
        }
        let Some(mut transaction) = self.transaction.take() else { return };
        let Some(mut message) = transaction.message.take() else { return };
        let (id, screened) = (message.id, transaction.screened.take());
        let Transaction { from, promise, freight, accounts, limited, left_out, several, sole_recipient, by, deliver_by, .. } = *transaction;
        let release = from.release.map(|release| (release, submission::hold(release, SystemTime::now())));
        release.iter().for_each(|(_, hold)| message.incoming.hold(hold.clone()));
        let (helo, account) = (question.session().helo(), question.session().identity());
        let (reverse_path, octets, priority) = (&from.reverse_path, freight.octets, priority(&from));
        let known = Known { id, helo, reverse_path, accounts: &accounts, account, octets, priority };
        let fields = match self.judge(&question, known, &mut message, screened).await {
            Ok(fields) => fields,
            Err(Unwanted::Refused(reply, None)) => return question.reject(reply),
            Err(Unwanted::Refused(reply, Some(said))) => return question.reject_saying(reply, &said),
            Err(Unwanted::Discarded) => return question.discard(id),
        };
        let Message { incoming, header, .. } = message;
        let deadline = net::now() + self.shared.delivery.deadline();
        let passage = match self.turn(promise, deadline, known.about()).await {
            Ok(passage) => passage,
            Err(reply) => return question.reject(reply),
        };
        if let Some(reply) = self.too_late(by, known.about()) {
            return question.reject(reply);
        }
        let trace = self.trace(&question, id, &from, &fields, sole_recipient.as_ref());
        let (receipt, stored) = match self.commit(incoming, trace, known).await {
            Ok(receipt) => (receipt, net::now()),
            Err(reply) => {
                passage.failed(net::now());
                return question.reject(reply);
            }
        };
        let MailFrom { reverse_path, requests, utf8, .. } = &from;
        if let (Some(requests), Some(header)) = (requests, &header) {
            let smtp = Arc::clone(&self.settings.smtp);
            let (host, utf8, at) = (smtp.host.as_str(), *utf8, Timestamp::now());
            let report = Report { host, reverse_path, requests, several: &several, utf8, message: id, header, at, release, deliver_by };
            Box::pin(self.report_by(deadline, report, question.session().identity())).await;
        }
        // The report was committed in the message's turn; the store's pace is that of messages.
        passage.stored(stored);
        question.accept(receipt);
        for full in left_out.values().filter(|full| accounts.binary_search(&full.account).is_err()) {
            self.left_out(id, full);
        }
        if !limited.is_empty() {
            Box::pin(recipients::warn(&self.shared, &self.seat, self.settings.quota_warning_percent, &limited)).await;
        }
    }

    /// What is thought of a message that has come. The fields that go before it, each line ended by CRLF.
    async fn judge(
        &mut self,
        question: &EndOfData<'_>,
        known: Known<'_>,
        message: &mut Message,
        mut screened: Option<Box<Screened>>,
    ) -> Result<Vec<u8>, Unwanted> {
        let (id, incoming) = (message.id, &mut *message.incoming);
        let about = known.about();
        if let Some(hops) = message.hops.too_many() {
            self.refused(Reply::TOO_MANY_HOPS, about, &format_args!("{hops} Received fields"));
            return Err(Unwanted::Refused(Reply::TOO_MANY_HOPS, None));
        }
        let draft = (message.draft.take(), screened.as_deref_mut());
        let missing = self.finish_draft(question, draft, (id, about), &mut *incoming).await;
        let missing = missing.map_err(|reply| Unwanted::Refused(reply, None))?;
        let Some(screened) = screened else { return Ok(missing) };
        let arrived = Arrived { id, accounts: known.accounts, incoming, octets: known.octets };
        match self.desk().at_end(*screened, question, known.reverse_path, arrived).await {
            Judged::Deliver(mut fields) => {
                fields.extend(missing);
                Ok(fields)
            }
            Judged::Hold(mut fields, reason) => {
                // Until somebody decides, whatever its sender wants.
                message.incoming.hold(Hold { reason, until: None });
                fields.extend(missing);
                Ok(fields)
            }
            Judged::Refuse(reply, said) => Err(Unwanted::Refused(reply, said)),
            Judged::Failed(error) => Err(Unwanted::Refused(self.store_failed("write", &error, about), None)),
            Judged::Discard => Err(Unwanted::Discarded),
        }
    }

    /// The message's turn at the store, which the drain waits for from here on.
    ///
    /// # Errors
    /// The reply, where its turn does not come in time or the server is leaving.
    async fn turn(&mut self, promise: Promise, deadline: Instant, about: About<'_>) -> Result<Passage, Reply> {
        let turn = pin!(net::clock::within(deadline, promise.turn(net::now())));
        let Some(passage) = self.seat.during(Phase::Store, net::now, turn).await else {
            let reply = Reply::STORE_SLOW.signed(self.deny(self.shared.delivery.late(net::now())));
            self.refused(reply, about, &"the store has become too slow since the message began");
            return Err(reply);
        };
        let Some(hold) = self.shared.drain.hold() else {
            let reply = Reply::RESTARTING.signed(self.deny(Denial::Restarting));
            self.refused(reply, about, &"the server is leaving");
            return Err(reply);
        };
        self.hold = Some(hold);
        Ok(passage)
    }

    /// Why a message is not stored that was to be returned unless it is there in time (RFC 2852 §4).
    fn too_late(&self, by: Option<Instant>, about: About<'_>) -> Option<Reply> {
        by.filter(|by| *by <= net::now())?;
        self.refused(Reply::DELIVER_BY_PASSED, about, &"the time in BY= has passed");
        Some(Reply::DELIVER_BY_PASSED)
    }

    /// Puts the message on stable storage, and tells of it.
    ///
    /// # Errors
    /// The reply that says why it is not there.
    async fn commit(&mut self, incoming: Box<dyn Incoming>, trace: Vec<u8>, known: Known<'_>) -> Result<Receipt, Reply> {
        let begun = net::now();
        let outcome = self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await;
        let ended = net::now();
        let receipt = outcome.map_err(|error| self.store_failed("commit", &error, known.about()))?;
        let Known { id: message, reverse_path, accounts: recipients, account, octets, priority, .. } = known;
        let Shared { events, listener, .. } = &*self.shared;
        let (session, source, commit) = (self.session, self.source, ended - begun);
        events.emit(MessageAccepted { listener, session, source, account, message, reverse_path, recipients, octets, priority, commit });
        self.shared.gate.delivered(self.source, ended);
        Ok(receipt)
    }

    /// A member of a list does not have the message.
    fn left_out(&self, message: MessageId, full: &Limited) {
        let Limited { account, allowance, before: Load { octets, messages } } = full;
        let (listener, session, quota) = (&self.shared.listener, self.session, allowance);
        let (octets, messages) = (*octets, *messages);
        self.shared.events.emit(ListCopyLeftOut { listener, session, message, account, octets, messages, quota });
    }

    fn trace(
        &self,
        question: &EndOfData<'_>,
        id: MessageId,
        from: &MailFrom,
        fields: &[u8],
        sole_recipient: Option<&ForwardPath>,
    ) -> Vec<u8> {
        let session = question.session();
        let trace = Trace {
            reverse_path: &from.reverse_path,
            fields,
            helo: session.helo().unwrap_or_default(),
            peer: self.shows_client(session).then_some(self.source),
            host: self.settings.smtp.host.as_str(),
            protocol: session.protocol(),
            tls: session.tls(),
            id,
            sole_recipient,
            priority: priority(from),
            at: Timestamp::now(),
        };
        trace.fields()
    }
}

/// Why a message that has come is not stored.
enum Unwanted {
    /// Its sender is told so, with this in the reply's blank where it has one.
    Refused(Reply, Option<String>),
    /// Its sender is told that it was.
    Discarded,
}

/// What MT-PRIORITY said.
fn priority(from: &MailFrom) -> Option<i8> {
    from.requests.as_ref().and_then(|requests| requests.priority)
}

/// What the operator is told of a message that has come.
#[derive(Clone, Copy)]
struct Known<'a> {
    id: MessageId,
    helo: Option<&'a str>,
    reverse_path: &'a ReversePath,
    accounts: &'a [Arc<str>],
    /// Who has authenticated.
    account: Option<&'a str>,
    octets: u64,
    priority: Option<i8>,
}

impl<'a> Known<'a> {
    fn about(&self) -> About<'a> {
        About { message: Some(self.id), helo: self.helo, reverse_path: Some(self.reverse_path), recipients: self.accounts }
    }
}
