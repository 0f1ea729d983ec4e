//! A changed configuration file, put in force while the server runs.
//!
//! The whole file is read and checked first: one fault, and everything stays as it is. Then what can change live does, each
//! limit in one step, and what needs a restart is named. One reload at a time.
//!
//! What an operator has set for a time goes before the file until that is over or undone: a reload keeps it, and says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use admin::{Control, Origin, Override, RecipientExplained, RecipientRequest, Reloaded, Setting};
use async_trait::async_trait;
use auth::Authenticator;
use auth::oauth::Bearer;
use events::{CertificateRejected, ConfigurationRejected, ConfigurationReloaded, Events, GateSteered};
use gate::{Delivery, Gate, MailRates};
use jiff::{SignedDuration, Timestamp};
use mail::Span;
use net::Certificates;
use store_embedded::Embedded;

use super::explain;
use super::listeners::{Listeners, Services};
use super::remembered;
use crate::config::{Change, Config, LoadError, Loaded, Machine, TakesEffect};
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
    store: Arc<Embedded>,
    listeners: Arc<Listeners>,
    certificates: Option<Arc<Certificates>>,
    log: Arc<Log>,
    events: Events,
    turn: tokio::sync::Mutex<()>,
}

/// The configuration in force, the lines of the file it was read from, and what goes before it.
struct InForce {
    config: Config,
    lines: BTreeMap<String, usize>,
    set: Option<SetForATime>,
}

/// A limit an operator has set.
#[derive(Clone, Copy)]
struct SetForATime {
    max_inbound: u32,
    until: Instant,
}

