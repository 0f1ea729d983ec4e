//! Who gets a place when many want one: floods, offices behind one address, reserves, lanes and the start.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use gate::{
    Arrival, Class, ClientSettings, Day, Draw, Enrolment, Gate, Level, Limit, ListenerId, Newcomer, Permit, Phase, Portion, Privilege,
    Refusal, Rule, Settings,
};

/// No ceiling by address stands in the way of what is tested.
fn wide() -> Settings {
    let most = 1_000_000;
    Settings { sessions_per_address: most, sessions_per_network: most, sessions_per_site: most, ..Settings::default() }
}

fn open(settings: Settings) -> Gate {
    let gate = Gate::new(settings).unwrap();
    gate.open();
    gate
}

fn arrival(peer: impl Into<IpAddr>) -> Arrival {
    Arrival { listener: ListenerId(0), peer: peer.into(), authenticates: false, brings_mail: true, now: Instant::now() }
}

fn comes(gate: &Gate, peer: impl Into<IpAddr>) -> Result<Permit, Refusal> {
    gate.admit(&arrival(peer))
}

/// Somebody on the submission port.
fn submits(gate: &Gate, peer: impl Into<IpAddr>) -> Result<Permit, Refusal> {
    gate.admit(&Arrival { authenticates: true, ..arrival(peer) })
}

/// Address `host` of network `network`, no two networks in one /24.
fn v4(network: u32, host: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0A00_0000 + (network << 8) + host).into()
}

/// Everything a source can get, address after address.
fn flood(gate: &Gate, attempts: u32, address: impl Fn(u32) -> IpAddr) -> Vec<Permit> {
    (0..attempts).filter_map(|number| comes(gate, address(number)).ok()).collect()
}

#[test]
fn a_flood_from_one_network_leaves_room_for_everybody_else() {
    let gate = open(wide());
    let mut flooder = flood(&gate, 1_000, |number| v4(0, number % 256));
    let mut others = Vec::new();
    for number in 0..10_000 {
        flooder.extend(comes(&gate, v4(0, number % 256)).ok());
        if number % 50 == 0 {
            others.push(comes(&gate, v4(1 + number / 50, 1)).unwrap_or_else(|refusal| panic!("one of the 200: {refusal}")));
        }
    }
    assert_eq!(others.len(), 200);
    // It had settled before the others came, and what it holds is not taken away.
    assert!(flooder.len().abs_diff(300) <= 1, "{} places", flooder.len());
    assert!(gate.snapshot().refused_total.share_spent > 9_000);

    // With the others there it settles at its share of what they leave.
    flooder.clear();
    flooder = flood(&gate, 10_000, |number| v4(0, number % 256));
    assert!(flooder.len().abs_diff((900 - 200) / 3) <= 1, "{} places", flooder.len());
}

#[test]
fn a_lone_flooder_settles_at_the_formula_however_many_its_addresses() {
    for (alpha, places, expected) in [(0.5, 30, 9), (0.5, 1000, 300), (1.0, 100, 45), (2.0, 100, 60)] {
        let settings = || Settings { max_inbound: places, fair_share_alpha: alpha, ..wide() };
        let spreads: [fn(u32) -> IpAddr; 4] = [
            |_| v4(0, 7),
            |number| v4(0, number % 256),
            |_| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            |number| Ipv6Addr::new(0x2001, 0xdb8, 0, number as u16, 0, 0, 0, 1).into(),
        ];
        for spread in spreads {
            let gate = open(settings());
            let held = flood(&gate, 10_000, spread).len();
            assert!(held.abs_diff(expected) <= 1, "alpha {alpha}, {places} places: {held}");
        }
    }
}

#[test]
fn the_share_is_told_as_the_limit() {
    let gate = open(Settings { max_inbound: 30, ..wide() });
    let _held = flood(&gate, 100, |_| v4(0, 7));
    let Rule::ShareSpent { prefix, held, share, free } = comes(&gate, v4(0, 7)).unwrap_err().rule else { panic!("another rule") };
    assert_eq!((prefix.to_string().as_str(), held, share, free), ("10.0.0.7/32", 9, 9, 18));
}

#[test]
fn without_the_fair_share_one_source_can_have_all_that_is_not_reserved() {
    let gate = open(Settings { max_inbound: 30, fair_share_alpha: 0.0, ..wide() });
    assert_eq!(flood(&gate, 100, |_| v4(0, 7)).len(), 27);
    let _held = flood(&gate, 100, |_| v4(0, 7));
    assert!(matches!(
        comes(&gate, v4(0, 7)).unwrap_err().rule,
        Rule::UnreservedFull { general: 27, unreserved: 27, in_use: 27, limit: 30 }
    ));
}

