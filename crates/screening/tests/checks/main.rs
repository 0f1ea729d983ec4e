//! Checks against a DNS server on loopback with real records, and against the vectors that RFCs print.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod authors;
mod clients;
mod silence;
#[path = "../zone/mod.rs"]
mod zone;

use std::net::IpAddr;
use std::time::Duration;

use mail::ReversePath;
use screening::*;
use zone::Zone;

/// The message of RFC 8463, appendix A.3, signed twice: by Ed25519 and by RSA.
const SIGNED: &str = include_str!("../rfc8463.eml");

/// Its keys, and the policies of the two RFCs' domains.
const KEYS: &str = "
    brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    test._domainkey.football.example.com TXT v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
    _dmarc.football.example.com TXT v=DMARC1; p=reject; adkim=s
";

fn rule(check: Check, fail: OnFail, unsure: OnUnsure) -> Rule {
    Rule { check, fail, unsure, timeout: Duration::from_secs(10) }
}

fn annotate(checks: &[Check]) -> Vec<Rule> {
    checks.iter().map(|check| rule(*check, OnFail::Verdict(Verdict::Accept), OnUnsure::Accept)).collect()
}

fn reject(checks: &[Check]) -> Vec<Rule> {
    checks.iter().map(|check| rule(*check, OnFail::Verdict(Verdict::Reject), OnUnsure::Defer)).collect()
}

fn dns(zone: &Zone) -> Dns {
    Dns::new(&DnsSettings { servers: vec![zone.address()], timeout: Duration::from_millis(300), cache: 100 }).unwrap()
}

fn screener(zone: &Zone, rules: Vec<Rule>) -> Screener {
    listing(zone, rules, Lists::default())
}

fn listing(zone: &Zone, rules: Vec<Rule>, lists: Lists) -> Screener {
    Screener::new("mx.example.net".parse().unwrap(), policy(rules, lists, 8), dns(zone))
}

fn policy(rules: Vec<Rule>, lists: Lists, at_once: usize) -> Policy {
    Policy {
        rules,
        lists,
        attachments: Vec::new(),
        services: Services::default(),
        greylist_delay: Duration::from_secs(120),
        greylist_senders: 100,
        early_wait: Duration::ZERO,
        early_places: 0,
        at_once,
    }
}

/// Screens a message that comes in pieces of an odd size.
async fn screen(screener: &Screener, ip: &str, helo: &str, from: &str, message: &str) -> Screening {
    let reverse_path = ReversePath::parse(from).unwrap();
    let client = Client { ip: ip.parse().unwrap(), helo, reverse_path: &reverse_path, is_known: false, manners: Manners::Unknown };
    let screening = screener.envelope(client).await;
    let mut reading = Reading::new();
    message.as_bytes().chunks(37).for_each(|piece| reading.pass(piece));
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &[], user: None, text: &mut message.as_bytes() };
    screener.message(client, screening, reading, &mut letter).await
}

fn outcomes(screening: &Screening) -> Vec<(Check, Outcome)> {
    screening.findings().iter().map(|finding| (finding.check, finding.outcome)).collect()
}

#[tokio::test]
async fn dns_says_which_kind_of_nothing_there_is() {
    let zone = Zone::serve(
        "here.example A 192.0.2.1\nlong.example TXT v=spf1 and then some\nbroken.example SERVFAIL\nquiet.example SILENT\nalias.example CNAME here.example",
    );
    let dns = dns(&zone);
    assert_eq!(dns.lookup("here.example", Kind::A).await, Ok(vec!["192.0.2.1".into()]));
    assert_eq!(dns.lookup("long.example.", Kind::Txt).await, Ok(vec!["v=spf1 and then some".into()]));
    assert_eq!(dns.lookup("alias.example", Kind::A).await, Ok(vec!["192.0.2.1".into()]));
    assert_eq!(dns.lookup("here.example", Kind::Aaaa).await, Err(Unanswered::NoData));
    assert_eq!(dns.lookup("example", Kind::Mx).await, Err(Unanswered::NoData), "there is something below it");
    assert_eq!(dns.lookup("nowhere.example", Kind::A).await, Err(Unanswered::NoName));
    assert!(matches!(dns.lookup("broken.example", Kind::A).await, Err(Unanswered::Failed(_))));
    assert_eq!(dns.lookup("quiet.example", Kind::A).await, Err(Unanswered::TimedOut));
    assert_eq!(dns.lookup(&"x".repeat(64), Kind::A).await, Err(Unanswered::NotAName));
    let before = zone.asked().len();
    dns.lookup("here.example", Kind::A).await.unwrap();
    assert_eq!(zone.asked().len(), before, "the second time it is remembered");
}

#[tokio::test]
async fn everything_dns_said_can_be_shown() {
    let zone = Zone::serve(&format!(
        "{KEYS}1.2.0.192.in-addr.arpa PTR mx.example.com\nmx.example.com A 192.0.2.1\nexample.com TXT v=spf1 include:_spf.example.net mx -all\n_spf.example.net TXT v=spf1 -all"
    ));
    let reverse_path = ReversePath::parse("<a@example.com>").unwrap();
    let client = Client {
        ip: IpAddr::from([192, 0, 2, 1]),
        helo: "mx.example.com",
        reverse_path: &reverse_path,
        is_known: false,
        manners: Manners::Unknown,
    };
    let mut reading = Reading::new();
    reading.pass(SIGNED.as_bytes());
    let answers = screener(&zone, annotate(&Check::ALL)).answers(client, Some(reading)).await;
    let of = |name: &str, kind| {
        answers.iter().find(|answer| answer.name == name && answer.kind == kind).unwrap_or_else(|| panic!("{name}: {answers:?}"))
    };
    assert_eq!(of("1.2.0.192.in-addr.arpa", Kind::Ptr).records, Ok(vec!["mx.example.com.".into()]));
    assert_eq!(of("_spf.example.net", Kind::Txt).records, Ok(vec!["v=spf1 -all".into()]));
    assert_eq!(of("example.com", Kind::Mx).records, Err(Unanswered::NoData));
    assert!(of("brisbane._domainkey.football.example.com", Kind::Txt).records.is_ok());
    assert_eq!(of("_dmarc.example.com", Kind::Txt).records, Err(Unanswered::NoName));
}
