//! Limits that another limit of the file stands in the way of.
//!
//! Guarantees: pure; finds everything. A ceiling is held against `max_inbound` only where it is written: the defaults go with a small
//! server, too. It is no fault of the settings themselves: `gatepost gate set` may lower `max_inbound` below it for a while.

use mail::{ByteRate, ByteSize, Span};

use super::Config;
use super::document::Document;
use super::fault::Finding;

/// Every such limit of the file that `document` is.
pub(super) fn findings(config: &Config, document: &Document<'_>) -> Vec<Finding> {
    let mut found = never_reached(&config.gate, document);
    found.extend(spent_by_one_message(config));
    found
}

/// Ceilings that somebody wrote down and that `max_inbound` keeps everybody below.
fn never_reached(gate: &gate::Settings, document: &Document<'_>) -> Vec<Finding> {
    let most = gate.max_inbound;
    if most == 0 || document.lost("gate.max_inbound") {
        return Vec::new();
    }
    let hint = |key: &str| format!("could never have as many; raise max_inbound or lower {key}");
    let ceilings = [
        ("sessions_per_address", gate.sessions_per_address, "source"),
        ("sessions_per_network", gate.sessions_per_network, "source"),
        ("sessions_per_site", gate.sessions_per_site, "source"),
        ("sessions_per_user", gate.sessions_per_user, "account"),
    ]
    .into_iter()
    .filter(|(key, count, _)| *count > most && document.has(&format!("gate.{key}")))
    .map(|(key, count, whose)| {
        let message = format!("{key} <= max_inbound does not hold: {count} > {most}; one {whose} {}", hint(key));
        Finding::error(format!("gate.{key}"), message)
    });
    let clients = gate.clients.iter().enumerate().map(|(index, client)| ("gate.clients", index, &client.name, client.sessions));
    let users = gate.users.iter().enumerate().map(|(index, user)| ("gate.users", index, &user.name, user.sessions));
    let entries = clients.chain(users).filter_map(|(key, index, name, sessions)| {
        let count = sessions.filter(|count| *count > most)?;
        let message = format!("sessions <= max_inbound does not hold for {name:?}: {count} > {most}; it {}", hint("sessions"));
        Some(Finding::error(key, message).at(index))
    });
    ceilings.chain(entries).collect()
}

/// Rates of octets that have less at once than one message may be: it is taken, and its sender pays for it afterwards.
fn spent_by_one_message(config: &Config) -> impl Iterator<Item = Finding> {
    let (rates, most) = (&config.rates, config.limits.message_bytes);
    [
        ("bytes_per_source", rates.bytes_per_source),
        ("bytes_per_account", rates.bytes_per_account),
        ("bytes_per_sender_domain", rates.bytes_per_sender_domain),
    ]
    .into_iter()
    .filter_map(move |(key, rate)| {
        let wait = wait_behind(rate, most)?;
        let message = format!(
            "has less at once than one message may be ({most}, limits.message_bytes): such a message is taken, and the next one of its sender \
             waits for {wait}; give it a burst of {most}"
        );
        Some(Finding::warning(format!("rates.{key}"), message))
    })
}

/// How long a sender waits behind a message of `size`, where that is more than `rate` has at once.
fn wait_behind(rate: ByteRate, size: ByteSize) -> Option<Span> {
    let (rate, kib) = (rate.kib(), u32::try_from(size.0.div_ceil(1 << 10)).unwrap_or(u32::MAX));
    let owed = kib.checked_sub(rate.burst()).filter(|owed| *owed > 0)?;
    Some(Span::secs(rate.interval()?.saturating_mul(owed).as_secs()))
}
