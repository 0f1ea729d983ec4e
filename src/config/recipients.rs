//! What may be written about recipients.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Finding;

/// Whom mail is taken for. Domains, accounts, aliases and lists are not in this file: `gatepost domain`, `user`, `alias` and
/// `list` keep them.
/// docs/recipients.md explains how an address is looked up, quotas and lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recipients {
    /// With how many percent of its quota in use a mailbox is told of in the log ("maildrop nearly full"), once each time a message
    /// brings it there. From 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) quota_warning_percent: u8,
}

impl Default for Recipients {
    fn default() -> Self {
        Self { quota_warning_percent: 90 }
    }
}

impl Recipients {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if !(1..=100).contains(&self.quota_warning_percent) {
            found.push(Finding::error("recipients.quota_warning_percent", "must be from 1 to 100: it is a share of the quota"));
        }
        found
    }
}
