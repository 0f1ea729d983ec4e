//! Addresses of ours that the directory does not know, asked about elsewhere (`[recipients]`), before a domain's catch-all has them.
//!
//! No answer is a failure, and not that there is nobody. Fails with the store's error. May be dropped at any time.

use std::fmt::Display;

use mail::ForwardPath;
use recipients::Lookup;
use store::{Book, Directory, Error, Resolution};

use crate::explaining::{Steps, few};

/// What `recipient` comes to, whoever knows it. The server behind ours is not asked: it knows addresses, and not whose they are.
pub(crate) async fn resolve(directory: &dyn Directory, lookup: Option<&Lookup>, recipient: &ForwardPath) -> Result<Resolution, Error> {
    let found = directory.resolve(recipient).await?;
    match (lookup, recipient) {
        (Some(lookup), ForwardPath::Mailbox(mailbox)) if is_open(&found) => {
            let book = directory.book().await?;
            Ok(by_database(&book, lookup, &book.names(mailbox), &mut Steps::untold()).await?.unwrap_or(found))
        }
        _ => Ok(found),
    }
}

/// Whether the directory knows of nobody who has an address of ours.
pub(crate) fn is_open(found: &Resolution) -> bool {
    matches!(found, Resolution::UnknownUser) || is_caught(found)
}

/// Whether only a catch-all has it.
pub(crate) fn is_caught(found: &Resolution) -> bool {
    matches!(found, Resolution::Accounts(_, Some(terms)) if terms.catch_all)
}

/// What the database says of an address by its names; `None` where it knows of nobody, or there is none.
pub(crate) async fn by_database(
    book: &Book,
    lookup: &Lookup,
    names: &[String],
    steps: &mut Steps<'_>,
) -> Result<Option<Resolution>, Error> {
    if lookup.database().is_none() {
        return Ok(None);
    }
    for name in names {
        let accounts = lookup.accounts(name).await.map_err(|error| unanswered(name, &error))?;
        if accounts.is_empty() {
            steps.tell("recipients.query", || format!("the database knows of nobody with {name}"));
            continue;
        }
        steps.tell("recipients.query", || format!("the database has {name} for {}", few(&accounts)));
        let resolved = book.of_accounts(&accounts);
        return resolved.map(Some).map_err(|stranger| unanswered(name, &format_args!("the query gives {stranger:?}, which is no account")));
    }
    Ok(None)
}

/// Whether the server behind ours, if one is asked, knows an address by one of its names.
pub(crate) async fn is_known_behind(lookup: &Lookup, names: &[String], steps: &mut Steps<'_>) -> Result<bool, Error> {
    let Some(server) = lookup.call_forward().map(|asked| &asked.server) else { return Ok(true) };
    for name in names {
        let known = lookup.is_known(name).await.map_err(|error| unanswered(name, &error))?;
        steps.tell("recipients.call_forward", || format!("{server} {} {name}", if known { "takes mail for" } else { "does not know" }));
        if known {
            return Ok(true);
        }
    }
    Ok(false)
}

fn unanswered(address: &str, cause: &dyn Display) -> Error {
    Error::Unavailable(format!("[recipients], asked about {address}: {cause}"))
}
