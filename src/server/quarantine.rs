//! The end of what nobody has decided about: messages in quarantine that are older than `screening.quarantine_keep`.
//!
//! A step deletes a bounded number of them, and the store does other things between two. What cannot be deleted stays, and is tried again. Dropping
//! [`keep`] leaves a step that is under way to the store.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use events::{Events, QuarantineExpired, StoreFailed};
use mail::Span;
use store::Quarantine;

use super::reload::Reloader;

/// Looks every few seconds, for as long as the server runs.
pub(crate) async fn keep(quarantine: Arc<dyn Quarantine>, reloader: Arc<Reloader>, events: Events) {
    loop {
        net::clock::pause(EVERY).await;
        expire(&*quarantine, reloader.quarantine_keep(), SystemTime::now(), &events).await;
    }
}

/// Deletes what has been held for longer than `keep`, which is for ever where it is zero.
async fn expire(quarantine: &dyn Quarantine, keep: Span, now: SystemTime, events: &Events) {
    let Some(before) = now.checked_sub(keep.0).filter(|_| !keep.0.is_zero()) else { return };
    loop {
        match quarantine.expire(before, STEP).await {
            Ok(expired) if expired.messages == 0 => return,
            Ok(expired) => events.emit(QuarantineExpired { messages: expired.messages, octets: expired.octets, keep: &keep }),
            Err(error) => return events.emit(StoreFailed { operation: "expire", cause: &error, now: net::now() }),
        }
    }
}

const EVERY: Duration = Duration::from_secs(5);
/// Marks that go to the log together.
const STEP: usize = 500;
