//! A refusal's explanation, for people.

use std::io::{self, Write};

use admin::{Explained, Holder, Origin, Setting};
use mail::Span;

/// Prints it.
pub(super) fn print(out: &mut dyn Write, explained: &Explained) -> io::Result<()> {
    let Explained { token, meaning, cause, at, seconds_ago, source, account, listener, key, .. } = explained;
    let Explained { in_use, limit, share, holders, remedy, .. } = explained;
    let listener = listener.as_ref().map(|listener| format!(" on {} {}", listener.service, listener.address)).unwrap_or_default();
    writeln!(out, "refused   {source}{listener}, {} ago, at {at} [{token}]", Span::secs(*seconds_ago))?;
    if let Some(account) = account {
        writeln!(out, "account   {account}")?;
    }
    writeln!(out, "why       {meaning}")?;
    writeln!(out, "          {cause}")?;
    if let Some(Setting { key, value, origin }) = key {
        writeln!(out, "limit     {key} = {value} now, {}", self::origin(origin))?;
    }
    writeln!(out, "places    {in_use} of {limit} in use then")?;
    for Holder { prefix, sessions } in share {
        writeln!(out, "source    {prefix} had {sessions}")?;
    }
    for Holder { prefix, sessions } in holders {
        writeln!(out, "holder    {prefix} had {sessions}")?;
    }
    writeln!(out, "do        {remedy}")
}

/// Where a value is from, in words.
pub(super) fn origin(origin: &Origin) -> String {
    match origin {
        Origin::File { path, line } => format!("{} line {line}", path.display()),
        _ => "the default; the file does not set it".into(),
    }
}
