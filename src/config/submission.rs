//! What is asked of people who send with a password: which senders are theirs, and what is done for them.
//!
//! Refuses a name that is no account's address, and a sender that is neither an address nor a domain with an `@` before it; an account may be
//! unknown here, since accounts come and go while the file stays. Cannot fail.

use mail::{Domain, Mailbox, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Finding;

/// People who send with a password, on whichever port. Limits for each account are among the rates and in the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Submission {
    /// Whether the sender in the envelope, and every address in From, must be the user's own: the account's address, an alias or another
    /// address whose mail the account gets, as the directory or the query of [recipients] has it, or one in allowed. A list is not its
    /// members', and what nobody but a catch-all takes is not the catch-all's: that, too, is for allowed. Others are answered 550 5.7.1, and
    /// so is a From that not everybody reads alike, as one with groups. The null sender <> is everybody's.
    pub(crate) own_senders: bool,
    /// Senders that accounts may use though they are not their own, by whole address or by domain with an @ before it. An entry is a table of
    /// its own under the heading [[submission.allowed]], with the account's address in account and the list of them in senders.
    pub(crate) allowed: Vec<Allowed>,
    /// Whether Date, Message-ID and From are added where a header lacks them, and Bcc is taken out (RFC 6409, section 8). From
    /// is added with the address of the account; of somebody whom a proxy calls by a name that is no address (XCLIENT LOGIN) nothing is.
    pub(crate) complete_header: bool,
    /// Whether the Received field keeps the client's address, and the name it gives itself, from the recipients. The log has both.
    pub(crate) hide_client: bool,
    /// The longest time for which a message is held where its sender asks for that (FUTURERELEASE, RFC 4865): it is accepted, and POP3 lists it
    /// when the time has come. At most 365d; "0s" offers it not.
    pub(crate) longest_hold: Span,
}

/// Senders that one account may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    /// The account's address.
    pub(crate) account: String,
    /// The senders.
    pub(crate) senders: Vec<String>,
}

impl Default for Submission {
    fn default() -> Self {
        Self { own_senders: true, allowed: Vec::new(), complete_header: true, hide_client: false, longest_hold: Span::secs(0) }
    }
}

impl Submission {
    /// What does not hold.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.longest_hold > LONGEST_HOLD || (self.longest_hold.0.subsec_nanos() > 0) {
            let message = format!("is {}: whole seconds up to {LONGEST_HOLD}, or 0s to offer it not", self.longest_hold);
            found.push(Finding::error("submission.longest_hold", message));
        }
        for (index, Allowed { account, senders }) in self.allowed.iter().enumerate() {
            let fault = |message: String| Finding::error("submission.allowed", message).at(index);
            if account.parse::<Mailbox>().is_err() {
                found.push(fault(format!("{account:?} is no account's address: write it whole, as in \"ann@example.org\"")));
            }
            for sender in senders.iter().filter(|sender| !is_sender(sender)) {
                found.push(fault(format!(
                    "{sender:?} is neither an address nor a domain with an @ before it: write \"sales@example.org\" or \"@example.org\""
                )));
            }
        }
        found
    }
}

const LONGEST_HOLD: Span = Span::mins(365 * 24 * 60);

fn is_sender(text: &str) -> bool {
    text.parse::<Mailbox>().is_ok() || text.strip_prefix('@').is_some_and(|domain| domain.parse::<Domain>().is_ok())
}
