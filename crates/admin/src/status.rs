//! Whether the server takes mail, and how it is.

use std::process;
use std::time::Instant;

use events::{Figure, Figures};
use gate::{Gate, Level, Limit, MailRates, Node, Phase, rates};
use serde::Serialize;

use crate::Admin;
use crate::wire::{Holder, Status};

/// Whether the server takes mail now, and why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// The state of the node, by the gate's word.
    pub node: &'static str,
    /// What stands in the way.
    pub reasons: Vec<String>,
}

impl Admin {
    /// Whether the server takes mail now. Never waits.
    pub fn readiness(&self) -> Readiness {
        let node = self.gate.node();
        let gate = match node {
            Node::Open => None,
            Node::Starting => Some("the server is starting"),
            Node::StoreDown => Some("the store takes no mail: the gate refuses those who bring some, and lets those in who fetch theirs"),
            Node::Drained => Some("an operator has drained the server; `gatepost drain --undo` ends that"),
            Node::Draining => Some("the server is draining and will not come back by itself"),
        };
        let store = self.store.ready().err().map(|error| error.to_string());
        let reasons: Vec<_> = gate.map(ToOwned::to_owned).into_iter().chain(store).collect();
        Readiness { ready: reasons.is_empty(), node: node.as_str(), reasons }
    }

    /// How the server is.
    pub fn status(&self) -> Status {
        let (gate, readiness) = (self.gate.snapshot(), self.readiness());
        Status {
            version: self.version.to_owned(),
            pid: process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            node: readiness.node.to_owned(),
            not_ready: readiness.reasons,
            max_inbound: gate.usage.limit,
            in_use: gate.usage.in_use,
            over_limit: gate.usage.over_limit(),
            peak: gate.peak,
            admitted: gate.admitted_total,
            refused: gate.refused_total.by_rule().into_iter().map(|(rule, count)| (rule.to_owned(), count)).collect(),
            holders: self.gate.holders(Level::Address, HOLDERS).into_iter().map(Holder::from).collect(),
            listening: self.listening.clone(),
            figures: self.events.figures().iter().collect(),
        }
    }
}

/// States the gate's figures; for `Events::add_source`.
pub fn report_gate(gate: &Gate, figures: &mut Figures) {
    let snapshot = gate.snapshot();
    figures.set(Figure::GateLimit, snapshot.usage.limit.into());
    figures.set(Figure::GateInUse, snapshot.usage.in_use.into());
    figures.set(Figure::GateOverLimit, snapshot.usage.over_limit().into());
    figures.set(Figure::GatePeak, snapshot.peak.into());
    figures.set(Figure::GatePrefixes, snapshot.prefixes as u64);
    figures.set(Figure::GateGeneral, snapshot.usage.general.into());
    figures.set(Figure::GateReserve, snapshot.usage.reserve.into());
    figures.set(Figure::GateFirstPlaces, snapshot.first_places.into());
    figures.set(Figure::GateAuthenticating, snapshot.authenticating.into());
    figures.set(Figure::GateKnownGood, snapshot.known_good as u64);
    figures.set(Figure::GateKnownGoodRefused, snapshot.known_good_refused_total);
    let (known_good, others) = gate.missing_sources(Instant::now());
    figures.set(Figure::GateBans, gate.bans(Instant::now()).len() as u64);
    figures.set(Figure::GateMissingKnownGood, known_good as u64);
    figures.set(Figure::GateMissing, (known_good + others) as u64);
    Limit::ALL.into_iter().for_each(|limit| figures.set(in_shadow(limit), snapshot.shadow_total.of(limit)));
    let slot_time = gate.roster().slot_time(Instant::now());
    for (figure, phase) in [
        (Figure::SlotClientMicros, Phase::Client),
        (Figure::SlotTlsMicros, Phase::Tls),
        (Figure::SlotOwnMicros, Phase::Own),
        (Figure::SlotStoreMicros, Phase::Store),
        (Figure::SlotTarpitMicros, Phase::Tarpit),
        (Figure::SlotScreeningMicros, Phase::Screening),
    ] {
        figures.set(figure, u64::try_from(slot_time.of(phase).as_micros()).unwrap_or(u64::MAX));
    }
    figures.set(Figure::NodeOpen, (snapshot.node == Node::Open).into());
    figures.set(Figure::NodeDraining, gate.is_draining().into());
}

/// States the figures of the rates of mail; for `Events::add_source`.
pub fn report_rates(rates: &MailRates, figures: &mut Figures) {
    figures.set(Figure::RatesTarpitted, rates.held_back().into());
    rates.in_shadow().for_each(|(limit, count)| figures.set(rate_in_shadow(limit), count));
}

/// Where is counted whom a rate in shadow would have refused.
fn rate_in_shadow(limit: rates::Limit) -> Figure {
    use rates::{Measure, Scope};
    match (limit.measure, limit.scope) {
        (Measure::Messages, Scope::Source) => Figure::RatesShadowMessagesSource,
        (Measure::Messages, Scope::Account) => Figure::RatesShadowMessagesAccount,
        (Measure::Messages, Scope::SenderDomain) => Figure::RatesShadowMessagesSenderDomain,
        (Measure::Recipients, Scope::Source) => Figure::RatesShadowRecipientsSource,
        (Measure::Recipients, Scope::Account) => Figure::RatesShadowRecipientsAccount,
        (Measure::Recipients, Scope::SenderDomain) => Figure::RatesShadowRecipientsSenderDomain,
        (Measure::Kib, Scope::Source) => Figure::RatesShadowBytesSource,
        (Measure::Kib, Scope::Account) => Figure::RatesShadowBytesAccount,
        (Measure::Kib, Scope::SenderDomain) => Figure::RatesShadowBytesSenderDomain,
        (Measure::FailedCommands, Scope::Source) => Figure::RatesShadowFailedCommandsSource,
        (Measure::FailedCommands, Scope::Account) => Figure::RatesShadowFailedCommandsAccount,
        (Measure::FailedCommands, Scope::SenderDomain) => Figure::RatesShadowFailedCommandsSenderDomain,
    }
}

/// Where is counted whom a limit in shadow would have refused.
fn in_shadow(limit: Limit) -> Figure {
    match limit {
        Limit::Deny => Figure::GateShadowDeny,
        Limit::Clients => Figure::GateShadowClients,
        Limit::SessionsPerAddress => Figure::GateShadowAddress,
        Limit::SessionsPerNetwork => Figure::GateShadowNetwork,
        Limit::SessionsPerSite => Figure::GateShadowSite,
        Limit::FairShareAlpha => Figure::GateShadowShare,
        Limit::Connections => Figure::GateShadowConnections,
        Limit::StartRamp => Figure::GateShadowRamp,
        Limit::SessionsPerUser => Figure::GateShadowUser,
    }
}

/// Enough to see who fills the gate.
pub(crate) const HOLDERS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_in_shadow_is_counted_under_its_key() {
        for limit in Limit::ALL {
            assert_eq!(in_shadow(limit).metric(), format!("gatepost_gate_shadow_{}_total", limit.key()));
        }
        for limit in rates::Limit::ALL {
            assert_eq!(rate_in_shadow(limit).metric(), format!("gatepost_rates_shadow_{}_total", limit.key()));
        }
    }
}
