//! The limits an operator writes, the table `[gate]` of the configuration.
//!
//! The doc comments of [`Settings`] are the commented example configuration and the reference. Guarantees:
//! [`Settings::validate`] finds every fault there is, not the first, and a [`crate::Gate`] never has faulty settings in
//! force. Refuses: unknown keys, while reading. Fails: [`SettingsError`], which is the configuration's fault.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use mail::{Rate, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::ClientSettings;
use crate::limit::Limit;
use crate::network::Network;
use crate::pool::{Pool, Size};
use crate::portion::Portion;
use crate::users::{self, UserRule};

/// Who may come in. All of these can be changed while the server runs: edit the file, then reload. Nobody who is
/// connected is put out by a lower limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many sessions there may be at once, over all mail listeners (SMTP, submission and POP3) together. A session
    /// is one accepted connection, from accept to close, however many messages it carries. When all places are taken,
    /// the next client gets "421 4.3.2 ... Too many connections, try again later", and "-ERR [SYS/TEMP] ..." on POP3.
    ///
    /// An idle session costs a file descriptor and a few KiB of memory, more with TLS: at 1000 the sessions themselves
    /// stay in the tens of MiB, and a site of several thousand mailboxes seldom has that many at once. Must be at least
    /// 1 and at most 2097151, and no more than this machine's file descriptors and memory can hold when every session is at its
    /// busiest; to take no more sessions at all, drain the server: `gatepost drain`.
    #[schemars(range(min = 1))]
    pub max_inbound: u32,

    /// How many of those places anonymous clients leave alone: a number, or a part of max_inbound. They are for people who have
    /// shown their password, for clients, and by its two lanes (first_places, authenticating_places) for sources that hold
    /// nothing yet and for people about to show a password. All of these may have other places, too, as long as there are any.
    ///
    /// A part is rounded up and leaves at least one place to everybody else: of max_inbound = 1 nothing is reserved. A number must
    /// be less than max_inbound. 0 keeps nothing for anybody.
    pub reserve: Portion,

    /// How many places of the reserve may be had at once by sources that hold nothing else, when the other places are taken: so
    /// a server that is full of a few busy senders still takes mail from all the others. A number, or a part of the reserve,
    /// rounded up. Must be at most the reserve; 0 switches it off.
    pub first_places: Portion,

    /// How many places of the reserve may be had at once by clients that are about to show a password, on the submission and
    /// POP3 ports, when they would be refused otherwise: so people get in however many strangers there are, even behind
    /// the same address. One source, at its widest, may have half of them, rounded up; with the password the place is free for the
    /// next one, and so it is where somebody has only sat in it for 2 seconds when another client of that source needs one. A number, or a
    /// part of the reserve, rounded up. Must be at most the reserve; 0 switches it off.
    pub authenticating_places: Portion,

    /// How many sessions one client address may have at once: an IPv4 address, or an IPv6 /64. The next one gets
    /// "421 4.7.0 ... Too many connections from [192.0.2.7] (limit 20), try again later". Sessions that have shown a password
    /// do not count.
    ///
    /// Raise it when a whole office, a filtering service or a load balancer comes from one address, and
    /// sessions_per_network with it, or name that client in clients. Must be at least 1 and at most sessions_per_network; written down, also at
    /// most max_inbound.
    #[schemars(range(min = 1))]
    pub sessions_per_address: u32,

    /// How many sessions one network may have at once: an IPv4 /24, or an IPv6 /56, which is what one line of a provider
    /// usually gets. Must be at least sessions_per_address and at most sessions_per_site; written
    /// down, also at most max_inbound.
    #[schemars(range(min = 1))]
    pub sessions_per_network: u32,

    /// How many sessions one IPv6 /48 may have at once, which is what one site or one hosting customer usually gets.
    /// IPv4 has no such level. Must be at least sessions_per_network; written down, also at most max_inbound.
    #[schemars(range(min = 1))]
    pub sessions_per_site: u32,

    /// How much of what is free one source may come to hold, at every level: a source that holds anything may have one place
    /// more while it holds less than this number times the unreserved places that are free. With 0.5 a source that is alone
    /// gets a third of the unreserved places, with 1 half of them, and the more others come the less it can grow.
    /// The next connection gets "421 4.7.0 ... Too many connections from [192.0.2.7] (limit 10), try again later".
    ///
    /// 0 switches it off: one source may then have all that its other limits allow. A small server for one office, where
    /// everybody comes from one address, wants that, or its office in clients.
    #[schemars(range(min = 0))]
    pub fair_share_alpha: f64,

    /// How long it takes after a start until all unreserved places are there. They begin with a tenth and grow evenly, so that
    /// senders who found the server away do not all come back in the same moment; who comes too early gets "421 4.3.2 ... Service
    /// restarting, try again shortly". A source that is alone is never refused, nor are clients. At most 1h; "0s" for all at once.
    pub start_ramp: Span,

    /// For how long a session must have waited for its client before it gives its place up to somebody who finds none. While clients hear
    /// "Too many connections", the session that has waited longest gets "421 4.3.2 ... Place needed, reconnect any time", and
    /// "-ERR [SYS/TEMP] ..." on POP3: one for each client, and a hundred in a second at most. Only sessions between two transactions
    /// that have shown no password and are no clients; those of senders who are known to be good after all others.
    ///
    /// "0s": none gives up its place. Else at least 5s; RFC 5321 lets a sender think for 5 minutes, which a full server cannot
    /// afford and an honest sender never needs.
    pub give_way_after: Span,

    /// Networks nobody may come from. They get "554 5.7.1 ... Connections from your network are not accepted", and
    /// "-ERR [SYS/PERM] ..." on POP3, which tells them not to try again.
    pub deny: Vec<Network>,

    /// How many commands of one client address (IPv6: one /64) may fail, in sessions that have shown no password, before the address is banned
    /// for ban_time: wrong commands and passwords, recipients refused for good. "off": nobody is banned by the server itself; "50/10m" bans at
    /// the 51st within ten minutes. A banned client gets "421 4.7.0 ... Connections from [192.0.2.7] are not accepted at present". Who is in
    /// clients, in proxy.trusted_proxies or among the networks of relay is never banned. `gatepost ban` lists, adds and removes.
    pub ban_after: Rate,

    /// How long such a ban lasts. At least 1m and at most 30d.
    pub ban_time: Span,

    /// Clients you know, each with a name, its networks and a class. "exempt" ones are under no limit by address and no share, nor any
    /// rate of connections or per source; "trusted" ones are under no share. Both may have places of the reserve, and both need a
    /// place: max_inbound holds for everybody. With sessions all clients of an entry together have that ceiling in place of the limits
    /// by address. A reason and a last day (expires, in UTC) are for whoever reads this in a year.
    ///
    /// Of several networks that a client is in the longest prefix counts. Nothing is exempt by itself, 127.0.0.1 not either. An
    /// entry is a table of its own under the heading [[gate.clients]], or an element of this list:
    ///
    /// { name = "office", networks = ["192.0.2.0/28"], class = "trusted", sessions = 200 }
    pub clients: Vec<ClientSettings>,

    /// How many sessions one account may have at once, by submission and POP3 together, once it has given its password. The next one
    /// gets "421 4.7.0 ... Too many sessions for this user (limit 32)", or "-ERR [IN-USE] ..." on POP3, and the log says who holds
    /// the others. Must be at least 1; written down, also at most max_inbound.
    #[schemars(range(min = 1))]
    pub sessions_per_user: u32,

    /// Accounts whose number is another: each with a name, either sessions (at most max_inbound) or exempt = true, the reason, and the last day this
    /// holds (expires, in UTC) if it is not for ever. `gatepost gate status` says how often each was needed. An entry is a table of its
    /// own under the heading [[gate.users]], or an element of this list:
    ///
    /// { name = "scan@example.org", sessions = 100, reason = "scanners of all floors", expires = "2027-03-31" }
    pub users: Vec<UserRule>,

    /// Limits to try out, by key: each is counted and refuses nobody. The metrics gatepost_gate_shadow_*, one for each, say how many
    /// it would have refused. There is no shadow for max_inbound; the rates of messages have theirs in rates.shadow.
    pub shadow: Vec<Limit>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_inbound: 1000,
            reserve: Portion::Percent(10),
            first_places: Portion::Percent(50),
            authenticating_places: Portion::Percent(50),
            sessions_per_address: 20,
            sessions_per_network: 100,
            sessions_per_site: 200,
            fair_share_alpha: 0.5,
            start_ramp: Span::secs(10),
            give_way_after: Span::secs(0),
            deny: Vec::new(),
            ban_after: Rate::OFF,
            ban_time: Span::mins(60),
            clients: Vec::new(),
            sessions_per_user: 32,
            users: Vec::new(),
            shadow: Vec::new(),
        }
    }
}

