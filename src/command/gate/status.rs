//! The gate's status, for people.

use std::io::{self, Write};

use admin::{ClientStatus, ExemptionStatus, GateStatus, Holder, PhaseStatus};
use mail::Span;

use super::explain;

/// Prints it.
pub(super) fn print(out: &mut dyn Write, status: &GateStatus) -> io::Result<()> {
    let GateStatus { node, occupancy, in_use, limit, over_limit, peak, admitted, refused, phases, holders, users, remedy, .. } = status;
    let GateStatus { reserve, unreserved_in_use, first_places, authenticating, known_good_refused, missing, in_shadow, clients, .. } =
        status;
    writeln!(out, "node      {node}")?;
    writeln!(out, "places    {in_use} of {limit} in use, at most {peak} at once; {occupancy}")?;
    if *over_limit > 0 {
        writeln!(out, "          {over_limit} over the limit, until sessions end")?;
    }
    if *reserve > 0 {
        writeln!(out, "reserve   {reserve}: strangers have {unreserved_in_use} of the other {}", limit.saturating_sub(*reserve))?;
        writeln!(out, "          {first_places} first places and {authenticating} about to authenticate are in it")?;
    }
    if let Some(remedy) = remedy {
        writeln!(out, "          {remedy}")?;
    }
    print_limit(out, status)?;
    let refused: Vec<_> = refused.iter().filter(|(_, count)| **count > 0).map(|(rule, count)| format!("{rule} {count}")).collect();
    writeln!(out, "admitted  {admitted}")?;
    writeln!(out, "refused   {}", if refused.is_empty() { "0".into() } else { refused.join(", ") })?;
    if *known_good_refused > 0 {
        writeln!(out, "          {known_good_refused} of them known to be good")?;
    }
    if *missing > 0 {
        let have = if *missing == 1 { "source has" } else { "sources have" };
        writeln!(out, "          {missing} {have} not come back within 4 h: `gatepost gate returns --missing`")?;
    }
    for (limit, count) in in_shadow.iter().filter(|(_, count)| **count > 0) {
        writeln!(out, "shadow    {limit} would have refused {count}")?;
    }
    for PhaseStatus { phase, sessions, share_of_late, seconds } in phases {
        let percent = 100.0 * share_of_late;
        writeln!(out, "phase     {phase:<9} {sessions:>6} now  {percent:>5.1} % of late  {seconds:>12.1} s since the start")?;
    }
    for Holder { prefix, sessions } in holders {
        writeln!(out, "holder    {prefix} has {sessions}")?;
    }
    for ClientStatus { name, sessions, expires, expired, in_use, admitted, .. } in clients {
        let limit = sessions.map_or_else(String::new, |sessions| format!(" of {sessions}"));
        writeln!(out, "client    {name} has {in_use}{limit}, {admitted} let in{}", until(expires.as_deref(), *expired))?;
    }
    for ExemptionStatus { name, sessions, reason, expires, expired, held, hits } in users {
        let limit = sessions.map_or_else(|| "any number".to_owned(), |sessions| format!("{sessions}"));
        let until = until(expires.as_deref(), *expired);
        writeln!(out, "user      {name} may have {limit}{until}, has {held}; needed {hits} time{}: {reason}", plural(*hits))?;
    }
    Ok(())
}

fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

fn until(expires: Option<&str>, expired: bool) -> String {
    match expires {
        Some(day) if expired => format!(", over since the end of {day}"),
        Some(day) => format!(", until {day}"),
        None => String::new(),
    }
}

/// Prints the limit, where it is from, and what is set in its place.
pub(super) fn print_limit(out: &mut dyn Write, status: &GateStatus) -> io::Result<()> {
    if let Some(set) = &status.overridden {
        let left = Span::secs(set.seconds_left);
        writeln!(out, "limit     max_inbound = {} for another {left}, until {}; then", set.max_inbound, set.until)?;
    }
    let setting = &status.max_inbound;
    writeln!(out, "limit     {} = {}, {}", setting.key, setting.value, explain::origin(&setting.origin))
}
