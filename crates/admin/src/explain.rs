//! A refusal explained: what the gate wrote down about it, in the operator's words.

use std::time::Duration;

use gate::{Explanation, Unexplained};
use jiff::{SignedDuration, Timestamp};

use crate::Admin;
use crate::wire::{Explained, Holder};

impl Admin {
    /// Why the connection, or what a session asked for, was refused with this token.
    ///
    /// # Errors
    /// That the token says nothing to this server, and why.
    pub fn explain(&self, token: &str) -> Result<Explained, Unexplained> {
        let Explanation { token, cause, source, account, listener, at, usage, share, holders } = self.gate.explain(token)?;
        let (meaning, ago) = (cause.meaning(), at.elapsed());
        Ok(Explained {
            token: token.to_string(),
            rule: cause.id().to_owned(),
            meaning: meaning.words.to_owned(),
            cause: cause.to_string(),
            at: before(ago),
            seconds_ago: ago.as_secs(),
            source,
            account: account.as_deref().map(ToOwned::to_owned),
            listener: self.listening.get(usize::from(listener.0)).cloned(),
            key: cause.key().map(|key| self.control.setting(key)),
            in_use: usage.in_use,
            limit: usage.limit,
            share: share.into_iter().map(Holder::from).collect(),
            holders: holders.iter().copied().map(Holder::from).collect(),
            remedy: meaning.remedy.to_owned(),
        })
    }
}

/// The time so long ago, to the second, RFC 3339.
pub(crate) fn before(ago: Duration) -> String {
    let then = SignedDuration::try_from(ago).ok().and_then(|ago| Timestamp::now().checked_sub(ago).ok()).unwrap_or_default();
    Timestamp::from_second(then.as_second()).unwrap_or_default().to_string()
}
