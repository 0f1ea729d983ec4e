//! What can be observed, one type for each thing, each knowing its log line and its metrics.
//!
//! A crate that has something to tell builds the value and hands it to [`Events::emit`]; it writes no log line and keeps no
//! counter of its own. Log lines go to `tracing`; metrics are in a registry that belongs to the [`Events`], so that two servers in
//! one process, or two tests, do not see each other's. Nothing here waits or fails.
//!
//! - Labels are few and fixed by configuration or by code: never an account, an address or anything else a peer can choose.
//! - What a peer said is escaped and bounded by [`Said`] in every log line. No event has room for a password.
//! - What a flood can repeat at will is written, after the first few, at most once in ten seconds for each kind and source
//!   ([`Repeats`]); the next line, or one of its own when no other follows, has the number of those left out. The metrics count each.
//! - Figures that live elsewhere are asked for when they are read, through [`Events::add_source`].
//!
//! `docs/metrics.md` lists every metric and every log line; a test compares it with the code.

mod about;
mod auth;
mod fault;
mod figures;
mod gate;
mod listener;
mod maildrops;
mod occupancy;
mod pop3;
mod proxy;
mod repeats;
mod said;
mod screened;
mod server;
mod session;
mod smtp;
mod store;
mod tls;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use about::About;
pub use auth::{AuthFailed, AuthSucceeded, AuthThrottled, IntrospectionFailed, Throttle, UserSessionsRefused};
pub use fault::{GateFaulted, ListenerFaulted};
pub use figures::{Figure, Figures};
pub use gate::{SessionAdmitted, SessionEnded, SessionRefused};
pub use listener::Listener;
pub use maildrops::{ListCopyLeftOut, MaildropNearlyFull};
pub use occupancy::{GateCleared, GateFilling, GateFull, GateSteered, SourceBanned};
pub use pop3::{MaildropOpened, MaildropRefused, MaildropTakenOver, MessageFetched, MessagesDeleted};
pub use proxy::ProxyRefused;
pub use repeats::{LeftOut, Repeat, Repeats};
pub use said::Said;
pub use screened::{MessageDiscarded, MessageScreened};
pub use server::{
    CertificateLoaded, CertificateRejected, ConfigurationRejected, ConfigurationReloaded, DirectoryChanged, QuarantineChanged,
    QuarantineExpired, ServerDraining, ServerStarted, ServerStopped,
};
pub use session::{NotAnId, SessionEnd, SessionId};
pub use smtp::{DeliveryReported, MessageAccepted, MessageRefused, RateMet, RecipientRefused};
pub use store::{MessageDamaged, StoreDown, StoreFailed, StoreFull, StoreRecovered};
pub use tls::{HandshakeCompleted, HandshakeFailed};

/// Something that has happened.
pub trait Event {
    /// Adds it to the metrics.
    fn count(&self, metrics: &Metrics);

    /// Writes its log line. `left_out` is how many of its like were not written since the last one that was.
    fn log(&self, left_out: u64);

    /// What it is a repetition of, where a flood can cause it at will. Such an event is not always written.
    fn repeat(&self) -> Option<Repeat> {
        None
    }
}

/// Where events go. Clones are the same.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metrics: Metrics,
    registry: Mutex<Registry>,
    sources: Arc<figures::Sources>,
    repeats: Repeats,
    next_session: AtomicU64,
}

/// The metrics, by area.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) auth: auth::Metrics,
    pub(crate) fault: fault::Metrics,
    pub(crate) gate: gate::Metrics,
    pub(crate) maildrops: maildrops::Metrics,
    pub(crate) occupancy: occupancy::Metrics,
    pub(crate) pop3: pop3::Metrics,
    pub(crate) proxy: proxy::Metrics,
    pub(crate) server: server::Metrics,
    pub(crate) smtp: smtp::Metrics,
    pub(crate) store: store::Metrics,
    pub(crate) tls: tls::Metrics,
}

impl Events {
    /// For a server that started at `started`; session ids go on from there, so that they differ from those of its former lives.
    pub fn new(started: SystemTime) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let metrics = Metrics {
            auth: auth::Metrics::register(&mut registry),
            fault: fault::Metrics::register(&mut registry),
            gate: gate::Metrics::register(&mut registry),
            maildrops: maildrops::Metrics::register(&mut registry),
            occupancy: occupancy::Metrics::register(&mut registry),
            pop3: pop3::Metrics::register(&mut registry),
            proxy: proxy::Metrics::register(&mut registry),
            server: server::Metrics::register(&mut registry),
            smtp: smtp::Metrics::register(&mut registry),
            store: store::Metrics::register(&mut registry),
            tls: tls::Metrics::register(&mut registry),
        };
        let sources = Arc::new(figures::Sources::default());
        registry.register_collector(Box::new(Arc::clone(&sources)));
        let seconds = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let next_session = AtomicU64::new(seconds << SESSIONS_A_SECOND_BITS);
        Self(Arc::new(Inner { metrics, registry: Mutex::new(registry), sources, repeats: Repeats::default(), next_session }))
    }

    /// Counts the event and writes its log line.
    #[expect(clippy::needless_pass_by_value, reason = "an event happens once")]
    pub fn emit(&self, event: impl Event) {
        event.count(&self.0.metrics);
        let left_out = event.repeat().map_or(Some(0), |repeat| self.0.repeats.write(repeat));
        if let Some(left_out) = left_out {
            event.log(left_out);
        }
    }

    /// Tells what floods that are over have left out. To be called about once a second.
    pub fn tell_left_out(&self, now: Instant) {
        self.0.repeats.settle(now).into_iter().for_each(|left_out| self.emit(left_out));
    }

    /// The handle by which a listener's events name it; its metrics are found once and kept in it.
    pub fn listener(&self, name: &str) -> Listener {
        Listener::new(name)
    }

    /// An id for a session that begins.
    pub fn next_session(&self) -> SessionId {
        SessionId(self.0.next_session.fetch_add(1, Relaxed))
    }

    /// Has `source` asked for its figures whenever metrics are read. It must not wait.
    pub fn add_source(&self, source: impl Fn(&mut Figures) + Send + Sync + 'static) {
        self.0.sources.add(Box::new(source));
    }

    /// The figures of now, from every source.
    pub fn figures(&self) -> Figures {
        self.0.sources.ask()
    }

    /// Appends all metrics in the OpenMetrics text format, for the content type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// None that a `String` could cause.
    pub fn encode(&self, text: &mut String) -> fmt::Result {
        text::encode(text, &lock(&self.0.registry))
    }
}

/// What [`Events::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the name of every metric begins with, before an underscore.
const PREFIX: &str = "gatepost";

/// A million sessions a second, on average, before ids could meet those of a later life.
const SESSIONS_A_SECOND_BITS: u32 = 20;

/// A panic elsewhere leaves these plain values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
