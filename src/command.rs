//! What each command does: one module each.

pub(crate) mod ban;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod directory;
pub(crate) mod explain;
pub(crate) mod gate;
mod place;
pub(crate) mod quarantine;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod sessions;
pub(crate) mod status;
pub(crate) mod store;
mod table;
pub(crate) mod trial;

use std::error::Error;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::Exit;

/// How a command ends. An error is for standard error, worded for whoever typed the command.
pub(crate) type Outcome = Result<Exit, Box<dyn Error>>;

/// Shows an answer: as JSON, or as `print` has it for people.
fn show<T: Serialize>(json: bool, answer: &T, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, answer)?;
        writeln!(out)?;
    } else {
        print(&mut out)?;
    }
    Ok(Exit::Done)
}
