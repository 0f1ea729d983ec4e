//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written when the machine waits for the client or has much to say. Every end of a session passes through here and is
//! told, a panic's too. Every wait is attributed to a phase, here or in [`Answers`]. A session that an operator ends is told so at its
//! next command boundary, which is at once while it waits; the maildrop is free before the last reply is written. May be dropped at any time: the maildrop is let go
//! of, the connection closes, and then the place is free.
//!
//! An idle session is its future and little else: what is rare or short is boxed, and arguments are captured, not moved.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use events::{HandshakeCompleted, HandshakeFailed, SessionAdmitted, SessionEnd, SessionEnded, SessionId};
use gate::{Denial, Enrolment, Newcomer, Parting, Permit, Phase, Seat};
use net::{Connection, Expected, NetError, Read};
use pop3::{Circumstance, Farewell, Mechanism, Mechanisms, Session, Tls, Want};

use crate::Shared;
use crate::answers::Answers;

/// Serves one admitted connection to its end.
pub(crate) fn serve(shared: Arc<Shared>, connection: Connection, permit: Permit) -> impl Future<Output = ()> + Send + 'static {
    let mut stay = Stay::new(shared, connection, permit);
    async move {
        let Stay { connection, permit, course } = &mut stay;
        course.end = match converse(course, connection, permit).await {
            Ok(end) | Err(end) => Some(end),
        };
        course.seat().enter(Phase::Client, net::now());
        Box::pin(connection.close()).await;
    }
}

/// Everything a session has. It ends in this order: the connection closes, the place is free, the end is told.
struct Stay {
    connection: Connection,
    permit: Permit,
    course: Course,
}

impl Stay {
    fn new(shared: Arc<Shared>, connection: Connection, permit: Permit) -> Self {
        let course = Course::begin(shared, connection.peer().ip(), &permit);
        Self { connection, permit, course }
    }
}

/// Tells of a session's beginning when it is made, and of its end when it is dropped.
struct Course {
    shared: Arc<Shared>,
    enrolment: Enrolment,
    id: SessionId,
    admitted_at: Instant,
    /// None as long as the session goes on: dropped then, it was cut off.
    end: Option<SessionEnd>,
}

impl Course {
    fn begin(shared: Arc<Shared>, source: IpAddr, permit: &Permit) -> Self {
        let Shared { events, listener, gate, id: listener_id, .. } = &*shared;
        let id = events.next_session();
        events.emit(SessionAdmitted { listener, session: id, source });
        let (admitted_at, draw) = (permit.admitted_at(), permit.draw());
        let enrolment = gate.roster().enrol(Newcomer { id: id.0, listener: *listener_id, source, draw, admitted_at });
        Self { shared, enrolment, id, admitted_at, end: None }
    }

    fn seat(&self) -> &Arc<Seat> {
        self.enrolment.seat()
    }

    /// Only the drain cuts sessions off; anything else is a fault of ours.
    fn cut_off(&self) -> SessionEnd {
        if self.shared.drain.requested() && !std::thread::panicking() { SessionEnd::Drained } else { SessionEnd::Failed }
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let (Shared { events, listener, .. }, now) = (&*self.shared, net::now());
        self.seat().enter(Phase::Own, now);
        let (end, duration) = (self.end.unwrap_or_else(|| self.cut_off()), now - self.admitted_at);
        events.emit(SessionEnded { listener, session: self.id, source: self.seat().source(), end, duration });
    }
}

/// How the session has ended: with a last reply, or before that could be said.
async fn converse(course: &Course, connection: &mut Connection, permit: &mut Permit) -> Result<SessionEnd, SessionEnd> {
    let (shared, seat, id) = (&course.shared, course.seat(), course.id);
    let settings = Arc::clone(&shared.settings.load().pop3);
    let tls = if shared.implicit_tls { Some(Box::pin(encrypt(course, connection)).await?) } else { None };
    let mut answers = Answers::new(Arc::clone(shared), &settings, Arc::clone(seat), id, connection.peer().ip());
    // Some account could not prove itself by it; see there.
    let is_wanted = settings.mechanisms.contains(Mechanism::ScramSha256);
    let offers_scram = is_wanted && seat.during(Phase::Store, net::now, Box::pin(shared.authenticator.offers_scram())).await;
    let withheld = if offers_scram { Mechanisms::NONE } else { Mechanisms::SCRAM };
    let mut session = Session::new(settings, Circumstance { tls }, net::now()).withholding(withheld);
    loop {
        heed(course, connection, &mut session, &answers);
        match session.next(&mut connection.input, net::now()) {
            Want::Answer(question) => {
                answers.answer(question, connection).await?;
                if session.is_authenticated() {
                    permit.authenticate();
                }
            }
            Want::Flush => {
                answers.write(session.output(), connection).await?;
                answers.written();
            }
            Want::Input => {
                if !session.is_authenticating() {
                    answers.forget_exchange();
                }
                if let Some(held_back) = answers.failed(session.take_failures()) {
                    seat.during(Phase::Tarpit, net::now, pin!(held_back)).await;
                }
                answers.write(session.output(), connection).await?;
                answers.written();
                seat.count_commands(session.commands());
                match read(connection, session.deadline(), course, &answers).await {
                    Woken::Taken => session.take_over(),
                    Woken::ToEnd => {}
                    Woken::Read(Read::Some) => answers.touch(),
                    Woken::Read(Read::TimedOut) => session.timed_out(net::now()),
                    Woken::Read(Read::Drained) => session.drain(|| answers.deny(None, Denial::Restarting)),
                    Woken::Read(Read::Eof | Read::Lost(_)) => return Err(SessionEnd::PeerGone),
                }
            }
            Want::Upgrade => {
                answers.write(session.output(), connection).await?;
                let tls = Box::pin(encrypt(course, connection)).await?;
                session = session.secured(tls, net::now());
            }
            Want::Close => {
                // Counted; nobody is held back on their way out.
                drop(answers.failed(session.take_failures()));
                seat.count_commands(session.commands());
                answers.release();
                answers.write(session.output(), connection).await?;
                return Ok(ended(session.farewell()));
            }
        }
    }
}

