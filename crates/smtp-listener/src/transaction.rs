//! What a listener keeps of one mail transaction (RFC 5321 §3.3), from MAIL's 250 to the reply to the message.
//!
//! Dropping it at any point leaves nothing behind: the store forgets a message that was not committed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::About;
use gate::Token;
use gate::delivery::Promise;
use gate::rates::Limit;
use jiff::Timestamp;
use mail::binary::Conversion;
use mail::{Envelope, ForwardPath, MessageId, RecipientRequests};
use smtp::MailFrom;
use store::{Allowance, Incoming, Load};

use crate::freight::Freight;
use crate::hops::Hops;
use crate::judgement::Taken;
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
    /// Members of lists who are full, and do not get it.
    pub(crate) left_out: BTreeMap<Arc<str>, Limited>,
    /// Of the recipients for whom something was asked, in their order: whether they stand for several.
    pub(crate) several: Vec<bool>,
    recipients: usize,
    /// The recipient as the client wrote it, while there is only one.
    pub(crate) sole_recipient: Option<ForwardPath>,
    /// The last rate that has refused a recipient, and where that is written down.
    pub(crate) refused_by: Option<(Limit, Token)>,
    pub(crate) message: Option<Message>,
    /// When it is of no use any more, and to be returned.
    pub(crate) by: Option<Instant>,
    /// When it was to be delivered, for its report.
    pub(crate) deliver_by: Option<Timestamp>,
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

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, allowance, before } = self;
        write!(f, "{account} holds {before}, of {allowance}")
    }
}

/// The message, while it comes.
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) incoming: Box<dyn Incoming>,
    /// What makes lines of it, where it is not made of them.
    pub(crate) conversion: Option<Box<Conversion>>,
    pub(crate) hops: Hops,
    /// What a report is to bring back, where one was asked for.
    pub(crate) header: Option<Box<Header>>,
    /// Its header as its author's program made it, where somebody looks at it.
    pub(crate) draft: Option<Box<Draft>>,
}

impl Transaction {
    pub(crate) fn new(from: MailFrom, promise: Promise, freight: Freight) -> Self {
        let asked = from.requests.as_ref().and_then(|requests| requests.deliver_by);
        let deliver_by = asked.map(|by| Timestamp::now().saturating_add(jiff::Span::new().seconds(by.seconds)).unwrap_or(Timestamp::MAX));
        let by = asked.filter(|by| by.or_return).map(|by| net::now() + Duration::from_secs(u64::try_from(by.seconds).unwrap_or_default()));
        Self {
            from,
            promise,
            freight,
            accounts: Vec::new(),
            limited: Vec::new(),
            left_out: BTreeMap::new(),
            several: Vec::new(),
            recipients: 0,
            sole_recipient: None,
            refused_by: None,
            message: None,
            by,
            deliver_by,
            screened: None,
        }
    }

    /// Whether there is room for one recipient more that comes to these accounts, each once: for the first one always, and then for `most`
    /// accounts in all, which is what memory is reckoned for. Members that are left out count, too.
    pub(crate) fn has_room(&self, taken: &Taken, most: usize) -> bool {
        let known = self.accounts.len() + self.left_out.len();
        known == 0 || known + taken.accounts.len() + taken.left_out.len() <= most || {
            let new = taken.accounts.iter().filter(|account| !self.has(account)).count();
            let new_left_out = taken.left_out.iter().filter(|full| !self.left_out.contains_key(&full.account)).count();
            new + new_left_out == 0 || known + new + new_left_out <= most
        }
    }

    /// Whether an account gets the message already.
    fn has(&self, account: &Arc<str>) -> bool {
        self.accounts.binary_search(account).is_ok()
    }

    /// One recipient more, and the accounts it comes to.
    pub(crate) fn add(&mut self, recipient: ForwardPath, taken: Taken) {
        let Taken { accounts, limited, left_out, .. } = taken;
        if self.accounts.is_empty() {
            self.accounts = accounts;
        } else {
            self.accounts.extend(accounts);
        }
        self.accounts.sort_unstable();
        self.accounts.dedup();
        self.limited.extend(limited);
        self.left_out.extend(left_out.into_iter().map(|full| (Arc::clone(&full.account), full)));
        self.recipients += 1;
        self.sole_recipient = (self.recipients == 1).then_some(recipient);
    }

    /// What is asked for a recipient, who may stand for several.
    pub(crate) fn note(&mut self, requests: Option<Box<RecipientRequests>>, several: bool) {
        if let Some(requests) = requests {
            self.from.requests.get_or_insert_default().recipients.push(*requests);
            self.several.push(several);
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
        let sender = Sender { source: Some(IpAddr::from([192, 0, 2, 7]).into()), account: None, domain: None };
        let mut transaction = Transaction::new(
            MailFrom {
                reverse_path: ReversePath::Null,
                size: None,
                body: BodyType::SevenBit,
                binary: false,
                utf8: false,
                release: None,
                requests: None,
            },
            Delivery::new(&gate::delivery::Settings::default()).promise(now).unwrap(),
            Freight::new(&rates, &sender, 0, now).unwrap(),
        );
        let path = |text| ForwardPath::parse(text).unwrap();
        let limited = |account: &Arc<str>| Limited {
            account: Arc::clone(account),
            allowance: Allowance { octets: None, messages: Some(0) },
            before: Load::default(),
        };
        let taken = |accounts: Vec<Arc<str>>, left_out: &[Arc<str>]| Taken {
            accounts,
            limited: Vec::new(),
            left_out: left_out.iter().map(limited).collect(),
            several: false,
        };
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann@example.org".into(), "bob@example.org".into());
        transaction.add(path("<all@example.org>"), taken(vec![Arc::clone(&ann), Arc::clone(&bob)], &[]));
        assert_eq!(transaction.sole_recipient, Some(path("<all@example.org>")));
        transaction.add(path("<ann@example.org>"), taken(vec!["ann@example.org".into()], &[]));
        let recipients = transaction.envelope(MessageId::generate()).recipients;
        assert_eq!(recipients, [Arc::clone(&ann), bob]);
        assert!(Arc::ptr_eq(&recipients[0], &ann), "the directory's own name, not a copy");
        assert_eq!(transaction.sole_recipient, None);
        let accounts = |names: &str| names.split(' ').map(|name| format!("{name}@example.org").into()).collect::<Vec<Arc<str>>>();
        for (names, most, has_room) in
            [("eve", 2, false), ("eve", 3, true), ("ann eve", 3, true), ("ann eve zoe", 3, false), ("bob ann", 1, true)]
        {
            assert_eq!(transaction.has_room(&taken(accounts(names), &[]), most), has_room, "{names}, {most} at most");
        }
        let zoe: Arc<str> = "zoe@example.org".into();
        assert!(!transaction.has_room(&taken(Vec::new(), &[Arc::clone(&zoe)]), 2), "who is left out takes room, too");
        transaction.add(path("<list@example.org>"), taken(Vec::new(), &[Arc::clone(&zoe)]));
        assert!(transaction.has_room(&taken(accounts("ann"), &[zoe]), 2) && !transaction.has_room(&taken(accounts("eve"), &[]), 3));
        (transaction.accounts, transaction.left_out) = (Vec::new(), BTreeMap::new());
        assert!(transaction.has_room(&taken(accounts("ann bob eve"), &[]), 2), "a list is never too large for a message of its own");
    }
}
