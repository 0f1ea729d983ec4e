//! The server a command is about: found by its configuration or by its data directory, running or stopped.
//!
//! A command that needs the store asks the running server over its control socket; when none runs, it opens the store itself,
//! as the user the server runs as, so that nothing in the data directory comes to belong to anybody else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use admin::{DirectoryRequest, Origin, QuarantineRequest, RecipientRequest, Reply, Request, Setting, administer, quarantine};
use store_embedded::{Embedded, OpenError};

use crate::cli;
use crate::config::{Config, LoadError};
use crate::server::{Unprivileged, explain, give_up, take_owner};

/// One server.
pub(crate) struct Place {
    config: Config,
    /// The file it was read from, and the line of each key that is written there; none where the data directory is believed.
    file: Option<(PathBuf, BTreeMap<String, usize>)>,
}

/// Why it could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error(transparent)]
    Admin(#[from] admin::Error),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Rights(#[from] Unprivileged),
    #[error("{}: there is no store; name the data directory of a server, or its configuration with --config", .0.display())]
    NoStore(PathBuf),
    #[error("the runtime does not start: {0}")]
    Runtime(std::io::Error),
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl Place {
    /// Reads the configuration, or believes the data directory.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub(crate) fn find(server: &cli::Server) -> Result<Self, LoadError> {
        match &server.data_dir {
            Some(data_dir) => Ok(Self { config: Config { data_dir: data_dir.clone(), ..Config::default() }, file: None }),
            None => {
                let loaded = Config::load(&server.config.path)?;
                Ok(Self { config: loaded.config, file: Some((server.config.path.clone(), loaded.lines)) })
            }
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The value of a key, and where it is from.
    pub(crate) fn setting(&self, key: &str) -> Setting {
        let line = self.file.as_ref().and_then(|(path, lines)| lines.get(key).map(|line| (path, line)));
        let origin = line.map_or(Origin::Default, |(path, line)| Origin::File { path: path.clone(), line: *line });
        Setting { key: key.to_owned(), value: self.config.written(key), origin }
    }

    /// Asks the running server.
    ///
    /// # Errors
    /// That none runs, or what it refused.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply, PlaceError> {
        granted(admin::ask(&self.config.control_socket(), request)?)
    }

    /// Asks the running server, or does it to the stopped one's store.
    ///
    /// # Errors
    /// What was refused, or why neither could be reached.
    pub(crate) fn administer(&self, request: DirectoryRequest) -> Result<Reply, PlaceError> {
        self.either(&Request::Directory(request.clone()), async |store| administer(store, request).await)
    }

    /// The same about messages that are held.
    ///
    /// # Errors
    /// As [`Place::administer`].
    pub(crate) fn quarantine(&self, request: QuarantineRequest) -> Result<Reply, PlaceError> {
        self.either(&Request::Quarantine(request.clone()), async |store| quarantine(store, request).await)
    }

    /// What would become of a recipient: by the configuration in force, or by the stopped server's.
    ///
    /// # Errors
    /// As [`Place::administer`].
    pub(crate) fn explain(&self, request: &RecipientRequest) -> Result<Reply, PlaceError> {
        self.either(&Request::Recipient(request.clone()), async |store| {
            explain(store, &self.config, |key| self.setting(key), request).await.map_or_else(Reply::Refused, Reply::Recipient)
        })
    }

    fn either(&self, request: &Request, stopped: impl AsyncFnOnce(&Embedded) -> Reply) -> Result<Reply, PlaceError> {
        match admin::ask(&self.config.control_socket(), request) {
            Err(admin::Error::NotRunning(_)) => {}
            answered => return granted(answered?),
        }
        let store = self.open()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(PlaceError::Runtime)?;
        let reply = runtime.block_on(stopped(&store));
        store.close();
        granted(reply)
    }

    /// The data directory of the stopped server, entered as its user.
    ///
    /// # Errors
    /// There is none, or no right to it.
    pub(crate) fn enter(&self) -> Result<&Path, PlaceError> {
        let dir = &self.config.data_dir;
        if self.file.is_some() {
            give_up(&self.config)?;
        } else if dir.join("VERSION").exists() {
            take_owner(dir)?;
        } else {
            return Err(PlaceError::NoStore(dir.clone()));
        }
        Ok(dir)
    }

    /// Opens the stopped server's store.
    ///
    /// # Errors
    /// As [`Place::enter`], and what the store says; [`OpenError::InUse`] when the server does run.
    pub(crate) fn open(&self) -> Result<Embedded, PlaceError> {
        Ok(Embedded::open(self.enter()?, self.config.store.clone())?)
    }
}

fn granted(reply: Reply) -> Result<Reply, PlaceError> {
    match reply {
        Reply::Refused(why) => Err(PlaceError::Refused(why)),
        reply => Ok(reply),
    }
}
