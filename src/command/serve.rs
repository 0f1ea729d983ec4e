//! `gatepost serve`: the server, in the foreground.

use std::path::Path;
use std::sync::Arc;

use admin::Listening;
use store_embedded::Embedded;

use super::Outcome;
use crate::cli::{Exit, Serve};
use crate::config::{Config, Filter, Report};
use crate::log::Log;
use crate::progress::Bar;
use crate::server::{BACKLOG, Bound, Plan, Stage, give_up, raise_descriptors};

/// Serves until it is told to leave.
///
/// # Errors
/// What keeps it from starting.
pub(crate) fn run(serve: &Serve, level: Option<&Filter>) -> Outcome {
    serve_file(&serve.config.path, level, net::Listeners::from_env(BACKLOG)?, |_| ())
}

/// Serves by a configuration file, on sockets of `sources` where it has them; `ready` is told where.
pub(crate) fn serve_file(file: &Path, level: Option<&Filter>, sources: net::Listeners, ready: impl FnOnce(&[Listening])) -> Outcome {
    let loaded = Config::load_to_serve(file)?;
    let (config, lines) = (loaded.config, loaded.lines);
    let log = Arc::new(Log::start(level, &config.log.level, config.log.format)?);
    warn(&loaded.report);
    raise_descriptors();
    let bound = Bound::new(&config, sources)?;
    give_up(&config)?;
    let stage = Stage::new()?;
    let mut bar = Bar::new("replaying the log");
    let store =
        Embedded::open_with(&config.data_dir, config.store.clone(), &mut |progress| bar.show(progress.segments_done, progress.segments))?;
    bar.finish();
    let file = std::path::absolute(file)?;
    stage.run(Plan { config, lines, file, bound, store: Arc::new(store), log }, ready)?;
    Ok(Exit::Done)
}

fn warn(report: &Report) {
    report.to_string().lines().for_each(|fault| tracing::warn!("{fault}"));
}
