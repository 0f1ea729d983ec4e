//! The accept loop over loopback: who is admitted, what a refusal looks like to its peer, and what it costs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod house;

use std::sync::atomic::Ordering;

use house::server::{REFUSED, Server, line, rest, until};
use house::{House, MINUTE, NAME, connect, house};
use net::{REFUSALS_MOST, clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn one_is_admitted_the_next_refused_and_a_place_freed_admits_again() {
    let server = Server::start(1, None);
    let mut first = server.connect().await;
    assert_eq!(line(&mut first).await, "220 mx.example\r\n");
    assert_eq!(rest(server.connect().await).await, REFUSED);
    first.write_all(b"hello\r\n").await.unwrap();
    assert_eq!(line(&mut first).await, "hello\r\n");
    drop(first);
    until("the place is free", || server.echo.free_places() == 1).await;
    assert_eq!(line(&mut server.connect().await).await, "220 mx.example\r\n");
    let figures = server.figures();
    assert_eq!((figures.accepted, figures.refused_answered, figures.refused_unanswered), (2, 1, 0));
}

#[tokio::test]
async fn an_early_talker_gets_its_reply_and_no_reset() {
    let server = Server::start(0, None);
    for before in 0..50 {
        let mut peer = server.connect().await;
        peer.write_all(&[b'x'; 4096]).await.unwrap();
        until("it is answered", || server.figures().refused_answered > before).await;
        peer.write_all(&[b'x'; 4096]).await.unwrap();
        assert_eq!(rest(peer).await, REFUSED);
    }
}

#[tokio::test]
async fn two_thousand_refusals_are_all_answered_without_a_task() {
    const PEERS: usize = 2000;
    let server = Server::start(0, None);
    until("the loop waits", || tokio::runtime::Handle::current().metrics().num_alive_tasks() == 1).await;
    let (mut most_lingering, mut most_tasks) = (0, 0);
    for _ in 0..PEERS / 100 {
        let mut peers = Vec::new();
        for _ in 0..100 {
            peers.push(server.connect().await);
        }
        for peer in peers {
            assert_eq!(rest(peer).await, REFUSED);
            most_lingering = server.figures().lingering.max(most_lingering);
            most_tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks().max(most_tasks);
        }
    }
    assert_eq!(server.figures().refused_answered, PEERS as u64);
    assert!(most_lingering <= 1024, "{most_lingering}");
    assert_eq!(most_tasks, 1, "the accept loop and nothing else");
    until("all have left", || server.figures().lingering == 0).await;
}

#[tokio::test]
async fn inside_implicit_tls_a_few_are_told_and_the_others_are_closed() {
    let House { folder, tls, counters } = house(false, 8, MINUTE);
    let server = Server::start(0, Some(tls));
    let client = folder.client(&[&rustls::version::TLS13]);
    let mut told = connect(&client, NAME, server.connect().await).await.unwrap();
    let mut said = String::new();
    told.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, REFUSED);
    drop(told);
    until("its place is free", || server.drain.sessions() == 0).await;

    let mut silent = Vec::new();
    for _ in 0..REFUSALS_MOST {
        silent.push(server.connect().await);
    }
    until("all places are taken", || counters.snapshot().handshakes_in_progress == REFUSALS_MOST as u64).await;
    assert_eq!(server.connect().await.read(&mut [0; 8]).await.unwrap(), 0, "closed without a word");
    assert_eq!(server.figures().refused_unanswered, 1);
    until("the silent are given up", || server.drain.sessions() == 0).await;
    let figures = server.figures();
    assert_eq!((figures.refused_answered, figures.refused_unanswered), (1, 1 + REFUSALS_MOST as u64));
}

/// A handshake that ends in a refusal is refusing's to pay, and no session's work.
#[tokio::test]
async fn refusals_inside_implicit_tls_are_off_the_budget() {
    let House { folder, tls, counters } = house(false, 8, MINUTE);
    let server = Server::start(0, Some(tls));
    let client = folder.client(&[&rustls::version::TLS13]);
    let peer = server.connect().await;
    until("its turn at the door is over", || counters.snapshot().handshakes_in_progress == 1).await;
    let at_the_door = server.budget.spent();
    let mut said = String::new();
    connect(&client, NAME, peer).await.unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, REFUSED);
    assert!(server.budget.spent() > at_the_door);
}

#[tokio::test]
async fn sessions_inside_implicit_tls_work() {
    let House { folder, tls, .. } = house(true, 8, MINUTE);
    let server = Server::start(1, Some(tls));
    let client = folder.client(&[&rustls::version::TLS13]);
    let mut peer = connect(&client, NAME, server.connect().await).await.unwrap();
    let mut greeting = [0; 16];
    peer.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 mx.example\r\n");
}

#[tokio::test]
async fn late_comers_are_answered_until_the_last_session_has_ended() {
    let server = Server::start(1, None);
    let mut stays = server.connect().await;
    line(&mut stays).await;
    let (finished, ()) = tokio::join!(server.drain.finish(clock::now() + MINUTE), async {
        assert_eq!(rest(server.connect().await).await, REFUSED, "still there to say so");
        drop(stays);
    });
    assert_eq!(finished.cut, 0);
    assert!(TcpStream::connect(server.address).await.is_err(), "the listener has closed");
}

#[tokio::test]
async fn a_session_that_idles_through_the_drain_is_ended_and_its_place_is_free() {
    let server = Server::start(1, None);
    let mut idles = server.connect().await;
    line(&mut idles).await;
    let finished = server.drain.finish(clock::now()).await;
    assert_eq!((finished.cut, server.drain.sessions(), server.echo.free_places()), (0, 0, 1));
    assert_eq!(rest(idles).await, "", "closed, not reset");
}

#[tokio::test]
async fn a_panic_in_the_accept_loop_costs_one_connection_and_no_place() {
    let server = Server::start(2, None);
    let mut first = server.connect().await;
    assert_eq!(line(&mut first).await, "220 mx.example\r\n");
    for _ in 0..3 {
        server.echo.panics.store(true, Ordering::SeqCst);
        assert_eq!(rest(server.connect().await).await, "");
        assert_eq!(server.echo.free_places(), 1);
    }
    assert_eq!(*server.echo.panicked.lock().unwrap(), ["an error of ours"; 3]);
    let mut last = server.connect().await;
    assert_eq!(line(&mut last).await, "220 mx.example\r\n");
    first.write_all(b"hello\r\n").await.unwrap();
    assert_eq!(line(&mut first).await, "hello\r\n", "sessions have noticed nothing");
    assert_eq!(rest(server.connect().await).await, REFUSED);
}
