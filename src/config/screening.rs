//! `[screening]`: what is asked about messages from strangers, in the operator's words.
//!
//! Plain values: what they mean to the crate that screens is said where the server is built. Guarantees: the defaults ask nothing.

mod attachments;
mod services;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use mail::{Domain, Span};
use schemars::JsonSchema;
use screening::{ANSWER_OCTETS, Check, HEADER_OCTETS, OnUnsure, Stage};
use serde::{Deserialize, Serialize};

use super::Address;
use super::change::written;
use super::fault::Finding;

pub(crate) use attachments::Attachment;
use services::Hooks;

/// What is asked about messages from other servers, and what follows. docs/screening.md tells more.
///
/// Mail that comes to listen.smtp is screened, and of that neither mail of people who have logged in nor that from
/// relay.networks; what people submit is, where a check says so. Nothing is asked by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Screening {
    /// What is asked, in this order, each thing at most once: "early", "iprev", "helo", "lists", "spf" and "greylist" at MAIL; "dkim", "arc", "dmarc", "attachments", "rspamd", "milter" and "hook" when the
    /// message has come. What was found is written into an Authentication-Results header; one that a message brings along in our
    /// name is taken out. An entry is a table of its own under the heading [[screening.checks]], or an element of this list:
    ///
    /// { check = "dmarc", fail = "policy", unsure = "defer", timeout = "10s" }
    ///
    /// `fail` says what follows when the check fails: "accept" (nothing, the default), "tag" (an X-Gatepost-Screening header is put
    /// before the message), "quarantine" (likewise, and POP3 does not list it until `gatepost quarantine release`), "defer" (4xx: the sender is to come back), "reject" (5xx),
    /// "discard" (the sender is told 250, and the message is thrown away), or "policy": for "dmarc" what the domain in From asks
    /// for, for "attachments" what stands beside the attachment, for "rspamd", "milter" and "hook" what they answer. After defer, reject or discard nothing more is asked. `unsure` says what follows when DNS, or who else is asked, does not answer within
    /// `timeout`: "accept" (the default) or "defer". `timeout` is "10s" where it is not written, and at most 1m; those of
    /// the checks at MAIL, and the longest of them once more, come to 4m at most, because clients wait five minutes. `listeners` says
    /// where it is asked: ["smtp"] where it is not written; "attachments", "rspamd", "milter" and "hook" may also be asked on "submission" and
    /// "submissions", about mail of people who have logged in.
    pub(crate) checks: Vec<Rule>,
    /// DNS lists of addresses that the check "lists" asks, each with the weight that it adds when the client is on it; 1 where none is
    /// written, negative for lists of good senders. Mind the terms of the lists; many serve no public resolvers, which is noticed and
    /// which `gatepost explain` says. There may be 16:
    ///
    /// { zone = "zen.spamhaus.org", weight = 2, name = "Spamhaus ZEN" }
    ///
    /// Whoever is refused for it is told the `name`, where there is one, and never the zone, which may have a key of yours in it.
    pub(crate) dns_lists: Vec<List>,
    /// The sum of weights with which "lists" fails.
    pub(crate) dns_lists_threshold: u32,
    /// Attachments that the check "attachments" is to find, each with what follows where that check has fail = "policy"; of several the gravest counts.
    /// `name` is a pattern in which `*` stands for any text and `?` for one character, in any case; `type` is one for the part's type, as "message/partial". Without them any part is meant.
    /// `larger_than` asks for more octets than that. Archives are not opened. There may be 256:
    ///
    /// { name = "*.exe", verdict = "reject" }, { name = "*.zip", larger_than = "10MiB", verdict = "quarantine" }
    pub(crate) attachments: Vec<Attachment>,
    /// Where rspamd is asked, over HTTP: "http://127.0.0.1:11333". It gets the whole message, and may take `timeout` of the check "rspamd" for it.
    pub(crate) rspamd: String,
    /// The file with its password, where it wants one. It is read at the start, and when anything in [screening] changes.
    pub(crate) rspamd_password: PathBuf,
    /// Milters that the check "milter" asks, one after the other, all of them within its `timeout`: ["inet:127.0.0.1:8891",
    /// "unix:/run/opendkim/opendkim.sock"]. They may add headers, and change nothing else. There may be 8.
    pub(crate) milters: Vec<String>,
    /// Where a service of your own is asked, over HTTP with a JSON text that docs/screening.md describes: "http://127.0.0.1:8080/hook". Several, 8 at most,
    /// are a list of addresses, and asked one after the other, all of them within `timeout` of the check "hook".
    pub(crate) hook: Hooks,
    /// Whether it gets the whole message, in base64, or what is known of it and its header.
    pub(crate) hook_body: bool,
    /// After how long a sender that "greylist" has asked to come back may do so. Most come back after some minutes, whatever is written here.
    pub(crate) greylist_delay: Span,
    /// Senders that have been asked to come back and are remembered, for two days; each takes about 100 octets. When there are more
    /// the oldest has to come once more.
    pub(crate) greylist_senders: u32,
    /// How long the greeting of a stranger on listen.smtp is held back where "early" is asked, at most 30s: mail servers wait for it, and programs that only shout
    /// do not. "0s" holds nothing back. Not held back is who has delivered mail lately, and whom gate.clients or relay.networks name.
    pub(crate) early_wait: Span,
    /// How many greetings are held back at a time: each keeps a place of max_inbound. Further strangers are greeted at once.
    pub(crate) early_places: u32,
    /// For how long a message that was quarantined is kept where nobody releases or removes it; then it is deleted, which the log tells. "0s" keeps it
    /// until somebody decides. What its sender wants held (FUTURERELEASE) is none of this.
    pub(crate) quarantine_keep: Span,
    /// DNS servers to ask, with their ports: ["127.0.0.1:53"]. Empty: those of /etc/resolv.conf. A resolver on the same machine or
    /// network is best: its answers are believed.
    pub(crate) dns_servers: Vec<Address>,
    /// How long one DNS server may take to answer one question.
    pub(crate) dns_timeout: Span,
    /// DNS answers that are remembered, for as long as they say they may be, and an hour at most. Most take half a KiB, but senders choose what
    /// is in them, and the memory that the machine must have is reckoned with 4 MiB each. A resolver on the same machine remembers far
    /// more for less: this spares it only what is asked again and again.
    pub(crate) dns_cache: u32,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// What is asked.
    pub(crate) check: Check,
    /// What follows when it fails.
    #[serde(default)]
    pub(crate) fail: Fail,
    /// What follows when it cannot tell.
    #[serde(default)]
    pub(crate) unsure: OnUnsure,
    /// How long it may take.
    #[serde(default = "usual_timeout")]
    pub(crate) timeout: Span,
    /// Where it is asked.
    #[serde(default = "usual_listeners", skip_serializing_if = "is_usual")]
    pub(crate) listeners: Vec<Listener>,
}

