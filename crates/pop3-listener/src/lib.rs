//! Answers a POP3 session's questions from gate, passwords and store.
//!
//! A [`Listener`] is a [`net::Service`]: it admits through the gate, says who may wait for a place, and drives each admitted
//! connection through the machine of `pop3`. One value serves one address.
//!
//! Guarantees: a maildrop is locked before its owner is told that it is open, and free before the client is told goodbye;
//! messages leave in pieces, so memory does not grow with them; deletions are durable before they are confirmed, and no
//! deletion that is not confirmed is done while the server leaves; a session whose maildrop was taken over by a newer one ends and
//! deletes nothing; whatever happens to a session, its end has a name and its place is free. Refuses as the tables of `pop3` and
//! `gate` say. Fails never: an error of the store is a temporary answer and an event.
//!
//! [`Listener::configure`] changes what new sessions are served by; sessions under way keep what they began with, but for the
//! write deadline and the login delay. The waiting room changes for those in it, too.

mod answers;
mod login_delay;
mod session;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::Authenticator;
use bytes::BytesMut;
use events::{Events, ListenerFaulted, ProxyRefused, SessionId, SessionRefused, SourceBanned, UserSessionsRefused};
use gate::rates::MailRates;
use gate::{Arrival, Ban, Denial, Gate, Holders, IpNet, ListenerId, Permit, Protocol, Refusal, ReplyLine, Seat, UserFull, Wait};
use net::{Admission, Connection, Drain, ProxyFault, Service, Tls, Turn, WaitingRoom};
use store::Store;

pub use login_delay::LoginDelay;

/// What a reload may change.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The machine's.
    pub pop3: Arc<pop3::Settings>,
    /// How long a client may take to read what it is sent.
    pub write_deadline: Duration,
    /// Where clients wait for a place when there is none; `None`: they are refused at once.
    pub waiting_room: Option<WaitingRoom>,
    /// Proxies whose connections begin with a PROXY header, and are its client's from there on.
    pub trusted_proxies: Vec<IpNet>,
}

/// What a listener stands on.
pub struct Ground {
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// Where mail is.
    pub store: Arc<dyn Store>,
    /// How often somebody may do what.
    pub rates: Arc<MailRates>,
    /// Who somebody is.
    pub authenticator: Arc<Authenticator>,
    /// Who has logged in when: one for all listeners.
    pub login_delay: Arc<LoginDelay>,
    /// Where events go.
    pub events: Events,
    /// How the server ends.
    pub drain: Drain,
}

/// Serves one POP3 address. Clones of it in an `Arc` serve the same.
#[derive(Clone)]
pub struct Listener(Arc<Shared>);

/// What all sessions of one listener share.
pub(crate) struct Shared {
    id: ListenerId,
    listener: events::Listener,
    gate: Arc<Gate>,
    store: Arc<dyn Store>,
    rates: Arc<MailRates>,
    authenticator: Arc<Authenticator>,
    login_delay: Arc<LoginDelay>,
    events: Events,
    drain: Drain,
    tls: Option<Tls>,
    implicit_tls: bool,
    settings: ArcSwap<Settings>,
}

impl Listener {
    /// A listener called `name` in log and metrics, with TLS from the first octet where `implicit_tls`.
    pub fn new(id: ListenerId, name: &str, ground: &Ground, tls: Option<Tls>, implicit_tls: bool, settings: Settings) -> Self {
        let Ground { gate, store, rates, authenticator, login_delay, events, drain } = ground;
        Self(Arc::new(Shared {
            id,
            listener: events.listener(name),
            gate: Arc::clone(gate),
            store: Arc::clone(store),
            rates: Arc::clone(rates),
            authenticator: Arc::clone(authenticator),
            login_delay: Arc::clone(login_delay),
            events: events.clone(),
            drain: drain.clone(),
            tls,
            implicit_tls,
            settings: ArcSwap::from_pointee(settings),
        }))
    }

