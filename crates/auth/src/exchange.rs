//! Exchanges of several rounds: what each of the client's messages comes to.
//!
//! [`Authenticator::respond`] is the one question; what must be known at the next is in an [`Exchange`], which whoever leads the exchange keeps
//! for as long as it lasts. The name is looked up at the first message, and the proof in a later one is counted as any
//! attempt, so that what holds for those who guess passwords holds for those who guess proofs. A proof costs next to nothing to
//! look at, right or wrong, of whomever.
//!
//! A bearer token is looked at when its attempt has been counted, since that may ask a service: nobody asks it through us faster than they may
//! guess. A client whose token is worth nothing is told why before it is told that it has failed (RFC 7628 §3.2.3).
//!
//! Refuses by value, as [`Authenticator::verify`]; a message that is none of its mechanism's is [`Round::Malformed`] and counts as no attempt.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::{Mechanism, canonical};

use crate::authenticator::Authenticator;
use crate::oauth::{self, Bearer, Presented, Worthless};
use crate::scram::{self, ClientFirst, Proof, Verifier};
use crate::{Error, Verdict};

/// What a client has said in an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// Of which mechanism.
    pub mechanism: Mechanism,
    /// Whether it is the first.
    pub first: bool,
    /// What it says.
    pub octets: &'m [u8],
    /// From where.
    pub source: IpAddr,
    /// What identifies the TLS channel (`tls-exporter`, RFC 9266), where mechanisms that are bound to it are offered.
    pub channel: Option<&'m [u8; 32]>,
    /// Whom the client's certificate names, where it was verified and EXTERNAL is offered.
    pub certificate: Option<&'m str>,
}

/// How an exchange goes on.
#[derive(Debug)]
pub enum Round {
    /// The client is asked for more.
    Challenge(Vec<u8>),
    /// It has come to its end.
    Over {
        /// Who the client has said it is.
        login: String,
        /// Whether that is so.
        verdict: Verdict,
        /// Why it is not, in words for the operator, where more is known than that a password or a proof is wrong.
        cause: Option<&'static str>,
    },
    /// It has failed, and is to be answered with this challenge, held back as for [`Verdict::Wrong`]. Whatever the client says to that, it is
    /// [`Round::Failed`].
    Denied {
        /// Who the client has said it is; empty where it has not.
        login: String,
        /// How long to hold the challenge back.
        delay: Duration,
        /// Why, in words for the operator.
        cause: &'static str,
        /// Why, for the client's program.
        challenge: &'static str,
    },
    /// It has failed with the round before, which was all there is to count, tell or hold back.
    Failed,
    /// That was no message of its mechanism, or one that must not be answered: the exchange is over.
    Malformed,
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange(State);

#[derive(Debug)]
enum State {
    /// The proof is to come.
    Scram { exchange: Box<scram::Exchange>, login: String, account: Option<Arc<str>> },
    /// It was right, and the client has been told; it has nothing more to say.
    Proved { login: String, account: Arc<str> },
    /// It was wrong, and the client has been told; it has nothing to say that would change it.
    Denied,
}

impl Authenticator {
    /// What a message comes to. `exchange` is what was left there by the message before, and nothing before the first; this is the one part of an
    /// exchange that waits, for the store or for the service that knows tokens.
    ///
    /// Cancel-safe: the exchange is over then, and what counted counts.
    ///
    /// # Errors
    /// See [`Error`]; the attempt does not count, and the exchange is over.
    pub async fn respond(&self, exchange: &mut Option<Box<Exchange>>, message: Message<'_>) -> Result<Round, Error> {
        let before = exchange.take().map(|exchange| exchange.0);
        let (round, next) = match before.filter(|_| !message.first) {
            None => self.begin(message).await?,
            Some(State::Scram { exchange, login, account }) => self.prove_scram(&exchange, login, account, message),
            Some(State::Proved { login, account }) if message.octets.is_empty() => over(login, Verdict::Right { account }),
            Some(State::Proved { .. }) => (Round::Malformed, None),
            Some(State::Denied) => (Round::Failed, None),
        };
        *exchange = next.map(|state| Box::new(Exchange(state)));
        Ok(round)
    }

