//! What a peer is told that is refused at the door: the one table of those replies. Who is refused something within a session hears the
//! protocol's own reply, with the token of a [`Denial`](crate::Denial) behind it.
//!
//! Guarantees: one line, printable ASCII, at most [`ReplyLine::OCTETS_MOST`] octets with its CR LF, whatever the host's
//! name; the code, the reason and the token are always whole. What gives way is the host's name: when it is too long for
//! its line, as many of its first labels stay as fit. Rendering allocates nothing.
//!
//! For want of room never a 554 greeting (RFC 5321 §3.1 would oblige us to wait for QUIT) nor any other 5xx, and never an
//! authentication error on POP3: `[SYS/TEMP]` (RFC 3206) keeps clients from asking people for their password again. Only who is
//! denied is told so for good, with 554 and `[SYS/PERM]`. Cannot fail.

use std::fmt::{self, Write};

use ipnet::IpNet;
use mail::first_labels;

use crate::refusal::{Refusal, Rule};

/// The protocol a refused peer was going to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SMTP and its relatives on any port.
    Smtp,
    /// POP3.
    Pop3,
}

impl Refusal {
    /// Writes the reply to this refusal into `line`, replacing what it held. `host` is our own name.
    pub fn render(&self, protocol: Protocol, host: &str, line: &mut ReplyLine) {
        let code = match (protocol, self.rule) {
            (Protocol::Pop3, Rule::Denied { .. }) => "-ERR [SYS/PERM]",
            (Protocol::Pop3, _) => "-ERR [SYS/TEMP]",
            (Protocol::Smtp, Rule::Denied { .. }) => "554 5.7.1",
            (
                Protocol::Smtp,
                Rule::SourceFull { .. } | Rule::ClientFull { .. } | Rule::ShareSpent { .. } | Rule::TooOften { .. } | Rule::Banned { .. },
            ) => "421 4.7.0",
            (
                Protocol::Smtp,
                Rule::Restarting
                | Rule::Ramping { .. }
                | Rule::StoreDown
                | Rule::PoolFull { .. }
                | Rule::UnreservedFull { .. }
                | Rule::OutOfDescriptors,
            ) => "421 4.3.2",
        };
        let mut rest = ReplyLine::new();
        rest.put(format_args!(" {} [{}]\r\n", Text(&self.rule), self.token));
        *line = ReplyLine::new();
        line.put(format_args!("{code} "));
        line.put(format_args!("{}", first_labels(host, line.room().saturating_sub(rest.length))));
        line.put(format_args!("{}", rest.as_str()));
    }
}

/// A reply line, on the caller's stack.
#[derive(Clone, Debug)]
pub struct ReplyLine {
    octets: [u8; Self::OCTETS_MOST],
    length: usize,
}

impl ReplyLine {
    /// The longest line there is, CR LF included.
    pub const OCTETS_MOST: usize = mail::REFUSAL_OCTETS;

    /// An empty line.
    pub const fn new() -> Self {
        Self { octets: [0; Self::OCTETS_MOST], length: 0 }
    }

    /// The line, with its CR LF.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn room(&self) -> usize {
        Self::OCTETS_MOST - self.length
    }

    /// What does not fit as a whole is left out; the table's texts are measured to fit by a test.
    fn put(&mut self, text: fmt::Arguments<'_>) {
        let _left_out = self.write_fmt(text);
    }
}

