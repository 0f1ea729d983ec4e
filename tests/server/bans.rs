//! Bans, by hand and by the server, and who is never banned.

use serde_json::{Value, json};

use crate::harness::Server;

const BAN_AFTER: &str = "[gate]\nban_after = '5/1h'\nban_time = '2h'\n[[gate.clients]]\nname = 'probe'\nnetworks = ['127.0.0.7']\nclass = 'trusted'\n\
    [proxy]\ntrusted_proxies = ['127.0.0.8']\n[limits]\nbad_commands = 100\n";

#[test]
fn an_operators_ban_holds_at_once_and_over_a_restart() {
    let mut server = Server::start("");
    let told = server.succeed(&["ban", "add", "127.0.0.0/28", "--for", "1d", "--reason", "spam run"]);
    assert_eq!(told, "127.0.0.0/28 is banned for 1d; `gatepost ban remove 127.0.0.0/28` ends it\n");
    for (service, beginning) in [("smtp", "421 4.7.0 "), ("pop3", "-ERR [SYS/TEMP] ")] {
        let said = server.connect_from(9, service).hear();
        assert!(
            said.starts_with(beginning) && said.contains(" Connections from [127.0.0.0/28] are not accepted at present [R0b."),
            "{said}"
        );
    }
    assert!(server.connect_from(20, "smtp").hear().starts_with("220 "));
    server.stop();
    server.run();
    assert!(server.connect_from(9, "smtp").hear().contains("[R0b."));
    let bans = asked(&server, &["ban", "list", "--json"]);
    let ban = &bans[0];
    assert_eq!(
        (&ban["network"], &ban["reason"], &ban["automatic"], &ban["refused"]),
        (&"127.0.0.0/28".into(), &"spam run".into(), &false.into(), &1.into())
    );
    assert!(server.succeed(&["ban", "list"]).ends_with("  operator  1        spam run\n1 ban\n"));
    assert_eq!(server.succeed(&["ban", "remove", "127.0.0.0/28"]), "127.0.0.0/28 is banned no longer\n");
    assert!(server.connect_from(9, "smtp").hear().starts_with("220 "));
    assert_eq!(asked(&server, &["ban", "list", "--json"]), json!([]));
}

#[test]
fn what_an_operator_was_told_of_is_not_lost() {
    let mut server = Server::start("");
    let networks = ["192.0.2.7/32", "198.51.100.0/24", "203.0.113.0/24"];
    for network in networks {
        server.succeed(&["ban", "add", network, "--for", "1d", "--reason", "spam run"]);
    }
    server.succeed(&["ban", "remove", networks[0]]);
    server.kill();
    server.run();
    let bans = asked(&server, &["ban", "list", "--json"]);
    let known: Vec<_> = bans.as_array().unwrap().iter().map(|ban| ban["network"].as_str().unwrap()).collect();
    assert_eq!(known, networks[1..]);
}

#[test]
fn what_is_no_ban_is_refused_in_words() {
    let server = Server::start(BAN_AFTER);
    for (arguments, why) in [
        (["ban", "add", "127.0.0.7", "--for", "1d", "--reason", "x"], "127.0.0.7/32 is let in by gate.clients, \"probe\""),
        (["ban", "add", "127.0.0.0/8", "--for", "1d", "--reason", "x"], "127.0.0.8/32 is let in by proxy.trusted_proxies"),
        (["ban", "add", "nobody", "--for", "1d", "--reason", "x"], "\"nobody\" is not a network"),
        (["ban", "add", "192.0.2.7", "--for", "60d", "--reason", "x"], "a ban lasts from 1s to 30d: this is 60d"),
        (["ban", "add", "192.0.2.7", "--for", "1d", "--reason", " "], "a ban has a reason"),
        (["ban", "add", "0.0.0.0/0", "--for", "1d", "--reason", "x"], "0.0.0.0/0 is everybody"),
    ] {
        let output = server.command(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
    let output = server.command(&["ban", "remove", "192.0.2.7"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("192.0.2.7 is not banned"));
}

#[test]
fn who_fails_too_often_is_banned_and_who_is_let_in_by_name_never() {
    let server = Server::start(BAN_AFTER);
    let fail = |host: u8, times: u32| {
        let mut client = server.connect_from(host, "smtp");
        if host == 8 {
            client.say("PROXY TCP4 127.0.0.7 127.0.0.1 40000 25\r\n");
        }
        client.hear();
        (0..times).for_each(|_| assert!(client.ask("NONSENSE").starts_with("500 ")));
        client
    };
    let _offender = fail(9, 5);
    assert!(server.connect_from(9, "smtp").hear().starts_with("220 "));
    let _again = fail(9, 1);
    let said = server.connect_from(9, "pop3").hear();
    assert!(said.contains("[127.0.0.9] are not accepted at present [R0b."), "{said}");
    server.eventually("it is logged", |server| server.log().contains("source banned network=127.0.0.9/32 seconds=7200"));
    assert_eq!(server.metric("gatepost_gate_sources_banned_total", ""), 1);
    let bans = asked(&server, &["ban", "list", "--json"]);
    assert_eq!((&bans[0]["network"], &bans[0]["automatic"]), (&"127.0.0.9".into(), &true.into()));

    for host in [7, 8] {
        let _client = fail(host, 50);
    }
    assert!(server.connect_from(7, "smtp").hear().starts_with("220 "));
    assert!(server.connect_from(10, "smtp").hear().starts_with("220 "));
    assert_eq!(asked(&server, &["ban", "list", "--json"]).as_array().unwrap().len(), 1);
}

fn asked(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&server.succeed(arguments)).unwrap()
}
