//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written exactly when the machine waits for the client. Every end of a session passes through here and is told, a
//! panic's too. Every wait is attributed to a phase, here or in [`Answers`]. A session that an operator ends is told so at its next
//! command boundary, and between the commands of a transaction; a message that is under way is finished first. May be dropped at any time: the message in progress is forgotten, the connection closes, and then the place is
//! free.
//!
//! An idle session is its future and little else: what is rare or short is boxed, and arguments are captured, not moved.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use ::screening::{Manners, Pause};
use bytes::BytesMut;
use events::{HandshakeCompleted, HandshakeFailed, SessionAdmitted, SessionEnd, SessionEnded, SessionId};
use gate::{Class, Denial, Enrolment, Newcomer, Parting, Permit, Phase, Seat};
use net::{Connection, Expected, NetError, Read};
use smtp::{Circumstance, Deadline, Mechanisms, Overdue, Reply, Session, Tls, Want};

use crate::answers::Answers;
use crate::{Settings, Shared};

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
    let seat = course.seat();
    let (mut session, mut answers) = begin(course, connection).await?;
    loop {
        let now = net::now();
        heed(course, connection, &mut session, &answers, now);
        match session.next(&mut connection.input, now) {
            Want::Answer(question) => {
                answers.answer(question, permit).await;
                if session.identity().is_some() {
                    permit.authenticate();
                }
            }
            Want::Refused { reply, reverse_path } => answers.refused_unasked(reply, session.helo(), reverse_path.as_ref()),
            Want::Flush => {
                write(connection, session.output(), course).await?;
                answers.written();
            }
            Want::Input => {
                if let Some(held_back) = answers.failed(session.take_failures(), session.identity()) {
                    seat.during(Phase::Tarpit, net::now, pin!(held_back)).await;
                }
                write(connection, session.output(), course).await?;
                answers.written();
                tell(seat, &session);
                match read(connection, &session, course).await {
                    None | Some(Read::Some) => {}
                    Some(Read::TimedOut) => session.timed_out(net::now(), |overdue| answers.deny(timed_out(overdue))),
                    Some(Read::Drained) => session.leave(answers.deny(Denial::Restarting)),
                    Some(Read::Eof | Read::Lost(_)) => return Err(SessionEnd::PeerGone),
                }
            }
            Want::Upgrade => {
                write(connection, session.output(), course).await?;
                let tls = Box::pin(encrypt(course, connection)).await?;
                let was_known = session.identity().is_some();
                session = session.secured(tls, net::now());
                if was_known && let Err(line) = answers.forget_login(permit) {
                    session.turn_away(&line);
                }
                // A proxy shakes hands for itself, whomever it speaks for.
                if session.peer() == connection.peer().ip() {
                    answers.bind(connection);
                }
            }
            Want::Close => {
                let _held_back = answers.failed(session.take_failures(), session.identity());
                tell(seat, &session);
                write(connection, session.output(), course).await?;
                return Ok(ended(session.farewell()));
            }
        }
        if !session.in_transaction() {
            answers.forget_transaction();
        }
        if session.phase() != smtp::Phase::Authenticating {
            answers.forget_exchange();
        }
    }
}

/// What comes before the greeting: TLS where it is implicit, and what is to be known by then.
async fn begin(course: &Course, connection: &mut Connection) -> Result<(Session, Answers), SessionEnd> {
    let (shared, seat) = (&course.shared, course.seat());
    let settings = shared.settings.load_full();
    let manners = match held_back(course, connection, &settings) {
        Some(held_back) => held_back.await?,
        None => Manners::Unknown,
    };
    // Boxed, as all that only the beginning needs.
    let withheld = if settings.smtp.auth { Box::pin(shared.withheld(seat, &settings)).await } else { Mechanisms::NONE };
    let tls = if shared.implicit_tls { Some(Box::pin(encrypt(course, connection)).await?) } else { None };
    let here = Circumstance { withheld, ..shared.circumstance(&settings, connection.peer().ip(), tls) };
    let session = Session::new(Arc::clone(&settings.smtp), here, net::now());
    let mut answers = Answers::new(Arc::clone(shared), settings, Arc::clone(seat), course.id, here.peer, manners);
    answers.bind(connection);
    Ok((session, answers))
}

/// Tells the session what has come from elsewhere than its client: that the server leaves, or stays after all, that it is to end or to give its
/// place up, that its time is over.
fn heed(course: &Course, connection: &Connection, session: &mut Session, answers: &Answers, now: Instant) {
    if connection.drain_requested() || course.shared.gate.is_draining() {
        session.drain(|| answers.deny(Denial::Restarting));
    } else {
        session.undo_drain();
    }
    let in_message = session.phase() == smtp::Phase::Message;
    match course.seat().parting() {
        Some(Parting::Ended) if !in_message => session.dismiss(Reply::SESSION_ENDED),
        Some(Parting::GivesWay) => session.give_way(|| answers.deny(Denial::PlaceNeeded)),
        _ => {}
    }
    if session.is_over(now) {
        session.timed_out(now, |overdue| answers.deny(timed_out(overdue)));
    }
}

