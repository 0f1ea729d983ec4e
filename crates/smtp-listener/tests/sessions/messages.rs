//! What is taken is what is stored, for whom it was, with our trace fields before it, and nothing else ever is.

use std::sync::Arc;

use crate::house::{ANN, BOB, Client, House, Plan};

/// What was stored, without our trace fields, which end with the date.
fn body(text: &[u8]) -> &[u8] {
    let at = text.windows(8).position(|eight| eight == b" +0000\r\n").unwrap();
    &text[at + 8..]
}

/// Octets of every kind and lines of every length, dots in every place; the last line ended.
fn oddities() -> Vec<u8> {
    let mut text = b"Subject: =?utf-8?q?odd?=\r\n\r\n.\r\n..\r\n.x\r\nx.\r\n. \r\n\t.\r\n\r\n\r\n".to_vec();
    text.extend((0..=255).filter(|octet| !b"\r\n".contains(octet)));
    text.extend_from_slice(b"\r\n");
    text.extend(std::iter::repeat_n(b'y', 100_000));
    text.extend_from_slice(b"\r\n.");
    text.extend(std::iter::repeat_n(b'.', 5000));
    text.extend_from_slice(b"\r\n");
    text
}

/// As DATA carries it.
fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        out.extend(line.starts_with(b".").then_some(b'.'));
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_once_to_each_account_however_many_recipients_lead_there() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.begins(&["all@example.org", "sales@example.org", "ANN@example.org", "postmaster", "all@example.org"]).await;
    client.says("Subject: once\r\n\r\nhello\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (1, 1));
    assert_eq!(house.metric("recipients_accepted_total{listener=\"smtp\"}"), 2);
    assert!(!String::from_utf8_lossy(&house.store.texts(BOB)[0]).contains("\tfor "), "recipients do not learn of each other");
}

#[tokio::test(start_paused = true)]
async fn the_body_is_kept_octet_for_octet_behind_the_trace_fields() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    let bodies = [oddities(), b"".into(), b"\r\n".into(), b"\r\nno header\r\n".into(), b"Subject: no body\r\n".into()];
    for text in &bodies {
        client.begins(&["ann@example.org"]).await;
        client.says(stuffed(text)).await;
        let reply = client.reply().await;
        let id = reply.strip_prefix("250 2.0.0 ").and_then(|rest| rest.strip_suffix(" accepted\r\n")).unwrap().to_owned();
        let stored = house.store.texts(ANN).pop().unwrap();
        assert!(body(&stored) == text, "{} octets", text.len());
        let trace = String::from_utf8(stored[..stored.len() - text.len()].to_vec()).unwrap();
        let (fields, date) = trace.rsplit_once("\r\n\t").unwrap();
        assert_eq!(
            fields,
            format!(
                "Return-Path: <sender@elsewhere.example>\r\nReceived: from client.example ([127.0.0.1])\r\n\
                 \tby mx.example (Gatepost) with ESMTP id {id}\r\n\tfor <ann@example.org>;"
            )
        );
        assert_eq!(date.split(' ').count(), 6, "{date}");
    }
    assert_eq!(house.store.texts(ANN).len(), bodies.len());
}

#[tokio::test(start_paused = true)]
async fn chunks_come_as_they_are_even_without_a_last_line_end() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<> BODY=8BITMIME", "250 2.1.0").await;
    client.asks("RCPT TO:<bob@example.org>", "250 2.1.5").await;
    let text = [&oddities()[..], b".\r\n.\r\nno end"].concat();
    let (first, last) = text.split_at(70_001);
    client.says(format!("BDAT {}\r\n", first.len())).await;
    client.says(first).await;
    client.hears("250 2.0.0 70001 octets received").await;
    client.says(format!("BDAT {} LAST\r\n", last.len())).await;
    client.says(last).await;
    client.hears("250 2.0.0 ").await;
    assert!(body(&house.store.texts(BOB)[0]) == text);
}

