//! The accept loop: who is admitted gets a task, who is not gets a line, and neither waits for the other.
//!
//! Guarantees: the loop never waits for a refused peer, and a refusal costs one accept, one write, one shutdown and, later, one
//! read and one close: no task, no TLS, no memory that stays. Connections are taken in turns of at most [`TURN`], between which
//! admitted sessions get theirs. Refusing has a [`Budget`]; beyond it the kernel's queue holds who comes. An error of accept never ends
//! the loop: connections gone already are skipped, out of descriptors it answers who is there through the [`Spare`] one, and where
//! that does not help, or memory is wanting, it waits, from 5 ms doubling to 1 s.
//!
//! On a listener with implicit TLS a refusal in clear would be noise: a few are said inside TLS, each in a task and with a
//! deadline, and beyond them the connection is closed and counted.
//!
//! Dropping the loop's future is safe: the listener and refused connections close, sessions go on.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::budget::Budget;
use crate::connection::canonical;
use crate::lingering::{self, Lingering};
use crate::spare::Spare;
use crate::{Connection, Counters, Drain, Listener, NetError, Tls, clock};

/// What a listener is for.
pub trait Service: Send + Sync + 'static {
    /// A place, held as long as the session has it.
    type Permit: Send + 'static;

    /// Decides at once, and before anything is read, whether `peer` may come in. `None` refuses it; then the loop says what this
    /// put into `reply` (empty when called): a whole line with its CR LF, or nothing, to close without a word.
    fn admit(&self, peer: SocketAddr, reply: &mut BytesMut) -> Option<Self::Permit>;

    /// Puts into `reply` what a peer is told that cannot be admitted because the process is out of file descriptors.
    fn out_of_descriptors(&self, peer: SocketAddr, reply: &mut BytesMut);

    /// The life of an admitted connection; the connection closes, and the place is free, when this ends in whatever way. With
    /// implicit TLS it begins with [`Connection::start_tls`].
    fn session(self: Arc<Self>, connection: Connection, permit: Self::Permit) -> impl Future<Output = ()> + Send + 'static;

    /// How this listener speaks TLS, when it does so from the first octet.
    fn implicit_tls(&self) -> Option<&Tls> {
        None
    }
}

/// Accepts connections until it is dropped: spawn it with [`Drain::spawn_background`], so that late comers are told of the drain
/// by [`Service::admit`] until the last session has ended.
///
/// # Errors
/// [`NetError::Runtime`] when the runtime does not take the listener, or ends.
pub async fn serve<S: Service>(listener: Listener, service: Arc<S>, drain: Drain, counters: Arc<Counters>) -> Result<(), NetError> {
    #[expect(deprecated, reason = "unsound only for owners whose descriptor changes under it; its successor is unsafe, which we forbid")]
    let socket = AsyncFd::with_interest(listener.socket, Interest::READABLE).map_err(NetError::Runtime)?;
    let mut door = Door::new(service, drain, counters);
    loop {
        tokio::select! {
            biased;
            ready = socket.readable() => {
                let mut ready = ready.map_err(NetError::Runtime)?;
                match door.turn(socket.get_ref()) {
                    Turn::QueueEmpty => ready.clear_ready(),
                    Turn::Taken => tokio::task::yield_now().await,
                    Turn::Wanting(wait) => clock::pause(wait).await,
                }
            }
            () = clock::until(door.lingering.sweep_at()), if !door.lingering.is_empty() => {}
        }
        door.lingering.sweep(clock::now(), &door.counters);
        while door.is_tired() {
            clock::pause(REST).await;
            door.lingering.sweep(clock::now(), &door.counters);
        }
    }
}

/// How a turn ended.
enum Turn {
    /// Nobody is waiting.
    QueueEmpty,
    /// There may be more.
    Taken,
    /// Accept lacks something; try again after this long.
    Wanting(Duration),
}

/// All that the loop remembers between turns.
struct Door<S> {
    service: Arc<S>,
    drain: Drain,
    counters: Arc<Counters>,
    lingering: Lingering,
    budget: Budget,
    spare: Spare,
    backoff: Backoff,
    /// The reply to the refusal at hand.
    reply: BytesMut,
}

impl<S: Service> Door<S> {
    fn new(service: Arc<S>, drain: Drain, counters: Arc<Counters>) -> Self {
        let (lingering, budget) = (Lingering::new(LINGERING_MOST, clock::now()), Budget::new(clock::now(), counters.exchanges.read()));
        Self {
            service,
            drain,
            counters,
            lingering,
            budget,
            spare: Spare::new(),
            backoff: Backoff::default(),
            reply: BytesMut::with_capacity(256),
        }
    }

    /// Takes connections until there is none, accept fails, or it is the sessions' turn.
    fn turn(&mut self, socket: &TcpListener) -> Turn {
        let (began, now) = (processor_time(), clock::now());
        let (mut met, mut refused, mut ending) = (0, 0, Turn::Taken);
        for _ in 0..TURN {
            match accept(socket) {
                Ok((connection, peer)) => {
                    self.backoff.reset();
                    met += 1;
                    refused += u32::from(!self.meet(connection, peer, now));
                }
                Err(errno) => match self.fault(errno) {
                    Fault::ConnectionGone => {}
                    Fault::QueueEmpty => {
                        ending = Turn::QueueEmpty;
                        break;
                    }
                    Fault::NoDescriptor => {
                        let answered;
                        (answered, ending) = self.answer_without_descriptors(socket, now);
                        (met, refused) = (met + answered, refused + answered);
                        break;
                    }
                    Fault::Wanting => {
                        ending = Turn::Wanting(self.backoff.next());
                        break;
                    }
                },
            }
        }
        if refused > 0 {
            self.budget.spend(processor_time().saturating_sub(began) * refused / met);
        }
        ending
    }

