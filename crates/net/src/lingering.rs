//! Refused connections on their way out.
//!
//! A socket closed with octets unread answers with a reset, and a reset can overtake our reply. So a refused connection, after
//! its reply and our FIN, stays here for a moment: what its peer still sends is read and forgotten, and it is closed when the
//! peer has closed, when [`STAY`] is over, when the peer has sent more than [`OCTETS_MOST`], or when the table is full and it
//! has been here longest. All listeners share one table, so that what they take together is bounded; its memory is taken once. Nothing
//! here waits; the callers come by every [`SWEEP`].
//! Cannot fail: whatever goes wrong with a refused connection ends with its closing.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use crate::Counters;

/// A table of bounded size.
#[derive(Debug)]
pub(crate) struct Lingering {
    /// The longest here first.
    here: VecDeque<Lingerer>,
    places: usize,
    sweep_at: Instant,
}

#[derive(Debug)]
struct Lingerer {
    socket: OwnedFd,
    until: Instant,
    octets: usize,
    /// Of the listener that it came to.
    counters: Arc<Counters>,
}

impl Lingering {
    /// With room for so many connections at once, each of which holds a descriptor.
    pub(crate) fn new(places: usize, now: Instant) -> Self {
        Self { here: VecDeque::with_capacity(places), places, sweep_at: now }
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.sweep_at && !self.here.is_empty()
    }

    /// When to come by again, if there is somebody here.
    pub(crate) fn sweep_at(&self) -> Option<Instant> {
        (!self.here.is_empty()).then_some(self.sweep_at)
    }

    /// Takes in a connection that has its reply.
    pub(crate) fn admit(&mut self, socket: OwnedFd, now: Instant, counters: &Arc<Counters>) {
        if self.here.len() >= self.places {
            self.cut_longest(now);
        }
        if self.here.is_empty() {
            self.sweep_at = now + SWEEP;
        }
        counters.lingering.add();
        self.here.push_back(Lingerer { socket, until: now + STAY, octets: 0, counters: Arc::clone(counters) });
    }

    /// Closes those who are done, when it is time to look.
    pub(crate) fn sweep(&mut self, now: Instant) {
        if self.is_due(now) {
            self.here.retain_mut(|lingerer| !lingerer.is_over(now));
            self.sweep_at = now + SWEEP;
        }
    }

    /// Closes everybody: their descriptors are needed.
    pub(crate) fn clear(&mut self, now: Instant) {
        while !self.here.is_empty() {
            self.cut_longest(now);
        }
    }

    fn cut_longest(&mut self, now: Instant) {
        if let Some(mut longest) = self.here.pop_front()
            && !longest.is_over(now)
        {
            longest.counters.lingering_cut.add();
        }
    }
}

impl Lingerer {
    fn is_over(&mut self, now: Instant) -> bool {
        now >= self.until || discard(&self.socket, &mut self.octets)
    }
}

impl Drop for Lingerer {
    fn drop(&mut self) {
        self.counters.lingering.sub(1);
    }
}

/// Says `line` and that nothing follows, without waiting. Whether all of it went out; one buffer of the kernel is always
/// enough for a line, so what does not go at once goes to nobody.
pub(crate) fn answer(socket: &OwnedFd, line: &[u8]) -> bool {
    // MORE lets the line and the FIN leave in one segment.
    let sent = !line.is_empty() && send(socket, line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT | SendFlags::MORE) == Ok(line.len());
    shutdown(socket, Shutdown::Write).is_ok() && sent
}

/// Reads and forgets what is there; `octets` is what it came to so far. Whether there is nothing more to wait for.
pub(crate) fn discard(socket: &OwnedFd, octets: &mut usize) -> bool {
    let mut forgotten = [0; 4096];
    loop {
        match recv(socket, &mut forgotten, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return true,
            Ok((some, _)) => *octets += some,
            Err(error) => return io::Error::from(error).kind() != io::ErrorKind::WouldBlock,
        }
        if *octets > OCTETS_MOST {
            return true;
        }
    }
}

/// Refused connections, and so descriptors, that linger at once, whichever listeners they came to. They give way when there are no
/// descriptors left.
pub const LINGERING_MOST: usize = 1024;

/// Longer than a round trip around the world.
const STAY: Duration = Duration::from_millis(1500);

/// How often the table is looked through.
const SWEEP: Duration = Duration::from_millis(100);

/// More than any client pipelines before it has read our greeting.
const OCTETS_MOST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair(listener: &TcpListener) -> (TcpStream, OwnedFd) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0.into())
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn one_who_closes_leaves_at_the_next_look_and_one_who_stays_when_time_is_over() {
        let (listener, start, counters) = (listener(), Instant::now(), Arc::<Counters>::default());
        let (mut table, (leaves, left), (mut stays, stayed)) = (Lingering::new(4, start), pair(&listener), pair(&listener));
        for socket in [left, stayed] {
            assert!(answer(&socket, b"421 no\r\n"));
            table.admit(socket, start, &counters);
        }
        drop(leaves);
        table.sweep(start + SWEEP / 2);
        assert_eq!(counters.lingering.read(), 2, "not yet");
        stays.write_all(b"EHLO early\r\n").unwrap();
        table.sweep(start + SWEEP);
        assert_eq!(counters.lingering.read(), 1);
        table.sweep(start + STAY);
        assert_eq!((counters.lingering.read(), counters.lingering_cut.read(), table.sweep_at()), (0, 0, None));
        let mut reply = String::new();
        stays.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "421 no\r\n");
    }

    #[test]
    fn a_full_table_closes_the_one_here_longest_and_does_not_grow() {
        let (listener, start, counters) = (listener(), Instant::now(), Arc::<Counters>::default());
        let mut table = Lingering::new(4, start);
        let capacity = table.here.capacity();
        let (mut first, socket) = pair(&listener);
        table.admit(socket, start, &counters);
        let (_other, socket) = pair(&listener);
        for _ in 0..4 {
            table.admit(socket.try_clone().unwrap(), start, &counters);
        }
        let figures = counters.snapshot();
        assert_eq!((figures.lingering, figures.lingering_cut), (4, 1));
        assert_eq!(table.here.capacity(), capacity);
        let another = Arc::<Counters>::default();
        table.admit(socket, start, &another);
        assert_eq!((counters.lingering.read(), counters.lingering_cut.read()), (3, 2), "it gives way to any listener's");
        assert_eq!((another.lingering.read(), another.lingering_cut.read()), (1, 0));
        assert_eq!(first.read(&mut [0; 8]).unwrap(), 0, "the first was closed");
    }

    #[test]
    fn one_who_never_stops_talking_is_closed() {
        let listener = listener();
        let (mut client, socket) = pair(&listener);
        client.set_nonblocking(true).unwrap();
        let mut octets = 0;
        while !discard(&socket, &mut octets) {
            let _full_or_gone = client.write(&[b'x'; 8192]);
        }
        assert!(octets <= OCTETS_MOST + 4096);
    }
}
