//! Messages that were screened, and those that were thrown away for it.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::time::Instant;

use tracing::field::display;
use tracing::{info, warn};

use crate::about::{About, Told};
use crate::smtp::{CheckLabels, VerdictLabels};
use crate::{Event, Listener, Repeat, Repeats, Said, SessionId};

/// A message was screened: at its end, or at MAIL where that was enough to refuse it.
pub struct MessageScreened<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Which.
    pub about: About<'e>,
    /// What becomes of it, in one word.
    pub verdict: &'static str,
    /// Each check and what it came to, in one word each.
    pub checks: &'e [(&'static str, &'static str)],
    /// For the operator: because of what it is not simply delivered, or which check could not tell.
    pub cause: Option<&'e dyn Display>,
    /// A service of the operator's has not answered, or not as it should.
    pub is_unanswered: bool,
    /// When.
    pub now: Instant,
}

/// A message was thrown away, and its sender told that it was taken. Nobody else learns of it, so each is written.
pub struct MessageDiscarded<'e> {
    /// Where.
    pub listener: &'e Listener,
    /// In which session.
    pub session: SessionId,
    /// From where.
    pub source: IpAddr,
    /// Which.
    pub about: About<'e>,
    /// Octets of it.
    pub octets: u64,
    /// For the operator.
    pub cause: &'e dyn Display,
}

impl Event for MessageScreened<'_> {
    fn count(&self, metrics: &crate::Metrics) {
        let labels = VerdictLabels { listener: self.listener.shared_name(), verdict: self.verdict };
        metrics.smtp.screened.get_or_create(&labels).inc();
        for (check, outcome) in self.checks.iter().copied() {
            metrics.smtp.checks.get_or_create(&CheckLabels { check, outcome }).inc();
        }
    }

    fn log(&self, left_out: u64) {
        let Told { id, helo, from, to } = Told::of(&self.about);
        let cause = self.cause.map(Said).map(display);
        // A macro's level is a constant.
        if self.is_unanswered {
            warn!(
                target: "gatepost::smtp", id, session = %self.session, listener = %self.listener, source = %self.source, helo, from, to,
                verdict = self.verdict, checks = %Checks(self.checks), cause, left_out, "message screened",
            );
        } else {
            info!(
                target: "gatepost::smtp", id, session = %self.session, listener = %self.listener, source = %self.source, helo, from, to,
                verdict = self.verdict, checks = %Checks(self.checks), cause, left_out, "message screened",
            );
        }
    }

    fn repeat(&self) -> Option<Repeat> {
        let kind = if self.is_unanswered { "message_screened_unanswered" } else { "message_screened" };
        Some(Repeat { kind, source: Some(self.source), burst: Repeats::BURST, now: self.now })
    }
}

impl Event for MessageDiscarded<'_> {
    /// Counted by its verdict already.
    fn count(&self, _: &crate::Metrics) {}

    fn log(&self, _: u64) {
        let Told { id, helo, from, to } = Told::of(&self.about);
        info!(
            target: "gatepost::smtp", id, session = %self.session, listener = %self.listener, source = %self.source, helo, from, to,
            octets = self.octets, cause = %Said(self.cause), "message discarded",
        );
    }
}

/// As in `spf=pass dmarc=fail`.
struct Checks<'c>(&'c [(&'static str, &'static str)]);

impl Display for Checks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (check, outcome) in self.0 {
            write!(f, "{between}{check}={outcome}")?;
            between = " ";
        }
        Ok(())
    }
}
