//! What the session says, and its last words.

use std::fmt::Display;

use super::{Session, Stage};
use crate::{Blanks, Reply, Role};

impl Session {
    /// Gives a reply; a 421 is the last one.
    pub(super) fn say(&mut self, reply: Reply) {
        self.say_with(reply, None);
    }

    pub(super) fn say_with(&mut self, reply: Reply, detail: Option<&dyn Display>) {
        let blanks = Blanks { host: self.settings.host.as_str(), peer: Some(self.circumstance.peer), detail };
        reply.render(&blanks, &mut self.output);
        if reply.closes() {
            self.close(reply);
        }
    }

    /// Gives the last reply, unless it has been given or the handshake's turn has come.
    pub(super) fn end(&mut self, farewell: Reply) {
        if !self.is_leaving() {
            self.say_and_close(farewell);
        }
    }

    /// Gives the reply to a whole message so often; a farewell is said once.
    pub(super) fn say_of_message(&mut self, reply: Reply, detail: Option<&dyn Display>, replies: u32) {
        for _ in 0..if reply.closes() { 1 } else { replies } {
            self.say_with(reply, detail);
        }
    }

    /// How many replies the message of this transaction has: one, or by LMTP one for each recipient, in the order of RCPT (RFC 2033 §4.2). They are alike,
    /// because the store takes a message for all of them or for none.
    pub(super) fn replies(&self) -> u32 {
        let recipients = self.transaction.as_ref().map_or(0, |transaction| transaction.recipients);
        if self.settings.role == Role::Lmtp { recipients.max(1) } else { 1 }
    }

    /// Gives the last reply.
    pub(super) fn say_and_close(&mut self, reply: Reply) {
        self.say(reply);
        self.close(reply);
    }

    pub(super) fn close(&mut self, farewell: Reply) {
        self.stage = Stage::Close(farewell.row());
        self.transaction = None;
    }
}
