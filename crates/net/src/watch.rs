//! Watches many sockets for what their peers do, for the price of one descriptor and no task.
//!
//! Sockets that wait, for a place or for a header, belong to nobody's task: this tells the accept loop which of them have stirred,
//! by the number each was given. A socket is watched until it is forgotten or closed.
//!
//! Dropping the future of [`Watch::stirred`] is safe: what has stirred is told the next time.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An epoll instance (epoll(7)), itself watched by the runtime.
#[derive(Debug)]
pub(crate) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// # Errors
    /// The system's, when it has no descriptor left, or the runtime's.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(readable(epoll::create(CreateFlags::CLOEXEC)?)?))
    }

    /// Tells when the peer of `socket` has hung up, whatever it has said before.
    pub(crate) fn for_hang_up(&self, socket: &OwnedFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(self.0.get_ref(), socket, EventData::new_u64(number), EventFlags::RDHUP)?)
    }

    /// Tells each time the peer of `socket` has said more, or hung up.
    pub(crate) fn for_octets(&self, socket: &OwnedFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(self.0.get_ref(), socket, EventData::new_u64(number), flags)?)
    }

    /// No longer. Needed where the socket lives on.
    pub(crate) fn forget(&self, socket: &OwnedFd) {
        // It is watched, and then this cannot fail.
        let _ = epoll::delete(self.0.get_ref(), socket);
    }

    /// Waits until some have stirred; their numbers.
    ///
    /// # Errors
    /// The runtime's, when it ends.
    pub(crate) async fn stirred(&self) -> io::Result<Vec<u64>> {
        loop {
            let mut ready = self.0.readable().await?;
            let numbers = look(ready.get_inner());
            if numbers.is_empty() {
                ready.clear_ready();
            } else {
                return Ok(numbers);
            }
        }
    }
}

/// Who has stirred, without waiting.
fn look(epoll: &OwnedFd) -> Vec<u64> {
    let (mut events, at_once) = ([const { MaybeUninit::<Event>::uninit() }; EVENTS], Timespec { tv_sec: 0, tv_nsec: 0 });
    match epoll::wait(epoll, &mut events[..], Some(&at_once)) {
        Ok((found, _)) => found.iter().map(|event| event.data.u64()).collect(),
        // Nothing but a signal's interruption: whoever it was is told the next time.
        Err(_interrupted) => Vec::new(),
    }
}

/// What the runtime tells of when there is something to read, or to accept.
pub(crate) fn readable<T: AsRawFd>(descriptor: T) -> io::Result<AsyncFd<T>> {
    #[expect(deprecated, reason = "unsound only for owners whose descriptor changes under it; its successor is unsafe, which we forbid")]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Told at once; more are told the next time.
const EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use crate::clock;

    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0.into())
    }

    async fn soon(watch: &Watch) -> Option<Vec<u64>> {
        clock::within(clock::now() + Duration::from_millis(50), watch.stirred()).await.map(Result::unwrap)
    }

    #[tokio::test]
    async fn a_hang_up_is_told_whatever_was_said_before() {
        let watch = Watch::new().unwrap();
        let ((mut talks, talked), (stays, stayed)) = (pair(), pair());
        watch.for_hang_up(&talked, 7).unwrap();
        watch.for_hang_up(&stayed, 8).unwrap();
        talks.write_all(b"EHLO early\r\n").unwrap();
        assert_eq!(soon(&watch).await, None, "talking is no hanging up");
        talks.shutdown(Shutdown::Write).unwrap();
        assert_eq!(watch.stirred().await.unwrap(), [7]);
        watch.forget(&talked);
        assert_eq!(soon(&watch).await, None, "forgotten");
        drop(stays);
        assert_eq!(watch.stirred().await.unwrap(), [8]);
        drop(stayed);
        assert_eq!(soon(&watch).await, None, "closed");
    }

    #[tokio::test]
    async fn each_time_more_is_said_it_is_told_once() {
        let watch = Watch::new().unwrap();
        let (mut talks, talked) = pair();
        watch.for_octets(&talked, 9).unwrap();
        for _ in 0..3 {
            talks.write_all(b"PROX").unwrap();
            assert_eq!(watch.stirred().await.unwrap(), [9]);
            assert_eq!(soon(&watch).await, None, "not read, and not told again");
        }
        drop(talks);
        assert_eq!(watch.stirred().await.unwrap(), [9]);
    }
}
