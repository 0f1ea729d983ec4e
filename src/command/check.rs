//! `gatepost check`: everything wrong with a configuration file. Changes nothing.
//!
//! The server that recipients.call_forward names is asked whether it answers; that it does not is a warning, as it may be about to.
//! The report goes to standard output, as it is what was asked for; a file that cannot be read at all is an error.

use std::io::{self, Write};

use crate::cli::{Check, Exit};
use crate::config::{Config, LoadError, Loaded, Report};

/// Prints the report. The exit code says whether the file can be used; warnings do not stand in its way.
///
/// # Errors
/// Standard output's.
pub(crate) fn run(check: &Check) -> io::Result<Exit> {
    let mut out = io::stdout().lock();
    let (report, exit) = match Config::load(&check.config.path) {
        Ok(loaded) => (behind(loaded)?, Exit::Done),
        Err(LoadError::Faulty(report)) => (report, Exit::Configuration),
        Err(error) => {
            writeln!(io::stderr(), "gatepost: {error}")?;
            return Ok(Exit::Configuration);
        }
    };
    if check.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        if !report.faults.is_empty() {
            writeln!(out, "{report}")?;
        }
        writeln!(out, "{}", verdict(&report))?;
    }
    Ok(exit)
}

/// The report, with what the server behind says.
fn behind(Loaded { config, report, lines }: Loaded) -> io::Result<Report> {
    let Some(server) = config.recipients.asked_server(config.hostname()) else { return Ok(report) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(server.check()) {
        Ok(()) => report,
        Err(error) => report.warned("recipients.call_forward", lines.get("recipients.call_forward").copied(), error.to_string()),
    })
}

fn verdict(report: &Report) -> String {
    let count = |number: usize, one: &str| if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") };
    let (file, errors, warnings) = (report.file.display(), report.errors(), report.faults.len() - report.errors());
    match (errors, warnings) {
        (0, 0) => format!("{file}: can be used"),
        (0, _) => format!("{file}: can be used, with {}", count(warnings, "warning")),
        (_, 0) => format!("{file}: cannot be used: {}", count(errors, "fault")),
        _ => format!("{file}: cannot be used: {}, and {}", count(errors, "fault"), count(warnings, "warning")),
    }
}
