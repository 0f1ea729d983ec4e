//! The gate as a whole: order, counts, tokens, live change.

use std::time::Duration;

use super::*;
use crate::bans::Ban;
use crate::denial::Denial;
use crate::portion::Portion;
use crate::refusal::{Rule, Wait};
use crate::roster::Newcomer;

const MINUTE: Duration = Duration::from_secs(60);

fn settings(max_inbound: u32, sessions_per_address: u32) -> Settings {
    // Neither reserve nor share: what is tested here stands alone.
    let reserve = Portion::Places(0);
    Settings { max_inbound, reserve, sessions_per_address, fair_share_alpha: 0.0, ..Settings::default() }
}

fn open(settings: Settings) -> Gate {
    let gate = Gate::new(settings).unwrap();
    gate.open();
    gate
}

fn arrival(peer: &str) -> Arrival {
    Arrival { listener: ListenerId(7), peer: peer.parse().unwrap(), authenticates: false, brings_mail: true, now: Instant::now() }
}

fn refused(gate: &Gate, peer: &str) -> Rule {
    gate.admit(&arrival(peer)).unwrap_err().rule
}

#[test]
fn a_permit_knows_where_it_came_from_and_gives_everything_back() {
    let gate = open(Settings::default());
    let arrival = arrival("::ffff:192.0.2.7");
    let permit = gate.admit(&arrival).unwrap();
    assert_eq!(permit.source().to_string(), "192.0.2.7");
    assert_eq!((permit.listener(), permit.admitted_at()), (ListenerId(7), arrival.now));
    assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().prefixes), (1, 2));
    drop(permit);
    assert_eq!((gate.snapshot().usage.in_use, gate.snapshot().prefixes), (0, 0));
    assert_eq!((gate.snapshot().peak, gate.snapshot().admitted_total), (1, 1));
}

#[test]
fn the_node_is_asked_before_the_source_and_the_source_before_the_pool() {
    let gate = Gate::new(settings(1, 1)).unwrap();
    assert_eq!(refused(&gate, "192.0.2.1"), Rule::Restarting);
    gate.open();
    let _only = gate.admit(&arrival("192.0.2.1")).unwrap();
    let prefix = "192.0.2.1/32".parse().unwrap();
    assert_eq!(refused(&gate, "192.0.2.1"), Rule::SourceFull { prefix, held: 1, limit: 1 });
    assert_eq!(refused(&gate, "192.0.2.2"), Rule::PoolFull { in_use: 1, limit: 1 });
    gate.store_down();
    assert_eq!(refused(&gate, "192.0.2.1"), Rule::StoreDown);
    gate.drain();
    assert_eq!(refused(&gate, "192.0.2.1"), Rule::Restarting);
}