/// Where messages come in, by its key under `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Listener {
    Smtp,
    Submission,
    Submissions,
}

/// A DNS list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Its name in DNS.
    pub(crate) zone: String,
    /// What it adds.
    #[serde(default = "usual_weight")]
    pub(crate) weight: i32,
    /// What clients on it are told that it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(crate) name: Option<String>,
}

/// What can follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fail {
    #[default]
    Accept,
    Tag,
    Quarantine,
    Defer,
    Reject,
    Discard,
    Policy,
}

/// As it could be written in the list.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&serde_json::to_value(self).unwrap_or_default()))
    }
}

impl Screening {
    /// Whether anything is asked.
    pub(crate) fn is_on(&self) -> bool {
        !self.checks.is_empty()
    }

    /// File descriptors that asking may take: of DNS two servers at a time, about two kinds of address or about every list; and one for each
    /// service.
    pub(super) fn descriptors_most(&self) -> u64 {
        let lists = if self.asks(Check::Lists) { self.dns_lists.len() } else { 0 };
        if self.is_on() { (AT_ONCE * (2 * lists.max(2) + self.services())) as u64 } else { 0 }
    }

    /// Octets that each session may take for a header.
    pub(super) fn session_octets(&self) -> u64 {
        let parts = if self.asks(Check::Attachments) { PARTS_OCTETS } else { 0 };
        if self.is_on() { HEADER_BUFFER_OCTETS + parts } else { 0 }
    }

