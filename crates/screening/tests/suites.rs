//! The suites that others have published, through our own checks and our own DNS client: SPF of openspf, ARC of ValiMail, signed messages
//! that mail-auth carries, and the examples of DMARC's RFC. Where they are from says `suites/README.md`.
//!
//! What we answer otherwise than a suite stands in a list, with the reason; a case that is not in its list must be as the suite has it, and one
//! that is must not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod zone;

use std::time::Duration;

use mail::ReversePath;
use screening::*;
use serde::Deserialize;
use zone::Zone;

/// Cases that go by the same DNS.
#[derive(Deserialize)]
struct Scenario<C> {
    /// Name, kind and data.
    zone: Vec<(String, String, String)>,
    tests: Vec<C>,
}

#[derive(Deserialize)]
struct Spf {
    name: String,
    helo: String,
    host: String,
    mailfrom: String,
    /// Any of these is right.
    result: Vec<String>,
}

#[derive(Deserialize)]
struct Arc {
    name: String,
    /// Pass, Fail or None; empty where the suite has no answer.
    cv: String,
    /// With LF.
    message: String,
}

/// Cases that we answer otherwise: why, what we answer, and their names.
type Exceptions = &'static [(&'static str, &'static str, &'static [&'static str])];

const SPF_EXCEPTIONS: Exceptions = &[
    (
        "no address by RFC 5321 §4.1.2: the session answers 501, and nothing is asked",
        REFUSED,
        &["toolonglabel", "emptylabel", "nolocalpart", "dorky-sentinel"],
    ),
    (
        "hickory-resolver does not ask for what a macro makes, where that is no name or has octets that few names have; mail-auth takes it for a failure of DNS",
        "temperror",
        &["invalid-domain-long-via-macro", "macro-mania-in-domain", "invalid-hello-macro", "hello-domain-literal"],
    ),
    ("mail-auth leaves the dot at the end of a name in %{p}, and what is made of it is no name", "temperror", &["p-macro-multiple"]),
    (
        "mail-auth does not read modifiers whose names have dots, underscores or hyphens",
        "permerror",
        &["modifier-charset-good", "redirect-after-mechanisms2"],
    ),
    ("mail-auth takes only names below the domain for the domain's, not its own", "fail", &["ptr-match-implicit", "ptr-match-ip6"]),
    (
        "mail-auth reads no colon or slash in a label",
        "permerror",
        &["a-colon-domain", "a-colon-domain-ip4mapped", "mx-colon-domain", "mx-colon-domain-ip4mapped"],
    ),
    ("mail-auth asks for AAAA, too", "pass", &["exists-ip6only"]),
    ("mail-auth holds every address of IPv4 against ip6 with a prefix of 0", "pass", &["cidr6-0-ip4", "cidr6-ip4"]),
    (
        "mail-auth does not count names without records, of which two are allowed; ten questions are all it asks",
        "neutral",
        &["void-over-limit"],
    ),
];

const ARC_EXCEPTIONS: Exceptions = &[
    (
        "RFC 8617 §5.2 says that such a chain fails; the suite is of a draft that answers nothing",
        "Fail",
        &["cv_fail_i1_as_cv_fail", "cv_fail_i2_as2_fail", "cv_fail_i2_as1_fail"],
    ),
    ("without c= it is simple/simple (RFC 6376 §3.5), and so it does not hold; the suite has it relaxed", "Fail", &["ams_fields_c_na"]),
    ("a signature that covers no field proves nothing (RFC 6376 §5.4 wants From in it)", "Fail", &["ams_fields_h_empty"]),
    ("mail-auth takes it for rsa-sha256, as which it does hold", "Pass", &["ams_fields_a_na", "as_fields_a_na"]),
    (
        "mail-auth is lenient about tags of a seal; it covers them as they are, and holds",
        "Pass",
        &["as_format_inv_tag_key", "as_format_tags_dup", "as_format_tags_key_case", "as_format_tags_sc"],
    ),
];

/// Those that differ are those that are known to, as they are known to.
fn compare(differing: &[(String, String, String)], exceptions: Exceptions) {
    let exceptions: Vec<(&str, &str)> =
        exceptions.iter().flat_map(|(_, ours, names)| names.iter().map(move |name| (*name, *ours))).collect();
    let differing: Vec<(&str, &str, &str)> = differing.iter().map(|(name, ours, theirs)| (&**name, &**ours, &**theirs)).collect();
    let unknown: Vec<_> = differing.iter().filter(|(name, ours, _)| !exceptions.contains(&(name, ours))).collect();
    assert!(unknown.is_empty(), "(case, our answer, the suite's): {unknown:#?}");
    let gone: Vec<_> = exceptions.iter().filter(|known| !differing.iter().any(|(name, ours, _)| *known == &(*name, *ours))).collect();
    assert!(gone.is_empty(), "no longer exceptions: {gone:#?}");
}

fn screener(zone: &Zone, check: Check) -> Screener {
    let dns = DnsSettings { servers: vec![zone.address()], timeout: Duration::from_millis(300), cache: 100 };
    let rule = Rule { check, fail: OnFail::Policy, unsure: OnUnsure::Accept, timeout: Duration::from_secs(20) };
    let policy = Policy {
        rules: vec![rule],
        lists: Lists::default(),
        attachments: Vec::new(),
        services: Services::default(),
        greylist_delay: Duration::ZERO,
        greylist_senders: 1,
        early_wait: Duration::ZERO,
        early_places: 0,
        at_once: 8,
    };
    Screener::new("mx.example.net".parse().unwrap(), policy, Dns::new(&dns).unwrap())
}

/// What is found, as it stands before the message; `message` with LF.
async fn screen(screener: &Screener, host: &str, helo: &str, reverse_path: &ReversePath, message: &str) -> Screening {
    let client = Client { ip: host.parse().unwrap(), helo, reverse_path, is_known: false, manners: Manners::Unknown };
    let message = message.replace('\n', "\r\n");
    let mut reading = screener.reading();
    message.as_bytes().chunks(97).for_each(|piece| reading.pass(piece));
    let mut text = message.as_bytes();
    let mut letter = Letter { id: "01ARZ3NDEKTSV4RRFFQ69G5FAV", recipients: &[], user: None, text: &mut text };
    let screening = screener.envelope(client).await;
    screener.message(client, screening, reading, &mut letter).await
}

/// The results of one method in Authentication-Results.
fn results(screening: &Screening, method: &str) -> Vec<String> {
    let fields = String::from_utf8(screening.fields()).unwrap();
    let word = |rest: &str| rest.chars().take_while(char::is_ascii_alphabetic).collect();
    fields.split(&format!("\t{method}=")).skip(1).map(word).collect()
}

fn scenarios<C: for<'d> Deserialize<'d>>(text: &str) -> Vec<Scenario<C>> {
    serde_json::from_str(text).unwrap()
}

fn serve<C>(scenario: &Scenario<C>) -> Zone {
    Zone::of(scenario.zone.iter().map(|(name, kind, data)| (name.as_str(), kind.as_str(), data.as_str())))
}

#[tokio::test]
async fn spf_is_as_openspf_has_it() {
    let (mut differing, mut cases) = (Vec::new(), 0);
    for scenario in scenarios::<Spf>(include_str!("suites/spf.json")) {
        let zone = serve(&scenario);
        let screener = screener(&zone, Check::Spf);
        for Spf { name, helo, host, mailfrom, result } in &scenario.tests {
            cases += 1;
            let ours = match ReversePath::parse(&format!("<{mailfrom}>")) {
                Ok(reverse_path) => results(&screen(&screener, host, helo, &reverse_path, "").await, "spf").concat(),
                Err(_) => REFUSED.to_owned(),
            };
            if !result.contains(&ours) {
                differing.push((name.clone(), ours, result.join(" or ")));
            }
        }
    }
    assert_eq!(cases, 203);
    compare(&differing, SPF_EXCEPTIONS);
}

#[tokio::test]
async fn arc_is_as_valimail_has_it() {
    let (mut differing, mut cases) = (Vec::new(), 0);
    for scenario in scenarios::<Arc>(include_str!("suites/arc.json")) {
        let zone = serve(&scenario);
        let screener = screener(&zone, Check::Arc);
        for Arc { name, cv, message } in &scenario.tests {
            cases += 1;
            let screening = screen(&screener, "192.0.2.1", "mx.example.org", &ReversePath::Null, message).await;
            let ours = format!("{:?}", screening.findings()[0].outcome);
            if ours != *cv {
                differing.push((name.clone(), ours, cv.clone()));
            }
        }
    }
    assert_eq!(cases, 171);
    compare(&differing, ARC_EXCEPTIONS);
}

/// A signed message, and what holds of it: the records it goes by, a blank line, and the text.
async fn signed(text: &str, check: Check) -> Screening {
    let (records, message) = text.split_once("\n\n").unwrap();
    let zone = Zone::of(records.lines().map(|record| record.split_once(' ').map(|(name, key)| (name, "TXT", key)).unwrap()));
    screen(&screener(&zone, check), "192.0.2.1", "mx.example.com", &ReversePath::Null, message).await
}

#[tokio::test]
async fn signed_messages_hold_and_not_when_an_octet_differs() {
    for (text, dkim, (from, to)) in [
        (include_str!("suites/signed/rfc6376.txt"), &["pass"][..], ("Are you hungry", "Are you angry")),
        (include_str!("suites/signed/ietf.txt"), &["pass", "pass"], ("rfc5321bis appendix I.2", "rfc5321bis appendix I.3")),
    ] {
        assert_eq!(results(&signed(text, Check::Dkim).await, "dkim"), dkim);
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(!results(&signed(&changed, Check::Dkim).await, "dkim").iter().any(|result| result == "pass"));
    }
}

#[tokio::test]
async fn sealed_messages_hold_and_not_when_an_octet_differs() {
    for (text, (from, to)) in [
        (include_str!("suites/signed/google.txt"), ("Script deactivation", "Script activation")),
        (include_str!("suites/signed/chain.txt"), ("Say cheese", "Say bread")),
    ] {
        assert_eq!(signed(text, Check::Arc).await.findings()[0].outcome, Outcome::Pass);
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        assert_eq!(signed(&changed, Check::Arc).await.findings()[0].outcome, Outcome::Fail);
    }
}

/// What becomes of mail whose From has this host, where only SPF stands behind the client, for the domain `sent`.
async fn dmarc(records: &[&str], sent: &str, from: &str) -> (Outcome, Verdict) {
    let records = format!("{sent} TXT v=spf1 ip4:192.0.2.1 -all\n{}", records.join("\n"));
    let zone = Zone::serve(&records);
    let reverse_path = ReversePath::parse(&format!("<a@{sent}>")).unwrap();
    let message = format!("From: sender@{from}\nSubject: x\n\nx\n");
    let screening = screen(&screener(&zone, Check::Dmarc), "192.0.2.1", "mx.example.org", &reverse_path, &message).await;
    (screening.findings()[0].outcome, screening.verdict())
}

/// RFC 9989, appendix B.1 (RFC 7489's), and which policy is found (§4.10).
#[tokio::test]
async fn dmarc_is_as_its_rfc_has_it() {
    const ASKED: &str = "_dmarc.example.com TXT v=DMARC1; p=reject";
    const STRICT: &str = "_dmarc.example.com TXT v=DMARC1; p=reject; aspf=s; adkim=s";
    let (pass, fail, none) = ((Outcome::Pass, Verdict::Accept), |verdict| (Outcome::Fail, verdict), (Outcome::None, Verdict::Accept));
    for (records, sent, from, expected) in [
        // B.1.1: the same, a parent and a child, and two that have nothing to do with each other.
        (&[ASKED][..], "example.com", "example.com", pass),
        (&[ASKED], "child.example.com", "example.com", pass),
        (&["_dmarc.child.example.com TXT v=DMARC1; p=reject", ASKED], "example.com", "child.example.com", pass),
        (&[ASKED], "example.net", "example.com", fail(Verdict::Reject)),
        (&[STRICT], "example.com", "example.com", pass),
        (&[STRICT], "child.example.com", "example.com", fail(Verdict::Reject)),
        // A policy of its own goes before the one above, and that holds for what is below.
        (&["_dmarc.a.example.com TXT v=DMARC1; p=none", ASKED], "example.net", "a.example.com", fail(Verdict::Accept)),
        (&[ASKED, "a.example.com A 192.0.2.7"], "example.net", "a.example.com", fail(Verdict::Reject)),
        (
            &["_dmarc.example.com TXT v=DMARC1; p=reject; sp=quarantine", "a.example.com A 192.0.2.7"],
            "example.net",
            "a.example.com",
            fail(Verdict::Quarantine),
        ),
        (
            &["_dmarc.example.com TXT v=DMARC1; p=none; sp=none; np=reject", "a.example.com A 192.0.2.7"],
            "example.net",
            "a.example.com",
            fail(Verdict::Accept),
        ),
        (&["_dmarc.example.com TXT v=DMARC1; p=none; sp=none; np=reject"], "example.net", "b.example.com", fail(Verdict::Reject)),
        // Not as §4.10 has it, by which two policies are none: mail-auth goes by the first.
        (&[ASKED, "_dmarc.example.com TXT v=DMARC1; p=none"], "example.net", "example.com", fail(Verdict::Reject)),
        // What is no record of this kind is none.
        (&["_dmarc.example.com TXT v=DMARC2; p=reject"], "example.net", "example.com", none),
        (&[], "example.net", "example.com", none),
    ] {
        assert_eq!(dmarc(records, sent, from).await, expected, "{records:?}: {from}, sent for {sent}");
    }
    // B.1.2: the signature's domain is that of the organization, and From is below it.
    let text = include_str!("suites/signed/rfc6376.txt");
    for (record, expected) in [(ASKED, pass), (STRICT, fail(Verdict::Reject))] {
        let record = record.replacen(" TXT", "", 1);
        let screening = signed(&format!("{record}\n{text}"), Check::Dmarc).await;
        assert_eq!((screening.findings()[0].outcome, screening.verdict()), expected, "{record}: {screening:?}");
    }
}

/// What the session answers 501: it never comes to a check.
const REFUSED: &str = "refused at MAIL";
