//! Who gets in while strangers fill the gate, over the wire.

use std::io::Read;
use std::net::TcpStream;

use crate::harness::{ANN, BOB, Dialogue, PASSWORD, PATIENCE, Server};

/// Strangers behind the office's own address have every place a stranger can have; its people submit all the same.
#[test]
fn an_office_whose_address_fills_the_gate_submits_fifty_times_over() {
    let server = Server::start(
        "[gate]\nmax_inbound = 80\nreserve = 60\nsessions_per_user = 50\nsessions_per_address = 80\nsessions_per_network = 80\nsessions_per_site = 80\n\
         fair_share_alpha = 0\n[auth]\nhash_memory = \"8KiB\"\nhash_passes = 1\n",
    );
    let strangers: Vec<Dialogue> = (0..20)
        .map(|_| {
            let mut smtp = server.connect("smtp");
            assert!(smtp.hear().starts_with("220 "));
            smtp
        })
        .collect();
    assert!(server.connect("smtp").hear().starts_with("421 4.3.2 "), "the general places are taken");
    let mut submissions: Vec<Dialogue> = (0..50)
        .map(|number| {
            let mut smtp = server.connect_tls("submissions");
            let greeting = smtp.hear();
            assert!(greeting.starts_with("220 "), "submission {number}: {greeting}");
            smtp.ask("EHLO office.example");
            let plain = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("\0{ANN}\0{PASSWORD}"));
            assert!(smtp.ask(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
            smtp
        })
        .collect();
    assert_eq!(server.in_use() as usize, strangers.len() + submissions.len());
    assert_eq!(server.metric("gatepost_gate_unreserved_in_use_sessions", ""), 20);
    assert_eq!(server.metric("gatepost_gate_authenticating_sessions", ""), 0);
    for (number, smtp) in submissions.iter_mut().enumerate() {
        for (line, code) in [(format!("MAIL FROM:<{ANN}>"), "250 "), (format!("RCPT TO:<{BOB}>"), "250 "), ("DATA".into(), "354 ")] {
            let reply = smtp.ask(&line);
            assert!(reply.starts_with(code), "submission {number}, {line}: {reply}");
        }
        let accepted = smtp.ask(&format!("Subject: submission {number}\r\n\r\n."));
        assert!(accepted.starts_with("250 2.0.0 "), "submission {number}: {accepted}");
    }
    assert_eq!(server.maildrop(BOB).len(), submissions.len());
    server.eventually("nobody has left but who has counted the messages", |server| {
        server.in_use() as usize == strangers.len() + submissions.len()
    });
}

/// The same where they come to the submission port and never say a word: whoever only sits in a place for people about to show a password
/// makes room for somebody who does.
#[test]
fn an_office_whose_address_sits_on_its_submission_port_submits_all_the_same() {
    let server = Server::start(
        "[gate]\nmax_inbound = 80\nreserve = 60\nsessions_per_user = 50\nsessions_per_address = 80\nsessions_per_network = 80\nsessions_per_site = 80\n\
         fair_share_alpha = 0\n[auth]\nhash_memory = \"8KiB\"\nhash_passes = 1\n",
    );
    let strangers: Vec<_> = (0..35).map(|_| server.stream_from([127, 0, 0, 1].into(), "submissions")).collect();
    server.eventually("they hold all that they may", |server| server.in_use() as usize == strangers.len());
    assert_eq!(server.metric("gatepost_gate_authenticating_sessions", ""), 15, "half of the lane");
    let people: Vec<Dialogue> = (0..20)
        .map(|number| {
            let mut smtp = server.connect_tls("submissions");
            let greeting = smtp.hear();
            assert!(greeting.starts_with("220 "), "{number}: {greeting}");
            smtp.ask("EHLO office.example");
            let plain = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("\0{ANN}\0{PASSWORD}"));
            assert!(smtp.ask(&format!("AUTH PLAIN {plain}")).starts_with("235 "));
            smtp
        })
        .collect();
    assert_eq!(server.metric("gatepost_sessions_refused_total", ""), 0);
    let gave_way = server.metric("gatepost_sessions_ended_total", "end=\"gave_way\"");
    assert!((1..=15).contains(&gave_way), "{gave_way}");
    drop((strangers, people));
}

/// A flooder has what the formula gives it, and none of the others is refused because of it. Each attempt is answered before the next
/// one is made, so that every figure is exact.
#[test]
fn a_flood_of_ten_thousand_from_one_network_keeps_none_of_two_hundred_others_out() {
    let server = Server::start(
        "[gate]\nmax_inbound = 600\nreserve = 60\nfair_share_alpha = 0.5\nstart_ramp = \"0s\"\n\
         sessions_per_address = 600\nsessions_per_network = 600\nsessions_per_site = 600\n[timeouts]\ncommand = \"1h\"\n",
    );
    let alone = flood(&server, 1_000);
    // alpha * G / (1 + alpha) of the 540 general places, and whoever comes later takes nothing of it away.
    assert!(alone.len().abs_diff(540 / 3) <= 1, "{} places", alone.len());
    let mut others = Vec::new();
    for network in 0..OTHERS {
        others.push(comes(&server, [127, 1, network, 1]).unwrap_or_else(|refusal| panic!("other {network} is refused: {refusal}")));
        assert_eq!(flood(&server, 9_000 / usize::from(OTHERS)).len(), 0, "who has its share has no more of less");
    }
    assert_eq!(server.in_use() as usize, alone.len() + others.len());
    let refused = (10_000 - alone.len()) as u64;
    assert_eq!(server.metric("gatepost_sessions_refused_total", "rule=\"R2\""), refused);
    assert_eq!(server.metric("gatepost_sessions_refused_total", ""), refused, "and for no other reason");

    // When it comes again, with the others there, it has its share of what they leave.
    drop(alone);
    server.eventually("the flooder is gone", |server| server.in_use() == u64::from(OTHERS));
    let again = flood(&server, 1_000);
    assert!(again.len().abs_diff((540 - usize::from(OTHERS)) / 3) <= 1, "{} places", again.len());
}

/// So many attempts from all over 127.9.9.0/24, one after the other; those that were let in. Who is refused leaves at once.
fn flood(server: &Server, attempts: usize) -> Vec<TcpStream> {
    (0..attempts).filter_map(|number| comes(server, [127, 9, 9, u8::try_from(number % 256).unwrap()]).ok()).collect()
}

/// A client from `source`, greeted, or what it was told instead.
fn comes(server: &Server, source: [u8; 4]) -> Result<TcpStream, String> {
    let mut stream = server.stream_from(source.into(), "smtp");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut octets = [0; 256];
        let read = stream.read(&mut octets).unwrap();
        assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&line));
        line.extend_from_slice(&octets[..read]);
    }
    if line.starts_with(b"220 ") { Ok(stream) } else { Err(String::from_utf8_lossy(&line).into_owned()) }
}

/// Each in a network of its own.
const OTHERS: u8 = 200;
