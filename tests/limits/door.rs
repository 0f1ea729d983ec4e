//! The limits of the gate. Clients come until one is refused, and what that one hears is its row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use events::{Figure, SessionEnd};
use gate::{Arrival, Denial, Gate, ListenerId, Protocol, Refusal, ReplyLine, Token};
use smtp::Reply;

use crate::keys::Keys;
use crate::table::{HOST, Table, beginning, code, labelled, metric, rule_of, said};

/// What clients come to.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    /// `[gate]`.
    pub(crate) gate: &'static str,
    /// From where each of them comes.
    pub(crate) peer: fn(u16) -> IpAddr,
    /// The server has just started.
    pub(crate) has_started: bool,
}

impl Scene {
    pub(crate) const fn new(gate: &'static str, peer: fn(u16) -> IpAddr) -> Self {
        Self { gate, peer, has_started: false }
    }

    /// Has clients come, and stay, until one is refused.
    pub(crate) fn refusal(self, rates: &str) -> Refusal {
        let gate = Gate::with_rates(toml::from_str(self.gate).unwrap(), &toml::from_str(rates).unwrap()).unwrap();
        let (now, mut inside) = (Instant::now(), Vec::new());
        if self.has_started {
            gate.open_gently(now);
        } else {
            gate.open();
        }
        for number in 0..2000 {
            match gate.admit(&arrival((self.peer)(number), now)) {
                Ok(permit) => inside.push(permit),
                Err(refusal) => {
                    assert!(gate.snapshot().refused_total.by_rule().contains(&(refusal.rule.id(), 1)), "counted by its id");
                    return refusal;
                }
            }
        }
        panic!("all clients were let in by {} {rates}", self.gate)
    }
}

/// What a refused client hears: the whole line on SMTP, and how it begins on POP3.
pub(crate) fn heard(refusal: &Refusal) -> (String, String) {
    let [smtp, pop3] = [Protocol::Smtp, Protocol::Pop3].map(|protocol| {
        let mut line = ReplyLine::new();
        refusal.render(protocol, HOST, &mut line);
        str::from_utf8(line.as_bytes()).unwrap().trim_end().to_owned()
    });
    let host = format!(" {HOST} ");
    let (beginning, text) = pop3.split_once(&host).unwrap();
    assert_eq!(smtp.split_once(&host).unwrap().1, text, "the same text");
    (code(&smtp), code(beginning))
}

pub(crate) fn refused(refusal: &Refusal) -> String {
    let (metric, rule) = ("gatepost_sessions_refused_total", refusal.rule.id());
    match refusal.rule.key() {
        // The label is the key of the row.
        Some(key) => labelled(metric, "limit", key),
        None => labelled(metric, "rule", rule),
    }
}

/// Sessions that are in.
pub(crate) fn places(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "asked at", "rule", "reply", "POP3", "counted by", "shadow"]);
    let mut asked = Vec::new();
    for (key, scene) in SCENES {
        let refusal = if key == BANS { banned() } else { scene.refusal("") };
        assert_eq!(refusal.rule.key(), Some(key));
        asked.extend(refusal.rule.limit());
        let (smtp, pop3) = heard(&refusal);
        let shadow = in_shadow(refusal.rule.limit());
        table.row([&code(key), keys.default(key), "connection", refusal.rule.id(), &smtp, &pop3, &refused(&refusal), shadow]);
    }
    assert!(asked.is_sorted_by_key(|limit| gate::Limit::ALL.iter().position(|known| known == limit)), "in the gate's order: {asked:?}");
    for (key, lane) in [("gate.first_places", Figure::GateFirstPlaces), ("gate.authenticating_places", Figure::GateAuthenticating)] {
        table.row([&code(key), keys.default(key), "connection", "", "", "", &metric(lane), ""]);
    }
    let nobody = Gate::new(gate::Settings::default()).unwrap();
    let refusal = nobody.out_of_descriptors(&arrival(one(0), Instant::now()));
    let (smtp, pop3) = heard(&refusal);
    table.row(["file descriptors", "", "connection", refusal.rule.id(), &smtp, &pop3, &refused(&refusal), ""]);

    let limit = gate::Settings::default().sessions_per_user;
    let reply = Reply::TOO_MANY_USER_SESSIONS.with(limit.into());
    let (rule, smtp, pop3) = (rule_of(reply), said(reply), beginning(pop3::Refusal::TooManySessions { limit }, reply));
    for key in ["gate.sessions_per_user", "gate.users"] {
        let counted = labelled("gatepost_user_sessions_refused_total", "limit", key);
        // The rules of `users` are tried out with the number for all.
        let limit = gate::Limit::ALL.into_iter().find(|limit| limit.key() == "sessions_per_user");
        table.row([&code(key), keys.default(key), "AUTH, PASS", &rule, &smtp, &pop3, &counted, in_shadow(limit)]);
    }

    let (key, refusal) = ("store.takeover_grace", pop3::Refusal::InUse);
    let (code_of, text) = refusal.to_string().split_once("] ").map(|(code, text)| (code.to_owned(), text.to_owned())).unwrap();
    let line = code(format_args!("{code_of}] {HOST} {text} [{}]", Token::new(Denial::MaildropLocked.id(), 0)));
    let counted = labelled("gatepost_maildrops_refused_total", "limit", key);
    table.row([&code(key), keys.default(key), "PASS", Denial::MaildropLocked.id(), "", &line, &counted, ""]);

    let reply = Reply::PLACE_NEEDED;
    let (rule, smtp, pop3) = (rule_of(reply), said(reply), beginning(pop3::Refusal::PlaceNeeded, reply));
    let (key, counted) = ("gate.give_way_after", labelled("gatepost_sessions_ended_total", "end", SessionEnd::GaveWay.as_str()));
    table.row([&code(key), keys.default(key), "between transactions", &rule, &smtp, &pop3, &counted, ""]);
    table.text()
}

