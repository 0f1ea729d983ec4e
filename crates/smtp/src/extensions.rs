//! The answers to EHLO and HELP: what is honoured in this session, and nothing else (RFC 5321 §4.1.1.1, §4.1.1.8).

use std::fmt;

use bytes::BytesMut;
use jiff::Timestamp;

use crate::limits::MAILS_MOST;
use crate::{Blanks, Circumstance, Client, FutureRelease, Reply, Role, Settings};

/// What a session understands of commands and of the parameters of MAIL and RCPT: what EHLO offers and what is taken are asked here, both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// EHLO was said: without it there are no parameters.
    pub(crate) extended: bool,
    /// DSN, DELIVERBY, MT-PRIORITY: where people send, to whom a report can be given here. To other hosts nothing is sent yet, and so
    /// they are promised none.
    pub(crate) reports: bool,
    /// REQUIRETLS, inside TLS alone (RFC 8689 §2).
    pub(crate) require_tls: bool,
    /// FUTURERELEASE, where people send and the operator has said how long.
    pub(crate) future_release: Option<FutureRelease>,
    /// STARTTLS, in clear only (RFC 3207 §4.2).
    pub(crate) starttls: bool,
    /// AUTH, inside TLS alone.
    pub(crate) auth: bool,
}

/// The commands of a session, for HELP.
pub(crate) struct Verbs {
    pub(crate) offer: Offer,
    pub(crate) lmtp: bool,
    pub(crate) xclient: bool,
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.lmtp { "LHLO" } else { "EHLO HELO" })?;
        f.write_str(" MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT")?;
        let Offer { starttls, auth, .. } = self.offer;
        let offered = [("STARTTLS", starttls), ("AUTH", auth), ("XCLIENT", self.xclient)];
        offered.into_iter().filter(|(_, offered)| *offered).try_for_each(|(verb, _)| write!(f, " {verb}"))
    }
}

impl Offer {
    pub(crate) fn of(settings: &Settings, here: &Circumstance, extended: bool) -> Self {
        let submits = settings.role == Role::Submission;
        let future_release = here.future_release.filter(|_| submits);
        let tls = here.tls.is_some();
        Self {
            extended,
            reports: submits,
            require_tls: tls,
            future_release,
            starttls: settings.starttls && !tls,
            auth: settings.auth && tls,
        }
    }
}

/// Appends the answer to EHLO. XCLIENT is offered to those who may.
pub(crate) fn answer(settings: &Settings, here: &Circumstance, blanks: &Blanks<'_>, out: &mut BytesMut) {
    let keyword = |text: &str, last, out: &mut BytesMut| Reply::HELLO.line(text, last, blanks, out);
    keyword(Reply::HELLO.text(), false, out);
    keyword("PIPELINING", false, out);
    keyword("8BITMIME", false, out);
    keyword("ENHANCEDSTATUSCODES", false, out);
    keyword("CHUNKING", false, out);
    keyword("BINARYMIME", false, out);
    keyword("SMTPUTF8", false, out);
    let offer = Offer::of(settings, here, true);
    if offer.reports {
        keyword("DSN", false, out);
        keyword("DELIVERBY", false, out);
        keyword("MT-PRIORITY", false, out);
    }
    if let Some(FutureRelease { interval, until }) = offer.future_release {
        let until = Timestamp::from_second(until.into()).unwrap_or(Timestamp::MAX);
        let blanks = Blanks { detail: Some(&until), ..*blanks };
        Reply::HELLO.with(interval.get().into()).line("FUTURERELEASE {n} {detail}", false, &blanks, out);
    }
    if offer.require_tls {
        keyword("REQUIRETLS", false, out);
    }
    if offer.starttls {
        keyword("STARTTLS", false, out);
    }
    if offer.auth
        && let Some(tls) = here.tls
    {
        let offered = settings.offered(tls, here.withheld);
        Reply::HELLO.line("AUTH {detail}", false, &Blanks { detail: Some(&offered), ..*blanks }, out);
    }
    if here.xclient {
        Reply::HELLO.line(Client::OFFER, false, blanks, out);
    }
    // RFC 9422: a name a value.
    Reply::HELLO.with(settings.recipients.min(MAILS_MOST).into()).line(
        if here.mails.is_some() { "LIMITS RCPTMAX={n} MAILMAX={detail}" } else { "LIMITS RCPTMAX={n}" },
        false,
        &Blanks { detail: here.mails.as_ref().map(|mails| mails as &dyn fmt::Display), ..*blanks },
        out,
    );
    Reply::HELLO.with(settings.message_bytes).line("SIZE {n}", false, blanks, out);
    Reply::HELLO.line("HELP", true, blanks, out);
}
