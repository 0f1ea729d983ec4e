//! What a rule means to whoever runs the server: in words, and what to do. The keys they come from are [`Rule::key`] and
//! [`Denial::key`].

use crate::denial::Denial;
use crate::refusal::Rule;

/// What a rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What was not so.
    pub words: &'static str,
    /// What to look at, and what to do.
    pub remedy: &'static str,
}

impl Rule {
    /// What it means, for whoever runs the server.
    pub fn meaning(&self) -> Meaning {
        let (words, remedy) = match self {
            Self::Denied { .. } => (
                "You have denied the client's network.",
                "Nothing, if it is meant. To let it in, take the network out of deny, or name a narrower one.",
            ),
            Self::Banned { is_automatic: false, .. } => (
                "An operator has banned the client's network for a time.",
                "`gatepost ban list` says why and until when; `gatepost ban remove NETWORK` ends it.",
            ),
            Self::Banned { is_automatic: true, .. } => (
                "Too many commands of the client's address had failed; it is banned for a time.",
                "Nothing, as a rule: it ends by itself. `gatepost ban list` says when, `gatepost ban remove ADDRESS` ends it now. A client that \
                 you know belongs into clients, and is never banned then.",
            ),
            Self::Restarting => (
                "The server took no sessions: it was starting, or draining.",
                "Nothing, if it was being restarted: clients come back. `gatepost gate status` says whether it drains now; `gatepost \
                 drain --undo` ends a drain that was begun with `gatepost drain`.",
            ),
            Self::Ramping { .. } => (
                "The server had just started, and its places come one after the other.",
                "Nothing: the client comes back. A shorter ramp lets everybody in at once, who all come at once.",
            ),
            Self::StoreDown => (
                "The server took no mail: its store was away, or had failed for good.",
                "See to the store: `gatepost status` says what is wrong with it. After a failed write or sync look after the disk and then \
                 restart the server, which reads again what is there.",
            ),
            Self::ClientFull { .. } => (
                "The clients that you have named so held as many sessions as their entry says.",
                "Raise the entry's sessions, or find out why it needs them: `gatepost sessions --source NETWORK`.",
            ),
            Self::ShareSpent { .. } => (
                "The client's address, or a network around it, held its fair share of what was free.",
                "Nothing, as a rule: the share grows as places come free. For a client you know, make an entry in clients; `gatepost gate \
                 status` says who holds the places.",
            ),
            Self::SourceFull { .. } => (
                "The client's address, or a network around it, held as many sessions as one may.",
                "`gatepost sessions --source ADDRESS` shows what it holds. Raise the key, or make an entry in clients, for an office or a \
                 service that is welcome; leave it for one that is not.",
            ),
            Self::TooOften { prefix: Some(_), .. } => (
                "Connections from the client's address, or a network around it, came too often.",
                "Nothing, as a rule: the client may again after the time it was told. For one you know, make an entry in clients.",
            ),
            Self::TooOften { prefix: None, .. } => (
                "Connections of all clients together came too often; this client need not have come more than once.",
                "Nothing, if it was a rush: clients come back. Raise the key when that is what your server sees every day. A client that \
                 is not to be refused for it can have an entry in clients, exempt.",
            ),
            Self::UnreservedFull { .. } => (
                "Every place that is not reserved was taken; the others are kept for people with a password and for clients you know.",
                "`gatepost gate status` says what the sessions spend their time on and who holds the most. Raise max_inbound only when they \
                 wait for their clients; when they wait for the store, more of them make it slower still. A smaller reserve has more places for \
                 everybody, and fewer for people who log in meanwhile.",
            ),
            Self::PoolFull { .. } => (
                "Every place was taken.",
                "`gatepost gate status` says what the sessions spend their time on and who holds the most. Raise the key only when they wait \
                 for their clients; when they wait for the store, more of them make it slower still.",
            ),
            Self::OutOfDescriptors => (
                "The process had no file descriptor left for the connection. No limit of the gate was met.",
                "Raise the process's limit of open files (LimitNOFILE= of the systemd unit), or lower max_inbound.",
            ),
        };
        Meaning { words, remedy }
    }
}

impl Denial {
    /// What it means, for whoever runs the server.
    pub fn meaning(&self) -> Meaning {
        let (words, remedy) = match self {
            Self::Restarting => (
                "The server stopped, or an operator drained it, and the session had come to a boundary or its time was over.",
                "Nothing: clients come back. `gatepost drain --undo` ends a drain that was begun with `gatepost drain`. A longer time lets \
                 those that are idle stay longer.",
            ),
            Self::StoreSlow { .. } => (
                "The store was slow: the reply to a message would have come too late, so the message was refused: before it was sent, \
                 or behind its end where the store had become slow meanwhile.",
                "Find out why the store is slow: gatepost_delivery_limit_messages and gatepost_store_sync_seconds_total say how slow. More \
                 places at the gate would only make the queue longer.",
            ),
            Self::StoreFull => (
                "The store had no room for mail.",
                "Make room on the store's disk; mail is taken again by itself. The log says how much was missing.",
            ),
            Self::PlaceNeeded => (
                "Every place was taken, somebody else wanted one, and this session had only sat there.",
                "Nothing: the client may come back at once. A longer time spares more of those who sit there.",
            ),
            Self::TimedOut { .. } => (
                "The client was idle or too slow, or its session had lasted too long.",
                "Nothing, as a rule: the client comes back. Raise the key when clients you know need longer.",
            ),
            Self::UserFull(_) => (
                "The user had as many sessions as one may; the password was right.",
                "`gatepost sessions --user ACCOUNT` shows what they do. Give the account its own number in users, or raise the key.",
            ),
            Self::MaildropLocked => (
                "The user's maildrop was open in another session; the password was right.",
                "Nothing, when two programs fetch the same mail. `gatepost sessions --user ACCOUNT` shows who has it; `gatepost sessions end \
                 ID` ends that. One that shows no sign of life for the time of the key is taken over by itself.",
            ),
            Self::TooMuch { .. } => (
                "The client, its account or its sender domain did too much of this in a short time.",
                "Nothing, as a rule: the client may again after the time it was told. Raise the key when honest senders meet it.",
            ),
        };
        Meaning { words, remedy }
    }
}
