//! What a full mailbox does to mail for it, and to nobody else.

use mail::ForwardPath;
use smtp::limits::RECIPIENT_ACCOUNTS;
use smtp_listener::Inquiry;
use store::{Change, Directory as _, Limit, Maildrops as _, Posting, QuotaChange};

use crate::house::{ANN, BOB, Client, House, NAME};

const FULL: &str = "452 4.2.2 Mailbox full";
const NEARLY_FULL: &str = "maildrops_nearly_full_total{listener=\"smtp\"}";

async fn of_ann(octets: Limit, messages: Limit) -> House {
    let house = House::relay().await;
    let quota = QuotaChange { octets: Some(octets), messages: Some(messages) };
    house.store.change(Change::SetAccount { name: ANN.into(), quota, forwards: None }).await.unwrap();
    house
}

async fn sends(client: &mut Client, messages: usize) {
    for _ in 0..messages {
        client.begins(&[ANN]).await;
        client.says("Subject: more\r\n\r\nand more\r\n.\r\n").await;
        client.hears("250 2.0.0").await;
    }
}

async fn deletes(house: &House, messages: usize) {
    let maildrop = house.store.open(ANN).await.unwrap();
    let deleted = maildrop.listing()[..messages].to_vec();
    maildrop.update(deleted).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_is_waited_for_and_the_others_have_their_mail() {
    let house = of_ann(Limit::Unsaid, Limit::At(1)).await;
    let mut client = house.greet().await;
    sends(&mut client, 1).await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", FULL).await;
    client.asks("RCPT TO:<ann+shop@example.org>", FULL).await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    client.asks("RCPT TO:<all@example.org>", FULL).await;
    client.asks("DATA", "354 ").await;
    client.says("Subject: for bob\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
    assert_eq!(house.metric("recipients_refused_total{listener=\"smtp\",reply=\"4xx\"}"), 3);
    deletes(&house, 1).await;
    sends(&mut client, 1).await;
    assert_eq!(house.store.texts(ANN).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_does_not_wait_for_a_member_who_is_full() {
    const LEFT_OUT: &str = "list_copies_left_out_total{listener=\"smtp\"}";
    let house = of_ann(Limit::Unsaid, Limit::At(1)).await;
    let list = |name: &str, members: &[&str]| Change::AddList {
        name: format!("{name}@example.org"),
        posting: Posting::Anyone,
        members: members.iter().map(|member| (*member).to_owned()).collect(),
    };
    for change in [
        list("team", &[ANN, BOB]),
        list("anns", &[ANN]),
        Change::PutAlias { name: "both@example.org".into(), targets: vec!["team@example.org".into(), ANN.into()] },
    ] {
        house.store.change(change).await.unwrap();
    }
    let mut client = house.greet().await;
    sends(&mut client, 1).await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<anns@example.org>", FULL).await;
    client.asks("RCPT TO:<both@example.org>", FULL).await;
    client.asks("RCPT TO:<team@example.org>", "250 2.1.5").await;
    // Somebody gets the message by now.
    client.asks("RCPT TO:<anns@example.org>", FULL).await;
    client.asks("RSET", "250").await;
    assert_eq!(house.metric(LEFT_OUT), 0, "no message was left out yet");
    client.begins(&["team@example.org", "bob@example.org", "team@example.org"]).await;
    client.says("Subject: for all\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len(), house.metric(LEFT_OUT)), (1, 1, 1));
    deletes(&house, 1).await;
    client.begins(&["team@example.org"]).await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len(), house.metric(LEFT_OUT)), (1, 2, 1));

    let path = ForwardPath::parse("<team@example.org>").unwrap();
    let explained =
        Inquiry { directory: &house.store, lookup: None, recipient: &path, host: &NAME.parse().unwrap(), may_relay: false, octets: 0 }
            .explain()
            .await
            .unwrap();
    let found: Vec<_> = explained.steps.iter().map(|step| step.found.as_str()).collect();
    let [list, .., left_out, taken] = &found[..] else { panic!("{found:?}") };
    assert_eq!(*list, "team@example.org is a list, posting anyone, of ann@example.org, bob@example.org");
    assert!(left_out.starts_with("ann@example.org holds ") && left_out.contains(" in 1 messages, of 1 messages: full, and left out"));
    assert_eq!((*taken, explained.reply.code()), ("taken for bob@example.org", 250));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_would_not_fit_is_known_by_its_declared_size() {
    let house = of_ann(Limit::At(10_000), Limit::Unsaid).await;
    let mut client = house.greet().await;
    for (size, reply) in [(" SIZE=10001", FULL), (" SIZE=10000", "250 2.1.5"), (" SIZE=0", "250 2.1.5"), ("", "250 2.1.5")] {
        client.asks(&format!("MAIL FROM:<sender@elsewhere.example>{size}"), "250 2.1.0").await;
        client.asks("RCPT TO:<ann@example.org>", reply).await;
        client.asks("RSET", "250").await;
    }
    sends(&mut client, 1).await;
    client.asks("MAIL FROM:<sender@elsewhere.example> SIZE=10000", "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", FULL).await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_comes_near_its_quota_is_told_of_once() {
    let house = of_ann(Limit::None, Limit::At(10)).await;
    let mut client = house.greet().await;
    for (messages, told) in [(8, 0), (1, 1), (1, 1)] {
        sends(&mut client, messages).await;
        assert_eq!(house.metric(NEARLY_FULL), told);
    }
    deletes(&house, 5).await;
    assert_eq!(house.metric(NEARLY_FULL), 1, "the way back is silent");
    sends(&mut client, 3).await;
    assert_eq!(house.metric(NEARLY_FULL), 1);
    // Two that were both begun below.
    let mut other = house.greet().await;
    for client in [&mut client, &mut other] {
        client.begins(&[ANN]).await;
    }
    for client in [&mut client, &mut other] {
        client.says("\r\n.\r\n").await;
        client.hears("250 2.0.0").await;
    }
    assert_eq!((house.metric(NEARLY_FULL), house.store.texts(ANN).len()), (2, 10));
}

#[tokio::test(start_paused = true)]
async fn whoever_gets_the_message_already_is_not_asked_about_again() {
    let house = of_ann(Limit::Unsaid, Limit::At(1)).await;
    let mut client = house.greet().await;
    client.begins(&[ANN]).await;
    client.says("\r\nthe first\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    deletes(&house, 1).await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<ann@example.org>", "250 2.1.5").await;
    sends(&mut house.greet().await, 1).await;
    for recipient in ["all@example.org", "ann+shop@example.org", "ann@example.org"] {
        client.asks(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await;
    }
    client.asks("RSET", "250").await;
    client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
    client.asks("RCPT TO:<all@example.org>", FULL).await;
}

#[tokio::test(start_paused = true)]
async fn the_accounts_of_a_transaction_are_bounded_but_not_those_of_a_list() {
    let house = of_ann(Limit::Unsaid, Limit::At(5)).await;
    let names: Vec<_> = (0..RECIPIENT_ACCOUNTS).map(|number| format!("user-{number}@example.org")).collect();
    for name in &names {
        house.store.change(Change::AddAccount { name: name.clone(), password_hash: String::new(), verifier: None }).await.unwrap();
    }
    let alias = |name: &str, targets: Vec<String>| Change::PutAlias { name: format!("{name}@example.org"), targets };
    let with_ann = names.iter().cloned().chain([ANN.to_owned()]).collect();
    for change in [alias("thousand", names), alias("more", with_ann)] {
        house.store.change(change).await.unwrap();
    }
    let mut client = house.greet().await;
    for recipients in [
        [("thousand", "250 2.1.5"), ("user-7", "250 2.1.5"), ("thousand", "250 2.1.5"), ("ann", "452 4.5.3"), ("more", "452 4.5.3")],
        [("more", "250 2.1.5"), ("more", "250 2.1.5"), ("ann", "250 2.1.5"), ("bob", "452 4.5.3"), ("all", "452 4.5.3")],
    ] {
        client.asks("MAIL FROM:<sender@elsewhere.example>", "250 2.1.0").await;
        for (recipient, reply) in recipients {
            client.asks(&format!("RCPT TO:<{recipient}@example.org>"), reply).await;
        }
        client.asks("RSET", "250").await;
    }
}
