//! The rates an operator writes, the table `[rates]` of the configuration.
//!
//! The doc comments of [`Settings`] are the commented example configuration and the reference; a key, with its table, is also the label of the
//! metric that counts who met the limit. [`Settings::validate`] finds every fault. Refuses: unknown keys, while reading.

use ::mail::{ByteRate, Rate, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Limiter, mail};
use crate::settings::Fault;

/// How often. A rate is a number and a time: "60/1m" is 60 in a minute, all at once if need be and then one a second; "60/1m burst
/// 10" is 10 at once and then one a second; "off" is no limit. All of these can be changed while the server runs, and a rate that is
/// changed starts over. What is refused does not count.
///
/// A source is an IPv4 address or an IPv6 /64, and for wider networks there are connections_per_network and connections_per_site; an account
/// is who has authenticated; a sender domain is what stands behind the @ in MAIL FROM, which anybody can write there. Replies are
/// temporary: an honest sender comes back and loses nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Connections to all mail listeners together. The next one gets "421 4.7.0 ... Too many connections of late, try again
    /// in ... seconds".
    pub connections: Rate,
    /// Connections from one IPv4 address, or IPv6 /64. "600/1m" is far above what an honest server does. The next one, of the two below
    /// too, gets "421 4.7.0 ... Connecting too often from [...] ...", with the address or network.
    pub connections_per_address: Rate,
    /// Connections from one IPv4 /24, or IPv6 /56.
    pub connections_per_network: Rate,
    /// Connections from one IPv6 /48.
    pub connections_per_site: Rate,

    /// Messages begun (MAIL) by one source. The next one gets "451 4.7.1 ... Too many messages in a short time, try again in ... seconds
    /// [R11.k3f9]", and the connection stays open.
    pub messages_per_source: Rate,
    /// Messages begun by one account. An account that was broken into sends until somebody notices: "500/1h" keeps the harm small.
    pub messages_per_account: Rate,
    /// Messages begun for one sender domain.
    pub messages_per_sender_domain: Rate,

    /// Recipients (RCPT) of one source. The next one gets "450 4.7.1 ... Too many recipients in a short time, try again in ... seconds".
    pub recipients_per_source: Rate,
    /// Recipients of one account.
    pub recipients_per_account: Rate,
    /// Recipients for one sender domain.
    pub recipients_per_sender_domain: Rate,

    /// Octets of messages from one source, as in "100MiB/1h". Asked at MAIL, with the size that the client announces there; what a
    /// message has beyond that is taken afterwards, so that no message is refused that has been sent. All of it: after 300 MiB the next
    /// message is taken two hours later. "451 4.7.1 ... Too much mail in a short time, try again in ... seconds".
    ///
    /// What may come at once, which is the burst, should not be less than limits.message_bytes.
    pub bytes_per_source: ByteRate,
    /// Octets from one account.
    pub bytes_per_account: ByteRate,
    /// Octets for one sender domain.
    pub bytes_per_sender_domain: ByteRate,

    /// Failed commands of one source, over all its sessions: wrong commands, recipients refused for good, wrong passwords. Beyond it
    /// MAIL gets "451 4.7.1 ... Too many failed commands, try again in ... seconds", AUTH the like with 454, and a POP3 login "-ERR
    /// [SYS/TEMP] ... Cannot log in at the moment, try again later". "300/1m" stops who tries out names or passwords, and hardly anybody
    /// else.
    pub failed_commands_per_source: Rate,
    /// Failed commands of one account, over SMTP and POP3; asked at MAIL, and at a POP3 login behind the right password.
    pub failed_commands_per_account: Rate,
    /// Failed commands in transactions for one sender domain.
    pub failed_commands_per_sender_domain: Rate,

    /// How long to hold back the answer to whom a rate refuses, and to a failed command: it slows down programs that wait for their
    /// answers. "0s" for not at all; at most 1m, or an honest client might give up first.
    pub tarpit: Span,
    /// How many sessions may be held back like that at once. Each keeps its place meanwhile, so this must be less than
    /// gate.max_inbound; beyond it the answer is given at once. The delay after a wrong password, auth.first_delay, is no part of
    /// this and needs none of these places.
    pub tarpit_places: u32,

    /// Rates to try out, by key: each is counted and refuses nobody. The metrics gatepost_rates_shadow_*, one for each, say how
    /// often it would have refused. Those of connections go together, as "connections" in gate.shadow.
    pub shadow: Vec<mail::Limit>,

    /// How many sources, accounts and sender domains each rate tells apart, at 96 octets of memory each. Beyond that they share what
    /// is left over, and an honest one may be told to come back; nobody gets round a limit that way.
    pub keys: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: Rate::OFF,
            connections_per_address: Rate::OFF,
            connections_per_network: Rate::OFF,
            connections_per_site: Rate::OFF,
            messages_per_source: Rate::OFF,
            messages_per_account: Rate::OFF,
            messages_per_sender_domain: Rate::OFF,
            recipients_per_source: Rate::OFF,
            recipients_per_account: Rate::OFF,
            recipients_per_sender_domain: Rate::OFF,
            bytes_per_source: ByteRate::default(),
            bytes_per_account: ByteRate::default(),
            bytes_per_sender_domain: ByteRate::default(),
            failed_commands_per_source: Rate::OFF,
            failed_commands_per_account: Rate::OFF,
            failed_commands_per_sender_domain: Rate::OFF,
            tarpit: Span::secs(0),
            tarpit_places: 16,
            shadow: Vec::new(),
            keys: 65_536,
        }
    }
}

