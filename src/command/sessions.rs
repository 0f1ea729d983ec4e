//! `gatepost sessions`: the running server's sessions, listed and ended.

use std::io::{self, Write};

use admin::{Reply, Request, Session, SessionsRequest};
use mail::Span;

use super::place::Place;
use super::{Outcome, show, table};
use crate::cli::{EndSession, Exit, SessionIds, Sessions};

/// Lists them, or ends some.
///
/// # Errors
/// That no server runs there, or that there is no such session.
pub(crate) fn run(sessions: &Sessions) -> Outcome {
    let Sessions { end, user, source, asked } = sessions;
    if let Some(EndSession::End(ids)) = end {
        return end_each(ids);
    }
    let request = SessionsRequest::List { user: user.clone(), source: source.clone() };
    let Reply::Sessions(sessions) = Place::find(&asked.server)?.ask(&Request::Sessions(request))? else {
        return Err("the server did not list its sessions".into());
    };
    show(asked.json, &sessions, |out| print(out, &sessions))
}

fn end_each(SessionIds { ids, server }: &SessionIds) -> Outcome {
    let place = Place::find(server)?;
    for id in ids {
        place.ask(&Request::Sessions(SessionsRequest::End { id: id.clone() }))?;
        writeln!(io::stdout(), "{id} ends at its next command, at once while it waits for one")?;
    }
    Ok(Exit::Done)
}

fn print(out: &mut dyn Write, sessions: &[Session]) -> io::Result<()> {
    table::print(out, HEAD, sessions.iter().map(row))?;
    writeln!(out, "{} session{}", sessions.len(), if sessions.len() == 1 { "" } else { "s" })
}

fn row(session: &Session) -> [String; COLUMNS] {
    let Session {
        id, listener, source, class, user, program, seconds, phase, phase_seconds, commands, octets_in, octets_out, ending, ..
    } = session;
    let span = |seconds: f64| Span::secs(seconds as u64).to_string();
    let store = session.slot_seconds.get("store").copied().unwrap_or_default();
    [
        id.clone(),
        listener.as_ref().map_or_else(none, |listener| listener.service.clone()),
        source.to_string(),
        if class == "default" { none() } else { class.clone() },
        user.clone().unwrap_or_else(none),
        // A client names itself: nothing of it may move the cursor.
        program.as_deref().map_or_else(none, |program| events::Said(program).to_string()),
        span(*seconds),
        format!("{phase} {}{}", span(*phase_seconds), if *ending { ", ending" } else { "" }),
        format!("{store:.1}s"),
        commands.to_string(),
        octets_in.to_string(),
        octets_out.to_string(),
    ]
}

fn none() -> String {
    "-".to_owned()
}

const COLUMNS: usize = 12;
const HEAD: [&str; COLUMNS] = ["ID", "LISTENER", "SOURCE", "CLASS", "USER", "PROGRAM", "AGE", "DOING", "STORE", "COMMANDS", "IN", "OUT"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_columns_there_are() {
        let page = include_str!("../../docs/operating-the-gate.md");
        assert!(page.lines().any(|line| line.split_whitespace().eq(HEAD)), "{HEAD:?}");
    }
}
