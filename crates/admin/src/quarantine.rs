//! Messages that are held, shown, released and removed.

use std::time::SystemTime;

use events::QuarantineChanged;
use jiff::Timestamp;
use mail::MessageId;
use store::{Decision, HeldMessage, Hold, Quarantine};

use crate::Admin;
use crate::wire::{QuarantineRequest, Quarantined, Reply};

/// Does what is asked of `quarantine`: of the running server's store, or of a stopped server's that was opened for it.
///
/// A refusal is a [`Reply::Refused`] with the reason and what to do. Dropping the future leaves open whether it was done.
pub async fn quarantine(quarantine: &dyn Quarantine, request: QuarantineRequest) -> Reply {
    match request {
        QuarantineRequest::List { user } => {
            let held = quarantine.held(user.as_deref().map(mail::canonical).as_deref()).await;
            held.map_or_else(|error| refused(error.to_string()), |held| Reply::Quarantined(held.into_iter().map(told).collect()))
        }
        QuarantineRequest::Show { id, from } => show(quarantine, &id, from).await.unwrap_or_else(refused),
        QuarantineRequest::Release { id, user } => decide(quarantine, &id, user, Decision::Release).await.unwrap_or_else(refused),
        QuarantineRequest::Remove { id, user } => decide(quarantine, &id, user, Decision::Remove).await.unwrap_or_else(refused),
    }
}

async fn show(quarantine: &dyn Quarantine, id: &str, from: u64) -> Result<Reply, String> {
    let text = quarantine.text(message(id)?, from).await.map_err(|error| error.to_string())?;
    text.map(Reply::Text).ok_or_else(|| nothing(id, ""))
}

async fn decide(quarantine: &dyn Quarantine, id: &str, user: Option<String>, decision: Decision) -> Result<Reply, String> {
    let decided = quarantine.decide(message(id)?, user.as_deref().map(mail::canonical).as_deref(), decision).await;
    match decided.map_err(|error| error.to_string())? {
        0 => Err(nothing(id, &user.map(|user| format!(" in the mailbox of {user}")).unwrap_or_default())),
        _ => Ok(Reply::Done),
    }
}

fn message(id: &str) -> Result<MessageId, String> {
    id.parse().map_err(|_| format!("{id:?} is no message's id: `gatepost quarantine list` shows them"))
}

fn nothing(id: &str, whose: &str) -> String {
    format!("no message {id} is held{whose}: `gatepost quarantine list` shows what is")
}

impl Admin {
    /// Does what is asked, and tells of it.
    pub(crate) async fn decide(&self, request: QuarantineRequest) -> Reply {
        let reply = quarantine(&*self.quarantine, request.clone()).await;
        let (change, message, user) = match &request {
            QuarantineRequest::Release { id, user } => ("message released", id, user),
            QuarantineRequest::Remove { id, user } => ("message removed", id, user),
            QuarantineRequest::List { .. } | QuarantineRequest::Show { .. } => return reply,
        };
        if reply == Reply::Done {
            self.events.emit(QuarantineChanged { change, message, user: user.as_deref() });
        }
        reply
    }
}

fn told(held: HeldMessage) -> Quarantined {
    let HeldMessage { id, account, received, sender, octets, hold: Hold { reason, until } } = held;
    Quarantined {
        id: id.to_string(),
        user: account.as_ref().into(),
        received: written(received),
        sender: sender.trim_start_matches('<').trim_end_matches('>').to_owned(),
        octets,
        reason,
        until: until.map(written),
    }
}

/// RFC 3339, to the second.
fn written(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).ok().and_then(|time| Timestamp::from_second(time.as_second()).ok());
    time.unwrap_or(Timestamp::MAX).to_string()
}

fn refused(why: String) -> Reply {
    Reply::Refused(vec![why])
}
