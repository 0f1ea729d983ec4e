//! What we think of a message: who sends it, whether the sender's domain says that he may, and what becomes of it.
//!
//! A [`Screener`] holds an ordered list of [`Rule`]s. Each asks one [`Check`] and says what follows when the check fails or
//! cannot tell. Checks of the envelope (early talkers, iprev, HELO, DNS lists, SPF, greylisting) are asked at MAIL, those of the message (DKIM, ARC, DMARC, attachments, and services
//! of the operator's that want to see all of it) when all of it has come. What they found is a [`Screening`]: its [`Verdict`], its findings, the reply to the client, and the fields to
//! put before the message.
//!
//! - The message is not kept: a [`Reading`] watches it pass, keeps at most [`HEADER_OCTETS`] of its header, and hashes the rest. Whoever
//!   wants to see all of it reads it again from where it is stored ([`Source`]).
//! - No octet of a message is changed here. [`Forgeries`] takes out the fields that only we may write.
//! - Nothing here refuses a message by itself: what a failed check means is configured, and by default it means nothing.
//! - Every check has a time-out. What DNS does not answer is never taken for a no: the check is unsure, and its rule says what
//!   that means.
//!
//! [`Dns`] is the only module that knows hickory-resolver. The protocols themselves are those of mail-auth.

mod answers;
mod attachments;
mod check;
mod client_name;
mod described;
mod dns;
mod early;
mod envelope;
mod forgeries;
mod greylist;
mod hook;
mod http;
mod letter;
mod lists;
mod message;
pub mod milter;
mod parts;
mod reading;
mod rspamd;
mod screener;
mod screening;
mod services;
mod several;
mod spf;
mod spf_record;
mod turns;
mod verdict;

pub use answers::Answer;
pub use attachments::{Attachment, Pattern};
pub use check::{Check, OnFail, OnUnsure, Rule, Stage};
pub use dns::{ANSWER_OCTETS, Dns, DnsSettings, Kind, Unanswered};
pub use early::{Manners, Pause};
pub use forgeries::Forgeries;
pub use hook::Hook;
pub use http::{Endpoint, EndpointError, Source};
pub use letter::Letter;
pub use lists::{List, Lists};
pub use milter::{Milter, MilterError};
pub use reading::{HEADER_OCTETS, Reading};
pub use rspamd::Rspamd;
pub use screener::{Client, Policy, Screener};
pub use screening::Screening;
pub use services::Services;
pub use verdict::{Finding, Outcome, Verdict};

/// Why there is no screening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No DNS servers are configured, and the machine's own cannot be read.
    #[error("/etc/resolv.conf cannot be read ({0}): write screening.dns_servers")]
    NoServers(String),
    /// The resolver does not start.
    #[error("the DNS resolver does not start: {0}")]
    Resolver(String),
    /// TLS for services over HTTP cannot be set up.
    #[error("services cannot be asked over HTTP: {0}")]
    Http(String),
}
