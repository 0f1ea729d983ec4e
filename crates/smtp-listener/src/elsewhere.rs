//! Addresses of ours that the directory does not know, asked about elsewhere (`[recipients]`), before a domain's catch-all has them.
//!
//! No answer is a failure, and not that there is nobody. Fails with the store's error. May be dropped at any time.

use mail::ForwardPath;
use recipients::Lookup;
use store::{Directory, Error, Resolution};

/// What `recipient` comes to, whoever knows it.
pub(crate) async fn resolve(directory: &dyn Directory, lookup: Option<&Lookup>, recipient: &ForwardPath) -> Result<Resolution, Error> {
    let found = directory.resolve(recipient).await?;
    match lookup {
        Some(lookup) if is_open(&found) => ask(directory, lookup, recipient, found).await,
        _ => Ok(found),
    }
}

/// Whether the directory knows of nobody who has an address of ours.
pub(crate) fn is_open(found: &Resolution) -> bool {
    match found {
        Resolution::UnknownUser => true,
        Resolution::Accounts(_, Some(terms)) => terms.catch_all,
        _ => false,
    }
}

/// What the lookup says of an address; what the directory has `found`, where that knows of nobody, either.
pub(crate) async fn ask(
    directory: &dyn Directory,
    lookup: &Lookup,
    recipient: &ForwardPath,
    found: Resolution,
) -> Result<Resolution, Error> {
    let ForwardPath::Mailbox(mailbox) = recipient else { return Ok(found) };
    let book = directory.book().await?;
    for name in book.names(mailbox) {
        let accounts = lookup.accounts(&name).await.map_err(|error| Error::Unavailable(format!("[recipients]: {error}")))?;
        if !accounts.is_empty() {
            let resolved = book.of_accounts(&accounts);
            return resolved
                .map_err(|stranger| Error::Unavailable(format!("[recipients]: the query gives {stranger:?}, which is no account")));
        }
    }
    Ok(found)
}
