//! Argon2id, off the async threads and a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Version};
use mail::Secret;
use tokio::sync::Semaphore;

use crate::{Error, Settings};

/// The hash to keep for this password, as a PHC string with a salt of its own. Takes a processor for some ten milliseconds: in async code
/// call it with `spawn_blocking`.
///
/// # Errors
/// [`Error::Settings`], or that the system has no random numbers or no memory.
pub fn hash_password(password: &Secret, settings: &Settings) -> Result<String, Error> {
    let params = settings.params().map_err(|_| Error::Settings(settings.validate()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.expose()).map_err(|error| Error::Hashing(error.to_string()))?;
    Ok(hash.to_string())
}

/// Compares passwords with hashes.
#[derive(Debug)]
pub(crate) struct Hashing {
    pub(crate) places: Arc<Semaphore>,
    waiting: AtomicU32,
    waiting_most: u32,
    computed: AtomicU64,
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
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.concurrent_hashes.get() as usize)),
            waiting: AtomicU32::new(0),
            waiting_most: settings.waiting_hashes,
            computed: AtomicU64::new(0),
        }
    }

    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Relaxed)
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Waits for a place and computes. Cancel-safe; what is being computed is computed to its end and keeps its place until then.
    pub(crate) async fn compare(&self, password: Secret, hash: Arc<str>) -> Result<Compared, Error> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let Some(_waiting) = Waiting::enter(&self.waiting, self.waiting_most) else { return Ok(Compared::Busy) };
                let place = Arc::clone(&self.places).acquire_owned().await;
                place.map_err(|closed| Error::Hashing(closed.to_string()))?
            }
        };
        self.computed.fetch_add(1, Relaxed);
        let comparing = tokio::task::spawn_blocking(move || {
            let compared = compare(&password, &hash);
            drop(place);
            compared
        });
        comparing.await.map_err(|error| Error::Hashing(error.to_string()))
    }
}

/// With the parameters the hash was made with, not today's.
fn compare(password: &Secret, hash: &str) -> Compared {
    let parsed = match PasswordHash::new(hash) {
        Ok(parsed) => parsed,
        Err(error) => return Compared::Unusable(error.to_string()),
    };
    match Argon2::default().verify_password(password.expose(), &parsed) {
        Ok(()) => Compared::Same,
        Err(password_hash::Error::PasswordInvalid) => Compared::Different,
        Err(error) => Compared::Unusable(error.to_string()),
    }
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
        assert_eq!(compare(&Secret::new("hunter2"), &one), Compared::Same);
        assert_eq!(compare(&Secret::new("hunter3"), &one), Compared::Different);
        assert!(matches!(compare(&Secret::new("hunter2"), "plain"), Compared::Unusable(_)));
    }
}
