//! The octets of a message: the text after DATA, and the chunks of BDAT.
//!
//! Octets are shown where they lie in the input, so nothing is copied and nothing is held back. A message that is refused on its
//! way ends its transaction at once; what is left of it is read so that the peer sees the reply, up to a limit of patience.

use bytes::{Buf, BytesMut};

use super::{Ask, Session, Stage, Step};
use crate::Reply;
use crate::command::BdatSize;
use crate::limits::patience_bytes;

impl Session {
    /// Text after DATA, up to the line of one dot.
    pub(super) fn text(&mut self, input: &mut BytesMut) -> Step {
        let Stage::Text(text) = &mut self.stage else { return Step::Again };
        if input.is_empty() {
            return Step::Wait;
        }
        let decoded = text.decoder.decode(input);
        let (used, octets, end) = (decoded.used, decoded.text.len(), decoded.end);
        let at = decoded.text.first().and_then(|first| input.element_offset(first)).unwrap_or_default();
        let bare = text.decoder.bare();
        text.octets = text.octets.saturating_add(octets as u64);
        let (total, refusal, replies) = (text.octets, text.refusal, text.replies);
        self.clock.receive(used);
        let step = match refusal {
            _ if end => self.text_ended(refusal, replies),
            Some(reply) if total > patience_bytes(self.settings.message_bytes) => {
                self.say_and_close(reply);
                Step::Again
            }
            None if bare => self.refuse_text(Reply::BARE_CR_OR_LF),
            None if total > self.settings.message_bytes => self.refuse_text(Reply::MESSAGE_TOO_LARGE),
            None if octets > 0 => {
                self.shown_bytes = used;
                return Step::Ask(Ask::Chunk { at, octets });
            }
            _ => Step::Again,
        };
        input.advance(used);
        step
    }

    fn refuse_text(&mut self, reply: Reply) -> Step {
        self.chunk_refused(reply);
        Step::Refused { reply, reverse_path: None }
    }

    fn text_ended(&mut self, refusal: Option<Reply>, replies: u32) -> Step {
        self.stage = Stage::Command;
        self.clock.restart();
        match refusal {
            Some(reply) => {
                self.say_of_message(reply, None, replies);
                Step::Again
            }
            None => Step::Ask(Ask::EndOfData),
        }
    }

    /// Octets of a chunk, as many as BDAT announced.
    pub(super) fn chunk(&mut self, input: &mut BytesMut) -> Step {
        let Stage::Chunk { size, left } = &mut self.stage else { return Step::Again };
        let binary = self.transaction.as_ref().is_some_and(|transaction| transaction.binary);
        let Some(chunks) = self.transaction.as_mut().and_then(|transaction| transaction.chunks.as_mut()) else {
            self.chunk_refused(Reply::MAIL_FIRST);
            return Step::Again;
        };
        if *left == 0 {
            let (size, bare) = (*size, chunks.bare.found());
            return self.chunk_ended(size, bare);
        }
        if input.is_empty() {
            return Step::Wait;
        }
        let octets = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= octets as u64;
        chunks.octets = chunks.octets.saturating_add(octets as u64);
        if !binary {
            chunks.bare.watch(input.get(..octets).unwrap_or_default());
        }
        self.clock.receive(octets);
        self.shown_bytes = octets;
        Step::Ask(Ask::Chunk { at: 0, octets })
    }

    /// A body that is not BINARYMIME is made of lines, in chunks as after DATA (RFC 3030 §3).
    fn chunk_ended(&mut self, size: BdatSize, bare: bool) -> Step {
        self.stage = Stage::Command;
        self.clock.restart();
        match (size.last, bare) {
            (true, true) => {
                let reply = Reply::BARE_CR_OR_LF;
                self.message_refused(reply);
                Step::Refused { reply, reverse_path: None }
            }
            (true, false) => Step::Ask(Ask::EndOfData),
            (false, _) => {
                self.say(Reply::CHUNK_TAKEN.with(size.octets));
                Step::Again
            }
        }
    }

    /// Octets of a chunk that is refused.
    pub(super) fn discard(&mut self, input: &mut BytesMut) -> Step {
        let Stage::Discard { left, reply, replies } = &mut self.stage else { return Step::Again };
        if *left > 0 && input.is_empty() {
            return Step::Wait;
        }
        let octets = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= octets as u64;
        if *left == 0 {
            let (reply, replies) = (*reply, *replies);
            self.stage = Stage::Command;
            self.clock.restart();
            self.say_of_message(reply, None, replies);
        }
        self.clock.receive(octets);
        input.advance(octets);
        Step::Again
    }
}
