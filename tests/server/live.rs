//! The gate over the wire, and what can be changed while the server runs.
//!
//! Times are real here, but no test says how long anything takes: only what comes, and in which order.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::harness::{ANN, Dialogue, NOBODY_WAITS, Server, let_pass, make_certificate, token};

#[test]
fn the_limit_is_exact_on_every_port_and_each_refusal_says_why() {
    let server = Server::start(&format!("{}{NOBODY_WAITS}", gate(3)));
    let mut sessions = [server.connect("smtp"), server.connect("pop3"), server.connect_tls("submissions")];
    let greetings = sessions.each_mut().map(Dialogue::hear);
    assert!(greetings[0].starts_with("220 ") && greetings[1].starts_with("+OK ") && greetings[2].starts_with("220 "), "{greetings:?}");
    for service in ["smtp", "submission", "pop3"] {
        refused(server.connect(service), service, "R4", "Too many connections, try again later");
    }
    for service in ["submissions", "pop3s"] {
        refused(server.connect_tls(service), service, "R4", "Too many connections, try again later");
    }
    let status = server.status();
    assert_eq!((&status["in_use"], &status["max_inbound"], &status["refused"]["R4"]), (&3.into(), &3.into(), &5.into()));
    assert_eq!(server.metric("gatepost_sessions_refused_total", "rule=\"R4\""), 5);
    // All that were let in are served.
    assert!(sessions[0].ask("NOOP").starts_with("250 "));
    assert!(sessions[1].ask("QUIT").starts_with("+OK "));
    server.eventually("its place is free", |server| server.in_use() == 2);
    assert!(server.connect("submission").hear().starts_with("220 "));
}