impl Settings {
    /// The pool's size by these settings: the reserve and its lanes in places.
    pub fn size(&self) -> Size {
        let reserve = match self.reserve {
            Portion::Places(places) => places,
            // One place at least is anybody's.
            percent @ Portion::Percent(_) => percent.of(self.max_inbound).min(self.max_inbound.saturating_sub(1)),
        };
        let (first_places, authenticating) = (self.first_places.of(reserve), self.authenticating_places.of(reserve));
        Size { limit: self.max_inbound, reserve, first_places, authenticating }
    }

    /// Every fault in these settings; none when they can be put in force.
    pub fn validate(&self) -> Vec<Fault> {
        let mut faults = self.places();
        faults.extend(self.ceilings());
        if !self.fair_share_alpha.is_finite() || self.fair_share_alpha < 0.0 {
            let alpha = self.fair_share_alpha;
            let message = format!("fair_share_alpha >= 0 does not hold: {alpha} is no part of anything; 0 switches the fair share off");
            faults.push(Fault::new("fair_share_alpha", message));
        }
        if self.start_ramp.0 > RAMP_MOST {
            let message =
                format!("start_ramp <= 1h does not hold: {} > 1h; a server that has just started would stay small", self.start_ramp);
            faults.push(Fault::new("start_ramp", message));
        }
        if self.give_way_after.0 > Duration::ZERO && self.give_way_after.0 < GIVE_WAY_LEAST {
            let hint = "a sender that only pauses would lose its session; \"0s\" switches it off";
            let message = format!("give_way_after >= 5s does not hold: {} < 5s; {hint}", self.give_way_after);
            faults.push(Fault::new("give_way_after", message));
        }
        if self.ban_time.0 < BAN_LEAST || self.ban_time.0 > BAN_MOST {
            let message = format!("1m <= ban_time <= 30d does not hold: {}; for good, put the network into deny", self.ban_time);
            faults.push(Fault::new("ban_time", message));
        }
        faults.extend(self.clients());
        faults.extend(users::faults(self));
        faults
    }

