//! `docs/metrics.md` lists what there is: every metric with its type, labels and help, every log line with its fields.
//!
//! The tables are made from the registry and from one emission of each event. After a change, run this test with
//! `GATEPOST_WRITE_DOCS=1` and look at the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use events::*;
use mail::{MessageId, ReversePath};

use crate::{Log, LogLine, encoded};

/// Emits each event once.
fn emit_each(events: &Events) {
    let smtp = &events.listener("smtp");
    let pop3 = &events.listener("pop3");
    let source: IpAddr = Ipv4Addr::new(192, 0, 2, 7).into();
    let (session, message, now) = (events.next_session(), MessageId::generate(), Instant::now());
    let account = "ann@example.org";
    let cause = &"cause";
    let reverse_path = &ReversePath::Null;
    let second = Duration::from_secs(1);

    events.emit(ServerStarted { version: "0.1.0", started: UNIX_EPOCH, after: second, listeners: &"smtp 127.0.0.1:25" });
    events.emit(ServerDraining { sessions: 1, deadline: second });
    events.emit(ServerStopped { sessions_cut: 0, after: second });
    events.emit(ConfigurationReloaded { applied: &["gate.max_inbound".into()], needs_restart: &[] });
    events.emit(ConfigurationRejected { cause });
    events.emit(DirectoryChanged { change: "account added", name: account });
    events.emit(QuarantineChanged { change: "message released", message: &message.to_string(), user: Some(account) });
    events.emit(QuarantineExpired { messages: 2, octets: 100, keep: &"30d" });
    events.emit(LeftOut { kind: "R4", source: Some(source), left_out: 7 });
    events.emit(CertificateLoaded { certificate: "mx.pem", not_after: UNIX_EPOCH });
    events.emit(CertificateRejected { certificate: "mx.pem", cause });

    events.emit(SessionAdmitted { listener: smtp, session, source });
    events.emit(SessionEnded { listener: smtp, session, source, end: SessionEnd::Quit, duration: second });
    for known_good in [false, true] {
        events.emit(SessionRefused { listener: smtp, source, rule: "R4", limit: "gate.max_inbound", known_good, cause, now });
    }
    events.emit(ProxyRefused { listener: smtp, proxy: source, cause, now });

    events.emit(HandshakeCompleted { listener: smtp, session, version: "TLSv1_3", cipher: "TLS13_AES_256_GCM_SHA384" });
    events.emit(HandshakeFailed { listener: smtp, session, source, cause, now });

    events.emit(AuthSucceeded { listener: smtp, session, source, account, mechanism: "PLAIN" });
    events.emit(AuthFailed { listener: smtp, session, source, login: "ann", mechanism: "PLAIN", cause: Some("it has expired"), now });
    events.emit(AuthThrottled { listener: smtp, session, source, login: "ann", throttle: Throttle::Busy, now });
    events.emit(IntrospectionFailed { listener: smtp, cause, now });
    events.emit(UserSessionsRefused {
        listener: smtp,
        session,
        source,
        account,
        key: "gate.sessions_per_user",
        limit: 32,
        holders: cause,
        now,
    });

    let (in_use, limit, lasted, remedy) = (9, 10, second, "wait");
    events.emit(GateFilling { in_use, limit, lasted, slot_time: cause, holders: cause, remedy });
    events.emit(GateFull { in_use, limit, lasted: Duration::ZERO, refused: 1, slot_time: cause, holders: cause, remedy });
    events.emit(GateCleared { in_use, limit, was_full: second, refused: 1 });
    events.emit(GateSteered { change: "drain begun", detail: cause });
    events.emit(SourceBanned { network: cause, time: second, reason: "too much" });
    events.emit(GateFaulted { faults: 1 });
    events.emit(ListenerFaulted { listener: smtp, cause, now });

    let recipients = &["ann@example.org".into()];
    events.emit(MessageAccepted {
        listener: smtp,
        session,
        source,
        account: Some(account),
        message,
        reverse_path,
        recipients,
        octets: 10_240,
        priority: Some(3),
        commit: second,
    });
    let about = About { message: Some(message), helo: Some("mx.example.com"), reverse_path: Some(reverse_path), recipients };
    events.emit(MessageRefused { listener: smtp, session, source, about, code: 452, cause, now });
    let checks = &[("spf", "pass")];
    for is_unanswered in [false, true] {
        let (verdict, cause) = ("accept", Some(cause as &dyn Display));
        events.emit(MessageScreened { listener: smtp, session, source, about, verdict, checks, cause, is_unanswered, now });
    }
    events.emit(MessageDiscarded { listener: smtp, session, source, about, octets: 10_240, cause });
    events.emit(RecipientRefused { listener: smtp, session, source, recipient: &"<x@example.org>", code: 550, cause, now });
    for cause in [None, Some(cause as &dyn Display)] {
        events.emit(DeliveryReported { listener: smtp, session, source, message, cause, now });
    }
    events.emit(MaildropNearlyFull { listener: smtp, account, octets: 10_240, messages: 1, quota: cause });
    events.emit(ListCopyLeftOut { listener: smtp, session, message, account, octets: 10_240, messages: 1, quota: cause });
    events.emit(RateMet {
        listener: smtp,
        session,
        source,
        account: Some(account),
        limit: "rates.messages_per_account",
        wait: second,
        now,
    });

    events.emit(MaildropOpened { listener: pop3, session, account, messages: 1, octets: 10_240 });
    events.emit(MaildropRefused { listener: pop3, session, account, limit: "store.takeover_grace", cause });
    events.emit(MaildropTakenOver { listener: pop3, session, account });
    events.emit(MessageFetched { listener: pop3, session, message, account, octets: 10_240 });
    events.emit(MessagesDeleted { listener: pop3, session, account, messages: 1 });

    events.emit(StoreFailed { operation: "commit", cause, now });
    events.emit(StoreFull { cause, now });
    events.emit(StoreDown { cause });
    events.emit(StoreRecovered { after: second });
    events.emit(MessageDamaged { message, cause });
}

