//! What the listener answers when the session asks: passwords, the maildrop, its messages, their deletion.
//!
//! Every question is answered on every path; where something of ours fails the answer is `[SYS/TEMP]`, and the cause goes to the
//! log. May be dropped at any time: the maildrop is free then and nothing is deleted.

use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use auth::{Claim, Exchange, Message, Round, Verdict};
use bytes::BytesMut;
use events::{
    AuthFailed, AuthSucceeded, AuthThrottled, IntrospectionFailed, MaildropOpened, MaildropRefused, MaildropTakenOver, MessageDamaged,
    MessageFetched, MessagesDeleted, RateMet, SessionEnd, SessionId, StoreFailed,
};
use gate::rates::{Limits, Measure, Scope, Sender};
use gate::{Denial, Phase, Seat, Token};
use net::{Connection, Hold, NetError};
use pop3::{Auth, AuthRefusal, Credentials, Mechanism, Progress, Question, Response, Retrieve, Said, Settings, Transfer, Update};
use store::{Body, Entry, Error, Maildrop};

use crate::Shared;

/// One session's answers, and what they remember.
pub(crate) struct Answers {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    session: SessionId,
    source: IpAddr,
    /// Whether logins may be bound to their TLS channel.
    binds: bool,
    opened: Option<Opened>,
    exchange: Option<Box<Exchange>>,
    /// A rate has been met since the last reply was written.
    rate_met: bool,
    /// From before an update until its answer has been written.
    hold: Option<Hold>,
}

/// What a login may go by beside what the client says.
struct Bond {
    /// What identifies the TLS channel.
    channel: Option<[u8; 32]>,
    /// Whom the client's certificate names.
    certificate: Option<String>,
}

/// A maildrop this session has.
struct Opened {
    account: Arc<str>,
    maildrop: Box<dyn Maildrop>,
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.release();
    }
}

impl Answers {
    pub(crate) fn new(shared: Arc<Shared>, settings: &Settings, seat: Arc<Seat>, session: SessionId, source: IpAddr) -> Self {
        let binds = settings.mechanisms.contains(Mechanism::ScramSha256Plus);
        Self { shared, seat, session, source, binds, opened: None, exchange: None, rate_met: false, hold: None }
    }

    /// No login is under way.
    pub(crate) fn forget_exchange(&mut self) {
        self.exchange = None;
    }

    /// All answers have been written.
    pub(crate) fn written(&mut self) {
        self.hold = None;
    }