    fn places(&self) -> Vec<Fault> {
        let (most, size) = (Pool::PLACES_MOST, self.size());
        let mut faults = Vec::new();
        if self.max_inbound > most {
            let message = format!("max_inbound <= {most} does not hold: {} > {most}; more than that is for several servers", size.limit);
            faults.push(Fault::new("max_inbound", message));
        }
        if size.reserve >= size.limit && size.limit > 0 {
            let hint = "nobody without a password could come in; raise max_inbound or lower reserve";
            let message = format!("reserve < max_inbound does not hold: {} >= {}; {hint}", size.reserve, size.limit);
            faults.push(Fault::new("reserve", message));
        }
        for (key, lane) in [("first_places", size.first_places), ("authenticating_places", size.authenticating)] {
            if lane > size.reserve {
                let hint = format!("{key} are places of the reserve; raise reserve or lower {key}");
                faults.push(Fault::new(key, format!("{key} <= reserve does not hold: {lane} > {}; {hint}", size.reserve)));
            }
        }
        faults
    }

    fn ceilings(&self) -> impl Iterator<Item = Fault> {
        let zero = [
            ("max_inbound", self.max_inbound),
            ("sessions_per_address", self.sessions_per_address),
            ("sessions_per_network", self.sessions_per_network),
            ("sessions_per_site", self.sessions_per_site),
            ("sessions_per_user", self.sessions_per_user),
        ]
        .into_iter()
        .filter(|(_, number)| *number == 0)
        .map(|(key, _)| Fault::new(key, format!("{key} >= 1 does not hold: {key} = 0 would refuse everybody; {DRAIN}")));

        // A narrower ceiling above a wider one could never be reached: whoever raised it would look for the reason in
        // vain. One above `max_inbound` is a fault of the file it is written in, if it is: the defaults beside a small pool
        // are none, and `gatepost gate set` may make the pool small for a while.
        let unreachable = [
            ("sessions_per_address", self.sessions_per_address, "sessions_per_network", self.sessions_per_network),
            ("sessions_per_network", self.sessions_per_network, "sessions_per_site", self.sessions_per_site),
        ]
        .into_iter()
        .filter(|(_, narrow, _, wide)| narrow > wide && *wide > 0)
        .map(|(key, narrow, wider, wide)| {
            let hint = format!("the wider limit would always be met first; raise {wider} or lower {key}");
            Fault::new(key, format!("{key} <= {wider} does not hold: {narrow} > {wide}; {hint}"))
        });

        zero.chain(unreachable)
    }

