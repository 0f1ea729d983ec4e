//! What is asked, on the way, of the messages of people with a password: see [`crate::submission`].
//!
//! Cannot fail but by a reply. May be dropped at any time.

use std::borrow::Cow;
use std::pin::pin;

use events::About;
use gate::Phase;
use jiff::Timestamp;
use mail::MessageId;
use smtp::{EndOfData, Mail, Reply, Session};
use store::Incoming;

use super::Answers;
use crate::screening::Screened;
use crate::submission::{Draft, Fault, Known, Submission};

impl Answers {
    /// Whether the sender is the user's own, where one has logged in.
    ///
    /// # Errors
    /// The reply, where it is not.
    pub(super) async fn own_sender(&mut self, question: &Mail<'_>) -> Result<(), Reply> {
        let Some(account) = question.session().identity() else { return Ok(()) };
        let (submission, sender) = (&self.settings.submission, &question.from().reverse_path);
        let checked = self.seat.during(Phase::Store, net::now, pin!(submission.check_sender(account, sender, self.known()))).await;
        let about = About { helo: question.session().helo(), reverse_path: Some(sender), ..About::default() };
        checked.map_err(|fault| self.not_own(&fault, fault.at_mail(), about))
    }

    /// Whether Received tells the client's address.
    pub(super) fn shows_client(&self, session: &Session) -> bool {
        !self.settings.submission.hide_client || session.identity().is_none()
    }

    /// Who looks at the header of this session's messages; nobody, where that is left to the client.
    pub(super) fn draft(&self, session: &Session) -> Option<Box<Draft>> {
        let Submission { own_senders, complete_header, .. } = self.settings.submission;
        ((own_senders || complete_header) && session.identity().is_some()).then(|| Box::new(Draft::new(complete_header)))
    }

    /// The message has come: stores what was held back of it, and looks whose it says it is. The fields that it lacks.
    ///
    /// # Errors
    /// The reply, where it is not the user's own, or the store has not taken the last of it.
    pub(super) async fn finish_draft(
        &mut self,
        question: &EndOfData<'_>,
        (draft, screened): (Option<Box<Draft>>, Option<&mut Screened>),
        (id, about): (MessageId, About<'_>),
        incoming: &mut dyn Incoming,
    ) -> Result<Vec<u8>, Reply> {
        let (Some(mut draft), Some(account)) = (draft, question.session().identity()) else { return Ok(Vec::new()) };
        let (submission, rest) = (&self.settings.submission, draft.rest());
        let rest = screened.map_or(Cow::Borrowed(&*rest), |screened| screened.pass(&rest));
        let written = self.seat.during(Phase::Store, net::now, incoming.write(&rest)).await;
        written.map_err(|error| self.store_failed("write", &error, about))?;
        let checked = self.seat.during(Phase::Store, net::now, pin!(submission.check_from(account, &draft, self.known()))).await;
        checked.map_err(|fault| self.not_own(&fault, fault.at_end(), about))?;
        Ok(submission.missing_fields(account, &draft, id, self.settings.smtp.host.as_str(), Timestamp::now()))
    }

    fn known(&self) -> Known<'_> {
        Known { directory: &*self.shared.store, lookup: self.settings.lookup.as_deref() }
    }

    fn not_own(&self, fault: &Fault, reply: Reply, about: About<'_>) -> Reply {
        match fault {
            Fault::Directory(error) => return self.store_failed("resolve", error, about),
            Fault::NotOwn(address) => self.refused(reply, about, &format_args!("{} is not the user's own", events::Said(address))),
            Fault::Unreadable => self.refused(reply, about, &"From is no list of mailboxes that everybody reads alike"),
        }
        reply
    }
}
