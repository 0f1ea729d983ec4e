//! `gatepost quarantine`: messages that are held, of a running server or a stopped one: listed, released, removed.

use std::io::{self, Write};

use admin::{QuarantineRequest, Quarantined, Reply};

use super::place::Place;
use super::{Outcome, show, table};
use crate::cli::{DecideHeld, Exit, ListHeld, Quarantine};

/// Lists what is held, or ends it.
///
/// # Errors
/// What was refused, with the fix.
pub(crate) fn run(quarantine: &Quarantine) -> Outcome {
    match quarantine {
        Quarantine::List(ListHeld { user, asked }) => {
            match Place::find(&asked.server)?.quarantine(QuarantineRequest::List { user: user.clone() })? {
                Reply::Quarantined(held) => show(asked.json, &held, |out| print(out, &held)),
                other => Err(format!("the server answered something else: {other:?}").into()),
            }
        }
        Quarantine::Release(about) => {
            let request = QuarantineRequest::Release { id: about.id.clone(), user: about.user.clone() };
            decide(about, request, "released: it is listed from the next login on")
        }
        Quarantine::Remove(about) => decide(about, QuarantineRequest::Remove { id: about.id.clone(), user: about.user.clone() }, "removed"),
    }
}

fn decide(about: &DecideHeld, request: QuarantineRequest, done: &str) -> Outcome {
    match Place::find(&about.server)?.quarantine(request)? {
        Reply::Done => {
            writeln!(io::stdout(), "{} {done}", about.id)?;
            Ok(Exit::Done)
        }
        other => Err(format!("the server answered something else: {other:?}").into()),
    }
}

fn print(out: &mut dyn Write, held: &[Quarantined]) -> io::Result<()> {
    table::print(out, HEAD, held.iter().map(row))?;
    writeln!(out, "{} message{}", held.len(), if held.len() == 1 { "" } else { "s" })
}

fn row(held: &Quarantined) -> [String; COLUMNS] {
    let Quarantined { id, user, received, sender, octets, reason, .. } = held;
    [id.clone(), user.clone(), received.clone(), format!("<{sender}>"), octets.to_string(), reason.clone()]
}

const COLUMNS: usize = 6;
const HEAD: [&str; COLUMNS] = ["ID", "USER", "RECEIVED", "FROM", "OCTETS", "REASON"];
