//! What a log line says of what a peer said, and which lines of a flood are written.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, UNIX_EPOCH};

use events::*;
use mail::{MessageId, ReversePath};

use crate::{Log, encoded};

#[test]
fn a_certificate_is_logged_with_its_last_day() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let not_after = UNIX_EPOCH + Duration::from_secs(67_090_118_400);
    tracing::subscriber::with_default(log.clone(), || events.emit(CertificateLoaded { certificate: "mx.pem", not_after }));
    assert_eq!(log.lines()[0].values["not_after"], "4096-01-01T00:00:00Z");
}

#[test]
fn a_flood_of_refusals_is_counted_but_not_written() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let listener = &events.listener("smtp");
    let start = Instant::now();
    let refused = |now| {
        let (source, cause) = (Ipv4Addr::LOCALHOST.into(), &"full [R4.0000]");
        events.emit(SessionRefused { listener, source, rule: "R4", limit: "gate.max_inbound", known_good: false, cause, now });
    };
    tracing::subscriber::with_default(log.clone(), || {
        (0..=10_000).for_each(|millis| refused(start + Duration::from_millis(millis)));
    });
    let left_out = || log.lines().iter().map(|line| line.values["left_out"].clone()).collect::<Vec<_>>();
    assert_eq!(left_out(), ["0", "9999"]);
    tracing::subscriber::with_default(log.clone(), || {
        (0..3).for_each(|_| refused(start + Duration::from_secs(11)));
        (11..60).for_each(|seconds| events.tell_left_out(start + Duration::from_secs(seconds)));
    });
    let end = &log.lines()[2];
    assert_eq!((left_out().len(), end.text.as_str(), end.values["left_out"].as_str()), (3, "repetitions left out", "3"));
    assert!(encoded(&events).contains("gatepost_sessions_refused_total{listener=\"smtp\",rule=\"R4\",limit=\"gate.max_inbound\"} 10004\n"));
}

#[test]
fn a_known_good_source_that_is_refused_is_warned_of_in_a_flood_too() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let (listener, now, cause) = (&events.listener("smtp"), Instant::now(), &"full [R4.0000]");
    tracing::subscriber::with_default(log.clone(), || {
        let refused = |bits: u32, known_good| {
            let source = Ipv4Addr::from_bits(bits).into();
            events.emit(SessionRefused { listener, source, rule: "R4", limit: "gate.max_inbound", known_good, cause, now });
        };
        (0..10_000).for_each(|bits| refused(bits, false));
        (0..3).for_each(|_| refused(10_000, true));
    });
    let warnings: Vec<_> = log.lines().into_iter().filter(|line| line.level == "WARN").collect();
    assert_eq!(warnings.len(), 1);
    let values = &warnings[0].values;
    assert_eq!((values["class"].as_str(), values["rule"].as_str(), values["source"].as_str()), ("known_good", "R4", "0.0.39.16"));
}

/// One source's flood: its first few lines are written, then one in ten seconds; another source's line is written all the same.
#[test]
fn a_flood_of_guesses_and_refusals_shows_its_beginning() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let (listener, session) = (&events.listener("smtp"), events.next_session());
    let emit = |source: IpAddr, now| {
        events.emit(AuthFailed { listener, session, source, login: "ann", mechanism: "PLAIN", cause: None, now });
        events.emit(MessageRefused { listener, session, source, about: About::default(), code: 552, cause: &"too large", now });
        events.emit(RecipientRefused { listener, session, source, recipient: &"<x@example.org>", code: 550, cause: &"unknown", now });
    };
    let start = Instant::now();
    tracing::subscriber::with_default(log.clone(), || {
        (0..=10_000).for_each(|millis| emit(Ipv4Addr::LOCALHOST.into(), start + Duration::from_millis(millis)));
        emit(Ipv4Addr::new(192, 0, 2, 7).into(), start);
    });
    for text in ["authentication failed", "message refused", "recipient refused"] {
        let lines: Vec<_> = log.lines().into_iter().filter(|line| line.text == text).collect();
        let left_out: Vec<_> = lines.iter().map(|line| line.values["left_out"].as_str()).collect();
        assert_eq!(left_out, ["0", "0", "0", "0", "0", "0", "0", "0", "0", "0", "9990", "0"], "{text}");
        assert_eq!(lines[11].values["source"], "192.0.2.7");
    }
    for sample in [
        "authentications_total{listener=\"smtp\",outcome=\"failed\"} 10002\n",
        "messages_refused_total{listener=\"smtp\",reply=\"5xx\"} 10002\n",
        "recipients_refused_total{listener=\"smtp\",reply=\"5xx\"} 10002\n",
    ] {
        assert!(encoded(&events).contains(sample), "{sample}");
    }
}

