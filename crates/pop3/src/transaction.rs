//! The TRANSACTION state (RFC 1939 §5), and the way out of it.
//!
//! A listing leaves in pieces: [`Session::list`] writes until a flush is due and is called again after it.

use crate::command::Command;
use crate::limits;
use crate::maildrop::{Entry, Opened};
use crate::reply::{self, Refusal, Reply};
use crate::session::{Farewell, Session};
use crate::state::{Ask, Asked, Listing, State};

impl Session {
    /// Deals with a command of this state.
    pub(crate) fn transaction(&mut self, command: Command<'_>) -> Option<Ask> {
        let State::Transaction { maildrop, listing } = &mut self.state else { return None };
        match command {
            Command::Quit => return self.quit(),
            Command::Capa => self.capabilities(),
            Command::Noop => self.say(Reply::Noop),
            Command::Stat => {
                let stat = Reply::Stat { messages: maildrop.left(), octets: maildrop.left_octets() };
                self.say(stat);
            }
            Command::Rset => {
                maildrop.reset();
                let again = Reply::Maildrop { messages: maildrop.left(), octets: maildrop.left_octets() };
                self.say(again);
            }
            Command::List(None) => {
                *listing = Some(Listing { unique_ids: false, index: 0 });
                let scan = Reply::Maildrop { messages: maildrop.left(), octets: maildrop.left_octets() };
                self.say(scan);
            }
            Command::Uidl(None) => {
                *listing = Some(Listing { unique_ids: true, index: 0 });
                self.say(Reply::UniqueIds);
            }
            Command::List(Some(number)) => match maildrop.message(number) {
                Ok((index, Entry { octets, .. })) => self.say(Reply::Scan { number: index + 1, octets }),
                Err(refusal) => self.say(refusal),
            },
            Command::Uidl(Some(number)) => match maildrop.message(number) {
                Ok((index, Entry { id, .. })) => self.say(Reply::UniqueId { number: index + 1, id }),
                Err(refusal) => self.say(refusal),
            },
            Command::Dele(number) => match maildrop.message(number) {
                Ok((index, entry)) => {
                    maildrop.delete(index, entry);
                    self.say(Reply::Deleted { number });
                }
                Err(refusal) => self.say(refusal),
            },
            Command::Retr(number) => return self.retrieve(number, None),
            Command::Top { number, lines } => return self.retrieve(number, Some(lines)),
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } | Command::Stls | Command::Utf8 => {
                return self.fault(Refusal::AlreadyLoggedIn);
            }
        }
        None
    }

    /// Writes the next piece of a listing.
    pub(crate) fn list(&mut self, Listing { unique_ids, mut index }: Listing) {
        let State::Transaction { maildrop, listing } = &mut self.state else { return };
        let output = &mut self.output;
        while output.len() < limits::OUTPUT_OCTETS {
            let Some((at, entry)) = maildrop.next_left(index) else {
                *listing = None;
                return reply::write_line(".", output);
            };
            let number = at + 1;
            if unique_ids {
                reply::write_line(format_args!("{number} {}", entry.id), output);
            } else {
                reply::write_line(format_args!("{number} {}", entry.octets), output);
            }
            index = number;
        }
        *listing = Some(Listing { unique_ids, index });
    }

    /// The maildrop, while there is one.
    pub(crate) fn maildrop(&self) -> Option<&Opened> {
        match &self.state {
            State::Transaction { maildrop, .. } => Some(maildrop),
            _ => None,
        }
    }

    /// The end of the UPDATE state (RFC 1939 §6): all that was marked is gone, or nothing was.
    pub(crate) fn sign_off(&mut self) {
        let messages = self.maildrop().map_or(0, Opened::left);
        reply::write_line(Reply::SigningOffLeaving { host: &self.settings.host, messages }, &mut self.output);
        self.state = State::Closed(Farewell::Quit);
    }

    fn quit(&mut self) -> Option<Ask> {
        if self.maildrop().is_some_and(Opened::any_deleted) {
            self.asked = Some(Asked::Update);
            return Some(Ask::Update);
        }
        self.sign_off();
        None
    }

    fn retrieve(&mut self, number: u32, top: Option<u64>) -> Option<Ask> {
        match self.maildrop()?.message(number) {
            Ok((index, entry)) => {
                self.asked = Some(Asked::Retrieve);
                Some(Ask::Retrieve { index, entry, top })
            }
            Err(refusal) => {
                self.say(refusal);
                None
            }
        }
    }
}
