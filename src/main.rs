//! The `gatepost` program.

mod cli;
mod command;
mod config;
mod log;
mod password;
mod progress;
mod server;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Exit};
use config::LoadError;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = cli.log_level.as_ref();
    let done = match &cli.command {
        Command::Try(options) => command::trial::run(options, level),
        Command::Serve(serve) => command::serve::run(serve, level),
        Command::Check(check) => command::check::run(check).map_err(Into::into),
        Command::Reload(server) => command::reload::run(server),
        Command::Status(asked) => command::status::run(asked),
        Command::Explain(explain) => command::explain::run(explain),
        Command::Gate(gate) => command::gate::run(gate),
        Command::Sessions(sessions) => command::sessions::run(sessions),
        Command::Quarantine(quarantine) => command::quarantine::run(quarantine),
        Command::Ban(ban) => command::ban::run(ban),
        Command::Drain(drain) => command::gate::drain(drain),
        Command::List(list) => command::directory::list(list),
        Command::User(user) => command::directory::user(user),
        Command::Domain(domain) => command::directory::domain(domain),
        Command::Alias(alias) => command::directory::alias(alias),
        Command::Verify(asked) => command::store::verify(asked),
        Command::Store(store) => command::store::store(store),
        Command::Config(text) => command::config::run(*text).map_err(Into::into),
    };
    done.unwrap_or_else(|error| failed(&*error)).into()
}

/// Tells whoever typed the command.
fn failed(error: &(dyn Error + 'static)) -> Exit {
    // Whoever read our output has gone away, as in `| head`.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Exit::Done;
    }
    // Standard error may be gone, too.
    let _ = writeln!(io::stderr(), "gatepost: {error}");
    if error.is::<LoadError>() { Exit::Configuration } else { Exit::Failed }
}
