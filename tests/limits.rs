//! `docs/limits.md` lists every limit there is, from the tables that enforce them: key, metric label, reply and row share a name.
//!
//! After a change, run this test with `GATEPOST_WRITE_DOCS=1` and look at the difference.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;

use bytes::BytesMut;
use gate::rates::{Limit, Measure};
use smtp::{Blanks, Reply};

#[test]
fn the_limits_are_documented() {
    let expected = format!("{HEAD}\n## Rates\n\n{RATES}\n{}\n## One session, one message\n\n{SESSION}\n{}", rates(), session());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md");
    if std::env::var_os("GATEPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/limits.md differs from the code: run this test with GATEPOST_WRITE_DOCS=1");
}

fn rates() -> String {
    let defaults = serde_json::to_value(gate::rates::Settings::default()).unwrap();
    let mut table = String::from("| key under `rates`, label `rate` | default | asked at | reply |\n| --- | --- | --- | --- |\n");
    for key in ["connections", "connections_per_address", "connections_per_network", "connections_per_site"] {
        let default = defaults[key].as_str().unwrap();
        writeln!(table, "| `{key}` | {default} | connection | `421 4.7.0 mx.example.org Connecting too often from [192.0.2.7], ...` |")
            .unwrap();
    }
    for limit in Limit::ALL {
        let (command, reply) = match limit.measure {
            Measure::Messages => ("MAIL", Reply::MESSAGE_RATE),
            Measure::Recipients => ("RCPT", Reply::RECIPIENT_RATE),
            Measure::Kib => ("MAIL", Reply::OCTET_RATE),
            Measure::FailedCommands => ("MAIL, AUTH", Reply::FAILURE_RATE),
        };
        let default = defaults[limit.key()].as_str().unwrap();
        writeln!(table, "| `{limit}` | {default} | {command} | `{}` |", said(reply.with(30))).unwrap();
    }
    table
}

fn session() -> String {
    let mut table =
        String::from("| limit | asked for | granted | unit | from | reply | can be set |\n| --- | --- | --- | --- | --- | --- | --- |\n");
    for limit in smtp::limits::TABLE {
        let asked = limit.asked.map_or_else(String::new, |asked| asked.to_string());
        let value = if limit.value == u64::MAX { "any".into() } else { limit.value.to_string() };
        let set = if limit.settable { "yes" } else { "" };
        writeln!(table, "| {} | {asked} | {value} | {} | {} | `{}` | {set} |", limit.name, limit.unit, limit.section, said(limit.reply))
            .unwrap();
    }
    table
}

fn said(reply: Reply) -> String {
    let mut line = BytesMut::new();
    reply.render(&Blanks { host: "mx.example.org", peer: None, detail: None }, &mut line);
    String::from_utf8_lossy(&line).trim_end().replace('|', "\\|")
}

const HEAD: &str = "# Limits

Made from the tables in the code that are enforced, and compared with them by `tests/limits.rs`; do not edit by hand. Who may connect at all is
told in [the gate](gate.md), every key in [the configuration](configuration.md).

Three kinds of limit answer three questions. *How often* is a rate; its reply is temporary, the session goes on, and what was refused does not
count. *How much at once* is a limit of one session or one message. *How fast the store is* decides how many messages are taken at a time:
nobody writes that number down.

## How fast the store is

How many messages are being committed at once follows the store's latency: one more for each round of commits within
`delivery.latency_target`, a tenth less for a round that was not, between `least_in_flight` and `most_in_flight`. Whole messages wait for
their turn, first come, first served.

At MAIL, and once more at DATA, the server reckons how long the reply to the message would take: the messages ahead times the store's
pace, the slower of the last two rounds. If that is more than `delivery.deadline` the client hears `451 4.3.2 Mail is stored slowly at present, try
again later` before it has sent anything, and stays connected. So nobody sends a message, gives up waiting and sends it again.

`gatepost_delivery_limit_messages` falling while `gatepost_delivery_waiting_messages` grows means that the store is slow: more places at the gate
would only make the queue longer. In simulated time, with a thousand senders and a store that goes from 500 messages a second to 10
and back: no sender waits for more than 35 seconds, the store does at least 90 % of what it can, and 3 seconds after it is fast again
nobody is refused (`crates/gate/tests/delivery.rs`).
";

const RATES: &str = "A table of bounded size counts for each source, account and sender domain on its own (`rates.keys`). When there are more, they share what
is left over: a flood of addresses takes no memory and gets round nothing, but a newcomer may be told to come back. A million IPv6 /64s stay
under the bound, and their /48 still limits them (`crates/gate/tests/rates.rs`).

`gatepost_rates_met_total` counts who met which rate, by the key. `rates.shadow = [\"messages_per_account\"]` has a rate counted and not enforced, to
try it out: `gatepost_rates_shadow_messages_per_account_total`, one for each, and `gatepost gate status` say how often it would have refused.
The rates of connections are tried out together, by `gate.shadow = [\"connections\"]`.
";

const SESSION: &str = "At EHLO the server announces `LIMITS RCPTMAX=... MAILMAX=...` (RFC 9422): recipients of one message, and messages of one session. MAILMAX is
`limits.messages` while half of the gate's places are free and falls to 10 as they fill, so that places change hands; one MAIL more gets
`421 4.7.0 mx.example.org Enough messages for one session, reconnect for more`.
";