/// What becomes of a client whose greeting is held back: a stranger's, whom the operator has not written down and who has not delivered
/// mail. Boxed: it is short, and most have none.
fn held_back<'c>(
    course: &'c Course,
    connection: &'c mut Connection,
    settings: &'c Settings,
) -> Option<impl Future<Output = Result<Manners, SessionEnd>> + Send + use<'c>> {
    let (shared, seat) = (&course.shared, course.seat());
    let screener = settings.screener.as_ref()?;
    if shared.implicit_tls || shared.may_relay(seat.source()) || shared.gate.class_of(seat.source()) != Class::Default {
        return None;
    }
    Some(Box::pin(listen(screener.pause()?, connection, seat)))
}

/// Listens to a client before it is greeted.
async fn listen(pause: Pause<'_>, connection: &mut Connection, seat: &Seat) -> Result<Manners, SessionEnd> {
    if !connection.input.is_empty() {
        return Ok(Manners::TalksFirst);
    }
    let deadline = net::now() + pause.wait;
    match seat.during(Phase::Tarpit, net::now, pin!(connection.read(Expected::Line, deadline))).await {
        Read::Some => Ok(Manners::TalksFirst),
        Read::TimedOut => Ok(Manners::Waits),
        Read::Drained => Ok(Manners::Unknown),
        Read::Eof | Read::Lost(_) => Err(SessionEnd::PeerGone),
    }
}

/// What the roster is told when the session waits.
fn tell(seat: &Seat, session: &Session) {
    seat.count_commands(session.commands());
    if let Some(helo) = session.helo() {
        seat.introduce(helo);
    }
}

/// Waits for the client; `None` when the session is to end and may: its place is given up, and a drain sends it away, only between
/// transactions, and nothing ends a message.
async fn read(connection: &mut Connection, session: &Session, course: &Course) -> Option<Read> {
    let (gate, seat, before, deadline) = (&course.shared.gate, course.seat(), connection.input.len(), session.deadline());
    let in_message = session.phase() == smtp::Phase::Message;
    // Octets of a chunk that was refused come without a transaction.
    let rests = !in_message && !session.in_transaction();
    let is_to_end = || match seat.parting() {
        Some(Parting::Ended) => !in_message,
        Some(Parting::GivesWay) => rests,
        None => rests && gate.sends_idle_away(),
    };
    seat.rest(rests);
    // Written out: an idle session is in here, and is to be small.
    seat.enter(Phase::Client, net::now());
    let outcome = {
        let mut read = pin!(connection.read(if in_message { Expected::Text } else { Expected::Line }, deadline));
        poll_fn(|cx| {
            seat.attend(cx.waker());
            match read.as_mut().poll(cx) {
                Poll::Pending if is_to_end() => Poll::Ready(None),
                polled => polled.map(Some),
            }
        })
        .await
    };
    seat.enter(Phase::Own, net::now());
    seat.received(connection.input.len().saturating_sub(before));
    outcome
}

/// Writes all of `output`, and leaves an empty buffer that holds no memory.
async fn write(connection: &mut Connection, output: &mut BytesMut, course: &Course) -> Result<(), SessionEnd> {
    if output.is_empty() {
        return Ok(());
    }
    connection.output = std::mem::take(output);
    course.seat().sent(connection.output.len());
    let deadline = net::now() + course.shared.settings.load().write_deadline;
    course.seat().during(Phase::Client, net::now, pin!(connection.flush(deadline))).await.map_err(|error| match error {
        NetError::WriteTimedOut => SessionEnd::TimedOut,
        _ => SessionEnd::PeerGone,
    })
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
            let certificate = connection.mailbox().is_some();
            let tls = Tls { version: facts.version, cipher: facts.cipher_suite, exporter: facts.exporter, certificate };
            events.emit(HandshakeCompleted { listener, session: id, version: tls.version, cipher: tls.cipher });
            Ok(tls)
        }
        (outcome, _) => {
            let cause = outcome.err().unwrap_or(NetError::NotBeforeTls("it did not begin"));
            events.emit(HandshakeFailed { listener, session: id, source, cause: &cause, now: net::now() });
            Err(SessionEnd::HandshakeFailed)
        }
    }
}

/// A missed deadline, by its key.
fn timed_out(Overdue { deadline, allowed }: Overdue) -> Denial {
    let key = match deadline {
        Deadline::Command => "timeouts.command",
        Deadline::DataBlock => "timeouts.data_block",
        Deadline::DataRate => "timeouts.data_rate_bytes",
        Deadline::Session => "timeouts.session",
    };
    Denial::TimedOut { key, allowed_seconds: u32::try_from(allowed.as_secs()).unwrap_or(u32::MAX) }
}

/// What the last reply says of the session's end.
fn ended(farewell: Option<Reply>) -> SessionEnd {
    match farewell {
        Some(Reply::BYE) => SessionEnd::Quit,
        Some(Reply::TIMEOUT) => SessionEnd::TimedOut,
        Some(Reply::SESSION_TOO_LONG) => SessionEnd::TooLong,
        Some(Reply::RESTARTING) => SessionEnd::Drained,
        Some(Reply::PLACE_NEEDED) => SessionEnd::GaveWay,
        Some(Reply::SESSION_ENDED) => SessionEnd::Ended,
        _ => SessionEnd::Dismissed,
    }
}
