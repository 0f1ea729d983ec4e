//! What MAIL and RCPT may ask for besides delivery: reports, and how urgent and how guarded a message is.
//!
//! Plain values, as the client said them and decoded; who parses them has checked them. Most messages ask for nothing, so an envelope
//! keeps them in a box.

/// What one message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    /// ENVID: what the sender calls the message (RFC 3461 §4.4); printable ASCII.
    pub envelope_id: Option<Box<str>>,
    /// RET: what a report brings back of the message (RFC 3461 §4.3).
    pub returned: Option<Returned>,
    /// MT-PRIORITY: from -9 to 9 (RFC 6710 §3).
    pub priority: Option<i8>,
    /// REQUIRETLS: it must go by verified TLS alone (RFC 8689).
    pub require_tls: bool,
    /// BY: when it must be delivered by (RFC 2852 §4).
    pub deliver_by: Option<DeliverBy>,
    /// The recipients for whom something was asked, in the order of RCPT.
    pub recipients: Vec<RecipientRequests>,
}

/// What is asked for one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecipientRequests {
    /// The forward path as it was understood, with its brackets.
    pub recipient: Box<str>,
    /// NOTIFY: when to report to the sender (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT: for whom the message was at first (RFC 3461 §4.2).
    pub original: Option<OriginalRecipient>,
}

/// What a report brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// HDRS: the header.
    Headers,
    /// FULL: the whole message.
    Full,
}

/// When to report; never, when none of them is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// When it has been delivered.
    pub success: bool,
    /// When it cannot be.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
}

/// A recipient as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// As in `rfc822`: letters, digits and hyphens.
    pub address_type: Box<str>,
    /// The address: printable.
    pub address: Box<str>,
}

/// A time to deliver by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverBy {
    /// Seconds from MAIL on; negative when they are over already.
    pub seconds: i32,
    /// `R`: too late it is returned; otherwise, `N`, its sender is told.
    pub or_return: bool,
    /// `T`: the sender is told of each step.
    pub trace: bool,
}

impl Requests {
    /// The recipients of whose delivery the sender is to hear.
    pub fn to_report(&self) -> impl Iterator<Item = &RecipientRequests> {
        self.recipients.iter().filter(|asked| self.reports(asked))
    }

    /// Whether the sender is to hear of the delivery to one of the recipients.
    pub fn reports(&self, asked: &RecipientRequests) -> bool {
        let trace = self.deliver_by.is_some_and(|by| by.trace);
        asked.notify.map_or(trace, |notify| notify.success || trace && notify != Notify::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_reported_where_it_was_asked_for_and_of_a_trace_where_it_was_not_forbidden() {
        let recipients = [
            None,
            Some(Notify::default()),
            Some(Notify { failure: true, ..Notify::default() }),
            Some(Notify { success: true, ..Notify::default() }),
        ];
        let recipients = (1..).zip(recipients).map(|(number, notify)| RecipientRequests {
            recipient: format!("<{number}@x>").into(),
            notify,
            original: None,
        });
        let requests = Requests { recipients: recipients.collect(), ..Requests::default() };
        let reported = |requests: &Requests| requests.to_report().map(|asked| asked.recipient.to_string()).collect::<Vec<_>>();
        assert_eq!(reported(&requests), ["<4@x>"]);
        let traced = Requests { deliver_by: Some(DeliverBy { seconds: 60, or_return: false, trace: true }), ..requests };
        assert_eq!(reported(&traced), ["<1@x>", "<3@x>", "<4@x>"]);
    }
}