    async fn begin(&self, message: Message<'_>) -> Result<(Round, Option<State>), Error> {
        let plus = match message.mechanism {
            Mechanism::ScramSha256Plus => true,
            Mechanism::ScramSha256 => false,
            Mechanism::External => return self.vouched(message).await,
            Mechanism::OauthBearer | Mechanism::Xoauth2 => return self.bear(message).await,
            // A name and a password are verified, not led.
            Mechanism::Plain | Mechanism::Login => return Ok((Round::Malformed, None)),
        };
        let first = if message.first { ClientFirst::parse(message.octets, plus, message.channel.is_some()) } else { None };
        let Some(first) = first else { return Ok((Round::Malformed, None)) };
        let login = canonical(&first.name);
        let made_up = Verifier::made_up(&login, &self.directory().secret().await?);
        let account = self.directory().account(&login).await?;
        let verifier = match account.as_ref().and_then(|account| account.verifier.as_deref()) {
            Some(kept) => Verifier::parse(kept).map_err(|cause| Error::StoredVerifier { account: login.clone(), cause })?,
            None => made_up,
        };
        let exchange = Box::new(first.answer(verifier));
        let challenge = exchange.server_first().as_bytes().to_vec();
        Ok((Round::Challenge(challenge), Some(State::Scram { exchange, login, account: account.map(|account| account.name) })))
    }

    /// The client's certificate says who it is, and its message at most as whom it wants to act: there is nothing to guess.
    async fn vouched(&self, message: Message<'_>) -> Result<(Round, Option<State>), Error> {
        let (Some(mailbox), Ok(acting_as)) = (message.certificate, std::str::from_utf8(message.octets)) else {
            return Ok((Round::Malformed, None));
        };
        let login = canonical(mailbox);
        if !acting_as.is_empty() && canonical(acting_as) != login {
            return Ok(failed(login, Verdict::Wrong { delay: Duration::ZERO }, "the certificate names another account than the client"));
        }
        let account = self.directory().account(&login).await?;
        let verdict = self.judge_vouched(message.source, account.map(|account| account.name));
        Ok(failed(login, verdict, "the certificate names nobody who has an account"))
    }

    /// A token says who the client is; a name beside it only that it must be nobody else.
    async fn bear(&self, message: Message<'_>) -> Result<(Round, Option<State>), Error> {
        let presented = Presented::parse(message.mechanism, message.octets).filter(|_| message.first);
        let (Some(presented), Some(bearer)) = (presented, self.bearer()) else { return Ok((Round::Malformed, None)) };
        let (login, limits) = (canonical(&presented.user), self.limits());
        let counted = match self.count(&limits, &login, message.source) {
            Ok(counted) => counted,
            Err(refused) => return Ok(over(login, refused)),
        };
        match self.bearer_of(&presented, &bearer).await {
            Ok(Ok(account)) if login.is_empty() || *account == *login => Ok(over(account.to_string(), self.prove(counted, account))),
            Ok(other) => {
                let cause = other.err().unwrap_or("the token names another account than the client");
                let (delay, challenge) = (counted.fail(), oauth::challenge(message.mechanism));
                Ok((Round::Denied { login, delay, cause, challenge }, Some(State::Denied)))
            }
            Err(error) => {
                counted.forgive();
                Err(error)
            }
        }
    }

    /// Whose token it is, of those who have an account here.
    async fn bearer_of(&self, presented: &Presented<'_>, bearer: &Bearer) -> Result<Result<Arc<str>, Worthless>, Error> {
        let Some(token) = presented.token else { return Ok(Err("there is no bearer token")) };
        let named = match bearer.account(token).await? {
            Ok(named) => named,
            Err(worthless) => return Ok(Err(worthless)),
        };
        let account = self.directory().account(&canonical(&named)).await?;
        Ok(account.map(|account| account.name).ok_or("the token names nobody who has an account"))
    }

    fn prove_scram(
        &self,
        exchange: &scram::Exchange,
        login: String,
        account: Option<Arc<str>>,
        message: Message<'_>,
    ) -> (Round, Option<State>) {
        if exchange.first().acting_as.as_deref().is_some_and(|other| canonical(other) != login) {
            return over(login, Verdict::Wrong { delay: Duration::ZERO });
        }
        let (proved, server_final) = match exchange.proof(message.octets, message.channel) {
            Proof::Holds(server_final) => (account, server_final),
            Proof::Fails => (None, String::new()),
            Proof::Malformed => return (Round::Malformed, None),
        };
        match self.judge(&login, message.source, proved) {
            Verdict::Right { account } => (Round::Challenge(server_final.into_bytes()), Some(State::Proved { login, account })),
            verdict => over(login, verdict),
        }
    }
}

fn over(login: String, verdict: Verdict) -> (Round, Option<State>) {
    (Round::Over { login, verdict, cause: None }, None)
}

/// The same, with the reason where it is wrong.
fn failed(login: String, verdict: Verdict, cause: &'static str) -> (Round, Option<State>) {
    let cause = matches!(verdict, Verdict::Wrong { .. }).then_some(cause);
    (Round::Over { login, verdict, cause }, None)
}
