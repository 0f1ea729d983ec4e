//! Trusted proxies: whom they speak for, and what becomes of those that do not say so.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod house;

use std::net::{IpAddr, SocketAddr};

use house::server::{REFUSED, Server, line, rest, until};
use house::{House, MINUTE, NAME, connect, house};
use net::{ProxyFault, WaitingRoom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GREETING: &str = "220 mx.example\r\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x9c\x40\0\x19";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A server that trusts 127.0.0.1.
fn behind_a_proxy(server: Server) -> Server {
    server.echo.proxies.lock().unwrap().push(IpAddr::from([127, 0, 0, 1]));
    server
}

/// Whom the server has served so far.
fn served(server: &Server) -> Vec<(SocketAddr, SocketAddr)> {
    server.echo.sessions.lock().unwrap().clone()
}

fn the_client() -> (SocketAddr, SocketAddr) {
    ("192.0.2.7:40000".parse().unwrap(), "198.51.100.1:25".parse().unwrap())
}

async fn says(server: &Server, octets: &[u8]) -> TcpStream {
    let mut proxy = server.connect_from(1).await;
    proxy.write_all(octets).await.unwrap();
    proxy
}

#[tokio::test]
async fn the_client_is_who_the_header_says_and_the_rest_is_for_the_session() {
    let server = behind_a_proxy(Server::start(8, None));
    for header in [V1, V2] {
        let mut proxy = says(&server, &[header, b"early\r\n"].concat()).await;
        assert_eq!((line(&mut proxy).await.as_str(), line(&mut proxy).await.as_str()), (GREETING, "early\r\n"));
    }
    assert_eq!((served(&server), server.figures().proxied), (vec![the_client(); 2], 2));
}

#[tokio::test]
async fn a_header_may_come_in_pieces() {
    let server = behind_a_proxy(Server::start(8, None));
    for header in [V1, V2] {
        let mut proxy = server.connect_from(1).await;
        proxy.set_nodelay(true).unwrap();
        for octet in header {
            proxy.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(line(&mut proxy).await, GREETING);
    }
    assert_eq!((served(&server), server.figures().introductions), (vec![the_client(); 2], 0));
}

#[tokio::test]
async fn a_proxys_own_connection_is_its_own() {
    let server = behind_a_proxy(Server::start(8, None));
    for header in [V2_LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut proxy = says(&server, header).await;
        assert_eq!(line(&mut proxy).await, GREETING);
        assert_eq!(served(&server).pop().unwrap(), (proxy.local_addr().unwrap(), server.address));
    }
    assert_eq!(server.figures().proxied, 0);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let server = behind_a_proxy(Server::start(8, None));
    let mut stranger = server.connect_from(2).await;
    stranger.write_all(V1).await.unwrap();
    assert_eq!(line(&mut stranger).await, GREETING);
    assert_eq!(line(&mut stranger).await.as_bytes(), V1, "a line like any other");
    assert_eq!(served(&server).pop().unwrap().0, stranger.local_addr().unwrap());
}

#[tokio::test]
async fn a_trusted_proxy_without_a_header_is_closed_without_a_word() {
    let server = behind_a_proxy(Server::start(8, None));
    for (said, fault) in [(&b"EHLO client.example\r\n"[..], ProxyFault::Missing), (b"PROXY TCP9 192.0.2.7 x\r\n", ProxyFault::Malformed)] {
        let mut proxy = says(&server, said).await;
        // A close or, as octets were left unread, a reset.
        assert!(matches!(proxy.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        until("the fault is told", || server.echo.faults.lock().unwrap().pop() == Some(fault)).await;
    }
    // A health check says nothing and is no fault.
    drop(server.connect_from(1).await);
    let mut proxy = says(&server, V1).await;
    assert_eq!(line(&mut proxy).await, GREETING);
    assert!(server.echo.faults.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_is_given_up_and_few_are_waited_for() {
    let server = behind_a_proxy(Server::start(8, None));
    let mut silent = Vec::new();
    for number in 0..64 {
        silent.push(says(&server, &V1[..number % 9]).await);
    }
    until("all are heard", || server.figures().introductions == 64).await;
    let mut proxy = server.connect_from(1).await;
    assert_eq!(proxy.read(&mut [0; 8]).await.unwrap(), 0, "there is no place for one more");
    assert_eq!(server.echo.faults.lock().unwrap().pop(), Some(ProxyFault::Crowded));
    let mut prompt = says(&server, V1).await;
    assert_eq!(line(&mut prompt).await, GREETING, "one that has said all needs none");
    for mut proxy in silent {
        assert!(matches!(proxy.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }
    assert_eq!((*server.echo.faults.lock().unwrap()).as_slice(), [ProxyFault::Late; 64]);
    assert_eq!(server.figures().introductions, 0);
}

#[tokio::test]
async fn clients_behind_one_proxy_wait_in_turns_of_their_own() {
    let server = behind_a_proxy(Server::with_room(0, None, Some(WaitingRoom { wait: MINUTE, places: 3 })));
    let mut waiting = Vec::new();
    for (number, client) in [7, 7, 8].into_iter().enumerate() {
        waiting.push(says(&server, format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 4000 25\r\n").as_bytes()).await);
        until("it waits", || server.figures().waiting == number as u64 + 1).await;
    }
    server.echo.add_places(2);
    for number in [0, 2] {
        assert_eq!(line(&mut waiting[number]).await, GREETING);
    }
    server.echo.close();
    assert_eq!(rest(waiting.remove(1)).await, REFUSED);
}

#[tokio::test]
async fn implicit_tls_comes_behind_the_header() {
    let House { folder, tls, .. } = house(false, 8, MINUTE);
    let server = behind_a_proxy(Server::start(1, Some(tls)));
    let client = folder.client(&[&rustls::version::TLS13]);
    let mut inside = connect(&client, NAME, says(&server, V1).await).await.unwrap();
    let mut greeting = [0; 16];
    inside.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, GREETING.as_bytes());
    assert_eq!(served(&server), [the_client()]);
    let mut refused = connect(&client, NAME, says(&server, V2).await).await.unwrap();
    let mut said = String::new();
    refused.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, REFUSED);
}
