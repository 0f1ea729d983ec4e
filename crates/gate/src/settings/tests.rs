//! Faulty settings and what is said of them.

use super::*;

fn keys(settings: &Settings) -> Vec<&'static str> {
    settings.validate().iter().map(|fault| fault.key).collect()
}

#[test]
fn the_defaults_are_valid_and_stand_in_for_missing_keys() {
    assert_eq!(Settings::default().validate(), []);
    let settings: Settings = toml::from_str("max_inbound = 30").unwrap();
    assert_eq!(settings, Settings { max_inbound: 30, ..Settings::default() });
    assert_eq!(settings.validate(), []);
}

#[test]
fn unknown_keys_and_impossible_numbers_are_refused_while_reading() {
    assert!(toml::from_str::<Settings>("max_inbuond = 30").unwrap_err().to_string().contains("max_inbuond"));
    assert!(toml::from_str::<Settings>("max_inbound = -1").is_err());
}

#[test]
fn zero_names_drain() {
    let faults = Settings { max_inbound: 0, ..Settings::default() }.validate();
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].to_string(),
        "max_inbound >= 1 does not hold: max_inbound = 0 would refuse everybody; \
         to take no more sessions and let the present ones finish, drain the server: `gatepost drain`"
    );
}

#[test]
fn every_fault_is_found_with_its_inequality() {
    let settings = Settings { max_inbound: 0, sessions_per_address: 300, sessions_per_network: 250, ..Settings::default() };
    assert_eq!(keys(&settings), ["max_inbound", "sessions_per_address", "sessions_per_network"]);
    let error = SettingsError { faults: settings.validate() };
    assert_eq!(error.to_string().lines().count(), 3);
    assert!(error.to_string().contains("sessions_per_address <= sessions_per_network does not hold: 300 > 250"));
}

#[test]
fn nobody_has_to_give_way_for_a_pause() {
    assert_eq!(keys(&Settings { give_way_after: Span::secs(4), ..Settings::default() }), ["give_way_after"]);
    for allowed in [0, 5, 300] {
        assert!(Settings { give_way_after: Span::secs(allowed), ..Settings::default() }.validate().is_empty());
    }
}

#[test]
fn a_zero_is_one_fault_not_two() {
    assert_eq!(keys(&Settings { sessions_per_network: 0, ..Settings::default() }), ["sessions_per_network"]);
}

#[test]
fn every_key_is_documented() {
    let schema = schemars::schema_for!(Settings).to_value();
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.len(), 17);
    assert!(properties.values().all(|property| property["description"].is_string()));
}

fn said(text: &str) -> Vec<String> {
    toml::from_str::<Settings>(text).unwrap().validate().iter().map(Fault::to_string).collect()
}

#[test]
fn small_pools_have_small_reserves() {
    let reserves = [1, 2, 5, 9, 10, 11, 1000].map(|max_inbound| Settings { max_inbound, ..Settings::default() }.size());
    let expected = [(0, 0), (1, 1), (1, 1), (1, 1), (1, 1), (2, 1), (100, 50)];
    assert_eq!(reserves.map(|size| (size.reserve, size.first_places)), expected);
    for max_inbound in 1..2000 {
        assert_eq!(Settings { max_inbound, ..Settings::default() }.validate(), []);
    }
}

#[test]
fn impossible_sums_are_faults_with_their_inequality() {
    for (text, beginning) in [
        ("max_inbound = 2097152", "max_inbound <= 2097151 does not hold: 2097152 > 2097151; "),
        ("max_inbound = 9\nreserve = 9", "reserve < max_inbound does not hold: 9 >= 9; "),
        ("reserve = 5\nfirst_places = 6", "first_places <= reserve does not hold: 6 > 5; "),
        ("reserve = 0\nauthenticating_places = 1", "authenticating_places <= reserve does not hold: 1 > 0; "),
        ("fair_share_alpha = -0.5", "fair_share_alpha >= 0 does not hold: -0.5 "),
        ("fair_share_alpha = nan", "fair_share_alpha >= 0 does not hold: NaN "),
        ("start_ramp = '2h'", "start_ramp <= 1h does not hold: 2h > 1h; "),
    ] {
        let said = said(text);
        assert!(said.len() == 1 && said[0].starts_with(beginning), "{text}: {said:?}");
    }
    assert_eq!(said("max_inbound = 1\nreserve = '100%'\nfair_share_alpha = 0\nstart_ramp = '0s'"), [""; 0]);
}

#[test]
fn clients_that_cannot_be_meant_are_faults() {
    let client = |rest: &str| format!("deny = ['203.0.113.0/24']\n[[clients]]\nclass = 'exempt'\n{rest}");
    for (text, part) in [
        ("name = ''\nnetworks = ['192.0.2.1']", "entry 1 has no name"),
        ("name = 'a'\nnetworks = []", "\"a\" has no networks"),
        ("name = 'a'\nnetworks = ['0.0.0.0/0']", "is everybody"),
        ("name = 'a'\nnetworks = ['192.0.2.1']\nsessions = 0", "sessions >= 1 does not hold for \"a\""),
        ("name = 'a'\nnetworks = ['192.0.2.1', '192.0.2.1']", "is in \"a\" and in \"a\""),
        ("name = 'a'\nnetworks = ['203.0.113.7']", "deny has 203.0.113.0/24"),
        (
            "name = 'a'\nnetworks = ['192.0.2.1']\n[[clients]]\nclass = 'trusted'\nname = 'a'\nnetworks = ['192.0.2.2']",
            "two entries are called \"a\"",
        ),
    ] {
        let said = said(&client(text));
        assert!(said.len() == 1 && said[0].contains(part), "{text}: {said:?}");
    }
    let whole = "name = 'a'\nnetworks = ['192.0.2.1']\nsessions = 5\nreason = 'b'\nexpires = '2027-12-31'";
    assert_eq!(said(&client(whole)), [""; 0]);
    assert!(toml::from_str::<Settings>(&client("name = 'a'\nnetworks = ['192.0.2.1']\nreasn = 'b'")).is_err());
}
