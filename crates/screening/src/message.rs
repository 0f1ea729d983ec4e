//! The checks of a message: DKIM, ARC, DMARC, attachments, services, and the field that tells all results.

use mail_auth::arc::ArcError;
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dmarc::Policy;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::{
    ArcOutput, AuthenticatedMessage, AuthenticationResults, DkimOutput, DkimResult, DmarcOutput, DmarcResult, Error, SpfOutput,
};
use smtp::Reply;

use crate::check::Check;
use crate::client_name::ClientName;
use crate::hook;
use crate::letter::Letter;
use crate::milter::{self, Told};
use crate::reading::{HEADER_OCTETS, IDENTITY_OCTETS, LINES_MOST, Text};
use crate::screener::{Screener, Sender};
use crate::screening::{Found, Screening};
use crate::spf;
use crate::verdict::{Outcome, Verdict};

/// One message that is asked about, and what was found of it, each thing once.
pub(crate) struct Message<'m> {
    screener: &'m Screener,
    sender: &'m Sender<'m>,
    text: &'m Text,
    /// None where it has no header.
    message: Option<&'m AuthenticatedMessage<'m>>,
    dkim: Option<Vec<DkimOutput<'m>>>,
    arc: Option<ArcOutput<'m>>,
    dmarc: Option<DmarcOutput>,
    /// None until a service is asked.
    client_name: Option<ClientName>,
    /// What milters have said so far.
    milters: Verdict,
    /// What hooks have.
    hooks: Verdict,
}

impl<'m> Message<'m> {
    pub(crate) fn new(
        screener: &'m Screener,
        sender: &'m Sender<'m>,
        text: &'m Text,
        message: Option<&'m AuthenticatedMessage<'m>>,
    ) -> Self {
        let (milters, hooks) = (Verdict::Accept, Verdict::Accept);
        Self { screener, sender, text, message, dkim: None, arc: None, dmarc: None, client_name: None, milters, hooks }
    }

    /// Asks one check. Those of the envelope are not asked here.
    pub(crate) async fn ask(&mut self, check: Check, screening: &mut Screening, letter: &mut Letter<'_>) -> Found {
        match check {
            Check::Dkim | Check::Arc | Check::Dmarc => self.signed(check, screening).await,
            Check::Attachments => self.text.attachments().unwrap_or_else(|| Found::new(Outcome::None, "not looked for")),
            // Boxed: they are large, and asked by few.
            Check::Rspamd => match self.screener.services().rspamd() {
                Some((http, rspamd)) => {
                    let name = self.client_name.clone().unwrap_or_default();
                    Box::pin(rspamd.ask(http, self.sender, &name, letter)).await
                }
                None => Found::new(Outcome::None, NO_SERVICE),
            },
            Check::Milter if !self.text.is_whole() => evasion(Reply::HEADER_UNCLEAR, not_whole()),
            // Names and values end with one in the protocol: what stands behind it would be hidden from milters.
            Check::Milter if self.text.header().is_some_and(|header| memchr::memchr(b'\0', header).is_some()) => {
                evasion(Reply::HEADER_UNCLEAR, "its header has a NUL".into())
            }
            Check::Milter => {
                let (screener, milters, name) =
                    (self.screener, self.screener.services().milters(), self.client_name.clone().unwrap_or_default());
                let client = milter::Client { host: screener.host(), sender: self.sender, name: &name };
                let asked = milter::ask(milters, screener.dns(), client, letter, &mut self.milters);
                let Told { found, fields } = Box::pin(asked).await;
                screening.added = fields;
                found
            }
            Check::Hook => match self.screener.services().hooks() {
                Some(hooks) => Box::pin(hook::ask(hooks, self.sender, letter, self.text.header(), screening, &mut self.hooks)).await,
                None => Found::new(Outcome::None, NO_SERVICE),
            },
            Check::Early | Check::Iprev | Check::Helo | Check::Lists | Check::Spf | Check::Greylist => {
                Found::new(Outcome::None, "asked at MAIL")
            }
        }
    }

