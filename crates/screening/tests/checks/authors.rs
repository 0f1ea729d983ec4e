//! Who has written a message: what its signatures and its From are worth, and what is written down of it.

use screening::*;

use crate::zone::Zone;
use crate::{KEYS, SIGNED, annotate, outcomes, rule, screen, screener};

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
        assert_eq!(forged.findings()[0].said.as_deref(), Some("bank.example"));
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
async fn a_header_too_long_to_look_at_is_no_way_around_a_policy() {
    let zone = Zone::serve("");
    let rules = vec![rule(Check::Dmarc, OnFail::Policy, OnUnsure::Accept)];
    let long = format!("{}From: a@bank.example\r\n\r\nx\r\n", "X-Filler: 0123456789\r\n".repeat(HEADER_OCTETS / 22 + 1));
    let screening = screen(&screener(&zone, rules), "192.0.2.1", "mx.example.com", "<a@example.com>", &long).await;
    assert_eq!((screening.verdict(), screening.reply()), (Verdict::Reject, Some(smtp::Reply::HEADER_UNCLEAR)), "{screening}");
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
        // What is nearly the name.
        "From: ceo@bank.example.\r\n",
        "From: ceo@BANK.Example..\r\n",
        "From: ceo@.bank.example\r\n",
        "From: ceo@bank..example\r\n",
        "From: ceo@bank .example\r\n",
        "From: ceo@bank.example\\\r\n",
        "From: ceo@bank.example/x\r\n",
        "From: Ceo <ceo@bank.example.>\r\n",
        "From: ceo@[192.0.2.1]\r\n",
    ] {
        let message = format!("{header}\r\nx\r\n");
        let obeyed = ask(OnFail::Policy, &message).await;
        assert_eq!((outcomes(&obeyed), obeyed.verdict()), (vec![(Check::Dmarc, Outcome::Fail)], Verdict::Reject), "{header:?}");
        if ["", "From: ceo\r\n", "From: a@bank.example, b@evil.example\r\n", "From: ceo@bank.example.\r\n"].contains(&header) {
            assert_eq!(obeyed.reply(), Some(smtp::Reply::AUTHOR_UNCLEAR), "{header:?}: and it hears what is wrong with it");
        }
        let noted = ask(OnFail::Verdict(Verdict::Accept), &message).await;
        assert_eq!(noted.verdict(), Verdict::Accept, "{header:?}: nothing follows that is not configured");
        assert!(!String::from_utf8(noted.fields()).unwrap().contains("dmarc=pass"), "{header:?}");
    }
    let long = format!("From: a@{}example\r\n\r\n", "x.".repeat(2000));
    assert_eq!(ask(OnFail::Policy, &long).await.verdict(), Verdict::Reject);
    let (label, below) = ("x".repeat(59), "bank.example");
    let long = format!("From: a@{label}.{label}.{label}.{label}.{below}\r\n\r\n");
    assert_eq!(ask(OnFail::Policy, &long).await.verdict(), Verdict::Reject, "a name with no room for another label before it");
    let several = ask(OnFail::Policy, "From: a@evil.example, b@evil.example\r\n\r\n").await;
    assert_eq!(several.verdict(), Verdict::Accept, "several authors of one domain");
}

#[tokio::test]
async fn what_is_tagged_says_why_and_repeats_nothing_of_the_senders() {
    let zone = Zone::serve("example.com TXT v=spf1 ~all");
    let rules = vec![
        rule(Check::Iprev, OnFail::Verdict(Verdict::Tag), OnUnsure::Accept),
        rule(Check::Spf, OnFail::Verdict(Verdict::Reject), OnUnsure::Accept),
        rule(Check::Dkim, OnFail::Verdict(Verdict::Quarantine), OnUnsure::Accept),
    ];
    // The identity is quoted-printable (RFC 6376 §2.11), and says a line's end.
    let message = "DKIM-Signature: v=1; a=rsa-sha256; d=evil.example; s=x; h=from; bh=AAAA; b=AAAA;\r\n\
        \ti==0D=0AX-Gatepost-Screening:=20accept=0A=0Db@evil.example\r\nFrom: a@example.com\r\n\r\n";
    let screening = screen(&screener(&zone, rules), "192.0.2.1", "mx.example.com", "<\"a\\\"; dkim=pass b\"@example.com>", message).await;
    assert_eq!(screening.verdict(), Verdict::Quarantine);
    let fields = String::from_utf8(screening.fields()).unwrap();
    assert!(fields.ends_with("X-Gatepost-Screening: quarantine; iprev=fail spf=softfail dkim=fail\r\n"), "{fields}");
    assert!(!fields.contains("; dkim=pass b"), "{fields}");
    assert!(fields.split("\r\n").skip(1).all(|line| line.is_empty() || line.starts_with(['\t', 'X'])), "{fields}");
    assert!(fields.contains("b@evil.example") && !fields.replace("\r\n", "").contains(['\r', '\n']), "{fields:?}");
}
