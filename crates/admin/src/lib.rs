//! For whoever runs the server: metrics and health over HTTP, and the control socket that `gatepost reload`, `status`, `gate`,
//! `sessions`, `drain`, `user`, `domain` and `alias` speak to.
//!
//! - [`Http`] answers `/metrics`, `/healthz` and `/readyz` on a loopback address, without a password and without changing
//!   anything. It binds no other address.
//! - [`ControlSocket`] is a Unix socket that only its owner and root can open. One JSON request a line, one JSON reply a line:
//!   [`Request`], [`Reply`]. [`ask`] is its client.
//! - [`Admin::look`], about once a second, says in the log when the gate fills, is full and is clear again, and ends the patience of a drain.
//! - [`administer`] does what a request asks of a directory, running server or not, so that the command line has one way of doing it.
//!
//! Both are outside the gate's places: the operator can always get in. Both bound how many connections they have and how much a
//! line may hold. Both go on during a drain, so that it can be watched, and end with the future they are given. No password comes
//! here: the command line sends its hash.

mod bans;
mod bounded;
mod client;
mod control;
mod directory;
mod explain;
mod http;
mod quarantine;
mod returns;
mod sessions;
mod status;
mod steering;
mod watch;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use events::Events;
use gate::{Gate, MailRates};
use store::{Quarantine, Store};

pub use client::ask;
pub use control::ControlSocket;
pub use directory::administer;
pub use http::Http;
pub use quarantine::quarantine;
pub use status::{Readiness, report_gate, report_rates};
pub use watch::Watch;
pub use wire::{
    Alias, Ban, BanRequest, ClientStatus, DirectoryRequest, Domain, ExemptionStatus, Explained, GateRequest, GateStatus, Holder, Limit,
    List, Listening, Origin, Override, PasswordHash, PhaseStatus, Posting, QuarantineRequest, Quarantined, Quota, QuotaChange,
    RecipientExplained, RecipientRequest, RecipientStep, RefusedSource, Reloaded, Reply, Request, Returns, Session, SessionsRequest,
    Setting, Status, User,
};

/// The running server, as far as an administrator sees it.
pub struct Admin {
    /// The server's version.
    pub version: &'static str,
    /// When it started.
    pub started: Instant,
    /// Its gate.
    pub gate: Arc<Gate>,
    /// Its rates of mail.
    pub rates: Arc<MailRates>,
    /// Its store.
    pub store: Arc<dyn Store>,
    /// What it holds.
    pub quarantine: Arc<dyn Quarantine>,
    /// Its events.
    pub events: Events,
    /// What only the server itself can do.
    pub control: Arc<dyn Control>,
    /// What is remembered of the gate over time.
    pub watch: Watch,
    /// Where it listens; the mail listeners come first, in the order of their ids at the gate.
    pub listening: Vec<Listening>,
}

/// What only the server itself can do.
#[async_trait]
pub trait Control: Send + Sync {
    /// Reads the configuration again and puts all of it in force, or nothing.
    ///
    /// # Errors
    /// Every fault of the file, one line each; what was in force stays.
    async fn reload(&self) -> Result<Reloaded, Vec<String>>;

    /// The value in force of a key, as `gate.max_inbound`, and where it is from.
    fn setting(&self, key: &str) -> Setting;

    /// What would become of a recipient by the configuration in force. Nothing is counted or remembered.
    ///
    /// # Errors
    /// It is no address, or the directory cannot be asked.
    async fn explain(&self, request: &RecipientRequest) -> Result<RecipientExplained, Vec<String>>;

    /// What sessions have to come to an end by themselves.
    fn drain_time(&self) -> Duration;

    /// Has another `max_inbound` for a time, whatever the file says.
    ///
    /// # Errors
    /// Why not, one line each; what was in force stays.
    fn set_max_inbound(&self, max_inbound: u32, time: Duration) -> Result<(), Vec<String>>;

    /// Goes by the file again.
    ///
    /// # Errors
    /// That nothing was set, or why the file's value cannot be put in force.
    fn unset_max_inbound(&self) -> Result<(), Vec<String>>;

    /// Has the bans there are known after a restart.
    ///
    /// # Errors
    /// Why they cannot be written down; they are in force all the same.
    async fn keep_bans(&self) -> Result<(), String>;

    /// What is set for a time.
    fn overridden(&self) -> Option<Override>;
}

/// Why the administrator could not be served, worded for them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers at the control socket.
    #[error("no server is running there: nothing answers at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket belongs to somebody else.
    #[error("{}: permission denied: run this as the server's user or as root", .0.display())]
    Permission(PathBuf),
    /// A server answers at the socket that another was to have.
    #[error("a server is running already: it answers at {}", .0.display())]
    Running(PathBuf),
    /// Longer than the system allows.
    #[error("{}: a socket's path has at most {most} octets", .path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// The most it may have.
        most: usize,
    },
    /// Anybody could read what is served.
    #[error("{0} is not a loopback address: what is served there has no password")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The socket cannot be used.
    #[error("{}: {cause}", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The server hung up or said something else than a reply.
    #[error("the server's answer makes no sense to this program: {0}; are both of the same version?")]
    Answer(String),
}

impl Error {
    fn of_socket(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::NotRunning(path),
            io::ErrorKind::PermissionDenied => Self::Permission(path),
            _ => Self::Socket { path, cause },
        }
    }
}
