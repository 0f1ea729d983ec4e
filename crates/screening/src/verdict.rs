//! What was found, and what follows.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smtp::Reply;

use crate::check::Check;

/// What becomes of a message. Of several the greatest counts, and the last three are final: nothing is asked after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is delivered.
    #[default]
    Accept,
    /// It is delivered, with a field that says what is wrong with it.
    Tag,
    /// Likewise, and it is held: nobody sees it until an operator has decided.
    Quarantine,
    /// The client is to come back: 4xx.
    Defer,
    /// It is not taken: 5xx.
    Reject,
    /// The client is told that it was taken, and it is nowhere.
    Discard,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Pass,
    /// There is nothing to go by: no record, no signature.
    None,
    /// The domain says that it is probably not well (SPF's `~all`).
    SoftFail,
    /// It is not as it should be.
    Fail,
    /// It cannot be told at present.
    Unsure,
}

/// One check, and what it came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was asked.
    pub check: Check,
    /// The place of its rule in the operator's list, from 0.
    pub rule: usize,
    /// What it came to.
    pub outcome: Outcome,
    /// In words, for the operator. May hold what a peer has chosen.
    pub detail: String,
    /// What follows by its rule.
    pub verdict: Verdict,
    /// What fills the reply's `{detail}`: whom it is about; or what a milter wants the client to be told, where it is refused by its word, see
    /// [`Refusal`](crate::milter::wire::Refusal).
    pub said: Option<String>,
    /// The reply in the place of the check's own, where the message is rejected for this.
    pub refusal: Option<Reply>,
}

impl Verdict {
    /// The word in metrics, log lines and header fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Tag => "tag",
            Self::Quarantine => "quarantine",
            Self::Defer => "defer",
            Self::Reject => "reject",
            Self::Discard => "discard",
        }
    }

    /// Whether the message is not delivered.
    pub fn is_final(self) -> bool {
        self >= Self::Defer
    }
}

impl Outcome {
    /// The word in header fields and log lines; where RFC 8601 §2.7 has one, that.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::None => "none",
            Self::SoftFail => "softfail",
            Self::Fail => "fail",
            Self::Unsure => "temperror",
        }
    }
}

impl Finding {
    /// What the client is told, where the message is not taken because of this.
    pub fn reply(&self) -> Option<Reply> {
        match (self.verdict, self.outcome, self.check) {
            (Verdict::Reject, ..) if self.refusal.is_some() => self.refusal,
            (Verdict::Reject, _, Check::Early) => Some(Reply::TALKED_FIRST),
            (Verdict::Reject, _, Check::Iprev) => Some(Reply::IPREV_FAILED),
            (Verdict::Reject, _, Check::Helo) => Some(Reply::CLIENT_NAME_REFUSED),
            (Verdict::Reject, _, Check::Lists) => Some(Reply::CLIENT_LISTED),
            (Verdict::Reject, _, Check::Spf) => Some(Reply::SPF_FAILED),
            (Verdict::Reject | Verdict::Defer, _, Check::Greylist) => Some(Reply::GREYLISTED),
            (Verdict::Reject, _, Check::Dkim) => Some(Reply::DKIM_FAILED),
            (Verdict::Reject, _, Check::Arc) => Some(Reply::ARC_FAILED),
            (Verdict::Reject, _, Check::Dmarc) => Some(Reply::DMARC_FAILED),
            (Verdict::Reject, _, Check::Attachments) => Some(Reply::ATTACHMENT_REFUSED),
            (Verdict::Reject, _, Check::Milter) if self.said.is_some() => Some(Reply::MILTER_REFUSES),
            (Verdict::Defer, _, Check::Milter) if self.said.is_some() => Some(Reply::MILTER_DEFERS),
            (Verdict::Reject, _, Check::Rspamd | Check::Milter | Check::Hook) => Some(Reply::CONTENT_REFUSED),
            (Verdict::Defer, Outcome::Unsure, _) => Some(Reply::SCREENING_UNSURE),
            (Verdict::Defer, ..) => Some(Reply::SCREENING_DEFERS),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.check.as_str(), self.outcome.as_str(), self.detail)
    }
}
