//! `gatepost check` on files that are wrong, as a postmaster sees it.
//!
//! `tests/config/NAME.toml` is what was written and `tests/config/NAME.txt` what is answered, word for word.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs in a folder, so that answers name files without it.
fn gatepost(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatepost")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

fn written() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[track_caller]
fn answers(name: &str, exit: i32) {
    let file = format!("{name}.toml");
    let output = gatepost(&written(), &["check", "--config", &file]);
    let expected = fs::read_to_string(written().join(format!("{name}.txt"))).unwrap_or_default();
    assert_eq!(text(&output.stdout), expected, "if that is right: cd tests/config && gatepost check --config {file} > {name}.txt");
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("", Some(exit)));
}

#[test]
fn syntax() {
    answers("syntax", 3);
}

#[test]
fn keys_types_and_units() {
    answers("values", 3);
}

#[test]
fn rules() {
    answers("rules", 3);
}

#[test]
fn ceilings_nobody_could_reach() {
    answers("ceilings", 3);
}

#[test]
fn an_open_relay() {
    answers("relay", 3);
}

#[test]
fn warnings_do_not_stand_in_the_way() {
    answers("warnings", 0);
}

#[test]
fn json_has_every_fault_with_its_place() {
    let output = gatepost(&written(), &["check", "--json", "--config", "values.toml"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["file"], "values.toml");
    let faults = report["faults"].as_array().unwrap();
    let lines = fs::read_to_string(written().join("values.txt")).unwrap().lines().count();
    // The last line of the text counts them.
    assert_eq!(faults.len(), lines - 1);
    let first = &faults[0];
    assert_eq!(
        (&first["severity"], &first["line"], &first["column"], &first["key"]),
        (&"error".into(), &2.into(), &12.into(), &"data_dir".into())
    );
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let output = gatepost(&written(), &["check", "--config", "nowhere.toml"]);
    let why =
        "nowhere.toml: there is no such file; `gatepost config example > nowhere.toml` makes one to start from, --config names another";
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("", Some(3)));
    assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
}

/// A folder with a configuration, a certificate and its key, and another key.
fn site() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let certified = rcgen::generate_simple_self_signed(["mail.example.org".to_owned()]).unwrap();
    put("certificate.pem", &certified.cert.pem());
    put("key.pem", &certified.signing_key.serialize_pem());
    put("other.pem", &rcgen::KeyPair::generate().unwrap().serialize_pem());
    put("good.toml", &configuration("key.pem"));
    folder
}

fn configuration(key: &str) -> String {
    format!(
        "hostname = \"mail.example.org\"\nuser = \"root\"\ndata_dir = \"data\"\n\n[tls]\ncertificate = \"certificate.pem\"\nkey = \"{key}\"\n"
    )
}

#[test]
fn a_good_file_can_be_used() {
    let site = site();
    let output = gatepost(site.path(), &["check", "--config", "good.toml"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("good.toml: can be used\n", Some(0)));
}

#[test]
fn certificate_and_key_must_be_there_and_fit() {
    let site = site();
    for (key, line, place) in [("other.pem", 7, "tls.key"), ("nowhere.pem", 7, "tls.key"), ("certificate.pem", 7, "tls.key")] {
        fs::write(site.path().join("bad.toml"), configuration(key)).unwrap();
        let output = gatepost(site.path(), &["check", "--config", "bad.toml"]);
        let said = text(&output.stdout);
        assert!(said.starts_with(&format!("bad.toml:{line}: {place}: ")) && said.contains(key), "{said}");
        assert_eq!(said.lines().count(), 2, "{said}");
        assert_eq!(output.status.code(), Some(3));
    }
}

/// The first thing anybody does with a new program.
#[test]
fn the_example_is_where_a_site_starts() {
    let site = site();
    let example = gatepost(site.path(), &["config", "example"]);
    let mine = text(&example.stdout)
        .replace("/etc/gatepost/tls/fullchain.pem", "certificate.pem")
        .replace("/etc/gatepost/tls/privkey.pem", "key.pem")
        .replace("#data_dir = \"/var/lib/gatepost\"", "data_dir = \"data\"")
        .replace("#user = \"gatepost\"", "user = \"root\"");
    fs::write(site.path().join("mine.toml"), mine).unwrap();
    let output = gatepost(site.path(), &["check", "--config", "mine.toml"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("mine.toml: can be used\n", Some(0)));
}
