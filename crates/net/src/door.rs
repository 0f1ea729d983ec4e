//! The door of one listener: lets in, has wait, turns away.
//!
//! Guarantees: nothing here waits but [`Door::stirred`]. Who waits for a place costs a descriptor and an entry in the [`Queue`], no
//! task and no buffer, and is gone at once when its peer hangs up; it gets the place that comes free, when it is its source's turn,
//! or its refusal when its time is over, when the room is full, or when nobody comes in any more.
//!
//! A trusted proxy's connection is asked about once its PROXY header is there, and then in the name of its client. A bounded number of
//! them is waited for, for a bounded time; a proxy that sends none is not believed to be anybody.
//!
//! On a listener with implicit TLS a refusal in clear would be noise: a few are said inside TLS, each in a task and with a
//! deadline, and beyond them the connection is closed and counted.
//!
//! Dropping a door closes who waits. What lingers is in the [`Budget`]'s table, where it stays until its time is over.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::budget::Part;
use crate::drain::Attendance;
use crate::introduction::{self, Header, Heard, Introduced};
use crate::lingering;
use crate::queue::{Order, Queue};
use crate::service::{Admission, Turn, WaitingRoom};
use crate::watch::Watch;
use crate::{Budget, Connection, Counters, Drain, ProxyFault, Service, Tls, clock};

/// A connection that is accepted, and by whom.
pub(crate) struct Visitor {
    pub(crate) socket: OwnedFd,
    /// Who it is, not a trusted proxy in between.
    pub(crate) peer: SocketAddr,
    /// Where it has connected to, if that is not our socket but a proxy's.
    pub(crate) local: Option<SocketAddr>,
}

/// All that a listener remembers of who came.
pub(crate) struct Door<S> {
    service: Arc<S>,
    drain: Drain,
    counters: Arc<Counters>,
    budget: Budget,
    /// How often somebody was seen to in the turn at hand, and how often that ended with a place. The rest is refusing, whether it is a reply,
    /// a place in the queue or a hang-up: what a flood costs is not to depend on how long it stays.
    seen_to: u32,
    let_in: u32,
    watch: Watch,
    /// By number, so in the order of arrival.
    introductions: BTreeMap<u64, Introduction>,
    waiting: Queue<Waiter>,
    last_number: u64,
    /// The reply to the refusal at hand.
    reply: BytesMut,
}

/// A trusted proxy's connection whose header is not all there.
struct Introduction {
    proxied: Visitor,
    until: Instant,
}

/// One who waits for a place. The drain waits for them, so that they hear of it.
struct Waiter {
    visitor: Visitor,
    _attendance: Attendance,
}

