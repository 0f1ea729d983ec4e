//! The example, the reference, and what changes; faulty files are in `tests/check.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;

fn read(text: &str) -> Config {
    let read = document::read(text);
    assert_eq!(read.faults, [], "{text}");
    read.config
}

/// The defaults, and what the example has filled in.
fn exemplary() -> Config {
    let tls = Tls {
        certificate: Some("/etc/gatepost/tls/fullchain.pem".into()),
        key: Some("/etc/gatepost/tls/privkey.pem".into()),
        ..Tls::default()
    };
    Config { hostname: Some("mail.example.org".parse().unwrap()), tls, ..Config::default() }
}

fn keys() -> Vec<(String, serde_json::Value)> {
    fn below(schema: &serde_json::Value, path: &str, found: &mut Vec<(String, serde_json::Value)>) {
        for (name, known) in schema["properties"].as_object().unwrap() {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            found.push((key.clone(), known.clone()));
            if known["properties"].is_object() {
                below(known, &key, found);
            }
        }
    }
    let mut found = Vec::new();
    below(&schema::whole(), "", &mut found);
    found
}

#[test]
fn nothing_has_to_be_written() {
    assert_eq!(read(""), Config::default());
}

#[test]
fn the_example_holds_the_defaults() {
    let commented = example();
    assert_eq!(read(&commented), exemplary());
    let uncommented: Vec<&str> = commented
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).unwrap_or(line))
        .collect();
    let uncommented = uncommented.join("\n");
    assert_eq!(read(&uncommented), exemplary());
    // Every key is in it, so that was all of them.
    for (key, known) in keys().into_iter().filter(|(_, known)| !known["properties"].is_object()) {
        let name = key.rsplit('.').next().unwrap();
        assert!(uncommented.lines().any(|line| line.starts_with(&format!("{name} = "))), "{key}: {known}");
    }
}

#[test]
fn the_rules_find_nothing_in_the_example() {
    assert_eq!(rules::findings(&exemplary(), &document::read("").document), []);
}

/// The golden files have the words; here is what is no fault.
#[test]
fn only_a_ceiling_that_is_written_is_held_against_max_inbound() {
    let faulty = |text: &str| -> Vec<String> {
        let read = document::read(text);
        let about_the_gate = |finding: &fault::Finding| finding.key.starts_with("gate.");
        rules::findings(&read.config, &read.document).into_iter().filter(about_the_gate).map(|finding| finding.key).collect()
    };
    assert_eq!(faulty("[gate]\nmax_inbound = 1"), [""; 0], "nobody wrote the others");
    assert_eq!(faulty("[gate]\nmax_inbound = 10\nsessions_per_address = 10\nsessions_per_user = 10"), [""; 0]);
    assert_eq!(faulty("[gate]\nmax_inbound = 10\nsessions_per_address = 11"), ["gate.sessions_per_address"]);
    assert_eq!(faulty("gate = { max_inbound = 10, sessions_per_site = 200 }"), ["gate.sessions_per_site"], "the default, but written");
    assert_eq!(faulty("gate.sessions_per_user = 1001"), ["gate.sessions_per_user"], "above the default of max_inbound");
    assert_eq!(faulty("[gate]\nmax_inbound = 'many'\nsessions_per_user = 1001"), [""; 0], "nobody knows how many");
    let user = |sessions| format!("[[gate.users]]\nname = 'ann@example.org'\nsessions = {sessions}\nreason = 'a test'");
    assert_eq!((faulty(&user(1000)), faulty(&user(1001))), (vec![], vec!["gate.users".to_owned()]));
}

#[test]
fn the_files_are_what_the_types_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, text, command) in [
        ("conf/gatepost.toml", example(), "gatepost config example > conf/gatepost.toml"),
        ("docs/configuration.md", reference(), "gatepost config reference > docs/configuration.md"),
    ] {
        let checked_in = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(checked_in == text, "{file} is not what the types say: `cargo run -- {}`", command.trim_start_matches("gatepost "));
    }
}

#[test]
fn every_key_says_what_it_is_for() {
    for (key, known) in keys() {
        assert!(known["description"].as_str().is_some_and(|text| !text.is_empty()), "{key} has no doc comment");
        assert!(known["$ref"].is_null(), "{key} is not described in place");
    }
}

/// One limit is in one place: a key, the limit's name in the protocol's table, and their default.
#[test]
fn the_limits_of_the_protocols_can_be_set_under_their_names() {
    let value = serde_json::to_value(Config::default()).unwrap();
    let default = |table: &str, name: &str| {
        let value = &value[table][name];
        let text = value.as_str().unwrap_or_default();
        let seconds = text.parse::<mail::Span>().ok().map(|span| span.0.as_secs());
        value.as_u64().or(seconds).or_else(|| text.parse::<mail::ByteSize>().ok().map(|size| size.0))
    };
    for limit in smtp::limits::TABLE.iter().filter(|limit| limit.settable) {
        assert_eq!(default("limits", limit.name).or_else(|| default("timeouts", limit.name)), Some(limit.value), "{}", limit.name);
    }
    for limit in pop3::limits::TABLE.iter().filter(|limit| limit.settable) {
        assert_eq!(default("pop3", limit.name).or_else(|| default("limits", limit.name)), Some(limit.value), "{}", limit.name);
    }
}