    fn clients(&self) -> Vec<Fault> {
        let (mut faults, mut names, mut networks) = (Vec::new(), HashMap::new(), HashMap::new());
        let mut fault = |message| faults.push(Fault::new("clients", message));
        for (number, client) in self.clients.iter().enumerate() {
            let name = &client.name;
            if name.trim().is_empty() {
                fault(format!("entry {} has no name: it is what status and log call it by", number + 1));
            } else if names.insert(name, ()).is_some() {
                fault(format!("two entries are called {name:?}: give each its own name, or put their networks together"));
            }
            if client.networks.is_empty() {
                fault(format!("{name:?} has no networks: it would be nobody; list some, or take the entry out"));
            }
            if client.sessions == Some(0) {
                fault(format!("sessions >= 1 does not hold for {name:?}: it would be refused always; {DENY}"));
            }
            for network in &client.networks {
                if network.0.prefix_len() == 0 {
                    fault(format!("{network} in {name:?} is everybody: list your own networks only"));
                }
                if let Some(other) = networks.insert(network.0, name) {
                    fault(format!("{network} is in {other:?} and in {name:?}: a network can be in one entry only"));
                }
                if let Some(denied) = self.deny.iter().find(|denied| denied.0.contains(&network.0)) {
                    fault(format!("{network} in {name:?} is denied: deny has {denied}, and is asked first; take one of them out"));
                }
            }
        }
        faults
    }
}

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key to change, as written in the table.
    pub key: &'static str,
    /// The inequality that does not hold, and what to do.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(key: &'static str, message: String) -> Self {
        Self { key, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Settings that cannot be put in force: the fault of the configuration. The limits that were in force still are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError {
    /// At least one.
    pub faults: Vec<Fault>,
}

/// Longer than senders pause between two messages of one session.
const GIVE_WAY_LEAST: Duration = Duration::from_secs(5);
const BAN_LEAST: Duration = Duration::from_secs(60);
/// The longest ban there is.
pub const BAN_MOST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const RAMP_MOST: Duration = Duration::from_secs(60 * 60);
const DENY: &str = "to refuse it, put its networks into deny";
const DRAIN: &str = "to take no more sessions and let the present ones finish, drain the server: `gatepost drain`";

#[cfg(test)]
mod tests;
