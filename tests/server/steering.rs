//! What an operator sees of the gate and does to it: refusals explained, sessions listed and ended, users' limits, a drain that is
//! undone, a limit for a time.

use serde_json::{Value, json};

use crate::harness::{ANN, BOB, Dialogue, PASSWORD, Server, token};

#[test]
fn a_refusal_is_explained_by_what_its_client_was_told() {
    let server = Server::start(&gate(2));
    let _held = [server.hello(), server.hello()];
    let said = server.connect("submission").hear();
    let token = token(&said);

    let explained = asked(&server, &["gate", "explain", token, "--json"]);
    assert_eq!((&explained["token"], &explained["rule"], &explained["source"]), (&json!(token), &json!("R4"), &json!("127.0.0.1")));
    assert_eq!(
        (&explained["in_use"], &explained["limit"], &explained["listener"]["service"]),
        (&2.into(), &2.into(), &"submission".into())
    );
    let config = std::fs::read_to_string(server.config()).unwrap();
    let line = 1 + config.lines().position(|line| line == "max_inbound = 2").unwrap();
    let key = &explained["key"];
    assert_eq!((&key["key"], &key["value"], &key["origin"]["file"]["line"]), (&"gate.max_inbound".into(), &"2".into(), &line.into()));
    assert_eq!(explained["share"][0], json!({ "prefix": "127.0.0.1/32", "sessions": 2 }));
    assert_eq!(explained["holders"][0], json!({ "prefix": "127.0.0.1/32", "sessions": 2 }));

    let text = server.succeed(&["gate", "explain", token]);
    for part in [
        "Every place was taken.",
        "2 sessions in use of 2",
        &format!("gatepost.toml line {line}"),
        "127.0.0.1/32 had 2",
        "gatepost gate status",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let unknown = server.command(&["gate", "explain", "R4.zzzz"]);
    let why = String::from_utf8(unknown.stderr).unwrap();
    assert!(!unknown.status.success() && why.contains("R4.zzzz was not given since this server started"), "{why}");
}

#[test]
fn who_was_refused_is_listed_with_what_became_of_it() {
    let server = Server::start(&gate(1));
    let held = server.hello();
    assert!(server.connect_from(9, "smtp").hear().starts_with("421 4.3.2 "));
    assert!(server.connect_from(9, "smtp").hear().starts_with("421 4.3.2 "));
    assert!(server.connect("smtp").hear().starts_with("421 4.3.2 "));
    // Who fetches mail brings none that could be stuck.
    assert!(server.connect_from(8, "pop3").hear().starts_with("-ERR [SYS/TEMP] "));
    let returns = asked(&server, &["gate", "returns", "--json"]);
    assert_eq!((&returns["known"], &returns["missing"], &returns["left_out"]), (&2.into(), &0.into(), &0.into()));
    let first = &returns["sources"][0];
    assert_eq!((&first["prefix"], &first["refusals"], &first["rule"]), (&"127.0.0.9/32".into(), &2.into(), &"R4".into()));
    assert_eq!(
        (&first["back_after_seconds"], &first["delivered_after_seconds"], &first["missing"]),
        (&Value::Null, &Value::Null, &false.into())
    );

    drop(held);
    server.eventually("the place is free", |server| server.in_use() == 0);
    server.deliver(ANN, "Subject: back\r\n\r\nHere I am.\r\n");
    let returns = asked(&server, &["gate", "returns", "--json"]);
    let back = &returns["sources"][1];
    assert_eq!((&back["prefix"], &back["class"]), (&"127.0.0.1/32".into(), &"known_good".into()), "who is not back comes first");
    assert!(back["back_after_seconds"].is_u64() && back["delivered_after_seconds"].is_u64(), "{back}");
    let text = server.succeed(&["gate", "returns", "--most", "1"]);
    assert!(text.contains("127.0.0.9/32  -      2        R4    ") && text.contains("  not yet  no\n"), "{text}");
    assert!(text.ends_with("2 refused since the start, 0 of them missing, 1 shown\n"), "{text}");
    assert!(server.succeed(&["gate", "returns", "--missing"]).ends_with(" 0 shown\n"));
}

#[test]
fn who_connects_too_often_is_explained_by_the_rate_that_was_spent() {
    let server = Server::start("[rates]\nconnections_per_network = '2/1h'\n");
    let _held = [server.hello(), server.hello()];
    let said = server.connect("submission").hear();
    assert!(said.contains(" Connecting too often from [127.0.0.0/24], try again in "), "{said}");
    let token = token(&said);
    let key = &asked(&server, &["gate", "explain", token, "--json"])["key"];
    let config = std::fs::read_to_string(server.config()).unwrap();
    let line = 1 + config.lines().position(|line| line.starts_with("connections_per_network")).unwrap();
    assert_eq!((&key["key"], &key["value"]), (&"rates.connections_per_network".into(), &"\"2/1h\"".into()), "{key}");
    assert_eq!(key["origin"]["file"]["line"], line);
}

#[test]
fn what_a_session_is_refused_is_explained_by_what_its_client_was_told() {
    let server = Server::start(&format!("{}[rates]\nmessages_per_source = '1/1h'\n", gate(4)));
    // R11: one message was had already.
    let mut sender = server.hello();
    assert!(sender.ask("MAIL FROM:<>").starts_with("250 ") && sender.ask("RSET").starts_with("250 "));
    let refused = sender.ask("MAIL FROM:<>");
    assert!(refused.starts_with("451 4.7.1 mail.example.org Too many messages in a short time, try again in "), "{refused}");
    let told = explained(&server, &refused, "R11", "rates.messages_per_source", "messages_per_source exceeded, again in ");
    let config = std::fs::read_to_string(server.config()).unwrap();
    let line = 1 + config.lines().position(|line| line.starts_with("messages_per_source")).unwrap();
    assert_eq!((&told["key"]["value"], &told["key"]["origin"]["file"]["line"]), (&"\"1/1h\"".into(), &line.into()));
    assert_eq!((&told["in_use"], &told["limit"], &told["listener"]["service"]), (&1.into(), &4.into(), &"smtp".into()));
    assert_eq!(told["share"][0], json!({ "prefix": "127.0.0.1/32", "sessions": 1 }));
    server.eventually("the log has the token", |server| server.log().contains(&format!("[{}]", token(&refused))));

    // R10: the maildrop is open.
    let _fetches = server.log_in(BOB);
    let mut again = server.connect_tls("pop3s");
    assert!(again.hear().starts_with("+OK ") && again.ask(&format!("USER {BOB}")).starts_with("+OK "));
    let refused = again.ask(&format!("PASS {PASSWORD}"));
    assert!(refused.starts_with("-ERR [IN-USE] mail.example.org Maildrop is open in another session [R10."), "{refused}");
    let told = explained(&server, &refused, "R10", "store.takeover_grace", "another session has the maildrop");
    assert_eq!((&told["account"], &told["listener"]["service"]), (&BOB.into(), &"pop3s".into()));
}

#[test]
fn a_source_whose_mail_was_accepted_is_warned_of_when_it_is_refused() {
    let server = Server::start(&gate(1));
    server.deliver(ANN, "hello\r\n");
    server.eventually("the place is free", |server| server.metric("gatepost_gate_in_use_sessions", "") == 0);
    let _held = server.hello();
    assert!(server.connect("smtp").hear().contains("[R4."));
    server.eventually("the log warns", |server| {
        let log = server.log();
        log.lines().any(|line| line.contains("WARN") && line.contains("session refused") && line.contains("class=\"known_good\""))
    });
    assert_eq!(server.metric("gatepost_gate_known_good_refused_total", ""), 1);
}

#[test]
fn sessions_are_shown_with_who_they_are_and_what_they_do() {
    let server = Server::start("");
    let _smtp = server.hello();
    let mut submission = submit(&server, ANN);
    assert!(submission.ask("MAIL FROM:<ann@example.org>").starts_with("250 "));
    let _pop3 = server.log_in(BOB);
    server.eventually("all wait for their clients", |server| waiting(server) == 3);
    let all = asked(&server, &["sessions", "--json"]);
    assert_eq!(all.as_array().unwrap().len(), 3);
    let find = |key: &str, value: &str| all.as_array().unwrap().iter().find(|session| session[key] == value).unwrap();
    let ann = find("user", ANN);
    assert_eq!(
        (&ann["program"], &ann["listener"]["service"], &ann["commands"]),
        (&"people.example".into(), &"submissions".into(), &3.into())
    );
    assert!(ann["octets_in"].as_u64() > Some(60) && ann["octets_out"].as_u64() > Some(100), "{ann}");
    let slot: f64 = ann["slot_seconds"].as_object().unwrap().values().map(|seconds| seconds.as_f64().unwrap()).sum();
    assert!((slot - ann["seconds"].as_f64().unwrap()).abs() < 0.001, "every second belongs to a phase: {ann}");
    assert!(ann["slot_seconds"]["tls"].as_f64() > Some(0.0), "{ann}");
    assert_eq!((&find("user", BOB)["listener"]["service"], &find("program", "client.example")["user"]), (&"pop3s".into(), &Value::Null));

    assert_eq!(asked(&server, &["sessions", "--user", BOB, "--json"]).as_array().unwrap().len(), 1);
    assert_eq!(asked(&server, &["sessions", "--source", "127.0.0.0/8", "--json"]).as_array().unwrap().len(), 3);
    assert_eq!(asked(&server, &["sessions", "--source", "192.0.2.1", "--json"]).as_array().unwrap().len(), 0);
    let table = server.succeed(&["sessions"]);
    assert!(table.starts_with("ID ") && table.contains("people.example") && table.ends_with("3 sessions\n"), "{table}");
}

#[test]
fn a_session_is_ended_at_once_when_idle_and_after_its_message_otherwise() {
    let server = Server::start("");
    let mut idle = server.hello();
    let mut sending = server.in_data(ANN);
    let mut pop3 = server.log_in(BOB);
    server.eventually("all wait for their clients", |server| waiting(server) == 3);
    let all = asked(&server, &["sessions", "--json"]);
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap()).collect();
    server.succeed(&[&["sessions", "end"], &ids[..]].concat());
    assert_eq!(idle.hear(), "421 4.3.2 mail.example.org Session ended by the operator, try again later");
    assert!(idle.is_over());
    assert_eq!(pop3.hear(), "-ERR [SYS/TEMP] Session ended by the operator, try again later");
    assert!(pop3.is_over());
    server.eventually("one is left", |server| server.in_use() == 1);
    assert_eq!(asked(&server, &["sessions", "--json"])[0]["ending"], true);
    let accepted = sending.ask("Subject: the last\r\n\r\nDone.\r\n.");
    assert!(accepted.starts_with("250 2.0.0 "), "nothing is cut between a durable accept and its 250: {accepted}");
    assert_eq!(sending.hear(), "421 4.3.2 mail.example.org Session ended by the operator, try again later");
    assert!(sending.is_over());
    server.eventually("all are counted", |server| server.metric("gatepost_sessions_ended_total", "end=\"ended\"") == 3);
    let gone = server.command(&["sessions", "end", ids[0]]);
    assert!(String::from_utf8(gone.stderr).unwrap().contains("there is no session"));
    assert_eq!(server.maildrop(ANN).len(), 1);
}

