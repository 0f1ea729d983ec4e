//! The gate, shown and steered.

use std::time::{Duration, Instant};

use events::GateSteered;
use gate::{Level, Limit, Phase};

use crate::Admin;
use crate::status::HOLDERS;
use crate::wire::{ClientStatus, ExemptionStatus, GateRequest, GateStatus, Holder, PhaseStatus, Reply};

impl Admin {
    /// Does what is asked.
    pub(crate) fn steer(&self, request: GateRequest) -> Reply {
        let refused = |why: String| Reply::Refused(vec![why]);
        let done = match request {
            GateRequest::Explain { token } => {
                return self.explain(&token).map_or_else(|why| refused(why.to_string()), |explained| Reply::Explained(Box::new(explained)));
            }
            GateRequest::Returns { missing, most } => return Reply::Returns(Box::new(self.returns(missing, most))),
            GateRequest::Status => Ok(()),
            GateRequest::Drain => self.drain().map_err(|why| vec![why]),
            GateRequest::UndoDrain => self.undo_drain().map_err(|why| vec![why]),
            GateRequest::SetMaxInbound { max_inbound, seconds } => self.control.set_max_inbound(max_inbound, Duration::from_secs(seconds)),
            GateRequest::UnsetMaxInbound => self.control.unset_max_inbound(),
        };
        done.map_or_else(Reply::Refused, |()| Reply::GateStatus(Box::new(self.gate_status())))
    }

    fn drain(&self) -> Result<(), String> {
        if !self.gate.drain_for_operator(Instant::now() + self.control.drain_time()) {
            return Err("the server is drained already; `gatepost drain --undo` ends that".into());
        }
        let in_use = self.gate.usage().in_use;
        self.events.emit(GateSteered { change: "drain begun", detail: &format_args!("{in_use} sessions in use") });
        Ok(())
    }

    fn undo_drain(&self) -> Result<(), String> {
        if !self.gate.undo_drain() {
            return Err("there is no drain to undo: `gatepost drain` has not been asked for since the server started".into());
        }
        self.events.emit(GateSteered { change: "drain undone", detail: &self.gate.node().as_str() });
        Ok(())
    }

    /// How the gate is.
    pub fn gate_status(&self) -> GateStatus {
        let (snapshot, holders) = (self.gate.snapshot(), self.gate.holders(Level::Address, HOLDERS));
        let (missing_known_good, missing_others) = self.gate.missing_sources(Instant::now());
        let watch = self.watch.report(&self.gate, Instant::now());
        let doing = self.gate.roster().phases();
        let phase = |phase: Phase| PhaseStatus {
            phase: phase.as_str().to_owned(),
            sessions: doing.get(phase as usize).copied().unwrap_or_default(),
            share_of_late: watch.of_late.share(phase),
            seconds: watch.slot_time.of(phase).as_secs_f64(),
        };
        let by_gate = Limit::ALL.into_iter().map(|limit| (limit.key(), snapshot.shadow_total.of(limit)));
        let by_rates = self.rates.in_shadow().map(|(limit, count)| (limit.key(), count));
        let in_shadow = by_gate.chain(by_rates).map(|(key, count)| (key.to_owned(), count));
        GateStatus {
            node: snapshot.node.as_str().to_owned(),
            occupancy: watch.occupancy.to_owned(),
            in_use: snapshot.usage.in_use,
            limit: snapshot.usage.limit,
            over_limit: snapshot.usage.over_limit(),
            unreserved_in_use: snapshot.usage.general,
            reserve: snapshot.usage.reserve,
            first_places: snapshot.first_places,
            authenticating: snapshot.authenticating,
            peak: snapshot.peak,
            max_inbound: self.control.setting("gate.max_inbound"),
            overridden: self.control.overridden(),
            admitted: snapshot.admitted_total,
            refused: snapshot.refused_total.by_rule().into_iter().map(|(rule, count)| (rule.to_owned(), count)).collect(),
            known_good_refused: snapshot.known_good_refused_total,
            missing: (missing_known_good + missing_others) as u64,
            in_shadow: in_shadow.collect(),
            phases: Phase::ALL.map(phase).into(),
            remedy: (!watch.clear).then(|| gate::remedy(&watch.of_late, &holders, snapshot.usage).to_owned()),
            holders: holders.into_iter().map(Holder::from).collect(),
            clients: self.gate.clients().into_iter().map(ClientStatus::from).collect(),
            users: self.gate.exemptions().into_iter().map(ExemptionStatus::from).collect(),
        }
    }
}

impl From<gate::ClientUse> for ClientStatus {
    fn from(gate::ClientUse { settings, in_use, admitted_total, expired }: gate::ClientUse) -> Self {
        let gate::ClientSettings { name, sessions, reason, expires, .. } = settings;
        Self { name, sessions, reason, expires: expires.map(|day| day.to_string()), expired, in_use, admitted: admitted_total }
    }
}

impl From<gate::Exemption> for ExemptionStatus {
    fn from(gate::Exemption { rule, held, hits, expired }: gate::Exemption) -> Self {
        let gate::UserRule { name, sessions, reason, expires, .. } = rule;
        Self { name, sessions, reason, expires: expires.map(|day| day.to_string()), expired, held, hits }
    }
}
