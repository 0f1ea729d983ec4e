//! What is said over the control socket: JSON, one line each way.
//!
//! A request is its name, `"status"`, or its name with what it needs,
//! `{"directory":{"add-user":{"name":"...","password_hash":"..."}}}`. Unknown names and unknown fields are refused.

mod bans;
mod gate;
mod quarantine;
mod recipients;
mod sessions;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use bans::{Ban, BanRequest};
pub use gate::{
    ClientStatus, ExemptionStatus, Explained, GateRequest, GateStatus, Origin, Override, PhaseStatus, RefusedSource, Returns, Setting,
};
pub use quarantine::{QuarantineRequest, Quarantined};
pub use recipients::{RecipientExplained, RecipientRequest, RecipientStep};
pub use sessions::{Session, SessionsRequest};

/// What is asked of a running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Read the configuration again.
    Reload,
    /// How are you?
    Status,
    /// Show or change who mail is for and who may log in.
    Directory(DirectoryRequest),
    /// Explain or steer the gate.
    Gate(GateRequest),
    /// Show or end sessions.
    Sessions(SessionsRequest),
    /// Show, make or end bans.
    Bans(BanRequest),
    /// Show messages that are held, or end that.
    Quarantine(QuarantineRequest),
    /// Explain a recipient.
    Recipient(RecipientRequest),
}

/// What is asked of a directory, whether its server runs or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum DirectoryRequest {
    /// A new account.
    AddUser {
        name: String,
        password_hash: PasswordHash,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verifier: Option<PasswordHash>,
    },
    /// A new password.
    SetPassword {
        name: String,
        password_hash: PasswordHash,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verifier: Option<PasswordHash>,
    },
    /// Settings of an account; what is not there stays.
    SetUser {
        name: String,
        #[serde(default)]
        quota: QuotaChange,
        /// Addresses elsewhere that its mail is to go to as well.
        #[serde(default)]
        forwards: Option<Vec<String>>,
    },
    /// Removes an account and its mail.
    RemoveUser { name: String },
    /// The accounts.
    ListUsers,
    /// A new domain, or a new postmaster for one.
    PutDomain { name: String, postmaster: Option<String> },
    /// Settings of a domain; what is not there stays, and an empty text is none.
    SetDomain {
        name: String,
        #[serde(default)]
        postmaster: Option<String>,
        #[serde(default)]
        delimiter: Option<String>,
        #[serde(default)]
        catch_all: Option<String>,
        #[serde(default)]
        quota: QuotaChange,
    },
    /// Removes a domain.
    RemoveDomain { name: String },
    /// The domains.
    ListDomains,
    /// A new alias, or new targets for one.
    PutAlias { name: String, targets: Vec<String> },
    /// Removes an alias.
    RemoveAlias { name: String },
    /// The aliases.
    ListAliases,
    /// A new list.
    AddList { name: String, posting: Posting, members: Vec<String> },
    /// Settings and members of a list; what is not there stays.
    SetList {
        name: String,
        #[serde(default)]
        posting: Option<Posting>,
        #[serde(default)]
        join: Vec<String>,
        #[serde(default)]
        leave: Vec<String>,
    },
    /// Removes a list.
    RemoveList { name: String },
    /// The lists.
    ListLists,
    /// What a SCRAM verifier of this account is salted with, whether there is such an account or not.
    Salt { name: String },
}

/// What `auth::hash_password`, or `auth::scram_verifier`, made of a password. Does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reply {
    /// It is done.
    Done,
    /// It is done, and so many sessions of the account were told to end.
    SessionsEnd(usize),
    /// The new configuration is in force.
    Reloaded(Reloaded),
    /// How the server is.
    Status(Box<Status>),
    /// The accounts.
    Users(Vec<User>),
    /// The domains.
    Domains(Vec<Domain>),
    /// The aliases.
    Aliases(Vec<Alias>),
    /// The lists.
    Lists(Vec<List>),
    /// What a verifier is salted with.
    Salt([u8; 16]),
    /// What would become of a recipient.
    Recipient(RecipientExplained),
    /// Why a connection was refused.
    Explained(Box<Explained>),
    /// Who was refused, and what they have done since.
    Returns(Box<Returns>),
    /// Who is banned, after what was asked for was done.
    Bans(Vec<Ban>),
    /// Messages that are held, the oldest first.
    Quarantined(Vec<Quarantined>),
    /// A piece of one of them.
    Text(Vec<u8>),
    /// How the gate is, after what was asked for was done.
    GateStatus(Box<GateStatus>),
    /// Sessions in use, the oldest first.
    Sessions(Vec<Session>),
    /// It was not done; each line says why and what to do.
    Refused(Vec<String>),
}

