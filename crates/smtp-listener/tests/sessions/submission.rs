//! Whose a sender is, and what is done for a message on its way in (RFC 6409).

use smtp_listener::{Allowed, Submission};
use store::{Change, Directory as _, Posting, QuotaChange};

use crate::house::{ANN, BOB, Client, House, Plan, plain};

const NOT_YOURS: &str = "550 5.7.1 The sender is not an address of yours";
const FROM_NOT_YOURS: &str = "550 5.7.1 The From field must name addresses of yours alone";

/// Ann's session where senders must be one's own, headers are completed, and ann may send for a shop.
async fn ann() -> (House, Client) {
    let allowed = Allowed { account: ANN.into(), senders: vec!["orders@shop.example".into(), "@news.example".into()] };
    let rules = Submission { own_senders: true, allowed: vec![allowed], complete_header: true, ..Submission::default() };
    with(rules).await
}

async fn with(submission: Submission) -> (House, Client) {
    let mut plan = Plan::submission();
    plan.settings.submission = submission;
    let house = plan.build().await;
    let client = house.log_in().await;
    (house, client)
}

/// Sends bob a message with this header, from ann.
async fn send(client: &mut Client, text: &str, reply: &str) {
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says(format!("{text}.\r\n")).await;
    client.hears(reply).await;
}

#[tokio::test(start_paused = true)]
async fn the_sender_in_the_envelope_is_the_users_own() {
    let (house, mut client) = ann().await;
    for (sender, reply) in [
        ("ann@example.org", "250 2.1.0"),
        ("ANN@Example.ORG", "250 2.1.0"),
        ("\"ann\"@example.org", "250 2.1.0"),
        // Aliases whose mail she gets, alone or with others.
        ("sales@example.org", "250 2.1.0"),
        ("all@example.org", "250 2.1.0"),
        ("orders@shop.example", "250 2.1.0"),
        ("anybody@NEWS.example", "250 2.1.0"),
        ("", "250 2.1.0"),
        ("bob@example.org", NOT_YOURS),
        ("nobody@example.org", NOT_YOURS),
        ("ann@elsewhere.example", NOT_YOURS),
        ("other@shop.example", NOT_YOURS),
        ("a@sub.news.example", NOT_YOURS),
        ("ann@[127.0.0.1]", NOT_YOURS),
        ("ann%elsewhere.example@example.org", NOT_YOURS),
    ] {
        client.asks(&format!("MAIL FROM:<{sender}>"), reply).await;
        client.asks("RSET", "250 ").await;
    }
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 7);
}

