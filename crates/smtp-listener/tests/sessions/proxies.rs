//! A proxy that is trusted says for whom it speaks (XCLIENT): from then on the gate counts the client and no longer the proxy.

use gate::{ClientSettings, Level, Portion, Privilege};
use mail::Span;
use net::clock;

use crate::house::{ANN, Client, House, Plan, SECOND};

/// A house behind a proxy that is exempt, where one address may have two sessions.
async fn behind_a_proxy(mut plan: Plan) -> House {
    plan.settings.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let house = plan.build().await;
    let networks = vec!["127.0.0.1".parse().unwrap()];
    let proxy = ClientSettings { name: "proxy".into(), networks, class: Privilege::Exempt, sessions: None, reason: None, expires: None };
    let settings = gate::Settings { sessions_per_address: 2, sessions_per_user: 1, clients: vec![proxy], ..gate::Settings::default() };
    house.gate.apply(gate::Settings { deny: vec!["192.0.2.66".parse().unwrap()], ..settings }).unwrap();
    house
}

fn holders(house: &House) -> Vec<(String, u32)> {
    house.gate.holders(Level::Address, 9).iter().map(|holder| (holder.prefix.to_string(), holder.sessions)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_proxys_client_is_counted_and_refused_as_if_it_had_connected() {
    let house = behind_a_proxy(Plan::relay()).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = house.greet().await;
        client.asks("XCLIENT ADDR=192.0.2.9", "220").await;
        held.push(client);
    }
    assert_eq!(holders(&house), [("192.0.2.9/32".to_owned(), 2)]);
    for (client, line) in [
        ("192.0.2.9", "421 4.7.0 mx.example Too many connections from [192.0.2.9] (limit 2), try again later [R2.0000]\r\n"),
        ("192.0.2.66", "554 5.7.1 mx.example Connections from your network are not accepted [R0.0001]\r\n"),
    ] {
        let mut refused = house.greet().await;
        refused.says(&format!("XCLIENT ADDR={client}\r\n")).await;
        assert_eq!(refused.rest().await, line);
    }
    assert_eq!(house.gate.explain("R2.0000").unwrap().source.to_string(), "192.0.2.9");
    assert_eq!(house.metric("sessions_refused_total{listener=\"smtp\",rule=\"R2\",limit=\"gate.sessions_per_address\"}"), 1);
    house.drain.finish(net::now()).await;
    drop(held);
    assert_eq!((house.gate.usage().in_use, house.gate.snapshot().prefixes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_has_logged_in_with_the_proxy_counts_as_the_user() {
    let house = behind_a_proxy(Plan::relay()).await;
    let mut first = house.greet().await;
    first.asks("XCLIENT ADDR=192.0.2.9 LOGIN=Ann@example.org", "220").await;
    let sessions = || house.gate.roster().sessions_of(ANN, net::now()).len();
    assert_eq!((sessions(), house.gate.usage().general), (1, 0), "by her name in the directory, in the reserve");
    let mut second = house.greet().await;
    second.says("XCLIENT ADDR=192.0.2.10 LOGIN=ann@example.org\r\n").await;
    assert_eq!(second.rest().await, "421 4.7.0 mx.example Too many sessions for this user (limit 1) [R9.0000]\r\n");
    // The proxy uses the connection for somebody else.
    first.asks("XCLIENT LOGIN=[UNAVAILABLE]", "220").await;
    assert_eq!((sessions(), house.gate.usage().general), (0, 1), "a stranger from the same address");
    first.asks("XCLIENT LOGIN=guest@other.example", "220").await;
    assert_eq!(house.gate.roster().sessions_of("guest@other.example", net::now()).len(), 1);
}

/// A session in clear whose proxy has told of a login of ann, and that goes on inside TLS.
async fn after_starttls(house: &House, client: &str) -> Client {
    let mut proxy = house.greet().await;
    proxy.asks(&format!("XCLIENT ADDR={client} LOGIN={ANN}"), "220").await;
    proxy.asks("EHLO client.example", "250-mx.example").await;
    assert_eq!(house.gate.roster().sessions_of(ANN, net::now()).len(), 1);
    proxy.asks("STARTTLS", "220").await;
    Client::new(house.shake_hands(proxy.into_stream()).await)
}

#[tokio::test(start_paused = true)]
async fn a_login_that_was_told_of_in_clear_is_forgotten_inside_tls() {
    let house = behind_a_proxy(Plan::relay()).await;
    let mut client = after_starttls(&house, "192.0.2.9").await;
    client.asks("EHLO client.example", "250-mx.example").await;
    assert_eq!(house.gate.roster().sessions_of(ANN, net::now()).len(), 0);
    assert_eq!((house.gate.usage().general, holders(&house)), (1, vec![("192.0.2.9/32".to_owned(), 1)]), "a stranger's place again");
    let _second = {
        let mut second = house.greet().await;
        second.asks("XCLIENT ADDR=192.0.2.9", "220").await;
        second
    };
    // The address has all it may now: a login that is forgotten lets nobody in there.
    let turned_away = after_starttls(&house, "192.0.2.9").await.rest().await;
    let line = "421 4.7.0 mx.example Too many connections from [192.0.2.9] (limit 2), try again later [R2.0000]\r\n";
    assert_eq!(turned_away, line);
    let mut other = after_starttls(&house, "192.0.2.10").await;
    other.asks("EHLO client.example", "250-mx.example").await;
    other.says("XCLIENT ADDR=192.0.2.9\r\n").await;
    assert!(other.rest().await.starts_with("421 4.7.0 mx.example Too many connections from [192.0.2.9] (limit 2)"));
}

#[tokio::test(start_paused = true)]
async fn a_client_who_finds_no_place_has_one_at_rest_give_way() {
    let house = behind_a_proxy(Plan::relay()).await;
    let (reserve, first_places) = (Portion::Places(2), Portion::Places(0));
    let settings = gate::Settings { max_inbound: 4, reserve, first_places, fair_share_alpha: 0.0, ..house.gate.settings() };
    house.gate.apply(gate::Settings { give_way_after: Span::secs(30), ..settings }).unwrap();
    let speak = async |client: &str, reply| {
        let mut proxy = house.greet().await;
        proxy.asks(&format!("XCLIENT ADDR={client}"), reply).await;
        proxy
    };
    let (mut longest, mut second) = (speak("192.0.2.1", "220").await, speak("192.0.2.2", "220").await);
    clock::pause(29 * SECOND).await;
    assert_eq!(speak("192.0.2.3", "421 4.3.2").await.rest().await, "", "both have moved of late");
    longest.asks("NOOP", "250").await;
    clock::pause(5 * SECOND).await;
    // The other one has rested for longest now. In its place there is room again.
    let refused = speak("192.0.2.3", "421 4.3.2").await;
    second.hears("421 4.3.2 mx.example Place needed, reconnect any time").await;
    drop((refused, second));
    clock::pause(SECOND).await;
    speak("192.0.2.3", "220").await.asks("QUIT", "221").await;
    longest.asks("NOOP", "250").await;
    assert_eq!(house.ended("gave_way"), 1);
}
