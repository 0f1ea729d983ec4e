//! Refusals written down, at the door and within sessions, and told again to whoever asks.
//!
//! Each has a number and a token, and a record in the ledger of what was true at that instant. Writing one down costs two short locks and
//! allocates nothing, but for a look at who holds the most now and then, and for a source in the bounded table of those who may come back.

use std::sync::Arc;
use std::time::Instant;

use mail::Token;

use super::{Arrival, Gate};
use crate::denial::Denial;
use crate::ledger::{self, Cause, Explanation, Scene, Unexplained};
use crate::limit::Limits;
use crate::pool::Usage;
use crate::refusal::{Obstacle, Refusal, Rule};
use crate::seat::Seat;
use crate::source::{Level, Source};

impl Gate {
    /// Refuses what [`Gate::try_admit`] did not let in: counts it, writes it down and gives it its token.
    pub fn refuse(&self, obstacle: Obstacle, arrival: &Arrival) -> Refusal {
        let (Obstacle { rule, met, .. }, source) = (obstacle, Source::from(arrival.peer));
        self.tally.shadow(met);
        let refusal = self.tally.refuse(rule, self.known_good.knows(source, self.day()));
        let usage = match rule {
            Rule::PoolFull { in_use, limit } | Rule::UnreservedFull { in_use, limit, .. } => Usage { in_use, limit, ..self.pool.usage() },
            _ => self.pool.usage(),
        };
        let share = self.sources.held_by(source);
        let scene = Scene { source, account: None, listener: arrival.listener, at: arrival.now, usage, share };
        self.write_down(refusal.token, rule.into(), scene);
        if arrival.brings_mail && rule.is_for_now() {
            self.returns.refused(source, refusal.known_good, rule.id(), arrival.now);
        }
        refusal
    }

    /// Writes down that a session was refused something, and gives the token to end the reply with. `account` is whose it would have
    /// been, where the session is nobody's.
    pub fn deny(&self, seat: &Seat, account: Option<&Arc<str>>, denial: impl Into<Denial>, now: Instant) -> Token {
        let (denial, source) = (denial.into(), Source::from(seat.source()));
        let account = account.cloned().or_else(|| seat.words().user.clone());
        let share = self.sources.held_by(source);
        let scene = Scene { source, account, listener: seat.listener(), at: now, usage: self.pool.usage(), share };
        let token = Token::new(denial.id(), self.tally.number());
        self.write_down(token, denial.into(), scene);
        if denial.puts_off_mail() {
            self.returns.refused(source, self.known_good.knows(source, self.day()), denial.id(), now);
        }
        token
    }

    /// Somebody has come in, who may have been refused before.
    pub(super) fn welcome_back(&self, arrival: &Arrival) {
        if arrival.brings_mail {
            self.returns.came_back(Source::from(arrival.peer), arrival.now);
        }
    }

    fn write_down(&self, token: Token, cause: Cause, scene: Scene) {
        self.ledger.record(token, cause, scene, || (self.sources.holders(Level::Address, ledger::HOLDERS), self.sources.prefixes()));
    }

    /// Refuses a connection that there is no file descriptor to serve with, which the caller found out on accepting it.
    /// [`Gate::admit`] is not asked then; the refusal is counted and has a token like any other.
    pub fn out_of_descriptors(&self, arrival: &Arrival) -> Refusal {
        self.refuse(Obstacle { rule: Rule::OutOfDescriptors, met: Limits::default(), is_named: false }, arrival)
    }

    /// What was written down about the refusal that a token names.
    ///
    /// # Errors
    /// See [`Unexplained`].
    pub fn explain(&self, token: &str) -> Result<Explanation, Unexplained> {
        self.ledger.explain(token, self.tally.refusals())
    }
}
