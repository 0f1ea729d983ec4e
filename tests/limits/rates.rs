//! The rates, and what they may take themselves.

use std::time::Duration;

use events::Figure;
use gate::Denial;
use gate::rates::{Limit, Measure, RateExceeded, Scope};
use pop3::Refusal;
use smtp::Reply;

use crate::door::{self, Scene};
use crate::keys::Keys;
use crate::table::{Table, code, labelled, metric, said, signed};

pub(crate) fn table(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "asked at", "rule", "reply", "counted by"]);
    for (key, scene) in CONNECTIONS {
        let refusal = scene.refusal(&format!("{key} = \"2/1m\""));
        let key = format!("rates.{key}");
        assert_eq!(refusal.rule.key(), Some(key.as_str()));
        table.row([&code(&key), keys.default(&key), "connection", refusal.rule.id(), &door::heard(&refusal).0, &door::refused(&refusal)]);
    }
    for limit in Limit::ALL {
        let (asked, reply) = match limit.measure {
            Measure::Messages => ("MAIL", said(Reply::MESSAGE_RATE.with(30))),
            Measure::Recipients => ("RCPT", said(Reply::RECIPIENT_RATE.with(30))),
            Measure::Kib => ("MAIL", said(Reply::OCTET_RATE.with(30))),
            Measure::FailedCommands => failed_commands(limit.scope),
        };
        let key = limit.path();
        let rule = Denial::from(RateExceeded { limit, wait: Duration::ZERO }).id();
        table.row([&code(key), keys.default(key), asked, rule, &reply, &labelled("gatepost_rates_met_total", "limit", limit.path())]);
    }
    table.text()
}

/// Before a password nobody has an account, and no login has a sender.
fn failed_commands(scope: Scope) -> (&'static str, String) {
    let (mail, auth) = (said(Reply::FAILURE_RATE.with(30)), said(Reply::FAILURE_RATE_AUTH.with(30)));
    let pop3 = signed(Refusal::LoginUnavailable, Reply::FAILURE_RATE);
    match scope {
        Scope::Source => ("MAIL, AUTH, POP3 login", format!("{mail}; AUTH: {auth}; POP3: {pop3}")),
        Scope::Account => ("MAIL, POP3 login", format!("{mail}; POP3: {pop3}")),
        Scope::SenderDomain => ("MAIL", mail),
    }
}

pub(crate) fn bounds(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "what it bounds", "beyond it", "in use"]);
    let tarpitted = metric(Figure::RatesTarpitted);
    let key = "rates.tarpit";
    table.row([&code(key), keys.default(key), "how long an answer is held back", "it is given", &tarpitted]);
    let key = "rates.tarpit_places";
    table.row([&code(key), keys.default(key), "sessions whose answer is held back", "it is given at once", &tarpitted]);
    let key = "rates.keys";
    table.row([
        &code(key),
        keys.default(key),
        "sources, accounts or sender domains told apart by each rate",
        "they share what is left over",
        "",
    ]);
    table.text()
}

/// The narrower limits of the gate are wide enough for the third connection, which is one too many.
const CONNECTIONS: [(&str, Scene); 4] = [
    ("connections", Scene::new("", door::one)),
    ("connections_per_address", Scene::new("", door::one)),
    ("connections_per_network", Scene::new("", door::one)),
    ("connections_per_site", Scene::new("", door::of_one_site)),
];
