//! A connection while it waits, reads, writes and closes, in simulated time.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::BytesMut;
use net::{Connection, Drain, Expected, GOODBYE, NetError, Read, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;

const MINUTE: Duration = Duration::from_secs(60);

fn pipe(octets: usize) -> (DuplexStream, Connection) {
    let (peer, ours) = duplex(octets);
    (peer, Connection::over_pipe(ours, Drain::new()))
}

#[tokio::test(start_paused = true)]
async fn a_waiting_connection_holds_no_buffer() {
    let (mut peer, mut connection) = pipe(1 << 20);
    connection.output.extend_from_slice(b"220 mx.example\r\n");
    let said = connection.output.split_to(3).freeze();
    connection.flush(clock::now() + MINUTE).await.unwrap();
    peer.write_all(b"NOOP\r\nNOO").await.unwrap();
    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::Some));
    let command = connection.input.split_to(6).freeze();
    assert!(!said.is_unique() && !command.is_unique(), "views of the buffers that were read into and written from");

    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::TimedOut));
    assert!(said.is_unique() && command.is_unique(), "the last views of them");
    assert_eq!((&connection.input[..], connection.input.capacity() < 64), (&b"NOO"[..], true), "kept, in its own size");
    connection.input.clear();
    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::TimedOut));
    assert_eq!((connection.input.capacity(), connection.output.capacity()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_is_read_in_growing_pieces() {
    let (mut peer, mut connection) = pipe(1 << 20);
    peer.write_all(&[b'x'; 1 << 20]).await.unwrap();
    let mut pieces = Vec::new();
    while pieces.iter().sum::<usize>() < 1 << 20 {
        assert!(matches!(connection.read(Expected::Text, clock::now() + MINUTE).await, Read::Some));
        pieces.push(connection.input.split().len());
    }
    assert_eq!(pieces[0], 16 << 10);
    peer.write_all(&[b'x'; 4 << 10]).await.unwrap();
    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::Some));
    assert_eq!(connection.input.split().len(), 1 << 10, "who expects a line takes a few");
    assert!(pieces.iter().all(|octets| *octets <= 64 << 10) && pieces.contains(&(64 << 10)), "{pieces:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_to_whichever_way_it_moves() {
    let (_peer, mut connection) = pipe(64);
    for length in [5 * MINUTE, MINUTE, 10 * MINUTE, Duration::ZERO] {
        let start = clock::now();
        assert!(matches!(connection.read(Expected::Line, start + length).await, Read::TimedOut));
        assert_eq!(clock::now() - start, length);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up_and_what_it_left_is_still_there() {
    let (mut peer, mut connection) = pipe(4);
    connection.output.extend_from_slice(b"250 ok\r\n");
    let start = clock::now();
    assert!(matches!(connection.flush(start + MINUTE).await, Err(NetError::WriteTimedOut)));
    assert_eq!(clock::now() - start, MINUTE);
    let mut said = [0; 8];
    let (flushed, _) = tokio::join!(connection.flush(clock::now() + MINUTE), peer.read_exact(&mut said));
    flushed.unwrap();
    assert_eq!(&said, b"250 ok\r\n", "once, and in order");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_peer_is_told() {
    let (mut peer, mut connection) = pipe(64);
    peer.write_all(b"QUIT\r\n").await.unwrap();
    drop(peer);
    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::Some));
    assert!(matches!(connection.read(Expected::Line, clock::now() + MINUTE).await, Read::Eof));
    connection.output.extend_from_slice(b"221 bye\r\n");
    assert!(matches!(connection.flush(clock::now() + MINUTE).await, Err(NetError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn closing_waits_a_moment_for_a_peer_that_talks_and_not_at_all_for_one_that_closed() {
    let (mut peer, mut connection) = pipe(64);
    peer.write_all(b"still talking").await.unwrap();
    let start = clock::now();
    connection.close().await;
    assert_eq!(clock::now() - start, GOODBYE);
    let mut rest = Vec::new();
    assert_eq!(peer.read_to_end(&mut rest).await.unwrap(), 0);
    assert!(matches!(connection.read(Expected::Line, start).await, Read::Eof), "closed is closed");

    let (peer, mut connection) = pipe(64);
    drop(peer);
    let start = clock::now();
    connection.close().await;
    assert_eq!(clock::now(), start);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_an_idle_wait_at_its_deadline_and_leaves_time_for_a_goodbye() {
    let (drain, start, (mut peer, ours)) = (Drain::new(), clock::now(), duplex(64));
    let mut connection = Connection::over_pipe(ours, drain.clone());
    drain.spawn(async move {
        assert!(matches!(connection.read(Expected::Line, start + 60 * MINUTE).await, Read::Drained));
        connection.output.extend_from_slice(b"421 4.3.2 leaving\r\n");
        connection.flush(clock::now() + MINUTE).await.unwrap();
    });
    let mut said = String::new();
    let (finished, _) = tokio::join!(drain.finish(start + MINUTE), peer.read_to_string(&mut said));
    assert_eq!((finished.cut, said.as_str(), clock::now() - start), (0, "421 4.3.2 leaving\r\n", MINUTE));
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_read_even_when_the_server_leaves() {
    let (drain, (mut peer, ours), (tell, told)) = (Drain::new(), duplex(64), oneshot::channel());
    let mut connection = Connection::over_pipe(ours, drain.clone());
    peer.write_all(b"QUIT\r\n").await.unwrap();
    let leaving = drain.clone();
    drain.spawn(async move {
        leaving.wait().await;
        assert!(connection.drain_requested());
        tell.send((connection.read(Expected::Line, clock::now() + MINUTE).await, connection.input.split())).unwrap();
    });
    drain.finish(clock::now()).await;
    let (read, input) = told.await.unwrap();
    assert!(matches!(read, Read::Some));
    assert_eq!(input, BytesMut::from("QUIT\r\n"));
}

#[test]
fn an_idle_session_is_small() {
    async fn session(mut connection: Connection, tls: Option<net::Tls>) {
        let minute = || clock::now() + MINUTE;
        while let Read::Some = connection.read(Expected::Line, minute()).await {
            connection.output = connection.input.split();
            if connection.flush(minute()).await.is_err() {
                return;
            }
            if let Some(tls) = &tls {
                let _done = connection.start_tls(tls).await;
            }
        }
        connection.close().await;
    }
    let (_peer, connection) = pipe(64);
    assert!(size_of::<Connection>() <= 256, "{} octets", size_of::<Connection>());
    let session = size_of_val(&session(connection, None));
    assert!(session <= 1024, "{session} octets");
}
