//! Reports of delivery: into the maildrop of the account that has sent the message, before its 250 is said.
//!
//! Whatever the reverse path stands for, nobody else hears of it: an address may be several people's, and the header that comes back is
//! the sender's alone to see. It is stored in the message's own turn at the store, and by its deadline. The message has been accepted by then, and stays so whatever comes of the report; what comes of it is an
//! event. May be dropped at any time, as [`Answers::answer`] may.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;

use events::DeliveryReported;
use gate::Phase;
use mail::ReversePath;
use store::Error;

use super::Answers;
use crate::report::Report;

impl Answers {
    /// Gives `identity`, who has sent the message, the report about it, unless that takes until after `deadline`: the reply to the message
    /// does not wait any longer.
    pub(super) async fn report_by(&mut self, deadline: Instant, report: Report<'_>, identity: Option<&str>) {
        if net::clock::within(deadline, self.report(&report, identity)).await.is_none() {
            self.reported(&report, Some(&"the store was too slow for the report"));
        }
    }

    async fn report(&mut self, report: &Report<'_>, identity: Option<&str>) {
        if *report.reverse_path == ReversePath::Null {
            return;
        }
        let outcome = match self.hearer(identity).await {
            Ok(Some(account)) => self.store_report(report, vec![account]).await,
            Ok(None) => return self.reported(report, Some(&"whoever has sent the message has no account here")),
            Err(error) => Err(error),
        };
        self.reported(report, outcome.as_ref().err().map(|error| error as &dyn Display));
    }

    /// The account that has logged in; whom a proxy speaks for need not have one here.
    async fn hearer(&mut self, identity: Option<&str>) -> Result<Option<Arc<str>>, Error> {
        let Some(login) = identity else { return Ok(None) };
        let account = self.seat.during(Phase::Store, net::now, self.shared.store.account(login)).await?;
        Ok(account.map(|account| account.name))
    }

    async fn store_report(&mut self, report: &Report<'_>, accounts: Vec<Arc<str>>) -> Result<(), Error> {
        let (envelope, trace, text) = report.compose(accounts);
        let mut incoming = self.seat.during(Phase::Store, net::now, self.shared.store.begin(envelope)).await?;
        self.seat.during(Phase::Store, net::now, incoming.write(&text)).await?;
        // What says that a message was delivered is not there before the message is.
        report.release.iter().for_each(|(_, hold)| incoming.hold(hold.clone()));
        // There is nobody to show the receipt to: a report is answered with nothing.
        self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await.map(drop)
    }

    fn reported(&self, report: &Report<'_>, cause: Option<&dyn Display>) {
        let (listener, session, source) = (&self.shared.listener, self.session, self.source);
        self.shared.events.emit(DeliveryReported { listener, session, source, message: report.message, cause, now: net::now() });
    }
}
