//! The report that a sender has asked for: whom its message was delivered to (RFC 3461, RFC 3464).
//!
//! It goes to the maildrop of the account that has sent the message and to no other, whatever the reverse path is: nothing is ever sent to
//! a forged sender, and a null reverse path gets none. What it brings back is the header of the message, as RFC 3461 §4.3 has it
//! for a report without a failure, as far as [`Header`] has kept it. Texts of the client's that stand in it are printable: they have passed
//! the grammar of their parameters. Pure but for the message's id; cannot fail.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use mail::{BodyType, Envelope, MessageId, RecipientRequests, Release, Requests, ReversePath};
use store::Hold;

use crate::trace;

/// The header of a message as it passes: up to its blank line, or as many whole lines as are kept.
#[derive(Debug, Default)]
pub(crate) struct Header {
    kept: Vec<u8>,
    complete: bool,
}

/// What a report tells.
pub(crate) struct Report<'r> {
    /// Our own name.
    pub(crate) host: &'r str,
    /// Who hears of it, as MAIL said; with its brackets.
    pub(crate) reverse_path: &'r ReversePath,
    pub(crate) requests: &'r Requests,
    /// Of the recipients in them, in their order: whether they stand for several, and are no list.
    pub(crate) several: &'r [bool],
    /// Whether addresses may be UTF-8, and the report must say so (RFC 6533).
    pub(crate) utf8: bool,
    /// The message that was delivered.
    pub(crate) message: MessageId,
    pub(crate) header: &'r Header,
    pub(crate) at: Timestamp,
    /// What was asked for as FUTURERELEASE, and until when the message is held for it, and so is what says that it was delivered.
    pub(crate) release: Option<(Release, Hold)>,
    /// By when it was to be delivered, where that was asked for.
    pub(crate) deliver_by: Option<Timestamp>,
}

impl Header {
    /// Looks at the next piece of the message.
    pub(crate) fn watch(&mut self, piece: &[u8]) {
        if self.complete {
            return;
        }
        let seam = self.kept.len().saturating_sub(BLANK_LINE.len() - 1);
        self.kept.extend_from_slice(piece.get(..KEPT_OCTETS - self.kept.len()).unwrap_or(piece));
        let end = if self.kept.starts_with(CRLF) {
            Some(0)
        } else {
            memchr::memmem::find(self.kept.get(seam..).unwrap_or_default(), BLANK_LINE).map(|at| seam + at + CRLF.len())
        };
        if let Some(end) = end {
            self.kept.truncate(end);
            self.complete = true;
        } else if self.kept.len() >= KEPT_OCTETS {
            self.complete = true;
        }
    }

    /// Whole lines, each ended by CRLF.
    fn lines(&self) -> &[u8] {
        let end = memchr::memmem::rfind(&self.kept, CRLF).map_or(0, |at| at + CRLF.len());
        self.kept.get(..end).unwrap_or_default()
    }
}