impl Default for ReplyLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for ReplyLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.octets.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A rule in the peer's words.
struct Text<'a>(&'a Rule);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rule::Denied { .. } => f.write_str("Connections from your network are not accepted"),
            Rule::Banned { network, .. } => write!(f, "Connections from [{}] are not accepted at present", Bare(network)),
            Rule::Restarting | Rule::Ramping { .. } => f.write_str("Service restarting, try again shortly"),
            Rule::StoreDown => f.write_str("Mail store unavailable, try again later"),
            Rule::PoolFull { .. } | Rule::UnreservedFull { .. } | Rule::OutOfDescriptors => {
                f.write_str("Too many connections, try again later")
            }
            // Which networks are an entry's, and how many sessions they have together, is the operator's.
            Rule::ClientFull { .. } => f.write_str("Too many connections from your network, try again later"),
            Rule::SourceFull { prefix, limit, .. } | Rule::ShareSpent { prefix, share: limit, .. } => {
                write!(f, "Too many connections from [{}] (limit {limit}), try again later", Bare(prefix))
            }
            Rule::TooOften { prefix: Some(prefix), retry_seconds } => {
                write!(f, "Connecting too often from [{}], try again in {retry_seconds} seconds", Bare(prefix))
            }
            // Whoever hears this may have come once.
            Rule::TooOften { prefix: None, retry_seconds } => {
                write!(f, "Too many connections of late, try again in {retry_seconds} seconds")
            }
        }
    }
}

