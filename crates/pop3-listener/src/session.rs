//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written when the machine waits for the client or has much to say. Every end of a session passes through here and is
//! told, a panic's too; the maildrop is free before the last reply is written. May be dropped at any time: the maildrop is let go
//! of, the connection closes, and then the place is free.
//!
//! An idle session is its future and little else: what is rare or short is boxed, and arguments are captured, not moved.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use events::{HandshakeCompleted, HandshakeFailed, SessionAdmitted, SessionEnd, SessionEnded, SessionId};
use gate::Permit;
use net::{Connection, NetError, Read};
use pop3::{Circumstance, Farewell, Session, Want};

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
    let settings = Arc::clone(&shared.settings.load().pop3);
    if shared.implicit_tls {
        Box::pin(encrypt(shared, connection, id)).await?;
    }
    let mut session = Session::new(settings, Circumstance { tls: shared.implicit_tls }, net::now());
    let mut answers = Answers::new(Arc::clone(shared), id, connection.peer().ip());
    loop {
        if connection.drain_requested() {
            session.drain();
        }
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
                answers.write(session.output(), connection).await?;
                answers.written();
                let deadline = session.deadline();
                let read = tokio::select! {
                    biased;
                    () = answers.taken_over() => None,
                    read = connection.read(deadline) => Some(read),
                };
                match read {
                    None => session.take_over(),
                    Some(Read::Some) => answers.touch(),
                    Some(Read::TimedOut) => session.timed_out(net::now()),
                    Some(Read::Drained) => session.drain(),
                    Some(Read::Eof | Read::Lost(_)) => return Err(SessionEnd::PeerGone),
                }
            }
            Want::Upgrade => {
                answers.write(session.output(), connection).await?;
                Box::pin(encrypt(shared, connection, id)).await?;
                session = session.secured(net::now());
            }
            Want::Close => {
                answers.release();
                answers.write(session.output(), connection).await?;
                return Ok(ended(session.farewell()));
            }
        }
    }
}

/// Shakes hands.
async fn encrypt(shared: &Shared, connection: &mut Connection, id: SessionId) -> Result<(), SessionEnd> {
    let source = connection.peer().ip();
    let Shared { events, listener, .. } = shared;
    let outcome = match &shared.tls {
        Some(tls) => connection.start_tls(tls).await,
        None => Err(NetError::NoCertificate),
    };
    match (outcome, connection.tls()) {
        (Ok(()), Some(facts)) => {
            events.emit(HandshakeCompleted { listener, session: id, version: facts.version, cipher: facts.cipher_suite });
            Ok(())
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
        Some(Farewell::Dismissed) => SessionEnd::Dismissed,
        Some(Farewell::Failed) | None => SessionEnd::Failed,
    }
}
