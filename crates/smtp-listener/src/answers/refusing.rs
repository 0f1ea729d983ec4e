//! Refusals within a session: told to the operator, written down where they are by a rule, and worded for the client.
//!
//! What is written down has a token, in the reply as in the log. Cannot fail; nothing here waits.

use std::fmt::{self, Display};
use std::sync::Arc;

use events::{About, MessageRefused, RateMet, RecipientRefused, StoreFailed, StoreFull};
use gate::rates::{Limit, RateExceeded};
use gate::{Denial, Token, UserFull};
use smtp::{Rcpt, Reply};
use store::Error;

use super::Answers;
use crate::transaction::Transaction;
use crate::{Shared, rescue};

impl Answers {
    /// Tells the operator, and gives the reply, of which `row` is the table's. Where the same limit has refused the same transaction
    /// before, which is `known`, that is written down already: a message for a thousand is one refusal in the ledger, not a thousand.
    pub(super) fn rate_met(&self, row: Reply, met: &RateExceeded, account: Option<&str>, known: Option<(Limit, Token)>) -> Reply {
        self.rate_met.set(true);
        let (Shared { events, listener, .. }, session, source) = (&*self.shared, self.session, self.source);
        events.emit(RateMet { listener, session, source, account, limit: met.limit.path(), wait: met.wait, now: net::now() });
        let token = known.filter(|(limit, _)| *limit == met.limit).map_or_else(|| self.deny(*met), |(_, token)| token);
        row.with(met.retry_seconds().into()).signed(token)
    }

    /// The reply to a right password of a user who has all the sessions it may.
    pub(super) fn user_full(&self, full: UserFull, account: &Arc<str>) -> Reply {
        let token = self.shared.gate.deny(&self.seat, Some(account), full, net::now());
        Reply::TOO_MANY_USER_SESSIONS.with(full.limit.into()).signed(token)
    }

    /// Writes a refusal down, and gives the token to end its reply with.
    pub(crate) fn deny(&self, denial: impl Into<Denial>) -> Token {
        self.shared.gate.deny(&self.seat, None, denial, net::now())
    }

    pub(super) fn refuse_recipient(&self, question: Rcpt<'_>, reply: Reply, cause: &dyn Display) {
        let Shared { events, listener, .. } = &*self.shared;
        let (session, source, recipient) = (self.session, self.source, question.forward_path());
        let cause = &Noted(cause, reply.token());
        events.emit(RecipientRefused { listener, session, source, recipient, code: reply.code(), cause, now: net::now() });
        question.reject(reply);
    }

    /// [`Answers::store_failed`] in the middle of a transaction, which is over then.
    pub(super) fn transaction_failed(&mut self, operation: &'static str, error: &Error, helo: Option<&str>) -> Reply {
        let transaction = self.transaction.take();
        self.store_failed(operation, error, About { helo, ..transaction.as_deref().map(Transaction::about).unwrap_or_default() })
    }

    /// Says what the store could not do, and gives the reply for it.
    pub(super) fn store_failed(&self, operation: &'static str, error: &Error, about: About<'_>) -> Reply {
        let now = net::now();
        match error {
            Error::Full(_) => self.shared.events.emit(StoreFull { cause: error, now }),
            _ => self.shared.events.emit(StoreFailed { operation, cause: error, now }),
        }
        let reply = self.rescue(error);
        self.refused(reply, about, error);
        reply
    }

    /// The reply that an error means.
    pub(super) fn rescue(&self, error: &Error) -> Reply {
        match error {
            Error::Full(_) => rescue::reply(error).signed(self.deny(Denial::StoreFull)),
            _ => rescue::reply(error),
        }
    }

    pub(super) fn refused(&self, reply: Reply, about: About<'_>, cause: &dyn Display) {
        let cause = &Noted(cause, reply.token());
        let (Shared { events, listener, .. }, session, source) = (&*self.shared, self.session, self.source);
        events.emit(MessageRefused { listener, session, source, about, code: reply.code(), cause, now: net::now() });
    }
}

/// A cause as the log tells it: with the token that the client was given.
struct Noted<'c>(&'c dyn Display, Option<Token>);

impl Display for Noted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        self.1.map_or(Ok(()), |token| write!(f, " [{token}]"))
    }
}