impl Report<'_> {
    /// The report as a message of its own, for `accounts`: its envelope, its trace fields and its text.
    pub(crate) fn compose(&self, accounts: Vec<Arc<str>>) -> (Envelope, Vec<u8>, Vec<u8>) {
        let id = MessageId::generate();
        let mut text = String::with_capacity(USUAL_OCTETS);
        // Writing to a String does not fail.
        self.write(id, &mut text).unwrap_or_default();
        let mut octets = text.into_bytes();
        octets.extend_from_slice(self.header.lines());
        octets.extend_from_slice(format!("\r\n--{id}--\r\n").as_bytes());
        let (body, reverse_path) = (BodyType::EightBitMime, ReversePath::Null);
        let envelope = Envelope { id, reverse_path, recipients: accounts, body, utf8: self.utf8, requests: None };
        (envelope, b"Return-Path: <>\r\n".to_vec(), octets)
    }

    fn write(&self, id: MessageId, text: &mut String) -> std::fmt::Result {
        let host = self.host;
        let to = self.reverse_path.to_string();
        write!(text, "From: Mail Delivery System <postmaster@{host}>\r\nTo: {}\r\nDate: ", to.trim_matches(['<', '>']))?;
        trace::date(text, self.at)?;
        write!(
            text,
            "\r\nMessage-ID: <{id}@{host}>\r\nSubject: Delivered: your message {}\r\nAuto-Submitted: auto-replied\r\n",
            self.message
        )?;
        let (status, header) = if self.utf8 { ("global-delivery-status", "global-headers") } else { ("delivery-status", "rfc822-headers") };
        write!(text, "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type={status};\r\n\tboundary=\"{id}\"\r\n\r\n")?;
        write!(text, "--{id}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")?;
        write!(text, "{host} has delivered your message to\r\n\r\n")?;
        for (RecipientRequests { recipient, .. }, several) in self.recipients() {
            write!(text, "  {recipient}{}\r\n", if several { ", who are several" } else { "" })?;
        }
        write!(text, "\r\nThat says that it lies in a mailbox, and not that it has been read.\r\n\r\n")?;
        write!(text, "--{id}\r\nContent-Type: message/{status}\r\n")?;
        if self.utf8 {
            write!(text, "Content-Transfer-Encoding: 8bit\r\n")?;
        }
        write!(text, "\r\n")?;
        self.status(text)?;
        let major = if self.utf8 { "message" } else { "text" };
        write!(text, "\r\n--{id}\r\nContent-Type: {major}/{header}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
    }

    /// Those whom it tells of, and whether each stands for several.
    fn recipients(&self) -> impl Iterator<Item = (&RecipientRequests, bool)> {
        let all = self.requests.recipients.iter().zip(self.several.iter().copied());
        all.filter(|(asked, _)| self.requests.reports(asked))
    }

    /// The fields of RFC 3464 §2: of the message, then of each recipient. An alias of several is expanded, and a list that has the message has it
    /// delivered (RFC 3461 §5.2.7, RFC 3464 §2.3.3).
    fn status(&self, text: &mut String) -> std::fmt::Result {
        if let Some(envelope_id) = &self.requests.envelope_id {
            write!(text, "Original-Envelope-Id: {envelope_id}\r\n")?;
        }
        write!(text, "Reporting-MTA: dns; {}\r\nArrival-Date: ", self.host)?;
        trace::date(text, self.at)?;
        write!(text, "\r\n")?;
        if let Some(by) = self.deliver_by {
            // RFC 2852 §5.
            write!(text, "Deliver-By-Date: ")?;
            trace::date(text, by)?;
            write!(text, "\r\n")?;
        }
        // RFC 4865 §5.1.2.
        match self.release.as_ref().map(|(release, _)| release) {
            Some(Release::After(seconds)) => write!(text, "Future-Release-Request: for;{seconds}\r\n")?,
            Some(Release::At(time)) => {
                let time = Timestamp::from_second(*time).unwrap_or(Timestamp::MAX);
                write!(text, "Future-Release-Request: until;{time}\r\n")?;
            }
            None => {}
        }
        for (RecipientRequests { recipient, original, .. }, several) in self.recipients() {
            write!(text, "\r\n")?;
            if let Some(original) = original {
                write!(text, "Original-Recipient: {}; {}\r\n", original.address_type, original.address)?;
            }
            let address_type = if recipient.is_ascii() { "rfc822" } else { "utf-8" };
            let recipient = recipient.trim_start_matches('<').trim_end_matches('>');
            let action = if several { "expanded" } else { "delivered" };
            write!(text, "Final-Recipient: {address_type}; {recipient}\r\nAction: {action}\r\nStatus: 2.1.5\r\n")?;
        }
        Ok(())
    }
}

const CRLF: &[u8] = b"\r\n";
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// The most of a header that is kept for a report.
const KEPT_OCTETS: usize = 32 << 10;
const USUAL_OCTETS: usize = 2048;

#[cfg(test)]
mod tests {
    use mail::{Notify, OriginalRecipient};

    use super::*;

    fn kept(message: &[u8], step: usize) -> Vec<u8> {
        let mut header = Header::default();
        message.chunks(step).for_each(|piece| header.watch(piece));
        header.lines().to_vec()
    }

