//! The checks of the envelope: early talkers, iprev, HELO, greylisting; SPF and [`Lists`](crate::Lists) have their own.

use std::net::IpAddr;

use mail::Host;
use mail_auth::{IprevResult, SpfResult};

use crate::check::Check;
use crate::dns::{Kind, Unanswered};
use crate::screener::{Screener, Sender};
use crate::screening::{Found, Screening};
use crate::verdict::Outcome;
use crate::{early, spf};

/// Asks one of them. Those of the message are not asked here.
pub(crate) async fn ask(check: Check, screener: &Screener, sender: &Sender<'_>, screening: &mut Screening) -> Found {
    match check {
        Check::Early => early::found(sender.manners),
        Check::Iprev => iprev(screener, sender, screening).await,
        Check::Helo => helo(screener, sender).await,
        Check::Lists => screener.lists().ask(screener.dns(), sender.ip).await,
        Check::Spf => spf::ask(screener, sender, screening).await,
        Check::Greylist => greylist(screener, sender, screening),
        Check::Dkim | Check::Arc | Check::Dmarc | Check::Attachments | Check::Rspamd | Check::Milter | Check::Hook => {
            Found::new(Outcome::None, "asked when the message has come")
        }
    }
}

/// RFC 8601 §3: forward-confirmed reverse DNS.
async fn iprev(screener: &Screener, sender: &Sender<'_>, screening: &mut Screening) -> Found {
    let output = screener.dns().authenticator().verify_iprev(sender.ip).await;
    let names = output.ptr.iter().flat_map(|names| names.iter()).map(|name| name.trim_end_matches('.')).collect::<Vec<_>>().join(", ");
    let found = match &output.result {
        IprevResult::Pass => Found::new(Outcome::Pass, format!("{} is {names}", sender.ip)),
        IprevResult::None => Found::new(Outcome::None, "not asked"),
        IprevResult::TempError(error) => Found::new(Outcome::Unsure, error.to_string()),
        IprevResult::Fail(_) | IprevResult::PermError(_) if names.is_empty() => {
            Found::new(Outcome::Fail, format!("{} has no name", sender.ip))
        }
        IprevResult::Fail(_) | IprevResult::PermError(_) => {
            Found::new(Outcome::Fail, format!("{names} does not lead back to {}", sender.ip))
        }
    };
    screening.iprev = Some(output);
    found
}

/// Names that no mail server gives itself (RFC 5321 §4.1.4, §2.3.5).
async fn helo(screener: &Screener, sender: &Sender<'_>) -> Found {
    let fail = |detail: String| Found::new(Outcome::Fail, detail);
    let helo = sender.helo;
    if helo.parse::<IpAddr>().is_ok() {
        return fail(format!("{helo} is an address without brackets"));
    }
    let name = match helo.parse::<Host>() {
        Ok(Host::Literal(address)) if address.to_canonical() == sender.ip => return Found::new(Outcome::Pass, "the client's own address"),
        Ok(Host::Literal(_)) => return fail(format!("{helo} is not the client's address")),
        Err(_) => return fail(format!("{helo} is not the name of a host")),
        Ok(Host::Domain(name)) => name,
    };
    let name = name.as_str();
    if name.eq_ignore_ascii_case(screener.host()) {
        return fail(format!("{helo} is our own name"));
    }
    if !name.contains('.') {
        return fail(format!("{helo} is not a full name"));
    }
    let mut unsure: Option<Unanswered> = None;
    for kind in [Kind::A, Kind::Aaaa] {
        match screener.dns().lookup(name, kind).await {
            Ok(_) => return Found::new(Outcome::Pass, format!("{helo} has an address")),
            Err(Unanswered::NoName) => return fail(format!("there is no {helo}")),
            Err(error) if error.is_definite() => {}
            Err(error) => unsure = Some(error),
        }
    }
    match unsure {
        Some(error) => Found::new(Outcome::Unsure, error.to_string()),
        None => fail(format!("{helo} has no address")),
    }
}

/// RFC 6647.
fn greylist(screener: &Screener, sender: &Sender<'_>, screening: &Screening) -> Found {
    let Sender { ip, domain, .. } = sender;
    if sender.is_known {
        return Found::new(Outcome::Pass, "it has delivered mail before, or the operator knows it");
    }
    let vouched = screening.spf.as_ref().is_some_and(|spf| spf.result() == SpfResult::Pass);
    match screener.greylist().wait(*ip, domain, vouched, tokio::time::Instant::now().into_std()) {
        Some(wait) => Found::new(Outcome::Fail, format!("{ip} is new with {domain}: it is to come back in {} s", wait.as_secs() + 1)),
        None => Found::new(Outcome::Pass, "it has come back"),
    }
}
