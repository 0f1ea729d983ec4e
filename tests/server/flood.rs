//! Forty thousand connections that are all refused: what they leave in memory and in the log.

use std::collections::HashMap;
use std::thread;
use std::time::Instant;

use crate::harness::{Dialogue, Server};
use crate::occupied::{self, Memory};

#[test]
fn refusals_leave_neither_memory_nor_a_long_log() {
    let (began, server) = (Instant::now(), Server::start("[gate]\nmax_inbound = 1\n"));
    let mut inside = server.connect("smtp");
    assert!(inside.hear().starts_with("220 "));
    let (sockets, mut memory) = (occupied::sockets(&server), Memory::default());
    for _ in 0..WAVES {
        memory.during(&server, || {
            let silent: Vec<Dialogue> = thread::scope(|scope| {
                let attackers: Vec<_> = (1..=SOURCES)
                    .map(|source| {
                        scope.spawn({
                            let server = &server;
                            move || attack(server, source)
                        })
                    })
                    .collect();
                attackers.into_iter().flat_map(|attacker| attacker.join().unwrap()).collect()
            });
            // They keep their ends open, and the server closes its own.
            server.eventually("nobody lingers", |server| server.metric("gatepost_net_refusals_lingering", "") == 0);
            assert_eq!(silent.len(), usize::from(SOURCES) * EACH.div_ceil(MANNERS));
        });
    }
    // The last figures were asked for through a socket, which the server closes in its own time.
    server.eventually("every socket is closed", |server| occupied::sockets(server) <= sockets);
    memory.grows_less_than(GROWTH_KIB);

    let refused = u64::from(SOURCES) * (EACH * WAVES) as u64;
    assert_eq!(server.metric("gatepost_sessions_refused_total", "rule=\"R4\""), refused);
    let met = server.metric("gatepost_net_refusals_answered_total", "") + server.metric("gatepost_net_refusals_unanswered_total", "");
    assert_eq!(met, refused);
    let mut lines: HashMap<String, u64> = HashMap::new();
    for line in server.log().lines().filter(|line| line.contains("session refused")) {
        let source = line.split_whitespace().find_map(|field| field.strip_prefix("source=")).unwrap();
        *lines.entry(source.to_owned()).or_default() += 1;
    }
    let most = 1 + began.elapsed().as_secs() / SECONDS_A_LINE;
    assert!(lines.len() == usize::from(SOURCES) && lines.values().all(|lines| *lines <= most), "more than {most} lines: {lines:?}");
    assert!(inside.ask("NOOP").starts_with("250 "), "who is in has noticed nothing");
}

/// One source's part of a wave. Those that never read are kept.
fn attack(server: &Server, source: u8) -> Vec<Dialogue> {
    let mut silent = Vec::new();
    for number in 0..EACH {
        let mut attacker = server.connect_from(source, "smtp");
        match number % MANNERS {
            0 => silent.push(attacker),
            1 => assert!(attacker.hear().starts_with("421 ") && attacker.is_over()),
            2 => {
                // It may have been closed already.
                let _early = attacker.try_say("EHLO early.example\r\n".repeat(100));
                attacker.is_left();
            }
            _ => drop(attacker),
        }
    }
    silent
}

const WAVES: usize = 8;
const SOURCES: u8 = 8;
/// Connections of a source in a wave.
const EACH: usize = 625;
/// Never reads; reads; talks early; hangs up.
const MANNERS: usize = 4;
/// Of each refusal `gatepost gate explain` can tell, up to 65,536 of them, with who held the places: these 40,000 are all remembered.
const GROWTH_KIB: u64 = 24 << 10;
/// How often a source's refusals are worth a line of the log.
const SECONDS_A_LINE: u64 = 10;
