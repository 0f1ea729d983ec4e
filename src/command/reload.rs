//! `gatepost reload`: the running server reads its file again.

use std::io::{self, Write};

use admin::{Reloaded, Reply, Request};

use super::Outcome;
use super::place::Place;
use crate::cli::{Exit, Server};

/// Prints what changed and what needs a restart.
///
/// # Errors
/// Every fault of the file; the server goes on as before.
pub(crate) fn run(server: &Server) -> Outcome {
    let Reply::Reloaded(reloaded) = Place::find(server)?.ask(&Request::Reload)? else {
        return Err("the server did not say what it reloaded".into());
    };
    let mut out = io::stdout().lock();
    for change in &reloaded.applied {
        writeln!(out, "in force: {change}")?;
    }
    for kept in &reloaded.kept {
        writeln!(out, "not yet: {kept}")?;
    }
    for change in &reloaded.needs_restart {
        writeln!(out, "not yet: {change}")?;
    }
    if reloaded == Reloaded::default() {
        writeln!(out, "nothing has changed")?;
    }
    Ok(Exit::Done)
}
