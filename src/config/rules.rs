//! What a configuration must hold by itself, whatever machine it is for.
//!
//! Each rule says what is wrong and what to write, and names the key to change. Guarantees: pure; finds everything. Which
//! networks may be trusted is in `networks`, and what `max_inbound` keeps everybody below in `ceilings`.

use std::net::{IpAddr, SocketAddr};

use mail::{ByteSize, Span};
use store_embedded::SettingsError;

use super::ceilings;
use super::document::Document;
use super::fault::Finding;
use super::when_full::{Patience, Room};
use super::{Address, Config, networks};

/// Everything wrong with it, which was read from `document`.
pub(super) fn findings(config: &Config, document: &Document<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(hostname(config));
    found.extend(listen(config));
    found.extend(config.gate.validate().into_iter().map(|fault| Finding::error(format!("gate.{}", fault.key), fault.message)));
    found.extend(ceilings::findings(config, document));
    found.extend(
        config
            .rates
            .validate(config.gate.max_inbound)
            .into_iter()
            .map(|fault| Finding::error(format!("rates.{}", fault.key), fault.message)),
    );
    found.extend(config.delivery.validate().into_iter().map(|fault| Finding::error(format!("delivery.{}", fault.key), fault.message)));
    found.extend(networks::trusted(config));
    found.extend(when_full(config));
    found.extend(tls(config));
    found.extend(limits(config));
    found.extend(timeouts(config));
    found.extend(networks::relay("relay.networks", &config.relay.networks));
    found.extend(networks::relay("relay.xclient_networks", &config.relay.xclient_networks));
    found.extend(config.submission.findings());
    found.extend(config.recipients.findings());
    found.extend(config.screening.findings());
    found.extend(pop3(config));
    found.extend(config.auth.validate().into_iter().map(|fault| Finding::error(format!("auth.{}", fault.key), fault.message)));
    found.extend(config.oauth.validate().into_iter().map(|fault| Finding::error(format!("oauth.{}", fault.key), fault.message)));
    found.extend(idle_oauth(config));
    found.extend(store(config));
    found.extend(admin(config));
    found
}

fn hostname(config: &Config) -> Option<Finding> {
    let domain = &config.hostname.as_ref()?.0;
    let name = domain.as_str();
    if !domain.is_ascii() {
        return Some(Finding::error("hostname", format!("{domain} is not ASCII; write the name's form in DNS: {name}")));
    }
    let lonely = !name.contains('.');
    lonely.then(|| {
        Finding::warning("hostname", format!("{name} has no domain; many servers refuse mail from such a name: write the full one"))
    })
}

/// What is written about tokens where none are taken.
fn idle_oauth(config: &Config) -> Option<Finding> {
    let oauth = &config.oauth;
    let written = [("issuer", &oauth.issuer), ("audience", &oauth.audience), ("scope", &oauth.scope), ("client_id", &oauth.client_id)];
    let (key, _) = written.into_iter().find(|(_, value)| !value.is_empty() && !oauth.takes_tokens())?;
    Some(Finding::warning(format!("oauth.{key}"), "counts for nothing: without oauth.keys or oauth.introspection no tokens are taken"))
}

/// Where nothing listens, or two services want the same address.
fn listen(config: &Config) -> Vec<Finding> {
    let services = config.listen.services();
    if services.iter().all(|(_, addresses)| addresses.is_empty()) {
        return vec![Finding::error("listen", "no service listens anywhere: give at least one of them an address")];
    }
    let http = ("admin.http".to_owned(), config.admin.http.as_slice());
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    let mut found = Vec::new();
    for (key, addresses) in services.into_iter().map(|(service, addresses)| (format!("listen.{service}"), addresses)).chain([http]) {
        for (index, Address(address)) in addresses.iter().enumerate() {
            match taken.iter().find(|(other, _)| clash(*address, *other)) {
                Some((other, by)) if other == address => found.push(Finding::error(&key, format!("{address} is taken by {by}")).at(index)),
                Some((other, by)) => {
                    found.push(Finding::error(&key, format!("{address} cannot be had beside {other}, which is taken by {by}")).at(index));
                }
                None => taken.push((*address, key.clone())),
            }
            if key == "listen.lmtp" && address.port() == 25 {
                found.push(
                    Finding::error(&key, format!("{address} has the port of SMTP, which LMTP must not use (RFC 2033, section 5): use 24"))
                        .at(index),
                );
            }
        }
    }
    found
}

/// Whether the system would refuse the second: the same address, or one of the two is all addresses of that family. Port 0
/// is any free one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn when_full(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for (service, patience) in config.when_full.services() {
        let Patience::Wait(Room { wait, places }) = patience else { continue };
        let key = |name| format!("when_full.{service}.{name}");
        if wait.0.is_zero() {
            found.push(Finding::error(key("wait"), format!("must be more than 0s; for nobody to wait, write {service} = \"refuse\"")));
        }
        if wait > Span::secs(30) {
            found.push(Finding::warning(key("wait"), "is more than 30s: most mail programs have given up by then"));
        }
        if places == 0 {
            found.push(Finding::error(key("places"), format!("must be at least 1; for nobody to wait, write {service} = \"refuse\"")));
        }
    }
    found
}

