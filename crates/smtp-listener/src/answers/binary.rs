//! Messages that were declared BINARYMIME (RFC 3030 §3), made of lines before anybody else sees them.
//!
//! The store, and with it whoever fetches the message, whoever screens it and whoever it may be sent on to, know messages made of lines
//! alone. What holds octets of any kind is converted as it comes, a little at a time, so that memory is bounded; [`mail::binary`] says how.
//! May be dropped at any time, as [`Answers::answer`] may.

use events::About;
use mail::binary::{Fault, LINES_OCTETS, PIECE_OCTETS};
use smtp::Reply;

use super::Answers;
use crate::transaction::Transaction;

impl Answers {
    /// Takes a piece of the message as it comes.
    pub(super) async fn convert(&mut self, text: &[u8]) -> Result<(), store::Error> {
        for piece in text.chunks(PIECE_OCTETS) {
            let Some(message) = self.transaction.as_mut().and_then(|transaction| transaction.message.as_mut()) else { break };
            let mut lines = Vec::with_capacity(LINES_OCTETS);
            if let Some(conversion) = &mut message.conversion {
                conversion.convert(piece, &mut lines);
            }
            self.keep(&lines).await?;
        }
        Ok(())
    }

    /// The message has come.
    ///
    /// # Errors
    /// The reply, where it cannot be made of lines, or the store has not taken the last of them; the transaction is over then.
    pub(super) async fn end_conversion(&mut self, helo: Option<&str>) -> Result<(), Reply> {
        let message = self.transaction.as_mut().and_then(|transaction| transaction.message.as_mut());
        let Some(conversion) = message.and_then(|message| message.conversion.take()) else { return Ok(()) };
        let mut lines = Vec::new();
        if let Err(fault) = conversion.finish(&mut lines) {
            let (transaction, reply) = (self.transaction.take(), reply(fault));
            let about = transaction.as_deref().map(Transaction::about).unwrap_or_default();
            self.refused(reply, About { helo, ..about }, &fault);
            return Err(reply);
        }
        self.keep(&lines).await.map_err(|error| self.transaction_failed("write", &error, helo))
    }
}

fn reply(fault: Fault) -> Reply {
    match fault {
        Fault::Bare => Reply::BARE_CR_OR_LF,
        Fault::Field | Fault::Ambiguous | Fault::Depth => Reply::NOT_CONVERTED,
    }
}
