//! The answer to AUTH: who somebody is, by what proves it, and whether they may have one more session.
//!
//! May be dropped at any time, as [`Answers::answer`] may: what was counted counts.

use std::pin::pin;
use std::time::Duration;

use auth::{Claim, Error, Message as Told, Round, Verdict};
use events::{AuthFailed, AuthSucceeded, AuthThrottled, IntrospectionFailed, StoreFailed};
use gate::Phase;
use gate::rates::{Limits, Measure};
use smtp::{Auth, Credentials, Reply, Response, Said};

use super::Answers;
use crate::Shared;

impl Answers {
    pub(super) async fn auth(&mut self, question: Auth<'_>) {
        let mechanism = question.said().method();
        let rate = self.shared.rates.look(Measure::FailedCommands, &self.sender(None, None), Limits::ALL, net::now());
        if let Err(met) = rate {
            return question.reject(self.rate_met(Reply::FAILURE_RATE_AUTH, &met, None, None));
        }
        let round = match question.said() {
            Said::Password(credentials) => self.verify(credentials).await,
            Said::Response(response) => self.respond(response).await,
        };
        let Shared { events, listener, .. } = &*self.shared;
        let (session, source) = (self.session, self.source);
        match round {
            Ok(Round::Challenge(challenge)) => question.challenge(&challenge),
            Ok(Round::Malformed) => question.malformed(),
            Ok(Round::Over { verdict: Verdict::Right { account }, .. }) => {
                match self.shared.log_in(&self.seat, session, source, &account) {
                    Ok(()) => {
                        events.emit(AuthSucceeded { listener, session, source, account: &account, mechanism });
                        question.accept(&*account);
                    }
                    Err(full) => question.reject(self.user_full(full, &account)),
                }
            }
            Ok(Round::Over { login, verdict: Verdict::Wrong { delay }, cause }) => {
                self.failed_login(&login, mechanism, cause, delay).await;
                question.wrong();
            }
            Ok(Round::Denied { login, delay, cause, challenge }) => {
                self.failed_login(&login, mechanism, Some(cause), delay).await;
                question.challenge(challenge.as_bytes());
            }
            Ok(Round::Failed) => question.wrong(),
            Ok(Round::Over { login, verdict: Verdict::Refused { throttle, .. }, .. }) => {
                events.emit(AuthThrottled { listener, session, source, login: &login, throttle, now: net::now() });
                question.reject(Reply::TRY_LATER_AUTH);
            }
            Err(error @ Error::Introspection(_)) => {
                events.emit(IntrospectionFailed { listener, cause: &error, now: net::now() });
                question.reject(Reply::TRY_LATER_AUTH);
            }
            Err(error) => {
                events.emit(StoreFailed { operation: "authenticate", cause: &error, now: net::now() });
                question.reject(Reply::TRY_LATER_AUTH);
            }
        }
    }

    /// Somebody has not proved who they are.
    async fn failed_login(&mut self, login: &str, mechanism: &'static str, cause: Option<&'static str>, delay: Duration) {
        let (Shared { events, listener, drain, .. }, session, source) = (&*self.shared, self.session, self.source);
        events.emit(AuthFailed { listener, session, source, login, mechanism, cause, now: net::now() });
        // Who has guessed waits, but the drain does not.
        let _left = self.seat.during(Phase::Tarpit, net::now, pin!(net::clock::within(net::now() + delay, drain.wait()))).await;
    }

    /// A name and a password: whether they are right.
    async fn verify(&mut self, credentials: &Credentials) -> Result<Round, Error> {
        let Credentials { authcid: login, authzid, password, .. } = credentials;
        let claim = Claim { login, acting_as: authzid.as_deref(), password: password.clone(), source: self.source };
        let authenticator = &self.shared.authenticator;
        let looked_up = self.seat.during(Phase::Store, net::now, pin!(authenticator.look_up(claim))).await?;
        Ok(Round::Over { login: login.to_string(), verdict: authenticator.verify(looked_up).await?, cause: None })
    }

    /// One response of several: what it comes to.
    async fn respond(&mut self, response: &Response) -> Result<Round, Error> {
        let Response { mechanism, first, ref octets } = *response;
        let channel = self.bond.as_ref().and_then(|bond| bond.channel.as_ref());
        let certificate = self.bond.as_ref().and_then(|bond| bond.certificate.as_deref());
        let told = Told { mechanism, first, octets: octets.expose(), source: self.source, channel, certificate };
        self.seat.during(Phase::Store, net::now, pin!(self.shared.authenticator.respond(&mut self.exchange, told))).await
    }
}
