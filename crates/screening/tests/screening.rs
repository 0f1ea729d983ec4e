//! Checks against a DNS server on loopback with real records, and against the vectors that RFCs print.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod zone;

use std::net::IpAddr;
use std::time::Duration;

use mail::ReversePath;
use screening::*;
use zone::Zone;

/// The message of RFC 8463, appendix A.3, signed twice: by Ed25519 and by RSA.
const SIGNED: &str = include_str!("rfc8463.eml");

/// Its keys, and the policies of the two RFCs' domains.
const KEYS: &str = "
    brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
    test._domainkey.football.example.com TXT v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
    _dmarc.football.example.com TXT v=DMARC1; p=reject; adkim=s
";

/// The zone of RFC 7208, appendix A.
const RFC7208: &str = "
    example.com MX 10 mail-a.example.com
    example.com MX 20 mail-b.example.com
    example.com A 192.0.2.10
    example.com A 192.0.2.11
    amy.example.com A 192.0.2.65
    bob.example.com A 192.0.2.66
    mail-a.example.com A 192.0.2.129
    mail-b.example.com A 192.0.2.130
    example.org MX 10 mail-c.example.org
    mail-c.example.org A 192.0.2.140
    10.2.0.192.in-addr.arpa PTR example.com
    65.2.0.192.in-addr.arpa PTR amy.example.com
    66.2.0.192.in-addr.arpa PTR bob.example.com
    129.2.0.192.in-addr.arpa PTR mail-a.example.com
    140.2.0.192.in-addr.arpa PTR mail-c.example.org
    4.0.0.10.in-addr.arpa PTR bob.example.com
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

/// RFC 7208, appendix A.1.
#[tokio::test]
async fn spf_is_as_its_rfc_has_it() {
    use Outcome::{Fail, None, Pass, SoftFail};
    for (record, ip, expected) in [
        ("v=spf1 +all", "192.0.2.129", Pass),
        ("v=spf1 a -all", "192.0.2.10", Pass),
        ("v=spf1 a -all", "192.0.2.12", Fail),
        ("v=spf1 a:example.org -all", "192.0.2.10", Fail),
        ("v=spf1 mx -all", "192.0.2.129", Pass),
        ("v=spf1 mx -all", "192.0.2.10", Fail),
        ("v=spf1 mx:example.org -all", "192.0.2.140", Pass),
        ("v=spf1 mx mx:example.org -all", "192.0.2.130", Pass),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", Pass),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", Pass),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", Fail),
        ("v=spf1 ptr -all", "192.0.2.65", Pass),
        ("v=spf1 ptr -all", "192.0.2.140", Fail),
        ("v=spf1 ptr -all", "10.0.0.4", Fail),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.140", Pass),
        ("v=spf1 ip4:192.0.2.128/28 -all", "::ffff:192.0.2.65", Fail),
        ("v=spf1 mx ~all", "192.0.2.10", SoftFail),
        ("v=spf1 mx ?all", "192.0.2.10", None),
        ("v=spf1 include:example.com -all", "192.0.2.10", None),
        ("not a record", "192.0.2.10", None),
    ] {
        let zone = Zone::serve(&format!("{RFC7208}example.com TXT {record}"));
        let screening = screen(&screener(&zone, annotate(&[Check::Spf])), ip, "mail.example.com", "<strong-bad@example.com>", "").await;
        assert_eq!(outcomes(&screening), [(Check::Spf, expected)], "{record} {ip}: {screening}");
    }
}