    /// Octets that all of it may take besides.
    pub(super) fn octets_most(&self) -> u64 {
        let senders = if self.asks(Check::Greylist) { self.greylist_senders } else { 0 };
        let each = ASKED_OCTETS + self.services() as u64 * SERVICE_OCTETS;
        let asking = if self.is_on() { AT_ONCE as u64 * each + u64::from(self.dns_cache) * ANSWER_OCTETS } else { 0 };
        asking + u64::from(senders) * SENDER_OCTETS
    }

    /// How many services are asked about a message.
    fn services(&self) -> usize {
        [Check::Rspamd, Check::Milter, Check::Hook].into_iter().filter(|check| self.asks(*check)).count()
    }

    fn asks(&self, check: Check) -> bool {
        self.checks.iter().any(|rule| rule.check == check)
    }

    /// A client waits five minutes for the reply to MAIL (RFC 5321, section 4.5.3.2.2).
    fn late_at_mail(&self) -> Option<Finding> {
        let at_mail = self.checks.iter().filter(|rule| rule.check.stage() == Stage::Envelope);
        let timeouts: Vec<_> = at_mail.map(|rule| rule.timeout.0.min(LONGEST.0)).collect();
        let most = Span(timeouts.iter().chain(timeouts.iter().max()).sum());
        (most > LONGEST_AT_MAIL).then(|| {
            let message = format!(
                "the timeouts of the checks at MAIL, and the longest once more while others have their turn, must be at most {LONGEST_AT_MAIL} together, \
                 or the client leaves before its reply: these are {most}"
            );
            Finding::error("screening.checks", message)
        })
    }

    /// The DNS servers that are written down.
    pub(crate) fn servers(&self) -> Vec<SocketAddr> {
        self.dns_servers.iter().map(|server| server.0).collect()
    }

