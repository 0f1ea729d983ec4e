//! What may be written about recipients.

use std::net::SocketAddr;
use std::path::PathBuf;

use mail::{Domain, Span};
use recipients::{AT_ONCE, CallForward, Database, Protocol, QUESTION_OCTETS, REMEMBERED_OCTETS, Remembering};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Finding;

/// Whom mail is taken for. Domains, accounts, aliases and lists are not in this file: `gatepost domain`, `user`, `alias` and
/// `list` keep them. docs/recipients.md explains how an address is looked up, quotas, lists, the query and the call-forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipients {
    /// With how many percent of its quota in use a mailbox is told of in the log ("maildrop nearly full"), once each time a message
    /// brings it there. From 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) quota_warning_percent: u8,
    /// An SQLite database that is asked who has an address of yours that nobody has here; "" for none. It is opened for reading, for each
    /// question anew. Needs `query`. While it cannot be asked, such addresses are told to come back later.
    pub(crate) database: PathBuf,
    /// What it is asked: one parameter, ?1, for the address in lower case, and in the first column of each row the account that gets
    /// the mail, as in "SELECT account FROM addresses WHERE address = ?1". The accounts must exist here. No row: nobody has the
    /// address.
    pub(crate) query: String,
    /// How long an answer may take.
    pub(crate) query_timeout: Span,
    /// The mail server behind this one, as "127.0.0.1:24", that is asked by MAIL FROM:<> and RCPT whether it knows an address; "" for none. It is
    /// asked about addresses that otherwise a catch-all would have, as where that server fetches the catch-all's mail by POP3 and sorts it:
    /// what it does not know is refused. It is spoken to in clear: have it on this machine or in a network that you trust. While
    /// it does not answer, such addresses are told to come back later.
    pub(crate) call_forward: String,
    /// What is spoken with it: "lmtp" or "smtp".
    pub(crate) call_forward_protocol: Protocol,
    /// How long its answer may take, at most 1m.
    pub(crate) call_forward_timeout: Span,
    /// For how long an answer, of the database or of that server, is remembered; "0s" for not at all.
    pub(crate) remember: Span,
    /// For how long it is remembered that nobody has an address.
    pub(crate) remember_unknown: Span,
    /// How many addresses are remembered that somebody has, and how many that nobody has, of the database and of that server. They take half a KiB
    /// each at most, on average over all.
    pub(crate) remembered: u32,
}

impl Default for Recipients {
    fn default() -> Self {
        Self {
            quota_warning_percent: 90,
            database: PathBuf::new(),
            query: String::new(),
            query_timeout: Span::secs(5),
            call_forward: String::new(),
            call_forward_protocol: Protocol::default(),
            call_forward_timeout: Span::secs(10),
            remember: Span::mins(5),
            remember_unknown: Span::mins(1),
            remembered: 10_000,
        }
    }
}

impl Recipients {
    /// How addresses are asked about by a server of this name, where they are.
    pub(crate) fn lookup(&self, host: Domain) -> Option<recipients::Settings> {
        let (database, call_forward) = (self.asked_database(), self.asked_server(host));
        let remembering = Remembering {
            found: self.remember.0,
            unknown: self.remember_unknown.0,
            addresses: usize::try_from(self.remembered).unwrap_or(usize::MAX),
        };
        (database.is_some() || call_forward.is_some()).then_some(recipients::Settings { database, call_forward, remembering })
    }

    /// The server behind, where one is asked.
    pub(crate) fn asked_server(&self, host: Domain) -> Option<CallForward> {
        let (server, protocol, timeout) = (self.call_forward.clone(), self.call_forward_protocol, self.call_forward_timeout.0);
        (!server.is_empty()).then_some(CallForward { server, protocol, host, timeout })
    }

    /// Octets that asking may take, and what is remembered of it.
    pub(super) fn octets_most(&self) -> u64 {
        let remembered = 2 * u64::from(self.remembered) * REMEMBERED_OCTETS as u64;
        self.asked() * (remembered + AT_ONCE as u64 * QUESTION_OCTETS)
    }

