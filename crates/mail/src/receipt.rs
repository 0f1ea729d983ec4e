//! The proof that a message is safe.
//!
//! A final 250 promises that the message will not be lost (RFC 5321 §4.2.5). That reply can be written only from a [`Receipt`],
//! and only a store that has put message and envelope on stable storage may make one: `Receipt::attest` is on the list of
//! disallowed methods in `clippy.toml`, and each store's single call carries its reason.

use crate::MessageId;

/// Proof that the message named by [`Receipt::id`] and its envelope are on stable storage.
///
/// Neither `Clone` nor `Copy`: one commit, one receipt, one 250.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a receipt that is dropped leaves a stored message without its 250"]
pub struct Receipt {
    id: MessageId,
}

impl Receipt {
    /// States that message and envelope are on stable storage. For stores alone, after their durable commit.
    pub fn attest(id: MessageId) -> Self {
        Self { id }
    }

    /// The message this is the receipt of.
    pub fn id(&self) -> MessageId {
        self.id
    }
}
