//! RCPT: whom mail is taken for, and on what terms (RFC 5321 §4.1.1.3).
//!
//! A list that is not open to anyone is so to accounts that have authenticated and may post: MAIL FROM proves nothing.
//!
//! A full maildrop is known at RCPT, from what is in it then and the size that MAIL has declared; other recipients of the message are taken all the
//! same. An address that comes to several accounts is taken for all of them or for none: one that is full is waited for. What other
//! sessions are about to bring is not counted before it is on stable storage, nor is what a client sends beyond the size it declared, so a
//! maildrop may come to hold more than its quota, by one message of each session that was under way.
//!
//! An account that gets the message already is not asked about again, however many recipients come to it, and beyond so many accounts the
//! client is told to send the rest in another transaction: memory is bounded whatever is asked.
//!
//! An address that nobody has is asked about elsewhere, where that is configured, before the domain's catch-all has it.
//!
//! Fails as the store does: with a temporary reply. May be dropped at any time.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use events::{MaildropNearlyFull, StoreFailed};
use gate::rates::Measure;
use gate::{Phase, Seat};
use smtp::limits::RECIPIENT_ACCOUNTS;
use smtp::{Rcpt, Reply};
use store::{Error, Load, Resolution, Terms};

use super::Answers;
use crate::Shared;
use crate::elsewhere::{ask, is_open};
use crate::transaction::Limited;

impl Answers {
    pub(super) async fn rcpt(&mut self, question: Rcpt<'_>) {
        let Some(question) = self.within_rate(question) else { return };
        let found = self.seat.during(Phase::Store, net::now, self.shared.store.resolve(question.forward_path())).await;
        if let Some((question, rest)) = self.found(question, found, self.settings.lookup.is_some()) {
            // Boxed: a session has no room for what is rare.
            Box::pin(self.go_on(question, rest)).await;
        }
    }

    async fn go_on(&mut self, question: Rcpt<'_>, rest: Rest) {
        let (question, rest) = match (rest, self.settings.lookup.clone()) {
            (Rest::NobodyHere(found), Some(lookup)) => {
                let asked = Box::pin(ask(&*self.shared.store, &lookup, question.forward_path(), found));
                let found = self.seat.during(Phase::Store, net::now, asked).await;
                match self.found(question, found, false) {
                    Some(rest) => rest,
                    None => return,
                }
            }
            (rest, _) => (question, rest),
        };
        if let Rest::Terms(accounts, terms) = rest {
            self.take_on(question, accounts, *terms).await;
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

    /// Answers by what the directory says, unless there is more to be done.
    fn found<'q>(&mut self, question: Rcpt<'q>, found: Result<Resolution, Error>, ask: bool) -> Option<(Rcpt<'q>, Rest)> {
        match found {
            Ok(found) if ask && is_open(&found) => return Some((question, Rest::NobodyHere(found))),
            Ok(Resolution::Accounts(accounts, _)) if !self.has_room(&accounts) => {
                let more = accounts.len();
                self.refuse_recipient(
                    question,
                    Reply::TOO_MANY_RECIPIENTS,
                    &format_args!("the recipients come to too many accounts, this one to {more}"),
                );
            }
            Ok(Resolution::Accounts(accounts, None)) => self.take(question, accounts, Vec::new()),
            Ok(Resolution::Accounts(accounts, Some(terms))) => return Some((question, Rest::Terms(accounts, terms))),
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
            Err(error) => self.resolve_failed(question, &error),
        }
        None
    }

    /// Invariant 3: authentication, or a network the operator has written down.
    fn may_relay(&self, question: &Rcpt<'_>) -> bool {
        question.session().identity().is_some() || self.shared.may_relay(self.source)
    }

    /// Whether the message may go to these, too (invariant 6).
    fn has_room(&self, accounts: &[Arc<str>]) -> bool {
        let most = usize::try_from(self.settings.smtp.recipients).unwrap_or(usize::MAX).max(RECIPIENT_ACCOUNTS);
        self.transaction.as_ref().is_none_or(|transaction| transaction.has_room(accounts, most))
    }

    fn take(&mut self, mut question: Rcpt<'_>, accounts: Vec<Arc<str>>, limited: Vec<Limited>) {
        let (requests, recipient) = (question.take_requests(), question.accept());
        if let Some(transaction) = &mut self.transaction {
            transaction.add(recipient, accounts);
            transaction.note(requests);
            transaction.limited.extend(limited);
        }
    }

    async fn take_on(&mut self, question: Rcpt<'_>, accounts: Vec<Arc<str>>, terms: Terms) {
        let poster = question.session().identity();
        if let Some(list) = terms.closed.iter().find(|list| !list.admits(poster)) {
            return self.refuse_recipient(question, Reply::POSTING_DENIED, &format_args!("list {} is not open to the sender", list.name));
        }
        let mut allowances = terms.allowances;
        if let Some(transaction) = &self.transaction {
            allowances.retain(|(account, _)| !transaction.has(account));
        }
        let mut limited = Vec::with_capacity(allowances.len());
        for (account, allowance) in allowances {
            let before = match self.seat.during(Phase::Store, net::now, self.shared.store.load(&account)).await {
                Ok(before) => before,
                Err(error) => return self.resolve_failed(question, &error),
            };
            if !allowance.is_used_to(self.settings.quota_warning_percent, before) {
                self.shared.nearly_full.is_not(&account);
            }
            limited.push(Limited { account, allowance, before });
        }
        let size = self.transaction.as_ref().and_then(|transaction| transaction.from.size);
        let octets = size.map_or(0, NonZeroU64::get);
        if let Some(full) = limited.iter().find(|limited| !limited.allowance.admits(limited.before, octets)) {
            return self.refuse_recipient(question, Reply::MAILBOX_FULL, &Full(full));
        }
        self.take(question, accounts, limited);
    }

    fn resolve_failed(&self, question: Rcpt<'_>, error: &Error) {
        self.shared.events.emit(StoreFailed { operation: "resolve", cause: error, now: net::now() });
        self.refuse_recipient(question, self.rescue(error), error);
    }
}

/// What is left to be done about a recipient.
enum Rest {
    /// To ask elsewhere.
    NobodyHere(Resolution),
    /// To see whether the terms are kept.
    Terms(Vec<Arc<str>>, Box<Terms>),
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

/// A maildrop without room, in words for the operator.
struct Full<'l>(&'l Limited);

impl fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limited { account, allowance, before } = self.0;
        write!(f, "the maildrop of {account} is full: {before}, of {allowance}")
    }
}