    /// File descriptors that asking may take: a connection, or a database with its companions.
    pub(super) fn descriptors_most(&self) -> u64 {
        self.asked() * AT_ONCE as u64 * 4
    }

    /// How many are asked.
    fn asked(&self) -> u64 {
        u64::from(self.asked_database().is_some()) + u64::from(!self.call_forward.is_empty())
    }

    fn asked_database(&self) -> Option<Database> {
        let (path, query, timeout) = (self.database.clone(), self.query.clone(), self.query_timeout.0);
        (!path.as_os_str().is_empty() && !query.is_empty()).then_some(Database { path, query, timeout })
    }

    /// What is wrong by itself.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !(1..=100).contains(&self.quota_warning_percent) {
            found.push(Finding::error("recipients.quota_warning_percent", "must be from 1 to 100: it is a share of the quota"));
        }
        match (self.database.as_os_str().is_empty(), self.query.is_empty()) {
            (false, true) => found.push(Finding::error("recipients.query", "is missing: without it recipients.database is not asked")),
            (true, false) => found.push(Finding::error("recipients.database", "is missing: without it recipients.query asks nobody")),
            _ => {}
        }
        if self.query_timeout.0.is_zero() {
            found.push(Finding::error("recipients.query_timeout", "must be longer than 0s: no answer would be in time"));
        }
        if !self.call_forward.is_empty() && !is_server(&self.call_forward) {
            let message =
                format!("{:?} is not a server: write its address or name and its port, as in \"127.0.0.1:24\"", self.call_forward);
            found.push(Finding::error("recipients.call_forward", message));
        }
        if self.call_forward_timeout.0.is_zero() || self.call_forward_timeout > LONGEST {
            let message =
                format!("must be longer than 0s, or no answer is in time, and at most {LONGEST}, or clients leave before their reply");
            found.push(Finding::error("recipients.call_forward_timeout", message));
        }
        found
    }

    /// Whether the database here can be asked.
    pub(super) fn surroundings(&self) -> Option<Finding> {
        let error = self.asked_database()?.check().err()?;
        let key = if matches!(error, recipients::Error::Open { .. }) { "recipients.database" } else { "recipients.query" };
        Some(Finding::error(key, error.to_string()))
    }
}

/// Whether it says where a server listens.
fn is_server(text: &str) -> bool {
    let by_name = |(name, port): (&str, &str)| name.parse::<Domain>().is_ok() && port.parse().is_ok_and(|port: u16| port > 0);
    text.parse().map_or_else(|_| text.rsplit_once(':').is_some_and(by_name), |address: SocketAddr| address.port() > 0)
}

/// A client waits five minutes for the reply to RCPT (RFC 5321, section 4.5.3.2.3), for which an address may be asked about twice.
const LONGEST: Span = Span::mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_takes_memory_and_descriptors() {
        let parse = |text: &str| toml::from_str::<Recipients>(text).unwrap();
        let (nobody, both) =
            (Recipients::default(), parse("call_forward = '[::1]:24'\ndatabase = 'people'\nquery = 'SELECT ?1'\nremembered = 1024"));
        assert_eq!((nobody.octets_most(), nobody.descriptors_most()), (0, 0));
        assert_eq!((both.octets_most(), both.descriptors_most()), (2 * ((1 << 20) + (16 << 20)), 32));
        assert!(nobody.lookup("mx.example".parse().unwrap()).is_none() && both.lookup("mx.example".parse().unwrap()).is_some());
    }

    #[test]
    fn a_server_has_a_name_or_an_address_and_a_port() {
        for (text, is) in [
            ("127.0.0.1:24", true),
            ("[::1]:24", true),
            ("dovecot:24", true),
            ("mail.example.org:25", true),
            ("127.0.0.1", false),
            ("127.0.0.1:0", false),
            ("dovecot:0", false),
            ("dovecot:lmtp", false),
            ("::1:24", false),
            ("unix:/run/lmtp", false),
            (":24", false),
        ] {
            assert_eq!(is_server(text), is, "{text}");
        }
    }
}
