//! Who is mail taken for (invariant 3)?

use store::{Change, Directory as _};

use crate::house::{ANN, BOB, Client, House, Plan};

/// Recipients and the beginning of the reply to each; `FOREIGN` depends on who asks.
const MATRIX: [(&str, &str); 32] = [
    ("ann@example.org", "250 2.1.5"),
    ("ANN@Example.ORG", "250 2.1.5"),
    ("\"ann\"@example.org", "250 2.1.5"),
    ("sales@example.org", "250 2.1.5"),
    ("postmaster", "250 2.1.5"),
    ("ann+shop@example.org", "250 2.1.5"),
    ("sales+bob%elsewhere.example@example.org", "250 2.1.5"),
    ("nobody+ann@example.org", "550 5.1.1"),
    ("ann+shop@elsewhere.example", FOREIGN),
    ("Postmaster@example.org", "250 2.1.5"),
    // The route is dropped, the mailbox is ours (RFC 5321 appendix F.2).
    ("@elsewhere.example:ann@example.org", "250 2.1.5"),
    ("nobody@example.org", "550 5.1.1"),
    ("bob@elsewhere.example", FOREIGN),
    ("ann@sub.example.org", FOREIGN),
    ("ann@example.org.evil.example", FOREIGN),
    ("ann@[127.0.0.1]", FOREIGN),
    ("ann@[IPv6:::1]", FOREIGN),
    ("postmaster@elsewhere.example", FOREIGN),
    // This host's own, by its name.
    ("Postmaster@MX.example", "250 2.1.5"),
    ("postmaster@[127.0.0.1]", FOREIGN),
    ("ann@mx.example", FOREIGN),
    ("postmaster+x@mx.example", FOREIGN),
    ("@example.org:bob@elsewhere.example", FOREIGN),
    ("@example.org,@mx.example:bob@elsewhere.example", FOREIGN),
    // What other servers once took for a route is a name here.
    ("bob%elsewhere.example@example.org", "550 5.1.1"),
    ("bob%elsewhere.example%x.example@example.org", "550 5.1.1"),
    ("elsewhere.example!bob@example.org", "550 5.1.1"),
    ("\"bob@elsewhere.example\"@example.org", "550 5.1.1"),
    ("\"bob%elsewhere.example\"@example.org", "550 5.1.1"),
    ("bob@elsewhere.example@example.org", "501 5.1.3"),
    // No name by IDNA.
    ("ann@xn--a.example", "501 5.1.3"),
    ("ann@example.org@elsewhere.example", "501 5.1.3"),
];
const FOREIGN: &str = "foreign";
const RELAY_DENIED: &str = "550 5.7.1 We do not relay for you";
const NO_QUEUE: &str = "550 5.7.1 Mail to other hosts is not sent from here yet";

async fn ask_all(client: &mut Client, foreign: &str) {
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    for (recipient, reply) in MATRIX {
        client.asks(&format!("RCPT TO:<{recipient}>"), if reply == FOREIGN { foreign } else { reply }).await;
    }
    client.asks("DATA", "354 ").await;
    client.says("Subject: for whom?\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_reaches_our_accounts_and_nobody_else() {
    let house = House::relay().await;
    ask_all(&mut house.greet().await, RELAY_DENIED).await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 0), "once, and only to whom it was for");
    let refused = MATRIX.iter().filter(|(_, reply)| *reply == FOREIGN || reply.starts_with("550")).count() as u64;
    assert_eq!(house.metric("recipients_refused_total{listener=\"smtp\",reply=\"5xx\"}"), refused);
}

#[tokio::test(start_paused = true)]
async fn a_listed_network_and_an_authenticated_client_are_told_that_there_is_no_queue_yet() {
    let mut plan = Plan::relay();
    plan.settings.relay_networks = vec!["192.0.2.0/24".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    let house = plan.build().await;
    ask_all(&mut house.greet().await, NO_QUEUE).await;

    let house = Plan::submission().build().await;
    ask_all(&mut house.log_in().await, NO_QUEUE).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_taken_off_the_list_loses_its_leave_at_once() {
    let mut plan = Plan::relay();
    plan.settings.relay_networks = vec!["127.0.0.1/32".parse().unwrap()];
    let unlisted = smtp_listener::Settings { relay_networks: Vec::new(), ..plan.settings.clone() };
    let house = plan.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@elsewhere.example>", NO_QUEUE).await;
    house.listener.configure(unlisted);
    client.asks("RCPT TO:<bob@elsewhere.example>", RELAY_DENIED).await;
}

#[tokio::test(start_paused = true)]
async fn no_message_comes_without_a_recipient_of_ours() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@elsewhere.example>", RELAY_DENIED).await;
    client.asks("DATA", "554 5.5.1").await;
    client.asks("QUIT", "221 2.0.0").await;
    house.empties().await;
}

#[tokio::test(start_paused = true)]
async fn submission_is_for_the_authenticated_alone() {
    let house = Plan::submission().build().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client.asks("MAIL FROM:<ann@example.org>", "530 5.7.0 Authentication required").await;
}

#[tokio::test(start_paused = true)]
async fn a_local_domain_is_local_in_either_form() {
    let house = House::relay().await;
    for change in [
        Change::PutDomain { name: "bücher.example".parse().unwrap(), postmaster: None },
        Change::AddAccount { name: "joe@bücher.example".into(), password_hash: "none".into(), verifier: None },
        Change::PutAlias { name: "all@xn--bcher-kva.example".into(), targets: vec!["joe@bücher.example".into()] },
    ] {
        house.store.change(change).await.unwrap();
    }
    let mut client = house.greet().await;
    // In UTF-8 it still needs SMTPUTF8.
    client.asks("MAIL FROM:<joe@xn--bcher-kva.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<joe@XN--bcher-KVA.example>", "250 2.1.5").await;
    client.asks("RCPT TO:<joe@bücher.example>", "553 5.6.7").await;
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<joe@bücher.example> SMTPUTF8", "250 2.1.0").await;
    for recipient in ["joe@BÜCHER.example", "joe@xn--bcher-kva.example", "all@bücher.example", "postmaster@bücher.example"] {
        client.asks(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await;
    }
    client.asks("RCPT TO:<bob@bücher.example>", "550 5.1.1").await;
}