fn tls(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let needy: Vec<&str> = config
        .listen
        .services()
        .into_iter()
        .filter(|(name, list)| !matches!(*name, "smtp" | "lmtp") && !list.is_empty())
        .map(|(name, _)| name)
        .collect();
    match (&config.tls.certificate, &config.tls.key) {
        (Some(_), None) => found.push(Finding::error("tls.key", "is missing: the certificate needs its private key")),
        (None, Some(_)) => found.push(Finding::error("tls.certificate", "is missing: the private key needs its certificate")),
        (None, None) if !needy.is_empty() => found.push(Finding::error(
            "tls.certificate",
            format!(
                "is missing, and with it tls.key: {} take passwords, which is done under TLS only; set both, or switch them off in [listen] with []",
                needy.join(", ")
            ),
        )),
        (None, None) => found.push(Finding::warning("tls.certificate", "is missing: other servers will send their mail unencrypted")),
        (Some(_), Some(_)) => {}
    }
    if !config.tls.client_ca.is_empty() && config.tls.certificate.is_none() {
        found.push(Finding::error("tls.client_ca", "needs tls.certificate: clients show theirs under TLS only"));
    }
    if config.tls.max_handshakes == 0 {
        found.push(Finding::error("tls.max_handshakes", "must be at least 1, or nobody could encrypt"));
    }
    found.extend(zero("tls.handshake_timeout", config.tls.handshake_timeout));
    found
}

fn limits(config: &Config) -> Vec<Finding> {
    let limits = &config.limits;
    let mut found = Vec::new();
    if limits.message_bytes < ByteSize::kib(64) {
        found.push(Finding::error("limits.message_bytes", "must be at least 64KiB (RFC 5321, section 4.5.3.1.7)"));
    }
    if limits.recipients < 100 {
        found.push(Finding::error("limits.recipients", "must be at least 100 (RFC 5321, section 4.5.3.1.8)"));
    }
    if !(1..=smtp::limits::MAILS_MOST).contains(&limits.messages) {
        found.push(Finding::error("limits.messages", "must be at least 1 and at most 999999, or MAILMAX could not announce it (RFC 9422)"));
    }
    match limits.hops {
        0 => found.push(Finding::error("limits.hops", "must be at least 1: every relayed message has Received headers")),
        1..100 => found
            .push(Finding::warning("limits.hops", "is less than 100 (RFC 5321, section 6.3): mail on a long way may be taken for a loop")),
        _ => {}
    }
    for (key, count) in [
        ("bad_commands", limits.bad_commands),
        ("idle_commands", limits.idle_commands),
        ("refused_recipients", limits.refused_recipients),
        ("auth_failures", limits.auth_failures),
    ] {
        if count == 0 {
            found.push(Finding::error(format!("limits.{key}"), "must be at least 1: people mistype"));
        }
    }
    found
}

fn timeouts(config: &Config) -> Vec<Finding> {
    let timeouts = &config.timeouts;
    let mut found = Vec::new();
    for (key, span, asked) in [
        ("timeouts.command", timeouts.command, Some((Span::mins(5), "RFC 5321, section 4.5.3.2.7"))),
        ("timeouts.data_block", timeouts.data_block, Some((Span::mins(3), "RFC 5321, section 4.5.3.2.5"))),
        ("timeouts.session", timeouts.session, None),
        ("timeouts.write", timeouts.write, None),
    ] {
        found.extend(zero(key, span));
        if let Some((least, section)) = asked.filter(|(least, _)| span < *least && !span.0.is_zero()) {
            found.push(Finding::warning(key, format!("is less than {least} ({section}): slow but honest clients will be cut off")));
        }
    }
    if timeouts.session < timeouts.command && !timeouts.session.0.is_zero() {
        found.push(Finding::error(
            "timeouts.session",
            format!("is shorter than timeouts.command, which is {}: that could never be met", timeouts.command),
        ));
    }
    if timeouts.data_rate_bytes.0 > u64::from(u32::MAX) {
        found.push(Finding::error("timeouts.data_rate_bytes", "is more than 4GiB a second: nobody could send a message"));
    }
    found
}

fn pop3(config: &Config) -> Vec<Finding> {
    let pop3 = &config.pop3;
    let mut found: Vec<Finding> =
        [("pop3.login", pop3.login), ("pop3.session", pop3.session)].into_iter().filter_map(|(key, span)| zero(key, span)).collect();
    if pop3.autologout < Span::mins(10) {
        found.push(Finding::error("pop3.autologout", "must be at least 10m (RFC 1939, section 3)"));
    }
    if pop3.session < pop3.autologout && !pop3.session.0.is_zero() {
        found.push(Finding::error(
            "pop3.session",
            format!("is shorter than pop3.autologout, which is {}: that could never be met", pop3.autologout),
        ));
    }
    found
}

fn zero(key: &str, span: Span) -> Option<Finding> {
    span.0.is_zero().then(|| Finding::error(key, "must be more than 0s, or every session would end at once"))
}

fn store(config: &Config) -> Option<Finding> {
    let error = config.store.check().err()?;
    let key = match error {
        SettingsError::Segment(_) => "store.segment",
        SettingsError::InlineBody { .. } => "store.inline_body",
    };
    Some(Finding::error(key, error.to_string()))
}

fn admin(config: &Config) -> Vec<Finding> {
    let open = config.admin.http.iter().enumerate().filter(|(_, Address(address))| !is_loopback(address.ip()));
    let message =
        "is not a loopback address: what is served there has no password; use 127.0.0.1 or [::1], and a proxy to reach it from elsewhere";
    open.map(|(index, address)| Finding::error("admin.http", format!("{address} {message}")).at(index)).collect()
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_clash_as_they_would_in_the_kernel() {
        for (one, other, clashes) in [
            ("0.0.0.0:25", "127.0.0.1:25", true),
            ("127.0.0.1:25", "0.0.0.0:25", true),
            ("127.0.0.1:25", "127.0.0.1:25", true),
            ("127.0.0.1:25", "127.0.0.2:25", false),
            ("0.0.0.0:25", "[::]:25", false),
            ("0.0.0.0:25", "0.0.0.0:26", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ] {
            assert_eq!(clash(one.parse().unwrap(), other.parse().unwrap()), clashes, "{one} {other}");
        }
    }
}