/// A prefix that is one address reads as that address.
struct Bare<'a>(&'a IpNet);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reply(rule: Rule, protocol: Protocol, host: &str) -> String {
        let mut line = ReplyLine::new();
        Refusal::new(rule, u64::MAX).render(protocol, host, &mut line);
        line.as_str().to_owned()
    }

    fn source_full(prefix: &str) -> Rule {
        Rule::SourceFull { prefix: prefix.parse().unwrap(), held: 10, limit: 10 }
    }

    #[test]
    fn the_table_word_for_word() {
        let pool_full = Rule::PoolFull { in_use: 30, limit: 30 };
        let network = "192.0.2.0/24".parse().unwrap();
        let too_often = |prefix: Option<&str>| Rule::TooOften { prefix: prefix.map(|prefix| prefix.parse().unwrap()), retry_seconds: 30 };
        let unreserved_full = Rule::UnreservedFull { general: 27, unreserved: 27, in_use: 28, limit: 30 };
        let share_spent = Rule::ShareSpent { prefix: network, held: 10, share: 10, free: 20 };
        let table = [
            (Rule::Ramping { general: 3, places: 3 }, "4.3.2", "Service restarting, try again shortly", "R1"),
            (Rule::ClientFull { network, held: 10, limit: 10 }, "4.7.0", "Too many connections from your network, try again later", "R2"),
            (share_spent, "4.7.0", "Too many connections from [192.0.2.0/24] (limit 10), try again later", "R2"),
            (too_often(Some("192.0.2.7/32")), "4.7.0", "Connecting too often from [192.0.2.7], try again in 30 seconds", "R3"),
            (too_often(Some("192.0.2.0/24")), "4.7.0", "Connecting too often from [192.0.2.0/24], try again in 30 seconds", "R3"),
            (too_often(None), "4.7.0", "Too many connections of late, try again in 30 seconds", "R3"),
            (unreserved_full, "4.3.2", "Too many connections, try again later", "R4"),
            (Rule::Restarting, "4.3.2", "Service restarting, try again shortly", "R1"),
            (Rule::StoreDown, "4.3.2", "Mail store unavailable, try again later", "R1b"),
            (source_full("192.0.2.7/32"), "4.7.0", "Too many connections from [192.0.2.7] (limit 10), try again later", "R2"),
            (source_full("192.0.2.0/24"), "4.7.0", "Too many connections from [192.0.2.0/24] (limit 10), try again later", "R2"),
            (source_full("2001:db8::/64"), "4.7.0", "Too many connections from [2001:db8::/64] (limit 10), try again later", "R2"),
            (pool_full, "4.3.2", "Too many connections, try again later", "R4"),
            (Rule::OutOfDescriptors, "4.3.2", "Too many connections, try again later", "R4b"),
        ];
        for (rule, status, text, id) in table {
            let smtp = reply(rule, Protocol::Smtp, "mx.example.org");
            assert_eq!(smtp, format!("421 {status} mx.example.org {text} [{id}.fzzzzzzzzzzzz]\r\n"));
            let pop3 = reply(rule, Protocol::Pop3, "mx.example.org");
            assert_eq!(pop3, format!("-ERR [SYS/TEMP] mx.example.org {text} [{id}.fzzzzzzzzzzzz]\r\n"));
        }
    }

    #[test]
    fn who_is_denied_is_told_so_for_good() {
        let denied = Rule::Denied { network: "192.0.2.0/24".parse().unwrap() };
        let text = "mx.example.org Connections from your network are not accepted [R0.fzzzzzzzzzzzz]\r\n";
        assert_eq!(reply(denied, Protocol::Smtp, "mx.example.org"), format!("554 5.7.1 {text}"));
        assert_eq!(reply(denied, Protocol::Pop3, "mx.example.org"), format!("-ERR [SYS/PERM] {text}"));
    }

    #[test]
    fn a_line_is_rendered_anew() {
        let mut line = ReplyLine::new();
        Refusal::new(source_full("192.0.2.7/32"), 0).render(Protocol::Pop3, "mx.example.org", &mut line);
        Refusal::new(Rule::Restarting, 1).render(Protocol::Smtp, "a", &mut line);
        assert_eq!(line.as_bytes(), b"421 4.3.2 a Service restarting, try again shortly [R1.0001]\r\n");
    }

    #[test]
    fn a_long_host_gives_way_by_whole_labels() {
        let host = ["mx1", &"b".repeat(60), &"c".repeat(60), &"d".repeat(60), &"e".repeat(60)].join(".");
        let line = reply(Rule::Restarting, Protocol::Smtp, &host);
        let kept = ["mx1", &"b".repeat(60), &"c".repeat(60)].join(".");
        assert_eq!(line, format!("421 4.3.2 {kept} Service restarting, try again shortly [R1.fzzzzzzzzzzzz]\r\n"));
    }

    #[test]
    fn a_host_that_just_fits_is_whole() {
        let frame = reply(Rule::Restarting, Protocol::Smtp, "").len();
        let fits = format!("a.{}", "b".repeat(ReplyLine::OCTETS_MOST - frame - 2));
        let line = reply(Rule::Restarting, Protocol::Smtp, &fits);
        assert!(line.contains(&fits));
        assert_eq!(line.len(), ReplyLine::OCTETS_MOST);
        assert!(reply(Rule::Restarting, Protocol::Smtp, &format!("{fits}b")).starts_with("421 4.3.2 a Service"));
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let prefix =
            (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).unwrap());
        prop_oneof![
            Just(Rule::Restarting),
            Just(Rule::StoreDown),
            Just(Rule::OutOfDescriptors),
            any::<(u32, u32)>().prop_map(|(in_use, limit)| Rule::PoolFull { in_use, limit }),
            (prefix.clone(), any::<u32>()).prop_map(|(prefix, limit)| Rule::SourceFull { prefix, held: limit, limit }),
            (prefix.clone(), any::<u32>()).prop_map(|(network, limit)| Rule::ClientFull { network, held: limit, limit }),
            (prefix.clone(), any::<u32>()).prop_map(|(prefix, share)| Rule::ShareSpent { prefix, held: share, share, free: share }),
            (proptest::option::of(prefix), any::<u32>()).prop_map(|(prefix, retry_seconds)| Rule::TooOften { prefix, retry_seconds }),
        ]
    }

    proptest! {
        #[test]
        fn any_host_makes_one_short_line_with_everything_else_whole(
            rule in any_rule(),
            host in prop_oneof!["[a-z.]{0,300}", ".{0,300}"],
            protocol in prop_oneof![Just(Protocol::Smtp), Just(Protocol::Pop3)],
        ) {
            let line = reply(rule, protocol, &host);
            prop_assert!(line.len() <= ReplyLine::OCTETS_MOST);
            let text = line.strip_suffix("\r\n").unwrap();
            prop_assert!(text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()));
            let beginning = if protocol == Protocol::Smtp { "421 4." } else { "-ERR [SYS/TEMP] " };
            prop_assert!(text.starts_with(beginning));
            let ending = format!(" {} [{}.fzzzzzzzzzzzz]", Text(&rule), rule.id());
            prop_assert!(text.ends_with(&ending));
        }
    }
}
