//! Who was refused and came back or did not, for people.

use std::io::{self, Write};

use admin::{RefusedSource, Returns};
use mail::Span;

use crate::command::table;

/// Prints it.
pub(super) fn print(out: &mut dyn Write, returns: &Returns) -> io::Result<()> {
    let Returns { sources, known, missing, left_out } = returns;
    table::print(out, HEAD, sources.iter().map(row))?;
    writeln!(out, "{known} refused since the start, {missing} of them missing, {} shown", sources.len())?;
    if *left_out > 0 {
        writeln!(out, "{left_out} refusals more were of sources that there was no room to remember")?;
    }
    Ok(())
}

fn row(source: &RefusedSource) -> [String; COLUMNS] {
    let RefusedSource { prefix, class, refusals, rule, first_seconds_ago, last_seconds_ago, missing, .. } = source;
    let span = |seconds: u64| Span::secs(seconds).to_string();
    let after = |seconds: Option<u64>| seconds.map(|seconds| format!("after {}", span(seconds)));
    [
        prefix.clone(),
        if class == "default" { "-".to_owned() } else { class.clone() },
        refusals.to_string(),
        rule.clone(),
        format!("{} ago", span(*first_seconds_ago)),
        format!("{} ago", span(*last_seconds_ago)),
        after(source.back_after_seconds).unwrap_or_else(|| if *missing { "missing".to_owned() } else { "not yet".to_owned() }),
        after(source.delivered_after_seconds).unwrap_or_else(|| "no".to_owned()),
    ]
}

const COLUMNS: usize = 8;
const HEAD: [&str; COLUMNS] = ["SOURCE", "CLASS", "REFUSED", "RULE", "FIRST", "LAST", "BACK", "DELIVERED"];
