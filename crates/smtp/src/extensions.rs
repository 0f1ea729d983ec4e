//! The answer to EHLO: what is honoured in this session, and nothing else (RFC 5321 §4.1.1.1).

use bytes::BytesMut;

use crate::limits::MAILS_MOST;
use crate::{Blanks, Circumstance, Client, Reply, Role, Settings};

/// What a session understands of the parameters of MAIL and RCPT: what EHLO offers and what is taken are asked here, both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    /// EHLO was said: without it there are no parameters.
    pub(crate) extended: bool,
    /// DSN, DELIVERBY, MT-PRIORITY: where people send, to whom a report can be given here. To other hosts nothing is sent yet, and so
    /// they are promised none.
    pub(crate) reports: bool,
    /// REQUIRETLS, inside TLS alone (RFC 8689 §2).
    pub(crate) require_tls: bool,
}

impl Offer {
    pub(crate) fn of(settings: &Settings, here: &Circumstance, extended: bool) -> Self {
        Self { extended, reports: settings.role == Role::Submission, require_tls: here.tls.is_some() }
    }
}

/// Appends the answer. STARTTLS is offered in clear only (RFC 3207 §4.2), AUTH under TLS only, XCLIENT to those who may.
pub(crate) fn answer(settings: &Settings, here: &Circumstance, blanks: &Blanks<'_>, out: &mut BytesMut) {
    let tls = here.tls.is_some();
    let mut keyword = |text: &str, last| Reply::HELLO.line(text, last, blanks, out);
    keyword(Reply::HELLO.text(), false);
    keyword("PIPELINING", false);
    keyword("8BITMIME", false);
    keyword("ENHANCEDSTATUSCODES", false);
    keyword("CHUNKING", false);
    keyword("SMTPUTF8", false);
    let offer = Offer::of(settings, here, true);
    if offer.reports {
        keyword("DSN", false);
        keyword("DELIVERBY", false);
        keyword("MT-PRIORITY", false);
    }
    if offer.require_tls {
        keyword("REQUIRETLS", false);
    }
    if settings.starttls && !tls {
        keyword("STARTTLS", false);
    }
    if settings.auth
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
        &Blanks { detail: here.mails.as_ref().map(|mails| mails as &dyn std::fmt::Display), ..*blanks },
        out,
    );
    Reply::HELLO.with(settings.message_bytes).line("SIZE {n}", false, blanks, out);
    Reply::HELLO.line("HELP", true, blanks, out);
}
