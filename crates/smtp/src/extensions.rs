//! The answer to EHLO: what is honoured in this session, and nothing else (RFC 5321 §4.1.1.1).

use bytes::BytesMut;

use crate::{Blanks, Mechanism, Reply, Settings};

/// Appends the answer. STARTTLS is offered in clear only (RFC 3207 §4.2), AUTH under TLS only.
pub(crate) fn answer(settings: &Settings, tls: bool, blanks: &Blanks<'_>, out: &mut BytesMut) {
    let mut keyword = |text: &str, last| Reply::HELLO.line(text, last, blanks, out);
    keyword(Reply::HELLO.text(), false);
    keyword("PIPELINING", false);
    keyword("8BITMIME", false);
    keyword("ENHANCEDSTATUSCODES", false);
    keyword("CHUNKING", false);
    keyword("SMTPUTF8", false);
    if settings.starttls && !tls {
        keyword("STARTTLS", false);
    }
    if settings.auth && tls {
        keyword(Mechanism::OFFER, false);
    }
    Reply::HELLO.with(settings.message_bytes).line("SIZE {n}", false, blanks, out);
    Reply::HELLO.line("HELP", true, blanks, out);
}
