//! A changed configuration file, put in force while the server runs.
//!
//! The whole file is read and checked first: one fault, and everything stays as it is. Then what can change live does, each
//! limit in one step, and what needs a restart is named. One reload at a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use admin::{Control, Origin, Reloaded, Setting};
use async_trait::async_trait;
use auth::Authenticator;
use events::{CertificateRejected, ConfigurationRejected, ConfigurationReloaded, Events};
use gate::{Delivery, Gate, MailRates};
use net::Certificates;

use super::listeners::{Listeners, Services};
use crate::config::{Change, Config, LoadError, Loaded, TakesEffect};
use crate::log::Log;

/// Where a configuration was read.
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    /// The line of each key that is written.
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Reloads.
pub(crate) struct Reloader {
    file: PathBuf,
    /// What the server was started with: keys that need a restart are compared with this.
    started: Config,
    in_force: std::sync::Mutex<InForce>,
    gate: Arc<Gate>,
    rates: Arc<MailRates>,
    delivery: Delivery,
    authenticator: Arc<Authenticator>,
    listeners: Arc<Listeners>,
    certificates: Option<Arc<Certificates>>,
    log: Arc<Log>,
    events: Events,
    turn: tokio::sync::Mutex<()>,
}

/// The configuration in force, and the lines of the file it was read from.
struct InForce {
    config: Config,
    lines: BTreeMap<String, usize>,
}

impl Reloader {
    pub(crate) fn new(
        source: Source,
        config: Config,
        services: &Services,
        listeners: Arc<Listeners>,
        certificates: Option<Arc<Certificates>>,
        log: Arc<Log>,
    ) -> Self {
        let Services { gate, rates, delivery, authenticator, events, .. } = services;
        Self {
            file: source.file,
            in_force: std::sync::Mutex::new(InForce { config: config.clone(), lines: source.lines }),
            started: config,
            gate: Arc::clone(gate),
            rates: Arc::clone(rates),
            delivery: delivery.clone(),
            authenticator: Arc::clone(authenticator),
            listeners,
            certificates,
            log,
            events: events.clone(),
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Reads the file again and puts it in force, or says every fault of it. Dropping the future may leave it half done: the
    /// next reload does all of it.
    pub(crate) async fn reload_now(&self) -> Result<Reloaded, Vec<String>> {
        let _turn = self.turn.lock().await;
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&file)).await;
        let outcome = match read {
            Ok(Ok(loaded)) => self.apply(loaded),
            Ok(Err(error)) => Err(faults(&error)),
            Err(error) => Err(vec![error.to_string()]),
        };
        match &outcome {
            Ok(Reloaded { applied, needs_restart }) => self.events.emit(ConfigurationReloaded { applied, needs_restart }),
            Err(faults) => self.events.emit(ConfigurationRejected { cause: &faults.join("\n") }),
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        // A configuration is replaced whole, so a panic elsewhere cannot have left it half written.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, loaded: Loaded) -> Result<Reloaded, Vec<String>> {
        let (new, mut in_force) = (loaded.config, self.lock());
        let wanting = |changes: Vec<Change>, effect| -> Vec<String> {
            changes.iter().filter(|change| change.takes_effect == effect).map(ToString::to_string).collect()
        };
        // All of it or nothing: who could refuse is asked before anything changes.
        let gate = new.gate.validate().into_iter().map(|fault| format!("gate.{fault}"));
        let faults: Vec<_> = gate.chain(new.auth.validate().into_iter().map(|fault| format!("auth.{fault}"))).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let reloaded = Reloaded {
            applied: wanting(in_force.config.changes(&new), TakesEffect::Live),
            needs_restart: wanting(self.started.changes(&new), TakesEffect::Restart),
        };
        self.gate.apply(new.gate.clone()).map_err(|error| vec![error.to_string()])?;
        self.gate.apply_rates(&new.rates);
        self.rates.apply(&new.rates);
        self.delivery.apply(&new.delivery);
        self.authenticator.apply(&new.auth).map_err(|error| vec![error.to_string()])?;
        self.listeners.configure(&new);
        self.log.set_level(&new.log.level);
        for outcome in self.certificates.iter().flat_map(|certificates| certificates.reload()) {
            if let Err(error) = outcome {
                self.events.emit(CertificateRejected { certificate: "tls.certificate", cause: &error });
            }
        }
        *in_force = InForce { config: new, lines: loaded.lines };
        Ok(reloaded)
    }
}

#[async_trait]
impl Control for Reloader {
    async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        self.reload_now().await
    }

    fn setting(&self, key: &str) -> Setting {
        let in_force = self.lock();
        let origin = in_force.lines.get(key).map_or(Origin::Default, |line| Origin::File { path: self.file.clone(), line: *line });
        Setting { key: key.to_owned(), value: in_force.config.written(key), origin }
    }
}

/// One line each.
fn faults(error: &LoadError) -> Vec<String> {
    error.to_string().lines().map(ToOwned::to_owned).collect()
}
