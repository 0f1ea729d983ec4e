//! Rates: who goes too fast is told to come back, and the session goes on.

use gate::rates::Settings;
use gate::{ClientSettings, Privilege};
use net::clock;

use crate::house::{ANN, Client, House, MINUTE, PASSWORD, Plan, SECOND, plain, timed};

async fn house(rates: Settings) -> House {
    Plan { rates, ..Plan::relay() }.build().await
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_source_over_all_its_sessions() {
    let house = house(Settings { messages_per_source: "2/1m".parse().unwrap(), ..Settings::default() }).await;
    let (mut one, mut other) = (house.greet().await, house.greet().await);
    one.asks("MAIL FROM:<a@elsewhere.example>", "250 2.1.0").await;
    other.asks("MAIL FROM:<>", "250 2.1.0").await;
    one.asks("RSET", "250").await;
    one.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too many messages in a short time, try again in ").await;
    assert_eq!(house.metric("rates_met_total{listener=\"smtp\",limit=\"rates.messages_per_source\"}"), 1);
    let told = house.gate.explain("R11.0000").unwrap();
    assert_eq!((told.cause.key(), told.share[0].sessions), (Some("rates.messages_per_source"), 2));
    clock::pause(MINUTE / 2).await;
    one.asks("MAIL FROM:<>", "250 2.1.0").await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_exempt_is_under_no_rate_by_source() {
    let (once, kib) = ("1/1h".parse().unwrap(), "1KiB/1h".parse().unwrap());
    let per_source = Settings { messages_per_source: once, recipients_per_source: once, bytes_per_source: kib, ..Settings::default() };
    let twice = "2/1h".parse().unwrap();
    let house = house(Settings { failed_commands_per_source: once, messages_per_sender_domain: twice, ..per_source }).await;
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let near = ClientSettings { name: "near".into(), networks, class: Privilege::Exempt, sessions: None, reason: None, expires: None };
    house.gate.apply(gate::Settings { clients: vec![near], ..gate::Settings::default() }).unwrap();
    let mut client = house.greet().await;
    for _ in 0..3 {
        client.asks("WHAT", "500").await;
        sends(&mut client, " SIZE=4096", 4).await;
    }
    for reply in ["250", "250", "451 4.7.1 mx.example Too many messages"] {
        client.asks("MAIL FROM:<a@elsewhere.example>", reply).await;
        client.asks("RSET", "250").await;
    }
    house.gate.apply(gate::Settings::default()).unwrap();
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too many messages").await;
}

#[tokio::test(start_paused = true)]
async fn recipients_for_a_sender_domain() {
    let house = house(Settings { recipients_per_sender_domain: "1/1m".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    client.asks("RCPT TO:<bob@example.org>", "450 4.7.1 mx.example Too many recipients").await;
    client.asks("DATA", "354").await;
    client.says("Subject: for one\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    client.asks("MAIL FROM:<b@Elsewhere.Example>", "250").await;
    client.asks("RCPT TO:<bob@example.org>", "450 4.7.1").await;
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<a@another.example>", "250").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
}

/// However many recipients a rate refuses in one transaction, the others have their message, and the ledger has room for other things.
#[tokio::test(start_paused = true)]
async fn a_transaction_has_one_token_for_all_recipients_that_a_rate_refuses() {
    let house = house(Settings { recipients_per_source: "1/1h".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    client.says("RCPT TO:<bob@example.org>\r\n".repeat(300)).await;
    for _ in 0..300 {
        let reply = client.reply().await;
        assert!(reply.starts_with("450 4.7.1") && reply.ends_with(" seconds [R11.0000]\r\n"), "{reply}");
    }
    assert_eq!(house.metric("rates_met_total{listener=\"smtp\",limit=\"rates.recipients_per_source\"}"), 300);
    client.asks("DATA", "354").await;
    client.says(".\r\n").await;
    client.hears("250 2.0.0").await;
    client.asks("MAIL FROM:<>", "250").await;
    client.says("RCPT TO:<bob@example.org>\r\n").await;
    assert!(client.reply().await.ends_with(" seconds [R11.0001]\r\n"), "another transaction, another token");
}

#[tokio::test(start_paused = true)]
async fn who_begins_messages_in_vain_without_end_is_dismissed() {
    let house = house(Settings { messages_per_source: "1/1h".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250").await;
    client.asks("RSET", "250").await;
    client.says("MAIL FROM:<>\r\n".repeat(300)).await;
    let said = client.rest().await;
    assert_eq!(said.matches("451 4.7.1").count(), 99, "{said}");
    assert!(said.ends_with("421 4.7.0 mx.example Too many commands without a message\r\n"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_sender_domain_in_utf8_counts_with_its_form_in_dns() {
    let house = house(Settings { messages_per_sender_domain: "1/1m".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<a@bücher.example> SMTPUTF8", "250").await;
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<a@xn--bcher-kva.example>", "451 4.7.1 mx.example Too many messages").await;
    client.asks("MAIL FROM:<a@another.example>", "250").await;
}

#[tokio::test(start_paused = true)]
async fn octets_are_refused_before_they_are_sent_and_never_after() {
    let house = house(Settings { bytes_per_source: "10KiB/1m".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    // Announced and not sent: nothing was had.
    for _ in 0..9 {
        client.asks("MAIL FROM:<> SIZE=10000", "250 2.1.0").await;
        client.asks("RSET", "250").await;
    }
    // More than announced: taken, and made up for.
    client.asks("MAIL FROM:<> SIZE=1", "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354").await;
    client.says("Subject: large\r\n\r\n".to_owned() + &"x\r\n".repeat(5000) + ".\r\n").await;
    client.hears("250 2.0.0").await;
    client.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too much mail in a short time").await;
    clock::pause(MINUTE / 2).await;
    client.asks("MAIL FROM:<>", "451 4.7.1").await;
    clock::pause(MINUTE / 2).await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
    assert_eq!(house.store.texts(ANN).len(), 1);
}

/// Sends `kib` KiB, with `parameters` at MAIL.
async fn sends(client: &mut Client, parameters: &str, kib: usize) {
    client.asks(&format!("MAIL FROM:<>{parameters}"), "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354").await;
    client.says(format!("{}\r\n", "x".repeat(62)).repeat(kib * 16) + ".\r\n").await;
    client.hears("250 2.0.0").await;
}

#[tokio::test(start_paused = true)]
async fn who_announces_more_than_a_rate_has_pays_for_what_was_sent() {
    let house = house(Settings { bytes_per_source: "60KiB/1m".parse().unwrap(), ..Settings::default() }).await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<> SIZE=10000000", "250 2.1.0").await;
    client.asks("RSET", "250").await;
    sends(&mut client, " SIZE=10000000", 60).await;
    client.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too much mail in a short time").await;
    clock::pause(MINUTE).await;
    sends(&mut client, " SIZE=10000000", 180).await;
    clock::pause(2 * MINUTE).await;
    client.asks("MAIL FROM:<>", "451 4.7.1").await;
    clock::pause(2 * SECOND).await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_unannounced_is_made_up_for_whole() {
    let house = house(Settings { bytes_per_source: "60KiB/1m".parse().unwrap(), ..Settings::default() }).await;
    let (mut one, mut other) = (house.greet().await, house.greet().await);
    tokio::join!(sends(&mut one, "", 600), sends(&mut other, "", 600));
    clock::pause(18 * MINUTE).await;
    house.greet().await.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too much mail in a short time").await;
    clock::pause(2 * MINUTE).await;
    house.greet().await.asks("MAIL FROM:<>", "250 2.1.0").await;
}

#[tokio::test(start_paused = true)]
async fn failed_commands_over_all_sessions_close_mail_and_auth() {
    let house = house(Settings { failed_commands_per_source: "6/1m".parse().unwrap(), ..Settings::default() }).await;
    for _ in 0..2 {
        let mut client = house.greet().await;
        client.asks("WHAT", "500").await;
        client.asks("MAIL FROM:<>", "250").await;
        client.asks("RCPT TO:<nobody@example.org>", "550").await;
        client.asks("RCPT TO:<noone@example.org>", "550").await;
        client.asks("QUIT", "221").await;
    }
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "451 4.7.1 mx.example Too many failed commands").await;
    clock::pause(MINUTE).await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
}

#[tokio::test(start_paused = true)]
async fn an_account_has_its_own_rate() {
    let rates = Settings { messages_per_account: "1/1h".parse().unwrap(), ..Settings::default() };
    let house = Plan { rates, ..Plan::submission() }.build().await;
    let (mut one, mut other) = (house.log_in().await, house.log_in().await);
    one.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    other.says("MAIL FROM:<ann@example.org>\r\n").await;
    let reply = other.reply().await;
    assert!(reply.starts_with("451 4.7.1 mx.example Too many messages") && reply.ends_with(" seconds [R11.0000]\r\n"), "{reply}");
    let told = house.gate.explain("R11.0000").unwrap();
    assert_eq!((told.cause.key(), told.account.as_deref()), (Some("rates.messages_per_account"), Some(ANN)));
}

#[tokio::test(start_paused = true)]
async fn who_fails_too_often_is_told_so_at_auth_too() {
    let rates = Settings { failed_commands_per_source: "1/1h".parse().unwrap(), ..Settings::default() };
    let house = Plan { rates, ..Plan::submission() }.build().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client.asks("WHAT", "500").await;
    client.says(format!("{}\r\n", plain("", ANN, PASSWORD))).await;
    let reply = client.reply().await;
    assert!(reply.starts_with("454 4.7.0 mx.example Too many failed commands") && reply.ends_with(" seconds [R11.0000]\r\n"), "{reply}");
    assert_eq!(house.gate.explain("R11.0000").unwrap().cause.key(), Some("rates.failed_commands_per_source"));
}

/// What refuses a login does not keep itself in force: neither the rate itself, nor a directory that is away, nor too many sessions.
#[tokio::test(start_paused = true)]
async fn a_refused_login_is_no_failed_command() {
    let rates = Settings { failed_commands_per_source: "2/1m".parse().unwrap(), ..Settings::default() };
    let house = Plan { rates, ..Plan::submission() }.build().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    house.store.set(store::memory::Condition::Unavailable);
    for _ in 0..3 {
        client.asks(&plain("", ANN, PASSWORD), "454 4.7.0 Authentication is not possible now").await;
    }
    house.store.set(store::memory::Condition::Ready);
    client.asks("WHAT", "500").await;
    client.asks("WHAT", "500").await;
    for _ in 0..4 {
        client.asks(&plain("", ANN, PASSWORD), "454 4.7.0 mx.example Too many failed commands").await;
    }
    clock::pause(MINUTE / 2).await;
    client.asks(&plain("", ANN, PASSWORD), "235").await;
    client.asks("MAIL FROM:<ann@example.org>", "250").await;

    house.gate.apply(gate::Settings { sessions_per_user: 1, ..gate::Settings::default() }).unwrap();
    for _ in 0..3 {
        let mut refused = house.connect_tls().await;
        refused.asks("EHLO client.example", "250-mx.example").await;
        refused.asks(&plain("", ANN, PASSWORD), "421 4.7.0 mx.example Too many sessions").await;
    }
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<ann@example.org>", "250").await;
}

#[tokio::test(start_paused = true)]
async fn the_tarpit_holds_back_as_many_as_it_has_places() {
    let tarpit = Settings { tarpit: mail::Span::secs(5), tarpit_places: 1, ..Settings::default() };
    let house = house(tarpit).await;
    let (mut held, mut free) = (house.greet().await, house.greet().await);
    let (first, ()) = tokio::join!(timed(held.asks("WHAT", "500")), async {
        clock::pause(SECOND).await;
        let ((), time) = timed(free.asks("WHAT", "500")).await;
        assert_eq!(time, std::time::Duration::ZERO, "the tarpit is full");
    });
    assert_eq!(first.1, 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_speaks_for_its_clients_and_they_are_counted() {
    let rates = Settings { messages_per_source: "1/1h".parse().unwrap(), ..Settings::default() };
    let mut plan = Plan { rates, ..Plan::relay() };
    plan.settings.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let house = plan.build().await;
    for (address, reply) in [("198.51.100.9", "250 2.1.0"), ("198.51.100.9", "451 4.7.1"), ("198.51.100.10", "250 2.1.0")] {
        let mut client = house.greet().await;
        client.asks(&format!("XCLIENT ADDR={address}"), "220 mx.example ESMTP").await;
        client.asks("EHLO client.example", &format!("250-mx.example greets [{address}]")).await;
        client.asks("MAIL FROM:<>", reply).await;
    }
    let mut client = house.greet().await;
    client.asks("XCLIENT ADDR=IPV6:2001:db8::9 HELO=spike PROTO=ESMTP", "220").await;
    client.begins(&["ann@example.org"]).await;
    client.says("Subject: through a proxy\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(ANN)[0].clone()).unwrap();
    assert!(text.contains("Received: from spike ([IPv6:2001:db8::9])"), "{text}");
}