    #[test]
    fn a_header_is_kept_up_to_its_blank_line_however_it_comes() {
        for step in [1, 2, 3, 7, 1000] {
            assert_eq!(kept(b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore", step), b"A: 1\r\nB: 2\r\n");
            assert_eq!(kept(b"\r\nbody\r\n\r\n", step), b"");
            assert_eq!(kept(b"A: 1\r\nB: 2", step), b"A: 1\r\n", "whole lines");
        }
        let endless = b"X-Long: line\r\n".repeat(10_000);
        let kept = kept(&endless, 4096);
        assert!(kept.len() <= KEPT_OCTETS && kept.len() > KEPT_OCTETS - 14 && kept.ends_with(CRLF));
    }

    #[test]
    fn a_report_as_mail_programs_read_it() {
        let asked = |recipient: &str, notify, original| RecipientRequests { recipient: recipient.into(), notify, original };
        let success = Some(Notify { success: true, ..Notify::default() });
        let original = OriginalRecipient { address_type: "rfc822".into(), address: "Sales@example.org".into() };
        let requests = Requests {
            envelope_id: Some("QQ 1".into()),
            recipients: vec![
                asked("<ann@example.org>", success, Some(original)),
                asked("<bob@example.org>", success, None),
                asked("<cyd@example.org>", Some(Notify::default()), None),
                asked("<all@example.org>", success, None),
            ],
            ..Requests::default()
        };
        let mut header = Header::default();
        header.watch(b"Subject: hello\r\n\r\nbody");
        let report = Report {
            host: "mx.example",
            reverse_path: &ReversePath::parse("<ann@example.org>").unwrap(),
            requests: &requests,
            several: &[false, false, true, true],
            utf8: false,
            message: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            header: &header,
            at: "2026-11-02T09:08:07Z".parse().unwrap(),
            release: Some((Release::At(1_793_610_000), Hold { reason: String::new(), until: None })),
            deliver_by: Some("2026-11-02T09:09:07Z".parse().unwrap()),
        };
        let (envelope, trace, text) = report.compose(vec!["ann@example.org".into()]);
        assert_eq!((envelope.reverse_path, trace.as_slice()), (ReversePath::Null, &b"Return-Path: <>\r\n"[..]));
        let text = String::from_utf8(text).unwrap().replace(&envelope.id.to_string(), "ID");
        assert_eq!(
            text,
            "From: Mail Delivery System <postmaster@mx.example>\r\n\
             To: ann@example.org\r\n\
             Date: Mon, 2 Nov 2026 09:08:07 +0000\r\n\
             Message-ID: <ID@mx.example>\r\n\
             Subject: Delivered: your message 01ARZ3NDEKTSV4RRFFQ69G5FAV\r\n\
             Auto-Submitted: auto-replied\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"ID\"\r\n\r\n\
             --ID\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             mx.example has delivered your message to\r\n\r\n  <ann@example.org>\r\n  <bob@example.org>\r\n  <all@example.org>, who are several\r\n\r\n\
             That says that it lies in a mailbox, and not that it has been read.\r\n\r\n\
             --ID\r\nContent-Type: message/delivery-status\r\n\r\n\
             Original-Envelope-Id: QQ 1\r\nReporting-MTA: dns; mx.example\r\nArrival-Date: Mon, 2 Nov 2026 09:08:07 +0000\r\n\
             Deliver-By-Date: Mon, 2 Nov 2026 09:09:07 +0000\r\nFuture-Release-Request: until;2026-11-02T09:00:00Z\r\n\r\n\
             Original-Recipient: rfc822; Sales@example.org\r\nFinal-Recipient: rfc822; ann@example.org\r\nAction: delivered\r\nStatus: 2.1.5\r\n\r\n\
             Final-Recipient: rfc822; bob@example.org\r\nAction: delivered\r\nStatus: 2.1.5\r\n\r\n\
             Final-Recipient: rfc822; all@example.org\r\nAction: expanded\r\nStatus: 2.1.5\r\n\r\n\
             --ID\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: hello\r\n\r\n--ID--\r\n"
        );
    }

    #[test]
    fn a_report_of_addresses_in_utf_8_says_so() {
        let success = Some(Notify { success: true, ..Notify::default() });
        let original = OriginalRecipient { address_type: "utf-8".into(), address: "jürgen@example.org".into() };
        let recipient = RecipientRequests { recipient: "<jürgen@example.org>".into(), notify: success, original: Some(original) };
        let report = Report {
            host: "mx.example",
            reverse_path: &ReversePath::parse("<änn@example.org>").unwrap(),
            requests: &Requests { recipients: vec![recipient], ..Requests::default() },
            several: &[false],
            utf8: true,
            message: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            header: &Header::default(),
            at: "2026-11-02T09:08:07Z".parse().unwrap(),
            release: None,
            deliver_by: None,
        };
        let (envelope, _, text) = report.compose(vec!["änn@example.org".into()]);
        let text = String::from_utf8(text).unwrap();
        assert!(envelope.utf8);
        for line in [
            "\r\nTo: änn@example.org\r\n",
            "report-type=global-delivery-status;",
            "\r\nContent-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
            "\r\nOriginal-Recipient: utf-8; jürgen@example.org\r\nFinal-Recipient: utf-8; jürgen@example.org\r\nAction: delivered\r\n",
            "\r\nContent-Type: message/global-headers\r\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
    }
}