#[test]
fn who_brings_mail_and_is_put_off_is_expected_again() {
    let gate = open(Settings { deny: vec!["192.0.2.66".parse().unwrap()], ..settings(1, 9) });
    let only = gate.admit(&arrival("192.0.2.1")).unwrap();
    refused(&gate, "192.0.2.2");
    refused(&gate, "192.0.2.66");
    let fetches = Arrival { brings_mail: false, ..arrival("192.0.2.3") };
    assert!(gate.admit(&fetches).is_err());
    let known = |gate: &Gate| {
        let mut all: Vec<_> =
            gate.refused_sources().iter().map(|source| (source.prefix.to_string(), source.rule, source.back.is_some())).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(known(&gate), [("192.0.2.2/32".to_owned(), "R4", false)]);
    drop(only);
    let mut proxy = gate.admit(&arrival("192.0.2.4")).unwrap();
    gate.move_to(&mut proxy, &arrival("192.0.2.2")).unwrap();
    assert_eq!(known(&gate), [("192.0.2.2/32".to_owned(), "R4", true)], "also by way of a proxy");

    let (source, draw, admitted_at) = ([192, 0, 2, 2].into(), Draw::General, Instant::now());
    let newcomer = Newcomer { id: 1, listener: ListenerId(7), source, draw, admitted_at };
    let seat = gate.roster().enrol(newcomer);
    gate.deny(seat.seat(), None, Denial::PlaceNeeded, Instant::now());
    assert_eq!(known(&gate), [("192.0.2.2/32".to_owned(), "R4", true)], "who rested has nothing to bring");
    gate.deny(seat.seat(), None, Denial::StoreFull, Instant::now());
    assert_eq!(known(&gate), [("192.0.2.2/32".to_owned(), "R6", false)]);
    let [source] = gate.refused_sources().try_into().unwrap();
    assert_eq!((source.known_good, gate.missing_sources(source.first + crate::MISSING_AFTER)), (false, (0, 1)));
    gate.delivered("192.0.2.2".parse().unwrap(), Instant::now());
    assert_eq!(gate.missing_sources(source.first + crate::MISSING_AFTER), (0, 0));
}

#[test]
fn a_ban_refuses_for_its_time_and_who_is_let_in_by_name_goes_before_it() {
    let settings: Settings = toml::from_str(
        "ban_after = \"3/10m\"\nban_time = \"1h\"\n[[clients]]\nname = \"probe\"\nnetworks = [\"192.0.2.7\"]\nclass = \"trusted\"\n",
    )
    .unwrap();
    let (gate, now) = (open(settings), Instant::now());
    gate.let_in([("192.0.2.9/32".parse().unwrap(), "proxy.trusted_proxies")]);
    let ban = |network: &str| Ban { network: network.parse().unwrap(), reason: "spam".into(), until: now + MINUTE, is_automatic: false };
    assert_eq!(
        gate.ban(ban("192.0.2.0/24"), now).unwrap_err().to_string(),
        "192.0.2.9/32 is let in by proxy.trusted_proxies, and that goes before every ban: take it out there first"
    );
    assert!(
        gate.ban(ban("192.0.2.7/32"), now).unwrap_err().to_string().starts_with("192.0.2.7/32 is let in by gate.clients, \"probe\", and")
    );
    gate.ban(ban("198.51.100.0/24"), now).unwrap();
    let banned = |network: &str, is_automatic| Rule::Banned { network: network.parse().unwrap(), is_automatic };
    assert_eq!(refused(&gate, "198.51.100.9"), banned("198.51.100.0/24", false));
    let late = Arrival { now: now + MINUTE, ..arrival("198.51.100.9") };
    assert!(gate.admit(&late).is_ok(), "a ban ends by itself");

    let failed = |peer: &str, failures| gate.failed(peer.parse().unwrap(), failures, now).map(|ban| (ban.network.to_string(), ban.until));
    assert_eq!([failed("203.0.113.5", 3), failed("192.0.2.7", 9), failed("192.0.2.9", 9)], [None, None, None]);
    assert_eq!(failed("203.0.113.5", 1), Some(("203.0.113.5/32".to_owned(), now + 60 * MINUTE)));
    assert_eq!(failed("203.0.113.5", 1), None, "once");
    assert_eq!(refused(&gate, "203.0.113.5"), banned("203.0.113.5/32", true));
    assert!(gate.admit(&arrival("192.0.2.7")).is_ok() && gate.admit(&arrival("203.0.113.6")).is_ok());
    assert!(gate.unban("203.0.113.5/32".parse().unwrap(), now) && gate.admit(&arrival("203.0.113.5")).is_ok());

    // The operator lets somebody in who is banned already.
    let known = Settings { clients: Vec::new(), ..gate.settings() };
    gate.ban(ban("203.0.113.6/32"), now).unwrap();
    gate.apply(known).unwrap();
    gate.let_in([("203.0.113.0/24".parse().unwrap(), "relay.networks")]);
    assert!(gate.admit(&arrival("203.0.113.6")).is_ok());
}

#[test]
fn a_full_pool_gives_the_source_its_count_back() {
    let gate = open(settings(1, 1));
    let only = gate.admit(&arrival("192.0.2.1")).unwrap();
    for _ in 0..3 {
        assert_eq!(refused(&gate, "2001:db8::1"), Rule::PoolFull { in_use: 1, limit: 1 });
    }
    assert_eq!(gate.snapshot().prefixes, 2);
    drop(only);
    assert!(gate.admit(&arrival("2001:db8::1")).is_ok());
}

#[test]
fn limits_change_live_and_bad_ones_change_nothing() {
    let gate = open(settings(2, 20));
    let held = ["192.0.2.1", "192.0.2.2"].map(|peer| gate.admit(&arrival(peer)).unwrap());
    assert_eq!(gate.apply(settings(1, 20)).unwrap().over_limit(), 1);
    assert_eq!(refused(&gate, "192.0.2.3"), Rule::PoolFull { in_use: 2, limit: 1 });

    let faulty = Settings { sessions_per_site: 0, ..settings(9, 20) };
    assert_eq!(gate.apply(faulty).unwrap_err().faults.len(), 1);
    assert_eq!(gate.settings(), settings(1, 20));
    assert_eq!(gate.snapshot().usage, Usage { in_use: 2, general: 2, limit: 1, reserve: 0 });

    gate.apply(settings(3, 20)).unwrap();
    assert!(gate.admit(&arrival("192.0.2.3")).is_ok());
    drop(held);
}

#[test]
fn each_refusal_is_counted_and_has_a_token_of_its_own() {
    let gate = open(settings(1, 1));
    let _only = gate.admit(&arrival("192.0.2.1")).unwrap();
    let tokens: Vec<_> =
        ["192.0.2.1", "192.0.2.2", "192.0.2.2"].map(|peer| gate.admit(&arrival(peer)).unwrap_err().token.to_string()).into();
    assert_eq!(tokens, ["R2.0000", "R4.0001", "R4.0002"]);
    gate.drain();
    refused(&gate, "192.0.2.1");
    assert_eq!(gate.out_of_descriptors(&arrival("192.0.2.1")).token.to_string(), "R4b.0004");
    let totals = gate.snapshot().refused_total.by_rule();
    assert_eq!(totals, [("R0", 0), ("R0b", 0), ("R1", 1), ("R1b", 0), ("R2", 1), ("R3", 0), ("R4", 2), ("R4b", 1)]);
}

#[test]
fn who_comes_too_often_is_told_when_and_a_refused_attempt_takes_nothing() {
    let rates = rates::Settings { connections_per_address: "2/1m".parse().unwrap(), ..rates::Settings::default() };
    let gate = Gate::with_rates(settings(1, 9), &rates).unwrap();
    gate.open();
    let now = Instant::now();
    let arrive = |seconds| gate.admit(&Arrival { now: now + Duration::from_secs(seconds), ..arrival("192.0.2.1") });
    let only = arrive(0).unwrap();
    for _ in 0..9 {
        assert_eq!(arrive(0).unwrap_err().rule, Rule::PoolFull { in_use: 1, limit: 1 }, "nothing of the rate is taken");
    }
    drop(only);
    drop(arrive(0).unwrap());
    let prefix = Some("192.0.2.1/32".parse().unwrap());
    assert_eq!(arrive(1).unwrap_err().rule, Rule::TooOften { prefix, retry_seconds: 29 });
    drop(arrive(30).unwrap());
    gate.apply(Settings { shadow: vec![Limit::Connections], ..settings(1, 9) }).unwrap();
    drop(arrive(30).unwrap());
    assert_eq!(gate.snapshot().shadow_total.of(Limit::Connections), 1);
}

#[test]
fn who_waits_for_a_place_is_counted_once_by_a_limit_in_shadow() {
    let gate = open(Settings { shadow: vec![Limit::SessionsPerAddress], ..settings(2, 1) });
    let peer = arrival("192.0.2.1");
    let counted = || gate.snapshot().shadow_total.of(Limit::SessionsPerAddress);
    let mut held = vec![gate.admit(&peer).unwrap(), gate.admit(&arrival("192.0.2.2")).unwrap()];
    for _ in 0..3 {
        assert!(gate.try_admit(&peer).unwrap_err().wait(peer.peer).is_some());
    }
    assert_eq!(counted(), 0, "nothing has become of it yet");
    let obstacle = gate.try_admit(&peer).unwrap_err();
    gate.refuse(obstacle, &peer);
    assert_eq!(counted(), 1, "its time was over");
    assert!(gate.try_admit(&peer).is_err());
    held.pop();
    held.push(gate.try_admit(&peer).unwrap());
    assert_eq!((counted(), gate.snapshot().admitted_total), (2, 3), "it came in");
}

#[test]
fn who_waits_does_so_as_what_it_is() {
    let mut settings = Settings { reserve: Portion::Places(1), first_places: Portion::Places(0), ..settings(2, 9) };
    settings.clients =
        toml::from_str::<Settings>("clients = [{ name = 'office', networks = ['192.0.2.9'], class = 'trusted' }]").unwrap().clients;
    let gate = open(settings);
    let wait = |peer: &str| gate.try_admit(&arrival(peer)).unwrap_err().wait(arrival(peer).peer);
    let source = |peer: &str| arrival(peer).peer;
    let _general = gate.admit(&arrival("198.51.100.1")).unwrap();
    let stranger = Wait { source: source("198.51.100.2"), precedence: false, others_may: true };
    assert_eq!(wait("198.51.100.2"), Some(stranger), "the reserve is there for others");
    let _reserved = gate.admit(&arrival("192.0.2.9")).unwrap();
    assert_eq!(wait("198.51.100.2"), Some(Wait { others_may: false, ..stranger }));
    assert_eq!(wait("192.0.2.9"), Some(Wait { source: source("192.0.2.9"), precedence: true, others_may: false }));
    gate.drain();
    assert_eq!(wait("192.0.2.9"), None);
}

#[test]
fn logins_beyond_the_users_limit_are_counted_and_let_in_where_that_is_in_shadow() {
    let gate = open(Settings { sessions_per_user: 1, shadow: vec![Limit::SessionsPerUser], ..settings(9, 9) });
    let newcomer =
        |id| Newcomer { id, listener: ListenerId(7), source: [192, 0, 2, 7].into(), draw: Draw::General, admitted_at: Instant::now() };
    let enrolled = [1, 2, 3].map(|id| gate.roster().enrol(newcomer(id)));
    let ann: Arc<str> = "ann@example.org".into();
    let logins = || enrolled.each_ref().map(|enrolment| gate.log_in(enrolment.seat(), &ann).map_err(|full| full.limit));
    assert_eq!(logins(), [Ok(()); 3]);
    assert_eq!(gate.snapshot().shadow_total.of(Limit::SessionsPerUser), 2);
    assert_eq!(gate.roster().sessions_of(&ann, Instant::now()).len(), 3);

    gate.apply(Settings { sessions_per_user: 1, ..settings(9, 9) }).unwrap();
    assert_eq!(logins(), [Err(1), Err(1), Ok(())], "out of the shadow it holds");
    assert_eq!(gate.snapshot().shadow_total.of(Limit::SessionsPerUser), 2);
}

#[test]
fn the_rate_that_is_spent_is_named_and_nobody_is_blamed_for_that_of_all() {
    let rates: rates::Settings =
        toml::from_str("connections_per_network = '1/1h'\nconnections_per_site = '2/1h'\nconnections = '4/1h'").unwrap();
    let gate = Gate::with_rates(settings(9, 9), &rates).unwrap();
    gate.open();
    let refused = |peer| match refused(&gate, peer) {
        rule @ Rule::TooOften { prefix, .. } => (rule.key().unwrap(), prefix.map(|prefix| prefix.to_string())),
        other => panic!("{other}"),
    };
    for peer in ["192.0.2.1", "2001:db8::1", "2001:db8:0:100::1"] {
        drop(gate.admit(&arrival(peer)).unwrap());
    }
    assert_eq!(refused("192.0.2.2"), ("rates.connections_per_network", Some("192.0.2.0/24".to_owned())));
    assert_eq!(refused("2001:db8:0:200::1"), ("rates.connections_per_site", Some("2001:db8::/48".to_owned())));
    drop(gate.admit(&arrival("198.51.100.1")).unwrap());
    assert_eq!(refused("203.0.113.1"), ("rates.connections", None), "it has come once");
}

#[test]
fn a_panic_in_a_session_frees_its_place() {
    let gate = open(settings(1, 1));
    let permit = gate.admit(&arrival("192.0.2.1")).unwrap();
    let session = std::thread::spawn(move || {
        let _permit = permit;
        std::panic::resume_unwind(Box::new("a session dies"));
    });
    assert!(session.join().is_err());
    assert!(gate.admit(&arrival("192.0.2.1")).is_ok());
}

#[test]
fn who_fetches_mail_comes_in_while_the_store_takes_none() {
    let gate = open(settings(9, 9));
    assert!(gate.store_down() && !gate.store_down());
    assert_eq!(refused(&gate, "192.0.2.1"), Rule::StoreDown);
    let fetches = Arrival { brings_mail: false, authenticates: true, ..arrival("192.0.2.1") };
    let permit = gate.admit(&fetches).unwrap();
    assert!(gate.store_up() && !gate.store_up());
    assert!(gate.admit(&arrival("192.0.2.1")).is_ok());
    drop(permit);
}

#[test]
fn what_a_session_is_refused_has_a_token_and_is_explained_as_a_refusal_at_the_door_is() {
    let gate = open(settings(2, 9));
    let arrival = arrival("192.0.2.7");
    let permit = gate.admit(&arrival).unwrap();
    let newcomer = Newcomer { id: 1, listener: ListenerId(7), source: arrival.peer, draw: permit.draw(), admitted_at: arrival.now };
    let enrolment = gate.roster().enrol(newcomer);
    let (seat, ann, bob): (_, Arc<str>, Arc<str>) = (enrolment.seat(), "ann@example.org".into(), "bob@example.org".into());
    let full = UserFull { held: 32, limit: 32, by_rule: false };
    assert_eq!(gate.deny(seat, Some(&bob), full, arrival.now).to_string(), "R9.0000");
    gate.log_in(seat, &ann).unwrap();
    let token = gate.deny(seat, None, Denial::StoreFull, arrival.now);
    assert_eq!((token.to_string(), gate.snapshot().refused_total), ("R6.0001".into(), Refused::default()), "no connection was refused");

    let told = gate.explain("[R9.0000]").unwrap();
    assert_eq!((told.cause, told.account, told.source), (Denial::UserFull(full).into(), Some(bob), arrival.peer));
    assert_eq!((told.cause.key(), told.cause.to_string()), (Some("gate.sessions_per_user"), "the user has 32 sessions of 32".into()));
    let told = gate.explain("r6.0001").unwrap();
    assert_eq!((told.token, told.account, told.listener, told.at), (token, Some(ann), ListenerId(7), arrival.now));
    assert_eq!((told.usage.in_use, told.usage.limit, told.share[0].sessions, told.holders[0].sessions), (1, 2, 1, 1));
    assert_eq!(gate.explain("R9.0001").unwrap_err().to_string(), "R9.0001 was not given; R6.0001 was");
}
