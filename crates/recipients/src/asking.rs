//! Questions put to somebody: few at once, each within its time, and none that was answered lately.
//!
//! Fails as the question does, or with the time that has passed. Dropping a future drops its question.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::memory::{Answer, Memory};
use crate::{Error, Remembering, lock};

/// Who is asked, and what was answered.
#[derive(Debug)]
pub(crate) struct Asking<W, A> {
    whom: Arc<W>,
    pub(crate) places: Arc<Semaphore>,
    found: Mutex<Memory<A>>,
    unknown: Mutex<Memory<A>>,
}

impl<W, A: Answer> Asking<W, A> {
    pub(crate) fn new(whom: W, remembering: &Remembering) -> Self {
        let memory = |time| Mutex::new(Memory::new(time, remembering.addresses));
        let (found, unknown) = (memory(remembering.found), memory(remembering.unknown));
        Self { whom: Arc::new(whom), places: Arc::new(Semaphore::new(AT_ONCE)), found, unknown }
    }

    pub(crate) fn whom(&self) -> &Arc<W> {
        &self.whom
    }

    /// What was answered lately, else what is answered now. The question keeps its place until it is done with it, wherever it does that.
    pub(crate) async fn answer<F: Future<Output = Result<A, Error>>>(
        &self,
        address: &str,
        timeout: Duration,
        whom: impl Fn() -> String,
        ask: impl FnOnce(OwnedSemaphorePermit) -> F,
    ) -> Result<A, Error> {
        let now = Instant::now().into_std();
        let remembered = lock(&self.found).recall(address, now).or_else(|| lock(&self.unknown).recall(address, now));
        if let Some(answer) = remembered {
            return Ok(answer);
        }
        let asked = async {
            let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| Error::GivenUp)?;
            ask(place).await
        };
        let answer = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(Error::TimedOut(whom(), timeout)))?;
        let memory = if answer.is_found() { &self.found } else { &self.unknown };
        lock(memory).keep(address, answer.clone(), Instant::now().into_std());
        Ok(answer)
    }
}

/// Questions under way at once, of a database as of a server; others wait without a thread or a connection.
pub const AT_ONCE: usize = 4;
/// Octets that a question may take: what SQLite keeps of a file, its thread, and the accounts that it gives.
pub const QUESTION_OCTETS: u64 = 4 << 20;