impl SetForATime {
    fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// The gate's settings by the file, with what is set before it.
fn effective(gate: &gate::Settings, set: Option<SetForATime>) -> gate::Settings {
    gate::Settings { max_inbound: set.map_or(gate.max_inbound, |set| set.max_inbound), ..gate.clone() }
}

/// What is wrong with so many sessions: for the gate itself, and for the rates, which may hold some of them back. By key.
fn faults_of_sessions(gate: &gate::Settings, rates: &gate::rates::Settings) -> impl Iterator<Item = String> {
    let of_rates = rates.validate(gate.max_inbound).into_iter().map(|fault| format!("rates.{}: {}", fault.key, fault.message));
    gate.validate().into_iter().map(|fault| format!("gate.{}: {}", fault.key, fault.message)).chain(of_rates)
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
        let Services { gate, rates, delivery, authenticator, store, events, .. } = services;
        Self {
            file: source.file,
            in_force: std::sync::Mutex::new(InForce { config: config.clone(), lines: source.lines, set: None }),
            started: config,
            gate: Arc::clone(gate),
            rates: Arc::clone(rates),
            delivery: delivery.clone(),
            authenticator: Arc::clone(authenticator),
            store: Arc::clone(store),
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
        let read = tokio::task::spawn_blocking(move || Config::load_to_serve(&file)).await;
        let outcome = match read {
            Ok(Ok(loaded)) => self.apply(loaded),
            Ok(Err(error)) => Err(faults(&error)),
            Err(error) => Err(vec![error.to_string()]),
        };
        match &outcome {
            Ok(Reloaded { applied, needs_restart, .. }) => self.events.emit(ConfigurationReloaded { applied, needs_restart }),
            Err(faults) => self.events.emit(ConfigurationRejected { cause: &faults.join("\n") }),
        }
        outcome
    }

    /// Goes by the file again when the time of what was set is over. To be called every now and then.
    pub(crate) fn expire(&self) {
        let mut in_force = self.lock();
        if in_force.set.is_some_and(|set| set.left().is_zero()) {
            // The file's own settings have passed every rule.
            let _valid = self.put(&mut in_force, None);
            self.events.emit(GateSteered { change: "max_inbound as in the file again", detail: &in_force.config.gate.max_inbound });
        }
    }

    /// For how long what is quarantined is kept; zero: until somebody decides.
    pub(crate) fn quarantine_keep(&self) -> Span {
        self.lock().config.screening.quarantine_keep
    }

    fn put(&self, in_force: &mut InForce, set: Option<SetForATime>) -> Result<(), Vec<String>> {
        let gate = effective(&in_force.config.gate, set);
        let faults: Vec<_> = faults_of_sessions(&gate, &in_force.config.rates).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        self.gate.apply(gate).map_err(|error| vec![error.to_string()])?;
        in_force.set = set;
        Ok(())
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
        let (set, gate) = (in_force.set, effective(&new.gate, in_force.set));
        let faults = faults_of_sessions(&gate, &new.rates).map(|fault| fault + set.map_or("", |_| SET_BESIDE));
        let beyond = set.map(|set| new.not_held(set.max_inbound, &Machine::here(&new.data_dir))).unwrap_or_default();
        let faults = faults.chain(beyond.into_iter().map(|fault| format!("{fault}{SET_BESIDE}")));
        let faults: Vec<_> = faults.chain(new.auth.validate().into_iter().map(|fault| format!("auth.{fault}"))).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let screener = self.listeners.screener(&new).map_err(|error| vec![format!("screening: {error}")])?;
        let bearer = Bearer::new(&new.oauth).map_err(|error| vec![format!("oauth: {error}")])?;
        let mut changes = in_force.config.changes(&new);
        changes.retain(|change| set.is_none() || change.key != MAX_INBOUND);
        let stays = |set: SetForATime| {
            let (left, file) = (Span::secs(set.left().as_secs()), new.gate.max_inbound);
            format!("{MAX_INBOUND} stays {} for another {left}, as it was set; then it is {file}, as in the file", set.max_inbound)
        };
        let reloaded = Reloaded {
            applied: wanting(changes, TakesEffect::Live),
            needs_restart: wanting(self.started.changes(&new), TakesEffect::Restart),
            kept: set.map(stays).into_iter().collect(),
        };
        self.authenticator.trust(bearer);
        // Before the gate, which tells those who wait that something has changed: they look at the waiting room there is then.
        self.listeners.configure(&new, screener);
        self.gate.apply(gate).map_err(|error| vec![error.to_string()])?;
        self.gate.let_in(new.let_in());
        self.gate.apply_rates(&new.rates);
        self.rates.apply(&new.rates);
        self.delivery.apply(&new.delivery);
        self.authenticator.apply(&new.auth).map_err(|error| vec![error.to_string()])?;
        self.log.set_level(&new.log.level);
        for outcome in self.certificates.iter().flat_map(|certificates| certificates.reload()) {
            if let Err(error) = outcome {
                self.events.emit(CertificateRejected { certificate: "tls.certificate", cause: &error });
            }
        }
        *in_force = InForce { config: new, lines: loaded.lines, set };
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

    async fn explain(&self, request: &RecipientRequest) -> Result<RecipientExplained, Vec<String>> {
        let config = self.lock().config.clone();
        explain(&*self.store, &config, |key| self.setting(key), request).await
    }

    fn drain_time(&self) -> Duration {
        self.lock().config.timeouts.drain.0
    }

    fn set_max_inbound(&self, max_inbound: u32, time: Duration) -> Result<(), Vec<String>> {
        if !(Duration::from_secs(1)..=SET_LONGEST).contains(&time) {
            let longest = Span(SET_LONGEST);
            return Err(vec![format!("a limit is set for 1s to {longest}; to change it for good, edit the file and `gatepost reload`")]);
        }
        let (set, mut in_force) = (SetForATime { max_inbound, until: Instant::now() + time }, self.lock());
        let beyond = in_force.config.not_held(max_inbound, &Machine::here(&in_force.config.data_dir));
        if !beyond.is_empty() {
            return Err(beyond);
        }
        self.put(&mut in_force, Some(set))?;
        let detail = format_args!("{max_inbound} for {}", Span(time));
        self.events.emit(GateSteered { change: "max_inbound set for a time", detail: &detail });
        Ok(())
    }

    fn unset_max_inbound(&self) -> Result<(), Vec<String>> {
        let mut in_force = self.lock();
        if in_force.set.is_none() {
            return Err(vec![format!("{MAX_INBOUND} is as in the file: nothing was set, or its time is over")]);
        }
        self.put(&mut in_force, None)?;
        self.events.emit(GateSteered { change: "max_inbound as in the file again", detail: &in_force.config.gate.max_inbound });
        Ok(())
    }

    async fn keep_bans(&self) -> Result<(), String> {
        let (gate, data_dir) = (Arc::clone(&self.gate), self.started.data_dir.clone());
        let kept = tokio::task::spawn_blocking(move || remembered::save_bans(&gate, &data_dir)).await;
        kept.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn overridden(&self) -> Option<Override> {
        let set = self.lock().set?;
        let left = set.left();
        let until = Timestamp::now().checked_add(SignedDuration::try_from(left).ok()?).ok()?;
        let until = Timestamp::from_second(until.as_second()).ok()?.to_string();
        Some(Override { max_inbound: set.max_inbound, seconds_left: left.as_secs(), until })
    }
}

/// One line each.
fn faults(error: &LoadError) -> Vec<String> {
    error.to_string().lines().map(ToOwned::to_owned).collect()
}

const MAX_INBOUND: &str = "gate.max_inbound";
/// Whoever wants it for longer wants it in the file.
const SET_LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SET_BESIDE: &str = " (max_inbound is set for a time; `gatepost gate set max_inbound --undo` ends that)";
