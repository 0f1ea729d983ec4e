//! What a session is in the middle of: how far RFC 1939's life of it has come, what was asked, why it is to end, and what one step of it
//! comes to. Plain values; [`Session`](crate::Session) goes from one to the next.

use mail::Token;
use mail::sasl::{Exchange, Said};

use crate::maildrop::{Entry, Opened};
use crate::reply::Refusal;
use crate::session::Farewell;

/// Where in RFC 1939's life of a session this one is.
pub(crate) enum State {
    Authorization(Login),
    Transaction {
        maildrop: Opened,
        /// A listing that is being sent.
        listing: Option<Listing>,
    },
    /// STLS has been answered.
    Upgrade,
    Closed(Farewell),
}

/// How far a login has come.
pub(crate) enum Login {
    Start,
    /// USER has named somebody; PASS must be the next command.
    Named(Box<str>),
    Sasl(Exchange),
}

/// A LIST or UIDL of all messages, sent up to this index.
#[derive(Clone, Copy)]
pub(crate) struct Listing {
    pub(crate) unique_ids: bool,
    pub(crate) index: usize,
}

/// The question that was asked. Answering takes it back, so what is still here at the next call was dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Auth,
    /// Nothing of the message has been sent yet.
    Retrieve,
    /// Part of a message has been sent.
    Transfer,
    Update,
}

/// A question about to be asked.
pub(crate) enum Ask {
    Auth(Box<Said>),
    Retrieve { index: usize, entry: Entry, top: Option<u64> },
    Update,
}

pub(crate) enum Step {
    Input,
    Flush,
    Ask(Ask),
    Upgrade,
    Close,
}

/// Why a session ends at a command boundary.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Drain(Token),
    PlaceNeeded(Token),
    TakenOver,
    Dismissed,
    TooLong,
}

impl Ending {
    /// The last line.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Drain(_) => Refusal::Restarting,
            Self::PlaceNeeded(_) => Refusal::PlaceNeeded,
            Self::TakenOver => Refusal::TakenOver,
            Self::Dismissed => Refusal::SessionEnded,
            Self::TooLong => Refusal::SessionTooLong,
        }
    }

    /// Under what it can be explained.
    pub(crate) fn token(self) -> Option<Token> {
        match self {
            Self::Drain(token) | Self::PlaceNeeded(token) => Some(token),
            Self::TakenOver | Self::Dismissed | Self::TooLong => None,
        }
    }

    /// How the session has ended then.
    pub(crate) fn farewell(self) -> Farewell {
        match self {
            Self::Drain(_) => Farewell::Drained,
            Self::PlaceNeeded(_) => Farewell::GaveWay,
            Self::TakenOver => Farewell::TakenOver,
            Self::Dismissed => Farewell::Ended,
            Self::TooLong => Farewell::TooLong,
        }
    }
}
