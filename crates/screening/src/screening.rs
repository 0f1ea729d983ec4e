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
    /// What fills the reply's blank, where the message is refused for this: printable ASCII. Of a milter, the reply itself.
    pub(crate) said: Option<String>,
    /// The reply in the place of the check's own, where the message is rejected for this.
    pub(crate) refusal: Option<Reply>,
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
        let Found { outcome, detail, policy, said, refusal } = found;
        let verdict = rule.judge(outcome, policy);
        // A milter's words are for its own verdict.
        let said = said.filter(|_| check != Check::Milter || verdict == policy);
        self.findings.push(Finding { check, rule: number, outcome, detail, verdict, said, refusal });
    }
}

impl Found {
    pub(crate) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), policy: Verdict::Accept, said: None, refusal: None }
    }

    /// The same, with the domain to tell the client of: of one too long for a reply, only what it is.
    pub(crate) fn of_domain(outcome: Outcome, domain: &str, else_said: &str, detail: String) -> Self {
        let said = if domain.len() <= SAID_OCTETS { domain } else { else_said };
        Self { said: Some(said.to_owned()), ..Self::new(outcome, detail) }
    }
}

/// What fills a blank of a reply, which is to stay one line of 200 octets beside an address of IPv6.
pub(crate) const SAID_OCTETS: usize = 90;

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
