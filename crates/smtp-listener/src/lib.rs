//! Answers an SMTP session's questions from gate, passwords, directory, screening and store.
//!
//! A [`Listener`] is a [`net::Service`]: it admits through the gate, says who may wait for a place, and drives each admitted
//! connection through the machine of `smtp`. One value serves one address; several addresses of one kind share what they stand on.
//!
//! Guarantees: a 250 to the end of data is written from a store's receipt and while the drain is held off; a recipient outside
//! our domains is refused whoever asks, with the reason; whatever happens to a session, its end has a name and its place is
//! free. Refuses as the tables of `smtp` and `gate` say. Fails never: an error of the store is a temporary reply and an event.
//!
//! [`Listener::configure`] changes what new sessions are served by; sessions under way keep what they began with, but for the
//! networks that may relay or deliver by LMTP and the write deadline. The waiting room changes for those in it, too.

mod answers;
mod elsewhere;
mod explaining;
mod form;
mod freight;
mod hops;
mod judgement;
mod report;
mod rescue;
mod screening;
mod session;
mod submission;
mod trace;
mod transaction;

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ::screening::Screener;
use arc_swap::ArcSwap;
use auth::Authenticator;
use bytes::BytesMut;
use events::{Events, ListenerFaulted, ProxyRefused, SessionId, SessionRefused, SourceBanned, UserSessionsRefused};
use gate::rates::MailRates;
use gate::{
    Arrival, Ban, Delivery, Denial, Gate, Holders, IpNet, ListenerId, Permit, Phase, Protocol, Refusal, ReplyLine, Seat, Usage, UserFull,
    Wait,
};
use net::{Admission, Connection, Drain, ProxyFault, Service, Tls, Turn, WaitingRoom};
use recipients::Lookup;
use smtp::{Circumstance, Mechanism, Mechanisms};
use store::Store;

use crate::answers::NearlyFull;
pub use explaining::{Explained, Inquiry, Step};
pub use form::flaw;
pub use submission::{Allowed, Submission};

/// What a reload may change.
#[derive(Clone)]
pub struct Settings {
    /// The machine's.
    pub smtp: Arc<smtp::Settings>,
    /// Received fields with which, or more, a message is taken to go round in a loop (RFC 5321 §6.3).
    pub hops: usize,
    /// Networks whose clients may send to other hosts without a password.
    pub relay_networks: Vec<IpNet>,
    /// Networks whose clients may deliver by LMTP.
    pub lmtp_networks: Vec<IpNet>,
    /// Networks whose clients may say for whom they speak (XCLIENT).
    pub xclient_networks: Vec<IpNet>,
    /// Messages one session may send while the gate is at most half full, from 1 to [`smtp::limits::MAILS_MOST`].
    pub messages: u32,
    /// How long a client may take to read what it is sent.
    pub write_deadline: Duration,
    /// Where clients wait for a place when there is none; `None`: they are refused at once.
    pub waiting_room: Option<WaitingRoom>,
    /// Proxies whose connections begin with a PROXY header, and are its client's from there on.
    pub trusted_proxies: Vec<IpNet>,
    /// What is asked of people with a password, and done for them.
    pub submission: Submission,
    /// With how many percent of its quota in use an account is told of as nearly full.
    pub quota_warning_percent: u8,
    /// Who is asked about addresses that the directory does not know; `None`: nobody.
    pub lookup: Option<Arc<Lookup>>,
    /// What is asked about messages; `None`: nothing.
    pub screener: Option<Arc<Screener>>,
}

/// What a listener stands on.
pub struct Ground {
    /// Who may come in.
    pub gate: Arc<Gate>,
    /// Where mail goes, and whom it is for.
    pub store: Arc<dyn Store>,
    /// How often somebody may do what.
    pub rates: Arc<MailRates>,
    /// How fast messages go to the store.
    pub delivery: Delivery,
    /// Who somebody is.
    pub authenticator: Arc<Authenticator>,
    /// Where events go.
    pub events: Events,
    /// How the server ends.
    pub drain: Drain,
}

/// Serves one SMTP address. Clones of it in an `Arc` serve the same.
#[derive(Clone)]
pub struct Listener(Arc<Shared>);

/// What all sessions of one listener share.
pub(crate) struct Shared {
    id: ListenerId,
    listener: events::Listener,
    gate: Arc<Gate>,
    store: Arc<dyn Store>,
    rates: Arc<MailRates>,
    delivery: Delivery,
    authenticator: Arc<Authenticator>,
    events: Events,
    drain: Drain,
    tls: Option<Tls>,
    implicit_tls: bool,
    settings: ArcSwap<Settings>,
    nearly_full: NearlyFull,
}

