//! What was found about one message so far, and what follows.
//!
//! Grows at MAIL and at the end of the message. The first final verdict stands: nothing is asked after it.

use std::fmt;

use mail_auth::{IprevOutput, SpfOutput};
use smtp::Reply;

use crate::check::{Check, Rule};
use crate::verdict::{Finding, Outcome, Verdict};

/// See the module.
#[derive(Debug, Default)]
pub struct Screening {
    findings: Vec<Finding>,
    pub(crate) iprev: Option<IprevOutput>,
    pub(crate) spf: Option<SpfOutput>,
    pub(crate) results: String,
    /// What milters put before the message.
    pub(crate) added: String,
}

/// What a check says of a message, before a rule makes something of it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) outcome: Outcome,
    pub(crate) detail: String,
    /// What is to follow by the check itself.
    pub(crate) policy: Verdict,
    /// What the client is to be told, where that follows.
    pub(crate) said: Option<String>,
}

impl Screening {
    /// What becomes of the message by what is known so far.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or_default()
    }

    /// What was found, in the order in which it was asked.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Because of what the message is not simply delivered: the first finding of the gravest verdict.
    pub fn reason(&self) -> Option<&Finding> {
        let verdict = self.verdict();
        self.findings.iter().find(|finding| finding.verdict == verdict).filter(|_| verdict > Verdict::Accept)
    }

    /// The first check that could not tell.
    pub fn unsure(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.outcome == Outcome::Unsure)
    }

    /// Whether a check could not tell that asks somebody of the operator's choice, whose silence is the operator's to mend.
    pub fn is_unanswered(&self) -> bool {
        self.findings.iter().any(|finding| finding.outcome == Outcome::Unsure && finding.check.asks_a_service())
    }

    /// What the client is told, where the message is not taken.
    pub fn reply(&self) -> Option<Reply> {
        self.reason().and_then(Finding::reply)
    }

    /// The fields to put before the message, each line ended by CRLF: Authentication-Results (RFC 8601), and
    /// X-Gatepost-Screening where there is something wrong with it. They name results, never what a peer has written but for the
    /// identities that RFC 8601 §2.7 asks for. Behind them stands what milters add.
    pub fn fields(&self) -> Vec<u8> {
        let mut fields = self.results.clone();
        if self.verdict() > Verdict::Accept {
            let reasons = self.findings.iter().filter(|finding| finding.verdict > Verdict::Accept);
            let reasons: Vec<_> = reasons.map(|finding| format!("{}={}", finding.check.as_str(), finding.outcome.as_str())).collect();
            fields.push_str(&format!("X-Gatepost-Screening: {}; {}\r\n", self.verdict().as_str(), reasons.join(" ")));
        }
        fields.push_str(&self.added);
        fields.into_bytes()
    }

    /// One check more.
    pub(crate) fn add(&mut self, check: Check, number: usize, rule: &Rule, found: Found) {
        let Found { outcome, detail, policy, said } = found;
        let verdict = rule.judge(outcome, policy);
        let said = said.filter(|_| verdict == policy);
        self.findings.push(Finding { check, rule: number, outcome, detail, verdict, said });
    }
}

impl Found {
    pub(crate) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), policy: Verdict::Accept, said: None }
    }
}

/// The findings without their details, as in `spf=pass dmarc=fail`.
impl fmt::Display for Screening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for Finding { check, outcome, .. } in &self.findings {
            write!(f, "{between}{}={}", check.as_str(), outcome.as_str())?;
            between = " ";
        }
        Ok(())
    }
}
