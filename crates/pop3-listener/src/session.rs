//! Drives one session: octets to the machine, questions to [`Answers`], replies to the client.
//!
//! Output is written when the machine waits for the client or has much to say. Every end of a session passes through here and is
//! named; the maildrop is free before the last reply is written. May be dropped at any time.

use std::sync::Arc;

use events::{HandshakeCompleted, HandshakeFailed, SessionEnd, SessionEnded, SessionId};
use gate::Permit;
use net::{Connection, NetError, Read};
use pop3::{Circumstance, Farewell, Session, Want};

use crate::Shared;
use crate::answers::{Answers, write};

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
    if shared.implicit_tls && !Box::pin(encrypt(shared, connection, id)).await {
        return SessionEnd::HandshakeFailed;
    }
    let settings = Arc::clone(&shared.settings.load().pop3);
    let session = Session::new(settings, Circumstance { tls: shared.implicit_tls }, net::now());
    let mut answers = Answers::new(Arc::clone(shared), id, connection.peer().ip());
    match exchange(shared, connection, session, &mut answers, id).await {
        Ok(end) | Err(end) => end,
    }
}

async fn exchange(
    shared: &Shared,
    connection: &mut Connection,
    mut session: Session,
    answers: &mut Answers,
    id: SessionId,
) -> Result<SessionEnd, SessionEnd> {
    loop {
        if connection.drain_requested() {
            session.drain();
        }
        match session.next(&mut connection.input, net::now()) {
            Want::Answer(question) => answers.answer(question, connection).await?,
            Want::Flush => {
                write(connection, session.output(), shared).await?;
                answers.written();
                answers.touch();
            }
            Want::Input => {
                write(connection, session.output(), shared).await?;
                answers.written();
                wait(connection, &mut session, answers).await?;
            }
            Want::Upgrade => {
                write(connection, session.output(), shared).await?;
                if !Box::pin(encrypt(shared, connection, id)).await {
                    return Err(SessionEnd::HandshakeFailed);
                }
                session = session.secured(net::now());
            }
            Want::Close => {
                answers.release();
                write(connection, session.output(), shared).await?;
                return Ok(ended(session.farewell()));
            }
        }
    }
}

/// Waits for the client, or for what ends the session first.
async fn wait(connection: &mut Connection, session: &mut Session, answers: &Answers) -> Result<(), SessionEnd> {
    let deadline = session.deadline();
    let read = tokio::select! {
        biased;
        () = answers.taken_over() => {
            session.take_over();
            return Ok(());
        }
        read = connection.read(deadline) => read,
    };
    match read {
        Read::Some => answers.touch(),
        Read::TimedOut => session.timed_out(net::now()),
        Read::Drained => session.drain(),
        Read::Eof | Read::Lost(_) => return Err(SessionEnd::PeerGone),
    }
    Ok(())
}

/// Shakes hands; whether the connection is encrypted now.
async fn encrypt(shared: &Shared, connection: &mut Connection, id: SessionId) -> bool {
    let source = connection.peer().ip();
    let outcome = match &shared.tls {
        Some(tls) => connection.start_tls(tls).await,
        None => Err(NetError::NoCertificate),
    };
    let Shared { events, listener, .. } = shared;
    match (outcome, connection.tls()) {
        (Ok(()), Some(facts)) => {
            events.emit(HandshakeCompleted { listener, session: id, version: facts.version, cipher: facts.cipher_suite });
            true
        }
        (outcome, _) => {
            let cause = outcome.err().unwrap_or(NetError::NotBeforeTls("it did not begin"));
            events.emit(HandshakeFailed { listener, session: id, source, cause: &cause, now: net::now() });
            false
        }
    }
}

fn ended(farewell: Option<Farewell>) -> SessionEnd {
    match farewell {
        Some(Farewell::Quit) => SessionEnd::Quit,
        Some(Farewell::TimedOut) => SessionEnd::TimedOut,
        Some(Farewell::TooLong) => SessionEnd::TooLong,
        Some(Farewell::Drained) => SessionEnd::Drained,
        _ => SessionEnd::Dismissed,
    }
}
