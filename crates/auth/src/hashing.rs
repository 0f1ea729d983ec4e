//! Argon2id, off the async threads and a few at a time.
//!
//! A wrong password is compared at every cost in use, once each: the stored hash's own, where the name is known, and all others with a hash
//! of nobody's. So its time tells neither whether the name is known nor what its hash was made with
//! (`docs/adr/0005-every-wrong-password-costs-the-same.md`). A right one costs its own hash, and a new one where that was not made
//! as hashes are made now; whoever logs in does not wait for it. Nor for a verifier of SCRAM, made of a right password that has none yet. Nor does
//! whoever else is compared wait until the store has what was made: a place to compute in is free by then. So many wait for the store and no
//! more ([`KEEPING`]); while they do nothing else is made anew, and the next login tries again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use mail::Secret;
use store::cost;
use tokio::sync::{Semaphore, oneshot};

use crate::scram::{Salt, Verifier, salt_of};
use crate::{Error, Settings};

/// The hash to keep for this password, as a PHC string with a salt of its own. Takes a processor for some ten milliseconds: in async code
/// call it with `spawn_blocking`.
///
/// # Errors
/// [`Error::Settings`], or that the system has no random numbers or no memory.
pub fn hash_password(password: &Secret, settings: &Settings) -> Result<String, Error> {
    hash(password, params(settings)?)
}

/// What a SCRAM verifier of this account is salted with, by the directory's [secret](store::Book::secret).
pub fn scram_salt(account: &str, secret: &[u8; 32]) -> [u8; 16] {
    salt_of(&mail::canonical(account), secret)
}

/// The SCRAM verifier to keep for this password beside its hash, with the [`scram_salt`] of its account. Of a password that SCRAM cannot say
/// (RFC 4013) it is one that no proof holds for. As dear as [`hash_password`].
pub fn scram_verifier(password: &Secret, salt: &[u8; 16]) -> String {
    Verifier::of(password, salt).to_string()
}

/// Compares passwords with hashes.
#[derive(Debug)]
pub(crate) struct Hashing {
    pub(crate) places: Arc<Semaphore>,
    /// To hand to the store what was made.
    pub(crate) keeping: Arc<Semaphore>,
    waiting: AtomicU32,
    waiting_most: u32,
    params: Params,
    work: Arc<Work>,
}

/// What was computed so far.
#[derive(Debug, Default)]
pub(crate) struct Work {
    computed: AtomicU64,
    renewed: AtomicU64,
    /// Each hash's cost, in order.
    #[cfg(test)]
    pub(crate) costs: std::sync::Mutex<Vec<String>>,
}

/// A password, and what it is to be compared with.
pub(crate) struct Comparison {
    pub(crate) password: Secret,
    /// The account's hash; none of an unknown name.
    pub(crate) stored: Option<Arc<str>>,
    /// What stored hashes cost.
    pub(crate) costs: Vec<Arc<str>>,
    /// Where the account has no SCRAM verifier and is to have one: its salt.
    pub(crate) unverified: Option<Salt>,
}

/// What is to be kept of a password that was right, where it is not yet.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    pub(crate) password_hash: Option<String>,
    pub(crate) verifier: Option<String>,
}

/// What a comparison came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    Same,
    Different,
    /// Too many are waiting; nothing was computed.
    Busy,
    /// The hash is none.
    Unusable(String),
}

impl Hashing {
    /// # Errors
    /// [`Error::Settings`].
    pub(crate) fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            places: Arc::new(Semaphore::new(settings.concurrent_hashes.get() as usize)),
            keeping: Arc::new(Semaphore::new(KEEPING)),
            waiting: AtomicU32::new(0),
            waiting_most: settings.waiting_hashes,
            params: params(settings)?,
            work: Arc::default(),
        })
    }

    /// Hashes computed.
    pub(crate) fn computed(&self) -> u64 {
        self.work.computed.load(Relaxed)
    }

    /// Those of them that were made to be stored in place of older ones.
    pub(crate) fn renewed(&self) -> u64 {
        self.work.renewed.load(Relaxed)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn take_costs(&self) -> Vec<String> {
        std::mem::take(&mut *self.work.costs.lock().unwrap())
    }

    /// Waits for a place and computes. Where the password is right and its hash was made otherwise than hashes are made now, or it has no
    /// verifier, what is missing is computed in the same place after this has answered, and `renew` called with it, which may wait and has no place.
    ///
    /// Cancel-safe; what is being computed is computed to its end and keeps its place until then.
    pub(crate) async fn compare(&self, comparison: Comparison, renew: impl FnOnce(Anew) + Send + 'static) -> Result<Compared, Error> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let Some(_waiting) = Waiting::enter(&self.waiting, self.waiting_most) else { return Ok(Compared::Busy) };
                let place = Arc::clone(&self.places).acquire_owned().await;
                place.map_err(|closed| Error::Hashing(closed.to_string()))?
            }
        };
        let (answer, answered) = oneshot::channel();
        let (work, params, keeping) = (Arc::clone(&self.work), self.params.clone(), Arc::clone(&self.keeping));
        tokio::task::spawn_blocking(move || {
            let now = cost_of(&params);
            let compared = work.compare(&comparison, &now);
            let same = compared == Compared::Same;
            let outdated = same && comparison.stored.as_deref().and_then(cost) != Some(&now);
            let unverified = comparison.unverified.as_ref().filter(|_| same);
            let lacks = outdated || unverified.is_some();
            let place = lacks.then_some(place);
            // Whoever asked may have gone; the password was right all the same.
            let _gone = answer.send(compared);
            let Some(_keeping) = lacks.then(|| keeping.try_acquire_owned().ok()).flatten() else { return };
            let password = &comparison.password;
            let anew = Anew {
                verifier: unverified.map(|salt| scram_verifier(password, salt)),
                password_hash: outdated.then(|| work.renew(password, params)).flatten(),
            };
            drop(place);
            if anew.verifier.is_some() || anew.password_hash.is_some() {
                renew(anew);
            }
        });
        answered.await.map_err(|_| Error::Hashing("its thread has ended".into()))
    }
}

