//! What each command does: one module each.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod directory;
pub(crate) mod gate;
mod place;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod trial;

use std::error::Error;

use crate::cli::Exit;

/// How a command ends. An error is for standard error, worded for whoever typed the command.
pub(crate) type Outcome = Result<Exit, Box<dyn Error>>;