impl Listener {
    /// A listener called `name` in log and metrics, with TLS from the first octet where `implicit_tls`.
    pub fn new(id: ListenerId, name: &str, ground: &Ground, tls: Option<Tls>, implicit_tls: bool, settings: Settings) -> Self {
        let Ground { gate, store, rates, delivery, authenticator, events, drain } = ground;
        Self(Arc::new(Shared {
            id,
            listener: events.listener(name),
            gate: Arc::clone(gate),
            store: Arc::clone(store),
            rates: Arc::clone(rates),
            delivery: delivery.clone(),
            authenticator: Arc::clone(authenticator),
            events: events.clone(),
            drain: drain.clone(),
            tls,
            implicit_tls,
            settings: ArcSwap::from_pointee(settings),
            nearly_full: NearlyFull::default(),
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
        let arrival = self.0.arrival(peer);
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
        let arrival = self.0.arrival(peer);
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
    fn arrival(&self, peer: SocketAddr) -> Arrival {
        let authenticates = self.settings.load().smtp.role == smtp::Role::Submission;
        Arrival { listener: self.id, peer: peer.ip(), authenticates, brings_mail: true, now: net::now() }
    }

    /// Whether the operator has written that this client may send anywhere without a password.
    fn may_relay(&self, source: IpAddr) -> bool {
        self.settings.load().relay_networks.iter().any(|network| network.contains(&source))
    }

    /// Whether this is a server of ours, where only they deliver.
    fn may_deliver(&self, source: IpAddr) -> bool {
        let settings = self.settings.load();
        settings.smtp.role != smtp::Role::Lmtp || settings.lmtp_networks.iter().any(|network| network.contains(&source.to_canonical()))
    }

    /// What is known of a client before its first octet.
    fn circumstance(&self, settings: &Settings, peer: IpAddr, tls: Option<smtp::Tls>) -> Circumstance {
        // Servers of ours speak for themselves, and are let in for what they are.
        let is_lmtp = settings.smtp.role == smtp::Role::Lmtp;
        let xclient = !is_lmtp && settings.xclient_networks.iter().any(|network| network.contains(&peer));
        let (future_release, mails) = (settings.submission.future_release(), Some(messages(settings.messages, self.gate.usage())));
        Circumstance { tls, xclient, mails, future_release, ..Circumstance::new(peer) }
    }

    /// What must not be offered at present.
    async fn withheld(&self, seat: &Seat, settings: &Settings) -> Mechanisms {
        let is_wanted = settings.smtp.mechanisms.contains(Mechanism::ScramSha256);
        if is_wanted && !seat.during(Phase::Store, net::now, pin!(self.authenticator.offers_scram())).await {
            Mechanisms::SCRAM
        } else {
            Mechanisms::NONE
        }
    }

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
        refusal.render(Protocol::Smtp, self.settings.load().smtp.host.as_str(), &mut line);
        reply.extend_from_slice(line.as_bytes());
        let (rule, limit) = (refusal.rule.id(), refusal.rule.key().unwrap_or_default());
        let (known_good, Arrival { peer: source, now, .. }) = (refusal.known_good, *arrival);
        self.events.emit(SessionRefused { listener: &self.listener, source, rule, limit, known_good, cause: refusal, now });
    }
}

/// Messages that a session may send which begins now: all of them while half of the places are free, and then fewer the fewer
/// are, so that places change hands; but never less than a sender with a queue can make use of.
fn messages(most: u32, Usage { in_use, limit, .. }: Usage) -> u32 {
    let free = u64::from(limit.saturating_sub(in_use));
    let share = (u64::from(most) * free * 2).checked_div(limit.into()).unwrap_or_default();
    u32::try_from(share).unwrap_or(most).clamp(MESSAGES_LEAST.min(most), most)
}

const MESSAGES_LEAST: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuller_the_gate_the_fewer_messages_a_session_may_send() {
        let at = |in_use| messages(1000, Usage { in_use, general: in_use, limit: 100, reserve: 0 });
        assert_eq!([0, 50, 51, 75, 99, 100, 200].map(at), [1000, 1000, 980, 500, 20, 10, 10]);
        assert_eq!(messages(3, Usage { in_use: 100, general: 100, limit: 100, reserve: 0 }), 3);
    }
}
