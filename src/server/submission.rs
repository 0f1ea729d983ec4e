//! What `[submission]` means to the listener.

use mail::canonical;
use smtp_listener::{Allowed, Submission};

use crate::config;

/// As the listener wants it: every name in the one spelling by which they are compared.
pub(crate) fn submission(config: &config::Submission) -> Submission {
    let config::Submission { own_senders, allowed: accounts, complete_header, hide_client, longest_hold } = config;
    let allowed = |config::Allowed { account, senders }: &config::Allowed| Allowed {
        account: canonical(account),
        senders: senders.iter().map(|sender| canonical(sender)).collect(),
    };
    Submission {
        own_senders: *own_senders,
        allowed: accounts.iter().map(allowed).collect(),
        complete_header: *complete_header,
        hide_client: *hide_client,
        longest_hold: longest_hold.0,
    }
}
