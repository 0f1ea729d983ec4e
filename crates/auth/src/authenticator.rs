//! The question, and the order in which its answer is found.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use events::{Figure, Figures, Throttle};
use mail::{Secret, Span, canonical};
use store::{Account, Change, Directory};
use tokio::runtime::Handle;

use crate::failures::{Attempt, Failures};
use crate::hashing::{Anew, Compared, Comparison, Hashing};
use crate::oauth::Bearer;
use crate::recent::Recent;
use crate::seal::{Seal, Sealed};
use crate::{Error, Settings, scram};

/// Says who somebody is. Share it in an `Arc`.
pub struct Authenticator {
    directory: Arc<dyn Directory>,
    hashing: Hashing,
    limits: RwLock<Arc<Limits>>,
    /// Who says what a token is worth, where tokens are taken.
    bearer: RwLock<Option<Arc<Bearer>>>,
    seal: Seal,
    /// Account, stored hash, source and password that were right.
    right: Recent,
    /// Account and source that were right.
    familiar: Recent,
    remembered: AtomicU64,
}

/// What those who guess run into, and what else a reload may change.
pub(crate) struct Limits {
    accounts: Arc<Failures>,
    sources: Arc<Failures>,
    first_delay: Duration,
    longest_delay: Duration,
    /// Whether verifiers are kept.
    scram: bool,
}

/// An attempt that was let through and counted, before what is to prove it is looked at. Dropped, it stays counted.
pub(crate) struct Counted<'l> {
    limits: &'l Limits,
    by_source: Attempt<'l>,
    by_account: Attempt<'l>,
    familiar: Sealed,
}

/// Who somebody says they are, and the proof.
#[derive(Debug)]
pub struct Claim<'c> {
    /// The account's full address, without regard to case and to the spelling of its domain.
    pub login: &'c str,
    /// As whom they want to act, where they say so (RFC 4616 §2); empty is not said.
    pub acting_as: Option<&'c str>,
    /// The account's password.
    pub password: Secret,
    /// From where.
    pub source: IpAddr,
}

/// A claim, and what the directory says of it.
#[derive(Debug)]
pub struct LookedUp<'c> {
    claim: Claim<'c>,
    /// The name in one spelling.
    login: String,
    /// What hashes there are have cost.
    costs: Vec<Arc<str>>,
    account: Option<Account>,
    /// The directory's.
    secret: [u8; 32],
}

/// Who somebody is, or why that is not said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The owner of this account, by its name in the directory.
    Right {
        /// The account.
        account: Arc<str>,
    },
    /// Name or password is wrong, or not enough for what is claimed; which one is nobody's business. Answer after `delay`, doing nothing else on the connection.
    Wrong {
        /// How long to hold the answer back.
        delay: Duration,
    },
    /// The password was not looked at: a temporary refusal.
    Refused {
        /// Too many of what.
        throttle: Throttle,
        /// When an attempt will be looked at again, if nobody else makes one.
        retry_after: Duration,
    },
}

impl Authenticator {
    /// For the accounts of `directory`.
    ///
    /// # Errors
    /// [`Error::Settings`] with every fault.
    pub fn new(directory: Arc<dyn Directory>, settings: &Settings) -> Result<Self, Error> {
        let faults = settings.validate();
        if !faults.is_empty() {
            return Err(Error::Settings(faults));
        }
        Ok(Self {
            directory,
            hashing: Hashing::new(settings)?,
            limits: RwLock::new(Arc::new(Limits::new(settings))),
            bearer: RwLock::new(None),
            seal: Seal::new(),
            right: Recent::new(settings.remember.0),
            familiar: Recent::new(FAMILIAR),
            remembered: AtomicU64::new(0),
        })
    }

    /// Puts the limits on failures and the delays of `settings` in force. Failures of accounts or of sources are counted from nothing again
    /// where their own limit or recovery has changed, and only there. The other settings need a restart.
    ///
    /// # Errors
    /// [`Error::Settings`] with every fault; the limits in force stay.
    pub fn apply(&self, settings: &Settings) -> Result<(), Error> {
        let faults = settings.validate();
        if !faults.is_empty() {
            return Err(Error::Settings(faults));
        }
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        *limits = Arc::new(limits.changed_to(settings));
        Ok(())
    }

    /// Tokens are taken, and worth what `bearer` says of them, from now on; with none they are not.
    pub fn trust(&self, bearer: Option<Bearer>) {
        *self.bearer.write().unwrap_or_else(PoisonError::into_inner) = bearer.map(Arc::new);
    }

