//! What may be written about recipients.

use std::path::PathBuf;

use mail::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Finding;

/// Whom mail is taken for. Domains, accounts, aliases and lists are not in this file: `gatepost domain`, `user`, `alias` and
/// `list` keep them. docs/recipients.md explains how an address is looked up, quotas, lists and the query.
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
    /// For how long an answer is remembered; "0s" for not at all.
    pub(crate) remember: Span,
    /// For how long it is remembered that nobody has an address.
    pub(crate) remember_unknown: Span,
    /// How many addresses are remembered that somebody has, and how many that nobody has. Some 200 bytes each.
    pub(crate) remembered: u32,
}

impl Default for Recipients {
    fn default() -> Self {
        Self {
            quota_warning_percent: 90,
            database: PathBuf::new(),
            query: String::new(),
            query_timeout: Span::secs(5),
            remember: Span::mins(5),
            remember_unknown: Span::mins(1),
            remembered: 10_000,
        }
    }
}

impl Recipients {
    /// How addresses are asked about, where they are.
    pub(crate) fn lookup(&self) -> Option<recipients::Settings> {
        let is_asked = !self.database.as_os_str().is_empty() && !self.query.is_empty();
        is_asked.then(|| recipients::Settings {
            database: self.database.clone(),
            query: self.query.clone(),
            timeout: self.query_timeout.0,
            remember: self.remember.0,
            remember_unknown: self.remember_unknown.0,
            remembered: usize::try_from(self.remembered).unwrap_or(usize::MAX),
        })
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
        found
    }

    /// Whether the database here can be asked.
    pub(super) fn surroundings(&self) -> Option<Finding> {
        let recipients::Settings { database, query, .. } = self.lookup()?;
        let error = recipients::check(&database, &query).err()?;
        let key = if matches!(error, recipients::Error::Open { .. }) { "recipients.database" } else { "recipients.query" };
        Some(Finding::error(key, error.to_string()))
    }
}
