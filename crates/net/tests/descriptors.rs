//! The accept loop when the process has no file descriptor left. Alone in its binary, whose limit it lowers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use net::{Admission, Budget, Connection, Counters, Drain, Listener, Service, clock, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

const FULL: &str = "421 4.3.2 mx.example Too many connections, try again later\r\n";

#[derive(Default)]
struct Greet {
    /// The next connection that there is no descriptor for has the loop panic.
    panics: AtomicBool,
    /// Takes every descriptor there is, also those that a loop has left behind.
    filler: Mutex<Vec<File>>,
}

impl Greet {
    fn fill(&self) {
        self.filler.lock().unwrap().extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
    }
}

impl Service for Greet {
    type Permit = ();

    fn admit(&self, _peer: SocketAddr, _may_wait: bool, _reply: &mut BytesMut) -> Admission<()> {
        Admission::Admitted(())
    }

    fn out_of_descriptors(&self, _peer: SocketAddr, reply: &mut BytesMut) {
        if self.panics.swap(false, Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new("an error of ours"));
        }
        reply.extend_from_slice(FULL.as_bytes());
    }

    fn faulted(&self, _cause: &str) {
        self.fill();
    }

    async fn session(self: Arc<Self>, mut connection: Connection, (): ()) {
        connection.output.extend_from_slice(b"220 mx.example\r\n");
        connection.flush(clock::now() + Duration::from_secs(60)).await.unwrap();
        connection.close().await;
    }
}

async fn said(peer: &mut TcpStream) -> String {
    let mut said = String::new();
    peer.read_to_string(&mut said).await.unwrap();
    said
}

/// A session's descriptor is still to be closed when its peer has heard all.
async fn until_closed(drain: &Drain) {
    while drain.sessions() > 0 {
        clock::pause(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn without_descriptors_peers_are_answered_and_the_listener_survives() {
    let (drain, counters, greet) = (Drain::new(), Arc::<Counters>::default(), Arc::<Greet>::default());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    let address = listener.local();
    let serving = serve(listener, Arc::clone(&greet), drain.clone(), Arc::clone(&counters), Budget::default());
    drain.spawn_background(async { serving.await.unwrap() });
    assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, "220 mx.example\r\n");
    until_closed(&drain).await;

    // Sockets of the peers first: they live in this process, too.
    let peers: Vec<_> = (0..42).map(|_| TcpSocket::new_v4().unwrap()).collect();
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) }).unwrap();
    greet.fill();
    assert!(!greet.filler.lock().unwrap().is_empty());
    let (mut answered, mut peers) = (Vec::new(), peers.into_iter()); // kept: a peer that closed would leave its descriptor
    for peer in peers.by_ref().take(40) {
        let mut peer = peer.connect(address).await.unwrap();
        assert_eq!(said(&mut peer).await, FULL);
        answered.push(peer);
    }
    let figures = counters.snapshot();
    assert_eq!((figures.refused_answered, figures.refused_unanswered, figures.accepted), (40, 0, 1));
    assert!(figures.accept_out_of_descriptors > 0);

    greet.filler.lock().unwrap().clear();
    assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, "220 mx.example\r\n", "as if nothing had been");

    // The loop fails, and there is no descriptor to begin anew with.
    until_closed(&drain).await;
    greet.fill();
    greet.panics.store(true, Ordering::SeqCst);
    let mut closed = peers.next().unwrap().connect(address).await.unwrap();
    assert_eq!(said(&mut closed).await, "");
    let mut waits = peers.next().unwrap().connect(address).await.unwrap();
    clock::pause(Duration::from_millis(20)).await; // behind the 5 ms after which it is tried again
    greet.filler.lock().unwrap().clear();
    assert_eq!(said(&mut waits).await, "220 mx.example\r\n", "it has gone on trying");
}