/// What a reload changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys that changed and are in force.
    pub applied: Vec<String>,
    /// Keys that changed and need a restart.
    pub needs_restart: Vec<String>,
    /// What an operator has set for a time, which goes before the file until then.
    pub kept: Vec<String>,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name in DNS.
    pub name: String,
    /// The same for people, where it has letters beyond ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unicode: Option<String>,
    /// Who gets its postmaster's mail, when that is set.
    pub postmaster: Option<String>,
    /// What separates details in its addresses; empty for nothing.
    pub delimiter: String,
    /// Where mail for nobody else goes, when that is set.
    pub catch_all: Option<String>,
    /// What an account of it may hold that has no limit of its own.
    #[serde(flatten)]
    pub quota: Quota,
}

/// What may be held, where there is a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Octets, as POP3 counts them.
    #[serde(rename = "quota_octets")]
    pub octets: Option<u64>,
    /// Messages.
    #[serde(rename = "quota_messages")]
    pub messages: Option<u64>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its address.
    pub name: String,
    /// Octets in its mailbox, as POP3 counts them.
    pub octets: u64,
    /// Messages in its mailbox.
    pub messages: u64,
    /// What it may hold.
    #[serde(flatten)]
    pub quota: Quota,
    /// Addresses elsewhere that its mail is to go to as well.
    pub forwards: Vec<String>,
    /// Whether it has what SCRAM takes; while somebody has not, SCRAM is not offered.
    pub scram: bool,
}

/// What an account or a domain may hold from now on; what is not there stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaChange {
    /// Octets, as POP3 counts them.
    pub octets: Option<Limit>,
    /// Messages.
    pub messages: Option<Limit>,
}

/// One limit of a quota: `"domain"`, `"none"` or `{"at":1000}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The domain's, if it has one.
    Domain,
    /// None, whatever the domain's is.
    None,
    /// So much.
    At(u64),
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    /// Its address.
    pub name: String,
    /// What it stands for.
    pub targets: Vec<String>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its address.
    pub name: String,
    /// Who may post.
    pub posting: Posting,
    /// Its members, those with an address here first.
    pub members: Vec<String>,
}

/// Who may post to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Posting {
    /// Whoever sends mail.
    Anyone,
    /// Accounts that get its mail.
    Members,
    /// Accounts of its domain.
    Domain,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// For how long it has run.
    pub uptime_seconds: u64,
    /// `starting`, `open`, `store_down` (mail is fetched, and none taken), `drained` (by an operator) or `draining` (for good).
    pub node: String,
    /// Why it takes no mail at present; nothing when it does.
    pub not_ready: Vec<String>,
    /// The limit on sessions.
    pub max_inbound: u32,
    /// Sessions in use.
    pub in_use: u32,
    /// Sessions beyond a limit that was lowered.
    pub over_limit: u32,
    /// The most sessions ever in use at once.
    pub peak: u32,
    /// Sessions let in since the start.
    pub admitted: u64,
    /// Sessions turned away since the start, by rule.
    pub refused: BTreeMap<String, u64>,
    /// The addresses with the most sessions.
    pub holders: Vec<Holder>,
    /// Where it listens.
    pub listening: Vec<Listening>,
    /// Every other figure, by its metric's name.
    pub figures: BTreeMap<String, u64>,
}

/// A service and an address it is served on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Its key in the configuration, as `smtp`.
    pub service: String,
    /// The address, with the port it got.
    pub address: SocketAddr,
}

/// A source and the sessions it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The prefix, as `192.0.2.7/32`.
    pub prefix: String,
    /// Its sessions.
    pub sessions: u32,
}

impl From<::gate::Holder> for Holder {
    fn from(holder: ::gate::Holder) -> Self {
        Self { prefix: holder.prefix.to_string(), sessions: holder.sessions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_they_are_documented() {
        let add = r#"{"directory":{"add-user":{"name":"ann@example.org","password_hash":"$argon2id$x"}}}"#;
        let request = Request::Directory(DirectoryRequest::AddUser {
            name: "ann@example.org".into(),
            password_hash: PasswordHash("$argon2id$x".into()),
            verifier: None,
        });
        assert_eq!(serde_json::to_string(&request).unwrap(), add);
        assert_eq!(serde_json::from_str::<Request>(add).unwrap(), request);
        assert_eq!(serde_json::from_str::<Request>("\"status\"").unwrap(), Request::Status);
        for wrong in ["\"stop\"", "{}", "{\"directory\":{\"remove-user\":{\"name\":\"a\",\"force\":true}}}"] {
            assert!(serde_json::from_str::<Request>(wrong).is_err(), "{wrong}");
        }
        assert!(!format!("{request:?}").contains("argon2id"));
    }
}
