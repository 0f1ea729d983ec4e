//! The answers to a message: where it begins, as it comes, and when it has come.
//!
//! What has come is judged, waits for its turn at the store, and is committed behind the fields we put before it; the 250 has the receipt
//! (invariant 1). On every other path the reply says why not, and the store forgets what it has. May be dropped at any time, as
//! [`Answers::answer`] may.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use events::MessageAccepted;
use gate::delivery::{Passage, Promise};
use gate::{Denial, Phase};
use jiff::Timestamp;
use mail::{ForwardPath, MessageId, Receipt, ReversePath};
use smtp::{Chunk, Data, EndOfData, MailFrom, Reply};
use store::{Hold, Incoming};

use super::{Answers, recipients};
use crate::Shared;
use crate::hops::Hops;
use crate::report::Report;
use crate::screening::{Arrived, Judged, Screened};
use crate::submission;
use crate::trace::Trace;
use crate::transaction::{Message, Transaction};

impl Answers {
    pub(super) async fn data(&mut self, question: Data<'_>) {
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

    pub(super) async fn chunk(&mut self, question: Chunk<'_>) {
        let Some(transaction) = self.transaction.as_mut() else { return };
        let Some(message) = transaction.message.as_mut() else { return };
        let text = question.text();
        message.hops.watch(text);
        transaction.freight.octets += text.len() as u64;
        let drafted = message.draft.as_mut().map_or(Cow::Borrowed(text), |draft| draft.pass(text));
        if let Some(header) = &mut message.header {
            header.watch(&drafted);
        }
        let kept = transaction.screened.as_mut().map_or(Cow::Borrowed(&*drafted), |screened| screened.pass(&drafted));
        match self.seat.during(Phase::Store, net::now, message.incoming.write(&kept)).await {
            Ok(()) => question.taken(),
            Err(error) => {
                let reply = self.transaction_failed("write", &error);
                question.refuse(reply);
            }
        }
    }

    pub(super) async fn end_of_data(&mut self, question: EndOfData<'_>) {
        let Some(mut transaction) = self.transaction.take() else { return };
        let Some(mut message) = transaction.message.take() else { return };
        let (id, screened) = (message.id, transaction.screened.take());
        let release = transaction.from.release.map(|release| submission::hold(release, SystemTime::now()));
        release.iter().cloned().for_each(|hold| message.incoming.hold(hold));
        let fields = match self.judge(&question, &transaction.from.reverse_path, &transaction.accounts, &mut message, screened).await {
            Ok(fields) => fields,
            Err(Unwanted::Refused(reply, None)) => return question.reject(reply),
            Err(Unwanted::Refused(reply, Some(said))) => return question.reject_saying(reply, &said),
            Err(Unwanted::Discarded) => return question.discard(id),
        };
        let Transaction { from, promise, freight, accounts, limited, sole_recipient, by, .. } = *transaction;
        let Message { incoming, header, .. } = message;
        let deadline = net::now() + self.shared.delivery.deadline();
        let passage = match self.turn(promise, deadline, &from.reverse_path).await {
            Ok(passage) => passage,
            Err(reply) => return question.reject(reply),
        };
        if let Some(reply) = self.too_late(by, &from.reverse_path) {
            return question.reject(reply);
        }
        let trace = self.trace(&question, id, &from, &fields, sole_recipient.as_ref());
        let accepted = Accepted { id, reverse_path: &from.reverse_path, accounts: &accounts, octets: freight.octets };
        let (receipt, stored) = match self.commit(incoming, trace, accepted).await {
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
            let report = Report { host, reverse_path, requests, utf8, message: id, header, at, hold: release };
            Box::pin(self.report_by(deadline, report, question.session().identity())).await;
        }
        // The report was committed in the message's turn; the store's pace is that of messages.
        passage.stored(stored);
        question.accept(receipt);
        if !limited.is_empty() {
            Box::pin(recipients::warn(&self.shared, &self.seat, self.settings.quota_warning_percent, &limited)).await;
        }
    }

    /// What is thought of a message that has come. The fields that go before it, each line ended by CRLF.
    async fn judge(
        &mut self,
        question: &EndOfData<'_>,
        reverse_path: &ReversePath,
        accounts: &[Arc<str>],
        message: &mut Message,
        mut screened: Option<Box<Screened>>,
    ) -> Result<Vec<u8>, Unwanted> {
        let (id, incoming) = (message.id, &mut *message.incoming);
        if let Some(hops) = message.hops.too_many() {
            self.refused(Reply::TOO_MANY_HOPS, Some(reverse_path), &format_args!("{hops} Received fields"));
            return Err(Unwanted::Refused(Reply::TOO_MANY_HOPS, None));
        }
        let draft = (message.draft.take(), screened.as_deref_mut());
        let missing = self.finish_draft(question, draft, (id, reverse_path), &mut *incoming).await;
        let missing = missing.map_err(|reply| Unwanted::Refused(reply, None))?;
        let Some(screened) = screened else { return Ok(missing) };
        let arrived = Arrived { id, accounts, incoming };
        match self.desk().at_end(*screened, question, reverse_path, arrived).await {
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
            Judged::Failed(error) => Err(Unwanted::Refused(self.store_failed("write", &error, Some(reverse_path)), None)),
            Judged::Discard => Err(Unwanted::Discarded),
        }
    }

    /// The message's turn at the store, which the drain waits for from here on.
    ///
    /// # Errors
    /// The reply, where its turn does not come in time or the server is leaving.
    async fn turn(&mut self, promise: Promise, deadline: Instant, reverse_path: &ReversePath) -> Result<Passage, Reply> {
        let turn = pin!(net::clock::within(deadline, promise.turn(net::now())));
        let Some(passage) = self.seat.during(Phase::Store, net::now, turn).await else {
            let reply = Reply::STORE_SLOW.signed(self.deny(self.shared.delivery.late(net::now())));
            self.refused(reply, Some(reverse_path), &"the store has become too slow since the message began");
            return Err(reply);
        };
        let Some(hold) = self.shared.drain.hold() else {
            let reply = Reply::RESTARTING.signed(self.deny(Denial::Restarting));
            self.refused(reply, Some(reverse_path), &"the server is leaving");
            return Err(reply);
        };
        self.hold = Some(hold);
        Ok(passage)
    }

    /// Why a message is not stored that was to be returned unless it is there in time (RFC 2852 §4).
    fn too_late(&self, by: Option<Instant>, reverse_path: &ReversePath) -> Option<Reply> {
        by.filter(|by| *by <= net::now())?;
        self.refused(Reply::DELIVER_BY_PASSED, Some(reverse_path), &"the time in BY= has passed");
        Some(Reply::DELIVER_BY_PASSED)
    }

    /// Puts the message on stable storage, and tells of it.
    ///
    /// # Errors
    /// The reply that says why it is not there.
    async fn commit(&mut self, incoming: Box<dyn Incoming>, trace: Vec<u8>, accepted: Accepted<'_>) -> Result<Receipt, Reply> {
        let begun = net::now();
        let outcome = self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await;
        let ended = net::now();
        let Accepted { id: message, reverse_path, accounts: recipients, octets } = accepted;
        let receipt = outcome.map_err(|error| self.store_failed("commit", &error, Some(reverse_path)))?;
        let Shared { events, listener, .. } = &*self.shared;
        let (session, commit) = (self.session, ended - begun);
        events.emit(MessageAccepted { listener, session, message, reverse_path, recipients, octets, commit });
        self.shared.gate.delivered(self.source, ended);
        Ok(receipt)
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
            priority: from.requests.as_ref().and_then(|requests| requests.priority),
            at: Timestamp::now(),
        };
        trace.fields()
    }
}

/// Why a message that has come is not stored.
enum Unwanted {
    /// Its sender is told so, in these words where a milter has some.
    Refused(Reply, Option<String>),
    /// Its sender is told that it was.
    Discarded,
}

/// What is told of a message that was stored.
struct Accepted<'a> {
    id: MessageId,
    reverse_path: &'a ReversePath,
    accounts: &'a [Arc<str>],
    octets: u64,
}