#[tokio::test]
async fn without_a_sender_the_clients_name_is_asked_about() {
    let zone = Zone::serve("mta.example.com TXT v=spf1 ip4:192.0.2.1 -all\nexample.com TXT v=spf1 -all");
    let screener = screener(&zone, reject(&[Check::Spf]));
    let bounce = screen(&screener, "192.0.2.1", "mta.example.com", "<>", "").await;
    assert_eq!((outcomes(&bounce), bounce.verdict()), (vec![(Check::Spf, Outcome::Pass)], Verdict::Accept));
    let fields = String::from_utf8(bounce.fields()).unwrap();
    assert!(fields.contains("spf=pass") && fields.contains("smtp.helo=mta.example.com"), "{fields}");
    let forged = screen(&screener, "192.0.2.2", "mta.example.com", "<>", "").await;
    assert_eq!(forged.reply().map(|reply| (reply.code(), reply.enhanced())), Some((550, "5.7.23")));
    let literal = screen(&screener, "192.0.2.2", "[192.0.2.2]", "<>", "").await;
    assert_eq!(outcomes(&literal), [(Check::Spf, Outcome::None)]);
}

/// RFC 8463, appendix A.3: both signatures hold, and not when an octet differs.
#[tokio::test]
async fn dkim_is_as_its_rfc_has_it() {
    let zone = Zone::serve(KEYS);
    let screener = screener(&zone, annotate(&[Check::Dkim]));
    let genuine = screen(&screener, "192.0.2.1", "mx.example.com", "<joe@football.example.com>", SIGNED).await;
    assert_eq!(outcomes(&genuine), [(Check::Dkim, Outcome::Pass)], "{genuine}");
    let fields = String::from_utf8(genuine.fields()).unwrap();
    assert!(fields.starts_with("Authentication-Results: mx.example.net;\r\n\t"), "{fields}");
    assert_eq!(fields.matches("dkim=pass").count(), 2, "{fields}");
    assert!(fields.lines().all(|line| !line.contains('\r')) && fields.ends_with("\r\n"));
    for (from, to) in [("Are you hungry", "Are you angry"), ("Is dinner ready", "Is lunch ready"), ("Joe.\r\n", "Joe.\r\nP.S.\r\n")] {
        let changed = SIGNED.replace(from, to);
        assert_ne!(changed, SIGNED);
        let changed = screen(&screener, "192.0.2.1", "mx.example.com", "<joe@football.example.com>", &changed).await;
        assert_eq!(outcomes(&changed), [(Check::Dkim, Outcome::Fail)], "{changed}");
    }
    let unsigned =
        screen(&screener, "192.0.2.1", "mx.example.com", "<joe@football.example.com>", "From: joe@football.example.com\r\n\r\n").await;
    assert_eq!(outcomes(&unsigned), [(Check::Dkim, Outcome::None)]);
}

#[tokio::test]
async fn dmarc_follows_the_policy_of_the_domain_in_from() {
    let spf = "bank.example TXT v=spf1 ip4:192.0.2.1 -all\nother.example TXT v=spf1 ip4:192.0.2.9 -all\n";
    let obey = || vec![rule(Check::Dmarc, OnFail::Policy, OnUnsure::Defer)];
    let letter = "From: Bank <service@bank.example>\r\nSubject: x\r\n\r\nx\r\n";
    for (policy, verdict, code) in [
        ("p=none", Verdict::Accept, None),
        ("p=quarantine", Verdict::Quarantine, None),
        ("p=reject", Verdict::Reject, Some(550)),
        ("p=reject; t=y", Verdict::Quarantine, None),
    ] {
        let zone = Zone::serve(&format!("{spf}_dmarc.bank.example TXT v=DMARC1; {policy}"));
        let screener = screener(&zone, obey());
        let forged = screen(&screener, "192.0.2.9", "mx.other.example", "<x@other.example>", letter).await;
        assert_eq!((forged.verdict(), forged.reply().map(smtp::Reply::code)), (verdict, code), "{policy}: {forged}");
        let genuine = screen(&screener, "192.0.2.1", "mx.bank.example", "<service@bank.example>", letter).await;
        assert_eq!((outcomes(&genuine), genuine.verdict()), (vec![(Check::Dmarc, Outcome::Pass)], Verdict::Accept), "{genuine}");
    }
    // By the signature alone: SPF is not aligned.
    let zone = Zone::serve(&format!("{KEYS}{spf}"));
    let signed = screen(&screener(&zone, obey()), "192.0.2.9", "mx.other.example", "<x@other.example>", SIGNED).await;
    assert_eq!(outcomes(&signed), [(Check::Dmarc, Outcome::Pass)], "{signed}");
    let fields = String::from_utf8(signed.fields()).unwrap();
    assert!(
        ["spf=pass", "dkim=pass", "dmarc=pass", "header.from=football.example.com"].iter().all(|word| fields.contains(word)),
        "{fields}"
    );
}

