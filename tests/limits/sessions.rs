//! The limits within a session: SMTP's, POP3's, those of passwords, and the store's pace.

use events::{AuthFailed, Figure, Throttle};
use pop3::Refusal;
use smtp::Reply;

use crate::keys::Keys;
use crate::table::{Table, code, labelled, metric, rule_of, said};

pub(crate) fn smtp(keys: &Keys) -> String {
    let mut table = Table::new(["limit", "granted", "the RFC asks for", "from", "reply"]);
    for limit in smtp::limits::TABLE {
        let asked = limit.asked.map_or_else(String::new, |asked| format!("{asked} {}", limit.unit));
        let (name, granted) = granted(keys, limit.name, limit.value, limit.unit, limit.settable, &["limits", "timeouts"]);
        table.row([&name, &granted, &asked, limit.section, &said(limit.reply)]);
    }
    // Those are not the machine's: they go by the gate's places, by what is in the message, and by what submission offers.
    for (key, asked, section, reply) in [
        ("limits.messages", "", "RFC 9422 §4", Reply::ENOUGH_MESSAGES),
        ("limits.hops", "100 Received fields", "RFC 5321 §6.3", Reply::TOO_MANY_HOPS),
        ("submission.longest_hold", "", "RFC 4865 §4", Reply::HELD_TOO_LONG),
    ] {
        table.row([&code(key), keys.default(key), asked, section, &said(reply)]);
    }
    table.text()
}

pub(crate) fn pop3(keys: &Keys) -> String {
    let mut table = Table::new(["limit", "granted", "the RFC asks for", "from", "reply"]);
    for limit in pop3::limits::TABLE {
        let asked = limit.asked.map_or_else(String::new, |asked| format!("{asked} {}", limit.unit));
        let (name, granted) = granted(keys, limit.name, limit.value, limit.unit, limit.settable, &["pop3", "limits"]);
        table.row([&name, &granted, &asked, limit.section, &limit.refusal.map_or_else(String::new, code)]);
    }
    let key = "pop3.login_delay";
    table.row([&code(key), keys.default(key), "", "RFC 2449 §6.5", &code(Refusal::LoginDelay)]);
    table.text()
}

/// A limit's name, and what is granted: a constant, or the default of its key.
fn granted(keys: &Keys, name: &str, value: u64, unit: &str, settable: bool, tables: &[&str]) -> (String, String) {
    if settable {
        let key = keys.named(name, tables);
        (code(key), keys.default(key).to_owned())
    } else {
        (name.replace('_', " "), if value == u64::MAX { "any".into() } else { format!("{value} {unit}") })
    }
}

pub(crate) fn passwords(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "what it bounds", "SMTP", "POP3", "counted by"]);
    let (smtp, pop3) = (said(Reply::TRY_LATER_AUTH), code(Refusal::LoginUnavailable));
    for (key, bounds, throttle) in [
        ("auth.failures_per_account", "wrong passwords in a row for one account", Throttle::Account),
        ("auth.account_recovery", "until it has one more attempt", Throttle::Account),
        ("auth.failures_per_source", "wrong passwords from one source", Throttle::Source),
        ("auth.source_recovery", "until it has one more attempt", Throttle::Source),
        ("auth.concurrent_hashes", "passwords compared at once; others wait", Throttle::Busy),
        ("auth.waiting_hashes", "passwords that wait for that", Throttle::Busy),
    ] {
        let counted = labelled("gatepost_authentications_total", "outcome", throttle.as_str());
        table.row([&code(key), keys.default(key), bounds, &smtp, &pop3, &counted]);
    }
    let (smtp, pop3) = (said(Reply::CREDENTIALS_WRONG), code(Refusal::WrongCredentials));
    let counted = labelled("gatepost_authentications_total", "outcome", AuthFailed::OUTCOME);
    for (key, bounds) in [
        ("auth.first_delay", "how long the answer to a first wrong password is held back, twice that for each further one"),
        ("auth.longest_delay", "the longest that it is held back"),
    ] {
        table.row([&code(key), keys.default(key), bounds, &smtp, &pop3, &counted]);
    }
    table.text()
}

pub(crate) fn store(keys: &Keys) -> String {
    let mut table = Table::new(["key", "default", "asked at", "rule", "reply", "counted by"]);
    let (key, reply) = ("delivery.deadline", Reply::STORE_SLOW);
    let counted = metric(Figure::DeliveryRefused);
    table.row([&code(key), keys.default(key), "MAIL, DATA, end of data", &rule_of(reply), &said(reply), &counted]);
    let limit = metric(Figure::DeliveryLimit);
    for key in ["delivery.latency_target", "delivery.least_in_flight", "delivery.most_in_flight"] {
        table.row([&code(key), keys.default(key), "end of data: who is beyond waits for a turn", "", "", &limit]);
    }
    let (key, reply) = ("store.reserve_free", Reply::STORE_FULL);
    let counted = labelled("gatepost_messages_refused_total", "reply", "4xx");
    table.row([&code(key), keys.default(key), "MAIL, DATA, end of data", &rule_of(reply), &said(reply), &counted]);
    let (key, used) = ("store.body_memory", metric(Figure::BodyBudgetUsed));
    table.row([&code(key), keys.default(key), "DATA: a message beyond it goes through a file", "", "", &used]);
    table.text()
}