/// Tells the session what has come from elsewhere than its client: that the server leaves, or stays after all, that it is to end or to give its
/// place up.
fn heed(course: &Course, connection: &Connection, session: &mut Session, answers: &Answers) {
    if connection.drain_requested() || course.shared.gate.is_draining() {
        session.drain(|| answers.deny(None, Denial::Restarting));
    } else {
        session.undo_drain();
    }
    match course.seat().parting() {
        Some(Parting::Ended) => session.dismiss(),
        Some(Parting::GivesWay) => session.give_way(|| answers.deny(None, Denial::PlaceNeeded)),
        None => {}
    }
}

/// How a wait for the client ended.
enum Woken {
    /// By the client, a deadline or the drain.
    Read(Read),
    /// A newer session has the maildrop.
    Taken,
    /// The session is to end.
    ToEnd,
}

async fn read(connection: &mut Connection, deadline: Instant, course: &Course, answers: &Answers) -> Woken {
    let (gate, seat, before) = (&course.shared.gate, course.seat(), connection.input.len());
    seat.rest(true);
    // Written out: an idle session is in here, and is to be small.
    seat.enter(Phase::Client, net::now());
    let woken = {
        let (mut taken_over, mut read) = (pin!(answers.taken_over()), pin!(connection.read(Expected::Line, deadline)));
        poll_fn(|cx| {
            seat.attend(cx.waker());
            if taken_over.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Taken);
            }
            match read.as_mut().poll(cx) {
                Poll::Pending if seat.parting().is_some() || gate.sends_idle_away() => Poll::Ready(Woken::ToEnd),
                polled => polled.map(Woken::Read),
            }
        })
        .await
    };
    seat.enter(Phase::Own, net::now());
    seat.received(connection.input.len().saturating_sub(before));
    woken
}

/// The end of a session in the middle of a handshake, where nothing can be said.
fn parted(parting: Parting) -> SessionEnd {
    match parting {
        Parting::GivesWay => SessionEnd::GaveWay,
        Parting::Ended => SessionEnd::Ended,
    }
}

/// Shakes hands.
async fn encrypt(course: &Course, connection: &mut Connection) -> Result<Tls, SessionEnd> {
    let (source, id, Shared { events, listener, tls, .. }) = (course.seat().source(), course.id, &*course.shared);
    let outcome = match tls {
        Some(tls) => {
            let handshake = pin!(connection.start_tls(tls));
            let attributed = pin!(course.seat().during(Phase::Tls, net::now, handshake));
            course.seat().unless_parting(attributed).await.map_err(parted)?
        }
        None => Err(NetError::NoCertificate),
    };
    match (outcome, connection.tls()) {
        (Ok(()), Some(facts)) => {
            events.emit(HandshakeCompleted { listener, session: id, version: facts.version, cipher: facts.cipher_suite });
            Ok(Tls { exporter: facts.exporter, certificate: connection.mailbox().is_some() })
        }
        (outcome, _) => {
            let cause = outcome.err().unwrap_or(NetError::NotBeforeTls("it did not begin"));
            events.emit(HandshakeFailed { listener, session: id, source, cause: &cause, now: net::now() });
            Err(SessionEnd::HandshakeFailed)
        }
    }
}

/// What the machine's farewell says of the session's end.
fn ended(farewell: Option<Farewell>) -> SessionEnd {
    match farewell {
        Some(Farewell::Quit) => SessionEnd::Quit,
        Some(Farewell::TimedOut) => SessionEnd::TimedOut,
        Some(Farewell::TooLong) => SessionEnd::TooLong,
        Some(Farewell::Drained) => SessionEnd::Drained,
        Some(Farewell::GaveWay) => SessionEnd::GaveWay,
        Some(Farewell::TakenOver) => SessionEnd::TakenOver,
        Some(Farewell::Ended) => SessionEnd::Ended,
        Some(Farewell::Dismissed) => SessionEnd::Dismissed,
        Some(Farewell::Failed) | None => SessionEnd::Failed,
    }
}