impl Settings {
    /// Every fault in these settings, where sessions may be `max_inbound` at once; none when they can be put in force.
    pub fn validate(&self, max_inbound: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.tarpit > TARPIT_MOST {
            let message = format!("tarpit <= {TARPIT_MOST} does not hold: {} would outlast the patience of honest clients", self.tarpit);
            faults.push(Fault { key: "tarpit", message });
        }
        if self.tarpit > Span::secs(0) && self.tarpit_places >= max_inbound {
            let (places, most) = (self.tarpit_places, max_inbound);
            let message =
                format!("tarpit_places < gate.max_inbound does not hold: {places} >= {most}; held back sessions could take every place");
            faults.push(Fault { key: "tarpit_places", message });
        }
        if self.keys == 0 {
            let message = "keys >= 1 does not hold: keys = 0 would count all sources as one; the default is 65536".into();
            faults.push(Fault { key: "keys", message });
        }
        faults
    }

    /// The most memory that the tables of these rates take; a rate that is off has none.
    pub fn octets_most(&self) -> u64 {
        let connections = [self.connections_per_address, self.connections_per_network, self.connections_per_site];
        let mail = mail::Limit::ALL.map(|limit| limit.rate(self));
        let tables = connections.into_iter().chain(mail).filter(|rate| *rate != Rate::OFF).count();
        Limiter::octets(self.keys()).saturating_mul(tables) as u64
    }

    pub(super) fn keys(&self) -> usize {
        usize::try_from(self.keys).unwrap_or(usize::MAX)
    }
}

const TARPIT_MOST: Span = Span::mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_stand_in_for_missing_keys() {
        assert_eq!(Settings::default().validate(1000), []);
        let settings: Settings = toml::from_str("messages_per_account = \"500/1h burst 50\"\nbytes_per_source = \"1GiB/1d\"").unwrap();
        assert_eq!((settings.messages_per_account.burst(), settings.bytes_per_source.kib().burst()), (50, 1 << 20));
        assert!(toml::from_str::<Settings>("messages_per_acount = \"1/1s\"").is_err());
        assert!(toml::from_str::<Settings>("messages_per_account = \"1 a second\"").unwrap_err().to_string().contains("60/1m"));
    }

    #[test]
    fn every_fault_is_found_with_its_inequality() {
        let settings = Settings { tarpit: Span::mins(2), tarpit_places: 30, keys: 0, ..Settings::default() };
        let faults = settings.validate(30);
        assert_eq!(faults.iter().map(|fault| fault.key).collect::<Vec<_>>(), ["tarpit", "tarpit_places", "keys"]);
        assert!(faults[1].message.starts_with("tarpit_places < gate.max_inbound does not hold: 30 >= 30"));
        assert_eq!(Settings { tarpit_places: 30, ..Settings::default() }.validate(30), [], "of no consequence without a tarpit");
    }
}
