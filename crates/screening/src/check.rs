//! What can be asked about a message, and what the operator has said is to follow.
//!
//! Pure. A rule never makes more of a finding than its own [`OnFail`] says, with one exception that the operator chooses: what
//! the check itself says ([`OnFail::Policy`]).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verdict::{Outcome, Verdict};

/// One thing to find out, by its word in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// The client waits for its greeting (RFC 5321 §3.1).
    Early,
    /// The name of the client's address leads back to the address (RFC 8601 §3).
    Iprev,
    /// The name in EHLO is one that a mail server can have (RFC 5321 §4.1.4).
    Helo,
    /// What DNS lists say of the client's address (RFC 5782).
    Lists,
    /// The domain of the reverse-path names the client's address (RFC 7208).
    Spf,
    /// The sender has come before, or delivered mail (RFC 6647).
    Greylist,
    /// A domain has signed the message, and it is as it was then (RFC 6376).
    Dkim,
    /// Those who handed the message on have sealed what they found (RFC 8617).
    Arc,
    /// The domain in From stands behind the message, by SPF or DKIM (RFC 9989).
    Dmarc,
    /// Attachments that the operator does not want, by name or size.
    Attachments,
    /// What rspamd says.
    Rspamd,
    /// What milters say.
    Milter,
    /// What a service of the operator's own says.
    Hook,
}

/// When a check is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At MAIL: the client, its name and the reverse-path are known.
    Envelope,
    /// When the whole message has come.
    Message,
}

/// What follows when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// That verdict.
    Verdict(Verdict),
    /// What the check itself says: of DMARC what the domain in From asks for, of attachments what stands beside the one that was found,
    /// of a service what it answers. Of a check without a policy it is nothing.
    Policy,
}

/// What follows when a check cannot tell: DNS or a service is silent or broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnsure {
    /// Nothing: it fails open.
    #[default]
    Accept,
    /// The client is to come back: it fails closed.
    Defer,
}

/// One line of the operator's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is asked.
    pub check: Check,
    /// What follows when it fails.
    pub fail: OnFail,
    /// What follows when it cannot tell.
    pub unsure: OnUnsure,
    /// How long it may take.
    pub timeout: Duration,
}

impl Check {
    /// Each, in the order in which they are described.
    pub const ALL: [Self; 13] = [
        Self::Early,
        Self::Iprev,
        Self::Helo,
        Self::Lists,
        Self::Spf,
        Self::Greylist,
        Self::Dkim,
        Self::Arc,
        Self::Dmarc,
        Self::Attachments,
        Self::Rspamd,
        Self::Milter,
        Self::Hook,
    ];

    /// The word in the configuration, in metrics and in log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Iprev => "iprev",
            Self::Helo => "helo",
            Self::Lists => "lists",
            Self::Spf => "spf",
            Self::Greylist => "greylist",
            Self::Dkim => "dkim",
            Self::Arc => "arc",
            Self::Dmarc => "dmarc",
            Self::Attachments => "attachments",
            Self::Rspamd => "rspamd",
            Self::Milter => "milter",
            Self::Hook => "hook",
        }
    }

    /// When it is asked.
    pub fn stage(self) -> Stage {
        match self {
            Self::Early | Self::Iprev | Self::Helo | Self::Lists | Self::Spf | Self::Greylist => Stage::Envelope,
            Self::Dkim | Self::Arc | Self::Dmarc | Self::Attachments | Self::Rspamd | Self::Milter | Self::Hook => Stage::Message,
        }
    }

    /// Whether it asks what is in a message, whoever sends it; the others ask whether it is from whom it says, which only makes sense of
    /// strangers.
    pub fn is_about_content(self) -> bool {
        matches!(self, Self::Attachments | Self::Rspamd | Self::Milter | Self::Hook)
    }

    /// Whether it asks somebody whom the operator has chosen; the others ask DNS of the sender's, or nobody.
    pub fn asks_a_service(self) -> bool {
        matches!(self, Self::Lists | Self::Rspamd | Self::Milter | Self::Hook)
    }

    /// Whether what it finds comes with what is to follow, for [`OnFail::Policy`].
    pub fn has_policy(self) -> bool {
        matches!(self, Self::Dmarc | Self::Attachments | Self::Rspamd | Self::Milter | Self::Hook)
    }
}

impl Rule {
    /// What follows from what was found; `policy` is what the check says is to follow. One that cannot tell may have a policy, too: of what it
    /// knows all the same.
    pub(crate) fn judge(&self, outcome: Outcome, policy: Verdict) -> Verdict {
        let on_fail = match self.fail {
            OnFail::Verdict(verdict) => verdict,
            OnFail::Policy => policy,
        };
        match outcome {
            Outcome::Pass | Outcome::None => Verdict::Accept,
            // A domain that says "probably not" (~all) asks nobody to refuse its mail.
            Outcome::SoftFail => on_fail.min(Verdict::Tag),
            Outcome::Fail => on_fail,
            Outcome::Unsure => {
                let known = if policy > Verdict::Accept { on_fail } else { Verdict::Accept };
                known.max(match self.unsure {
                    OnUnsure::Accept => Verdict::Accept,
                    OnUnsure::Defer => Verdict::Defer,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_makes_of_an_outcome_what_the_operator_has_said() {
        let rule = |fail, unsure| Rule { check: Check::Spf, fail, unsure, timeout: Duration::from_secs(1) };
        let strict = rule(OnFail::Verdict(Verdict::Reject), OnUnsure::Defer);
        let outcomes = [Outcome::Pass, Outcome::None, Outcome::SoftFail, Outcome::Fail, Outcome::Unsure];
        assert_eq!(
            outcomes.map(|outcome| strict.judge(outcome, Verdict::Accept)),
            [Verdict::Accept, Verdict::Accept, Verdict::Tag, Verdict::Reject, Verdict::Defer]
        );
        let mild = rule(OnFail::Verdict(Verdict::Accept), OnUnsure::Accept);
        assert_eq!(outcomes.map(|outcome| mild.judge(outcome, Verdict::Reject)), [Verdict::Accept; 5]);
        let obedient = rule(OnFail::Policy, OnUnsure::Accept);
        assert_eq!(obedient.judge(Outcome::Fail, Verdict::Quarantine), Verdict::Quarantine);
        assert_eq!(obedient.judge(Outcome::Pass, Verdict::Reject), Verdict::Accept);
        assert_eq!(obedient.judge(Outcome::Unsure, Verdict::Quarantine), Verdict::Quarantine, "what is known all the same");
        assert_eq!(mild.judge(Outcome::Unsure, Verdict::Quarantine), Verdict::Accept);
    }
}
