//! `gatepost ban`: the running server's bans, listed, made and ended.

use std::io::{self, Write};

use admin::{BanRequest, Reply, Request};
use mail::Span;

use super::place::Place;
use super::{Outcome, show, table};
use crate::cli::{AddBan, Asked, Ban, RemoveBan};

/// Lists them, makes one or ends one.
///
/// # Errors
/// That no server runs there, or what it refused.
pub(crate) fn run(ban: &Ban) -> Outcome {
    match ban {
        Ban::List(asked) => {
            let bans = ask(asked, BanRequest::List)?;
            show(asked.json, &bans, |out| print(out, &bans))
        }
        Ban::Add(AddBan { network, time: Span(time), reason, asked }) => {
            let request = BanRequest::Add { network: network.clone(), seconds: time.as_secs(), reason: reason.clone() };
            let bans = ask(asked, request)?;
            show(asked.json, &bans, |out| writeln!(out, "{network} is banned for {}; `gatepost ban remove {network}` ends it", Span(*time)))
        }
        Ban::Remove(RemoveBan { network, asked }) => {
            let bans = ask(asked, BanRequest::Remove { network: network.clone() })?;
            show(asked.json, &bans, |out| writeln!(out, "{network} is banned no longer"))
        }
    }
}

fn ask(asked: &Asked, request: BanRequest) -> Result<Vec<admin::Ban>, Box<dyn std::error::Error>> {
    match Place::find(&asked.server)?.ask(&Request::Bans(request))? {
        Reply::Bans(bans) => Ok(bans),
        other => Err(format!("the server answered something else: {other:?}").into()),
    }
}

fn print(out: &mut dyn Write, bans: &[admin::Ban]) -> io::Result<()> {
    table::print(out, HEAD, bans.iter().map(row))?;
    writeln!(out, "{} ban{}", bans.len(), if bans.len() == 1 { "" } else { "s" })
}

fn row(ban: &admin::Ban) -> [String; COLUMNS] {
    let admin::Ban { network, reason, until, seconds_left, automatic, refused } = ban;
    [
        network.clone(),
        until.clone(),
        Span::secs(*seconds_left).to_string(),
        if *automatic { "server" } else { "operator" }.to_owned(),
        refused.to_string(),
        reason.clone(),
    ]
}

const COLUMNS: usize = 6;
const HEAD: [&str; COLUMNS] = ["NETWORK", "UNTIL", "LEFT", "BY", "REFUSED", "REASON"];
