//! What is asked of people who send with a password, and done for them (RFC 6409 §§6, 8).
//!
//! The sender in the envelope and every mailbox in From must be the user's own: the account's address, an address whose mail the account
//! gets, or one that the operator has allowed it. Whose mail comes through a list or the catch-all of a domain gets it without
//! owning its address. The null sender is everybody's. What a program has left out is put before the message: Date,
//! Message-ID, and From where there is none at all and the user's name is an address, as an account's always is; Bcc is taken out. Nothing of it concerns who sends without a password.
//!
//! Refuses by reply; a directory that does not answer refuses for now. May be dropped at any time.

mod authors;
mod draft;

use std::fmt::Write;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use mail::{ForwardPath, Host, Mailbox, MessageId, Release, ReversePath};
use recipients::Lookup;
use smtp::{FutureRelease, Reply};
use store::{Directory, Hold, Resolution, Terms};

use authors::authors;
pub(crate) use draft::Draft;
use draft::Found;

use crate::{elsewhere, trace};

/// What the operator wants of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// Whether senders must be the user's own.
    pub own_senders: bool,
    /// Senders that accounts may use besides.
    pub allowed: Vec<Allowed>,
    /// Whether what is missing in a header is added, and Bcc taken out.
    pub complete_header: bool,
    /// Whether Received keeps the client's address to itself.
    pub hide_client: bool,
    /// The longest time for which a message is held for its sender (RFC 4865); zero: that is not offered.
    pub longest_hold: Duration,
}

/// Senders that one account may use though they are not its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The account, in its [canonical](mail::canonical) spelling.
    pub account: String,
    /// Addresses in that spelling, or domains with an `@` before them.
    pub senders: Vec<String>,
}

/// Where it is known whose an address is.
#[derive(Clone, Copy)]
pub(crate) struct Known<'k> {
    pub(crate) directory: &'k dyn Directory,
    /// Who is asked about addresses of ours that the directory does not know.
    pub(crate) lookup: Option<&'k Lookup>,
}

/// Whose a sender is not, and what its message hears.
#[derive(Debug)]
pub(crate) enum Fault {
    /// This is not the user's.
    NotOwn(String),
    /// What From says is no list of mailboxes, or not the same one to everybody.
    Unreadable,
    /// Ours; not the user's.
    Directory(store::Error),
}

/// Until when a message that has come at `now` is held for its sender.
pub(crate) fn hold(release: Release, now: SystemTime) -> Hold {
    let until = match release {
        Release::After(seconds) => now + Duration::from_secs(seconds.into()),
        Release::At(time) => UNIX_EPOCH + Duration::from_secs(u64::try_from(time).unwrap_or(0)),
    };
    let time = Timestamp::try_from(until).ok().and_then(|time| Timestamp::from_second(time.as_second()).ok()).unwrap_or(Timestamp::MAX);
    Hold { reason: format!("its sender wants it released at {time}"), until: Some(until) }
}

impl Submission {
    /// What is announced in a session that begins now.
    pub(crate) fn future_release(&self) -> Option<FutureRelease> {
        let interval = NonZeroU32::new(u32::try_from(self.longest_hold.as_secs()).ok()?)?;
        let until = u32::try_from(Timestamp::now().as_second()).ok()?.checked_add(interval.get())?;
        Some(FutureRelease { interval, until })
    }

    /// Whether `account` may send as `sender`.
    ///
    /// # Errors
    /// It may not, or the directory cannot tell.
    pub(crate) async fn check_sender(&self, account: &str, sender: &ReversePath, known: Known<'_>) -> Result<(), Fault> {
        match sender {
            ReversePath::Mailbox(mailbox) if self.own_senders => self.check(account, mailbox, known).await,
            _ => Ok(()),
        }
    }

    /// Whether `account` may write what From says; a header without any is its own.
    ///
    /// # Errors
    /// It may not, that cannot be read, or the directory cannot tell.
    pub(crate) async fn check_from(&self, account: &str, draft: &Draft, known: Known<'_>) -> Result<(), Fault> {
        if !self.own_senders || !draft.found().from {
            return Ok(());
        }
        for mailbox in authors(draft)? {
            self.check(account, &mailbox, known).await?;
        }
        Ok(())
    }

    /// The fields that the header lacks, each line ended by CRLF; none where they are not wanted.
    pub(crate) fn missing_fields(&self, account: &str, draft: &Draft, id: MessageId, host: &str, at: Timestamp) -> Vec<u8> {
        let mut fields = String::new();
        if self.complete_header {
            // Writing to a String does not fail.
            add_missing(&mut fields, draft.found(), account, id, host, at).unwrap_or_default();
        }
        fields.into_bytes()
    }

    async fn check(&self, account: &str, mailbox: &Mailbox, known: Known<'_>) -> Result<(), Fault> {
        let Host::Domain(domain) = mailbox.host() else { return Err(Fault::NotOwn(mailbox.to_string())) };
        let domain = format!("@{}", domain.as_str());
        let sender = mailbox.local_part().to_lowercase() + &domain;
        let may = |allowed: &Allowed| allowed.account == account && allowed.senders.iter().any(|own| *own == sender || *own == domain);
        if sender == account || self.allowed.iter().any(may) {
            return Ok(());
        }
        let found = elsewhere::resolve(known.directory, known.lookup, &ForwardPath::Mailbox(mailbox.clone())).await;
        match found.map_err(Fault::Directory)? {
            Resolution::Accounts(owners, terms) if owners.iter().any(|owner| **owner == *account) && terms.as_deref().is_none_or(owns) => {
                Ok(())
            }
            _ => Err(Fault::NotOwn(sender)),
        }
    }
}

impl Fault {
    /// What a client hears whose MAIL it is.
    pub(crate) fn at_mail(&self) -> Reply {
        match self {
            Self::Directory(error) => crate::rescue::reply(error),
            Self::NotOwn(_) | Self::Unreadable => Reply::SENDER_NOT_YOURS,
        }
    }

    /// What a client hears whose message it is.
    pub(crate) fn at_end(&self) -> Reply {
        match self {
            Self::Directory(error) => crate::rescue::reply(error),
            Self::NotOwn(_) | Self::Unreadable => Reply::AUTHOR_NOT_YOURS,
        }
    }
}

/// Whether who gets an address's mail on these terms owns the address.
fn owns(terms: &Terms) -> bool {
    !terms.through_list && !terms.catch_all
}

fn add_missing(fields: &mut String, found: Found, account: &str, id: MessageId, host: &str, at: Timestamp) -> std::fmt::Result {
    if !found.date {
        fields.push_str("Date: ");
        trace::date(fields, at)?;
        fields.push_str("\r\n");
    }
    // Whom a proxy speaks for may be called anything, and no From at all is better than one that nobody can read.
    if !found.from && account.parse::<Mailbox>().is_ok() {
        write!(fields, "From: <{account}>\r\n")?;
    }
    if !found.message_id {
        write!(fields, "Message-ID: <{id}@{host}>\r\n")?;
    }
    Ok(())
}
