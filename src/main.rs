//! The `gatepost` program.

mod cli;
mod command;
mod config;
mod log;
mod password;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Check(check) => command::check::run(check),
        Command::Config(text) => command::config::run(*text),
        _ => Ok(Exit::Failed),
    };
    match done {
        Ok(exit) => exit.into(),
        // Whoever read our output has gone away, as in `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "gatepost: {error}");
            Exit::Failed.into()
        }
    }
}
