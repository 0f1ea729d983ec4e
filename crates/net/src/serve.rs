//! The accept loop: who is admitted gets a task, who is not gets a line, and neither waits for the other.
//!
//! Guarantees: the loop never waits for a refused peer, and a refusal costs one accept, one write, one shutdown and, later, one
//! read and one close: no task, no TLS, no memory that stays. Connections are taken in turns of at most [`TURN`], between which
//! admitted sessions get theirs. Refusing has a [`Budget`] that all listeners share; beyond it the kernel's queue holds who comes.
//! An error of accept never ends the loop: connections gone already are skipped, out of descriptors it answers who is there
//! through the [`Spare`] one, and where that does not help, or memory is wanting, it waits, from 5 ms doubling to 1 s. Who is
//! in the waiting room is looked after all the while.
//!
//! A panic in the loop, an error of ours or of the service's, ends neither the listener nor a session: the connection it was about and those
//! that waited for a place are closed, their places are free, the service is told, and the loop begins anew.
//!
//! Dropping the loop's future is safe: the listener, refused connections and those that wait close, sessions go on.

use std::any::Any;
use std::borrow::Cow;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;

use crate::connection::canonical;
use crate::door::{Door, Visitor};
use crate::spare::Spare;
use crate::watch::readable;
use crate::{Budget, Counters, Drain, Listener, NetError, Service, clock};

/// Accepts connections until it is dropped: spawn it with [`Drain::spawn_background`], so that late comers are told of the drain
/// by [`Service::admit`] until the last session has ended.
///
/// # Errors
/// [`NetError::Runtime`] when the runtime or the system does not take the listener, or the runtime ends.
pub async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    drain: Drain,
    counters: Arc<Counters>,
    budget: Budget,
) -> Result<(), NetError> {
    let socket = readable(listener.socket).map_err(NetError::Runtime)?;
    loop {
        let door = Door::new(Arc::clone(&service), drain.clone(), Arc::clone(&counters), budget.clone()).map_err(NetError::Runtime)?;
        match caught(accept_all(&socket, &*service, door)).await {
            Ok(ended) => return ended,
            Err(panic) => service.faulted(&words(&*panic)),
        }
        clock::pause(BACKOFF_LEAST).await;
    }
}

/// The loop.
async fn accept_all<S: Service>(socket: &AsyncFd<TcpListener>, service: &S, mut door: Door<S>) -> Result<(), NetError> {
    let mut acceptor = Acceptor { spare: Spare::new(), backoff: Backoff::default(), rest: None };
    let mut vacated = None;
    loop {
        if door.somebody_waits() && vacated.is_none() {
            // Called before the room is looked through, so that no place that comes free in between is missed.
            vacated = Some(Box::pin(service.vacated()));
            door.serve_waiting(clock::now());
        }
        door.look_after(clock::now());
        if !door.somebody_waits() {
            vacated = None;
        }
        tokio::select! {
            biased;
            () = some(vacated.as_mut()) => vacated = None,
            stirred = door.stirred() => {
                door.attend(&stirred.map_err(NetError::Runtime)?);
                acceptor.rest_if_tired(&door);
            }
            () = some(acceptor.rest.as_mut()) => acceptor.rest = None,
            ready = socket.readable(), if acceptor.rest.is_none() => {
                let mut ready = ready.map_err(NetError::Runtime)?;
                match acceptor.turn(socket.get_ref(), &mut door) {
                    Turn::QueueEmpty => ready.clear_ready(),
                    Turn::Taken => tokio::task::yield_now().await,
                    Turn::Wanting(wait) => acceptor.rest = Some(Box::pin(clock::pause(wait))),
                }
                acceptor.rest_if_tired(&door);
            }
            () = some(door.look_again_at().map(clock::until)) => {}
        }
    }
}

/// What the future yields, or what its panic carried. It is not polled again after that; dropping this drops it.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // What the future owns is dropped with it; what it shares are counters, and locks that no panic poisons.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> Cow<'_, str> {
    let literal = panic.downcast_ref::<&str>().map(|text| Cow::Borrowed(*text));
    literal.or_else(|| panic.downcast_ref::<String>().map(Cow::from)).unwrap_or("a panic without words".into())
}

/// What the future yields; never, where there is none.
async fn some<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
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

/// What the loop remembers of accepting between turns.
struct Acceptor {
    spare: Spare,
    backoff: Backoff,
    /// Nobody is accepted before. Kept over the turns of the loop, so that it keeps its place among the listeners that rest.
    rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Acceptor {
    /// Takes connections until there is none, accept fails, or it is the sessions' turn.
    fn turn<S: Service>(&mut self, socket: &TcpListener, door: &mut Door<S>) -> Turn {
        let now = clock::now();
        door.spending(|door| {
            for _ in 0..TURN {
                match accept(socket) {
                    Ok((connection, peer)) => {
                        self.backoff.reset();
                        door.meet(Visitor { socket: connection, peer, local: None }, now);
                    }
                    Err(errno) => match fault(errno, door.counters()) {
                        Fault::ConnectionGone => {}
                        Fault::QueueEmpty => return Turn::QueueEmpty,
                        Fault::NoDescriptor => return self.answer_without_descriptors(socket, door, now),
                        Fault::Wanting => return Turn::Wanting(self.backoff.next()),
                    },
                }
            }
            Turn::Taken
        })
    }

    /// Answers who is waiting, one at a time through the spare descriptor, and closes at once: there is no room to linger.
    fn answer_without_descriptors<S: Service>(&mut self, socket: &TcpListener, door: &mut Door<S>, now: Instant) -> Turn {
        door.clear_lingering(now);
        for _ in 0..TURN {
            let answered = self.spare.lend(|| accept(socket).map(|(connection, peer)| door.out_of_descriptors(&connection, peer)));
            match answered {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Turn::QueueEmpty,
                Err(_even_so) => return Turn::Wanting(self.backoff.next()),
            }
        }
        Turn::Taken
    }

    /// Rests when refusing has cost too much; counted once a rest.
    fn rest_if_tired<S: Service>(&mut self, door: &Door<S>) {
        if self.rest.is_none()
            && let Some(rest) = door.rest()
        {
            door.counters().refusal_pauses.add();
            self.rest = Some(Box::pin(rest));
        }
    }
}

/// What a failure of accept means.
enum Fault {
    QueueEmpty,
    ConnectionGone,
    NoDescriptor,
    Wanting,
}

/// Counts a failure of accept and says what it means (accept(2)).
fn fault(errno: Errno, counters: &Counters) -> Fault {
    let (count, fault) = match errno {
        Errno::AGAIN => return Fault::QueueEmpty,
        Errno::MFILE | Errno::NFILE => (&counters.accept_out_of_descriptors, Fault::NoDescriptor),
        Errno::NOBUFS | Errno::NOMEM => (&counters.accept_out_of_memory, Fault::Wanting),
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
        | Errno::PERM => (&counters.accept_aborted, Fault::ConnectionGone),
        _ => (&counters.accept_failed, Fault::Wanting),
    };
    count.add();
    fault
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

/// Connections taken in one turn: about a millisecond of refusing.
const TURN: u32 = 32;

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