#[test]
fn a_source_that_holds_nothing_has_a_lane_when_the_rest_is_taken() {
    let gate = open(Settings { max_inbound: 100, fair_share_alpha: 0.0, ..wide() });
    let _flood = flood(&gate, 200, |_| v4(0, 7));
    assert!(comes(&gate, v4(0, 8)).is_err(), "its network holds something");
    let firsts: Vec<_> = (1..=5).map(|network| comes(&gate, v4(network, 1)).unwrap()).collect();
    assert!(firsts.iter().all(|permit| permit.draw() == Draw::FirstPlace));
    assert!(comes(&gate, v4(1, 1)).is_err(), "a first place is one place");
    assert!(comes(&gate, v4(6, 1)).is_err(), "half of the reserve is for them, not all of it");
    assert_eq!((gate.snapshot().first_places, gate.snapshot().usage.in_use), (5, 95));
    drop(firsts);
    assert!(comes(&gate, v4(6, 1)).is_ok());
}

#[test]
fn an_office_submits_however_many_places_its_own_address_holds() {
    // The pool is full of the office's own strangers, or the address is at its ceiling.
    for settings in [Settings { fair_share_alpha: 0.0, ..wide() }, Settings::default(), wide()] {
        let gate = open(settings);
        let office = v4(0, 7);
        let strangers = flood(&gate, 2_000, |_| office);
        assert!(comes(&gate, office).is_err());
        let submissions: Vec<_> = (0..50)
            .map(|number| {
                let mut permit = submits(&gate, office).unwrap_or_else(|refusal| panic!("submission {number}: {refusal}"));
                assert_eq!(permit.draw(), Draw::Authenticating);
                permit.authenticate();
                permit
            })
            .collect();
        assert_eq!(gate.snapshot().usage.in_use as usize, strangers.len() + submissions.len());
        assert_eq!(gate.snapshot().authenticating, 0);
        drop((strangers, submissions));
        let snapshot = gate.snapshot();
        assert_eq!((snapshot.usage.in_use, snapshot.usage.general, snapshot.prefixes), (0, 0, 0));
    }
}

#[test]
fn who_never_shows_a_password_has_half_of_the_lane_at_most() {
    let gate = open(Settings { max_inbound: 100, first_places: Portion::Places(0), fair_share_alpha: 0.0, ..wide() });
    let _flood = flood(&gate, 200, |_| v4(0, 7));
    let mut guessers: Vec<_> = (0..100).filter_map(|host| submits(&gate, v4(0, host)).ok()).collect();
    assert_eq!(guessers.len(), 3, "half of 5, rounded up");
    let mut person = submits(&gate, v4(1, 1)).unwrap();
    assert_eq!(person.draw(), Draw::Authenticating);
    person.authenticate();
    guessers[0].authenticate();
    assert!(submits(&gate, v4(0, 9)).is_ok(), "a right password makes room");
}

/// The office's own address has its part of the lane, too, and shows no password there.
#[test]
fn who_only_sits_in_the_lane_makes_room_for_somebody_behind_the_same_address() {
    let gate = open(Settings { max_inbound: 100, first_places: Portion::Places(0), fair_share_alpha: 0.0, ..wide() });
    let _flood = flood(&gate, 200, |_| v4(0, 7));
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let comes = |network, millis| gate.admit(&Arrival { authenticates: true, now: at(millis), ..arrival(v4(network, 7)) });
    let enrol = |id, permit: &Permit| {
        gate.roster().enrol(Newcomer { id, listener: ListenerId(0), source: v4(0, 7), draw: permit.draw(), admitted_at: start })
    };
    let permits: Vec<_> = (0..3).map(|_| comes(0, 0).unwrap()).collect();
    let mut sessions: Vec<_> = permits.into_iter().zip(0..).map(|(permit, id)| (enrol(id, &permit), permit)).collect();
    // One is in a handshake, of which 3 s may have been ours, one waits between two commands, and one of them is at work.
    for (number, phase) in [Phase::Tls, Phase::Client, Phase::Own].into_iter().enumerate() {
        let seat = sessions[number].0.seat();
        seat.rest(true);
        seat.enter(phase, at([0, 3_100, 3_200][number]));
    }
    let leaving =
        |sessions: &[(Enrolment, Permit)]| sessions.iter().map(|(session, _)| session.seat().parting().is_some()).collect::<Vec<_>>();
    assert!(comes(0, 4_999).is_err(), "they may still show a password");
    let mut person = comes(0, 5_010).unwrap();
    assert_eq!((person.draw(), leaving(&sessions)), (Draw::Authenticating, vec![true, false, false]));
    assert!(comes(0, 5_020).is_err(), "the other has not sat for long enough");
    person.authenticate();
    drop(sessions.remove(0));
    // The place that was given up is the next one's, and nobody else has to.
    let mut next = comes(0, 5_200).unwrap();
    assert_eq!(leaving(&sessions), [false, false]);
    next.authenticate();
    let _sits = comes(0, 5_210).unwrap();
    assert!(comes(0, 5_220).is_ok() && leaving(&sessions) == [true, false]);
    assert!(comes(0, 12_000).is_err(), "who is at work stays, and who is on the way out is not asked again");
    assert_eq!(comes(1, 12_000).unwrap().draw(), Draw::Authenticating, "others have theirs");
}

