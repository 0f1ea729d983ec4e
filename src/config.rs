//! The configuration file: what a postmaster may write, read with every fault named, compared on reload.
//!
//! One TOML file, few tables, every key with a default. The doc comments of the tables are the only text there is about a key:
//! the commented example `conf/gatepost.toml` and the reference `docs/configuration.md` are made from them
//! ([`example()`], [`reference()`]), and a test compares both with the checked-in files.
//!
//! Guarantees: [`Config::load`] reports every fault of the file at once, each with its line and key, and a `Config` it returns
//! has passed every rule. Relative paths are taken from the folder of the file. Refuses: unknown keys, numbers without a unit,
//! and what would make an open relay (invariant 3). Secrets are never in the file, only the paths of the files that hold them.
//! Fails: [`LoadError`]; whoever reloads keeps the values in force.

mod capacity;
mod ceilings;
mod change;
mod document;
mod fault;
mod networks;
mod recipients;
mod rules;
mod schema;
mod screening;
mod submission;
mod surroundings;
mod tables;
mod text;
mod values;
mod when_full;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use fault::Severity;
use mail::Domain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use capacity::Machine;
pub(crate) use change::{Change, TakesEffect};
pub(crate) use fault::Report;
pub(crate) use gate::Network;
pub(crate) use recipients::Recipients;
pub(crate) use screening::{AT_ONCE, Attachment, Fail, Listener, Rule, Screening};
pub(crate) use submission::{Allowed, Submission};
pub(crate) use tables::{Admin, Format, Limits, Listen, Log, Pop3, Proxy, Relay, Timeouts, Tls, WhenFull};
pub(crate) use text::{example, reference};
pub(crate) use values::{Address, Filter, Hostname};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The name other servers find this one by. It is in the greeting, in every Received header and in message ids, and the
    /// address the name leads to should lead back to the name. Without it: the machine's own name.
    #[schemars(with = "String", example = "mail.example.org", extend("x-set" = true))]
    pub(crate) hostname: Option<Hostname>,

    /// Where mail, accounts and queue are kept. Made when it is not there. Only one server uses it at a time.
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) data_dir: PathBuf,

    /// The user the server becomes once its ports are bound, when root starts it. Must exist; of no effect when anybody else
    /// starts it.
    /// The data directory belongs to this user, and a renewed private key must be readable by it.
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) user: String,

    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) listen: Listen,
    pub(crate) proxy: Proxy,
    pub(crate) gate: gate::Settings,
    #[schemars(extend("x-restart" = ["keys"]))]
    pub(crate) rates: gate::rates::Settings,
    pub(crate) delivery: gate::delivery::Settings,
    pub(crate) when_full: WhenFull,
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) tls: Tls,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) relay: Relay,
    pub(crate) recipients: Recipients,
    pub(crate) submission: Submission,
    pub(crate) screening: Screening,
    /// Passwords. They are taken under TLS only, and kept as Argon2id hashes.
    #[schemars(extend("x-restart" = ["hash_memory", "hash_passes", "concurrent_hashes", "waiting_hashes", "remember"]))]
    pub(crate) auth: auth::Settings,
    pub(crate) oauth: auth::oauth::Settings,
    pub(crate) pop3: Pop3,
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) store: store_embedded::Settings,
    #[schemars(extend("x-takes-effect" = "restart"))]
    pub(crate) admin: Admin,
    pub(crate) log: Log,
}

/// A configuration that may be put in force, and what is odd about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Passed every rule.
    pub(crate) config: Config,
    /// Holds warnings only.
    pub(crate) report: Report,
    /// The line of every key that is written, by its name with its tables.
    pub(crate) lines: BTreeMap<String, usize>,
}

/// Why there is no configuration. The one in force, if any, stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is no such file.
    #[error("{0}: there is no such file; `gatepost config example > {0}` makes one to start from, --config names another", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read, or is not UTF-8.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can be read and must not be used.
    #[error("{0}")]
    Faulty(Report),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: None,
            data_dir: "/var/lib/gatepost".into(),
            user: "gatepost".into(),
            listen: Listen::default(),
            proxy: Proxy::default(),
            gate: gate::Settings::default(),
            rates: gate::rates::Settings::default(),
            delivery: gate::delivery::Settings::default(),
            when_full: WhenFull::default(),
            tls: Tls::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            relay: Relay::default(),
            recipients: Recipients::default(),
            submission: Submission::default(),
            screening: Screening::default(),
            auth: auth::Settings::default(),
            oauth: auth::oauth::Settings::default(),
            pop3: Pop3::default(),
            store: store_embedded::Settings::default(),
            admin: Admin::default(),
            log: Log::default(),
        }
    }
}

