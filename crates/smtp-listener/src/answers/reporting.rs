//! Reports of delivery: into the sender's own maildrop, before its 250 is said.
//!
//! The message has been accepted by then, and stays so whatever comes of the report; what comes of it is an event. May be dropped at any
//! time, as [`Answers::answer`] may.

use std::fmt::Display;
use std::sync::Arc;

use events::DeliveryReported;
use gate::Phase;
use mail::{ForwardPath, ReversePath};
use store::{Error, Resolution};

use super::Answers;
use crate::report::Report;

impl Answers {
    /// Gives `identity`, who has sent the message, the report about it.
    pub(super) async fn report(&mut self, report: Report<'_>, identity: Option<&str>) {
        let outcome = match self.hearers(report.reverse_path, identity).await {
            Ok(Some(accounts)) => self.store_report(&report, accounts).await,
            Ok(None) if *report.reverse_path == ReversePath::Null => return,
            Ok(None) => return self.reported(&report, Some(&"the reverse path is not the sender's own")),
            Err(error) => Err(error),
        };
        self.reported(&report, outcome.as_ref().err().map(|error| error as &dyn Display));
    }

    /// The accounts a report to `reverse_path` comes to, if that of whoever has logged in is one of them.
    async fn hearers(&mut self, reverse_path: &ReversePath, identity: Option<&str>) -> Result<Option<Vec<Arc<str>>>, Error> {
        let ReversePath::Mailbox(mailbox) = reverse_path else { return Ok(None) };
        let recipient = ForwardPath::Mailbox(mailbox.clone());
        match self.seat.during(Phase::Store, net::now, self.shared.store.resolve(&recipient)).await? {
            Resolution::Accounts(accounts, _) if accounts.iter().any(|account| Some(&**account) == identity) => Ok(Some(accounts)),
            _ => Ok(None),
        }
    }

    async fn store_report(&mut self, report: &Report<'_>, accounts: Vec<Arc<str>>) -> Result<(), Error> {
        let (envelope, trace, text) = report.compose(accounts);
        let mut incoming = self.seat.during(Phase::Store, net::now, self.shared.store.begin(envelope)).await?;
        self.seat.during(Phase::Store, net::now, incoming.write(&text)).await?;
        // What says that a message was delivered is not there before the message is.
        report.hold.clone().into_iter().for_each(|hold| incoming.hold(hold));
        // There is nobody to show the receipt to: a report is answered with nothing.
        self.seat.during(Phase::Store, net::now, incoming.commit(trace)).await.map(drop)
    }

    fn reported(&self, report: &Report<'_>, cause: Option<&dyn Display>) {
        let (listener, session, source) = (&self.shared.listener, self.session, self.source);
        self.shared.events.emit(DeliveryReported { listener, session, source, message: report.message, cause, now: net::now() });
    }
}
