//! SPF (RFC 7208): the domain's record, read strictly, and what it says of the client.
//!
//! The record is had and read before it is evaluated, because mail-auth evaluates what is wrong, too; its own question is answered from the
//! cache. Where it does not pass, the records that it goes on to are read likewise: as a rule they have been asked for by then, unless a
//! mechanism with a minus before them has matched. A wrong one among them makes all of it wrong (§4.6), and nothing follows. Dropping the future is safe.

use mail_auth::spf::verify::SpfParameters;
use mail_auth::{Parameters, SpfOutput, SpfResult};

use crate::dns::{Dns, Kind};
use crate::screener::{Screener, Sender};
use crate::screening::{Found, Screening};
use crate::spf_record::{self, Record};
use crate::verdict::Outcome;

/// Of the reverse-path, or of the client's name where that is empty (§2.4).
pub(crate) async fn ask(screener: &Screener, sender: &Sender<'_>, screening: &mut Screening) -> Found {
    let Sender { ip, domain, .. } = sender;
    let mut wrong = None;
    let result = result(screener, sender, &mut wrong).await;
    let found = match result {
        SpfResult::Pass => Found::new(Outcome::Pass, format!("{domain} names {ip}")),
        SpfResult::Fail => {
            let detail = format!("{domain} does not name {ip}, and nobody else may send (-all)");
            Found::of_domain(Outcome::Fail, domain, "the sender's domain", detail)
        }
        SpfResult::SoftFail => {
            Found::new(Outcome::SoftFail, format!("{domain} does not name {ip}, and others probably may not send (~all)"))
        }
        SpfResult::Neutral => Found::new(Outcome::None, format!("{domain} does not say whether {ip} may send (?all)")),
        SpfResult::TempError => Found::new(Outcome::Unsure, format!("the record of {domain} cannot be had at present")),
        SpfResult::PermError => Found::new(Outcome::None, wrong.unwrap_or_else(|| format!("the record of {domain} is wrong"))),
        SpfResult::None => Found::new(Outcome::None, format!("{} has no record", if domain.is_empty() { "nobody" } else { domain })),
    };
    screening.spf = Some(SpfOutput::new(domain.clone()).with_result(result));
    found
}

/// What the record says; where it is wrong by our reading, `wrong` is told why.
async fn result(screener: &Screener, sender: &Sender<'_>, wrong: &mut Option<String>) -> SpfResult {
    let (dns, domain) = (screener.dns(), sender.domain.as_str());
    // §4.3: neither nothing nor a single label is asked about.
    if !domain.contains('.') {
        return SpfResult::None;
    }
    let texts = match dns.lookup(domain, Kind::Txt).await {
        Ok(texts) => texts,
        Err(error) if error.is_definite() => return SpfResult::None,
        Err(_) => return SpfResult::TempError,
    };
    let record = match spf_record::of(&texts) {
        Ok(Some(record)) => record,
        Ok(None) => return SpfResult::None,
        Err(fault) => {
            *wrong = Some(format!("the record of {domain} is wrong: {fault}"));
            return SpfResult::PermError;
        }
    };
    let result = evaluated(screener, sender).await;
    if matches!(result, SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral) {
        *wrong = wrong_beyond(dns, &record).await;
    }
    if wrong.is_some() { SpfResult::PermError } else { result }
}

async fn evaluated(screener: &Screener, sender: &Sender<'_>) -> SpfResult {
    let Sender { ip, helo, mail_from, domain, .. } = sender;
    let parameters = if mail_from.is_empty() {
        SpfParameters::verify_ehlo(*ip, domain, screener.host())
    } else {
        SpfParameters::new(*ip, domain, helo, screener.host(), mail_from)
    };
    screener.dns().authenticator().check_host(Parameters::new(parameters)).await.result()
}

/// Why one of the records that this one goes on to is wrong.
async fn wrong_beyond(dns: &Dns, record: &Record<'_>) -> Option<String> {
    let mut ahead: Vec<String> = record.beyond().map(str::to_owned).collect();
    for _ in 0..QUESTIONS_MOST {
        let name = ahead.pop()?;
        // What cannot be had, or is no record, was noticed when it was evaluated.
        let texts = dns.lookup(&name, Kind::Txt).await.unwrap_or_default();
        match spf_record::of(&texts) {
            Ok(record) => ahead.extend(record.iter().flat_map(Record::beyond).map(str::to_owned)),
            Err(fault) => return Some(format!("the record of {name} is wrong: {fault}")),
        }
    }
    None
}

/// §4.6.4.
const QUESTIONS_MOST: usize = 10;
