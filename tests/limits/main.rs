//! `docs/limits.md` lists every limit there is, from what enforces it: key, metric label, reply and row share a name.
//!
//! Replies are those of the code: a client is let meet each limit of the gate, and the others' are rendered from the tables of replies.
//! Defaults are those of the configuration. Every key has a row, or is named in [`NO_LIMIT`].
//!
//! After a change, run this test with `GATEPOST_WRITE_DOCS=1` and look at the difference.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod door;
mod keys;
mod rates;
mod sessions;
mod table;

use std::path::Path;

use keys::Keys;

#[test]
fn the_limits_are_documented() {
    let (path, expected) = (in_the_tree("docs/limits.md"), page(&Keys::of_the_configuration()));
    if std::env::var_os("GATEPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/limits.md differs from the code: run this test with GATEPOST_WRITE_DOCS=1");
}

#[test]
fn every_key_has_a_row_or_is_no_limit() {
    let keys = Keys::of_the_configuration();
    let page = page(&keys);
    for key in keys.names() {
        let has_row = page.contains(&format!("\n| `{key}` |"));
        let is_no_limit = NO_LIMIT.contains(&key);
        assert!(has_row != is_no_limit, "{key}: give it a row, or name it in NO_LIMIT, and not both");
    }
    for entry in NO_LIMIT {
        assert!(keys.names().any(|key| key == *entry), "{entry} is in NO_LIMIT and no key");
    }
}

#[test]
fn every_metric_of_the_page_exists_with_its_label() {
    let metrics = std::fs::read_to_string(in_the_tree("docs/metrics.md")).unwrap();
    let page = page(&Keys::of_the_configuration());
    let mut found = 0;
    for word in page.split('`').filter(|word| word.starts_with("gatepost_")) {
        let (name, label) = word.split_once('{').unwrap_or((word, ""));
        let row = metrics.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no {name}"));
        let labels = row.split('|').nth(3).unwrap();
        let label = label.split('=').next().unwrap();
        assert!(label.is_empty() || labels.split(',').any(|known| known.trim() == label), "{word}: the labels are {labels}");
        found += 1;
    }
    assert!(found > 50, "{found} metrics found");
}

/// The whole file.
fn page(keys: &Keys) -> String {
    [
        HEAD,
        "## Sessions at once\n",
        DOOR,
        &door::places(keys),
        ROOMS,
        &door::rooms(keys),
        ON_THE_WAY,
        &door::on_the_way(keys),
        "## Rates\n",
        RATES,
        &rates::table(keys),
        TARPIT,
        &rates::bounds(keys),
        "## How fast the store is\n",
        STORE,
        &sessions::store(keys),
        "## One session, one message\n",
        SESSION,
        &sessions::smtp(keys),
        "## One POP3 session\n",
        POP3,
        &sessions::pop3(keys),
        "## Passwords\n",
        PASSWORDS,
        &sessions::passwords(keys),
    ]
    .join("\n")
}

