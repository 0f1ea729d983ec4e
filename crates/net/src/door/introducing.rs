//! The part of the door where trusted proxies are asked whom they speak for.

use std::time::{Duration, Instant};

use super::{Door, Visitor};
use crate::introduction::{self, Header, Heard, Introduced};
use crate::{ProxyFault, Service};

/// A trusted proxy's connection whose header is not all there.
pub(super) struct Introduction {
    proxied: Visitor,
    pub(super) until: Instant,
}

impl<S: Service> Door<S> {
    /// A trusted proxy has come: everything depends on whom it speaks for. Even a refusal that anybody would hear does: it is about the client,
    /// and what comes inside TLS comes behind the header.
    pub(super) fn introduce(&mut self, proxied: Visitor, now: Instant) {
        match introduction::hear(&proxied.socket) {
            Heard::Header(header) => self.introduced(proxied, header, now),
            Heard::Beginning => self.let_speak(proxied, now),
            Heard::Fault(fault) => {
                self.seen_to += 1;
                self.service.proxy_failed(proxied.peer, fault);
            }
            Heard::Gone => self.seen_to += 1,
        }
    }

    /// Waits for the rest of a header.
    fn let_speak(&mut self, proxied: Visitor, now: Instant) {
        self.last_number += 1;
        let (number, crowded) = (self.last_number, self.introductions.len() >= INTRODUCTIONS_MOST);
        if crowded || self.watch.for_octets(&proxied.socket, number).is_err() {
            self.seen_to += 1;
            return self.service.proxy_failed(proxied.peer, ProxyFault::Crowded);
        }
        self.counters.introductions.add();
        self.introductions.insert(number, Introduction { proxied, until: now + INTRODUCTION_TIME });
    }

    /// A proxy has said more, or hung up.
    pub(super) fn hear_again(&mut self, number: u64, now: Instant) {
        let Some(heard) = self.introductions.get(&number).map(|introduction| introduction::hear(&introduction.proxied.socket)) else {
            return;
        };
        if heard == Heard::Beginning {
            return;
        }
        let Some(Introduction { proxied, .. }) = self.introductions.remove(&number) else { return };
        self.watch.forget(&proxied.socket);
        self.counters.introductions.sub(1);
        match heard {
            Heard::Header(header) => self.introduced(proxied, header, now),
            Heard::Fault(fault) => {
                self.seen_to += 1;
                self.service.proxy_failed(proxied.peer, fault);
            }
            Heard::Beginning | Heard::Gone => self.seen_to += 1,
        }
    }

    /// Lets in, has wait or turns away whom the proxy speaks for.
    fn introduced(&mut self, proxied: Visitor, header: Header, now: Instant) {
        let visitor = match header.introduced {
            Some(Introduced { client, server }) => {
                self.counters.proxied.add();
                Visitor { peer: client, local: Some(server), ..proxied }
            }
            None => proxied,
        };
        self.welcome(visitor, now);
    }

    /// Closes the connections of those that have not said it in time.
    pub(super) fn give_up_on_late_proxies(&mut self, now: Instant) {
        while let Some(late) = self.introductions.first_entry().filter(|first| now >= first.get().until) {
            let Introduction { proxied, .. } = late.remove();
            self.counters.introductions.sub(1);
            self.seen_to += 1;
            self.service.proxy_failed(proxied.peer, ProxyFault::Late);
        }
    }
}

/// Proxies' connections whose header is awaited at once; the header usually comes with the connection and awaits nothing.
pub const INTRODUCTIONS_MOST: usize = 64;

/// What a proxy has to say whom it speaks for.
const INTRODUCTION_TIME: Duration = Duration::from_secs(5);