#[tokio::test]
async fn a_client_is_who_its_name_leads_back_to() {
    let zone = Zone::serve(
        "1.2.0.192.in-addr.arpa PTR mx.example.com\nmx.example.com A 192.0.2.1\n2.2.0.192.in-addr.arpa PTR mx.example.com\n\
         4.2.0.192.in-addr.arpa SERVFAIL\n1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.com\n\
         six.example.com AAAA 2001:db8::1",
    );
    let screener = screener(&zone, annotate(&[Check::Iprev]));
    for (ip, expected) in [
        ("192.0.2.1", Outcome::Pass),
        ("::ffff:192.0.2.1", Outcome::Pass),
        ("2001:db8::1", Outcome::Pass),
        ("192.0.2.2", Outcome::Fail),
        ("192.0.2.3", Outcome::Fail),
        ("192.0.2.4", Outcome::Unsure),
    ] {
        let screening = screen(&screener, ip, "mx.example.com", "<>", "").await;
        assert_eq!(outcomes(&screening), [(Check::Iprev, expected)], "{ip}: {screening}");
    }
}

#[tokio::test]
async fn a_mail_server_has_a_name() {
    let zone =
        Zone::serve("mx.example.com A 192.0.2.1\nsix.example.com AAAA 2001:db8::1\nbare.example.com TXT x\nbroken.example.com SERVFAIL");
    let screener = screener(&zone, annotate(&[Check::Helo]));
    for (helo, expected) in [
        ("mx.example.com", Outcome::Pass),
        ("six.example.com", Outcome::Pass),
        ("[192.0.2.1]", Outcome::Pass),
        ("[192.0.2.2]", Outcome::Fail),
        ("192.0.2.1", Outcome::Fail),
        ("localhost", Outcome::Fail),
        ("MX.example.net", Outcome::Fail),
        ("bare.example.com", Outcome::Fail),
        ("nowhere.example.com", Outcome::Fail),
        ("broken.example.com", Outcome::Unsure),
    ] {
        let screening = screen(&screener, "192.0.2.1", helo, "<a@example.com>", "").await;
        assert_eq!(outcomes(&screening), [(Check::Helo, expected)], "{helo}: {screening}");
    }
}

