//! Handshakes: both versions, who holds no turn, their deadline, certificates by name and swapped, tickets or none.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod house;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use house::{Folder, House, NAME, connect, house, shown};
use net::{Certificates, Connection, Counters, Drain, Expected, Handshakes, NetError, Read, Tls, TlsFacts, clock};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const MINUTE: Duration = Duration::from_secs(60);
const TIME: Duration = Duration::from_secs(10);
const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn pipe() -> (DuplexStream, Connection) {
    let (peer, ours) = duplex(1 << 16);
    (peer, Connection::over_pipe(ours, Drain::new()))
}

fn minute() -> std::time::Instant {
    clock::now() + MINUTE
}

#[tokio::test(start_paused = true)]
async fn octets_go_both_ways_in_both_versions_and_the_facts_are_told() {
    let House { folder, tls, counters } = house(false, 8, TIME);
    for (version, name, suite) in
        [(&TLS13, "TLS1.3", "TLS_AES_256_GCM_SHA384"), (&TLS12, "TLS1.2", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    {
        let (peer, mut connection) = pipe();
        assert_eq!(connection.tls(), None);
        let client = folder.client(&[version]);
        let (ours, theirs) = tokio::join!(connection.start_tls(&tls), connect(&client, NAME, peer));
        ours.unwrap();
        let mut theirs = theirs.unwrap();
        let exporter = version.version == TLS13.version;
        assert_eq!(connection.tls(), Some(TlsFacts { version: name, cipher_suite: suite, exporter, server_name: Some(NAME) }));
        let seen = theirs.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
        assert_eq!(connection.channel(), exporter.then_some(seen), "RFC 9266");

        theirs.write_all(b"EHLO client.example\r\n").await.unwrap();
        assert!(matches!(connection.read(Expected::Line, minute()).await, Read::Some));
        assert_eq!(&connection.input.split()[..], b"EHLO client.example\r\n");
        connection.output.extend_from_slice(b"250 mx.example\r\n");
        connection.flush(minute()).await.unwrap();
        assert!(matches!(connection.read(Expected::Line, minute()).await, Read::TimedOut));
        assert_eq!((connection.input.capacity(), connection.output.capacity()), (0, 0), "waiting holds no buffer of ours");

        let mut said = String::new();
        let ((), read) = tokio::join!(connection.close(), async {
            let read = theirs.read_to_string(&mut said).await; // close_notify, or this is an error
            theirs.shutdown().await.unwrap();
            read
        });
        read.unwrap();
        assert_eq!(said, "250 mx.example\r\n");
    }
    assert_eq!((counters.snapshot().handshakes_completed, counters.snapshot().handshakes_in_progress), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_large_body_passes_inside_tls() {
    let House { folder, tls, .. } = house(false, 8, TIME);
    let (peer, mut connection) = pipe();
    let client = folder.client(&BOTH);
    let (ours, theirs) = tokio::join!(connection.start_tls(&tls), connect(&client, NAME, peer));
    ours.unwrap();
    let body: Vec<u8> = (0..1_000_000).map(|at: u32| at.to_le_bytes()[0]).collect();
    let (mut theirs, mut taken, mut echoed) = (theirs.unwrap(), Vec::new(), vec![0; body.len()]);
    let take = async {
        while taken.len() < body.len() {
            assert!(matches!(connection.read(Expected::Line, minute()).await, Read::Some));
            taken.extend_from_slice(&connection.input.split());
        }
        connection.output.extend_from_slice(&taken);
        connection.flush(minute()).await.unwrap();
    };
    let give = async {
        theirs.write_all(&body).await.unwrap();
        theirs.flush().await.unwrap();
        theirs.read_exact(&mut echoed).await.unwrap();
    };
    tokio::join!(take, give);
    assert!(taken == body && echoed == body);
}

#[tokio::test(start_paused = true)]
async fn nothing_said_in_clear_survives() {
    let House { tls, .. } = house(false, 8, TIME);
    let (mut peer, mut connection) = pipe();
    peer.write_all(b"STARTTLS\r\nMAIL FROM:<evil@example>\r\n").await.unwrap();
    assert!(matches!(connection.read(Expected::Line, minute()).await, Read::Some));
    let _starttls = connection.input.split_to(10);
    assert!(matches!(connection.start_tls(&tls).await, Err(NetError::NotBeforeTls(_))));
    connection.input.clear();
    peer.write_all(b"RCPT TO:<victim@example>\r\n").await.unwrap();
    assert!(matches!(connection.start_tls(&tls).await, Err(NetError::Handshake(_))), "what was not read yet is no ClientHello");
    assert!(matches!(connection.read(Expected::Line, minute()).await, Read::Eof));
}

#[tokio::test(start_paused = true)]
async fn the_reply_that_agrees_goes_out_in_clear_first() {
    let House { folder, tls, .. } = house(false, 8, TIME);
    let (mut peer, mut connection) = pipe();
    connection.output.extend_from_slice(b"220 go ahead\r\n");
    let client = folder.client(&BOTH);
    let peer = async {
        let mut said = [0; 14];
        peer.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"220 go ahead\r\n");
        connect(&client, NAME, peer).await.unwrap()
    };
    let (ours, _theirs) = tokio::join!(connection.start_tls(&tls), peer);
    ours.unwrap();
    assert!(matches!(connection.start_tls(&tls).await, Err(NetError::NotBeforeTls(_))), "once is enough");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_not_done_in_time_is_given_up() {
    let House { tls, counters, .. } = house(false, 8, TIME);
    let ((mut peer, mut connection), start) = (pipe(), clock::now());
    peer.write_all(&[22, 3, 1]).await.unwrap();
    assert!(matches!(connection.start_tls(&tls).await, Err(NetError::HandshakeTimedOut)));
    assert_eq!(clock::now() - start, TIME);
    assert_eq!((counters.snapshot().handshakes_timed_out, counters.snapshot().handshakes_in_progress), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_does_not_go_on_keeps_nobody_waiting() {
    for version in BOTH {
        let House { folder, tls, counters } = house(false, 1, TIME);
        let ((_silent, mut silent), (stalling, mut stalled), (peer, mut connection)) = (pipe(), pipe(), pipe());
        let (client, start) = (folder.client(&[version]), clock::now());
        let mut stalls = Box::pin(connect(&client, NAME, stalling));
        // Polled once, it has said hello, and never hears the answer.
        assert!(clock::within(start, &mut stalls).await.is_none());
        let later = async {
            clock::pause(Duration::from_secs(1)).await;
            assert_eq!(counters.snapshot().handshakes_in_progress, 2);
            let (ours, theirs) = tokio::join!(connection.start_tls(&tls), connect(&client, NAME, peer));
            ours.unwrap();
            theirs.unwrap();
            assert_eq!(clock::now() - start, Duration::from_secs(1), "the only turn was free");
        };
        let (silent, stalled, ()) = tokio::join!(silent.start_tls(&tls), stalled.start_tls(&tls), later);
        for gone in [silent, stalled] {
            assert!(matches!(gone, Err(NetError::HandshakeTimedOut)));
        }
        assert_eq!(clock::now() - start, TIME);
        assert_eq!((counters.snapshot().handshakes_timed_out, counters.snapshot().handshakes_completed), (2, 1));
    }
}

/// The kind of the second handshake of a client that keeps what it is given, and the tickets it was given.
async fn second_handshake(tickets: bool, version: &'static SupportedProtocolVersion) -> HandshakeKind {
    let House { folder, tls, .. } = house(tickets, 8, TIME);
    let client = folder.client_that_resumes(&[version], Resumption::in_memory_sessions(8));
    let mut kind = None;
    for _ in 0..2 {
        let (peer, mut connection) = pipe();
        let (ours, theirs) = tokio::join!(connection.start_tls(&tls), connect(&client, NAME, peer));
        ours.unwrap();
        let mut theirs = theirs.unwrap();
        connection.output.extend_from_slice(b"220\r\n");
        connection.flush(minute()).await.unwrap();
        theirs.read_exact(&mut [0; 5]).await.unwrap(); // and the tickets before it
        if !tickets {
            assert_eq!(theirs.get_ref().1.tls13_tickets_received(), 0);
        }
        kind = theirs.get_ref().1.handshake_kind();
    }
    kind.unwrap()
}

#[tokio::test(start_paused = true)]
async fn there_is_resumption_with_tickets_and_none_without() {
    for version in BOTH {
        assert_eq!(second_handshake(false, version).await, HandshakeKind::Full);
        assert_eq!(second_handshake(true, version).await, HandshakeKind::Resumed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_peer_gets_the_certificate_it_asks_for_and_a_new_one_once_it_is_there() {
    let mut folder = Folder::new();
    let pairs = [("first", "mx.example"), ("second", "pop.example"), ("third", "*.wild.example")];
    let certificates = Certificates::load(pairs.map(|(file, name)| folder.write(file, name)).to_vec()).unwrap();
    let handshakes = Arc::new(Handshakes::new(8, TIME, Arc::<Counters>::default()));
    let tls = Tls::new(Arc::clone(&certificates), false, handshakes).unwrap();
    let ask = |client: tokio_rustls::TlsConnector, name| {
        let tls = tls.clone();
        async move {
            let (peer, mut connection) = pipe();
            let (ours, theirs) = tokio::join!(connection.start_tls(&tls), connect(&client, name, peer));
            theirs.map(|theirs| (shown(&theirs), ours.unwrap()).0)
        }
    };
    let client = folder.client(&BOTH);
    let old = ask(client.clone(), "mx.example").await.unwrap();
    assert_ne!(ask(client.clone(), "pop.example").await.unwrap(), old);
    ask(client.clone(), "any.wild.example").await.unwrap();
    ask(client.clone(), "unknown.example").await.unwrap_err(); // the default, which does not name it

    fs::write(folder.pair("first").key, "not a key").unwrap();
    assert!(matches!(&certificates.reload()[..], [Err(NetError::Pem { .. })]));
    assert_eq!(ask(client, "mx.example").await.unwrap(), old, "a bad pair changes nothing");

    folder.write("first", "mx.example");
    assert!(matches!(&certificates.reload()[..], [Ok(_)]));
    assert_ne!(ask(folder.client(&BOTH), "mx.example").await.unwrap(), old);
}
