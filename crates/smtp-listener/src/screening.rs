//! What a transaction knows of its screening: the rules it goes by, what was found, and the message as it passes.
//!
//! Strangers are screened: clients that have neither authenticated nor stand in a network that may relay, on a listener where
//! other servers come; and people, where something is asked on the listener for them. What they may not write of ourselves is taken out of everybody's message. Dropping any of it is safe.

use std::borrow::Cow;
use std::fmt::Display;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use ::screening::{Client, Forgeries, Letter, Manners, Reading, Screener, Screening, Source, Verdict};
use async_trait::async_trait;
use bytes::Bytes;
use events::{About, MessageDiscarded, MessageRefused, MessageScreened, SessionId};
use gate::{Class, Phase, Seat};
use mail::{MessageId, ReversePath};
use smtp::{EndOfData, Mail, Reply, Role, Session};
use store::Incoming;

use crate::{Settings, Shared};

/// One transaction's screening, from MAIL on.
pub(crate) struct Screened {
    screener: Arc<Screener>,
    forgeries: Forgeries,
    /// Octets that were stored.
    stored: u64,
    /// None of those who are not strangers.
    stranger: Option<Stranger>,
}

struct Stranger {
    screening: Screening,
    reading: Reading,
}

impl Screened {
    /// Nothing is asked, and what is forged is taken out.
    pub(crate) fn known(screener: Arc<Screener>) -> Self {
        Self { forgeries: screener.forgeries(), screener, stored: 0, stranger: None }
    }

    /// Asks what is known of a stranger at MAIL.
    pub(crate) async fn stranger(screener: Arc<Screener>, client: Client<'_>) -> Self {
        let (screening, reading) = (screener.envelope(client).await, screener.reading());
        Self { stranger: Some(Stranger { screening, reading }), ..Self::known(screener) }
    }

    /// What was found so far.
    pub(crate) fn screening(&self) -> Option<&Screening> {
        self.stranger.as_ref().map(|stranger| &stranger.screening)
    }

    /// The next piece of the message; what of it is to be stored.
    pub(crate) fn pass<'t>(&mut self, piece: &'t [u8]) -> Cow<'t, [u8]> {
        if let Some(stranger) = &mut self.stranger {
            stranger.reading.pass(piece);
        }
        let kept = self.forgeries.pass(piece);
        self.stored += kept.len() as u64;
        kept
    }

    /// What is to be stored besides, now that all has come.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let rest = self.forgeries.rest();
        self.stored += rest.len() as u64;
        rest
    }

    /// Asks the rest of a stranger, now that all has come.
    async fn finish(self, client: Client<'_>, user: Option<&str>, arrived: Arrived<'_>) -> Option<Screening> {
        let Stranger { screening, reading } = self.stranger?;
        let Arrived { id, accounts, incoming, .. } = arrived;
        let id = id.to_string();
        let mut stored = Stored { incoming, octets: self.stored };
        let mut letter = Letter { id: &id, recipients: accounts, user, text: &mut stored };
        Some(self.screener.message(client, screening, reading, &mut letter).await)
    }
}

/// A message that has come and is not committed.
pub(crate) struct Arrived<'a> {
    pub(crate) id: MessageId,
    pub(crate) accounts: &'a [Arc<str>],
    pub(crate) incoming: &'a mut dyn Incoming,
    /// How long it was as it came.
    pub(crate) octets: u64,
}

/// Its text, for those who want to see all of it.
struct Stored<'s> {
    incoming: &'s mut dyn Incoming,
    octets: u64,
}

#[async_trait]
impl Source for Stored<'_> {
    fn octets(&self) -> u64 {
        self.octets
    }

    async fn read(&mut self, from: u64) -> Result<Bytes, String> {
        self.incoming.reread(from).await.map(Bytes::from).map_err(|error| error.to_string())
    }
}

/// What becomes of a message that has come.
pub(crate) enum Judged {
    /// It is stored, behind these fields.
    Deliver(Vec<u8>),
    /// Likewise, and not listed, for this reason.
    Hold(Vec<u8>, String),
    /// With this in its blank, where it has one.
    Refuse(Reply, Option<String>),
    /// The store has not taken the last of it.
    Failed(store::Error),
    /// Its sender is told that it was stored.
    Discard,
}

/// Where one session's messages are judged.
pub(crate) struct Desk<'d> {
    pub(crate) shared: &'d Shared,
    pub(crate) settings: &'d Settings,
    pub(crate) seat: &'d Seat,
    pub(crate) session: SessionId,
    pub(crate) source: IpAddr,
    pub(crate) manners: Manners,
}

