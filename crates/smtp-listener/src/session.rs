//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written exactly when the machine waits for the client. Every end of a session passes through here and is told, a
//! panic's too. May be dropped at any time: the message in progress is forgotten, the connection closes, and then the place is
//! free.
//!
//! An idle session is its future and little else: what is rare or short is boxed, and arguments are captured, not moved.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use events::{HandshakeCompleted, HandshakeFailed, SessionAdmitted, SessionEnd, SessionEnded, SessionId};
use gate::Permit;
use net::{Connection, NetError, Read};
use smtp::{Reply, Session, Tls, Want};

use crate::Shared;
use crate::answers::Answers;

/// Serves one admitted connection to its end.
pub(crate) fn serve(shared: Arc<Shared>, connection: Connection, permit: Permit) -> impl Future<Output = ()> + Send + 'static {
    let mut stay = Stay::new(shared, connection, permit);
    async move {
        let Stay { connection, permit, course } = &mut stay;
        course.end = match converse(&course.shared, connection, permit, course.id).await {
            Ok(end) | Err(end) => Some(end),
        };
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
        let course = Course::begin(shared, connection.peer().ip(), permit.admitted_at());
        Self { connection, permit, course }
    }
}

/// Tells of a session's beginning when it is made, and of its end when it is dropped.
struct Course {
    shared: Arc<Shared>,
    id: SessionId,
    source: IpAddr,
    admitted_at: Instant,
    /// None as long as the session goes on: dropped then, it was cut off.
    end: Option<SessionEnd>,
}

impl Course {
    fn begin(shared: Arc<Shared>, source: IpAddr, admitted_at: Instant) -> Self {
        let Shared { events, listener, .. } = &*shared;
        let id = events.next_session();
        events.emit(SessionAdmitted { listener, session: id, source });
        Self { shared, id, source, admitted_at, end: None }
    }

    /// Only the drain cuts sessions off; anything else is a fault of ours.
    fn cut_off(&self) -> SessionEnd {
        if self.shared.drain.requested() && !std::thread::panicking() { SessionEnd::Drained } else { SessionEnd::Failed }
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        let Shared { events, listener, .. } = &*self.shared;
        let (end, duration) = (self.end.unwrap_or_else(|| self.cut_off()), net::now() - self.admitted_at);
        events.emit(SessionEnded { listener, session: self.id, source: self.source, end, duration });
    }
}

/// How the session has ended: with a last reply, or before that could be said.
async fn converse(shared: &Arc<Shared>, connection: &mut Connection, permit: &mut Permit, id: SessionId) -> Result<SessionEnd, SessionEnd> {
    let settings = shared.settings.load_full();
    let tls = if shared.implicit_tls { Some(Box::pin(encrypt(shared, connection, id)).await?) } else { None };
    let here = shared.circumstance(&settings, connection.peer().ip(), tls);
    let mut session = Session::new(Arc::clone(&settings.smtp), here, net::now());
    let mut answers = Answers::new(Arc::clone(shared), settings, id, here.peer);
    loop {
        if connection.drain_requested() {
            session.drain();
        }
        match session.next(&mut connection.input, net::now()) {
            Want::Answer(question) => {
                answers.answer(question).await;
                if session.identity().is_some() {
                    permit.authenticate();
                }
            }
            Want::Refused { reply, reverse_path } => answers.refused_unasked(reply, reverse_path.as_ref()),
            Want::Flush => {
                write(connection, session.output(), shared).await?;
                answers.written();
            }
            Want::Input => {
                if let Some(held_back) = answers.failed(session.take_failures(), session.identity()) {
                    held_back.await;
                }
                write(connection, session.output(), shared).await?;
                answers.written();
                match connection.read(session.deadline()).await {
                    Read::Some => {}
                    Read::TimedOut => session.timed_out(net::now()),
                    Read::Drained => session.leave(),
                    Read::Eof | Read::Lost(_) => return Err(SessionEnd::PeerGone),
                }
            }
            Want::Upgrade => {
                write(connection, session.output(), shared).await?;
                let tls = Box::pin(encrypt(shared, connection, id)).await?;
                session = session.secured(tls, net::now());
            }
            Want::Close => {
                let _held_back = answers.failed(session.take_failures(), session.identity());
                write(connection, session.output(), shared).await?;
                return Ok(ended(session.farewell()));
            }
        }
        if !session.in_transaction() {
            answers.forget_transaction();
        }
    }
}

/// Writes all of `output`, and leaves an empty buffer that holds no memory.
async fn write(connection: &mut Connection, output: &mut BytesMut, shared: &Shared) -> Result<(), SessionEnd> {
    if output.is_empty() {
        return Ok(());
    }
    connection.output = std::mem::take(output);
    let deadline = net::now() + shared.settings.load().write_deadline;
    connection.flush(deadline).await.map_err(|error| match error {
        NetError::WriteTimedOut => SessionEnd::TimedOut,
        _ => SessionEnd::PeerGone,
    })
}

/// Shakes hands.
async fn encrypt(shared: &Shared, connection: &mut Connection, id: SessionId) -> Result<Tls, SessionEnd> {
    let source = connection.peer().ip();
    let Shared { events, listener, .. } = shared;
    let outcome = match &shared.tls {
        Some(tls) => connection.start_tls(tls).await,
        None => Err(NetError::NoCertificate),
    };
    match (outcome, connection.tls()) {
        (Ok(()), Some(facts)) => {
            let tls = Tls { version: facts.version, cipher: facts.cipher_suite };
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

/// What the last reply says of the session's end.
fn ended(farewell: Option<Reply>) -> SessionEnd {
    match farewell {
        Some(Reply::BYE) => SessionEnd::Quit,
        Some(Reply::TIMEOUT) => SessionEnd::TimedOut,
        Some(Reply::SESSION_TOO_LONG) => SessionEnd::TooLong,
        Some(Reply::RESTARTING) => SessionEnd::Drained,
        Some(Reply::PLACE_NEEDED) => SessionEnd::GaveWay,
        _ => SessionEnd::Dismissed,
    }
}
