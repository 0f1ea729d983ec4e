//! `gatepost try`: the whole on this machine, for a look.
//!
//! Makes a folder with a configuration file, a certificate, a domain and two accounts, and serves it on loopback as `gatepost
//! serve` would: nothing here is a special mode of the server. Prints commands to copy and the settings for a mail program.
//! A folder that was kept is used as it is, with its accounts and their passwords. A fresh one is removed at the end.

mod folder;
mod sheet;

use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::Outcome;
use super::serve::serve_file;
use crate::cli::Try;
use crate::config::{Config, Filter};
use crate::server::BACKLOG;
use folder::Folder;
use sheet::Sheet;

/// Serves until Ctrl-C.
///
/// # Errors
/// What keeps it from starting.
pub(crate) fn run(options: &Try, level: Option<&Filter>) -> Outcome {
    let (folder, sockets) = Folder::prepare(options.keep.as_deref())?;
    let quiet = "warn".parse()?;
    let gate = Config::load(&folder.config())?.config.gate;
    let outcome = serve_file(&folder.config(), Some(level.unwrap_or(&quiet)), sockets, |listening| {
        // A closed standard output is no reason to stop serving.
        let _printed = write!(io::stdout(), "{}", Sheet { folder: &folder, gate: &gate, listening });
    });
    folder.leave()?;
    if outcome.is_ok() {
        // Its log keeps quiet about it.
        writeln!(io::stderr(), "gatepost: stopped")?;
    }
    outcome
}

/// Listens on the first loopback port from `wanted` on that is free. From then on it is taken: of two trials that begin at the
/// same time, the other one goes on to the next.
fn listen(wanted: u16) -> Result<net::Listener, net::NetError> {
    let at = |port| net::Listener::bind((Ipv4Addr::LOCALHOST, port).into(), BACKLOG);
    (wanted..wanted.saturating_add(PORTS)).find_map(|port| at(port).ok()).map_or_else(|| at(0), Ok)
}

/// How many ports are tried before the system is asked for any.
const PORTS: u16 = 100;
