use std::net::IpAddr;

use super::*;

fn sender<'s>(account: Option<&'s str>, domain: &'s str) -> Sender<'s> {
    Sender { source: Some(Source::from(IpAddr::from([192, 0, 2, 7]))), account, domain: Some(domain) }
}

fn rates(text: &str) -> MailRates {
    MailRates::new(&toml::from_str(text).unwrap())
}

#[test]
fn each_scope_counts_for_itself_and_who_refuses_gives_back() {
    let rates = rates("messages_per_account = \"2/1m\"\nmessages_per_sender_domain = \"1/1m\"");
    let now = Instant::now();
    let take = |account, domain| rates.take(Measure::Messages, 1, &sender(account, domain), now).map(drop).map_err(|met| met.limit.key());
    assert_eq!(take(Some("ann"), "example.org"), Ok(()));
    for _ in 0..9 {
        assert_eq!(take(Some("ann"), "EXAMPLE.org"), Err("messages_per_sender_domain"));
    }
    assert_eq!(take(Some("ann"), "example.net"), Ok(()), "what was refused did not count for the account");
    assert_eq!(take(Some("ann"), "example.com"), Err("messages_per_account"));
    assert_eq!(take(None, "example.com"), Ok(()));
    assert_eq!(rates.take(Measure::Recipients, 1000, &sender(None, "example.org"), now), Ok(Limits::NONE), "no limit");
}

#[test]
fn who_has_no_source_is_under_the_other_rates() {
    let (rates, now) = (rates("messages_per_source = \"1/1h\"\nmessages_per_account = \"2/1h\""), Instant::now());
    let exempt = Sender { source: None, ..sender(Some("ann"), "example.org") };
    let take = || rates.take(Measure::Messages, 1, &exempt, now).map(drop).map_err(|met| met.limit.key());
    assert_eq!([take(), take(), take()], [Ok(()), Ok(()), Err("messages_per_account")]);
}

#[test]
fn octets_beyond_what_was_announced_are_owed() {
    let (rates, start) = (rates("bytes_per_source = \"60KiB/1m\""), Instant::now());
    let take = |seconds| rates.take(Measure::Kib, 1, &sender(None, "a.example"), start + Duration::from_secs(seconds)).is_ok();
    assert!(take(0));
    rates.settle(Measure::Kib, 1, 100, &sender(None, "a.example"), Limits::ALL, start);
    assert!(!take(0) && !take(40) && take(41));
}

#[test]
fn every_limit_can_be_in_shadow_where_it_counts_and_refuses_nobody() {
    let now = Instant::now();
    let sender = sender(Some("ann"), "example.org");
    for (place, limit) in Limit::ALL.into_iter().enumerate() {
        assert_eq!(limit.place(), place);
        let rate = if limit.measure == Measure::Kib { "1KiB/1h" } else { "1/1h" };
        let table = |shadow: &str| format!("{limit} = \"{rate}\"\n{shadow}");
        let rates = rates(&table(&format!("shadow = [\"{limit}\"]")));
        let taken: Vec<_> = (0..3).map(|_| rates.take(limit.measure, 1, &sender, now).unwrap()).collect();
        assert_eq!(taken, [Limits::of(&[limit]), Limits::NONE, Limits::NONE]);
        rates.look(limit.measure, &sender, Limits::ALL, now).unwrap();
        let counted = rates.in_shadow().map(|(limit, count)| (limit.key(), count)).filter(|(_, count)| *count > 0);
        assert_eq!(counted.collect::<Vec<_>>(), [(limit.key(), 3)]);
        // What it has not taken nobody gives back to it.
        rates.give_back(limit.measure, 1, &sender, taken[1]);
        rates.apply(&toml::from_str(&table("")).unwrap());
        assert_eq!(rates.take(limit.measure, 1, &sender, now).unwrap_err().limit, limit, "out of the shadow it holds");
        rates.give_back(limit.measure, 1, &sender, taken[0]);
        rates.take(limit.measure, 1, &sender, now).unwrap();
    }
}

#[test]
fn a_limit_beside_one_in_shadow_holds_and_gives_back_what_was_taken() {
    let (rates, now) = (
        rates("messages_per_account = \"1/1h\"\nmessages_per_sender_domain = \"2/1h\"\nshadow = [\"messages_per_account\"]"),
        Instant::now(),
    );
    let take =
        |account, domain| rates.take(Measure::Messages, 1, &sender(Some(account), domain), now).map(drop).map_err(|met| met.limit.key());
    assert_eq!([take("ann", "a.example"), take("ann", "a.example")], [Ok(()), Ok(())]);
    assert_eq!(take("bob", "a.example"), Err("messages_per_sender_domain"));
    assert_eq!(take("bob", "b.example"), Ok(()));
    assert_eq!(rates.in_shadow().map(|(_, count)| count).sum::<u64>(), 1, "bob's first was given back to his account");
}

#[test]
fn the_tarpit_holds_no_more_than_its_places() {
    let rates = rates("tarpit = \"2s\"\ntarpit_places = 1");
    let (place, time) = rates.hold_back().unwrap();
    assert_eq!((time, rates.held_back(), rates.hold_back().is_none()), (Duration::from_secs(2), 1, true));
    drop(place);
    rates.apply(&Settings::default());
    assert!(rates.hold_back().is_none(), "none by default");
}

#[test]
fn every_limit_is_a_key_of_the_table() {
    let table = serde_json::to_value(Settings::default()).unwrap();
    for limit in Limit::ALL {
        assert!(table.get(limit.key()).is_some(), "{limit}");
        let settings: Settings =
            toml::from_str(&format!("{limit} = \"{}\"", if limit.measure == Measure::Kib { "7KiB/1s" } else { "7/1s" })).unwrap();
        assert_eq!(limit.rate(&settings).burst(), 7, "{limit}");
    }
}