    /// Asks for the name of the client's address, where this check tells it to somebody. To be awaited before the check's own time begins: whoever
    /// has a silent DNS server for their addresses is not to use that up.
    pub(crate) async fn look_up_client(&mut self, check: Check) {
        if matches!(check, Check::Rspamd | Check::Milter) && self.client_name.is_none() {
            self.client_name = Some(Box::pin(ClientName::of(self.screener.dns(), self.sender.ip)).await);
        }
    }

    /// What goes by the header.
    async fn signed(&mut self, check: Check, screening: &mut Screening) -> Found {
        if !self.text.is_whole() {
            return evasion(Reply::HEADER_UNCLEAR, not_whole());
        }
        let Some(message) = self.message else {
            let detail = "it has no header";
            return if check == Check::Dmarc { evasion(Reply::AUTHOR_UNCLEAR, detail.into()) } else { Found::new(Outcome::None, detail) };
        };
        match check {
            Check::Dkim => self.dkim(message).await,
            Check::Arc => self.arc(message).await,
            _ => self.dmarc(message, screening).await,
        }
    }

    /// RFC 6376: one signature that holds is enough.
    async fn dkim(&mut self, message: &'m AuthenticatedMessage<'m>) -> Found {
        let outputs = self.signatures(message).await;
        let told = outputs.iter().map(told).collect::<Vec<_>>().join(", ");
        let any = |wanted: fn(&DkimResult) -> bool| outputs.iter().any(|output| wanted(output.result()));
        match () {
            () if outputs.is_empty() => Found::new(Outcome::None, "it is not signed"),
            () if any(|result| matches!(result, DkimResult::Pass)) => Found::new(Outcome::Pass, told),
            () if any(|result| matches!(result, DkimResult::TempError(_))) => Found::new(Outcome::Unsure, told),
            () => Found::new(Outcome::Fail, told),
        }
    }

    async fn signatures(&mut self, message: &'m AuthenticatedMessage<'m>) -> &[DkimOutput<'m>] {
        if self.dkim.is_none() {
            self.dkim = Some(self.screener.dns().authenticator().verify_dkim(message).await);
        }
        self.dkim.as_deref().unwrap_or_default()
    }

    /// RFC 8617.
    async fn arc(&mut self, message: &'m AuthenticatedMessage<'m>) -> Found {
        let output = self.screener.dns().authenticator().verify_arc(message).await;
        // mail-auth looks for a chain by its signatures alone.
        let is_torn = *output.result() == DkimResult::None && !(message.as_headers.is_empty() && message.aar_headers.is_empty());
        let output = if is_torn { output.with_result(DkimResult::Fail(Error::Arc(ArcError::BrokenChain))) } else { output };
        let found = match output.result() {
            DkimResult::Pass => Found::new(Outcome::Pass, format!("{} seals hold", output.sets().len())),
            DkimResult::None => Found::new(Outcome::None, "it is not sealed"),
            DkimResult::TempError(error) => Found::new(Outcome::Unsure, error.to_string()),
            DkimResult::Neutral(error) | DkimResult::Fail(error) | DkimResult::PermError(error) => {
                Found::new(Outcome::Fail, error.to_string())
            }
        };
        self.arc = Some(output);
        found
    }

