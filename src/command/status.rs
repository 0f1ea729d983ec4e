//! `gatepost status`: how the running server is doing.

use std::io::{self, Write};

use admin::{Reply, Request, Status};
use mail::ByteSize;

use super::Outcome;
use super::place::Place;
use crate::cli::{Asked, Exit};

/// Prints the gate, who holds its places, what was refused, and where the server listens.
///
/// # Errors
/// That no server runs there.
pub(crate) fn run(asked: &Asked) -> Outcome {
    let Reply::Status(status) = Place::find(&asked.server)?.ask(&Request::Status)? else {
        return Err("the server did not say how it is".into());
    };
    let mut out = io::stdout().lock();
    if asked.json {
        serde_json::to_writer_pretty(&mut out, &status)?;
        writeln!(out)?;
    } else {
        print(&mut out, &status)?;
    }
    Ok(Exit::Done)
}

fn print(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let Status { version, pid, uptime_seconds, node, in_use, max_inbound, over_limit, peak, admitted, .. } = status;
    writeln!(out, "gatepost {version}, process {pid}, up {}", mail::Span::secs(*uptime_seconds))?;
    writeln!(out, "node      {node}")?;
    for reason in &status.not_ready {
        writeln!(out, "          {reason}")?;
    }
    if let Some(ready) = status.figures.get("store_ready") {
        writeln!(out, "store     {}", if *ready == 1 { "ready" } else { "takes no mail" })?;
    }
    if let Some(held) = status.figures.get("store_held_messages").filter(|held| **held > 0) {
        let octets = ByteSize(status.figures.get("store_held_octets").copied().unwrap_or_default());
        writeln!(out, "held      {held} in quarantine, {octets}: `gatepost quarantine list` shows them")?;
    }
    writeln!(out, "places    {in_use} of {max_inbound} in use, at most {peak} at once")?;
    if *over_limit > 0 {
        writeln!(out, "          {over_limit} over the limit, until sessions end")?;
    }
    writeln!(out, "admitted  {admitted}")?;
    let refused: Vec<_> = status.refused.iter().filter(|(_, count)| **count > 0).map(|(rule, count)| format!("{rule} {count}")).collect();
    writeln!(out, "refused   {}", if refused.is_empty() { "0".into() } else { refused.join(", ") })?;
    for holder in &status.holders {
        writeln!(out, "holder    {} has {}", holder.prefix, holder.sessions)?;
    }
    for listening in &status.listening {
        writeln!(out, "listens   {} on {}", listening.service, listening.address)?;
    }
    Ok(())
}