    /// Whether the connection was admitted.
    fn meet(&mut self, connection: OwnedFd, peer: SocketAddr, now: Instant) -> bool {
        self.reply.clear();
        let Some(permit) = self.service.admit(peer, &mut self.reply) else {
            self.refuse(connection, now);
            return false;
        };
        match self.connect(connection, peer) {
            Ok(connection) => {
                self.counters.accepted.add();
                self.drain.spawn(Arc::clone(&self.service).session(connection, permit));
            }
            Err(_gone_or_no_room) => self.counters.accept_failed.add(),
        }
        true
    }

    fn connect(&self, connection: OwnedFd, peer: SocketAddr) -> io::Result<Connection> {
        let tcp = tokio::net::TcpStream::from_std(TcpStream::from(connection))?;
        Connection::over_tcp(tcp, peer, self.drain.clone(), Arc::clone(&self.counters))
    }

    fn refuse(&mut self, connection: OwnedFd, now: Instant) {
        if let Some(tls) = self.service.implicit_tls() {
            let tls = tls.clone();
            return self.refuse_inside(&tls, connection);
        }
        if lingering::answer(&connection, &self.reply) {
            self.counters.refused_answered.add();
            self.lingering.admit(connection, now, &self.counters);
        } else {
            self.counters.refused_unanswered.add();
        }
    }

    fn refuse_inside(&self, tls: &Tls, connection: OwnedFd) {
        let place = tls.refusal().filter(|_| !self.reply.is_empty());
        let taken_over = place.zip(tokio::net::TcpStream::from_std(TcpStream::from(connection)).ok());
        let Some((place, tcp)) = taken_over else {
            return self.counters.refused_unanswered.add();
        };
        let (tls, line, counters) = (tls.clone(), self.reply.to_vec(), Arc::clone(&self.counters));
        self.drain.spawn(async move {
            let said = tls.refuse(tcp, &line).await;
            if said { &counters.refused_answered } else { &counters.refused_unanswered }.add();
            drop(place);
        });
    }

    /// Answers who is waiting, one at a time through the spare descriptor, and closes at once: there is no room to linger.
    /// Returns how many, and how the turn ended.
    fn answer_without_descriptors(&mut self, socket: &TcpListener, now: Instant) -> (u32, Turn) {
        self.lingering.clear(now, &self.counters);
        for answered in 0..TURN {
            let Self { spare, service, reply, .. } = self;
            let outcome = spare.lend(|| {
                let (connection, peer) = accept(socket)?;
                reply.clear();
                service.out_of_descriptors(peer, reply);
                let said = service.implicit_tls().is_none() && lingering::answer(&connection, reply);
                let _early_talk = lingering::discard(&connection, &mut 0);
                Ok(said)
            });
            match outcome {
                Ok(true) => self.counters.refused_answered.add(),
                Ok(false) => self.counters.refused_unanswered.add(),
                Err(Errno::AGAIN) => return (answered, Turn::QueueEmpty),
                Err(_even_so) => return (answered, Turn::Wanting(self.backoff.next())),
            }
        }
        (TURN, Turn::Taken)
    }

    /// Counts a failure of accept and says what it means (accept(2)).
    fn fault(&self, errno: Errno) -> Fault {
        let (count, fault) = match errno {
            Errno::AGAIN => return Fault::QueueEmpty,
            Errno::MFILE | Errno::NFILE => (&self.counters.accept_out_of_descriptors, Fault::NoDescriptor),
            Errno::NOBUFS | Errno::NOMEM => (&self.counters.accept_out_of_memory, Fault::Wanting),
            // Faults of that connection, which accept reports as its own.
            Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::PERM => (&self.counters.accept_aborted, Fault::ConnectionGone),
            _ => (&self.counters.accept_failed, Fault::Wanting),
        };
        count.add();
        fault
    }

    /// Whether refusing has to rest; counted once a rest.
    fn is_tired(&mut self) -> bool {
        let tired = self.budget.is_spent(clock::now(), self.counters.exchanges.read());
        if tired {
            self.counters.refusal_pauses.add();
        }
        tired
    }
}

/// What a failure of accept means.
enum Fault {
    QueueEmpty,
    ConnectionGone,
    NoDescriptor,
    Wanting,
}

/// How long to wait after a failure: twice as long as after the last one, if nothing has succeeded since.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    fn next(&mut self) -> Duration {
        *self.0.insert(self.0.map_or(BACKOFF_LEAST, |last| BACKOFF_MOST.min(last * 2)))
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}

fn accept(socket: &TcpListener) -> Result<(OwnedFd, SocketAddr), Errno> {
    let (connection, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    // A TCP socket's peer has an IP address, or it has left while it waited.
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(Errno::CONNABORTED)?;
    Ok((connection, canonical(peer)))
}

/// What this thread has used of a processor so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Connections taken in one turn: about a millisecond of refusing.
const TURN: u32 = 32;

/// Refused connections, and so descriptors, that linger at once.
const LINGERING_MOST: usize = 1024;

/// How long refusing rests before it looks whether it may go on.
const REST: Duration = Duration::from_millis(5);

const BACKOFF_LEAST: Duration = Duration::from_millis(5);
const BACKOFF_MOST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(), BACKOFF_LEAST);
    }
}
