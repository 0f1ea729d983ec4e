//! The trace fields we put before a message: Return-Path and Received (RFC 5321 §4.4), with the clauses of RFC 3848 and RFC 8314.
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
    /// The fields of screening, each line ended by CRLF.
    pub(crate) results: &'t [u8],
    /// What the client called itself.
    pub(crate) helo: &'t str,
    pub(crate) peer: IpAddr,
    /// Our own name.
    pub(crate) host: &'t str,
    /// The word after `with`.
    pub(crate) protocol: &'static str,
    pub(crate) tls: Option<Tls>,
    pub(crate) id: MessageId,
    /// The recipient, where there is only one: others must not learn of each other (RFC 5321 §7.2).
    pub(crate) sole_recipient: Option<&'t ForwardPath>,
    pub(crate) at: Timestamp,
}

impl Trace<'_> {
    /// The fields, each line ended by CRLF.
    pub(crate) fn fields(&self) -> Vec<u8> {
        let mut received = String::with_capacity(USUAL_OCTETS);
        // Writing to a String does not fail.
        self.received(&mut received).unwrap_or_default();
        [format!("Return-Path: {}\r\n", self.reverse_path).as_bytes(), self.results, received.as_bytes()].concat()
    }

    fn received(&self, text: &mut String) -> std::fmt::Result {
        write!(text, "Received: from {} (", self.helo)?;
        match self.peer.to_canonical() {
            IpAddr::V4(v4) => write!(text, "[{v4}]")?,
            IpAddr::V6(v6) => write!(text, "[IPv6:{v6}]")?,
        }
        write!(text, ")\r\n\tby {} (Gatepost) with {} id {}", self.host, self.protocol, self.id)?;
        if let Some(tls) = self.tls {
            write!(text, "\r\n\ttls {}", tls.cipher)?;
        }
        if let Some(recipient) = self.sole_recipient {
            write!(text, "\r\n\tfor {recipient}")?;
        }
        text.push_str(";\r\n\t");
        date(text, self.at)?;
        text.push_str("\r\n");
        Ok(())
    }
}

/// RFC 5322 §3.3, in UTC.
fn date(text: &mut String, at: Timestamp) -> std::fmt::Result {
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
            results: b"",
            helo: "client.example",
            peer: "::ffff:192.0.2.7".parse().unwrap(),
            host: "mx.example",
            protocol: "ESMTPS",
            tls: Some(Tls { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256", exporter: false, certificate: false }),
            id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            sole_recipient: Some(&recipient),
            at: "2026-11-02T09:08:07Z".parse().unwrap(),
        };
        let text = "Return-Path: <ann@example.org>\r\n\
            Received: from client.example ([192.0.2.7])\r\n\
            \tby mx.example (Gatepost) with ESMTPS id 01ARZ3NDEKTSV4RRFFQ69G5FAV\r\n\
            \ttls TLS_AES_128_GCM_SHA256\r\n\
            \tfor <bob@example.net>;\r\n\
            \tMon, 2 Nov 2026 09:08:07 +0000\r\n";
        assert_eq!(str::from_utf8(&trace.fields()), Ok(text));

        let plain = Trace {
            reverse_path: &ReversePath::Null,
            peer: "2001:db8::7".parse().unwrap(),
            protocol: "SMTP",
            tls: None,
            sole_recipient: None,
            results: b"Authentication-Results: mx.example; none\r\n",
            ..trace
        };
        let text = "Return-Path: <>\r\n\
            Authentication-Results: mx.example; none\r\n\
            Received: from client.example ([IPv6:2001:db8::7])\r\n\
            \tby mx.example (Gatepost) with SMTP id 01ARZ3NDEKTSV4RRFFQ69G5FAV;\r\n\
            \tMon, 2 Nov 2026 09:08:07 +0000\r\n";
        assert_eq!(str::from_utf8(&plain.fields()), Ok(text));
    }
}
