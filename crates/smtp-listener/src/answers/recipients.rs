//! RCPT: whom mail is taken for, as [judged](crate::judgement) (RFC 5321 §4.1.1.3).
//!
//! An account that gets the message already is not asked about again, however many recipients come to it, and beyond so many accounts the
//! client is told to send the rest in another transaction: memory is bounded whatever is asked.
//!
//! Fails as the store does: with a temporary reply. May be dropped at any time.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use events::{MaildropNearlyFull, StoreFailed};
use gate::rates::Measure;
use gate::{Phase, Seat};
use mail::ForwardPath;
use smtp::limits::RECIPIENT_ACCOUNTS;
use smtp::{Rcpt, Reply};
use store::{Error, Load, Resolution};

use super::Answers;
use crate::Shared;
use crate::explaining::Steps;
use crate::judgement::{Judge, Judgement, Rest, Taken, is_postmaster_here};
use crate::transaction::Limited;

impl Answers {
    pub(super) async fn rcpt(&mut self, question: Rcpt<'_>) {
        let Some(question) = self.within_rate(question) else { return };
        let mut found = self.seat.during(Phase::Store, net::now, self.shared.store.resolve(question.forward_path())).await;
        if matches!(found, Ok(Resolution::Foreign)) && is_postmaster_here(question.forward_path(), &self.settings.smtp.host) {
            found = self.seat.during(Phase::Store, net::now, self.shared.store.resolve(&ForwardPath::Postmaster)).await;
        }
        let rest = match self.judge_of(&question).at_once(found, || self.may_relay(&question)) {
            Ok(judgement) => return self.conclude(question, judgement),
            Err(rest) => rest,
        };
        // Boxed: a session has no room for what is rare.
        Box::pin(self.go_on(question, rest)).await;
    }

    async fn go_on(&mut self, question: Rcpt<'_>, rest: Rest) {
        let judgement = {
            let (judge, mut untold) = (self.judge_of(&question), Steps::untold());
            let judging = pin!(judge.go_on(question.forward_path(), rest, &mut untold));
            self.seat.during(Phase::Store, net::now, judging).await
        };
        self.conclude(question, judgement);
    }

    fn judge_of<'a>(&'a self, question: &'a Rcpt<'_>) -> Judge<'a> {
        let size = self.transaction.as_ref().and_then(|transaction| transaction.from.size);
        Judge {
            directory: &*self.shared.store,
            lookup: self.settings.lookup.as_deref(),
            account: question.session().identity(),
            octets: size.map_or(0, NonZeroU64::get),
            known: self.transaction.as_ref().map(|transaction| &*transaction.accounts).unwrap_or_default(),
        }
    }

    /// The question, unless its sender has asked too many.
    fn within_rate<'q>(&mut self, question: Rcpt<'q>) -> Option<Rcpt<'q>> {
        let account = question.session().identity();
        let reverse_path = self.transaction.as_ref().map(|transaction| &transaction.from.reverse_path);
        let Err(met) = self.shared.rates.take(Measure::Recipients, 1, &self.sender(account, reverse_path), net::now()) else {
            return Some(question);
        };
        let known = self.transaction.as_ref().and_then(|transaction| transaction.refused_by);
        let reply = self.rate_met(Reply::RECIPIENT_RATE, &met, account, known);
        if let (Some(transaction), Some(token)) = (&mut self.transaction, reply.token()) {
            transaction.refused_by = Some((met.limit, token));
        }
        self.refuse_recipient(question, reply, &met);
        None
    }

    fn conclude(&mut self, question: Rcpt<'_>, judgement: Judgement) {
        match judgement {
            Judgement::Taken(taken) if !self.has_room(&taken) => {
                let more = taken.accounts.len() + taken.left_out.len();
                let cause = format_args!("the recipients come to too many accounts, this one to {more}");
                self.refuse_recipient(question, Reply::TOO_MANY_RECIPIENTS, &cause);
            }
            Judgement::Taken(taken) => self.take(question, taken),
            Judgement::Refused(reply, cause) => self.refuse_recipient(question, reply, &cause),
            Judgement::Failed(error) => self.resolve_failed(question, &error),
        }
    }

    /// Invariant 3: authentication, or a network the operator has written down.
    fn may_relay(&self, question: &Rcpt<'_>) -> bool {
        question.session().identity().is_some() || self.shared.may_relay(self.source)
    }

    /// Whether the message may go to these, too (invariant 6).
    fn has_room(&self, taken: &Taken) -> bool {
        let most = usize::try_from(self.settings.smtp.recipients).unwrap_or(usize::MAX).max(RECIPIENT_ACCOUNTS);
        self.transaction.as_ref().is_none_or(|transaction| transaction.has_room(taken, most))
    }

    fn take(&mut self, mut question: Rcpt<'_>, taken: Taken) {
        for Limited { account, allowance, before } in &taken.limited {
            if !allowance.is_used_to(self.settings.quota_warning_percent, *before) {
                self.shared.nearly_full.is_not(account);
            }
        }
        let (requests, recipient) = (question.take_requests(), question.accept());
        if let Some(transaction) = &mut self.transaction {
            transaction.note(requests, taken.several);
            transaction.add(recipient, taken);
        }
    }

    fn resolve_failed(&self, question: Rcpt<'_>, error: &Error) {
        self.shared.events.emit(StoreFailed { operation: "resolve", cause: error, now: net::now() });
        self.refuse_recipient(question, self.rescue(error), error);
    }
}

/// Tells of those who are nearly full by the message that was just delivered.
pub(super) async fn warn(shared: &Shared, seat: &Seat, percent: u8, limited: &[Limited]) {
    for Limited { account, allowance, before } in limited {
        if allowance.is_used_to(percent, *before) {
            continue;
        }
        let Ok(load) = seat.during(Phase::Store, net::now, shared.store.load(account)).await else { continue };
        if allowance.is_used_to(percent, load) && shared.nearly_full.is(account) {
            let (listener, Load { octets, messages }, quota) = (&shared.listener, load, allowance);
            shared.events.emit(MaildropNearlyFull { listener, account, octets, messages, quota });
        }
    }
}

/// The accounts that were told of as nearly full and have not been below since: of two messages at once that bring one there, one tells.
/// As many as have a quota, at most.
#[derive(Debug, Default)]
pub(crate) struct NearlyFull(Mutex<BTreeSet<Arc<str>>>);

impl NearlyFull {
    /// It is; whether that is news.
    fn is(&self, account: &Arc<str>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(account))
    }

    fn is_not(&self, account: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(account);
    }
}
