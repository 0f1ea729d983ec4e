//! What becomes of a recipient: one judgement, which RCPT and `gatepost explain` share.
//!
//! A list that is not open to anyone is so to accounts that have authenticated and may post: MAIL FROM proves nothing.
//!
//! A full maildrop is known at RCPT, from what is in it then and the size that MAIL has declared; other recipients of the message are taken all the
//! same. An address that comes to several accounts is taken for all of them or for none: one that is full is waited for. Of those whom it comes to
//! by lists alone, the members, it is taken for the ones that have room, as long as there is anybody who has: one full maildrop
//! does not hold up a whole list. What other sessions are about to bring is not counted before it is on stable storage, nor is what a
//! client sends beyond the size it declared, so a maildrop may come to hold more than its quota, by one message of each session that was under way.
//!
//! An address that nobody has is asked about elsewhere, where that is configured, before the domain's catch-all has it.
//!
//! Changes nothing. What fails is the store's error. May be dropped at any time.

use std::fmt;
use std::sync::Arc;

use mail::{Domain, ForwardPath, Host};
use recipients::Lookup;
use smtp::Reply;
use store::{Allowance, Directory, Error, Resolution, Terms};

use crate::elsewhere::{by_database, is_caught, is_known_behind, is_open};
use crate::explaining::Steps;
use crate::transaction::Limited;

/// By what a recipient is judged.
pub(crate) struct Judge<'j> {
    pub(crate) directory: &'j dyn Directory,
    /// Who is asked about addresses that the directory does not know.
    pub(crate) lookup: Option<&'j Lookup>,
    /// Who has logged in.
    pub(crate) account: Option<&'j str>,
    /// The size of the message as far as it is known; else 0.
    pub(crate) octets: u64,
    /// Accounts that get the message already, in order: they are not asked about again.
    pub(crate) known: &'j [Arc<str>],
}

/// What becomes of a recipient.
pub(crate) enum Judgement {
    /// Its mail is taken.
    Taken(Taken),
    /// It is not, and why.
    Refused(Reply, Cause),
    /// That is not known now.
    Failed(Error),
}

/// A recipient's mail is taken.
pub(crate) struct Taken {
    /// For these.
    pub(crate) accounts: Vec<Arc<str>>,
    /// Those of them that have a quota.
    pub(crate) limited: Vec<Limited>,
    /// Members of a list who are full: not for these.
    pub(crate) left_out: Vec<Limited>,
    /// The recipient stands for several (RFC 3464 §2.3.3, `expanded`), and is no list.
    pub(crate) several: bool,
}

/// Why a recipient is refused, in words for the operator.
pub(crate) enum Cause {
    /// Nobody has the address.
    Nobody,
    /// Nobody has it here, nor behind.
    NobodyBehind,
    /// It is elsewhere, and the client may send there.
    Elsewhere,
    /// It is elsewhere.
    NotOurs,
    /// This list is not open to the sender.
    Closed(Arc<str>),
    /// This maildrop is full.
    Full(Limited),
}

/// What is left to be done about a recipient.
pub(crate) enum Rest {
    /// To ask elsewhere.
    NobodyHere(Resolution),
    /// To see whether the terms are kept.
    Terms(OnTerms),
}

/// Accounts, and the terms on which mail is taken for them.
pub(crate) type OnTerms = (Vec<Arc<str>>, Box<Terms>);

