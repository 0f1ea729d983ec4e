//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written exactly when the machine waits for the client. Every end of a session passes through here and is named.
//! May be dropped at any time: the permit and the message in progress go with it.

use std::sync::Arc;

use events::{HandshakeCompleted, HandshakeFailed, SessionEnd, SessionEnded, SessionId};
use gate::Permit;
use net::{Connection, NetError, Read};
use smtp::{Circumstance, Reply, Session, Tls, Want};

use crate::Shared;
use crate::answers::Answers;

/// Serves one admitted connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, mut connection: Connection, permit: Permit) {
    let id = shared.events.next_session();
    let source = connection.peer().ip();
    let end = converse(&shared, &mut connection, id).await;
    Box::pin(connection.close()).await;
    let duration = net::now() - permit.admitted_at();
    drop(permit);
    shared.events.emit(SessionEnded { listener: &shared.listener, session: id, source, end, duration });
}

async fn converse(shared: &Arc<Shared>, connection: &mut Connection, id: SessionId) -> SessionEnd {
    let settings = shared.settings.load_full();
    let source = connection.peer().ip();
    let mut tls = None;
    if shared.implicit_tls {
        match Box::pin(encrypt(shared, connection, id)).await {
            Some(facts) => tls = Some(facts),
            None => return SessionEnd::HandshakeFailed,
        }
    }
    let mut session = Session::new(Arc::clone(&settings.smtp), Circumstance { peer: source, tls }, net::now());
    let mut answers = Answers::new(Arc::clone(shared), id, source);
    loop {
        if connection.drain_requested() {
            session.drain();
        }
        match session.next(&mut connection.input, net::now()) {
            Want::Answer(question) => answers.answer(question).await,
            Want::Flush => match write(connection, &mut session, shared).await {
                Ok(()) => answers.written(),
                Err(end) => return end,
            },
            Want::Input => {
                if let Err(end) = write(connection, &mut session, shared).await {
                    return end;
                }
                answers.written();
                match connection.read(session.deadline()).await {
                    Read::Some => {}
                    Read::TimedOut => session.timed_out(net::now()),
                    Read::Drained => session.leave(),
                    Read::Eof | Read::Lost(_) => return SessionEnd::PeerGone,
                }
            }
            Want::Upgrade => {
                if let Err(end) = write(connection, &mut session, shared).await {
                    return end;
                }
                match Box::pin(encrypt(shared, connection, id)).await {
                    Some(facts) => session = session.secured(facts, net::now()),
                    None => return SessionEnd::HandshakeFailed,
                }
            }
            Want::Close => {
                let farewell = session.farewell();
                return write(connection, &mut session, shared).await.err().unwrap_or(ended(farewell));
            }
        }
        if !session.in_transaction() {
            answers.forget_transaction();
        }
    }
}

/// Writes all output.
async fn write(connection: &mut Connection, session: &mut Session, shared: &Shared) -> Result<(), SessionEnd> {
    let output = session.output();
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
async fn encrypt(shared: &Shared, connection: &mut Connection, id: SessionId) -> Option<Tls> {
    let source = connection.peer().ip();
    let outcome = match &shared.tls {
        Some(tls) => connection.start_tls(tls).await,
        None => Err(NetError::NoCertificate),
    };
    match (outcome, connection.tls()) {
        (Ok(()), Some(facts)) => {
            let tls = Tls { version: facts.version, cipher: facts.cipher_suite };
            shared.events.emit(HandshakeCompleted { listener: &shared.listener, session: id, version: tls.version, cipher: tls.cipher });
            Some(tls)
        }
        (outcome, _) => {
            let cause = outcome.err().unwrap_or(NetError::NotBeforeTls("it did not begin"));
            shared.events.emit(HandshakeFailed { listener: &shared.listener, session: id, source, cause: &cause, now: net::now() });
            None
        }
    }
}

/// What the last reply says of the session's end.
fn ended(farewell: Option<Reply>) -> SessionEnd {
    match farewell {
        Some(Reply::BYE) => SessionEnd::Quit,
        Some(Reply::TIMEOUT) => SessionEnd::TimedOut,
        Some(Reply::RESTARTING) => SessionEnd::Drained,
        _ => SessionEnd::Dismissed,
    }
}