    /// What the directory says of the claim, for [`Authenticator::verify`]: the one part of an answer that waits for the store.
    ///
    /// Cancel-safe: nothing has happened yet.
    ///
    /// # Errors
    /// [`Error::Directory`]; the attempt does not count.
    pub async fn look_up<'c>(&self, claim: Claim<'c>) -> Result<LookedUp<'c>, Error> {
        let login = canonical(claim.login);
        // In this order: what the hash cost when it was the last of its kind is among them.
        let costs = self.directory.costs().await?;
        let account = self.directory.account(&login).await?;
        let secret = self.directory.secret().await?;
        Ok(LookedUp { claim, login, costs, account, secret })
    }

    /// Whether the claim is right. Nobody may act as somebody else, and no password is looked at for it.
    ///
    /// Cancel-safe: an attempt that is given up counts as a failure.
    ///
    /// # Errors
    /// See [`Error`]; the attempt does not count.
    pub async fn verify(&self, looked_up: LookedUp<'_>) -> Result<Verdict, Error> {
        let LookedUp { claim: Claim { acting_as, password, source, .. }, login, costs, account: known, secret } = looked_up;
        if acting_as.is_some_and(|other| !other.is_empty() && canonical(other) != login) {
            return Ok(Verdict::Wrong { delay: Duration::ZERO });
        }
        let source = prefix(source).to_string();
        let stored = known.as_ref().map(|account| Arc::clone(&account.password_hash));

        let limits = self.limits();
        let by_source = match limits.sources.attempt(&source) {
            Ok(attempt) => attempt,
            Err(retry_after) => return Ok(Verdict::Refused { throttle: Throttle::Source, retry_after }),
        };
        let sealed = self.seal.seal(&[
            b"right",
            login.as_bytes(),
            stored.as_deref().unwrap_or_default().as_bytes(),
            source.as_bytes(),
            password.expose(),
        ]);
        if let Some(account) = known.as_ref().filter(|_| self.right.contains(&sealed)) {
            by_source.forgive();
            self.remembered.fetch_add(1, Relaxed);
            return Ok(Verdict::Right { account: Arc::clone(&account.name) });
        }
        let (familiar, by_account) = match self.against_account(&limits, &login, &source) {
            Ok(counted) => counted,
            Err(retry_after) => {
                by_source.forgive();
                return Ok(Verdict::Refused { throttle: Throttle::Account, retry_after });
            }
        };
        let renew = known.as_ref().map(|account| self.renewal(account));
        let to_have_one = |account: &&Account| limits.scram && !scram::is_current(account.verifier.as_deref());
        let unverified = known.as_ref().filter(to_have_one).map(|account| scram::salt_of(&account.name, &secret));
        let comparison = Comparison { password, stored, costs, unverified };
        let renew = move |anew| renew.map_or((), |renew| renew(anew));
        let compared = match self.hashing.compare(comparison, renew).await {
            Ok(Compared::Unusable(cause)) => Err(Error::StoredHash { account: login, cause }),
            other => other,
        };
        match (compared, known) {
            (Ok(Compared::Same), Some(account)) => {
                by_source.forgive();
                by_account.forget();
                self.right.insert(sealed);
                self.familiar.insert(familiar);
                Ok(Verdict::Right { account: account.name })
            }
            (Ok(Compared::Busy), _) => {
                by_source.forgive();
                by_account.forgive();
                Ok(Verdict::Refused { throttle: Throttle::Busy, retry_after: BUSY })
            }
            (Ok(_), _) => Ok(Verdict::Wrong { delay: limits.delay(by_source.in_a_row().max(by_account.in_a_row())) }),
            (Err(error), _) => {
                by_source.forgive();
                by_account.forgive();
                Err(error)
            }
        }
    }

    /// What follows from a proof that was looked at already, at next to no cost: whose it is, or nobody's. It counts as any attempt
    /// does, and is worth nothing where there were too many.
    pub(crate) fn judge(&self, login: &str, source: IpAddr, proved: Option<Arc<str>>) -> Verdict {
        match (self.count(&self.limits(), login, source), proved) {
            (Err(refused), _) => refused,
            (Ok(counted), Some(account)) => self.prove(counted, account),
            (Ok(counted), None) => Verdict::Wrong { delay: counted.fail() },
        }
    }

    /// Counts an attempt of somebody who says to be `login`, or says nothing, before what proves it is looked at.
    ///
    /// # Errors
    /// There were too many: [`Verdict::Refused`].
    pub(crate) fn count<'l>(&self, limits: &'l Limits, login: &str, source: IpAddr) -> Result<Counted<'l>, Verdict> {
        let source = prefix(source).to_string();
        let by_source = match limits.sources.attempt(&source) {
            Ok(attempt) => attempt,
            Err(retry_after) => return Err(Verdict::Refused { throttle: Throttle::Source, retry_after }),
        };
        match self.against_account(limits, login, &source) {
            Ok((familiar, by_account)) => Ok(Counted { limits, by_source, by_account, familiar }),
            Err(retry_after) => {
                by_source.forgive();
                Err(Verdict::Refused { throttle: Throttle::Account, retry_after })
            }
        }
    }

    /// What was counted has proved to be right.
    pub(crate) fn prove(&self, counted: Counted<'_>, account: Arc<str>) -> Verdict {
        counted.by_source.forgive();
        counted.by_account.forget();
        self.familiar.insert(counted.familiar);
        Verdict::Right { account }
    }

    pub(crate) fn bearer(&self) -> Option<Arc<Bearer>> {
        self.bearer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What follows where a certificate has said who somebody is, who has this account or none. There is nothing to guess of an account: the
    /// source alone is counted, and what others guess keeps nobody out.
    pub(crate) fn judge_vouched(&self, source: IpAddr, account: Option<Arc<str>>) -> Verdict {
        let (limits, source) = (self.limits(), prefix(source).to_string());
        match (limits.sources.attempt(&source), account) {
            (Err(retry_after), _) => Verdict::Refused { throttle: Throttle::Source, retry_after },
            (Ok(by_source), Some(account)) => {
                by_source.forgive();
                Verdict::Right { account }
            }
            (Ok(by_source), None) => Verdict::Wrong { delay: limits.delay(by_source.in_a_row()) },
        }
    }

    /// Whether SCRAM can be offered at present: everybody who has an account can prove themselves by it. A program that is offered it does not
    /// try another mechanism when it hears that the password is wrong, so one account without a verifier is one that cannot log in.
    /// It is so for all names or for none, and tells nobody who exists.
    pub async fn offers_scram(&self) -> bool {
        self.limits().scram && matches!(self.directory.unverified().await, Ok(0))
    }

    pub(crate) fn directory(&self) -> &dyn Directory {
        &*self.directory
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts an attempt against the account; a source from which it was used before, which the digest stands for, has a count of its own. So
    /// has every source that names nobody.
    fn against_account<'l>(&self, limits: &'l Limits, login: &str, source: &String) -> Result<(Sealed, Attempt<'l>), Duration> {
        let familiar = self.seal.seal(&[b"familiar", login.as_bytes(), source.as_bytes()]);
        let of_their_own = (login.is_empty() || self.familiar.contains(&familiar)).then_some(source);
        limits.accounts.attempt((login, of_their_own)).map(|attempt| (familiar, attempt))
    }

    /// What keeps what was made anew for `account`, on a thread that may wait. Where the store cannot, what it has is as good, and the next
    /// login tries again; where the password has been changed meanwhile, that stays.
    fn renewal(&self, account: &Account) -> impl FnOnce(Anew) + Send + 'static {
        let (directory, runtime) = (Arc::clone(&self.directory), Handle::current());
        let (name, stored) = (account.name.to_string(), account.password_hash.to_string());
        move |Anew { password_hash, verifier }| {
            let keep = |change| drop(runtime.block_on(directory.change(change)));
            // The verifier first: it goes by the hash that is stored.
            if let Some(verifier) = verifier {
                keep(Change::PutVerifier { name: name.clone(), stored: stored.clone(), verifier });
            }
            if let Some(password_hash) = password_hash {
                keep(Change::RenewHash { name, stored, password_hash });
            }
        }
    }

    /// States its figures.
    pub fn report(&self, figures: &mut Figures) {
        figures.set(Figure::AuthHashes, self.hashing.computed());
        figures.set(Figure::AuthRenewed, self.hashing.renewed());
        figures.set(Figure::AuthRemembered, self.remembered.load(Relaxed));
        figures.set(Figure::AuthWaiting, self.hashing.waiting().into());
    }
}