#[test]
fn what_is_written_reads_back() {
    let config = exemplary();
    assert_eq!(read(&toml::to_string(&config).unwrap()), config);
}

#[test]
fn changes_are_named_and_say_when_they_take_effect() {
    let old = Config::default();
    assert_eq!(old.changes(&old), []);
    let new = read(
        "hostname = 'mail.example.org'\ndata_dir = '/srv/mail'\n[listen]\npop3 = []\n[gate]\nmax_inbound = 30\n\
         [when_full]\nsmtp = { wait = '2s', places = 9 }\n\
         [timeouts]\ncommand = '10m'\n[relay]\nnetworks = ['192.0.2.0/24']\n[auth]\nfailures_per_account = 5\nhash_passes = 3\n\
         [store]\nreserve_free = '1GiB'\n[log]\nlevel = 'debug'\nformat = 'json'\n",
    );
    let said: Vec<String> = old.changes(&new).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "hostname: unset -> \"mail.example.org\"",
            "data_dir: \"/var/lib/gatepost\" -> \"/srv/mail\" (needs a restart)",
            "listen.pop3: [\"0.0.0.0:110\", \"[::]:110\"] -> [] (needs a restart)",
            "gate.max_inbound: 1000 -> 30",
            "when_full.smtp: \"refuse\" -> { wait = \"2s\", places = 9 }",
            "timeouts.command: \"5m\" -> \"10m\"",
            "relay.networks: [] -> [\"192.0.2.0/24\"]",
            "auth.hash_passes: 2 -> 3 (needs a restart)",
            "auth.failures_per_account: 10 -> 5",
            "store.reserve_free: \"256MiB\" -> \"1GiB\" (needs a restart)",
            "log.level: \"info\" -> \"debug\"",
            "log.format: \"text\" -> \"json\" (needs a restart)",
        ]
    );
    assert_eq!(new.changes(&old).len(), said.len());
}

/// A key that a crate renames must not lose its mark.
#[test]
fn keys_that_are_marked_exist() {
    let keys: BTreeMap<String, serde_json::Value> = keys().into_iter().collect();
    for (table, known) in &keys {
        for name in known["x-restart"].as_array().into_iter().flatten() {
            assert!(keys.contains_key(&format!("{table}.{}", name.as_str().unwrap())), "[{table}] has no {name}");
        }
    }
}

#[test]
fn relative_paths_are_taken_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gatepost.toml");
    let smtp_only = "listen = { submission = [], submissions = [], pop3 = [], pop3s = [] }";
    fs::write(&file, format!("hostname = 'mail.example.org'\nuser = 'root'\ndata_dir = 'data'\n{smtp_only}\n")).unwrap();
    let config = Config::load(&file).unwrap().config;
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.control_socket(), folder.path().join("data/control.sock"));

    let mut tls = Config { tls: Tls { certificate: Some("tls/c.pem".into()), key: Some("/tls/k.pem".into()), ..Tls::default() }, ..config };
    tls.anchor(Path::new("/etc/gatepost"));
    assert_eq!((tls.tls.certificate, tls.tls.key), (Some("/etc/gatepost/tls/c.pem".into()), Some("/tls/k.pem".into())));
}

/// Whatever it is cut to, the text is read to an end, and the faults have lines it has.
#[test]
fn anything_can_be_read() {
    let whole = example()
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| !line.starts_with(' '))
        .collect::<Vec<_>>()
        .join("\n");
    for end in (0..whole.len()).step_by(7) {
        let cut = &whole[..end];
        for text in [cut.to_owned(), cut.replace('"', ""), cut.replace('=', "= ["), cut.replace('[', "[[")] {
            let lines = text.matches('\n').count() + 1;
            assert!(document::read(&text).faults.iter().all(|fault| fault.line.is_none_or(|line| line <= lines)), "{text}");
        }
    }
}

/// The files that `tests/corpora.rs` leaves to this test.
#[test]
fn the_corpus_of_the_fuzz_target_is_survived() {
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/configuration"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files.iter().for_each(|file| promises::hold(&fs::read(file).unwrap()));
}

#[test]
fn whoever_is_let_in_by_name_is_told_to_the_gate_and_lmtp_only_where_it_is_spoken() {
    let keys =
        |text: &str| -> Vec<&'static str> { toml::from_str::<Config>(text).unwrap().let_in().into_iter().map(|(_, key)| key).collect() };
    assert!(keys("").is_empty());
    let all = "[proxy]\ntrusted_proxies = ['192.0.2.1']\n[relay]\nnetworks = ['192.0.2.2']\nxclient_networks = ['192.0.2.3']\nlmtp_networks = ['192.0.2.4']\n";
    assert_eq!(keys(all), ["proxy.trusted_proxies", "relay.networks", "relay.xclient_networks"]);
    let all = format!("{all}[listen]\nlmtp = ['127.0.0.1:24']\n");
    assert_eq!(keys(&all).last(), Some(&"relay.lmtp_networks"));
}
