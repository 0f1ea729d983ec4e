//! Attempts at a full server, made as cheaply as they can be: the peers of a real flood bring processors of their own, those of
//! this one share the machine with the sessions whose throughput is measured.
//!
//! At a pace: a thread wakes every [`TICK`], looks at the attempts it made before, and makes those that are due; seven system
//! calls an attempt and nobody woken for it. Answered means a line that begins with 421 or -ERR and then an orderly close;
//! a reset, a close without a word or ten seconds of silence is unanswered. A pace that is too fast for the machine is not caught up with.
//! Those that never read count as answered, since they cannot tell.
//!
//! Without one: many connect as fast as they can, say nothing, read nothing and leave, which costs a client the least; answered
//! are those that got to connect.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client;

/// Attempts until it is stopped.
pub(crate) struct Flood {
    tally: Arc<Tally>,
    makers: JoinSet<()>,
}

/// What has become of attempts.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) stopping: AtomicBool,
    pub(crate) answered: AtomicU64,
    pub(crate) unanswered: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, answered: bool) {
        if answered { &self.answered } else { &self.unanswered }.fetch_add(1, Relaxed);
    }
}

impl Flood {
    /// At a steady pace, whatever becomes of the attempts, or as fast as they can be made.
    pub(crate) fn start(address: SocketAddr, per_second: Option<u32>) -> Self {
        match per_second {
            Some(per_second) => Self::paced(address, per_second, usize::MAX),
            None => Self::unpaced(address),
        }
    }

    /// One attempt in `silent_every` never reads, and does not close for [`STAY`].
    pub(crate) fn paced(address: SocketAddr, per_second: u32, silent_every: usize) -> Self {
        let (tally, mut makers) = (Arc::new(Tally::default()), JoinSet::new());
        let threads = per_second.div_ceil(THREAD_PER_SECOND);
        // Not the ports of a flood a moment ago: the server may still remember those connections.
        let first = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_micros() as usize * FLOODERS);
        for index in 0..threads {
            let (tally, every) = (tally.clone(), threads as usize);
            let pace = Pace { address, silent_every, index: first + index as usize, every, open: VecDeque::new(), silent: VecDeque::new() };
            makers.spawn_blocking(move || pace.keep(&tally, f64::from(per_second) / f64::from(threads)));
        }
        Flood { tally, makers }
    }

    fn unpaced(address: SocketAddr) -> Self {
        let (tally, mut makers) = (Arc::new(Tally::default()), JoinSet::new());
        for index in 0..CARELESS {
            let counted = tally.clone();
            makers.spawn(async move {
                while !counted.stopping.load(Relaxed) {
                    // The kernel's queue may be full: then it is another attempt's turn soon.
                    let connected = timeout(BRIEF, client::connect(address, from(index))).await;
                    counted.count(matches!(connected, Ok(Ok(_))));
                }
            });
        }
        Flood { tally, makers }
    }

    /// How many were answered up to now, and how many were not; [`Flood::stop`] waits for those that are still open.
    pub(crate) fn answered(&self) -> (u64, u64) {
        (self.tally.answered.load(Relaxed), self.tally.unanswered.load(Relaxed))
    }

    /// Ends it, and says what became of all.
    pub(crate) async fn stop(mut self) -> (u64, u64) {
        self.tally.stopping.store(true, Relaxed);
        while self.makers.join_next().await.is_some() {}
        self.answered()
    }
}

/// One thread's attempts at a steady pace.
struct Pace {
    address: SocketAddr,
    silent_every: usize,
    /// The next attempt's number, and how many threads number theirs alike.
    index: usize,
    every: usize,
    open: VecDeque<Attempt>,
    silent: VecDeque<(OwnedFd, Instant)>,
}

/// One that waits for its answer.
struct Attempt {
    socket: OwnedFd,
    since: Instant,
    told: bool,
}

impl Pace {
    fn keep(mut self, tally: &Tally, per_second: f64) {
        let (mut before, mut owed) = (Instant::now(), 0.0);
        while !tally.stopping.load(Relaxed) {
            thread::sleep(TICK);
            let now = Instant::now();
            // A thread that woke late makes up for it, a machine too slow for the pace does not.
            owed = f64::min(owed + (now - before).as_secs_f64() * per_second, CATCH_UP.as_secs_f64() * per_second);
            before = now;
            self.look(tally, now);
            while owed >= 1.0 && self.open.len() < OPEN {
                self.attempt(tally, now);
                owed -= 1.0;
            }
        }
        while !self.open.is_empty() {
            thread::sleep(TICK);
            self.look(tally, Instant::now());
        }
    }

    /// Makes one attempt.
    fn attempt(&mut self, tally: &Tally, now: Instant) {
        let index = self.index;
        self.index += self.every;
        match begin(self.address, index) {
            Ok(socket) if index % self.silent_every == self.silent_every - 1 => self.silent.push_back((socket, now)),
            Ok(socket) => self.open.push_back(Attempt { socket, since: now, told: false }),
            Err(_) => tally.count(false),
        }
    }

    /// Counts and closes those that have their answer, or will not have one.
    fn look(&mut self, tally: &Tally, now: Instant) {
        self.open.retain_mut(|attempt| match attempt.look(now) {
            None => true,
            Some(answered) => {
                tally.count(answered);
                false
            }
        });
        while self.silent.pop_front_if(|(_, since)| now - *since >= STAY).is_some() {
            tally.count(true);
        }
    }
}

impl Attempt {
    /// Whether it was refused in words, once that is known.
    fn look(&mut self, now: Instant) -> Option<bool> {
        let mut text = [0; 512];
        loop {
            match rustix::io::read(&self.socket, &mut text) {
                Ok(0) => return Some(self.told),
                // A refusal is one small segment.
                Ok(read) => self.told |= text.get(..read).is_some_and(|text| text.starts_with(b"421") || text.starts_with(b"-ERR")),
                Err(Errno::AGAIN) => return (now - self.since >= SILENCE).then_some(false),
                Err(_) => return Some(false),
            }
        }
    }
}

/// A connection that is being made. The port is chosen here: looking for a free one among many costs the kernel more than all the rest.
fn begin(address: SocketAddr, index: usize) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // A port in TIME_WAIT may be taken again: thousands of connections a second leave no others.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    let port = FIRST_PORT + u16::try_from(index / FLOODERS % PORTS).unwrap_or(0);
    bind(&socket, &SocketAddr::from((from(index), port)))?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Sources enough that neither ports nor limits of one source are in the way.
pub(crate) fn from(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(index % FLOODERS).unwrap_or(0) + 1)
}

pub(crate) const FLOODERS: usize = 64;
/// How long a peer is listened to.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);
const FIRST_PORT: u16 = 16_384;
const PORTS: usize = 49_000;
const TICK: Duration = Duration::from_millis(5);
const CATCH_UP: Duration = Duration::from_millis(100);
/// Attempts that a thread has open at most: where no more are answered there is no point in making them.
const OPEN: usize = 1000;
/// What one thread can make with ease.
const THREAD_PER_SECOND: u32 = 5_000;
/// Longer than a server that has refused should wait for them.
const STAY: Duration = Duration::from_secs(3);
/// Connections at a time that nobody waits for.
const CARELESS: usize = 256;
/// How long such a one tries to connect.
const BRIEF: Duration = Duration::from_millis(200);
