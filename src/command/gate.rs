//! `gatepost gate` and `gatepost drain`: the running server's gate, shown, explained and steered.

mod explain;
mod returns;
mod status;

use admin::{GateRequest, GateStatus, Reply, Request};
use mail::Span;

use super::place::Place;
use super::{Outcome, show};
use crate::cli::{Asked, Drain, Explain, Gate, Returns, Set, SetKey};

/// Does what is asked of the gate.
///
/// # Errors
/// That no server runs there, or what it refused.
pub(crate) fn run(gate: &Gate) -> Outcome {
    match gate {
        Gate::Explain(explain) => explained(explain),
        Gate::Status(asked) => {
            let status = steered(asked, GateRequest::Status)?;
            show(asked.json, &status, |out| status::print(out, &status))
        }
        Gate::Returns(returns) => returned(returns),
        Gate::Set(set) => set_for_a_time(set),
    }
}

/// Drains the running server, or opens it again.
///
/// # Errors
/// That no server runs there, or that there is nothing to undo.
pub(crate) fn drain(Drain { undo, asked }: &Drain) -> Outcome {
    let status = steered(asked, if *undo { GateRequest::UndoDrain } else { GateRequest::Drain })?;
    show(asked.json, &status, |out| {
        let GateStatus { node, in_use, .. } = &status;
        if *undo {
            writeln!(out, "the drain is undone; the node is {node}, {in_use} sessions in use")
        } else {
            let idle = "those that are idle within timeouts.drain";
            writeln!(out, "drained: new connections are refused with R1, {in_use} sessions finish, {idle}; `gatepost drain --undo` ends it")
        }
    })
}

fn explained(Explain { token, asked }: &Explain) -> Outcome {
    let request = Request::Gate(GateRequest::Explain { token: token.clone() });
    let Reply::Explained(explained) = Place::find(&asked.server)?.ask(&request)? else {
        return Err("the server did not explain it".into());
    };
    show(asked.json, &explained, |out| explain::print(out, &explained))
}

fn returned(Returns { missing, most, asked }: &Returns) -> Outcome {
    let request = Request::Gate(GateRequest::Returns { missing: *missing, most: *most });
    let Reply::Returns(returns) = Place::find(&asked.server)?.ask(&request)? else {
        return Err("the server did not list who was refused".into());
    };
    show(asked.json, &returns, |out| returns::print(out, &returns))
}

fn set_for_a_time(Set { key: SetKey::MaxInbound, value, time, asked, .. }: &Set) -> Outcome {
    let request = match value.zip(*time) {
        Some((max_inbound, Span(time))) => GateRequest::SetMaxInbound { max_inbound, seconds: time.as_secs() },
        None => GateRequest::UnsetMaxInbound,
    };
    let status = steered(asked, request)?;
    show(asked.json, &status, |out| status::print_limit(out, &status))
}

fn steered(asked: &Asked, request: GateRequest) -> Result<GateStatus, Box<dyn std::error::Error>> {
    match Place::find(&asked.server)?.ask(&Request::Gate(request))? {
        Reply::GateStatus(status) => Ok(*status),
        other => Err(format!("the server answered something else: {other:?}").into()),
    }
}
