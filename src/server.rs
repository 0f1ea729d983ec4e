//! The server: built from a configuration, run until it is told to leave, and ended in order.
//!
//! Start: sockets are bound and certificates read while there may be root's rights for it, the rights are given up, the store
//! is opened, and only then does the gate open. End: the gate drains, sessions finish within their deadline, the store closes
//! last. Nothing is served before everything is there; a start that fails says what is wrong and leaves nothing behind.
//!
//! SIGHUP reloads, one during the start as soon as the server serves; SIGTERM and SIGINT end, a second one at once.

mod figures;
mod kernel;
mod listeners;
mod privileges;
mod quarantine;
mod recipients;
mod reload;
mod remembered;
mod screening;
mod submission;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use admin::{Admin, Control, ControlSocket, Http, Listening, Watch};
use auth::Authenticator;
use auth::oauth::Bearer;
use events::{CertificateLoaded, CertificateRejected, Events, ServerDraining, ServerStarted, ServerStopped};
use gate::{Delivery, Gate, MailRates};
use net::{Budget, Certificates, Drain, NetError};
use sd_notify::NotifyState;
use store_embedded::Embedded;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::log::Log;
use listeners::{Listeners, Services};
use reload::{Reloader, Source};

pub(crate) use listeners::{BACKLOG, Bound};
pub(crate) use privileges::{Unprivileged, give_up, raise_descriptors, take_owner};
pub(crate) use recipients::explain;
pub(crate) use screening::{ScreenerError, screener};

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Gate(#[from] gate::SettingsError),
    #[error(transparent)]
    Auth(#[from] auth::Error),
    #[error(transparent)]
    Admin(#[from] admin::Error),
    #[error(transparent)]
    Pop3(#[from] pop3::Error),
    #[error(transparent)]
    Screening(#[from] ScreenerError),
    #[error("the runtime does not start: {0}")]
    Runtime(std::io::Error),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// Everything a server is built from.
pub(crate) struct Plan {
    pub(crate) config: Config,
    /// The line of each key of it that is written.
    pub(crate) lines: BTreeMap<String, usize>,
    /// Where the configuration was read, and is read again on reload.
    pub(crate) file: PathBuf,
    pub(crate) bound: Bound,
    pub(crate) store: Arc<Embedded>,
    pub(crate) log: Arc<Log>,
}

/// What a server runs in. Made before the store is opened, which may take its time: from here on SIGHUP does not end the
/// process, while SIGTERM and SIGINT still do, at once, until the server serves.
pub(crate) struct Stage {
    runtime: Runtime,
    hangup: Signal,
}

impl Stage {
    /// Starts the runtime's threads.
    ///
    /// # Errors
    /// No threads, or no signals.
    pub(crate) fn new() -> Result<Self, ServerError> {
        let runtime = Builder::new_multi_thread().enable_all().thread_name("gatepost").build().map_err(ServerError::Runtime)?;
        let hangup = runtime.block_on(async { receive(SignalKind::hangup()) })?;
        Ok(Self { runtime, hangup })
    }

    /// Runs a server to its end. `ready` is told where it listens once it serves.
    ///
    /// # Errors
    /// See [`ServerError`]; nothing was served then.
    pub(crate) fn run(self, plan: Plan, ready: impl FnOnce(&[Listening])) -> Result<(), ServerError> {
        let store = Arc::clone(&plan.store);
        let outcome = self.runtime.block_on(serve(plan, self.hangup, ready));
        // Whatever still runs holds the store; it must be gone before the store ends.
        self.runtime.shutdown_timeout(Duration::from_secs(5));
        store.close();
        outcome
    }
}

async fn serve(plan: Plan, hangup: Signal, ready: impl FnOnce(&[Listening])) -> Result<(), ServerError> {
    let (started, began) = (SystemTime::now(), Instant::now());
    let mut signals = Signals::with(hangup)?;
    let Plan { config, lines, file, bound, store, log } = plan;
    let (events, drain) = (Events::new(started), Drain::new());
    let services = services(&config, &store, &events, &drain)?;
    let (gate, certificates) = (Arc::clone(&services.gate), bound.certificates());
    // Before an operator can change it.
    remembered::restore(&gate, &config.data_dir);
    let listeners = Arc::new(Listeners::start(bound, &services, &config)?);
    let listening = listeners.listening();
    figures::attend(&services, &store, &log, listening.iter().map(|listening| listening.address.port()).collect());

    let control = ControlSocket::bind(&config.control_socket())?;
    let mut http = Vec::new();
    for address in &config.admin.http {
        http.push(Http::bind(address.0).await?);
    }
    let listening: Vec<_> =
        listening.into_iter().chain(http.iter().map(|http| Listening { service: "http".into(), address: http.address() })).collect();
    let data_dir = config.data_dir.clone();
    let reloader = Arc::new(Reloader::new(Source { file, lines }, config, &services, listeners, certificates.clone(), log));
    let admin = Arc::new(Admin {
        version: env!("CARGO_PKG_VERSION"),
        started: began,
        gate: Arc::clone(&gate),
        rates: Arc::clone(&services.rates),
        store: store.clone(),
        quarantine: store.clone(),
        events: events.clone(),
        control: reloader.clone(),
        watch: Watch::default(),
        listening: listening.clone(),
    });
    drain.spawn_background(control.serve(Arc::clone(&admin), std::future::pending()));
    for http in http {
        drain.spawn_background(http.serve(Arc::clone(&admin), std::future::pending()));
    }
    drain.spawn_background(quarantine::keep(store.clone(), Arc::clone(&reloader), events.clone()));
    drain.spawn_background(look_after(Arc::clone(&admin), Arc::clone(&reloader)));
    if let Some(certificates) = certificates {
        watch(&drain, certificates, events.clone());
    }

    drain.spawn_background(remembered::keep(Arc::clone(&gate), data_dir.clone()));
    gate.open_gently(net::now());
    let places = Places(&listening);
    events.emit(ServerStarted { version: env!("CARGO_PKG_VERSION"), started, after: began.elapsed(), listeners: &places });
    notify(&[NotifyState::Ready]);
    ready(&listening);
    signals.until_told_to_leave(&reloader).await;
    leave(&gate, &drain, &events, &mut signals, reloader.drain_time()).await;
    remembered::save(&gate, &data_dir);
    Ok(())
}

/// What the listeners stand on.
fn services(config: &Config, store: &Arc<Embedded>, events: &Events, drain: &Drain) -> Result<Services, ServerError> {
    let gate = Arc::new(Gate::with_rates(config.gate.clone(), &config.rates)?);
    gate.let_in(config.let_in());
    let authenticator = Arc::new(Authenticator::new(store.clone(), &config.auth)?);
    authenticator.trust(Bearer::new(&config.oauth)?);
    Ok(Services {
        gate,
        rates: Arc::new(MailRates::new(&config.rates)),
        delivery: Delivery::new(&config.delivery),
        store: store.clone(),
        authenticator,
        login_delay: Arc::default(),
        events: events.clone(),
        drain: drain.clone(),
        budget: Budget::default(),
        counters: Arc::default(),
    })
}

/// Ends every session, in its own time and then in ours.
async fn leave(gate: &Gate, drain: &Drain, events: &Events, signals: &mut Signals, time: Duration) {
    let began = Instant::now();
    notify(&[NotifyState::Stopping]);
    gate.drain();
    events.emit(ServerDraining { sessions: drain.sessions() as u64, deadline: time });
    let deadline = net::now() + time;
    let finished = tokio::select! {
        finished = drain.finish(deadline) => finished,
        () = signals.told_again() => drain.finish(net::now()).await,
    };
    events.emit(ServerStopped { sessions_cut: finished.cut as u64, after: began.elapsed() });
}

/// Looks at the gate once a second, and ends what was set for a time.
async fn look_after(admin: Arc<Admin>, reloader: Arc<Reloader>) {
    loop {
        net::clock::pause(Duration::from_secs(1)).await;
        reloader.expire();
        admin.look(net::now());
    }
}

/// Looks after the certificate files for as long as there are sessions.
fn watch(drain: &Drain, certificates: Arc<Certificates>, events: Events) {
    let told = move |outcome: Result<net::Certificate, NetError>| match outcome {
        Ok(certificate) => {
            let (path, not_after) = (certificate.path.display().to_string(), certificate.not_after);
            events.emit(CertificateLoaded { certificate: &path, not_after });
        }
        Err(error) => events.emit(CertificateRejected { certificate: "tls.certificate", cause: &error }),
    };
    certificates.served().into_iter().map(Ok).for_each(&told);
    drain.spawn_background(certificates.watch(CERTIFICATES_EVERY, told));
}

/// The signals that mean something to us.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn with(hangup: Signal) -> Result<Self, ServerError> {
        Ok(Self { hangup, terminate: receive(SignalKind::terminate())?, interrupt: receive(SignalKind::interrupt())? })
    }

    /// Reloads as often as it is asked for.
    async fn until_told_to_leave(&mut self, reloader: &Reloader) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    // The outcome is an event; there is nobody here to tell.
                    let _logged = reloader.reload_now().await;
                }
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
            }
        }
    }

    async fn told_again(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn receive(kind: SignalKind) -> Result<Signal, ServerError> {
    signal(kind).map_err(ServerError::Signals)
}

/// Tells systemd, where it started us.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Services and addresses, in words.
struct Places<'l>(&'l [Listening]);

impl std::fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Listening { service, address }) in self.0.iter().enumerate() {
            write!(f, "{}{service} {address}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Where something listens: the address it got.
pub(crate) fn find<'l>(listening: &'l [Listening], service: &str) -> Option<&'l SocketAddr> {
    listening.iter().find(|listening| listening.service == service).map(|listening| &listening.address)
}

/// How often certificate files are looked at.
const CERTIFICATES_EVERY: Duration = Duration::from_secs(5);