#[tokio::test]
async fn dns_lists_are_added_up_and_believed_as_far_as_they_work() {
    let working = |zone: &str| format!("2.0.0.127.{zone} A 127.0.0.2\n");
    let zone = Zone::serve(&format!(
        "{}1.2.0.192.a.list A 127.0.0.4\n2.2.0.192.a.list A 127.0.0.2\n{}1.2.0.192.b.list A 127.0.0.10\n3.2.0.192.b.list A 127.0.0.10\n\
         {}3.2.0.192.good.list A 127.0.10.3\n1.2.0.192.all.list A 127.0.0.2\n1.0.0.127.all.list A 127.0.0.2\n\
         1.2.0.192.blocked.list A 127.255.255.254\n1.2.0.192.parked.list A 203.0.113.1\n1.2.0.192.broken.list SERVFAIL\n\
         {}1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.six.list A 127.0.0.2",
        working("a.list"),
        working("b.list"),
        working("good.list"),
        working("six.list"),
    ));
    let list = |zone: &str, weight| List { zone: zone.into(), weight };
    let ask = async |ip: &str, lists: Vec<List>| {
        let screener = listing(&zone, annotate(&[Check::Lists]), Lists { lists, threshold: 3 });
        let screening = screen(&screener, ip, "mx.example.com", "<a@example.com>", "").await;
        (screening.findings()[0].outcome, screening.findings()[0].detail.clone())
    };
    let three = || vec![list("a.list", 2), list("b.list", 3), list("good.list", -2)];
    for (ip, expected, sum) in
        [("192.0.2.1", Outcome::Fail, 5), ("192.0.2.2", Outcome::Pass, 2), ("192.0.2.3", Outcome::Pass, 1), ("192.0.2.4", Outcome::Pass, 0)]
    {
        let (outcome, detail) = ask(ip, three()).await;
        assert_eq!(outcome, expected, "{detail}");
        assert!(detail.starts_with(&format!("{ip} has {sum} of 3: ")), "{detail}");
    }
    assert_eq!(ask("2001:db8::1", vec![list("six.list", 3)]).await.0, Outcome::Fail);
    for (name, why) in [
        ("all.list", "127.0.0.1 is on it"),
        ("blocked.list", "does not serve this DNS server"),
        ("parked.list", "which no list does"),
        ("broken.list", "DNS fails"),
        ("gone.list", "127.0.0.2 is not on it"),
    ] {
        let (outcome, detail) = ask("192.0.2.1", vec![list(name, 3)]).await;
        assert_eq!(outcome, Outcome::Unsure, "{detail}");
        assert!(detail.contains(why), "{detail}");
        let (outcome, _) = ask("192.0.2.1", vec![list(name, 3), list("b.list", 3)]).await;
        assert_eq!(outcome, Outcome::Fail, "the others are believed all the same");
        let (outcome, _) = ask("192.0.2.4", vec![list(name, 2), list("b.list", 3)]).await;
        assert_eq!(outcome, Outcome::Pass, "it could not have made the difference");
        // A list of good senders that is not believed could have spoken for the client.
        for (against, weight, expected) in
            [(3, -1, Outcome::Unsure), (4, -2, Outcome::Unsure), (4, -1, Outcome::Fail), (2, -9, Outcome::Pass)]
        {
            let (outcome, detail) = ask("192.0.2.1", vec![list(name, weight), list("b.list", against)]).await;
            assert_eq!(outcome, expected, "{against} {weight}: {detail}");
        }
    }
}

