//! Behind a load balancer: the client is counted, not the balancer.

use crate::harness::{Dialogue, Server};

/// 127.0.0.1 is a proxy, 127.0.0.2 is anybody; a client may have one session, on its way to a password too.
const TRUSTING: &str = "[gate]\nsessions_per_address = 1\nauthenticating_places = 0\n[proxy]\ntrusted_proxies = [\"127.0.0.1\"]\n";

#[test]
fn clients_are_counted_by_the_address_in_the_header() {
    let server = Server::start(TRUSTING);
    let (v1, v2) = (v1 as fn(u8) -> Vec<u8>, v2 as fn(u8) -> Vec<u8>);
    for (client, (service, header, greeting)) in
        (10..).zip([("smtp", v1, "220 "), ("smtp", v2, "220 "), ("submission", v1, "220 "), ("pop3", v1, "+OK "), ("pop3", v2, "+OK ")])
    {
        let mut session = through_proxy(&server, service, &header(client));
        assert!(session.hear().starts_with(greeting), "{service}");
        let mut second = through_proxy(&server, service, &header(client));
        let (said, limit) = (second.hear(), format!("Too many connections from [192.0.2.{client}] (limit 1), try again later [R2."));
        assert!(said.contains(&limit), "{service}: {said}");
        assert!(second.is_over());
        assert!(session.ask("QUIT").starts_with(if service == "pop3" { "+OK " } else { "221 " }), "who is in stays in");
    }
    server.eventually("the client is logged", |server| server.log().contains("source=192.0.2.10"));
}

#[test]
fn tls_from_the_first_octet_comes_behind_the_header() {
    let server = Server::start(TRUSTING);
    for (client, (service, header, greeting)) in (10..).zip([
        ("submissions", v1 as fn(u8) -> Vec<u8>, "220 "),
        ("submissions", v2, "220 "),
        ("pop3s", v1, "+OK "),
        ("pop3s", v2, "+OK "),
    ]) {
        let mut session = through_proxy(&server, service, &header(client)).start_tls(&server.certificate());
        assert!(session.hear().starts_with(greeting), "{service}");
        let mut second = through_proxy(&server, service, &header(client)).start_tls(&server.certificate());
        assert!(second.hear().contains(&format!("from [192.0.2.{client}] (limit 1)")), "{service}");
    }
    assert!(server.connect_from(2, "pop3s").start_tls(&server.certificate()).hear().starts_with("+OK "), "others need no header");
    let mut liar = server.connect_from(3, "pop3s");
    liar.say(v1(99));
    assert!(liar.is_left(), "nobody else is believed");
    assert!(!server.log().contains("192.0.2.99"));
}

#[test]
fn a_session_ends_in_the_log_as_that_of_the_client_a_proxy_spoke_for() {
    let server = Server::start("[relay]\nxclient_networks = [\"127.0.0.1\"]\n");
    let mut session = server.hello();
    assert!(session.ask("XCLIENT ADDR=192.0.2.9").starts_with("220 "));
    assert!(session.ask("QUIT").starts_with("221 "));
    server.eventually("its end is logged", |server| server.log().contains("session ended"));
    let log = server.log();
    let end = log.lines().find(|line| line.contains("session ended")).unwrap();
    assert!(end.contains("source=192.0.2.9"), "{end}");
}

#[test]
fn the_session_gets_what_comes_behind_the_header() {
    let server = Server::start(TRUSTING);
    let mut session = through_proxy(&server, "smtp", &[v1(7), b"NOOP\r\nQUIT\r\n".to_vec()].concat());
    let said = [session.hear(), session.hear(), session.hear()];
    assert!(said[0].starts_with("220 ") && said[1].starts_with("250 ") && said[2].starts_with("221 "), "{said:?}");
}

#[test]
fn a_header_from_a_stranger_is_a_wrong_command() {
    let server = Server::start(TRUSTING);
    for (service, refusal) in [("smtp", "500 "), ("pop3", "-ERR ")] {
        let mut stranger = server.connect_from(2, service);
        stranger.hear();
        stranger.say(v1(7));
        let said = stranger.hear();
        assert!(said.starts_with(refusal), "{service}: {said}");
        assert!(stranger.ask("QUIT").starts_with(if service == "smtp" { "221 " } else { "+OK " }));
        server.eventually("its place is free", |server| server.in_use() == 0);
    }
    assert!(!server.log().contains("192.0.2.7"));
}

#[test]
fn a_proxy_without_a_header_is_closed_and_its_own_connections_are_its_own() {
    let server = Server::start(TRUSTING);
    let mut silent = through_proxy(&server, "smtp", b"EHLO client.example\r\n");
    assert!(silent.is_over());
    server.eventually("it is logged", |server| server.log().contains("proxy refused"));
    assert_eq!(server.metric("gatepost_proxies_refused_total", "listener=\"smtp\""), 1);

    let mut check = through_proxy(&server, "smtp", b"PROXY UNKNOWN\r\n");
    assert!(check.hear().starts_with("220 "));
    let mut another = through_proxy(&server, "smtp", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert!(another.hear().contains("from [127.0.0.1] (limit 1)"));

    // Trusted no longer, it is anybody.
    drop((check, another));
    server.eventually("its place is free", |server| server.in_use() == 0);
    server.edit("trusted_proxies = [\"127.0.0.1\"]", "trusted_proxies = []");
    assert_eq!(server.succeed(&["reload"]), "in force: proxy.trusted_proxies: [\"127.0.0.1\"] -> []\n");
    assert!(server.connect("smtp").hear().starts_with("220 "));
}

/// A connection from the proxy that begins like this.
fn through_proxy(server: &Server, service: &str, beginning: &[u8]) -> Dialogue {
    let mut proxy = server.connect_from(1, service);
    proxy.say(beginning);
    proxy
}

/// For 192.0.2.`client`.
fn v1(client: u8) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.{client} 198.51.100.1 40000 25\r\n").into()
}

fn v2(client: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, client, 198, 51, 100, 1, 0x9c, 0x40, 0, 25];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat()
}
