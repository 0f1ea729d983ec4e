//! What the machine cannot decide. Each question borrows the session and is consumed by its answer; one that is dropped, also when
//! the future that held it is, counts as a temporary failure of ours.

use mail::sasl::Said;
use mail::{MessageId, Token};

use crate::maildrop::{Entry, Maildrop, Opened};
use crate::reply::Refusal;
use crate::session::{Farewell, Session};
use crate::transfer::Transfer;

/// A question.
#[must_use]
pub enum Question<'s> {
    /// May this client have this maildrop?
    Auth(Auth<'s>),
    /// What does this message say? (RETR and TOP)
    Retrieve(Retrieve<'s>),
    /// Delete what was marked. (QUIT)
    Update(Update<'s>),
}

/// Someone wants to log in, under TLS.
#[must_use = "dropped, it is answered with [SYS/TEMP]"]
pub struct Auth<'s> {
    session: &'s mut Session,
    /// Boxed: questions are held while they are answered, and this one is rare.
    said: Box<Said>,
}

/// Why a login is refused. Clients ask people for their password again on [`AuthRefusal::WrongCredentials`] alone (RFC 3206).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRefusal {
    /// `[AUTH]`: no such user, or another password. One answer for both.
    WrongCredentials,
    /// `[IN-USE]`: the password is right and another session holds the maildrop.
    InUse,
    /// `[IN-USE]`: the password is right and the user has as many sessions as it may.
    TooManySessions {
        /// How many that is.
        limit: u32,
    },
    /// `[LOGIN-DELAY]`: the password is right and the last login too near (RFC 2449 §8.1.1).
    LoginDelay,
    /// `[SYS/TEMP]`: it cannot be known or done at the moment.
    Temporary,
}

impl<'s> Auth<'s> {
    pub(crate) fn new(session: &'s mut Session, said: Box<Said>) -> Self {
        Self { session, said }
    }

    /// What the client has said to prove who it is.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// `+`: the exchange goes on; the client's next response is the next question, unless it gives up. A challenge of more than
    /// [`CHALLENGE_OCTETS`](crate::limits::CHALLENGE_OCTETS) is cut off.
    pub fn challenge(self, challenge: &[u8]) {
        self.session.asked = None;
        self.session.login_challenged(&self.said, challenge);
    }

    /// That is no response of its mechanism. It counts as a bad command.
    pub fn malformed(self) {
        self.session.asked = None;
        self.session.fault(Refusal::BadResponse);
    }

    /// It is so; this is the maildrop, locked for this session.
    pub fn accept(self, maildrop: Box<dyn Maildrop>) {
        self.session.asked = None;
        self.session.login_accepted(maildrop);
    }

    /// It cannot be.
    pub fn refuse(self, refusal: AuthRefusal) {
        self.session.asked = None;
        self.session.login_refused(refusal.into(), None);
    }

    /// It cannot be; that was written down, and the line names us and ends in `token`.
    pub fn refuse_signed(self, refusal: AuthRefusal, token: Token) {
        self.session.asked = None;
        self.session.login_refused(refusal.into(), Some(token));
    }
}

impl From<AuthRefusal> for Refusal {
    fn from(refusal: AuthRefusal) -> Self {
        match refusal {
            AuthRefusal::WrongCredentials => Self::WrongCredentials,
            AuthRefusal::InUse => Self::InUse,
            AuthRefusal::TooManySessions { limit } => Self::TooManySessions { limit },
            AuthRefusal::LoginDelay => Self::LoginDelay,
            AuthRefusal::Temporary => Self::LoginUnavailable,
        }
    }
}

/// A message to be sent, all of it (RETR) or its top (TOP).
#[must_use = "dropped, it is answered with [SYS/TEMP]"]
pub struct Retrieve<'s> {
    session: &'s mut Session,
    index: usize,
    entry: Entry,
    top: Option<u64>,
}

impl<'s> Retrieve<'s> {
    pub(crate) fn new(session: &'s mut Session, index: usize, entry: Entry, top: Option<u64>) -> Self {
        Self { session, index, entry, top }
    }

    /// Its index in the listing.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its id.
    pub fn id(&self) -> MessageId {
        self.entry.id
    }

    /// Its length as listed.
    pub fn octets(&self) -> u64 {
        self.entry.octets
    }

    /// For TOP, how many lines of the body after the header.
    pub fn top(&self) -> Option<u64> {
        self.top
    }

    /// Here it comes. Nothing is said yet: that is for the first piece to do.
    pub fn begin(self) -> Transfer<'s> {
        Transfer::new(self.session, self.entry.octets, self.top)
    }

    /// It cannot be read at the moment.
    pub fn unavailable(self) {
        self.session.asked = None;
        self.session.say(Refusal::MessageUnavailable);
    }
}

/// Messages to be deleted, all or none. Asked only when there are any.
#[must_use = "dropped, it is answered with [SYS/TEMP]"]
pub struct Update<'s> {
    session: &'s mut Session,
}

impl<'s> Update<'s> {
    pub(crate) fn new(session: &'s mut Session) -> Self {
        Self { session }
    }

    /// Index and id of each, in the listing's order.
    pub fn deleted(&self) -> impl Iterator<Item = (usize, MessageId)> {
        self.session.maildrop().into_iter().flat_map(Opened::deleted).map(|(index, entry)| (index, entry.id))
    }

    /// They are gone, durably.
    pub fn done(self) {
        self.session.asked = None;
        self.session.sign_off();
    }

    /// They are not, or it cannot be known.
    pub fn failed(self) {
        self.session.asked = None;
        self.session.close(Refusal::NotRemoved, Farewell::Failed);
    }
}
