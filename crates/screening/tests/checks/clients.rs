//! Who connects and in whose name: what the envelope and the client's address are asked about.

use std::net::IpAddr;
use std::time::Duration;

use mail::ReversePath;
use screening::*;

use crate::zone::Zone;
use crate::{annotate, dns, listing, outcomes, policy, reject, rule, screen, screener};

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

/// RFC 7208 §4.6: one wrong term, and nothing follows; where the record is included, too (§5.2).
#[tokio::test]
async fn an_spf_record_that_is_wrong_refuses_nobody() {
    for (record, ip, detail) in [
        ("v=spf1 ipv4:192.0.2.99 -all", "192.0.2.99", "the record of example.com is wrong: \"ipv4:192.0.2.99\" is no term of a record"),
        ("v=spf1 ip4:192.0.2.99 mx/33 -all", "192.0.2.99", "the record of example.com is wrong: \"mx/33\" is no term of a record"),
        ("v=spf1 include:_spf.example.com ~all", "192.0.2.99", "the record of _spf.example.com is wrong: there are 2 records"),
        ("v=spf1 include:a.example.com -all", "192.0.2.99", "the record of _spf.example.com is wrong: there are 2 records"),
        ("v=spf1 redirect=b.example.com", "192.0.2.99", "the record of b.example.com is wrong: \"al\" is no term of a record"),
    ] {
        let beyond = "_spf.example.com TXT v=spf1 ip4:192.0.2.1 -all\n_spf.example.com TXT v=spf1 -all\n\
            a.example.com TXT v=spf1 include:_spf.example.com -all\nb.example.com TXT v=spf1 al -all\n";
        let zone = Zone::serve(&format!("{beyond}example.com TXT {record}"));
        let screening = screen(&screener(&zone, reject(&[Check::Spf])), ip, "mail.example.com", "<a@example.com>", "").await;
        assert_eq!((outcomes(&screening), screening.verdict()), (vec![(Check::Spf, Outcome::None)], Verdict::Accept), "{record}");
        assert_eq!(screening.findings()[0].detail, detail);
        let fields = screen(&screener(&zone, annotate(&[Check::Spf])), ip, "mail.example.com", "<a@example.com>", "").await.fields();
        assert!(String::from_utf8(fields).unwrap().contains("spf=permerror"), "{record}");
    }
    // What comes before it decides.
    let zone = Zone::serve("example.com TXT v=spf1 ip4:192.0.2.1 include:b.example.com -all\nb.example.com TXT v=spf1 al -all");
    let screening = screen(&screener(&zone, reject(&[Check::Spf])), "192.0.2.1", "mail.example.com", "<a@example.com>", "").await;
    assert_eq!(outcomes(&screening), [(Check::Spf, Outcome::Pass)]);
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
    assert_eq!(forged.reason().unwrap().said.as_deref(), Some("mta.example.com"), "whose record it is");
    let literal = screen(&screener, "192.0.2.2", "[192.0.2.2]", "<>", "").await;
    assert_eq!(outcomes(&literal), [(Check::Spf, Outcome::None)]);
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
    let list = |zone: &str, weight| List { zone: zone.into(), weight, name: None };
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
