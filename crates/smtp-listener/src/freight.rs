//! The octets of one transaction, as its sender's rates count them.
//!
//! What MAIL announces is taken there, as far as a rate has so much; the account is settled by what has come when the transaction is over,
//! however it ends: more than was taken is owed, less is given back, and a message of which nothing came has cost nothing.

use std::sync::Arc;
use std::time::Instant;

use gate::Source;
use gate::rates::{Limits, MailRates, Measure, RateExceeded, Sender};

/// Dropping it settles the account.
pub(crate) struct Freight {
    rates: Arc<MailRates>,
    source: Option<Source>,
    account: Option<Box<str>>,
    domain: Option<Box<str>>,
    asked_kib: u32,
    taken_by: Limits,
    /// Octets that have come.
    pub(crate) octets: u64,
}

impl Freight {
    /// Takes one message and the octets that are announced.
    ///
    /// # Errors
    /// The rate that was met; nothing was taken.
    pub(crate) fn new(rates: &Arc<MailRates>, sender: &Sender<'_>, announced: u64, now: Instant) -> Result<Self, RateExceeded> {
        let asked_kib = kib(announced).max(1);
        rates.look(Measure::FailedCommands, sender, Limits::ALL, now)?;
        let begun = rates.take(Measure::Messages, 1, sender, now)?;
        let taken = rates.take(Measure::Kib, asked_kib, sender, now);
        let taken_by = taken.inspect_err(|_| rates.give_back(Measure::Messages, 1, sender, begun))?;
        // Where octets are not counted nobody asks for the names again.
        let kept = |name: Option<&str>| name.filter(|_| rates.counts(Measure::Kib)).map(Box::from);
        let (source, account, domain) = (sender.source, kept(sender.account), kept(sender.domain));
        Ok(Self { rates: Arc::clone(rates), source, account, domain, asked_kib, taken_by, octets: 0 })
    }
}

impl Drop for Freight {
    fn drop(&mut self) {
        if self.taken_by.is_empty() {
            return;
        }
        let sender = Sender { source: self.source, account: self.account.as_deref(), domain: self.domain.as_deref() };
        self.rates.settle(Measure::Kib, self.asked_kib, kib(self.octets), &sender, self.taken_by, net::now());
    }
}

fn kib(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}