/// However many ask, DNS is asked by a few at a time, and who does not come to turn is unsure in time.
#[tokio::test]
async fn who_gets_no_turn_is_unsure_and_does_not_wait_for_ever() {
    let zone = Zone::serve("quiet.example SILENT");
    let rules = vec![Rule { timeout: Duration::from_millis(100), ..rule(Check::Spf, OnFail::Policy, OnUnsure::Defer) }];
    let narrow = Screener::new("mx.example.net".parse().unwrap(), policy(rules, Lists::default(), 0), dns(&zone));
    let screening = screen(&narrow, "192.0.2.1", "mx.example.com", "<a@quiet.example>", "").await;
    assert_eq!((outcomes(&screening), screening.verdict()), (vec![(Check::Spf, Outcome::Unsure)], Verdict::Defer));
    assert_eq!(zone.asked(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_mail_has_decided_waits_for_no_turn_at_the_end() {
    let zone = Zone::serve("");
    let rules = vec![rule(Check::Spf, OnFail::Policy, OnUnsure::Defer), rule(Check::Dkim, OnFail::Policy, OnUnsure::Defer)];
    let narrow = Screener::new("mx.example.net".parse().unwrap(), policy(rules, Lists::default(), 0), dns(&zone));
    let begun = tokio::time::Instant::now();
    let screening = screen(&narrow, "192.0.2.1", "mx.example.com", "<a@quiet.example>", SIGNED).await;
    assert_eq!(outcomes(&screening), [(Check::Spf, Outcome::Unsure)]);
    // The paused clock stands where the one wait has ended, that of MAIL.
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn silence_is_no_no_and_the_rule_says_what_follows() {
    let zone = Zone::serve("quiet.example SILENT\nbroken.example SERVFAIL\n_dmarc.broken.example SERVFAIL");
    let open = screener(&zone, annotate(&[Check::Spf]));
    let closed = screener(&zone, reject(&[Check::Spf, Check::Dmarc]));
    for domain in ["quiet.example", "broken.example"] {
        let from = format!("<a@{domain}>");
        let passed = screen(&open, "192.0.2.1", "mx.example.com", &from, "").await;
        assert_eq!((outcomes(&passed), passed.verdict()), (vec![(Check::Spf, Outcome::Unsure)], Verdict::Accept));
        let deferred = screen(&closed, "192.0.2.1", "mx.example.com", &from, "").await;
        assert_eq!(deferred.reply().map(|reply| (reply.code(), reply.enhanced())), Some((451, "4.7.0")));
        assert_eq!(outcomes(&deferred).len(), 1, "nothing is asked after a final verdict");
    }
    let impatient = Rule { timeout: Duration::from_millis(20), ..rule(Check::Spf, OnFail::Policy, OnUnsure::Defer) };
    let late = screen(&screener(&zone, vec![impatient]), "192.0.2.1", "mx.example.com", "<a@quiet.example>", "").await;
    assert_eq!((outcomes(&late), late.verdict()), (vec![(Check::Spf, Outcome::Unsure)], Verdict::Defer));
}

/// Of a signature's key and of a policy, as of SPF: what DNS does not say is neither yes nor no.
#[tokio::test]
async fn silence_about_keys_and_policies_is_no_no_either() {
    let keys = |what: &str| format!("brisbane._domainkey.football.example.com {what}\ntest._domainkey.football.example.com {what}\n");
    let policy = "_dmarc.football.example.com TXT v=DMARC1; p=reject";
    let spf = "football.example.com TXT v=spf1 ip4:192.0.2.1 -all";
    for silence in ["SERVFAIL", "SILENT"] {
        let silent = keys(silence);
        for (records, check) in [
            (silent.clone(), Check::Dkim),
            (format!("{silent}{policy}"), Check::Dmarc),
            (KEYS.replace("TXT v=DMARC1; p=reject; adkim=s", silence), Check::Dmarc),
            (format!("{policy}\nfootball.example.com {silence}"), Check::Dmarc),
        ] {
            let zone = Zone::serve(&records);
            for (unsure, verdict, code) in
                [(OnUnsure::Accept, Verdict::Accept, None), (OnUnsure::Defer, Verdict::Defer, Some((451, "4.7.0")))]
            {
                let screener = screener(&zone, vec![rule(check, OnFail::Verdict(Verdict::Reject), unsure)]);
                let screening = screen(&screener, "192.0.2.9", "mx.example.com", "<joe@football.example.com>", SIGNED).await;
                assert_eq!(
                    (outcomes(&screening), screening.verdict()),
                    (vec![(check, Outcome::Unsure)], verdict),
                    "{records}: {screening:?}"
                );
                assert_eq!(screening.reply().map(|reply| (reply.code(), reply.enhanced())), code);
            }
        }
        let zone = Zone::serve(&format!("{silent}{policy}"));
        let impatient = Rule { timeout: Duration::from_millis(20), ..rule(Check::Dkim, OnFail::Policy, OnUnsure::Defer) };
        let late = screen(&screener(&zone, vec![impatient]), "192.0.2.9", "mx.example.com", "<joe@football.example.com>", SIGNED).await;
        assert_eq!((outcomes(&late), late.verdict()), (vec![(Check::Dkim, Outcome::Unsure)], Verdict::Defer));
    }
    // Where DNS says that there is no key, the same message fails.
    let zone = Zone::serve(&format!("{policy}\n{spf}"));
    let screening =
        screen(&screener(&zone, annotate(&[Check::Dmarc])), "192.0.2.9", "mx.example.com", "<joe@football.example.com>", SIGNED).await;
    assert_eq!(outcomes(&screening), [(Check::Dmarc, Outcome::Fail)], "{screening:?}");
}

#[tokio::test]
async fn what_is_tagged_says_why_and_repeats_nothing_of_the_senders() {
    let zone = Zone::serve("example.com TXT v=spf1 ~all");
    let rules = vec![
        rule(Check::Iprev, OnFail::Verdict(Verdict::Tag), OnUnsure::Accept),
        rule(Check::Spf, OnFail::Verdict(Verdict::Reject), OnUnsure::Accept),
        rule(Check::Dkim, OnFail::Verdict(Verdict::Quarantine), OnUnsure::Accept),
    ];
    let message = "DKIM-Signature: v=1; a=rsa-sha256; d=evil.example; s=x; h=from; bh=AAAA; b=AAAA\r\nFrom: a@example.com\r\n\r\n";
    let screening = screen(&screener(&zone, rules), "192.0.2.1", "mx.example.com", "<\"a\\\"; dkim=pass b\"@example.com>", message).await;
    assert_eq!(screening.verdict(), Verdict::Quarantine);
    let fields = String::from_utf8(screening.fields()).unwrap();
    assert!(fields.ends_with("X-Gatepost-Screening: quarantine; iprev=fail spf=softfail dkim=fail\r\n"), "{fields}");
    assert!(!fields.contains("; dkim=pass b"), "{fields}");
    assert!(fields.split("\r\n").skip(1).all(|line| line.is_empty() || line.starts_with(['\t', 'X'])), "{fields}");
}

#[tokio::test]
async fn a_header_too_long_to_look_at_is_no_way_around_a_policy() {
    let zone = Zone::serve("");
    let rules = vec![rule(Check::Dmarc, OnFail::Policy, OnUnsure::Accept)];
    let long = format!("{}From: a@bank.example\r\n\r\nx\r\n", "X-Filler: 0123456789\r\n".repeat(HEADER_OCTETS / 22 + 1));
    let screening = screen(&screener(&zone, rules), "192.0.2.1", "mx.example.com", "<a@example.com>", &long).await;
    assert_eq!(screening.verdict(), Verdict::Reject, "{screening}");
}

#[tokio::test]
async fn a_line_that_is_no_field_hides_nothing_behind_it() {
    let zone = Zone::serve("evil.example TXT v=spf1 +all\n_dmarc.bank.example TXT v=DMARC1; p=reject");
    let screener = screener(&zone, vec![rule(Check::Dmarc, OnFail::Policy, OnUnsure::Accept)]);
    for message in ["Subject: x\r\njunk\r\nFrom: ceo@bank.example\r\n\r\nx\r\n", "junk\r\nFrom: ceo@bank.example\r\n\r\nx\r\n"] {
        let screening = screen(&screener, "192.0.2.1", "mx.evil.example", "<a@evil.example>", message).await;
        assert_eq!(screening.verdict(), Verdict::Reject, "{message}: {screening}");
    }
}

#[tokio::test]
async fn a_second_from_is_no_way_around_a_policy_either() {
    let zone = Zone::serve("evil.example TXT v=spf1 +all\n_dmarc.bank.example TXT v=DMARC1; p=reject");
    let screener = screener(&zone, vec![rule(Check::Dmarc, OnFail::Policy, OnUnsure::Accept)]);
    for message in ["From: a@evil.example\r\nfrom: a@bank.example\r\n\r\n", "From: a@bank.example\r\nFrom : a@evil.example\r\n\r\n"] {
        let screening = screen(&screener, "192.0.2.1", "mx.evil.example", "<a@evil.example>", message).await;
        assert_eq!(screening.verdict(), Verdict::Reject, "{message}: {screening}");
    }
}

#[tokio::test]
async fn a_from_without_one_domain_is_no_way_around_a_policy() {
    let zone = Zone::serve("evil.example TXT v=spf1 +all\n_dmarc.bank.example TXT v=DMARC1; p=reject");
    let ask = async |fail, message: &str| {
        let screener = screener(&zone, vec![rule(Check::Dmarc, fail, OnUnsure::Accept)]);
        screen(&screener, "192.0.2.1", "mx.evil.example", "<a@evil.example>", message).await
    };
    for header in [
        "From: a@bank.example, b@evil.example\r\n",
        "From: all: a@evil.example, b@bank.example;\r\n",
        "From: ceo\r\n",
        "From:\r\n",
        "From: undisclosed:;\r\n",
        "F rom: ceo@bank.example\r\n",
        "From : ceo@bank.example\r\n",
        "From\r\n : ceo@bank.example\r\n",
        "From: a@evil.example\r\nFrom\r\n : ceo@bank.example\r\n",
        "Sender: ceo@bank.example\r\n",
        "",
    ] {
        let message = format!("{header}\r\nx\r\n");
        let obeyed = ask(OnFail::Policy, &message).await;
        assert_eq!((outcomes(&obeyed), obeyed.verdict()), (vec![(Check::Dmarc, Outcome::Fail)], Verdict::Reject), "{header:?}");
        let noted = ask(OnFail::Verdict(Verdict::Accept), &message).await;
        assert_eq!(noted.verdict(), Verdict::Accept, "{header:?}: nothing follows that is not configured");
        assert!(!String::from_utf8(noted.fields()).unwrap().contains("dmarc=pass"), "{header:?}");
    }
    let long = format!("From: a@{}example\r\n\r\n", "x.".repeat(2000));
    assert_eq!(ask(OnFail::Policy, &long).await.verdict(), Verdict::Reject);
    let several = ask(OnFail::Policy, "From: a@evil.example, b@evil.example\r\n\r\n").await;
    assert_eq!(several.verdict(), Verdict::Accept, "several authors of one domain");
}

#[tokio::test]
async fn who_is_new_is_to_come_back_and_who_is_known_is_not() {
    let zone = Zone::serve("vouched.example TXT v=spf1 ip4:192.0.2.0/24 ip4:203.0.113.0/24 -all");
    let rules = vec![
        rule(Check::Spf, OnFail::Verdict(Verdict::Accept), OnUnsure::Accept),
        rule(Check::Greylist, OnFail::Verdict(Verdict::Defer), OnUnsure::Accept),
    ];
    let soon = Screener::new(
        "mx.example.net".parse().unwrap(),
        Policy { greylist_delay: Duration::ZERO, ..policy(rules.clone(), Lists::default(), 8) },
        dns(&zone),
    );
    let late = screener(&zone, rules);
    let first = screen(&late, "192.0.2.1", "mx.example.com", "<a@vouched.example>", "").await;
    assert_eq!(first.reply().map(|reply| (reply.code(), reply.enhanced())), Some((451, "4.7.1")));
    assert_eq!(first.reply(), Some(smtp::Reply::GREYLISTED));
    let back = screen(&soon, "192.0.2.1", "mx.example.com", "<a@vouched.example>", "").await;
    assert_eq!(outcomes(&back), [(Check::Spf, Outcome::Pass), (Check::Greylist, Outcome::Pass)]);
    let reverse_path = ReversePath::parse("<a@vouched.example>").unwrap();
    let known = Client {
        ip: IpAddr::from([192, 0, 2, 1]),
        helo: "mx.example.com",
        reverse_path: &reverse_path,
        is_known: true,
        manners: Manners::Unknown,
    };
    assert_eq!(late.envelope(known).await.verdict(), Verdict::Accept);
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
