//! A recipient explained: how the directory comes from its address to whom it is for, who else was asked, and what RCPT would answer.
//!
//! The judgement is RCPT's own. Nothing is counted or remembered here, and no rate is taken: ask with a [`Lookup`] of one's own to leave alone what
//! the listener's remembers. May be dropped at any time.

use mail::{Domain, ForwardPath};
use recipients::Lookup;
use smtp::Reply;
use store::{Directory, Error, Resolution};

use crate::judgement::{Judge, Judgement, Taken, is_postmaster_here};
use crate::rescue;

/// A recipient, and who asks about it.
pub struct Inquiry<'i> {
    /// Where it is looked up.
    pub directory: &'i dyn Directory,
    /// Who is asked about addresses that the directory does not know.
    pub lookup: Option<&'i Lookup>,
    /// The recipient.
    pub recipient: &'i ForwardPath,
    /// The name of this host, whose postmaster is known by it.
    pub host: &'i Domain,
    /// Whether the client may send to other hosts.
    pub may_relay: bool,
    /// The size of the message as far as it is known; else 0.
    pub octets: u64,
}

/// What becomes of a recipient, and why.
#[derive(Debug)]
pub struct Explained {
    /// What was found, one thing after the other.
    pub steps: Vec<Step>,
    /// What RCPT answers.
    pub reply: Reply,
}

/// One thing that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// In words for the operator.
    pub found: String,
    /// The key of the configuration that has it asked, where one has.
    pub key: Option<&'static str>,
}

/// Where what is found is told, if anybody listens.
pub(crate) struct Steps<'s>(Option<&'s mut Vec<Step>>);

impl Steps<'_> {
    /// Nobody does.
    pub(crate) fn untold() -> Self {
        Self(None)
    }

    pub(crate) fn tell(&mut self, key: &'static str, found: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            steps.push(Step { found: found(), key: Some(key) });
        }
    }
}

impl Inquiry<'_> {
    /// What RCPT would answer a client that has not logged in, in a transaction without other recipients.
    ///
    /// # Errors
    /// The directory cannot be asked at all.
    pub async fn explain(self) -> Result<Explained, Error> {
        let Self { directory, lookup, recipient, host, may_relay, octets } = self;
        let (book, mut found) = (directory.book().await?, directory.resolve(recipient).await);
        let mut way = book.explain(recipient);
        if matches!(found, Ok(Resolution::Foreign)) && is_postmaster_here(recipient, host) {
            way.push(format!("{host} is this host, whose postmaster is the one of no domain"));
            way.extend(book.explain(&ForwardPath::Postmaster));
            found = directory.resolve(&ForwardPath::Postmaster).await;
        }
        let mut steps: Vec<_> = way.into_iter().map(|found| Step { found, key: None }).collect();
        let judge = Judge { directory, lookup, account: None, octets, known: &[] };
        let judgement = match judge.at_once(found, || may_relay) {
            Ok(judgement) => judgement,
            Err(rest) => judge.go_on(recipient, rest, &mut Steps(Some(&mut steps))).await,
        };
        let mut found = |found: String| steps.push(Step { found, key: None });
        let reply = match judgement {
            Judgement::Taken(Taken { accounts, limited, left_out, .. }) => {
                limited.iter().take(MOST).for_each(|limited| found(limited.to_string()));
                let why = "left out, as a list's mail is for the members that have room";
                left_out.iter().take(MOST).for_each(|full| found(format!("{full}: full, and {why}")));
                found(format!("taken for {}", few(&accounts)));
                Reply::RECIPIENT_OK
            }
            Judgement::Refused(reply, cause) => {
                found(cause.to_string());
                reply
            }
            Judgement::Failed(error) => {
                found(error.to_string());
                rescue::reply(&error)
            }
        };
        Ok(Explained { steps, reply })
    }
}

/// The first of these names, and how many more there are.
pub(crate) fn few(names: &[impl AsRef<str>]) -> String {
    let shown = names.iter().take(MOST).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Accounts that are named.
const MOST: usize = 20;