/// Every event once, and every figure.
fn everything() -> (Vec<LogLine>, String) {
    let (log, events) = (Log::default(), Events::new(SystemTime::now()));
    tracing::subscriber::with_default(log.clone(), || emit_each(&events));
    events.add_source(|figures| Figure::ALL.iter().for_each(|&figure| figures.set(figure, 7)));
    (log.lines(), encoded(&events))
}

/// One row for each metric, from the registry's own text.
fn metrics_table(text: &str) -> String {
    let mut rows: BTreeMap<&str, (String, &str, BTreeSet<&str>)> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            rows.entry(name).or_default().1 = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            rows.entry(name).or_default().0 = kind.into();
        } else if let Some((name, labels)) = line.split_once('{') {
            let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let names = labels.split('}').next().unwrap().split(',').map(|label| label.split('=').next().unwrap());
            rows.entry(family).or_default().2.extend(names.filter(|name| *name != "le"));
        }
    }
    let mut table = String::from("| metric | type | labels | what it is |\n| --- | --- | --- | --- |\n");
    for (name, (kind, help, labels)) in rows {
        let total = if kind == "counter" { "_total" } else { "" };
        let labels: Vec<_> = labels.into_iter().collect();
        writeln!(table, "| `{name}{total}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    table
}

fn events_table(lines: &[LogLine]) -> String {
    let mut table = String::from("| log line | level | target | fields |\n| --- | --- | --- | --- |\n");
    for LogLine { level, target, text, fields, .. } in lines {
        writeln!(table, "| {text} | {level} | `{target}` | {} |", fields.join(", ")).unwrap();
    }
    table
}

#[test]
fn the_reference_is_complete() {
    let (lines, text) = everything();
    let expected = format!("{HEAD}\n## Metrics\n\n{}\n## Log lines\n\n{LOG_HEAD}\n{}", metrics_table(&text), events_table(&lines));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("GATEPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/metrics.md differs from the code: run this test with GATEPOST_WRITE_DOCS=1");
}

#[test]
fn a_figure_knows_the_name_of_its_metric() {
    let table = metrics_table(&everything().1);
    assert!(Figure::ALL.iter().all(|figure| table.contains(&format!("| `{}` |", figure.metric()))));
}

/// An event that `emit_each` does not emit would be missing in the reference.
#[test]
fn each_event_is_emitted_here() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<PathBuf> = std::fs::read_dir(sources).unwrap().map(|entry| entry.unwrap().path()).collect();
    let events: usize = files.iter().map(|path| std::fs::read_to_string(path).unwrap().matches("\nimpl Event for ").count()).sum();
    let texts: BTreeSet<_> = everything().0.into_iter().map(|line| line.text).collect();
    assert_eq!(texts.len(), events, "{texts:?}");
}

