//! A server with a few places, that greets and echoes.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use net::{
    Admission, Budget, Connection, Counters, Drain, Expected, Listener, ProxyFault, Read, Service, Snapshot, Tls, Turn, WaitingRoom, clock,
    serve,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::MINUTE;

pub const REFUSED: &str = "421 4.3.2 mx.example Too many connections, try again later [R4.test]\r\n";

/// Greets, then echoes. As many at once as it has places.
pub struct Echo {
    places: Arc<Semaphore>,
    vacated: Arc<Notify>,
    room: Mutex<Option<WaitingRoom>>,
    closed: AtomicBool,
    /// Who may not have the places there are.
    pub barred: Mutex<Option<IpAddr>>,
    implicit: Option<Tls>,
    /// Addresses of trusted proxies, and what they did wrong.
    pub proxies: Mutex<Vec<IpAddr>>,
    pub faults: Mutex<Vec<ProxyFault>>,
    /// The next question is answered with a panic, after the place was taken where there is one; and what was said of it.
    pub panics: AtomicBool,
    pub panicked: Mutex<Vec<String>>,
    /// What the answer to each question costs, in processor time.
    pub price: Mutex<Duration>,
    /// Peer and local address of every session.
    pub sessions: Mutex<Vec<(SocketAddr, SocketAddr)>>,
}

/// A place, and who is told when it is free.
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    vacated: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permit = None;
        self.vacated.notify_waiters();
    }
}

impl Echo {
    pub fn free_places(&self) -> usize {
        self.places.available_permits()
    }

    pub fn add_places(&self, places: usize) {
        self.places.add_permits(places);
        self.vacated.notify_waiters();
    }

    /// Nobody comes in any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.vacated.notify_waiters();
    }

    pub fn set_room(&self, room: Option<WaitingRoom>) {
        *self.room.lock().unwrap() = room;
        self.vacated.notify_waiters();
    }
}

impl Service for Echo {
    type Permit = Place;

    fn admit(&self, peer: SocketAddr, may_wait: bool, reply: &mut BytesMut) -> Admission<Place> {
        assert!(reply.is_empty());
        let (asked, price) = (processor_time(), *self.price.lock().unwrap());
        while processor_time() - asked < price {}
        let closed = self.closed.load(Ordering::SeqCst);
        if may_wait && !closed && *self.barred.lock().unwrap() == Some(peer.ip()) {
            return Admission::Wait { turn: Turn { source: peer.ip(), precedence: false }, others_may: self.free_places() > 0 };
        }
        let taken = Arc::clone(&self.places).try_acquire_owned();
        if self.panics.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("an error of ours"));
        }
        match taken {
            Ok(permit) if !closed => Admission::Admitted(Place { permit: Some(permit), vacated: Arc::clone(&self.vacated) }),
            Err(_) if may_wait && !closed => Admission::Wait { turn: Turn { source: peer.ip(), precedence: false }, others_may: false },
            _ => {
                reply.extend_from_slice(REFUSED.as_bytes());
                Admission::Refused
            }
        }
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.lock().unwrap().contains(&peer)
    }

    fn proxy_failed(&self, proxy: SocketAddr, fault: ProxyFault) {
        assert!(self.is_proxy(proxy.ip()));
        self.faults.lock().unwrap().push(fault);
    }

    fn out_of_descriptors(&self, _peer: SocketAddr, reply: &mut BytesMut) {
        reply.extend_from_slice(REFUSED.as_bytes());
    }

    fn faulted(&self, cause: &str) {
        self.panicked.lock().unwrap().push(cause.to_owned());
    }

    async fn session(self: Arc<Self>, mut connection: Connection, _place: Place) {
        self.sessions.lock().unwrap().push((connection.peer(), connection.local()));
        if let Some(tls) = &self.implicit {
            connection.start_tls(tls).await.unwrap();
        }
        connection.output.extend_from_slice(b"220 mx.example\r\n");
        connection.flush(clock::now() + MINUTE).await.unwrap();
        while let Read::Some = connection.read(Expected::Line, clock::now() + MINUTE).await {
            connection.output = connection.input.split();
            connection.flush(clock::now() + MINUTE).await.unwrap();
        }
        connection.close().await;
    }

    fn implicit_tls(&self) -> Option<&Tls> {
        self.implicit.as_ref()
    }

    fn waiting_room(&self) -> Option<WaitingRoom> {
        *self.room.lock().unwrap()
    }

    fn vacated(&self) -> impl Future<Output = ()> + Send {
        self.vacated.notified()
    }
}

/// What this thread has used of its processor so far.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap(), used.tv_nsec.try_into().unwrap())
}

pub struct Server {
    pub budget: Budget,
    pub address: SocketAddr,
    pub drain: Drain,
    pub counters: Arc<Counters>,
    pub echo: Arc<Echo>,
}

impl Server {
    pub fn start(places: usize, implicit: Option<Tls>) -> Self {
        Self::with_room(places, implicit, None)
    }

    pub fn with_room(places: usize, implicit: Option<Tls>, room: Option<WaitingRoom>) -> Self {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
        let (places, vacated) = (Arc::new(Semaphore::new(places)), Arc::default());
        let echo = Echo {
            places,
            vacated,
            room: Mutex::new(room),
            closed: AtomicBool::new(false),
            barred: Mutex::default(),
            implicit,
            proxies: Mutex::default(),
            faults: Mutex::default(),
            panics: AtomicBool::default(),
            panicked: Mutex::default(),
            price: Mutex::default(),
            sessions: Mutex::default(),
        };
        let server = Self {
            budget: Budget::default(),
            address: listener.local(),
            drain: Drain::new(),
            counters: Arc::default(),
            echo: Arc::new(echo),
        };
        let serving = serve(listener, Arc::clone(&server.echo), server.drain.clone(), Arc::clone(&server.counters), server.budget.clone());
        server.drain.spawn_background(async { serving.await.unwrap() });
        server
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// From 127.0.0.`last`: every address of the loopback network is this machine.
    pub async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((IpAddr::from([127, 0, 0, last]), 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    pub fn figures(&self) -> Snapshot {
        self.counters.snapshot()
    }
}

/// Lets the server work until `done`.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = clock::now() + MINUTE;
    while !done() {
        assert!(clock::now() < deadline, "{what}");
        clock::pause(Duration::from_millis(1)).await;
    }
}

pub async fn line(peer: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

pub async fn rest(mut peer: TcpStream) -> String {
    let mut rest = String::new();
    peer.read_to_string(&mut rest).await.unwrap();
    rest
}