#[test]
fn a_password_frees_a_general_place_and_the_ceiling() {
    let gate = open(Settings { max_inbound: 10, sessions_per_address: 1, ..Settings::default() });
    let mut first = comes(&gate, v4(0, 7)).unwrap();
    assert!(matches!(comes(&gate, v4(0, 7)).unwrap_err().rule, Rule::SourceFull { held: 1, limit: 1, .. }));
    assert_eq!(gate.snapshot().usage.general, 1);
    first.authenticate();
    assert_eq!((gate.snapshot().usage.general, gate.snapshot().usage.in_use), (0, 1));
    let _second = comes(&gate, v4(0, 7)).unwrap();
    assert_eq!(gate.holders(Level::Address, 1)[0].sessions, 2, "both are held, however they count");
}

fn client(name: &str, network: &str, class: Privilege) -> ClientSettings {
    ClientSettings { name: name.into(), networks: vec![network.parse().unwrap()], class, sessions: None, reason: None, expires: None }
}

#[test]
fn clients_have_the_reserve_but_not_more_than_there_is() {
    let clients = vec![client("monitor", "10.0.1.1", Privilege::Exempt), client("office", "10.0.2.0/24", Privilege::Trusted)];
    let gate = open(Settings { max_inbound: 20, fair_share_alpha: 0.0, clients, ..wide() });
    let _flood = flood(&gate, 100, |_| v4(0, 7));
    let _clients = [comes(&gate, v4(1, 1)).unwrap(), comes(&gate, v4(2, 1)).unwrap()];
    assert!(matches!(comes(&gate, v4(1, 1)).unwrap_err().rule, Rule::PoolFull { in_use: 20, limit: 20 }));
    let uses: Vec<_> = gate.clients().iter().map(|client| (client.settings.name.clone(), client.in_use, client.admitted_total)).collect();
    assert_eq!(uses, [("monitor".to_owned(), 1, 1), ("office".to_owned(), 1, 1)]);
}

#[test]
fn an_exempt_client_has_no_ceiling_but_its_own_and_a_trusted_one_the_usual() {
    let clients = vec![
        client("free", "10.0.1.0/24", Privilege::Exempt),
        ClientSettings { sessions: Some(30), ..client("own", "10.0.2.0/24", Privilege::Exempt) },
        client("usual", "10.0.3.0/24", Privilege::Trusted),
        ClientSettings { sessions: Some(40), ..client("large", "10.0.4.0/24", Privilege::Trusted) },
    ];
    let gate = open(Settings { max_inbound: 1000, clients, ..Settings::default() });
    let held: Vec<_> = (1..=4).map(|network| flood(&gate, 150, move |number| v4(network, number % 2))).collect();
    assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [150, 30, 40, 40]);
    assert!(matches!(comes(&gate, v4(2, 9)).unwrap_err().rule, Rule::ClientFull { held: 30, limit: 30, .. }));
    assert!(matches!(comes(&gate, v4(3, 0)).unwrap_err().rule, Rule::SourceFull { held: 20, limit: 20, .. }));
}

#[test]
fn loopback_is_anybody_and_classes_end_when_they_say() {
    let monitor = ClientSettings { expires: Some(Day(100)), ..client("monitor", "127.0.0.1", Privilege::Exempt) };
    let gate = open(Settings { clients: vec![monitor], ..Settings::default() });
    let class = |address: &str| gate.class_of(address.parse().unwrap());
    gate.set_today(Day(100));
    assert_eq!([class("127.0.0.1"), class("127.0.0.2"), class("::1")], [Class::Exempt, Class::Default, Class::Default]);
    gate.set_today(Day(101));
    assert_eq!(class("127.0.0.1"), Class::Default);
}

#[test]
fn who_delivered_lately_is_known_good_and_its_refusals_are_counted_apart() {
    let gate = open(Settings { max_inbound: 1, ..Settings::default() });
    gate.set_today(Day(100));
    gate.delivered(v4(1, 1), Instant::now());
    assert_eq!((gate.class_of(v4(1, 1)), gate.class_of(v4(1, 2))), (Class::KnownGood, Class::Default));
    let _only = comes(&gate, v4(0, 7)).unwrap();
    assert_eq!([v4(1, 1), v4(1, 2)].map(|peer| comes(&gate, peer).unwrap_err().known_good), [true, false]);
    assert_eq!(gate.snapshot().known_good_refused_total, 1);

    let another = open(Settings::default());
    another.set_today(Day(130));
    another.restore_known_good(gate.known_good());
    assert_eq!(another.class_of(v4(1, 1)), Class::KnownGood);
    another.set_today(Day(131));
    assert_eq!(another.class_of(v4(1, 1)), Class::Default);
}

