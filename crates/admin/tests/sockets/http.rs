//! Metrics and health, over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use admin::{Error, Http};
use store::memory::Condition;
use tokio::task::{JoinSet, spawn_blocking};

use crate::Server;

/// Status, head and body of a GET.
async fn get(address: SocketAddr, path: &'static str) -> (u16, String, String) {
    let answer = spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn metrics_and_health_are_served() {
    let mut server = Server::new();
    let (address, stop) = server.http().await;
    let (status, head, body) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("\ngatepost_gate_limit_sessions 2\n") && body.ends_with("# EOF\n"), "{body}");
    assert_eq!(get(address, "/healthz").await.0, 200);
    assert_eq!(get(address, "/nothing").await.0, 404);
    assert_eq!(get(address, "/").await.0, 200);
    stop.send(()).unwrap();
    server.ended().await;
}

#[tokio::test]
async fn readiness_says_why_not() {
    let mut server = Server::new();
    let (address, _stop) = server.http().await;
    let ready = async || {
        let (status, head, body) = get(address, "/readyz").await;
        assert!(head.contains("content-type: application/json"), "{head}");
        (status, body)
    };
    assert_eq!(ready().await, (200, "{\"ready\":true,\"node\":\"open\",\"reasons\":[]}\n".into()));
    server.store.set(Condition::Unavailable);
    let (status, body) = ready().await;
    assert_eq!((status, body.contains("the store is unavailable: told to be unavailable")), (503, true), "{body}");
    server.store.set(Condition::Ready);
    assert_eq!(ready().await.0, 200);
    server.gate.store_down();
    assert_eq!(ready().await.0, 503);
    server.gate.store_up();
    assert_eq!(ready().await.0, 200);
    server.gate.drain();
    let (status, body) = ready().await;
    assert_eq!((status, body.contains("\"node\":\"draining\"")), (503, true), "{body}");
}

#[tokio::test]
async fn http_has_so_many_connections() {
    let mut server = Server::new();
    let (address, _stop) = server.http().await;
    let mut silent: Vec<_> = (0..32).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut waiting = JoinSet::new();
    waiting.spawn(get(address, "/healthz"));
    assert!(tokio::time::timeout(Duration::from_millis(100), waiting.join_next()).await.is_err());
    silent.pop();
    assert_eq!(waiting.join_next().await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        assert!(matches!(Http::bind(address.parse().unwrap()).await, Err(Error::NotLoopback(_))), "{address}");
    }
    let taken = Http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    assert!(matches!(Http::bind(taken.address()).await, Err(Error::Bind { .. })));
}