fn in_the_tree(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Keys that limit no client, one by one, so that a new one is looked at: names and places, what is encrypted, logged and stored, who is
/// known and asked, what is remembered of the answers, what is only tried out.
const NO_LIMIT: &[&str] = &[
    "hostname",
    "data_dir",
    "user",
    "listen.smtp",
    "listen.submission",
    "listen.submissions",
    "listen.lmtp",
    "listen.pop3",
    "listen.pop3s",
    "proxy.trusted_proxies",
    "gate.ban_time",
    "gate.shadow",
    "rates.shadow",
    "tls.certificate",
    "tls.key",
    "tls.client_ca",
    "timeouts.drain",
    "relay.networks",
    "relay.xclient_networks",
    "relay.lmtp_networks",
    "recipients.quota_warning_percent",
    "recipients.database",
    "recipients.query",
    "recipients.query_timeout",
    "recipients.remember",
    "recipients.remember_unknown",
    "recipients.remembered",
    "recipients.call_forward",
    "recipients.call_forward_protocol",
    "recipients.call_forward_timeout",
    "submission.own_senders",
    "submission.allowed",
    "submission.complete_header",
    "submission.hide_client",
    "screening.checks",
    "screening.dns_lists",
    "screening.dns_lists_threshold",
    "screening.attachments",
    "screening.rspamd",
    "screening.rspamd_password",
    "screening.milters",
    "screening.hook",
    "screening.hook_body",
    "screening.quarantine_keep",
    "screening.greylist_delay",
    "screening.greylist_senders",
    "screening.dns_servers",
    "screening.dns_timeout",
    "screening.dns_cache",
    "auth.hash_memory",
    "auth.hash_passes",
    "auth.remember",
    "auth.scram",
    "oauth.keys",
    "oauth.issuer",
    "oauth.audience",
    "oauth.scope",
    "oauth.introspection",
    "oauth.introspection_ca",
    "oauth.client_id",
    "oauth.client_secret_file",
    "oauth.timeout",
    "oauth.remember",
    "oauth.account_claim",
    "store.segment",
    "store.inline_body",
    "admin.http",
    "admin.control",
    "log.level",
    "log.format",
];

const HEAD: &str = "# Limits

Made from the code that enforces them, and compared with it by `tests/limits`; do not edit by hand. What the limits of the gate are for
is told in [the gate](gate.md), every key in [the configuration](configuration.md), every metric in [the metrics](metrics.md).

Four kinds of limit answer four questions. *How many at once* is a limit of the gate; who meets it is not let in. *How often* is a rate;
its reply is temporary, the session goes on, and what was refused does not count. *How much* is a limit of one session or one message.
*How fast the store is* decides how many messages are taken at a time: nobody writes that number down.

A reply by a rule, R0 to R11, is one line of at most 200 octets and ends in a token, `[R4.k3f9]`. `gatepost gate explain R4.k3f9` tells the rule, the
key and its line, what was in use at that instant, and what to do. The
recipients of one message that one rate refuses have one token together.
";

const DOOR: &str = "In the order in which they are asked, but for file descriptors, without which nothing is;
[the gate](gate.md#what-is-asked-in-this-order) has the exceptions. Who is refused hears one line and is disconnected. On POP3 it is the
same text behind the beginning shown here. A limit that can be in shadow is tried out by `gate.shadow = [\"sessions_per_address\"]`;
`gatepost_gate_shadow_sessions_per_address_total` counts then whom it would have refused, and each of the others has its own.

`reserve` refuses those who have no right to it. The two lanes, `first_places` and `authenticating_places`, refuse nobody: who
finds no place there either hears what it would have heard without them. An entry of `clients` or `users` has its own number,
`sessions`.
";

const ROOMS: &str = "### Waiting for a place

Where only R4 is in the way, `when_full` says whether the client hears it at once or waits in a
[waiting room](gate.md#when-every-place-is-taken). Who has waited in vain hears it then, and so does who is put out of a room that is full.
Both are refusals by R4, and counted as such, too.
";

const ON_THE_WAY: &str = "### Before and after a session

What a connection may take while TLS or its PROXY header is to come, while it does not read, and once it was refused. Nobody is told:
there is nothing to tell it in.
";

const RATES: &str = "A table of bounded size counts for each source, account and sender domain on its own (`rates.keys`). When there are more, they share what
is left over: a flood of addresses takes no memory and no source gets round its rate by it, but a newcomer may be told to come back. A
million IPv6 /64s stay under the bound (`crates/gate/tests/rates.rs`).

A source is an IPv4 address or an IPv6 /64, and whoever has an IPv6 /48 has 65,536 of those. Only the rates of connections know wider
networks: a million /64s of 16 sites come in as often as 16 sites may by `rates.connections_per_site`
(`crates/gate/src/rates/arrivals.rs`). No rate by source, nor of connections, is for
[clients](gate.md#clients) that are `exempt`. To bound the mail of a whole network write that, `rates.connections_per_network` for a /24 or /56, and
`limits.messages`, which says how many messages a connection may bring.

`rates.shadow = [\"messages_per_account\"]` has a rate counted and not enforced, to try it out:
`gatepost_rates_shadow_messages_per_account_total`, one for each, and `gatepost gate status` say how often it would have refused.
The rates of connections are tried out together, by `gate.shadow = [\"connections\"]`; they are of the gate, and POP3 clients hear of them
behind `-ERR [SYS/TEMP]`. The waits shown are examples.
";

const TARPIT: &str =
    "What the rates themselves may take. The delay after a wrong password, `auth.first_delay`, is none of it: it is bounded by
`limits.auth_failures` and by what `[auth]` says of a source and an account, has no places, and every wrong password has it.
";

const STORE: &str = "How many messages are being committed at once follows the store's latency: one more for each round of commits within
`delivery.latency_target`, a tenth less for a round that was not, between `least_in_flight` and `most_in_flight`. Whole messages wait for
their turn, first come, first served.

At MAIL, and once more at DATA, the server reckons how long the reply to the message would take: the messages ahead times the store's
pace, the slower of the last two rounds. If that is more than `delivery.deadline` the client is told to come back before it has sent
anything, and stays connected. So nobody sends a message, gives up waiting and sends it again.

`gatepost_delivery_limit_messages` falling while `gatepost_delivery_waiting_messages` grows means that the store is slow: more places at the gate
would only make the queue longer. In simulated time, with a thousand senders and a store that goes from 500 messages a second to 10
and back: no sender waits for more than 35 seconds, the store does at least 90 % of what it can, and 3 seconds after it is fast again
nobody is refused (`crates/gate/tests/delivery.rs`).
";

const SESSION: &str = "At EHLO the server announces `LIMITS RCPTMAX=... MAILMAX=...` (RFC 9422): recipients of one message, and messages of one session. MAILMAX is
`limits.messages` while half of the gate's places are free and falls to 10 as they fill, so that places change hands.

A reply with 421 ends the session, and `gatepost_sessions_ended_total` counts it by its `end`: `timed_out` and `too_long` where time was up,
else `dismissed`. Refused messages are in `gatepost_messages_refused_total`, by the class of the reply. What has a key can be set.
";

const POP3: &str = "What has a key can be set. Sessions that ended are counted as for SMTP. Beyond `pop3.autologout` the connection is closed without a word, as
RFC 1939 has it, and nothing is deleted.
";

const PASSWORDS: &str =
    "A client whose password was not looked at is told to come back later, and not that it is wrong. What one session may get wrong is
`limits.auth_failures`.
";
