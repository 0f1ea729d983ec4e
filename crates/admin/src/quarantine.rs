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
    let (decision, id, user) = match request {
        QuarantineRequest::List { user } => {
            let held = quarantine.held(user.as_deref().map(mail::canonical).as_deref()).await;
            return held.map_or_else(|error| refused(error.to_string()), |held| Reply::Quarantined(held.into_iter().map(told).collect()));
        }
        QuarantineRequest::Release { id, user } => (Decision::Release, id, user),
        QuarantineRequest::Remove { id, user } => (Decision::Remove, id, user),
    };
    let Ok(message) = id.parse::<MessageId>() else {
        return refused(format!("{id:?} is no message's id: `gatepost quarantine list` shows them"));
    };
    match quarantine.decide(message, user.as_deref().map(mail::canonical).as_deref(), decision).await {
        Ok(0) => {
            let whose = user.map(|user| format!(" in the mailbox of {user}")).unwrap_or_default();
            refused(format!("no message {id} is held{whose}: `gatepost quarantine list` shows what is"))
        }
        Ok(_) => Reply::Done,
        Err(error) => refused(error.to_string()),
    }
}

impl Admin {
    /// Does what is asked, and tells of it.
    pub(crate) async fn decide(&self, request: QuarantineRequest) -> Reply {
        let reply = quarantine(&*self.quarantine, request.clone()).await;
        let (change, message, user) = match &request {
            QuarantineRequest::Release { id, user } => ("message released", id, user),
            QuarantineRequest::Remove { id, user } => ("message removed", id, user),
            QuarantineRequest::List { .. } => return reply,
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