impl Limits {
    fn new(settings: &Settings) -> Self {
        Self {
            accounts: Arc::new(Failures::new(settings.failures_per_account, settings.account_recovery.0)),
            sources: Arc::new(Failures::new(settings.failures_per_source, settings.source_recovery.0)),
            first_delay: settings.first_delay.0,
            longest_delay: settings.longest_delay.0,
            scram: settings.scram,
        }
    }

    /// Keeps the counts that the change leaves their meaning: a reload for another reason must not let guessers begin anew.
    fn changed_to(&self, settings: &Settings) -> Self {
        let kept = |failures: &Arc<Failures>, most, recovery: Span| {
            if failures.counts_by(most, recovery.0) { Arc::clone(failures) } else { Arc::new(Failures::new(most, recovery.0)) }
        };
        Self {
            accounts: kept(&self.accounts, settings.failures_per_account, settings.account_recovery),
            sources: kept(&self.sources, settings.failures_per_source, settings.source_recovery),
            first_delay: settings.first_delay.0,
            longest_delay: settings.longest_delay.0,
            scram: settings.scram,
        }
    }

    /// Doubles with each failure in a row, of the account or the source, whichever has more.
    fn delay(&self, in_a_row: u32) -> Duration {
        let doublings = in_a_row.saturating_sub(1).min(31);
        self.first_delay.saturating_mul(1 << doublings).min(self.longest_delay)
    }
}

impl Counted<'_> {
    /// It was not right: how long to hold the answer back.
    pub(crate) fn fail(self) -> Duration {
        self.limits.delay(self.by_source.in_a_row().max(self.by_account.in_a_row()))
    }

    /// It could not be looked at, through no fault of the client's.
    pub(crate) fn forgive(self) {
        self.by_source.forgive();
        self.by_account.forgive();
    }
}

/// What one client can be taken to hold: an IPv4 address, an IPv6 /64.
fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// A day: whoever reads their mail at all comes back from the same places within it.
const FAMILIAR: Duration = Duration::from_secs(24 * 60 * 60);

/// About as long as a full queue takes.
const BUSY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