    /// What does not hold.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found: Vec<_> = self.checks.iter().enumerate().flat_map(|(index, rule)| self.wrong_with(index, rule)).collect();
        found.extend(self.late_at_mail());
        found.extend(services::findings(self));
        found.extend(attachments::findings(&self.attachments, self.asks(Check::Attachments)));
        found.extend(self.of_dns());
        found.extend(self.of_strangers());
        found.extend(services::idle(self));
        found
    }

    /// Of one check.
    fn wrong_with(&self, index: usize, rule: &Rule) -> Vec<Finding> {
        let mut found = Vec::new();
        let fault = |message: String| Finding::error("screening.checks", message).at(index);
        let name = format!("{:?}", rule.check.as_str());
        if self.checks.iter().take(index).any(|earlier| earlier.check == rule.check) {
            found.push(fault(format!("{name} is asked already: write each check once")));
        }
        if rule.fail == Fail::Policy && !rule.check.has_policy() {
            found.push(fault(format!(
                "{name} knows no policy: fail = \"policy\" is for those that do, such as \"dmarc\"; write what is to follow"
            )));
        }
        if rule.check == Check::Greylist && rule.fail != Fail::Defer {
            found.push(fault(format!("{name} asks senders to come back, and nothing else: write fail = \"defer\"")));
        }
        if rule.listeners.is_empty() {
            found.push(fault(format!("{name} is asked nowhere: write listeners = [\"smtp\"], or leave it out")));
        }
        if rule.listeners.iter().any(|listener| *listener != Listener::Smtp) && !rule.check.is_about_content() {
            let message =
                "is asked about strangers, and those who submit mail have logged in: write listeners = [\"smtp\"], or leave it out";
            found.push(fault(format!("{name} {message}")));
        }
        if rule.timeout.0.is_zero() || rule.timeout > LONGEST {
            found.push(fault(format!("timeout of {name} must be more than 0s and at most {LONGEST}: this is {}", rule.timeout)));
        }
        found
    }

    /// Of the servers and lists in DNS.
    fn of_dns(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.dns_timeout.0.is_zero() || self.dns_timeout > LONGEST {
            let message = format!("must be more than 0s and at most {LONGEST}: this is {}", self.dns_timeout);
            found.push(Finding::error("screening.dns_timeout", message));
        }
        if self.asks(Check::Lists) && self.dns_lists.is_empty() {
            found.push(Finding::error("screening.dns_lists", "is empty, and \"lists\" is among the checks: write the lists to ask"));
        }
        if self.dns_lists.len() > LISTS_MOST {
            let message = format!("has {} lists, which are all asked at once: write at most {LISTS_MOST}", self.dns_lists.len());
            found.push(Finding::error("screening.dns_lists", message));
        }
        if self.dns_lists_threshold == 0 {
            found.push(Finding::error("screening.dns_lists_threshold", "must be at least 1, or everybody would be on enough lists"));
        }
        let nameless = |(index, list): (usize, &List)| {
            let name = list.zone.parse::<Domain>().is_ok() && list.zone.contains('.');
            let message = format!("{:?} is not the name of a list: write it as in \"zen.spamhaus.org\"", list.zone);
            (!name).then(|| Finding::error("screening.dns_lists", message).at(index))
        };
        found.extend(self.dns_lists.iter().enumerate().filter_map(nameless));
        let unsayable = |(index, list): (usize, &List)| {
            let name = list
                .name
                .as_ref()
                .filter(|name| !(1..=LIST_NAME_OCTETS).contains(&name.len()) || !name.bytes().all(|octet| matches!(octet, b' '..=b'~')))?;
            let message = format!("name {name:?} must be 1 to {LIST_NAME_OCTETS} signs of printable ASCII, as a reply has room for");
            Some(Finding::error("screening.dns_lists", message).at(index))
        };
        found.extend(self.dns_lists.iter().enumerate().filter_map(unsayable));
        let portless = |(index, server): (usize, &Address)| {
            (server.0.port() == 0)
                .then(|| Finding::error("screening.dns_servers", format!("{server} has no port: write its port, mostly 53")).at(index))
        };
        found.extend(self.dns_servers.iter().enumerate().filter_map(portless));
        found
    }

    /// Of the waits that strangers are given.
    fn of_strangers(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.greylist_delay.0.is_zero() || self.greylist_delay > GREYLIST_LONGEST {
            let message = format!("must be more than 0s and at most {GREYLIST_LONGEST}: this is {}", self.greylist_delay);
            found.push(Finding::error("screening.greylist_delay", message));
        }
        if self.greylist_senders == 0 {
            found.push(Finding::error("screening.greylist_senders", "must be at least 1, or nobody could come back"));
        }
        if self.asks(Check::Early) && self.early_wait.0.is_zero() {
            found.push(Finding::error(
                "screening.early_wait",
                "is 0s, and \"early\" is among the checks: write how long a greeting is held back, as in \"3s\"",
            ));
        }
        if self.early_wait > EARLY_LONGEST {
            let message = format!("must be at most {EARLY_LONGEST}: this is {}", self.early_wait);
            found.push(Finding::error("screening.early_wait", message));
        }
        found
    }
}

impl Default for Screening {
    fn default() -> Self {
        Self {
            checks: Vec::new(),
            dns_lists: Vec::new(),
            dns_lists_threshold: 1,
            attachments: Vec::new(),
            rspamd: String::new(),
            rspamd_password: PathBuf::new(),
            milters: Vec::new(),
            hook: Hooks::default(),
            hook_body: false,
            greylist_delay: Span::mins(2),
            greylist_senders: 100_000,
            quarantine_keep: Span::mins(30 * 24 * 60),
            early_wait: Span::secs(0),
            early_places: 64,
            dns_servers: Vec::new(),
            dns_timeout: Span::secs(3),
            dns_cache: 32,
        }
    }
}