/// Whose commands have failed too often.
fn banned() -> Refusal {
    let (gate, now) = (Gate::new(toml::from_str("ban_after = '9/1m'").unwrap()).unwrap(), Instant::now());
    gate.open();
    gate.failed(one(0), 9, now);
    gate.failed(one(0), 1, now).unwrap();
    gate.admit(&arrival(one(0), now)).unwrap_err()
}

/// Only a limit that can be in shadow is one of [`gate::Limit`].
fn in_shadow(limit: Option<gate::Limit>) -> &'static str {
    if limit.is_some() { "yes" } else { "" }
}

/// Connections that wait for a place.
pub(crate) fn rooms(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "wait in vain", "put out"]);
    let (in_vain, put_out) = (metric(Figure::WaitingTimedOut), metric(Figure::WaitingRefused));
    for key in keys.names().filter(|key| key.starts_with("when_full.")) {
        table.row([&code(key), keys.default(key), &in_vain, &put_out]);
    }
    table.text()
}

/// Connections that are no sessions.
pub(crate) fn on_the_way(keys: &Keys) -> String {
    let mut table = Table::new(["limit", "default", "what it bounds", "beyond it", "in use", "counted by"]);
    let (active, timed_out) = (metric(Figure::HandshakesActive), metric(Figure::HandshakesTimedOut));
    let unanswered = metric(Figure::RefusalsUnanswered);
    let awaited = metric(Figure::Introductions);
    let lingering = metric(Figure::RefusalsLingering);
    let key = "tls.max_handshakes";
    table.row([&code(key), keys.default(key), "TLS handshakes answered at once", "the next one waits for its turn", &active, &timed_out]);
    let key = "tls.handshake_timeout";
    table.row([&code(key), keys.default(key), "one TLS handshake, its turn included", "closed", &active, &timed_out]);
    let key = "timeouts.write";
    let ended = labelled("gatepost_sessions_ended_total", "end", SessionEnd::TimedOut.as_str());
    table.row([&code(key), keys.default(key), "a client taking what it is sent", "closed", "", &ended]);
    let (key, bounds) = ("screening.early_wait", "how long a stranger's greeting is held back");
    table.row([&code(key), keys.default(key), bounds, "greeted", "", ""]);
    let (key, bounds) = ("screening.early_places", "greetings held back at once");
    table.row([&code(key), keys.default(key), bounds, "greeted at once", "", ""]);
    let (most, time) = (net::REFUSALS_MOST.to_string(), net::REFUSAL_TIME.as_secs());
    let refusals = format!("refusals said inside TLS at once, {time} seconds each");
    table.row(["refusal handshakes", &most, &refusals, "closed without a word", "", &unanswered]);
    let (most, proxies) = (net::LINGERING_MOST.to_string(), code("gatepost_proxies_refused_total"));
    let bounds = "refused connections, over all addresses it listens on, that may still read their reply";
    table.row(["lingering refusals", &most, bounds, "the oldest is closed", &lingering, ""]);
    let most = net::INTRODUCTIONS_MOST.to_string();
    let bounds = "connections of trusted proxies, on each address it listens on, without their [header](gate.md#behind-a-load-balancer)";
    table.row(["PROXY headers awaited", &most, bounds, "closed", &awaited, &proxies]);
    table.text()
}

fn arrival(peer: IpAddr, now: Instant) -> Arrival {
    Arrival { listener: ListenerId(0), peer, authenticates: false, brings_mail: true, now }
}

/// One client.
pub(crate) fn one(_: u16) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 7).into()
}

fn of_two(number: u16) -> IpAddr {
    Ipv4Addr::new(192, 0, 2 + (number as u8 & 1), 7).into()
}

fn of_one_network(number: u16) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, number as u8).into()
}

/// Each in an IPv6 /56 of its own.
pub(crate) fn of_one_site(number: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, number << 8, 0, 0, 0, 7).into()
}

const fn starting(scene: Scene) -> Scene {
    Scene { has_started: true, ..scene }
}

/// Each limit in the order in which they are asked, with what has somebody meet it and no other: the limits in front of it are out of the
/// way.
const SCENES: [(&str, Scene); 10] = [
    ("gate.deny", Scene::new("deny = ['192.0.2.0/24']", one)),
    ("gate.clients", Scene::new("clients = [{ name = 'office', networks = ['192.0.2.0/28'], class = 'trusted', sessions = 20 }]", one)),
    // Of clients nobody is banned.
    (BANS, Scene::new("", one)),
    ("gate.sessions_per_address", Scene::new("", one)),
    ("gate.sessions_per_network", Scene::new("", of_one_network)),
    ("gate.sessions_per_site", Scene::new("", of_one_site)),
    ("gate.fair_share_alpha", Scene::new(NO_CEILINGS, one)),
    ("gate.start_ramp", starting(Scene::new(NO_SHARE, of_two))),
    ("gate.reserve", Scene::new(NO_SHARE, one)),
    ("gate.max_inbound", Scene::new(NO_RESERVE, one)),
];

/// It takes failures and no more than one client to meet it.
const BANS: &str = "gate.ban_after";

const NO_CEILINGS: &str = "sessions_per_address = 5000\nsessions_per_network = 5000\nsessions_per_site = 5000";
const NO_SHARE: &str = "sessions_per_address = 5000\nsessions_per_network = 5000\nsessions_per_site = 5000\nfair_share_alpha = 0";
const NO_RESERVE: &str =
    "sessions_per_address = 5000\nsessions_per_network = 5000\nsessions_per_site = 5000\nfair_share_alpha = 0\nreserve = 0";
