//! No open relay (invariant 3), against the program as it is run: who does not send for others, whoever they say they are.
//!
//! Which recipients are ours in which spelling is asked more closely in the listener's own tests. Here a client tries the classics of
//! each kind, from every sender, with each way of being taken for somebody else.

use base64::Engine;

use crate::harness::{ANN, Dialogue, PASSWORD, Server};

/// Recipients that careless servers have sent mail on to, and the reply where it is another than to who may not send there.
const ELSEWHERE: [(&str, Option<&str>); 18] = [
    ("<victim@elsewhere.example>", None),
    ("<victim@ELSEWHERE.example>", None),
    ("<victim@sub.example.org>", None),
    ("<victim@example.org.elsewhere.example>", None),
    // %-hack and bang paths: names of ours, which nobody has, or of nobody.
    ("<victim%elsewhere.example@example.org>", UNKNOWN),
    ("<victim%elsewhere.example%example.org@example.org>", UNKNOWN),
    ("<\"victim%elsewhere.example\"@example.org>", UNKNOWN),
    ("<elsewhere.example!victim@example.org>", UNKNOWN),
    ("<victim%elsewhere.example@localhost>", None),
    ("<victim%elsewhere.example>", MALFORMED),
    ("<elsewhere.example!victim>", MALFORMED),
    // Quoted, and doubled.
    ("<\"victim@elsewhere.example\"@example.org>", UNKNOWN),
    ("<victim@elsewhere.example@example.org>", MALFORMED),
    // Source-routed: the route is left out (RFC 5321, appendix C).
    ("<@example.org:victim@elsewhere.example>", None),
    ("<@example.org,@elsewhere.example:victim@elsewhere.example>", None),
    ("<@example.org:victim%elsewhere.example@example.org>", UNKNOWN),
    // No literal is a domain of ours, not even our own address.
    ("<ann@[127.0.0.1]>", None),
    ("<victim@[IPv6:2001:db8::1]>", None),
];
const UNKNOWN: Option<&str> = Some("550 5.1.1 ");
const MALFORMED: Option<&str> = Some("501 5.1.3 ");
const NOT_FOR_YOU: &str = "550 5.7.1 We do not relay for you";
/// Who may send elsewhere hears that this server does not do so.
const NOT_FROM_HERE: &str = "550 5.7.1 Mail to other hosts is not sent from here yet";

const SENDERS: [&str; 5] = ["<>", "<mallory@elsewhere.example>", "<ann@example.org>", "<postmaster@example.org>", "<root@localhost>"];

#[test]
fn nothing_passes_for_a_stranger_whoever_it_is_said_to_be_from() {
    let server = Server::start("");
    SENDERS.iter().for_each(|sender| try_all(&mut server.hello(), sender, NOT_FOR_YOU));
    for (service, tls) in [("submission", false), ("submissions", true)] {
        let mut stranger = if tls { server.connect_tls(service) } else { server.connect(service) };
        assert!(stranger.hear().starts_with("220 ") && stranger.ask("EHLO client.example").starts_with("250 "));
        assert!(stranger.ask("MAIL FROM:<ann@example.org>").starts_with("530 "), "{service}");
    }
}

#[test]
fn a_user_and_a_listed_network_are_told_apart_from_their_neighbours() {
    let server = Server::start("[relay]\nnetworks = [\"127.0.0.9\"]\n");
    for (host, reply) in [(9, NOT_FROM_HERE), (10, NOT_FOR_YOU)] {
        let mut client = server.connect_from(host, "smtp");
        assert!(client.hear().starts_with("220 ") && client.ask("EHLO client.example").starts_with("250 "));
        try_all(&mut client, "<ann@example.org>", reply);
    }
    let mut user = server.connect_tls("submissions");
    assert!(user.hear().starts_with("220 ") && user.ask("EHLO client.example").starts_with("250 "));
    let response = base64::engine::general_purpose::STANDARD.encode(format!("\0{ANN}\0{PASSWORD}"));
    assert!(user.ask(&format!("AUTH PLAIN {response}")).starts_with("235 "));
    try_all(&mut user, "<ann@example.org>", NOT_FROM_HERE);
}

#[test]
fn nobody_becomes_a_listed_network_or_a_user_by_saying_so() {
    // 127.0.0.9 may relay, and 127.0.0.8 is a proxy that is believed; the client is neither.
    let lists = "[relay]\nnetworks = [\"127.0.0.9\"]\nxclient_networks = [\"127.0.0.8\"]\n[proxy]\ntrusted_proxies = [\"127.0.0.8\"]\n";
    let server = Server::start(lists);
    for forged in ["PROXY TCP4 127.0.0.9 127.0.0.1 40000 25", "XCLIENT ADDR=127.0.0.9", "XCLIENT LOGIN=ann@example.org"] {
        let mut stranger = server.hello();
        assert!(stranger.ask(forged).starts_with('5'), "{forged}");
        try_all(&mut stranger, "<ann@example.org>", NOT_FOR_YOU);
    }
    // Before the greeting, as from a proxy. The second version looks like a QUIT to who does not believe it.
    let mut stranger = server.connect("smtp");
    stranger.say("PROXY TCP4 127.0.0.9 127.0.0.1 40000 25\r\n");
    assert!(stranger.hear().starts_with("220 ") && stranger.hear().starts_with("500 "));
    assert!(stranger.ask("EHLO client.example").starts_with("250 "));
    try_all(&mut stranger, "<ann@example.org>", NOT_FOR_YOU);
    let mut stranger = server.connect("smtp");
    stranger.say([&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[127, 0, 0, 9, 127, 0, 0, 1, 0x9c, 0x40, 0, 25], b"\r\nNOOP\r\n"].concat());
    while !stranger.hear().starts_with("250 ") {}
    assert!(stranger.ask("EHLO client.example").starts_with("250 "));
    try_all(&mut stranger, "<ann@example.org>", NOT_FOR_YOU);
    // The proxy itself is believed, for whom it speaks: another stranger.
    let mut proxied = server.connect_from(8, "smtp");
    proxied.say("PROXY TCP4 192.0.2.7 127.0.0.1 40000 25\r\n");
    assert!(proxied.hear().starts_with("220 ") && proxied.ask("EHLO client.example").starts_with("250 "));
    try_all(&mut proxied, "<ann@example.org>", NOT_FOR_YOU);
    assert!(!server.log().contains("source=127.0.0.9"), "nobody was taken for the listed one");
}

/// Tries every recipient from one sender.
#[track_caller]
fn try_all(client: &mut Dialogue, sender: &str, foreign: &str) {
    assert!(client.ask(&format!("MAIL FROM:{sender}")).starts_with("250 "), "{sender}");
    for (recipient, reply) in ELSEWHERE {
        let said = client.ask(&format!("RCPT TO:{recipient}"));
        assert!(said.starts_with(reply.unwrap_or(foreign)), "{sender} to {recipient}: {said}");
    }
    assert!(client.ask("DATA").starts_with('5'), "there is no recipient");
    assert!(client.ask("RSET").starts_with("250 "));
}
