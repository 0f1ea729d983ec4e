//! What a listener keeps of one mail transaction (RFC 5321 §3.3), from MAIL's 250 to the reply to the message.
//!
//! Dropping it at any point leaves nothing behind: the store forgets a message that was not committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use events::About;
use gate::Token;
use gate::delivery::Promise;
use gate::rates::Limit;
use mail::{Envelope, ForwardPath, MessageId, RecipientRequests};
use smtp::MailFrom;
use store::{Allowance, Incoming, Load};

use crate::freight::Freight;
use crate::hops::Hops;
use crate::report::Header;
use crate::screening::Screened;
use crate::submission::Draft;

/// One transaction.
pub(crate) struct Transaction {
    pub(crate) from: MailFrom,
    /// That its message will have its reply in time.
    pub(crate) promise: Promise,
    /// What it costs its sender.
    pub(crate) freight: Freight,
    /// Each once, however many recipients come to it, in order.
    pub(crate) accounts: Vec<Arc<str>>,
    /// Those of them that may not hold as much as there is room for.
    pub(crate) limited: Vec<Limited>,
    recipients: usize,
    /// The recipient as the client wrote it, while there is only one.
    pub(crate) sole_recipient: Option<ForwardPath>,
    /// The last rate that has refused a recipient, and where that is written down.
    pub(crate) refused_by: Option<(Limit, Token)>,
    pub(crate) message: Option<Message>,
    /// When it is of no use any more, and to be returned.
    pub(crate) by: Option<Instant>,
    /// What is thought of it, where anything is asked.
    pub(crate) screened: Option<Box<Screened>>,
}

/// An account that has a quota.
pub(crate) struct Limited {
    pub(crate) account: Arc<str>,
    pub(crate) allowance: Allowance,
    /// What was in its maildrop at RCPT.
    pub(crate) before: Load,
}

/// The message, while it comes.
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) incoming: Box<dyn Incoming>,
    pub(crate) hops: Hops,
    /// What a report is to bring back, where one was asked for.
    pub(crate) header: Option<Box<Header>>,
    /// Its header as its author's program made it, where somebody looks at it.
    pub(crate) draft: Option<Box<Draft>>,
}

impl Transaction {
    pub(crate) fn new(from: MailFrom, promise: Promise, freight: Freight) -> Self {
        let (accounts, limited, recipients, sole_recipient, refused_by, message, screened) =
            (Vec::new(), Vec::new(), 0, None, None, None, None);
        let by = from.requests.as_ref().and_then(|requests| requests.deliver_by).filter(|by| by.or_return);
        let by = by.map(|by| net::now() + Duration::from_secs(u64::try_from(by.seconds).unwrap_or_default()));
        Self { from, promise, freight, accounts, limited, recipients, sole_recipient, refused_by, message, by, screened }
    }

    /// Whether there is room for one recipient more that comes to these accounts, each once: for the first one always, and then for `most`
    /// accounts in all, which is what memory is reckoned for.
    pub(crate) fn has_room(&self, accounts: &[Arc<str>], most: usize) -> bool {
        let (known, all) = (self.accounts.len(), self.accounts.len() + accounts.len());
        known == 0 || all <= most || {
            let new = accounts.iter().filter(|account| !self.has(account)).count();
            new == 0 || known + new <= most
        }
    }

    /// Whether an account gets the message already.
    pub(crate) fn has(&self, account: &Arc<str>) -> bool {
        self.accounts.binary_search(account).is_ok()
    }

    /// One recipient more, and the accounts it comes to.
    pub(crate) fn add(&mut self, recipient: ForwardPath, accounts: Vec<Arc<str>>) {
        if self.accounts.is_empty() {
            self.accounts = accounts;
        } else {
            self.accounts.extend(accounts);
        }
        self.accounts.sort_unstable();
        self.accounts.dedup();
        self.recipients += 1;
        self.sole_recipient = (self.recipients == 1).then_some(recipient);
    }

    /// What is asked for the recipient that was added.
    pub(crate) fn note(&mut self, requests: Option<Box<RecipientRequests>>) {
        if let Some(requests) = requests {
            self.from.requests.get_or_insert_default().recipients.push(*requests);
        }
    }

    /// Whether the sender is to hear of a delivery.
    pub(crate) fn is_reported(&self) -> bool {
        self.from.requests.as_ref().is_some_and(|requests| requests.to_report().next().is_some())
    }

    /// What the operator is told of it; who brings it is for the session to say.
    pub(crate) fn about(&self) -> About<'_> {
        let message = self.message.as_ref().map(|message| message.id);
        About { message, helo: None, reverse_path: Some(&self.from.reverse_path), recipients: &self.accounts }
    }

    /// What the store is told of a message called `id`.
    pub(crate) fn envelope(&self, id: MessageId) -> Envelope {
        let MailFrom { reverse_path, body, utf8, requests, .. } = self.from.clone();
        Envelope { id, reverse_path, recipients: self.accounts.clone(), body, utf8, requests }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use gate::Delivery;
    use gate::rates::{MailRates, Sender};
    use mail::{BodyType, ReversePath};

    use super::*;

    #[test]
    fn accounts_are_each_named_once_and_only_a_sole_recipient_is_remembered() {
        let (now, rates) = (Instant::now(), Arc::new(MailRates::new(&gate::rates::Settings::default())));
        let sender = Sender { source: IpAddr::from([192, 0, 2, 7]).into(), account: None, domain: None };
        let mut transaction = Transaction::new(
            MailFrom { reverse_path: ReversePath::Null, size: None, body: BodyType::SevenBit, utf8: false, release: None, requests: None },
            Delivery::new(&gate::delivery::Settings::default()).promise(now).unwrap(),
            Freight::new(&rates, &sender, 0, now).unwrap(),
        );
        let path = |text| ForwardPath::parse(text).unwrap();
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann@example.org".into(), "bob@example.org".into());
        transaction.add(path("<all@example.org>"), vec![Arc::clone(&ann), Arc::clone(&bob)]);
        assert_eq!(transaction.sole_recipient, Some(path("<all@example.org>")));
        transaction.add(path("<ann@example.org>"), vec!["ann@example.org".into()]);
        let recipients = transaction.envelope(MessageId::generate()).recipients;
        assert_eq!(recipients, [Arc::clone(&ann), bob]);
        assert!(Arc::ptr_eq(&recipients[0], &ann), "the directory's own name, not a copy");
        assert_eq!(transaction.sole_recipient, None);
        let accounts = |names: &str| names.split(' ').map(|name| format!("{name}@example.org").into()).collect::<Vec<Arc<str>>>();
        for (names, most, has_room) in
            [("eve", 2, false), ("eve", 3, true), ("ann eve", 3, true), ("ann eve zoe", 3, false), ("bob ann", 1, true)]
        {
            assert_eq!(transaction.has_room(&accounts(names), most), has_room, "{names}, {most} at most");
        }
        transaction.accounts.clear();
        assert!(transaction.has_room(&accounts("ann bob eve"), 2), "a list is never too large for a message of its own");
    }
}
