//! What DNS does not say, or not in time, is neither yes nor no; and nobody waits for it for ever.

use std::time::Duration;

use screening::*;

use crate::zone::Zone;
use crate::{KEYS, SIGNED, annotate, dns, outcomes, policy, reject, rule, screen, screener};

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