impl Config {
    /// Reads a file and checks it by itself and against this machine: that files are there, that certificate and key fit. That the
    /// machine cannot hold so many sessions is a warning: the server may have other limits than whoever asks, and another machine.
    ///
    /// # Errors
    /// See [`LoadError`]; [`LoadError::Faulty`] holds every fault there is.
    pub(crate) fn load(path: &Path) -> Result<Loaded, LoadError> {
        Self::load_as(path, Severity::Warning)
    }

    /// The same, to serve by it here and now: what this machine cannot hold is an error.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_to_serve(path: &Path) -> Result<Loaded, LoadError> {
        Self::load_as(path, Severity::Error)
    }

    /// Why `machine` cannot hold `max_inbound` sessions beside everything else in here, one line each; nothing when it can.
    pub(crate) fn not_held(&self, max_inbound: u32, machine: &Machine) -> Vec<String> {
        let asked = Self { gate: gate::Settings { max_inbound, ..self.gate.clone() }, ..self.clone() };
        let findings = capacity::findings(&asked, machine, Severity::Error);
        findings.into_iter().map(|finding| format!("{}: {}", finding.key, finding.message)).collect()
    }

    fn load_as(path: &Path, beyond_capacity: Severity) -> Result<Loaded, LoadError> {
        let text = fs::read_to_string(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LoadError::Missing { path: path.into() },
            _ => LoadError::Unreadable { path: path.into(), source },
        })?;
        let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_default();
        let read = document::read(&text);
        let mut config = read.config;
        config.anchor(&folder);
        let findings = rules::findings(&config, &read.document).into_iter().chain(surroundings::findings(&config));
        let findings = findings.chain(capacity::findings(&config, &Machine::here(&config.data_dir), beyond_capacity));
        let findings = findings.filter(|finding| !read.document.lost(&finding.key));
        let faults = read.faults.into_iter().chain(findings.map(|finding| read.document.place(finding))).collect();
        let (report, lines) = (Report::new(path, faults), read.document.lines());
        if report.errors() > 0 { Err(LoadError::Faulty(report)) } else { Ok(Loaded { config, report, lines }) }
    }

    /// The name in force: the one in the file, else the machine's, else `localhost`.
    pub(crate) fn hostname(&self) -> Domain {
        self.hostname.clone().map_or_else(surroundings::machine_name, |hostname| hostname.0)
    }

    /// Networks that are let in by name elsewhere than in `gate.clients`, with the key of each: nobody there is banned.
    pub(crate) fn let_in(&self) -> Vec<(gate::IpNet, &'static str)> {
        let named = |key| move |network: &Network| (network.0, key);
        let proxies = self.proxy.trusted_proxies.iter().map(named("proxy.trusted_proxies"));
        let relays = self.relay.networks.iter().map(named("relay.networks"));
        let xclient = self.relay.xclient_networks.iter().map(named("relay.xclient_networks"));
        let lmtp = self.relay.lmtp_networks.iter().filter(|_| !self.listen.lmtp.is_empty()).map(named("relay.lmtp_networks"));
        proxies.chain(relays).chain(xclient).chain(lmtp).collect()
    }

    /// The value of a key, as `gate.max_inbound`, as it would be written in the file.
    pub(crate) fn written(&self, key: &str) -> String {
        let whole = serde_json::to_value(self).unwrap_or_default();
        change::written(key.split('.').fold(&whole, schema::part))
    }

    /// The socket `gatepost reload` and the other commands reach the running server by.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.data_dir.join(&self.admin.control)
    }

    /// Takes relative paths from the folder of the file; the control socket's from the data directory.
    fn anchor(&mut self, folder: &Path) {
        self.data_dir = folder.join(&self.data_dir);
        let secret = Some(&mut self.oauth.client_secret_file).filter(|path| !path.as_os_str().is_empty());
        if !self.screening.rspamd_password.as_os_str().is_empty() {
            self.screening.rspamd_password = folder.join(&self.screening.rspamd_password);
        }
        let pair = [&mut self.tls.certificate, &mut self.tls.key].into_iter().flatten();
        let oauth = self.oauth.keys.iter_mut().chain(&mut self.oauth.introspection_ca).chain(secret);
        for path in pair.chain(&mut self.tls.client_ca).chain(oauth) {
            *path = folder.join(&path);
        }
        if !self.recipients.database.as_os_str().is_empty() {
            self.recipients.database = folder.join(&self.recipients.database);
        }
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod promises;
#[cfg(test)]
mod tests;