    /// Serves new sessions by `settings` from now on.
    pub fn configure(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }
}

impl Service for Listener {
    type Permit = Permit;

    fn admit(&self, peer: SocketAddr, may_wait: bool, reply: &mut BytesMut) -> Admission<Permit> {
        let arrival = Arrival { listener: self.0.id, peer: peer.ip(), authenticates: true, brings_mail: false, now: net::now() };
        match self.0.gate.try_admit(&arrival) {
            Ok(permit) => Admission::Admitted(permit),
            Err(obstacle) => match obstacle.wait(arrival.peer).filter(|_| may_wait) {
                Some(Wait { source, precedence, others_may }) => Admission::Wait { turn: Turn { source, precedence }, others_may },
                None => {
                    self.0.refuse(&self.0.gate.refuse(obstacle, &arrival), &arrival, reply);
                    Admission::Refused
                }
            },
        }
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.0.settings.load().trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    fn proxy_failed(&self, proxy: SocketAddr, fault: ProxyFault) {
        self.0.events.emit(ProxyRefused { listener: &self.0.listener, proxy: proxy.ip(), cause: &fault, now: net::now() });
    }

    fn out_of_descriptors(&self, peer: SocketAddr, reply: &mut BytesMut) {
        let arrival = Arrival { listener: self.0.id, peer: peer.ip(), authenticates: true, brings_mail: false, now: net::now() };
        self.0.refuse(&self.0.gate.out_of_descriptors(&arrival), &arrival, reply);
    }

    fn faulted(&self, cause: &str) {
        self.0.events.emit(ListenerFaulted { listener: &self.0.listener, cause: &cause, now: net::now() });
    }

    fn session(self: Arc<Self>, connection: Connection, permit: Permit) -> impl Future<Output = ()> + Send + 'static {
        session::serve(Arc::clone(&self.0), connection, permit)
    }

    fn implicit_tls(&self) -> Option<&Tls> {
        self.0.tls.as_ref().filter(|_| self.0.implicit_tls)
    }

    fn waiting_room(&self) -> Option<WaitingRoom> {
        self.0.settings.load().waiting_room
    }

    fn vacated(&self) -> impl Future<Output = ()> + Send {
        self.0.gate.vacancy().told()
    }
}

impl Shared {
    /// Counts a session for its user, who has given the right password; or tells the operator who holds the user's others.
    fn log_in(&self, seat: &Seat, session: SessionId, source: IpAddr, account: &Arc<str>) -> Result<(), UserFull> {
        self.gate.log_in(seat, account).inspect_err(|full| {
            let (now, key, limit) = (net::now(), Denial::from(*full).key(), full.limit);
            let holders = &Holders(&self.gate.roster().sessions_of(account, now));
            self.events.emit(UserSessionsRefused { listener: &self.listener, session, source, account, key, limit, holders, now });
        })
    }

    /// So many commands of somebody without a password have failed, who may be banned for it.
    fn failed(&self, source: IpAddr, failures: u16) {
        let now = net::now();
        if let Some(Ban { network, reason, until, .. }) = self.gate.failed(source, failures.into(), now) {
            self.events.emit(SourceBanned { network: &network, time: until - now, reason: &reason });
        }
    }

    /// Tells the client and the operator.
    fn refuse(&self, refusal: &Refusal, arrival: &Arrival, reply: &mut BytesMut) {
        let mut line = ReplyLine::new();
        refusal.render(Protocol::Pop3, self.settings.load().pop3.host.as_str(), &mut line);
        reply.extend_from_slice(line.as_bytes());
        let (rule, limit) = (refusal.rule.id(), refusal.rule.key().unwrap_or_default());
        let (known_good, Arrival { peer: source, now, .. }) = (refusal.known_good, *arrival);
        self.events.emit(SessionRefused { listener: &self.listener, source, rule, limit, known_good, cause: refusal, now });
    }
}