#[tokio::test(start_paused = true)]
async fn every_author_in_from_is_the_users_own() {
    let (house, mut client) = ann().await;
    let refused = [
        "From: bob@example.org\r\n\r\n",
        "From: Ann <ann@example.org>, Bob <bob@example.org>\r\n\r\n",
        "From: ann@example.org\r\nFrom: bob@example.org\r\n\r\n",
        "From: ann@example.org\r\nSubject: x\r\nFrom: ann@example.org\r\n\r\n",
        "From: \"ann@example.org\" <mallory@elsewhere.example>\r\n\r\n",
        "From:\r\n =?utf-8?q?ann=40example.org?= <mallory@elsewhere.example>\r\n\r\n",
        "fRoM : team: ann@example.org, bob@example.org;\r\n\r\n",
        "From: \r\n\r\n",
        "From: nobody in particular\r\n\r\n",
        "From: undisclosed:;\r\n\r\n",
        "From: <mallory@evil.example>:;, <ann@example.org>\r\n\r\n",
    ];
    for text in refused {
        send(&mut client, text, FROM_NOT_YOURS).await;
    }
    let many = format!("From: {}ann@example.org\r\n\r\n", "ann@example.org,\r\n ".repeat(600));
    send(&mut client, &many, FROM_NOT_YOURS).await;
    assert!(house.store.texts(BOB).is_empty());
    for text in [
        "From: Ann <ann@example.org>\r\n\r\n",
        "From: Sales <SALES@example.org>, orders@shop.example\r\n\r\n",
        "From: =?utf-8?q?B=C3=B6b?=\r\n <ann@example.org>\r\n\r\n",
        "Subject: From: bob@example.org\r\n\r\nFrom: bob@example.org\r\n",
        "Sender: bob@example.org\r\nFrom: ann@example.org\r\nResent-From: bob@example.org\r\n\r\n",
    ] {
        send(&mut client, text, "250 2.0.0").await;
    }
    assert_eq!(house.store.texts(BOB).len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_added_and_bcc_taken_out() {
    let (house, mut client) = ann().await;
    send(&mut client, "Bcc: hidden@example.org,\r\n more@example.org\r\nSubject: short\r\n\r\nBcc: text\r\n", "250 2.0.0").await;
    send(&mut client, "Date: Mon, 2 Nov 2026 09:08:07 +0000\r\nMessage-Id: <1@x.example>\r\nFrom: ann@example.org\r\n\r\n", "250 2.0.0")
        .await;
    let texts = house.store.texts(BOB);
    let [short, whole] = texts.as_slice() else { panic!("{}", texts.len()) };
    let (short, whole) = (str::from_utf8(short).unwrap(), str::from_utf8(whole).unwrap());
    let (trace, rest) = short.split_once("Received: ").unwrap();
    let lines: Vec<_> = trace.lines().collect();
    let id = lines[3].strip_prefix("Message-ID: <").and_then(|rest| rest.strip_suffix("@mx.example>")).unwrap();
    assert!(lines[1].starts_with("Date: ") && lines[1].ends_with(" +0000"), "{trace}");
    assert_eq!((lines[0], lines[2], lines.len()), ("Return-Path: <ann@example.org>", "From: <ann@example.org>", 4));
    assert!(rest.contains(&format!(" id {id}")) && rest.ends_with("+0000\r\nSubject: short\r\n\r\nBcc: text\r\n"), "{short}");
    assert!(whole.starts_with("Return-Path: <ann@example.org>\r\nReceived: from client.example ([127.0.0.1])\r\n"), "{whole}");
    assert!(whole.ends_with("Date: Mon, 2 Nov 2026 09:08:07 +0000\r\nMessage-Id: <1@x.example>\r\nFrom: ann@example.org\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_asked_the_message_is_as_it_came() {
    let (house, mut client) = with(Submission { hide_client: true, ..Submission::default() }).await;
    client.asks("MAIL FROM:<bob@example.org>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says("Bcc: x@example.org\r\nFrom: mallory@elsewhere.example\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(BOB)[0].clone()).unwrap();
    assert!(text.starts_with("Return-Path: <bob@example.org>\r\nReceived: by mx.example (Gatepost) with ESMTPSA id "), "{text}");
    assert!(!text.contains("127.0.0.1") && !text.contains("client.example"), "{text}");
    assert!(text.ends_with("\r\nBcc: x@example.org\r\nFrom: mallory@elsewhere.example\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn who_needs_no_password_is_asked_nothing() {
    let mut plan = Plan::relay();
    plan.settings.submission = Submission { own_senders: true, complete_header: true, hide_client: true, ..Submission::default() };
    let house = plan.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<ann@example.org>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.says("From: anybody@elsewhere.example\r\nBcc: x@example.org\r\n\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(BOB)[0].clone()).unwrap();
    assert!(text.contains("([127.0.0.1])") && text.ends_with("From: anybody@elsewhere.example\r\nBcc: x@example.org\r\n\r\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn another_user_owns_other_senders() {
    let (house, _) = ann().await;
    let mut client = house.connect_tls().await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client.asks(&plain("", BOB, crate::house::PASSWORD), "235 2.7.0").await;
    client.asks("MAIL FROM:<ann@example.org>", NOT_YOURS).await;
    client.asks("MAIL FROM:<orders@shop.example>", NOT_YOURS).await;
    client.asks("MAIL FROM:<all@example.org>", "250 2.1.0").await;
}

#[tokio::test(start_paused = true)]
async fn each_key_does_its_own_part() {
    let text = "From: bob@example.org\r\nBcc: hidden@example.org\r\n\r\n";
    let mine = text.replace("bob@", "ann@");
    let (house, mut client) = with(Submission { own_senders: true, ..Submission::default() }).await;
    send(&mut client, text, FROM_NOT_YOURS).await;
    send(&mut client, &mine, "250 2.0.0").await;
    let stored = String::from_utf8(house.store.texts(BOB).remove(0)).unwrap();
    assert!(stored.ends_with(&format!("\r\n{mine}")) && !stored.contains("Message-ID"), "{stored}");
    let (house, mut client) = with(Submission { complete_header: true, ..Submission::default() }).await;
    send(&mut client, text, "250 2.0.0").await;
    let stored = String::from_utf8(house.store.texts(BOB).remove(0)).unwrap();
    assert!(stored.ends_with("\r\nFrom: bob@example.org\r\n\r\n") && stored.contains("\r\nMessage-ID: <"), "{stored}");
}

#[tokio::test(start_paused = true)]
async fn who_gets_mail_by_a_list_or_as_the_catch_all_owns_no_address_of_it() {
    let (house, mut client) = ann().await;
    let list = |name: &str, posting| Change::AddList { name: name.into(), posting, members: vec![ANN.into()] };
    let targets = vec![ANN.into(), "ours@example.org".into()];
    let (name, catch_all) = ("example.org".parse().unwrap(), Some(ANN.to_owned()));
    for change in [
        list("ours@example.org", Posting::Members),
        list("open@example.org", Posting::Anyone),
        Change::PutAlias { name: "both@example.org".into(), targets },
        Change::SetDomain { name, postmaster: None, delimiter: Some("+".into()), catch_all, quota: QuotaChange::default() },
    ] {
        house.store.change(change).await.unwrap();
    }
    for (sender, reply) in [
        ("ours@example.org", NOT_YOURS),
        ("open@example.org", NOT_YOURS),
        ("both@example.org", NOT_YOURS),
        ("unused@example.org", NOT_YOURS),
        ("ann+shop@example.org", "250 2.1.0"),
        ("sales@example.org", "250 2.1.0"),
        ("postmaster@example.org", "250 2.1.0"),
    ] {
        client.asks(&format!("MAIL FROM:<{sender}>"), reply).await;
        client.asks("RSET", "250 ").await;
    }
    send(&mut client, "From: open@example.org\r\n\r\n", FROM_NOT_YOURS).await;
}

#[tokio::test(start_paused = true)]
async fn whom_a_proxy_speaks_for_is_the_account_however_it_is_spelt() {
    let mut plan = Plan::submission();
    plan.settings.submission = Submission { own_senders: true, complete_header: true, ..Submission::default() };
    plan.settings.xclient_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let house = plan.build().await;
    let mut client = house.connect_tls().await;
    client.asks("XCLIENT LOGIN=Ann@EXAMPLE.org HELO=client.example PROTO=ESMTP", "220 ").await;
    client.asks("MAIL FROM:<bob@example.org>", NOT_YOURS).await;
    send(&mut client, "Subject: from whom\r\n\r\n", "250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(BOB).remove(0)).unwrap();
    assert!(text.contains("\r\nFrom: <ann@example.org>\r\n"), "{text}");
    // Without an account here: its own name, where that is an address.
    client.asks("XCLIENT LOGIN=Guest@Other.example HELO=client.example PROTO=ESMTP", "220 ").await;
    client.asks("MAIL FROM:<ann@example.org>", NOT_YOURS).await;
    client.asks("MAIL FROM:<guest@other.example>", "250 2.1.0").await;
    client.asks("RSET", "250 ").await;
    client.asks("XCLIENT LOGIN=guest HELO=client.example PROTO=ESMTP", "220 ").await;
    client.asks("MAIL FROM:<guest@example.org>", NOT_YOURS).await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    client.asks("DATA", "354 ").await;
    client.asks("Subject: from nobody\r\n\r\n.", "250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(BOB).remove(1)).unwrap();
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <") && !text.contains("From:"), "{text}");
}
