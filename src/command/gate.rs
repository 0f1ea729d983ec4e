//! `gatepost gate`: the running server's gate, explained.

mod explain;

use admin::{GateRequest, Reply, Request};
use serde::Serialize;
use std::io::{self, Write};

use super::Outcome;
use super::place::Place;
use crate::cli::{Exit, Explain, Gate};

/// Does what is asked of the gate.
///
/// # Errors
/// That no server runs there, or what it refused.
pub(crate) fn run(gate: &Gate) -> Outcome {
    match gate {
        Gate::Explain(explain) => explained(explain),
    }
}

fn explained(Explain { token, asked }: &Explain) -> Outcome {
    let request = Request::Gate(GateRequest::Explain { token: token.clone() });
    let Reply::Explained(explained) = Place::find(&asked.server)?.ask(&request)? else {
        return Err("the server did not explain it".into());
    };
    show(asked.json, &explained, |out| explain::print(out, &explained))
}

/// As JSON, or as `print` has it.
fn show<T: Serialize>(json: bool, value: &T, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
    } else {
        print(&mut out)?;
    }
    Ok(Exit::Done)
}