    /// Before replies are written: so many commands have failed. Their answers, and that to whom the rate has refused, may be held
    /// back.
    pub(crate) fn failed(&mut self, failures: u16) -> Option<impl Future<Output = ()> + Send + use<'_>> {
        let rate_met = std::mem::take(&mut self.rate_met);
        if failures > 0 {
            let sender = self.sender(self.opened.as_ref().map(|opened| &*opened.account));
            self.shared.rates.owe(Measure::FailedCommands, failures.into(), &sender, Limits::ALL, net::now());
            if self.opened.is_none() {
                self.shared.failed(self.source, failures);
            }
        }
        (failures > 0 || rate_met).then(|| hold_back(&self.shared))
    }

    /// The client has shown a sign of life.
    pub(crate) fn touch(&self) {
        if let Some(opened) = &self.opened {
            opened.maildrop.lease().touch();
        }
    }

    /// Returns when a newer session has taken the maildrop; never while there is none.
    pub(crate) async fn taken_over(&self) {
        match &self.opened {
            Some(opened) => opened.maildrop.lease().revoked().await,
            None => std::future::pending().await,
        }
    }

    /// Lets go of the maildrop.
    pub(crate) fn release(&mut self) {
        if let Some(opened) = self.opened.take()
            && opened.maildrop.lease().is_revoked()
        {
            let Shared { events, listener, .. } = &*self.shared;
            events.emit(MaildropTakenOver { listener, session: self.session, account: &opened.account });
        }
    }

    /// Writes all of `output`, and leaves an empty buffer that holds no memory. What the client takes is a sign of life.
    ///
    /// # Errors
    /// How the session has ended: the client is gone, or has not taken it in time, or by the time a newer session has taken the
    /// maildrop; nobody can be told goodbye then.
    pub(crate) async fn write(&self, output: &mut BytesMut, connection: &mut Connection) -> Result<(), SessionEnd> {
        if output.is_empty() {
            return Ok(());
        }
        connection.output = std::mem::take(output);
        self.seat.sent(connection.output.len());
        let deadline = net::now() + self.shared.settings.load().write_deadline;
        self.seat.enter(Phase::Client, net::now());
        let flushed = tokio::select! {
            biased;
            flushed = connection.flush(deadline) => flushed,
            () = self.taken_over() => return Err(SessionEnd::TakenOver),
        };
        self.seat.enter(Phase::Own, net::now());
        self.touch();
        flushed.map_err(|error| match error {
            NetError::WriteTimedOut => SessionEnd::TimedOut,
            _ => SessionEnd::PeerGone,
        })
    }

    /// Answers.
    ///
    /// # Errors
    /// How the session has ended, when the client does not take what it asked for.
    pub(crate) async fn answer(&mut self, question: Question<'_>, connection: &mut Connection) -> Result<(), SessionEnd> {
        match question {
            Question::Auth(auth) => {
                let led = matches!(auth.said(), Said::Response(_));
                let channel = (led && self.binds).then(|| connection.channel()).flatten();
                let certificate = led.then(|| connection.mailbox()).flatten();
                Box::pin(self.auth(auth, Bond { channel, certificate })).await;
            }
            Question::Retrieve(retrieve) => Box::pin(self.retrieve(retrieve, connection)).await?,
            Question::Update(update) => Box::pin(self.update(update)).await,
        }
        Ok(())
    }

    async fn auth(&mut self, question: Auth<'_>, bond: Bond) {
        let mechanism = question.said().method();
        if let Some(token) = self.failed_too_often(None) {
            return question.refuse_signed(AuthRefusal::Temporary, token);
        }
        let round = match question.said() {
            Said::Password(credentials) => self.verify(credentials).await,
            Said::Response(response) => self.respond(response, &bond).await,
        };
        let shared = Arc::clone(&self.shared);
        let Shared { events, listener, .. } = &*shared;
        let (session, source) = (self.session, self.source);
        match round {
            Ok(Round::Challenge(challenge)) => question.challenge(&challenge),
            Ok(Round::Malformed) => question.malformed(),
            Ok(Round::Over { verdict: Verdict::Right { account }, .. }) => match self.may_enter(&account) {
                Ok(()) => {
                    events.emit(AuthSucceeded { listener, session, source, account: &account, mechanism });
                    self.open(account, question).await;
                }
                Err((refusal, token)) => question.refuse_signed(refusal, token),
            },
            Ok(Round::Over { login, verdict: Verdict::Wrong { delay }, cause }) => {
                self.failed_login(&login, mechanism, cause, delay).await;
                question.refuse(AuthRefusal::WrongCredentials);
            }
            Ok(Round::Denied { login, delay, cause, challenge }) => {
                self.failed_login(&login, mechanism, Some(cause), delay).await;
                question.challenge(challenge.as_bytes());
            }
            Ok(Round::Failed) => question.refuse(AuthRefusal::WrongCredentials),
            Ok(Round::Over { login, verdict: Verdict::Refused { throttle, .. }, .. }) => {
                events.emit(AuthThrottled { listener, session, source, login: &login, throttle, now: net::now() });
                question.refuse(AuthRefusal::Temporary);
            }
            Err(error @ auth::Error::Introspection(_)) => {
                events.emit(IntrospectionFailed { listener, cause: &error, now: net::now() });
                question.refuse(AuthRefusal::Temporary);
            }
            Err(error) => {
                events.emit(StoreFailed { operation: "authenticate", cause: &error, now: net::now() });
                question.refuse(AuthRefusal::Temporary);
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
    async fn verify(&mut self, credentials: &Credentials) -> Result<Round, auth::Error> {
        let Credentials { authcid: login, authzid, password, .. } = credentials;
        let claim = Claim { login, acting_as: authzid.as_deref(), password: password.clone(), source: self.source };
        let authenticator = &self.shared.authenticator;
        let looked_up = self.seat.during(Phase::Store, net::now, pin!(authenticator.look_up(claim))).await?;
        Ok(Round::Over { login: login.to_string(), verdict: authenticator.verify(looked_up).await?, cause: None })
    }

    /// One response of several: what it comes to.
    async fn respond(&mut self, response: &Response, bond: &Bond) -> Result<Round, auth::Error> {
        let Response { mechanism, first, ref octets } = *response;
        let (channel, certificate) = (bond.channel.as_ref(), bond.certificate.as_deref());
        let message = Message { mechanism, first, octets: octets.expose(), source: self.source, channel, certificate };
        self.seat.during(Phase::Store, net::now, pin!(self.shared.authenticator.respond(&mut self.exchange, message))).await
    }

    async fn open(&mut self, account: Arc<str>, question: Auth<'_>) {
        let Shared { events, listener, login_delay, .. } = &*self.shared;
        let (session, delay) = (self.session, self.shared.settings.load().pop3.login_delay);
        if let Some(delay) = delay
            && !login_delay.allows(&account, delay, net::now())
        {
            let cause = &"the account's last login was a moment ago";
            events.emit(MaildropRefused { listener, session, account: &account, limit: "pop3.login_delay", cause });
            self.shared.gate.roster().log_out(&self.seat);
            return question.refuse(AuthRefusal::LoginDelay);
        }
        match self.seat.during(Phase::Store, net::now, self.shared.store.open(&account)).await {
            Ok(maildrop) => {
                if let Some(delay) = delay {
                    login_delay.remember(&account, delay, net::now());
                }
                let listing = Arc::clone(maildrop.listing());
                let octets = listing.iter().map(|entry| entry.octets).sum();
                events.emit(MaildropOpened { listener, session, account: &account, messages: listing.len(), octets });
                self.opened = Some(Opened { account, maildrop });
                question.accept(Box::new(Listing(listing)));
            }
            Err(error) => {
                let limit = if matches!(error, Error::InUse) { Denial::MaildropLocked.key() } else { "" };
                events.emit(MaildropRefused { listener, session, account: &account, limit, cause: &error });
                self.shared.gate.roster().log_out(&self.seat);
                match error {
                    Error::InUse => question.refuse_signed(AuthRefusal::InUse, self.deny(Some(&account), Denial::MaildropLocked)),
                    _ => question.refuse(AuthRefusal::Temporary),
                }
            }
        }
    }

    /// Writes a refusal down, and gives the token to end its line with. `account` is whose session it would have been.
    pub(crate) fn deny(&self, account: Option<&Arc<str>>, denial: impl Into<Denial>) -> Token {
        self.shared.gate.deny(&self.seat, account, denial, net::now())
    }

    async fn retrieve(&self, question: Retrieve<'_>, connection: &mut Connection) -> Result<(), SessionEnd> {
        let Some(opened) = &self.opened else { return Ok(()) };
        let Some(entry) = opened.maildrop.listing().get(question.index()).copied() else { return Ok(()) };
        let whole = question.top().is_none();
        match self.seat.during(Phase::Store, net::now, opened.maildrop.read(&entry)).await {
            Ok(body) => {
                if self.transfer(body, question.begin(), connection).await? && whole {
                    let Shared { events, listener, .. } = &*self.shared;
                    let (message, octets) = (entry.id, entry.octets);
                    events.emit(MessageFetched { listener, session: self.session, message, account: &opened.account, octets });
                }
            }
            Err(error) => {
                self.store_failed("read", &error);
                question.unavailable();
            }
        }
        Ok(())
    }

    /// Sends a message; whether all of it could be read.
    async fn transfer(&self, mut body: Box<dyn Body>, mut transfer: Transfer<'_>, connection: &mut Connection) -> Result<bool, SessionEnd> {
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let more = match self.seat.during(Phase::Store, net::now, body.next(&mut piece)).await {
                Ok(more) => more,
                Err(error) => {
                    self.store_failed("read", &error);
                    transfer.fail();
                    return Ok(false);
                }
            };
            match transfer.write(&piece) {
                Progress::More => {}
                Progress::Flush => self.write(transfer.output(), connection).await?,
                Progress::Enough => break,
            }
            if !more {
                break;
            }
        }
        let whole = transfer.finish();
        if let Err(error) = &whole {
            self.shared.events.emit(StoreFailed { operation: "read", cause: error, now: net::now() });
        }
        Ok(whole.is_ok())
    }

    async fn update(&mut self, question: Update<'_>) {
        let Some(Opened { account, maildrop }) = self.opened.take() else { return };
        let Some(hold) = self.shared.drain.hold() else { return question.failed() };
        self.hold = Some(hold);
        let listing = Arc::clone(maildrop.listing());
        let deleted: Vec<Entry> = question.deleted().filter_map(|(index, _)| listing.get(index).copied()).collect();
        let messages = deleted.len();
        let (Shared { events, listener, .. }, session) = (&*self.shared, self.session);
        match self.seat.during(Phase::Store, net::now, maildrop.update(deleted)).await {
            Ok(()) => {
                events.emit(MessagesDeleted { listener, session, account: &account, messages });
                question.done();
            }
            Err(error) => {
                match error {
                    Error::InUse => events.emit(MaildropTakenOver { listener, session, account: &account }),
                    _ => self.store_failed("update", &error),
                }
                question.failed();
            }
        }
    }

    /// Whom the rates count for.
    fn sender<'s>(&self, account: Option<&'s str>) -> Sender<'s> {
        let source = (!self.shared.gate.is_exempt(self.source)).then(|| self.source.into());
        Sender { source, account, domain: None }
    }

    /// Whether the user may have one more session, now that the password was right.
    fn may_enter(&mut self, account: &Arc<str>) -> Result<(), (AuthRefusal, Token)> {
        if let Some(token) = self.failed_too_often(Some(account)) {
            return Err((AuthRefusal::Temporary, token));
        }
        let entered = self.shared.log_in(&self.seat, self.session, self.source, account);
        entered.map_err(|full| (AuthRefusal::TooManySessions { limit: full.limit }, self.deny(Some(account), full)))
    }

    /// Where the rate of failed commands leaves no room for one more, the operator is told, and what the client is told is explained by
    /// the token. The source is asked before the password is looked at, the account behind it: nobody is asked twice.
    fn failed_too_often(&mut self, account: Option<&Arc<str>>) -> Option<Token> {
        let (now, named) = (net::now(), account.map(|account| &**account));
        let limits = Limits::in_scope(if named.is_some() { Scope::Account } else { Scope::Source });
        let met = self.shared.rates.look(Measure::FailedCommands, &self.sender(named), limits, now).err()?;
        let (Shared { events, listener, .. }, session, source) = (&*self.shared, self.session, self.source);
        events.emit(RateMet { listener, session, source, account: named, limit: met.limit.path(), wait: met.wait, now });
        self.rate_met = true;
        Some(self.deny(account, met))
    }

    fn store_failed(&self, operation: &'static str, error: &Error) {
        let events = &self.shared.events;
        match error {
            Error::Damaged { id, cause } => events.emit(MessageDamaged { message: *id, cause }),
            _ => events.emit(StoreFailed { operation, cause: error, now: net::now() }),
        }
    }
}

/// The tarpit, where there is one and it has a place. Boxed: it is rare.
fn hold_back(shared: &Shared) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    Box::pin(async {
        let Some((_place, time)) = shared.rates.hold_back() else { return };
        // The drain does not wait for it.
        let _left = net::clock::within(net::now() + time, shared.drain.wait()).await;
    })
}

/// The store's listing as the machine reads it.
struct Listing(Arc<[Entry]>);

impl pop3::Maildrop for Listing {
    fn messages(&self) -> usize {
        self.0.len()
    }

    fn entry(&self, index: usize) -> Option<pop3::Entry> {
        self.0.get(index).map(|entry| pop3::Entry { id: entry.id, octets: entry.octets })
    }
}
