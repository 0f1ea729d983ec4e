//! What is asked about bans and what is answered.

use serde::{Deserialize, Serialize};

/// What is asked of a running server's bans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum BanRequest {
    /// Who is banned?
    List,
    /// Let nobody in from there, for a time.
    Add {
        /// An address or a network.
        network: String,
        /// The time.
        seconds: u64,
        /// Why.
        reason: String,
    },
    /// End a ban.
    Remove {
        /// The address or network, as it was banned.
        network: String,
    },
}

/// One ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Who may not come, as `192.0.2.0/24` or `192.0.2.7`.
    pub network: String,
    /// Why.
    pub reason: String,
    /// When it ends, RFC 3339.
    pub until: String,
    /// Time left.
    pub seconds_left: u64,
    /// Whether nobody made it but the server.
    pub automatic: bool,
    /// Connections it has refused since the server started.
    pub refused: u64,
}