impl<S: Service> Door<S> {
    /// # Errors
    /// The system's, when it has no descriptor left, or the runtime's.
    pub(crate) fn new(service: Arc<S>, drain: Drain, counters: Arc<Counters>, budget: Budget) -> io::Result<Self> {
        Ok(Self {
            service,
            drain,
            budget,
            counters,
            seen_to: 0,
            let_in: 0,
            watch: Watch::new()?,
            introductions: BTreeMap::new(),
            waiting: Queue::new(),
            last_number: 0,
            reply: BytesMut::with_capacity(256),
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does a turn's work, and takes what refusing has cost of it off its budget.
    pub(crate) fn spending<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let budget = self.budget.clone();
        budget.spending(|| {
            (self.seen_to, self.let_in) = (0, 0);
            let done = work(self);
            (done, Part(self.not_let_in(), self.seen_to))
        })
    }

    fn not_let_in(&self) -> u32 {
        self.seen_to.saturating_sub(self.let_in)
    }

    /// What to wait for before the next turn, when refusing has cost too much. A listener whose last turn has let everybody in owes nothing: what
    /// others spend does not hold up its sessions.
    pub(crate) fn rest(&self) -> Option<impl Future<Output = ()> + Send + use<S>> {
        let tired = self.not_let_in() > 0 && self.budget.is_spent();
        tired.then(|| self.budget.clone().turn())
    }

    /// Somebody has come.
    pub(crate) fn meet(&mut self, visitor: Visitor, now: Instant) {
        if self.service.is_proxy(visitor.peer.ip()) { self.introduce(visitor, now) } else { self.welcome(visitor, now) }
    }

    /// Answers somebody there is no descriptor to serve with.
    pub(crate) fn out_of_descriptors(&mut self, connection: &OwnedFd, peer: SocketAddr) {
        self.reply.clear();
        self.service.out_of_descriptors(peer, &mut self.reply);
        let said = self.service.implicit_tls().is_none() && lingering::answer(connection, &self.reply);
        let _early_talk = lingering::discard(connection, &mut 0);
        self.seen_to += 1;
        if said { &self.counters.refused_answered } else { &self.counters.refused_unanswered }.add();
    }

    /// Closes all refused connections, of every listener: their descriptors are needed.
    pub(crate) fn clear_lingering(&mut self, now: Instant) {
        self.budget.lingering().clear(now);
    }

    /// Whether somebody waits for a place.
    pub(crate) fn somebody_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Does what time has made due: closes refused connections, refuses those who wait when their time is over, and closes proxies'
    /// connections that have not said whose they are.
    pub(crate) fn look_after(&mut self, now: Instant) {
        let is_due = self.budget.lingering().is_due(now);
        if is_due {
            self.budget.spending(|| (self.budget.lingering().sweep(now), Part(1, 1)));
        }
        let late = self.introductions.first_key_value().map(|(_, first)| first.until);
        if late.is_some_and(|until| now >= until) || self.first_to_go().is_some_and(|over| now >= over) {
            self.spending(|door| door.turn_away_late(now));
        }
    }

    fn turn_away_late(&mut self, now: Instant) {
        while let Some(late) = self.introductions.first_entry().filter(|first| now >= first.get().until) {
            let Introduction { proxied, .. } = late.remove();
            self.counters.introductions.sub(1);
            self.seen_to += 1;
            self.service.proxy_failed(proxied.peer, ProxyFault::Late);
        }
        while self.first_to_go().is_some_and(|over| now >= over) {
            let Some(waiter) = self.waiting.leave_oldest() else { return };
            if !self.ask_last(waiter, now) {
                self.counters.waiting_timed_out.add();
            }
        }
    }

    /// When the time of the first of those who wait is over: at once, where nobody is to wait any more.
    fn first_to_go(&self) -> Option<Instant> {
        let since = self.waiting.oldest()?;
        Some(since + self.service.waiting_room().map_or(Duration::ZERO, |room| room.wait))
    }

    /// When to look after them again, if nothing happens.
    pub(crate) fn look_again_at(&self) -> Option<Instant> {
        let over = self.first_to_go();
        let sweep = self.budget.lingering().sweep_at();
        let late = self.introductions.first_key_value().map(|(_, first)| first.until);
        [over, sweep, late].into_iter().flatten().min()
    }

    /// Waits until peers of those who wait, for a place or for a header, have done something; their numbers.
    ///
    /// # Errors
    /// The runtime's, when it ends.
    pub(crate) async fn stirred(&self) -> io::Result<Vec<u64>> {
        self.watch.stirred().await
    }

    /// Looks after those numbers: who waits for a place has hung up, a proxy has said more.
    pub(crate) fn attend(&mut self, stirred: &[u64]) {
        let now = clock::now();
        self.spending(|door| {
            for number in stirred {
                if door.waiting.leave(*number).is_some() {
                    door.seen_to += 1;
                    door.counters.waiting.sub(1);
                    door.counters.waiting_left.add();
                } else {
                    door.hear_again(*number, now);
                }
            }
        });
    }

    /// A trusted proxy has come: everything depends on whom it speaks for. Even a refusal that anybody would hear does: it is about the client,
    /// and what comes inside TLS comes behind the header.
    fn introduce(&mut self, proxied: Visitor, now: Instant) {
        match introduction::hear(&proxied.socket) {
            Heard::Header(header) => self.introduced(proxied, header, now),
            Heard::Beginning => self.let_speak(proxied, now),
            Heard::Fault(fault) => {
                self.seen_to += 1;
                self.service.proxy_failed(proxied.peer, fault);
            }
            Heard::Gone => self.seen_to += 1,
        }
    }

    /// Waits for the rest of a header.
    fn let_speak(&mut self, proxied: Visitor, now: Instant) {
        self.last_number += 1;
        let (number, crowded) = (self.last_number, self.introductions.len() >= INTRODUCTIONS_MOST);
        if crowded || self.watch.for_octets(&proxied.socket, number).is_err() {
            self.seen_to += 1;
            return self.service.proxy_failed(proxied.peer, ProxyFault::Crowded);
        }
        self.counters.introductions.add();
        self.introductions.insert(number, Introduction { proxied, until: now + INTRODUCTION_TIME });
    }

    /// A proxy has said more, or hung up.
    fn hear_again(&mut self, number: u64, now: Instant) {
        let Some(heard) = self.introductions.get(&number).map(|introduction| introduction::hear(&introduction.proxied.socket)) else {
            return;
        };
        if heard == Heard::Beginning {
            return;
        }
        let Some(Introduction { proxied, .. }) = self.introductions.remove(&number) else { return };
        self.watch.forget(&proxied.socket);
        self.counters.introductions.sub(1);
        match heard {
            Heard::Header(header) => self.introduced(proxied, header, now),
            Heard::Fault(fault) => {
                self.seen_to += 1;
                self.service.proxy_failed(proxied.peer, fault);
            }
            Heard::Beginning | Heard::Gone => self.seen_to += 1,
        }
    }

    /// Lets in, has wait or turns away whom the proxy speaks for.
    fn introduced(&mut self, proxied: Visitor, header: Header, now: Instant) {
        let visitor = match header.introduced {
            Some(Introduced { client, server }) => {
                self.counters.proxied.add();
                Visitor { peer: client, local: Some(server), ..proxied }
            }
            None => proxied,
        };
        self.welcome(visitor, now);
    }

    /// Asks what becomes of somebody we know. A place that has come free is for who waits already. The first of them alone is asked:
    /// all would be too many for each newcomer of a flood.
    fn welcome(&mut self, visitor: Visitor, now: Instant) {
        while let Some((order, waiter)) = self.waiting.next(None) {
            if self.offer(order, waiter.visitor.peer, now) != Offer::Taken {
                break;
            }
        }
        let room = self.service.waiting_room();
        self.ask(visitor, room, now);
    }

    /// Asks what becomes of somebody, and does it. Whether they came in.
    fn ask(&mut self, visitor: Visitor, room: Option<WaitingRoom>, now: Instant) -> bool {
        self.seen_to += 1;
        self.reply.clear();
        let admission = self.service.admit(visitor.peer, room.is_some(), &mut self.reply);
        match (admission, room) {
            (Admission::Wait { turn, .. }, Some(room)) => {
                self.let_wait(visitor, turn, room, now);
                false
            }
            (admission, _) => self.settle(visitor, admission, now),
        }
    }

    /// The same for one who has waited long enough and is no longer in the queue.
    fn ask_last(&mut self, waiter: Waiter, now: Instant) -> bool {
        let came_in = self.ask(self.stands_up(waiter), None, now);
        if came_in {
            self.counters.waiting_served.add();
        }
        came_in
    }

    fn let_wait(&mut self, visitor: Visitor, turn: Turn, room: WaitingRoom, now: Instant) {
        self.last_number += 1;
        if self.watch.for_hang_up(&visitor.socket, self.last_number).is_err() {
            self.ask(visitor, None, now);
            return;
        }
        self.counters.waiting.add();
        let waiter = Waiter { visitor, _attendance: self.drain.attendance() };
        if let Some((_, waiter)) = self.waiting.enter(self.last_number, turn, now, waiter, room.places)
            && !self.ask_last(waiter, now)
        {
            self.counters.waiting_refused.add();
        }
    }

    /// Gives places that came free to those whose turn it is and who may have them.
    pub(crate) fn serve_waiting(&mut self, now: Instant) {
        self.spending(|door| door.offer_in_turn(now));
    }

    fn offer_in_turn(&mut self, now: Instant) {
        let mut skipped = None;
        while let Some((order, waiter)) = self.waiting.next(skipped) {
            match self.offer(order, waiter.visitor.peer, now) {
                Offer::Taken => {}
                Offer::NotForThem => skipped = Some(order),
                Offer::NoPlace => return,
            }
        }
    }

    /// Asks for one who waits.
    fn offer(&mut self, order: Order, peer: SocketAddr, now: Instant) -> Offer {
        self.seen_to += 1;
        self.reply.clear();
        let admission = self.service.admit(peer, true, &mut self.reply);
        if let Admission::Wait { others_may, .. } = admission {
            return if others_may { Offer::NotForThem } else { Offer::NoPlace };
        }
        let Some(waiter) = self.waiting.serve(order) else { return Offer::NoPlace };
        let visitor = self.stands_up(waiter);
        let came_in = self.settle(visitor, admission, now);
        if came_in { &self.counters.waiting_served } else { &self.counters.waiting_refused }.add();
        Offer::Taken
    }

    fn stands_up(&self, waiter: Waiter) -> Visitor {
        self.watch.forget(&waiter.visitor.socket);
        self.counters.waiting.sub(1);
        waiter.visitor
    }

    /// Lets in or turns away. Whether they came in.
    fn settle(&mut self, visitor: Visitor, admission: Admission<S::Permit>, now: Instant) -> bool {
        let Admission::Admitted(permit) = admission else {
            self.refuse(visitor.socket, now);
            return false;
        };
        self.let_in += 1;
        match self.connect(visitor) {
            Ok(connection) => {
                self.counters.accepted.add();
                self.drain.spawn(Arc::clone(&self.service).session(connection, permit));
            }
            Err(_gone_or_no_room) => self.counters.accept_failed.add(),
        }
        true
    }

    fn connect(&self, Visitor { socket, peer, local }: Visitor) -> io::Result<Connection> {
        let tcp = tokio::net::TcpStream::from_std(TcpStream::from(socket))?;
        Connection::over_tcp(tcp, peer, local, self.drain.clone())
    }

    fn refuse(&mut self, connection: OwnedFd, now: Instant) {
        if let Some(tls) = self.service.implicit_tls() {
            let tls = tls.clone();
            return self.refuse_inside(&tls, connection);
        }
        if lingering::answer(&connection, &self.reply) {
            self.counters.refused_answered.add();
            self.budget.lingering().admit(connection, now, &self.counters);
        } else {
            self.counters.refused_unanswered.add();
        }
    }

    fn refuse_inside(&self, tls: &Tls, connection: OwnedFd) {
        let place = tls.refusal().filter(|_| !self.reply.is_empty());
        let taken_over = place.zip(tokio::net::TcpStream::from_std(TcpStream::from(connection)).ok());
        let Some((place, tcp)) = taken_over else {
            return self.counters.refused_unanswered.add();
        };
        let (tls, line, counters, budget) = (tls.clone(), self.reply.to_vec(), Arc::clone(&self.counters), self.budget.clone());
        self.drain.spawn(async move {
            let said = budget.charged(pin!(tls.refuse(tcp, &line))).await;
            if said { &counters.refused_answered } else { &counters.refused_unanswered }.add();
            drop(place);
        });
    }
}

impl<S> Drop for Door<S> {
    fn drop(&mut self) {
        self.counters.waiting.sub(self.waiting.len());
        self.counters.introductions.sub(self.introductions.len());
    }
}

/// What became of the place that was offered to one who waits.
#[derive(PartialEq, Eq)]
enum Offer {
    /// They do not wait any more.
    Taken,
    /// There is one, and others may have it.
    NotForThem,
    /// There is none.
    NoPlace,
}

/// Proxies' connections whose header is awaited at once; the header usually comes with the connection and awaits nothing.
pub const INTRODUCTIONS_MOST: usize = 64;

/// What a proxy has to say whom it speaks for.
const INTRODUCTION_TIME: Duration = Duration::from_secs(5);
