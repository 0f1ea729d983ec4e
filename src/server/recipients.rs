//! A recipient explained, by a configuration and a directory: those of the server that runs, or of one that is stopped.
//!
//! Who is asked is asked anew: what the server remembers of earlier answers is neither used nor changed.

use admin::{RecipientExplained, RecipientRequest, RecipientStep, Setting};
use mail::ForwardPath;
use recipients::Lookup;
use smtp_listener::{Explained, Inquiry, Step};
use store::Directory;

use crate::config::Config;

/// What RCPT would be answered, and why; `setting` tells where a key of the configuration is from.
///
/// # Errors
/// It is no address, or the directory cannot be asked.
pub(crate) async fn explain(
    directory: &dyn Directory,
    config: &Config,
    setting: impl Fn(&str) -> Setting,
    request: &RecipientRequest,
) -> Result<RecipientExplained, Vec<String>> {
    let RecipientRequest { recipient, may_relay, octets } = request;
    let path = ForwardPath::parse(&format!("<{recipient}>"));
    let path = path.map_err(|error| vec![format!("{recipient:?} is not an address: {error}")])?;
    let host = config.hostname();
    let lookup = config.recipients.lookup(host.clone()).map(Lookup::new);
    let inquiry = Inquiry { directory, lookup: lookup.as_ref(), recipient: &path, host: &host, may_relay: *may_relay, octets: *octets };
    let Explained { steps, reply } = inquiry.explain().await.map_err(|error| vec![error.to_string()])?;
    let steps = steps.into_iter().map(|Step { found, key }| RecipientStep { found, setting: key.map(&setting) }).collect();
    Ok(RecipientExplained { steps, reply: format!("{} {} {}", reply.code(), reply.enhanced(), reply.text()) })
}
