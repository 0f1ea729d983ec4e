//! What is asked about messages that are held and what is answered.

use serde::{Deserialize, Serialize};

/// What is asked of a store's quarantine, whether its server runs or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum QuarantineRequest {
    /// What is held?
    List {
        /// In the mailbox of this account alone.
        #[serde(default)]
        user: Option<String>,
    },
    /// What does it say?
    Show {
        /// The message's id.
        id: String,
        /// From which octet on; the answer is a piece, and the last one is empty.
        from: u64,
    },
    /// Let it be listed from the next login on.
    Release {
        /// The message's id.
        id: String,
        /// In the mailbox of this account alone.
        #[serde(default)]
        user: Option<String>,
    },
    /// Delete it.
    Remove {
        /// The message's id.
        id: String,
        /// In the mailbox of this account alone.
        #[serde(default)]
        user: Option<String>,
    },
}

/// One message, held in one mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The message's id, as in Received and in the log.
    pub id: String,
    /// Whose mailbox it is in.
    pub user: String,
    /// When it was accepted, RFC 3339.
    pub received: String,
    /// MAIL FROM; empty for a bounce.
    pub sender: String,
    /// Its size as POP3 counts it.
    pub octets: u64,
    /// What was found, in words.
    pub reason: String,
    /// When it is released by itself, RFC 3339; left out where only you release it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