    /// RFC 9989, with SPF and DKIM, which are asked for it where no rule has done so.
    async fn dmarc(&mut self, message: &'m AuthenticatedMessage<'m>, screening: &mut Screening) -> Found {
        // RFC 5322 §3.6 asks for one. Which of several a mail program shows nobody knows, so no policy could be the right one; and
        // what it shows where there is none, or none that can be read, is the sender's choice.
        let froms = message.headers.iter().filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"From")).count();
        if froms != 1 {
            return evasion(Reply::AUTHOR_UNCLEAR, format!("it has {froms} From fields"));
        }
        if screening.spf.is_none() {
            spf::ask(self.screener, self.sender, screening).await;
        }
        self.signatures(message).await;
        let (nothing, unsigned) = (SpfOutput::default(), Vec::new());
        let (spf, dkim) = (screening.spf.as_ref().unwrap_or(&nothing), self.dkim.as_ref().unwrap_or(&unsigned));
        let parameters = DmarcParameters::new(message, dkim, &self.sender.domain, spf);
        let output = self.screener.dns().authenticator().verify_dmarc(parameters).await;
        let domain = output.domain();
        // What is no name has no policy in DNS, but mail programs show it, and some as the name it is nearly.
        let is_name = domain.is_ascii() && domain.parse::<mail::Domain>().is_ok();
        if !NAME_OCTETS.contains(&domain.len()) || !is_name {
            return evasion(Reply::AUTHOR_UNCLEAR, "its From names no domain, or several".into());
        }
        let (policy, asks) = match output.policy() {
            Policy::Reject => (Verdict::Reject, "rejection"),
            Policy::Quarantine => (Verdict::Quarantine, "quarantine"),
            Policy::None | Policy::Unspecified => (Verdict::Accept, "nothing"),
        };
        let found = match output.result() {
            DmarcResult::Pass => Found::new(Outcome::Pass, format!("{domain} stands behind it")),
            DmarcResult::Fail(_) => {
                let detail = format!("{domain} does not stand behind it, and asks for {asks}");
                Found::of_domain(Outcome::Fail, domain, "what it names", detail)
            }
            DmarcResult::TempError(error) => Found::new(Outcome::Unsure, error.to_string()),
            DmarcResult::PermError(error) => Found::new(Outcome::None, error.to_string()),
            DmarcResult::None => Found::new(Outcome::None, format!("{domain} has no policy")),
        };
        self.dmarc = Some(output);
        // Of one that cannot be told, nothing follows but what is said of that.
        if found.outcome == Outcome::Fail { Found { policy, ..found } } else { found }
    }

    /// What a check has found before its time was over.
    pub(crate) fn known(&self, check: Check) -> Verdict {
        match check {
            Check::Milter => self.milters,
            Check::Hook => self.hooks,
            _ => Verdict::Accept,
        }
    }

    /// Authentication-Results, with all that was found (RFC 8601).
    pub(crate) fn results(&self, screening: &Screening) -> String {
        let Sender { ip, helo, mail_from, domain, .. } = self.sender;
        let mut results = AuthenticationResults::new(self.screener.host());
        if let Some(iprev) = &screening.iprev {
            results = results.with_iprev_result(iprev, *ip);
        }
        if let Some(spf) = &screening.spf {
            results = match mail_from.as_str() {
                "" => results.with_spf_ehlo_result(spf, *ip, helo),
                // Whoever does not know quotes would read what stands in a quoted local part as results.
                quoted if quoted.starts_with('"') => results.with_spf_mailfrom_result(spf, *ip, domain, helo),
                mail_from => results.with_spf_mailfrom_result(spf, *ip, mail_from, helo),
            };
        }
        if let Some(dkim) = &self.dkim {
            let from = self.message.map(AuthenticatedMessage::from).filter(|from| from.len() <= IDENTITY_OCTETS).unwrap_or_default();
            results = results.with_dkim_results(dkim, from);
        }
        if let Some(arc) = &self.arc {
            results = results.with_arc_result(arc, *ip);
        }
        if let Some(dmarc) = &self.dmarc {
            results = results.with_dmarc_result(dmarc);
        }
        results.to_header()
    }
}

/// It is made so that no policy can be found for it. Whoever asks that the domain's policy be followed wants no way around it.
fn evasion(reply: Reply, detail: String) -> Found {
    Found { policy: Verdict::Reject, refusal: Some(reply), ..Found::new(Outcome::Fail, detail) }
}

fn not_whole() -> String {
    format!("its header is longer than {HEADER_OCTETS} octets or {LINES_MOST} lines, or has a line that is part of no field")
}

/// One signature, and what became of it.
fn told(output: &DkimOutput<'_>) -> String {
    match output.signature() {
        Some(signature) => format!("{} ({}): {}", signature.d, signature.s, output.result()),
        None => output.result().to_string(),
    }
}

const NO_SERVICE: &str = "there is none to ask";
/// Of a domain's name that leaves room for `_dmarc.` before it (RFC 1035 §2.3.4): what cannot be asked about has no policy either.
const NAME_OCTETS: std::ops::RangeInclusive<usize> = 1..=246;