#[test]
fn more_places_than_descriptors_are_refused_at_the_start_and_by_whoever_changes_them() {
    let mut server = Server::prepare(&format!("{}{NOBODY_WAITS}", gate(50)));
    let with_1400 = |command: &str| {
        let script = format!("ulimit -n 1400 && exec {} {command} --config {}", env!("CARGO_BIN_EXE_gatepost"), server.config().display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    server.edit("max_inbound = 50", "max_inbound = 500");
    let (code, said) = with_1400("serve");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("gatepost.toml:5: gate.max_inbound: max_inbound + 1") && said.contains(" > 1400; "), "{said}");
    let (code, said) = with_1400("check");
    assert!(code == Some(0) && said.contains("warning: gate.max_inbound: ") && said.contains("can be used, with 1 warning"), "{said}");
    server.edit("max_inbound = 500", "max_inbound = 50");

    server.run();
    let limit = Some(1400);
    prlimit(Pid::from_raw(server.pid().cast_signed()), Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let refused = |arguments: &[&str]| {
        let output = server.command(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("<= file descriptors does not hold: 500 + 1"), "{said}");
        assert_eq!(server.status()["max_inbound"], 50);
    };
    refused(&["gate", "set", "max_inbound", "500", "--for", "1h"]);
    server.edit("max_inbound = 50", "max_inbound = 500");
    refused(&["reload"]);
    server.edit("max_inbound = 500", "max_inbound = 60");
    server.succeed(&["reload"]);
    assert_eq!(server.status()["max_inbound"], 60);
}

#[test]
fn one_address_or_network_cannot_have_it_all() {
    // POP3 clients would have the lane of those who are about to show a password.
    let limits = "sessions_per_address = 2\nsessions_per_network = 3\nauthenticating_places = 0\n";
    let server = Server::start(&format!("[gate]\nmax_inbound = 50\n{limits}"));
    let held = [server.connect_from(1, "smtp"), server.connect_from(1, "smtp")].map(greeted);
    refused(server.connect_from(1, "smtp"), "smtp", "R2", "Too many connections from [127.0.0.1] (limit 2), try again later");
    refused(server.connect("pop3"), "pop3", "R2", "Too many connections from [127.0.0.1] (limit 2), try again later");
    refused(server.connect_tls("pop3s"), "pop3s", "R2", "Too many connections from [127.0.0.1] (limit 2), try again later");
    let another = greeted(server.connect_from(2, "smtp"));
    refused(server.connect_from(3, "smtp"), "smtp", "R2", "Too many connections from [127.0.0.0/24] (limit 3), try again later");
    drop(held);
    server.eventually("the address has its places back", |server| server.in_use() == 1);
    greeted(server.connect_from(1, "smtp"));
    drop(another);
}

#[test]
fn a_raised_limit_counts_at_once_and_a_lowered_one_cuts_nobody() {
    let server = Server::start(&gate(2));
    let mut sessions: Vec<_> = [(); 2].map(|()| greeted(server.connect("smtp"))).into();
    full(&server);
    server.edit("max_inbound = 2", "max_inbound = 4");
    server.signal("HUP");
    server.eventually("the signal is heard", |server| server.status()["max_inbound"] == 4);
    sessions.extend([(); 2].map(|()| greeted(server.connect("smtp"))));
    full(&server);

    server.edit("max_inbound = 4", "max_inbound = 6");
    assert_eq!(server.succeed(&["reload"]), "in force: gate.max_inbound: 4 -> 6\n");
    sessions.extend([(); 2].map(|()| greeted(server.connect("smtp"))));
    full(&server);

    server.edit("max_inbound = 6", "max_inbound = 2");
    assert_eq!(server.succeed(&["reload"]), "in force: gate.max_inbound: 6 -> 2\n");
    assert!(sessions.iter_mut().all(|session| session.ask("NOOP").starts_with("250 ")), "nobody is cut");
    for debt in (1..=4).rev() {
        let status = server.status();
        assert_eq!((&status["over_limit"], &status["in_use"]), (&debt.into(), &(debt + 2).into()));
        assert_eq!(server.metric("gatepost_gate_over_limit", ""), debt);
        full(&server);
        assert!(sessions.pop().unwrap().ask("QUIT").starts_with("221 "));
        server.eventually("the session is over", |server| server.in_use() == debt + 1);
    }
    assert_eq!(server.status()["over_limit"], 0);
    // The debt is paid, but that leaves no place free yet.
    full(&server);
    assert!(sessions.pop().unwrap().ask("QUIT").starts_with("221 "));
    server.eventually("the session is over", |server| server.in_use() == 1);
    greeted(server.connect("smtp"));
}

#[test]
fn a_bad_file_changes_nothing_and_every_fault_is_named() {
    let server = Server::start(&gate(2));
    let good = fs::read_to_string(server.config()).unwrap();
    let bad = good.replace("max_inbound = 2", "max_inbound = 0\nmax_outbound = 3").replace("[tls]", "[limits]\nrecipients = 7\n[tls]");
    fs::write(server.config(), &bad).unwrap();
    let line = |text: &str| 1 + bad.lines().position(|line| line.starts_with(text)).unwrap();
    let expected = [
        (line("max_inbound"), "gate.max_inbound", "drain"),
        (line("max_outbound"), "gate.max_outbound", ""),
        (line("recipients"), "limits.recipients", "must be at least 100"),
    ];
    let names_all = |text: &str, from: &str| {
        for (line, key, fault) in expected {
            let named = text.lines().any(|said| said.contains(&format!("gatepost.toml:{line}: {key}: ")) && said.contains(fault));
            assert!(named, "{from} does not name {key} on line {line}: {text}");
        }
    };
    let reload = server.command(&["reload"]);
    assert_eq!(reload.status.code(), Some(3));
    names_all(str::from_utf8(&reload.stderr).unwrap(), "reload");
    let check = server.command(&["check"]);
    assert_eq!(check.status.code(), Some(3));
    names_all(&[check.stdout, check.stderr].map(|octets| String::from_utf8(octets).unwrap()).concat(), "check");

    server.signal("HUP");
    server.eventually("the fault is logged", |server| server.log().contains("configuration rejected"));
    names_all(&server.log(), "the log");
    // The data directory finds the server while its file is of no use.
    let status = server.by_data_dir(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["max_inbound"], 2);
    let _held = [(); 2].map(|()| greeted(server.connect("smtp")));
    full(&server);

    fs::write(server.config(), good).unwrap();
    assert_eq!(server.succeed(&["reload"]), "nothing has changed\n");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let mut server = Server::start(&gate(2));
    server.edit("max_inbound = 2", "max_inbound = 1");
    server.edit("[store]", "[store]\ntakeover_grace = \"1m\"");
    server.edit("[tls]", "[tls]\nmax_handshakes = 7");
    let said = server.succeed(&["reload"]);
    let expected = "in force: gate.max_inbound: 2 -> 1\n\
         not yet: tls.max_handshakes: 256 -> 7 (needs a restart)\n\
         not yet: store.takeover_grace: \"30s\" -> \"1m\" (needs a restart)\n";
    assert_eq!(said, expected);
    let held = greeted(server.connect("smtp"));
    full(&server);
    // Still so, until it is restarted.
    assert!(server.succeed(&["reload"]).starts_with("not yet: tls.max_handshakes"));
    drop(held);
    server.stop();
    server.run();
    assert_eq!(server.succeed(&["reload"]), "nothing has changed\n");
}

#[test]
fn however_a_session_ends_its_place_is_free() {
    let mut server =
        Server::prepare(&format!("{}[timeouts]\ncommand = \"1s\"\n[limits]\nbad_commands = 1\n[pop3]\nlogin = \"1s\"\n", gate(1)));
    server.edit("[tls]", "[tls]\nhandshake_timeout = \"1s\"");
    server.run();
    let ends: [(&str, End); 9] = [
        ("QUIT", |server| assert!(greeted(server.connect("smtp")).ask("QUIT").starts_with("221 "))),
        ("a close", |server| drop(greeted(server.connect("smtp")))),
        ("a reset", |server| {
            let smtp = greeted(server.connect("smtp"));
            rustix::net::sockopt::set_socket_linger(smtp.stream(), Some(Duration::ZERO)).unwrap();
        }),
        ("a half-close", |server| {
            let mut smtp = greeted(server.connect("smtp"));
            smtp.stream().shutdown(std::net::Shutdown::Write).unwrap();
            assert!(smtp.is_over());
        }),
        ("a time-out", |server| {
            let mut smtp = greeted(server.connect("smtp"));
            assert!(smtp.hear().starts_with(TIMEOUT));
            assert!(smtp.is_over());
        }),
        ("a POP3 time-out", |server| {
            let mut pop3 = server.connect("pop3");
            assert!(pop3.hear().starts_with("+OK "));
            assert!(pop3.is_left());
        }),
        ("too many bad commands", |server| {
            let mut smtp = greeted(server.connect("smtp"));
            smtp.say("HUH\r\nHUH\r\n");
            assert!(smtp.is_left());
        }),
        ("a failed handshake", |server| {
            let mut smtp = server.connect("submissions");
            smtp.say("EHLO in.clear.example\r\n");
            assert!(smtp.is_left());
        }),
        ("a handshake that never comes", |server| assert!(server.connect("pop3s").is_left())),
    ];
    for (how, end) in ends {
        end(&server);
        server.eventually(&format!("the place is free after {how}"), |server| server.in_use() == 0);
    }
    assert_eq!(server.status()["admitted"], ends.len());
    assert_eq!(server.metric("gatepost_sessions_ended_total", "end=\"failed\""), 0);
}

#[test]
fn time_outs_come_from_the_file_and_hold_for_new_sessions() {
    let server = Server::start("[timeouts]\ncommand = \"1h\"\n");
    let mut patient = greeted(server.connect("smtp"));
    server.edit("command = \"1h\"", "command = \"1s\"");
    assert!(server.succeed(&["reload"]).starts_with("in force: timeouts.command: \"1h\" -> \"1s\"\n"));
    let mut idle = greeted(server.connect("smtp"));
    let said = idle.hear();
    assert!(said.starts_with(TIMEOUT), "{said}");
    let explained = server.succeed(&["gate", "explain", token(&said)]);
    let line = 1 + fs::read_to_string(server.config()).unwrap().lines().position(|line| line == "command = \"1s\"").unwrap();
    assert!(explained.contains(&format!("timeouts.command = \"1s\" now, {} line {line}\n", server.config().display())), "{explained}");
    assert!(explained.contains("the client has taken longer than the 1 s it may"), "{explained}");
    assert!(idle.is_over());
    assert!(patient.ask("NOOP").starts_with("250 "), "a session keeps the times it began with");

    // Whoever is to be slow in DATA has all the time to come there.
    server.edit("command = \"1s\"", "command = \"1h\"\ndata_block = \"1s\"");
    server.succeed(&["reload"]);
    let mut silent = server.in_data(ANN);
    assert!(silent.hear().starts_with(TIMEOUT));

    server.edit("data_block = \"1s\"", "data_rate_bytes = \"1MiB\"\ndata_grace = \"1s\"");
    server.succeed(&["reload"]);
    // Too slow for the rate, though never silent for long.
    let mut slow = server.in_data(ANN);
    while slow.try_say("x").is_ok() {
        let_pass(Duration::from_millis(50));
    }
    assert!(slow.hear().starts_with(TIMEOUT));
}

#[test]
fn a_renewed_certificate_is_served_and_a_bad_one_is_not() {
    let server = Server::start("");
    let shown = |server: &Server| server.connect_tls("submissions").certificate().clone();
    let first = shown(&server);
    let mut before = server.connect_tls("submissions");
    make_certificate(&server.certificate(), &server.path("key.pem"));
    // The server looks at its files by itself.
    server.eventually("the new certificate is served", |server| server.connect("submissions").try_start_tls(&server.certificate()).is_ok());
    let second = shown(&server);
    assert_ne!(first, second);
    assert!(before.hear().starts_with("220 "), "a session keeps what it began with");

    let kept = fs::read(server.certificate()).unwrap();
    make_certificate(&server.certificate(), &server.path("another-key.pem"));
    server.eventually("the fault is logged", |server| server.log().contains("certificate rejected"));
    let trusted = server.path("kept.pem");
    fs::write(&trusted, kept).unwrap();
    assert_eq!(*server.connect("submissions").start_tls(&trusted).certificate(), second, "the old pair goes on");
    fs::copy(server.path("another-key.pem"), server.path("key.pem")).unwrap();
    // Reload looks, too.
    server.succeed(&["reload"]);
    assert_ne!(shown(&server), second);
}

/// Some servers break on a ticket; mail programs come back every few minutes and resume.
#[test]
fn people_get_session_tickets_and_servers_none() {
    let server = Server::start("");
    for (service, expected) in [("smtp", false), ("submission", true)] {
        let mut smtp = greeted(server.connect(service));
        assert!(smtp.ask("EHLO client.example").starts_with("250 "));
        assert!(smtp.ask("STARTTLS").starts_with("220 "));
        let mut smtp = smtp.start_tls(&server.certificate());
        assert!(smtp.ask("EHLO client.example").starts_with("250 "));
        assert_eq!(smtp.tickets() > 0, expected, "{service}");
    }
    for service in ["submissions", "pop3s"] {
        let mut dialogue = server.connect_tls(service);
        dialogue.hear();
        assert!(dialogue.tickets() > 0, "{service}");
    }
}

/// So many places, and no limit by address.
fn gate(places: u32) -> String {
    format!("[gate]\nmax_inbound = {places}\nreserve = 0\nfair_share_alpha = 0\n")
}

fn greeted(mut smtp: Dialogue) -> Dialogue {
    let greeting = smtp.hear();
    assert!(greeting.starts_with("220 "), "{greeting}");
    smtp
}

#[track_caller]
fn full(server: &Server) {
    refused(server.connect("smtp"), "smtp", "R4", "Too many connections, try again later");
}

/// One line that says so, with a token at its end, and nothing more.
#[track_caller]
fn refused(mut dialogue: Dialogue, service: &str, rule: &str, text: &str) {
    let code = match rule {
        _ if service.starts_with("pop3") => "-ERR [SYS/TEMP]",
        "R2" => "421 4.7.0",
        _ => "421 4.3.2",
    };
    let (said, beginning) = (dialogue.hear(), format!("{code} mail.example.org {text} [{rule}."));
    let token = said.strip_prefix(&beginning).and_then(|rest| rest.strip_suffix(']'));
    assert!(token.is_some_and(|token| token.len() >= 4), "{service}: {said}");
    assert!(dialogue.is_over());
}

/// Something that ends a session.
type End = fn(&Server);

const TIMEOUT: &str = "421 4.4.2 mail.example.org Timeout [R8.";