fn usual_weight() -> i32 {
    1
}

fn usual_listeners() -> Vec<Listener> {
    vec![Listener::Smtp]
}

fn is_usual(listeners: &[Listener]) -> bool {
    listeners == [Listener::Smtp]
}

fn usual_timeout() -> Span {
    Span::secs(10)
}

/// Messages that are asked about at a time. With answers that take 50 ms that is 2,500 a second; who gets no turn within a check's
/// timeout is as one whose DNS does not answer.
pub(crate) const AT_ONCE: usize = 128;
/// A header, in a buffer that grows by doubling.
const HEADER_BUFFER_OCTETS: u64 = 2 * HEADER_OCTETS as u64;
/// The fields of a part and a line of them, in buffers that grow by doubling, and the boundaries it is within.
const PARTS_OCTETS: u64 = 80 << 10;
/// A header that is all addresses or fields, taken apart.
const ASKED_OCTETS: u64 = 1 << 20;
/// Pieces of a message on their way to a service, in the sizes of hyper, and its answer.
const SERVICE_OCTETS: u64 = 1 << 20;
/// A hash and a time, in a table and in a line.
const SENDER_OCTETS: u64 = 128;
/// Queues of senders come back more often than that.
const GREYLIST_LONGEST: Span = Span(std::time::Duration::from_secs(4 * 60 * 60));
/// Clients wait five minutes for their greeting (RFC 5321, section 4.5.3.2.1), and each of them keeps a place meanwhile.
const EARLY_LONGEST: Span = Span(std::time::Duration::from_secs(30));
/// Of the five minutes, what leaves time for the rest.
const LONGEST_AT_MAIL: Span = Span(std::time::Duration::from_secs(4 * 60));
/// All are asked at once, and each takes descriptors.
const LISTS_MOST: usize = 16;
const LIST_NAME_OCTETS: usize = 40;
/// All of them at the end of a message, and the wait for a turn, are within the ten minutes that its client waits (RFC 5321, section 4.5.3.2.6).
const LONGEST: Span = Span(std::time::Duration::from_secs(60));

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        toml::from_str::<Screening>(text).unwrap().findings().into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_reply_to_mail_comes_while_its_client_waits() {
        let checks = |iprev: &str, spf: &str| {
            format!(
                "checks = [{{ check = 'iprev', timeout = '{iprev}' }}, {{ check = 'spf', timeout = '{spf}' }}, {{ check = 'helo', timeout = '1m' }}, {{ check = 'dkim', timeout = '1m' }}]"
            )
        };
        assert_eq!(said(&checks("1m", "1m")), [""; 0]);
        let late = checks("1m", "1m").replace("'helo'", "'lists'") + "\ndns_lists = [{ zone = 'a.list' }]";
        let late = late.replacen("[{", "[{ check = 'helo', timeout = '1s' }, {", 1);
        assert!(said(&late)[0].contains("must be at most 4m together") && said(&late)[0].contains("4m1s"), "{:?}", said(&late));
    }

    #[test]
    fn every_list_has_its_descriptors_and_there_are_few() {
        let lists = |count: usize, check: &str| {
            let lists: Vec<_> = (0..count).map(|number| format!("{{ zone = 'l{number}.example' }}")).collect();
            format!("dns_lists = [{}]\nchecks = [{{ check = '{check}' }}]", lists.join(", "))
        };
        let descriptors = |text: &str| toml::from_str::<Screening>(text).unwrap().descriptors_most();
        assert_eq!(descriptors(""), 0);
        assert_eq!(descriptors(&lists(16, "spf")), 512);
        assert_eq!(descriptors(&lists(1, "lists")), 512);
        assert_eq!(descriptors(&lists(16, "lists")), 4096);
        assert_eq!(said(&lists(16, "lists")), [""; 0]);
        assert!(said(&lists(17, "lists"))[0].contains("write at most 16"));
    }
}
