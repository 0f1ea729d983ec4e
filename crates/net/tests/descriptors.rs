//! The accept loop when the process has no file descriptor left. Alone in its binary, whose limit it lowers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use net::{Admission, Budget, Connection, Counters, Drain, Listener, Service, clock, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

const FULL: &str = "421 4.3.2 mx.example Too many connections, try again later\r\n";

struct Greet;

impl Service for Greet {
    type Permit = ();

    fn admit(&self, _peer: SocketAddr, _may_wait: bool, _reply: &mut BytesMut) -> Admission<()> {
        Admission::Admitted(())
    }

    fn out_of_descriptors(&self, _peer: SocketAddr, reply: &mut BytesMut) {
        reply.extend_from_slice(FULL.as_bytes());
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

#[tokio::test]
async fn without_descriptors_peers_are_answered_and_the_listener_survives() {
    let (drain, counters) = (Drain::new(), Arc::<Counters>::default());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    let address = listener.local();
    let serving = serve(listener, Arc::new(Greet), drain.clone(), Arc::clone(&counters), Budget::default());
    drain.spawn_background(async { serving.await.unwrap() });
    assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, "220 mx.example\r\n");
    while drain.sessions() > 0 {
        clock::pause(Duration::from_millis(1)).await; // its descriptor is still to be closed
    }

    // Sockets of the peers first: they live in this process, too.
    let peers: Vec<_> = (0..40).map(|_| TcpSocket::new_v4().unwrap()).collect();
    setrlimit(Resource::Nofile, Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) }).unwrap();
    let filler: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!filler.is_empty());
    let mut answered = Vec::new(); // kept: a peer that closed would leave its descriptor
    for peer in peers {
        let mut peer = peer.connect(address).await.unwrap();
        assert_eq!(said(&mut peer).await, FULL);
        answered.push(peer);
    }
    let figures = counters.snapshot();
    assert_eq!((figures.refused_answered, figures.refused_unanswered, figures.accepted), (40, 0, 1));
    assert!(figures.accept_out_of_descriptors > 0);

    drop(filler);
    assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, "220 mx.example\r\n", "as if nothing had been");
}