#[test]
fn a_user_has_so_many_sessions_over_submission_and_pop3_and_an_exempt_one_more() {
    let users = format!("[[gate.users]]\nname = \"{BOB}\"\nexempt = true\nreason = \"a test\"\nexpires = \"2999-12-31\"\n");
    let server = Server::start(&format!("[gate]\nsessions_per_user = 2\n{users}"));
    let mut held = vec![submit(&server, ANN), server.log_in(ANN)];
    // The wrong password is told nothing of it.
    let mut guess = greeted(&server);
    assert!(guess.ask(&plain(ANN, "wrong")).starts_with("535 5.7.8 "));
    let mut third = greeted(&server);
    let refused = third.ask(&plain(ANN, PASSWORD));
    assert!(refused.starts_with("421 4.7.0 mail.example.org Too many sessions for this user (limit 2) [R9."), "{refused}");
    explained(&server, &refused, "R9", "gate.sessions_per_user", "the user has 2 sessions of 2");
    assert!(server.succeed(&["gate", "explain", token(&refused)]).contains(&format!("account   {ANN}\n")));
    assert!(third.is_over());
    let mut pop3 = server.connect_tls("pop3s");
    assert!(pop3.hear().starts_with("+OK ") && pop3.ask(&format!("USER {ANN}")).starts_with("+OK "));
    let refused = pop3.ask(&format!("PASS {PASSWORD}"));
    assert!(refused.starts_with("-ERR [IN-USE] mail.example.org Too many sessions for this user (limit 2) [R9."), "{refused}");
    explained(&server, &refused, "R9", "gate.sessions_per_user", "the user has 2 sessions of 2");
    server.eventually("it is logged", |server| server.log().contains("user has too many sessions"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("user has too many sessions")).unwrap();
    for part in [ANN, "limit=2", "127.0.0.1 \"people.example\"", "commands"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    // A session that ends makes room, and its maildrop is another matter.
    assert!(held.remove(0).ask("QUIT").starts_with("221 "));
    server.eventually("it is over", |server| asked(server, &["sessions", "--user", ANN, "--json"]).as_array().unwrap().len() == 1);
    held.push(submit(&server, ANN));

    let _bobs: Vec<_> = [(); 4].map(|()| submit(&server, BOB)).into();
    let status = asked(&server, &["gate", "status", "--json"]);
    let bob = &status["users"][0];
    assert_eq!((&bob["name"], &bob["held"], &bob["hits"], &bob["expired"]), (&BOB.into(), &4.into(), &2.into(), &false.into()));
    let status = server.succeed(&["gate", "status"]);
    assert!(status.contains("needed 2 times: a test"));
    let in_line = |phase: &str| phase.find(" now ") == status.lines().find(|line| line.starts_with("phase ")).unwrap().find(" now ");
    assert!(status.lines().filter(|line| line.starts_with("phase ")).all(in_line), "{status}");
}

#[test]
fn who_loses_the_account_or_its_password_is_out() {
    let server = Server::start("");
    let (mut idle, mut sending, mut pop3) = (submit(&server, ANN), submit(&server, ANN), server.log_in(ANN));
    let mut other = submit(&server, BOB);
    assert!(sending.ask(&format!("MAIL FROM:<{ANN}>")).starts_with("250 "));
    let said = server.succeed(&["user", "passwd", "Ann@Example.org", "--generate"]);
    assert!(said.starts_with("Ann@Example.org has a new password; 3 sessions of it end at their next command\npassword: "), "{said}");
    for smtp in [&mut idle, &mut sending] {
        assert_eq!(smtp.hear(), "421 4.3.2 mail.example.org Session ended by the operator, try again later");
    }
    assert!(pop3.hear().starts_with("-ERR [SYS/TEMP] "));
    server.eventually("they are over", |server| asked(server, &["sessions", "--user", ANN, "--json"]).as_array().unwrap().is_empty());
    assert!(other.ask("NOOP").starts_with("250 "), "others have noticed nothing");

    let said = server.succeed(&["user", "remove", BOB]);
    assert_eq!(said, "bob@example.org removed, and its mail; 1 session of it ends at its next command\n");
    assert!(other.hear().starts_with("421 4.3.2 "));
}

#[test]
fn a_drain_of_the_operators_is_undone() {
    let server = Server::start("");
    let (mut idle, mut sending) = (server.hello(), server.in_data(ANN));
    assert!(server.succeed(&["drain"]).starts_with("drained: new connections are refused with R1, 2 sessions finish"));
    let refused = server.connect("smtp").hear();
    assert!(refused.starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."), "{refused}");
    assert_eq!((&server.status()["node"], server.http("/readyz").0), (&"drained".into(), 503));
    assert!(sending.ask("Subject: in time\r\n\r\n.").starts_with("250 2.0.0 "));
    let told = sending.hear();
    assert!(told.starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."), "{told}");
    explained(&server, &told, "R1", "timeouts.drain", "the server is draining");
    assert!(!server.command(&["drain"]).status.success(), "it is drained already");
    assert!(server.succeed(&["drain", "--undo"]).contains("the node is open"));
    assert!(idle.ask("NOOP").starts_with("250 "), "who was idle all the time has noticed nothing");
    server.deliver(BOB, "Open again.\r\n");
    assert_eq!(server.http("/readyz").0, 200);
}

#[test]
fn a_drain_of_the_operators_has_a_deadline_for_the_idle() {
    let server = Server::start("[timeouts]\ndrain = \"1s\"\n");
    let (mut idle, mut sending, mut pop3) = (server.hello(), server.in_data(ANN), server.log_in(BOB));
    server.succeed(&["drain"]);
    assert!(idle.hear().starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."));
    assert!(pop3.hear().starts_with("-ERR [SYS/TEMP] "));
    assert!(idle.is_over() && pop3.is_over());
    server.eventually("it is told", |server| server.log().contains("idle sessions sent away"));
    assert!(sending.ask("Subject: in its own time\r\n\r\n.").starts_with("250 2.0.0 "));
    assert!(sending.hear().starts_with("421 4.3.2 mail.example.org Service restarting, try again shortly [R1."));
    server.eventually("nobody is left", |server| server.in_use() == 0);
    server.eventually("all are counted", |server| server.metric("gatepost_sessions_ended_total", "end=\"drained\"") == 3);

    // The process is still there, and with a longer time in force the next drain is undone before anybody notices.
    server.edit("drain = \"1s\"", "drain = \"1h\"");
    assert!(server.succeed(&["reload"]).contains("in force: timeouts.drain"));
    server.succeed(&["drain", "--undo"]);
    let mut stays = server.hello();
    server.succeed(&["drain"]);
    server.succeed(&["drain", "--undo"]);
    assert!(stays.ask("NOOP").starts_with("250 "));
}

#[test]
fn a_limit_for_a_time_goes_before_the_file_and_ends_by_itself() {
    let server = Server::start(&gate(1));
    let first = server.hello();
    let limit = |server: &Server| server.status()["max_inbound"].as_u64().unwrap();
    assert!(server.succeed(&["gate", "set", "max_inbound", "2", "--for", "1h"]).contains("max_inbound = 2 for another 59m"));
    let _second = server.hello();
    assert!(server.connect("smtp").hear().starts_with("421 4.3.2 "));
    server.edit("max_inbound = 1", "max_inbound = 3");
    let reloaded = server.succeed(&["reload"]);
    assert!(reloaded.starts_with("not yet: gate.max_inbound stays 2 for another 59m"), "{reloaded}");
    assert!(reloaded.ends_with("then it is 3, as in the file\n"), "{reloaded}");
    let status = asked(&server, &["gate", "status", "--json"]);
    assert_eq!(
        (&status["limit"], &status["overridden"]["max_inbound"], &status["max_inbound"]["value"]),
        (&2.into(), &2.into(), &"3".into())
    );
    server.succeed(&["gate", "set", "max_inbound", "--undo"]);
    assert_eq!((limit(&server), server.command(&["gate", "set", "max_inbound", "--undo"]).status.success()), (3, false));

    for (value, time, why) in [("0", "1h", "max_inbound"), ("5", "30d", "a limit is set for 1s to 7d")] {
        let refused = server.command(&["gate", "set", "max_inbound", value, "--for", time]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && said.contains(why), "{said}");
    }
    drop(first);
    server.succeed(&["gate", "set", "max_inbound", "9", "--for", "1s"]);
    server.eventually("the time is over", |server| limit(server) == 3);
    server.eventually("it is told", |server| server.log().contains("max_inbound as in the file again"));
}

#[test]
fn a_limit_for_a_time_may_be_below_a_ceiling_and_not_below_what_it_must_hold() {
    let client = "{ name = 'office', networks = ['192.0.2.0/28'], class = 'trusted', sessions = 20 }";
    let server =
        Server::start(&format!("[gate]\nmax_inbound = 30\nreserve = 4\nclients = [{client}]\n[rates]\ntarpit = '1s'\ntarpit_places = 9\n"));
    server.succeed(&["gate", "set", "max_inbound", "10", "--for", "1h"]);
    let refused = |arguments: &[&str], why: &[&str]| {
        let output = server.command(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && why.iter().all(|part| said.contains(part)), "{said}");
        assert_eq!(server.status()["max_inbound"], 10);
    };
    let tarpit = "rates.tarpit_places: tarpit_places < gate.max_inbound does not hold: ";
    refused(&["gate", "set", "max_inbound", "9", "--for", "1h"], &[&format!("{tarpit}9 >= 9")]);
    refused(&["gate", "set", "max_inbound", "4", "--for", "1h"], &["gate.reserve: reserve < max_inbound does not hold: 4 >= 4", tarpit]);
    // The file is right by itself, and not beside what is set.
    server.edit("tarpit_places = 9", "tarpit_places = 10");
    refused(&["reload"], &[&format!("{tarpit}10 >= 10"), "max_inbound is set for a time"]);
    server.succeed(&["gate", "set", "max_inbound", "--undo"]);
    server.succeed(&["reload"]);
}

#[test]
fn a_gate_that_is_full_says_so_and_what_to_do() {
    let server = Server::start(&gate(2));
    let held = [server.hello(), server.hello()];
    server.eventually("it is told", |server| server.log().contains("gate is full"));
    let log = server.log();
    let line = log.lines().find(|line| line.contains("gate is full")).unwrap();
    for part in ["in_use=2", "limit=2", "client ", "127.0.0.1/32 2", "one source holds half of the places"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    let status = asked(&server, &["gate", "status", "--json"]);
    assert_eq!((&status["occupancy"], &status["phases"][0]["sessions"]), (&"full".into(), &2.into()));
    assert_eq!(server.metric("gatepost_gate_full_total", ""), 1);
    assert!(server.metric("gatepost_slot_client_seconds_total", "") < 3600);
    drop(held);
    server.eventually("it is clear again", |server| server.log().contains("gate is clear again"));
}

/// So many places, and every one anybody's.
fn gate(places: u32) -> String {
    format!("[gate]\nmax_inbound = {places}\nreserve = 0\nfair_share_alpha = 0\n")
}

/// What `gatepost gate explain` says of a refusal, which is by this rule and key.
#[track_caller]
fn explained(server: &Server, said: &str, rule: &str, key: &str, cause: &str) -> Value {
    let explained = asked(server, &["gate", "explain", token(said), "--json"]);
    assert_eq!((&explained["rule"], &explained["key"]["key"], &explained["token"]), (&rule.into(), &key.into(), &token(said).into()));
    assert!(explained["cause"].as_str().unwrap().starts_with(cause) && explained["remedy"] != "", "{explained}");
    explained
}

fn asked(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&server.succeed(arguments)).unwrap()
}

/// Sessions that wait for their clients.
fn waiting(server: &Server) -> usize {
    let all = asked(server, &["sessions", "--json"]);
    all.as_array().unwrap().iter().filter(|session| session["phase"] == "client").count()
}

/// A submission session behind EHLO.
fn greeted(server: &Server) -> Dialogue {
    let mut submission = server.connect_tls("submissions");
    assert!(submission.hear().starts_with("220 "));
    assert!(submission.ask("EHLO people.example").starts_with("250 "));
    submission
}

/// The same, behind the right password.
fn submit(server: &Server, account: &str) -> Dialogue {
    let mut submission = greeted(server);
    assert!(submission.ask(&plain(account, PASSWORD)).starts_with("235 "));
    submission
}

fn plain(account: &str, password: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine};
    format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0{account}\0{password}")))
}