#[tokio::test(start_paused = true)]
async fn starttls_begins_anew_and_shows_in_the_trace() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<>", "250 2.1.0").await;
    client.asks("STARTTLS", "220 2.0.0").await;
    let mut client = Client::new(house.shake_hands(client.into_stream()).await);
    client.asks("MAIL FROM:<>", "503 5.5.1").await;
    client.asks("EHLO client.example", "250-mx.example").await;
    client.begins(&["ann@example.org"]).await;
    client.says("\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    let text = String::from_utf8(house.store.texts(ANN).remove(0)).unwrap();
    assert!(text.contains("with ESMTPS id ") && text.contains("\r\n\ttls TLS_AES_"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_round_in_a_loop_is_refused() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for (hops, reply) in [(99, "250 2.0.0"), (100, "554 5.4.6"), (101, "554 5.4.6")] {
        client.begins(&["ann@example.org"]).await;
        client.says("received: from a.example by b.example; Mon, 2 Nov 2026 09:08:07 +0000\r\n".repeat(hops)).await;
        client.says("Subject: again\r\n\r\nReceived: in the body\r\n.\r\n").await;
        client.hears(reply).await;
    }
    assert_eq!(house.store.texts(ANN).len(), 1);
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 2);
}

#[tokio::test(start_paused = true)]
async fn transactions_in_one_breath_are_each_answered_and_stored() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    let mut breath = String::new();
    for number in 0..50 {
        breath += "MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<nobody@example.org>\r\n";
        breath += &format!("BDAT 9\r\nSubject: BDAT {} LAST\r\n{number}\r\n\r\n", number.to_string().len() + 4);
    }
    let talking = client.says(breath + "QUIT\r\n");
    talking.await;
    for _ in 0..50 {
        for reply in ["250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.0.0 9 octets", "250 2.0.0"] {
            client.hears(reply).await;
        }
    }
    client.hears("221 2.0.0").await;
    let texts = house.store.texts(ANN);
    let expected: Vec<_> = (0..50).map(|number| format!("Subject: {number}\r\n\r\n").into_bytes()).collect();
    assert_eq!(texts.iter().map(|text| body(text).to_vec()).collect::<Vec<_>>(), expected);
    house.empties().await;
    assert_eq!(house.ended("quit"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_broken_off_leaves_nothing() {
    let house = House::relay().await;
    let mut client = house.greet().await;
    for (broken_off, reply) in [("RSET", "250 2.0.0 Reset"), ("EHLO client.example", "250-mx.example")] {
        client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
        client.asks("RCPT TO:<ann@example.org>", "250").await;
        client.asks(broken_off, reply).await;
        client.asks("DATA", "503 5.5.1").await;
    }
    client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.says("BDAT 8\r\nSubject:").await;
    client.hears("250 2.0.0 8 octets").await;
    client.asks("RSET", "250 2.0.0 Reset").await;
    client.begins(&["bob@example.org"]).await;
    client.says("Subject: this one\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    client.asks("MAIL FROM:<a@elsewhere.example>", "250").await;
    client.asks("RCPT TO:<ann@example.org>", "250").await;
    client.asks("QUIT", "221 2.0.0").await;

    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    client.says("Subject: half\r\n\r\nand then\r\n").await;
    drop(client);
    let mut client = house.greet().await;
    client.begins(&["ann@example.org"]).await;
    client.says("Subject: bare\r\n\r\none\ntwo\r\n.\r\n").await;
    client.hears("554 5.6.0").await;
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 1);
    drop(client);

    house.empties().await;
    assert_eq!((house.store.texts(ANN).len(), house.store.texts(BOB).len()), (0, 1));
    assert_eq!(body(&house.store.texts(BOB)[0]), b"Subject: this one\r\n");
    assert_eq!((house.ended("quit"), house.ended("peer_gone")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_is_refused_by_its_announcement_and_by_its_octets() {
    let mut plan = Plan::relay();
    plan.settings.smtp = Arc::new(smtp::Settings { message_bytes: 100_000, ..(*plan.settings.smtp).clone() });
    let house = plan.build().await;
    let mut client = house.greet().await;
    client.asks("MAIL FROM:<> SIZE=100001", "552 5.3.4").await;
    client.begins(&["ann@example.org"]).await;
    client.says(vec![b'x'; 100_001]).await;
    client.says("\r\n.\r\n").await;
    client.hears("552 5.3.4").await;
    client.begins(&["ann@example.org"]).await;
    client.says("small\r\n.\r\n").await;
    client.hears("250 2.0.0").await;
    assert_eq!(house.store.texts(ANN).len(), 1);
    assert_eq!(house.metric("messages_refused_total{listener=\"smtp\",reply=\"5xx\"}"), 2);
}