impl Judge<'_> {
    /// What follows from what the directory has found, where nothing is left to be done. `may_relay` says whether the client may send to other
    /// hosts.
    pub(crate) fn at_once(&self, found: Result<Resolution, Error>, may_relay: impl FnOnce() -> bool) -> Result<Judgement, Rest> {
        match found {
            Ok(found) if self.lookup.is_some() && is_open(&found) => Err(Rest::NobodyHere(found)),
            Ok(Resolution::Foreign) if may_relay() => Ok(Judgement::Refused(Reply::FOREIGN_UNTIL_QUEUE, Cause::Elsewhere)),
            Ok(Resolution::Foreign) => Ok(Judgement::Refused(Reply::RELAY_DENIED, Cause::NotOurs)),
            Ok(found) => simple(found).map_err(Rest::Terms),
            Err(error) => Ok(Judgement::Failed(error)),
        }
    }

    /// What is left to be done.
    pub(crate) async fn go_on(&self, recipient: &ForwardPath, rest: Rest, steps: &mut Steps<'_>) -> Judgement {
        let on_terms = match rest {
            Rest::Terms(on_terms) => Err(on_terms),
            Rest::NobodyHere(found) => self.ask(recipient, found, steps).await,
        };
        match on_terms {
            Ok(judgement) => judgement,
            Err((accounts, terms)) => self.by_terms(accounts, *terms).await.unwrap_or_else(Judgement::Failed),
        }
    }

    /// Asks elsewhere.
    async fn ask(&self, recipient: &ForwardPath, found: Resolution, steps: &mut Steps<'_>) -> Result<Judgement, OnTerms> {
        let (ForwardPath::Mailbox(mailbox), Some(lookup)) = (recipient, self.lookup) else { return simple(found) };
        let asked = async {
            let book = self.directory.book().await?;
            let names = book.names(mailbox);
            if let Some(named) = by_database(&book, lookup, &names, steps).await? {
                return Ok(Some(named));
            }
            let is_taken = !is_caught(&found) || is_known_behind(lookup, &names, steps).await?;
            Ok(is_taken.then_some(found))
        };
        match asked.await {
            Ok(Some(found)) => simple(found),
            Ok(None) => Ok(Judgement::Refused(Reply::MAILBOX_UNKNOWN, Cause::NobodyBehind)),
            Err(error) => Ok(Judgement::Failed(error)),
        }
    }

    async fn by_terms(&self, mut accounts: Vec<Arc<str>>, terms: Terms) -> Result<Judgement, Error> {
        let Terms { allowances, members, closed, several, .. } = terms;
        if let Some(list) = closed.into_iter().find(|list| !list.admits(self.account)) {
            return Ok(Judgement::Refused(Reply::POSTING_DENIED, Cause::Closed(list.name)));
        }
        let (mut limited, full) = self.weigh(allowances).await?;
        if let Some(full) = full.into_iter().next() {
            return Ok(Judgement::Refused(Reply::MAILBOX_FULL, Cause::Full(full)));
        }
        let (with_room, mut left_out) = self.weigh(members).await?;
        if left_out.len() == accounts.len()
            && let Some(full) = left_out.pop()
        {
            return Ok(Judgement::Refused(Reply::MAILBOX_FULL, Cause::Full(full)));
        }
        if !left_out.is_empty() {
            left_out.sort_unstable_by(|one, other| one.account.cmp(&other.account));
            accounts.retain(|account| left_out.binary_search_by(|full| full.account.cmp(account)).is_err());
        }
        limited.extend(with_room);
        Ok(Judgement::Taken(Taken { accounts, limited, left_out, several }))
    }

    /// What is in the maildrops of those who do not get the message already: the ones that have room for it, and the full ones.
    async fn weigh(&self, allowances: Vec<(Arc<str>, Allowance)>) -> Result<(Vec<Limited>, Vec<Limited>), Error> {
        let (mut with_room, mut full) = (Vec::with_capacity(allowances.len()), Vec::new());
        for (account, allowance) in allowances {
            if self.known.binary_search(&account).is_ok() {
                continue;
            }
            let before = self.directory.load(&account).await?;
            let holders = if allowance.admits(before, self.octets) { &mut with_room } else { &mut full };
            holders.push(Limited { account, allowance, before });
        }
        Ok((with_room, full))
    }
}

/// Whether it is this host's postmaster, by the host's name (RFC 5321 §4.5.1). It may be no domain of ours.
pub(crate) fn is_postmaster_here(recipient: &ForwardPath, host: &Domain) -> bool {
    let ForwardPath::Mailbox(mailbox) = recipient else { return false };
    matches!(mailbox.host(), Host::Domain(domain) if domain == host) && mailbox.local_part().eq_ignore_ascii_case("postmaster")
}

/// What follows from what was found, whoever was asked.
fn simple(found: Resolution) -> Result<Judgement, OnTerms> {
    match found {
        Resolution::Accounts(accounts, Some(terms)) => Err((accounts, terms)),
        Resolution::Accounts(accounts, None) => {
            let several = accounts.len() > 1;
            Ok(Judgement::Taken(Taken { accounts, limited: Vec::new(), left_out: Vec::new(), several }))
        }
        Resolution::UnknownUser => Ok(Judgement::Refused(Reply::MAILBOX_UNKNOWN, Cause::Nobody)),
        Resolution::Foreign => Ok(Judgement::Refused(Reply::RELAY_DENIED, Cause::NotOurs)),
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no such account or alias"),
            Self::NobodyBehind => {
                f.write_str("no such account or alias, and the server of recipients.call_forward does not know the address")
            }
            Self::Elsewhere => f.write_str("mail to other hosts is not sent from here yet"),
            Self::NotOurs => f.write_str("not a local domain, and the client is neither authenticated nor listed"),
            Self::Closed(list) => write!(f, "list {list} is not open to the sender"),
            Self::Full(Limited { account, allowance, before }) => write!(f, "the maildrop of {account} is full: {before}, of {allowance}"),
        }
    }
}