impl Work {
    /// With what the hash was made with, not today's; a wrong password at every other cost in use, too.
    fn compare(&self, Comparison { password, stored, costs, .. }: &Comparison, now: &str) -> Compared {
        let own = stored.as_deref().map_or(Compared::Different, |hash| self.compare_with(password, hash));
        if own == Compared::Different {
            let mut others: BTreeSet<&str> = costs.iter().map(|cost| &**cost).chain([now]).collect();
            others.remove(stored.as_deref().and_then(cost).unwrap_or_default());
            for cost in others {
                std::hint::black_box(self.compare_with(password, &format!("{cost}${NOBODYS}")));
            }
        }
        own
    }

    fn compare_with(&self, password: &Secret, hash: &str) -> Compared {
        let parsed = match PasswordHash::new(hash) {
            Ok(parsed) => parsed,
            Err(error) => return Compared::Unusable(error.to_string()),
        };
        self.count(hash);
        match Argon2::default().verify_password(password.expose(), &parsed) {
            Ok(()) => Compared::Same,
            Err(password_hash::Error::PasswordInvalid) => Compared::Different,
            Err(error) => Compared::Unusable(error.to_string()),
        }
    }

    /// Without random numbers or memory there is none; the next login tries again.
    fn renew(&self, password: &Secret, params: Params) -> Option<String> {
        let hash = hash(password, params).ok()?;
        self.count(&hash);
        self.renewed.fetch_add(1, Relaxed);
        Some(hash)
    }

    fn count(&self, _hash: &str) {
        self.computed.fetch_add(1, Relaxed);
        #[cfg(test)]
        self.costs.lock().unwrap().push(cost(_hash).unwrap().to_owned());
    }
}

fn params(settings: &Settings) -> Result<Params, Error> {
    settings.params().map_err(|_| Error::Settings(settings.validate()))
}

fn hash(password: &Secret, params: Params) -> Result<String, Error> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.expose()).map_err(|error| Error::Hashing(error.to_string()))?;
    Ok(hash.to_string())
}

/// As it stands in front of the salt in what [`hash`] makes.
fn cost_of(params: &Params) -> String {
    format!("$argon2id$v=19$m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost())
}

/// One more waits, for as long as this lives.
struct Waiting<'w>(&'w AtomicU32);

impl<'w> Waiting<'w> {
    fn enter(count: &'w AtomicU32, most: u32) -> Option<Self> {
        count.fetch_update(Relaxed, Relaxed, |waiting| (waiting < most).then_some(waiting + 1)).ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Each is a thread that may wait. A store that commits in groups takes as many at once.
pub(crate) const KEEPING: usize = 32;

/// Salt and hash of nobody, as long as real ones.
const NOBODYS: &str = "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    use super::*;
    use mail::ByteSize;

    #[test]
    fn hashes_are_what_the_settings_say_and_salted() {
        let settings = Settings { hash_memory: ByteSize::kib(8), hash_passes: 3.try_into().unwrap(), ..Settings::default() };
        let one = hash_password(&Secret::new("hunter2"), &settings).unwrap();
        let two = hash_password(&Secret::new("hunter2"), &settings).unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=8,t=3,p=1$"), "{one}");
        assert_ne!(one, two);
        assert_eq!(cost(&one), Some(&*cost_of(&settings.params().unwrap())));
        let compare = |password, hash| Work::default().compare_with(&Secret::new(password), hash);
        assert_eq!(compare("hunter2", &one), Compared::Same);
        assert_eq!(compare("hunter3", &one), Compared::Different);
        assert!(matches!(compare("hunter2", "plain"), Compared::Unusable(_)));
        let nobodys = format!("{}${NOBODYS}", cost_of(&settings.params().unwrap()));
        assert_eq!((compare("hunter2", &nobodys), nobodys.len()), (Compared::Different, one.len()));
    }
}
