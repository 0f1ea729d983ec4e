//! XCLIENT: a proxy that is trusted says for whom it speaks (Postfix, `XCLIENT_README`).
//!
//! `XCLIENT name=value ...`, values in xtext (RFC 3461 §4). `[UNAVAILABLE]` and `[TEMPUNAVAIL]` say that nothing is known.
//! Who is trusted the listener knows; here is only what was said. An attribute we do not know, one given twice, or a value that cannot
//! be one is refused, and nothing of the command counts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::CLIENT_NAME_BYTES;
use crate::xtext;

/// What XCLIENT said of the client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// ADDR: its address.
    pub address: Told<IpAddr>,
    /// PORT: its port.
    pub port: Told<u16>,
    /// NAME: what its address is called in DNS.
    pub name: Told<Box<str>>,
    /// HELO: what it called itself.
    pub helo: Told<Box<str>>,
    /// LOGIN: who it has authenticated as, with the proxy.
    pub login: Told<Box<str>>,
    /// PROTO: whether it said EHLO.
    pub extended: Told<bool>,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Told<T> {
    /// Not mentioned: it is as it was.
    #[default]
    No,
    /// Nothing is known.
    Unavailable,
    /// This.
    Is(T),
}

impl Client {
    /// The keyword and its parameters in the answer to EHLO.
    pub(crate) const OFFER: &'static str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN";

    /// Reads what stands behind the verb.
    pub(crate) fn parse(arguments: &str) -> Option<Self> {
        let mut client = Self::default();
        let mut given = 0;
        for argument in arguments.split(' ').filter(|argument| !argument.is_empty()) {
            let (name, value) = argument.split_once('=')?;
            let value = xtext::decode(value)?;
            client.take(name, &value)?;
            given += 1;
        }
        (given > 0).then_some(client)
    }

    fn take(&mut self, name: &str, value: &str) -> Option<()> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("ADDR") {
            self.address.once(value, address)
        } else if is("PORT") {
            self.port.once(value, |port| port.parse().ok())
        } else if is("NAME") {
            self.name.once(value, host)
        } else if is("HELO") {
            self.helo.once(value, host)
        } else if is("LOGIN") {
            self.login.once(value, |login| (!login.is_empty() && !login.contains(char::is_control)).then(|| login.into()))
        } else if is("PROTO") {
            self.extended.once(value, |protocol| match protocol {
                _ if protocol.eq_ignore_ascii_case("ESMTP") => Some(true),
                _ if protocol.eq_ignore_ascii_case("SMTP") => Some(false),
                _ => None,
            })
        } else {
            None
        }
    }
}

impl<T> Told<T> {
    /// Takes note of it, the first time.
    fn once(&mut self, value: &str, read: impl Fn(&str) -> Option<T>) -> Option<()> {
        let told = match value {
            _ if value.eq_ignore_ascii_case("[UNAVAILABLE]") || value.eq_ignore_ascii_case("[TEMPUNAVAIL]") => Self::Unavailable,
            _ => Self::Is(read(value)?),
        };
        matches!(std::mem::replace(self, told), Self::No).then_some(())
    }
}

/// IPv4, or IPv6 behind `IPV6:`, without brackets.
fn address(text: &str) -> Option<IpAddr> {
    match text.split_at_checked(5) {
        Some((tag, v6)) if tag.eq_ignore_ascii_case("IPV6:") => v6.parse::<Ipv6Addr>().ok().map(|v6| IpAddr::V6(v6).to_canonical()),
        _ => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A name as EHLO takes it.
fn host(text: &str) -> Option<Box<str>> {
    is_client_name(text).then(|| text.into())
}

/// Whether it could stand behind EHLO, and in a trace field.
pub fn is_client_name(name: &str) -> bool {
    let plausible = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.:[]".contains(&octet);
    !name.is_empty() && name.len() <= CLIENT_NAME_BYTES && name.bytes().all(plausible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_says() {
        let client =
            Client::parse("NAME=spike.client.example ADDR=192.0.2.7 port=40000 PROTO=esmtp helo=[192.0.2.7] Login=j+C3+BCrgen@x").unwrap();
        assert_eq!(client.address, Told::Is(IpAddr::from([192, 0, 2, 7])));
        assert_eq!((client.port, client.extended), (Told::Is(40_000), Told::Is(true)));
        assert_eq!((client.name, client.helo), (Told::Is("spike.client.example".into()), Told::Is("[192.0.2.7]".into())));
        assert_eq!(client.login, Told::Is("jürgen@x".into()));
        let client = Client::parse("ADDR=IPV6:2001:db8::1  NAME=[TEMPUNAVAIL] HELO=[unavailable]").unwrap();
        assert_eq!(client.address, Told::Is("2001:db8::1".parse().unwrap()));
        assert_eq!((client.name, client.helo, client.login), (Told::Unavailable, Told::Unavailable, Told::No));
        assert_eq!(Client::parse("ADDR=ipv6:::ffff:192.0.2.7").unwrap().address, Told::Is(IpAddr::from([192, 0, 2, 7])));
    }

    #[test]
    fn what_a_proxy_must_not_say() {
        for wrong in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=[192.0.2.7]",
            "ADDR=2001:db8::1",
            "ADDR=192.0.2.7 ADDR=192.0.2.8",
            "ADDR=[UNAVAILABLE] ADDR=192.0.2.7",
            "PORT=65536",
            "PORT=-1",
            "PROTO=LMTP",
            "HELO=a+20b",
            "HELO=(evil)",
            "NAME=a+0D+0Ab",
            "LOGIN=a+0D+0Ab",
            "LOGIN=+",
            "LOGIN=+4",
            "LOGIN=++4a",
            "LOGIN=+FF",
            "DESTADDR=192.0.2.1",
            "=x",
        ] {
            assert_eq!(Client::parse(wrong), None, "{wrong}");
        }
    }
}
