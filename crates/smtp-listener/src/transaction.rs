//! What a listener keeps of one mail transaction (RFC 5321 §3.3), from MAIL's 250 to the reply to the message.
//!
//! Dropping it at any point leaves nothing behind: the store forgets a message that was not committed.

use mail::{ForwardPath, MessageId};
use smtp::MailFrom;
use store::Incoming;

use crate::hops::Hops;

/// One transaction.
pub(crate) struct Transaction {
    pub(crate) from: MailFrom,
    /// Accounts, each once.
    pub(crate) accounts: Vec<String>,
    /// The recipient as the client wrote it, while there is only one.
    pub(crate) sole_recipient: Option<ForwardPath>,
    recipients: usize,
    pub(crate) message: Option<Message>,
}

/// The message, while it comes.
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) incoming: Box<dyn Incoming>,
    pub(crate) hops: Hops,
    /// Octets of the body so far.
    pub(crate) octets: u64,
}

impl Transaction {
    pub(crate) fn new(from: MailFrom) -> Self {
        Self { from, accounts: Vec::new(), sole_recipient: None, recipients: 0, message: None }
    }

    /// One recipient more, and the accounts it comes to.
    pub(crate) fn add(&mut self, recipient: ForwardPath, accounts: impl IntoIterator<Item = impl AsRef<str>>) {
        for account in accounts {
            let account = account.as_ref();
            if !self.accounts.iter().any(|known| known == account) {
                self.accounts.push(account.to_owned());
            }
        }
        self.recipients += 1;
        self.sole_recipient = (self.recipients == 1).then_some(recipient);
    }
}

#[cfg(test)]
mod tests {
    use mail::{BodyType, ReversePath};

    use super::*;

    #[test]
    fn accounts_are_each_named_once_and_only_a_sole_recipient_is_remembered() {
        let mut transaction = Transaction::new(MailFrom { reverse_path: ReversePath::Null, size: None, body: BodyType::SevenBit, utf8: false });
        let path = |text| ForwardPath::parse(text).unwrap();
        transaction.add(path("<all@example.org>"), ["ann@example.org", "bob@example.org"]);
        assert_eq!(transaction.sole_recipient, Some(path("<all@example.org>")));
        transaction.add(path("<ann@example.org>"), ["ann@example.org"]);
        assert_eq!(transaction.accounts, ["ann@example.org", "bob@example.org"]);
        assert_eq!(transaction.sole_recipient, None);
    }
}