#[test]
fn who_is_denied_is_refused_before_anything_else_is_asked() {
    let gate = open(Settings { deny: vec!["10.0.1.0/24".parse().unwrap()], ..Settings::default() });
    let refusal = comes(&gate, v4(1, 9)).unwrap_err();
    assert_eq!((refusal.rule.id(), refusal.rule.key()), ("R0", Some("gate.deny")));
    assert!(submits(&gate, v4(1, 9)).is_err() && comes(&gate, v4(2, 9)).is_ok());
    assert_eq!(gate.snapshot().refused_total.denied, 2);
}

#[test]
fn limits_in_shadow_count_and_refuse_nobody() {
    let settings = Settings {
        max_inbound: 50,
        sessions_per_address: 2,
        deny: vec!["10.0.1.0/24".parse().unwrap()],
        clients: vec![ClientSettings { sessions: Some(1), ..client("one", "10.0.2.0/24", Privilege::Trusted) }],
        ..Settings::default()
    };
    let gate = open(Settings { shadow: Limit::ALL.to_vec(), ..settings.clone() });
    let held = flood(&gate, 60, |_| v4(0, 7));
    assert_eq!(held.len(), 45, "all that is not reserved");
    let _denied = comes(&gate, v4(1, 1)).unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| comes(&gate, v4(2, 1)).unwrap()).collect();
    let shadow = gate.snapshot().shadow_total;
    assert_eq!([shadow.of(Limit::SessionsPerAddress), shadow.of(Limit::Deny), shadow.of(Limit::Clients)], [58, 1, 2]);
    assert!(shadow.of(Limit::FairShareAlpha) > 0);

    // Out of the shadow they hold again, for what came in without them, too.
    gate.apply(settings).unwrap();
    clients.truncate(1);
    assert_eq!(comes(&gate, v4(1, 1)).unwrap_err().rule.id(), "R0");
    assert!(matches!(comes(&gate, v4(2, 1)).unwrap_err().rule, Rule::ClientFull { held: 1, limit: 1, .. }));
    assert!(matches!(comes(&gate, v4(0, 7)).unwrap_err().rule, Rule::SourceFull { held: 45, limit: 2, .. }));
}

#[test]
fn after_a_start_places_come_one_after_the_other_but_never_against_one_who_is_alone() {
    let settings =
        Settings { max_inbound: 100, reserve: Portion::Places(0), fair_share_alpha: 0.0, start_ramp: mail::Span::secs(10), ..wide() };
    let gate = Gate::new(settings).unwrap();
    let start = Instant::now();
    gate.open_gently(start);
    let at = |tenths: u64, peer| gate.admit(&Arrival { now: start + Duration::from_millis(100 * tenths), ..arrival(peer) });
    let mut alone: Vec<_> = (0..60).map(|_| at(0, v4(0, 7)).unwrap()).collect();
    alone.truncate(10);
    let refused = at(0, v4(1, 1)).unwrap_err();
    assert_eq!((refused.rule, refused.rule.id()), (Rule::Ramping { general: 10, places: 10 }, "R1"));
    let crowd: Vec<_> = (1..100).map_while(|network| at(50, v4(network, 1)).ok()).collect();
    assert_eq!(crowd.len(), 55 - 10);
    let rest: Vec<_> = (100..200).map_while(|network| at(100, v4(network, 1)).ok()).collect();
    assert_eq!(rest.len(), 45);
    assert_eq!(gate.snapshot().refused_total.ramping, 2);
}

#[test]
fn a_raised_limit_serves_the_next_arrival_and_a_lowered_one_cuts_nobody() {
    let gate = open(Settings { max_inbound: 10, ..wide() });
    let mut held: Vec<_> = (0..9).map(|network| comes(&gate, v4(network, 1)).unwrap()).collect();
    held.push(comes(&gate, v4(9, 1)).unwrap());
    assert!(comes(&gate, v4(10, 1)).is_err());
    gate.apply(Settings { max_inbound: 20, ..wide() }).unwrap();
    held.push(comes(&gate, v4(10, 1)).unwrap());
    assert_eq!(gate.apply(Settings { max_inbound: 5, ..wide() }).unwrap().over_limit(), 6);
    assert!(matches!(comes(&gate, v4(11, 1)).unwrap_err().rule, Rule::PoolFull { in_use: 11, limit: 5 }));
    assert_eq!(gate.snapshot().usage.in_use as usize, held.len());
}
