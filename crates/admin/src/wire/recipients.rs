//! What is said about recipients.

use serde::{Deserialize, Serialize};

use super::Setting;

/// What would be answered to RCPT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipientRequest {
    /// The recipient's address.
    pub recipient: String,
    /// Whether the client may send to other hosts without a password.
    pub may_relay: bool,
    /// The size of the message; 0 where it is not known.
    pub octets: u64,
}

/// What would become of a recipient, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientExplained {
    /// What was found, one thing after the other.
    pub steps: Vec<RecipientStep>,
    /// The reply to RCPT, as `250 2.1.5 Recipient ok`.
    pub reply: String,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStep {
    /// In words.
    pub found: String,
    /// By which key of the configuration it was asked; the directory is always asked.
    pub setting: Option<Setting>,
}
