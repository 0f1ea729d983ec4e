//! The trace fields we put before a message: Return-Path and Received (RFC 5321 §4.4), with the clauses of RFC 3848, RFC 8314 and
//! RFC 6710.
//!
//! Everything a peer chose that stands here has passed a grammar: the name it gave in EHLO has letters, digits and `-_.:[]`
//! only, and paths are written from their parsed form.
//!
//! Received is the last of them: a message whose first line begins with a blank goes on with the field before it, and what stands in
//! Received is trusted by nobody, which cannot be said of the results of screening.

use std::fmt::Write;
use std::net::IpAddr;

use jiff::Timestamp;
use mail::{ForwardPath, MessageId, ReversePath};
use smtp::Tls;

/// What the fields tell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace<'t> {
    pub(crate) reverse_path: &'t ReversePath,
    /// What stands between: the results of screening, what the message lacks. Each line ended by CRLF.
    pub(crate) fields: &'t [u8],
    /// What the client called itself.
    pub(crate) helo: &'t str,
    /// From where; `None`: that is kept from the recipients, and what the client called itself with it.
    pub(crate) peer: Option<IpAddr>,
    /// Our own name.
    pub(crate) host: &'t str,
    /// The word after `with`.
    pub(crate) protocol: &'static str,
    pub(crate) tls: Option<Tls>,
    pub(crate) id: MessageId,
    /// The recipient, where there is only one: others must not learn of each other (RFC 5321 §7.2).
    pub(crate) sole_recipient: Option<&'t ForwardPath>,
    /// What MT-PRIORITY said.
    pub(crate) priority: Option<i8>,
    pub(crate) at: Timestamp,
}

impl Trace<'_> {
    /// The fields, each line ended by CRLF.
    pub(crate) fn fields(&self) -> Vec<u8> {
        let mut received = String::with_capacity(USUAL_OCTETS);
        // Writing to a String does not fail.
        self.received(&mut received).unwrap_or_default();
        [format!("Return-Path: {}\r\n", self.reverse_path).as_bytes(), self.fields, received.as_bytes()].concat()
    }

    fn received(&self, text: &mut String) -> std::fmt::Result {
        text.push_str("Received: ");
        match self.peer.map(|peer| peer.to_canonical()) {
            Some(IpAddr::V4(v4)) => write!(text, "from {} ([{v4}])\r\n\t", self.helo)?,
            Some(IpAddr::V6(v6)) => write!(text, "from {} ([IPv6:{v6}])\r\n\t", self.helo)?,
            None => {}
        }
        write!(text, "by {} (Gatepost) with {} id {}", self.host, self.protocol, self.id)?;
        if let Some(recipient) = self.sole_recipient {
            write!(text, "\r\n\tfor {recipient}")?;
        }
        // Additional-Registered-Clauses come last.
        if let Some(tls) = self.tls {
            write!(text, "\r\n\ttls {}", tls.cipher)?;
        }
        if let Some(priority) = self.priority {
            write!(text, "\r\n\tPRIORITY {priority}")?;
        }
        text.push_str(";\r\n\t");
        date(text, self.at)?;
        text.push_str("\r\n");
        Ok(())
    }
}

/// RFC 5322 §3.3, in UTC.
pub(crate) fn date(text: &mut String, at: Timestamp) -> std::fmt::Result {
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let day = match at.weekday() {
        jiff::civil::Weekday::Monday => "Mon",
        jiff::civil::Weekday::Tuesday => "Tue",
        jiff::civil::Weekday::Wednesday => "Wed",
        jiff::civil::Weekday::Thursday => "Thu",
        jiff::civil::Weekday::Friday => "Fri",
        jiff::civil::Weekday::Saturday => "Sat",
        jiff::civil::Weekday::Sunday => "Sun",
    };
    let month = usize::try_from(at.month() - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default();
    write!(text, "{day}, {} {month} {} {:02}:{:02}:{:02} +0000", at.day(), at.year(), at.hour(), at.minute(), at.second())
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const USUAL_OCTETS: usize = 384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_a_postmaster_reads_them() {
        let (reverse_path, recipient) =
            (ReversePath::parse("<ann@example.org>").unwrap(), ForwardPath::parse("<bob@example.net>").unwrap());
        let trace = Trace {
            reverse_path: &reverse_path,
            fields: b"",
            helo: "client.example",
            peer: Some("::ffff:192.0.2.7".parse().unwrap()),
            host: "mx.example",
            protocol: "ESMTPS",
            tls: Some(Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", exporter: false, certificate: false }),
            id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            sole_recipient: Some(&recipient),
            priority: None,
            at: "2026-11-02T09:08:07Z".parse().unwrap(),
        };
        let text = "Return-Path: <ann@example.org>\r\n\
            Received: from client.example ([192.0.2.7])\r\n\
            \tby mx.example (Gatepost) with ESMTPS id 01ARZ3NDEKTSV4RRFFQ69G5FAV\r\n\
            \tfor <bob@example.net>\r\n\
            \ttls TLS_AES_128_GCM_SHA256;\r\n\
            \tMon, 2 Nov 2026 09:08:07 +0000\r\n";
        assert_eq!(str::from_utf8(&trace.fields()), Ok(text));

        let ranked = str::from_utf8(&Trace { priority: Some(-3), ..trace }.fields()).unwrap().to_owned();
        assert_eq!(ranked, text.replace("_SHA256;\r\n", "_SHA256\r\n\tPRIORITY -3;\r\n"));

        let plain = Trace {
            reverse_path: &ReversePath::Null,
            peer: Some("2001:db8::7".parse().unwrap()),
            protocol: "SMTP",
            tls: None,
            sole_recipient: None,
            fields: b"Authentication-Results: mx.example; none\r\n",
            ..trace
        };
        let text = "Return-Path: <>\r\n\
            Authentication-Results: mx.example; none\r\n\
            Received: from client.example ([IPv6:2001:db8::7])\r\n\
            \tby mx.example (Gatepost) with SMTP id 01ARZ3NDEKTSV4RRFFQ69G5FAV;\r\n\
            \tMon, 2 Nov 2026 09:08:07 +0000\r\n";
        assert_eq!(str::from_utf8(&plain.fields()), Ok(text));

        let hidden = Trace { peer: None, fields: b"", ..plain };
        let text = "Return-Path: <>\r\n\
            Received: by mx.example (Gatepost) with SMTP id 01ARZ3NDEKTSV4RRFFQ69G5FAV;\r\n\
            \tMon, 2 Nov 2026 09:08:07 +0000\r\n";
        assert_eq!(str::from_utf8(&hidden.fields()), Ok(text));
    }
}