impl Desk<'_> {
    /// Asks what is known of the sender of a message that may begin, where it is to be screened.
    ///
    /// # Errors
    /// The reply, where that is enough to refuse it, and what fills its blank.
    pub(crate) async fn at_mail(self, screener: Arc<Screener>, question: &Mail<'_>) -> Result<Screened, (Reply, Option<String>)> {
        let (session, reverse_path) = (question.session(), &question.from().reverse_path);
        let is_stranger = session.identity().is_none() && !self.shared.may_relay(self.source);
        let is_trusted = match self.settings.smtp.role {
            Role::Relay => !is_stranger,
            Role::Submission => false,
            Role::Lmtp => true,
        };
        if !screener.asks() || is_trusted {
            return Ok(Screened::known(screener));
        }
        let client = self.client(session, reverse_path);
        let screened = self.seat.during(Phase::Screening, net::now, pin!(Screened::stranger(screener, client))).await;
        match screened.screening().filter(|screening| screening.reply().is_some()) {
            Some(screening) => {
                let about = About { helo: session.helo(), reverse_path: Some(reverse_path), ..About::default() };
                Err((self.tell(about, screening).unwrap_or(Reply::UNANSWERED), said(screening)))
            }
            None => Ok(screened),
        }
    }

    /// Judges a message that has come, and stores what was held back of it.
    pub(crate) async fn at_end(
        self,
        mut screened: Screened,
        question: &EndOfData<'_>,
        reverse_path: &ReversePath,
        arrived: Arrived<'_>,
    ) -> Judged {
        let rest = screened.rest();
        if !rest.is_empty()
            && let Err(error) = self.seat.during(Phase::Store, net::now, arrived.incoming.write(&rest)).await
        {
            return Judged::Failed(error);
        }
        let (helo, octets) = (question.session().helo(), arrived.octets);
        let about = About { message: Some(arrived.id), helo, reverse_path: Some(reverse_path), recipients: arrived.accounts };
        let (client, user) = (self.client(question.session(), reverse_path), question.session().identity());
        let Some(screening) = self.seat.during(Phase::Screening, net::now, pin!(screened.finish(client, user, arrived))).await else {
            return Judged::Deliver(Vec::new());
        };
        match self.tell(about, &screening) {
            Some(reply) => Judged::Refuse(reply, said(&screening)),
            None if screening.verdict() == Verdict::Discard => {
                self.tell_discarded(about, octets, &screening);
                Judged::Discard
            }
            None if screening.verdict() == Verdict::Quarantine => Judged::Hold(screening.fields(), reason(&screening)),
            None => Judged::Deliver(screening.fields()),
        }
    }

    fn client<'c>(&self, session: &'c Session, reverse_path: &'c ReversePath) -> Client<'c> {
        let is_known = self.shared.gate.class_of(self.source) != Class::Default;
        Client { ip: self.source, helo: session.helo().unwrap_or_default(), reverse_path, is_known, manners: self.manners }
    }

    /// Tells the operator what was found and what follows; the reply, where the message is refused.
    fn tell(&self, about: About<'_>, screening: &Screening) -> Option<Reply> {
        let (Self { shared: Shared { events, listener, .. }, session, source, .. }, now) = (self, net::now());
        let (session, source) = (*session, *source);
        let checks: Vec<_> = screening.findings().iter().map(|finding| (finding.check.as_str(), finding.outcome.as_str())).collect();
        let (verdict, is_unanswered) = (screening.verdict().as_str(), screening.is_unanswered());
        let cause = screening.reason().or_else(|| screening.unsure()).map(|finding| finding as &dyn Display);
        events.emit(MessageScreened { listener, session, source, about, verdict, checks: &checks, cause, is_unanswered, now });
        let reply = screening.reply()?;
        let cause = cause.unwrap_or(&verdict);
        events.emit(MessageRefused { listener, session, source, about, code: reply.code(), cause, now });
        Some(reply)
    }

    fn tell_discarded(&self, about: About<'_>, octets: u64, screening: &Screening) {
        let Self { shared: Shared { events, listener, .. }, session, source, .. } = self;
        let cause = screening.reason().map_or(&"by its verdict" as &dyn Display, |reason| reason);
        events.emit(MessageDiscarded { listener, session: *session, source: *source, about, octets, cause });
    }
}

/// What fills the blank of the reply.
fn said(screening: &Screening) -> Option<String> {
    screening.reason().and_then(|reason| reason.said.clone())
}

/// Why a message is held, for the operator's list: what a peer has chosen of it is no more than a line.
fn reason(screening: &Screening) -> String {
    let words = screening.reason().map(ToString::to_string).unwrap_or_default();
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARACTERS).collect()
}

const REASON_CHARACTERS: usize = 200;