#[test]
fn names_and_labels_keep_the_rules() {
    let (_, text) = everything();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        assert!(line.starts_with("gatepost_") && !line.contains("_total "), "{line}");
    }
    assert!(!text.contains('@') && !text.contains("192.0.2"), "no account and no address is a label");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_figure_is_called_by_the_unit_it_is_in() {
    let events = Events::new(UNIX_EPOCH);
    events.add_source(|figures| figures.set(Figure::StoreSyncMicros, 1_500_000));
    assert_eq!(events.figures().iter().collect::<Vec<_>>(), [("store_sync_microseconds".to_owned(), 1_500_000)]);
    let text = encoded(&events);
    assert!(text.contains("gatepost_store_sync_seconds_total 1.5\n"), "{text}");
}

#[test]
fn events_add_up() {
    let (log, events) = (Log::default(), Events::new(UNIX_EPOCH));
    // A line first written where nobody listens may be lost to the listener of a test beside this one, too.
    tracing::subscriber::with_default(log, || (0..3).for_each(|_| emit_each(&events)));
    let text = encoded(&events);
    for sample in [
        "gatepost_messages_accepted_total{listener=\"smtp\"} 3",
        "gatepost_message_octets_sum{listener=\"smtp\"} 30720.0",
        "gatepost_messages_refused_total{listener=\"smtp\",reply=\"4xx\"} 3",
        "gatepost_recipients_refused_total{listener=\"smtp\",reply=\"5xx\"} 3",
        "gatepost_sessions_refused_total{listener=\"smtp\",rule=\"R4\",limit=\"gate.max_inbound\"} 6",
        "gatepost_session_seconds_count{listener=\"smtp\"} 3",
        "gatepost_messages_fetched_octets_total{listener=\"pop3\"} 30720",
        "gatepost_authentications_total{listener=\"smtp\",outcome=\"failed\"} 3",
        "gatepost_store_errors_total{kind=\"full\"} 3",
        "gatepost_build_info{version=\"0.1.0\"} 1",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} is not in\n{text}");
    }
    assert!(!text.contains("messages_accepted_total{listener=\"pop3\"}"), "a listener has no metrics of another protocol");
}

const HEAD: &str = "# Metrics and log lines

Made from the code and compared with it by `crates/events/tests/told/reference.rs`; do not edit by hand.

`/metrics` on the admin listener answers in the OpenMetrics text format, which Prometheus reads. Labels are few: the listener's name in
the configuration, the gate's rule, the class of a reply, an outcome. No account and no address is ever a label.
";

const LOG_HEAD: &str = "A message has one `id` from the line that says it was accepted to the line that says it was fetched: it is in the 250 reply, in the Received field and in UIDL, too.
What a peer said is escaped and cut after 160 characters. Where a line has `left_out`, it is written at most once in ten seconds for each kind and source, after the first ten where it names
a login, a sender or a recipient; `left_out` is the number of those that were not written since the last one, and the metrics count each. When a flood is over, `repetitions left out` has the number
of those no line has told of, with the `kind` (the gate's rule, or another word for what was left out) and the `source`. Of each kind 1,024 sources are told apart; all others
count as one, whose `repetitions left out` names no source. Passwords are never written.
";