#[test]
fn what_a_peer_says_cannot_forge_a_line() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let login = "ann\r\nauthentication succeeded".to_owned() + &"!".repeat(10_000);
    tracing::subscriber::with_default(log.clone(), || {
        let (listener, session, source) = (&events.listener("pop3"), events.next_session(), Ipv4Addr::LOCALHOST.into());
        events.emit(AuthFailed { listener, session, source, login: &login, mechanism: "USER", cause: None, now: Instant::now() });
    });
    let shown = log.lines()[0].values["login"].clone();
    assert!(shown.starts_with("ann\\u{d}\\u{a}auth") && shown.ends_with("!...") && shown.len() < 200, "{shown}");
}

#[test]
fn a_message_accepted_for_many_fits_a_line() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let recipients: Vec<_> = (0..1000).map(|number| format!("user{number}@example.org").into()).collect();
    let message = MessageId::generate();
    tracing::subscriber::with_default(log.clone(), || {
        let (listener, session, reverse_path) = (&events.listener("smtp"), events.next_session(), &ReversePath::Null);
        events.emit(MessageAccepted {
            listener,
            session,
            source: Ipv4Addr::LOCALHOST.into(),
            account: None,
            message,
            reverse_path,
            recipients: &recipients,
            octets: 1,
            priority: None,
            commit: Duration::ZERO,
        });
    });
    let values = &log.lines()[0].values;
    assert_eq!(values["to"], "user0@example.org,user1@example.org,user2@example.org,...");
    assert_eq!((values["recipients"].as_str(), values["from"].as_str()), ("1000", "<>"));
    assert_eq!(values["id"], message.to_string());
    assert!(encoded(&events).contains("gatepost_recipients_accepted_total{listener=\"smtp\"} 1000\n"));
}

/// Nobody hears of it but the log, so no flood leaves one out.
#[test]
fn every_message_that_is_thrown_away_is_written() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    let ids: Vec<_> = (0..100).map(|_| MessageId::generate()).collect();
    let (source, recipients) = (Ipv4Addr::LOCALHOST.into(), &["ann@example.org".into()]);
    tracing::subscriber::with_default(log.clone(), || {
        let (listener, session) = (&events.listener("smtp"), events.next_session());
        for id in &ids {
            let about = About { message: Some(*id), helo: Some("x"), reverse_path: Some(&ReversePath::Null), recipients };
            events.emit(MessageDiscarded { listener, session, source, about, octets: 7, cause: &"attachments fail" });
        }
    });
    let lines = log.lines();
    assert_eq!(
        lines.iter().map(|line| line.values["id"].clone()).collect::<Vec<_>>(),
        ids.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    let values = &lines[0].values;
    assert_eq!((values["from"].as_str(), values["to"].as_str(), values["cause"].as_str()), ("<>", "ann@example.org", "attachments fail"));
}

#[test]
fn session_ids_go_on_after_a_restart() {
    let first = Events::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let second = Events::new(UNIX_EPOCH + Duration::from_secs(1_800_000_001));
    let ids: Vec<_> = [&first, &first, &second].map(Events::next_session).into();
    assert!(ids.is_sorted_by(|a, b| a < b));
}
