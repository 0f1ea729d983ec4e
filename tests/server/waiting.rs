//! Waiting for a place, over the wire.

use std::net::Shutdown;

use crate::harness::{Dialogue, Server, token};

/// One place, and time enough for any test.
const ONE_PLACE: &str = "[gate]\nmax_inbound = 1\n[when_full]\npop3 = { wait = \"1h\", places = 8 }\n\
                         pop3s = { wait = \"1h\", places = 8 }\nsubmissions = { wait = \"1h\", places = 8 }\n";

#[test]
fn sources_get_the_place_that_comes_free_in_turn() {
    let server = Server::start(ONE_PLACE);
    let mut inside = server.connect("pop3");
    assert!(inside.hear().starts_with("+OK "));
    let mut waiting: Vec<_> = [1, 1, 1, 2].map(|source| Some(wait(&server, source, "pop3"))).into();
    assert!(server.connect("smtp").hear().contains("[R4."), "other servers are told at once");
    for turn in [0, 3, 1, 2] {
        assert!(inside.ask("QUIT").starts_with("+OK "));
        inside = waiting[turn].take().unwrap();
        assert!(inside.hear().starts_with("+OK "));
        assert_eq!(server.in_use(), 1);
    }
    assert_eq!((server.metric("gatepost_gate_waiting_connections", ""), ended(&server)), (0, [4, 0, 0, 0]));
    assert_eq!(server.metric("gatepost_sessions_refused_total", ""), 1, "who waits is no refusal");
}

#[test]
fn inside_tls_the_handshake_comes_after_the_wait() {
    let server = Server::start(ONE_PLACE);
    let mut inside = server.connect("smtp");
    assert!(inside.hear().starts_with("220 "));
    let waits = wait(&server, 1, "submissions");
    let certificate = server.certificate();
    let shakes_hands = std::thread::spawn(move || waits.start_tls(&certificate).hear());
    assert!(inside.ask("QUIT").starts_with("221 "));
    assert!(shakes_hands.join().unwrap().starts_with("220 "));
}

#[test]
fn who_hangs_up_leaves_and_who_waits_hears_of_a_change() {
    let server = Server::start(ONE_PLACE);
    let mut inside = server.connect("smtp");
    assert!(inside.hear().starts_with("220 "));
    let leaves = wait(&server, 1, "pop3");
    leaves.stream().shutdown(Shutdown::Write).unwrap();
    server.eventually("it has left", |server| ended(server) == [0, 0, 1, 0]);

    let mut waits = wait(&server, 1, "pop3");
    server.edit("pop3 = { wait = \"1h\", places = 8 }", "pop3 = \"refuse\"");
    let said = server.succeed(&["reload"]);
    assert!(said.contains("when_full.pop3: { ") && said.contains(" } -> \"refuse\""), "{said}");
    assert!(waits.hear().starts_with("-ERR [SYS/TEMP] mail.example.org Too many connections, try again later [R4."));
    assert!(waits.is_over());
    assert!(server.connect("pop3").hear().starts_with("-ERR [SYS/TEMP] "));

    let mut waits = wait(&server, 1, "submission");
    server.edit("max_inbound = 1", "max_inbound = 2");
    server.succeed(&["reload"]);
    assert!(waits.hear().starts_with("220 "), "a raised limit is for those who wait");
    assert_eq!(ended(&server), [1, 1, 1, 0]);
}

#[test]
fn when_the_server_leaves_who_waits_is_told_so() {
    let mut server = Server::start(ONE_PLACE);
    let mut inside = server.connect("smtp");
    assert!(inside.hear().starts_with("220 "));
    let mut waiting = [1, 2].map(|source| wait(&server, source, "pop3"));
    server.signal("TERM");
    for waits in &mut waiting {
        assert!(waits.hear().starts_with("-ERR [SYS/TEMP] mail.example.org Service restarting, try again shortly [R1."));
    }
    assert!(inside.ask("NOOP").starts_with("421 "));
    assert!(server.wait().success());
}

#[test]
fn a_session_that_only_sits_there_gives_way_to_one_who_waits() {
    let server = Server::start(&ONE_PLACE.replace("max_inbound = 1\n", "max_inbound = 1\ngive_way_after = \"5s\"\n"));
    let mut sits = server.connect("smtp");
    assert!(sits.hear().starts_with("220 "));
    let mut waits = wait(&server, 1, "pop3");
    // Nobody else comes: the server looks by itself for one who has rested long enough.
    let said = sits.hear();
    assert!(said.starts_with("421 4.3.2 mail.example.org Place needed, reconnect any time [R7."), "{said}");
    let explained = server.succeed(&["gate", "explain", token(&said)]);
    assert!(explained.contains("this session had only sat there") && explained.contains("gate.give_way_after = \"5s\" now"), "{explained}");
    assert!(waits.hear().starts_with("+OK "));
    server.eventually("its end is counted", |server| server.metric("gatepost_sessions_ended_total", "end=\"gave_way\"") == 1);
}

/// A connection that is seen to wait.
fn wait(server: &Server, source: u8, service: &str) -> Dialogue {
    let before = server.metric("gatepost_gate_waiting_connections", "");
    let waits = server.connect_from(source, service);
    server.eventually("it waits", |server| server.metric("gatepost_gate_waiting_connections", "") > before);
    waits
}

/// How every wait has ended so far.
fn ended(server: &Server) -> [u64; 4] {
    ["served", "timed_out", "left", "refused"].map(|end| server.metric(&format!("gatepost_gate_waiting_{end}_total"), ""))
}
