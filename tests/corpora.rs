//! Every file of every fuzz target's corpus, given to what that target tries (`fuzz/README.md`).
//!
//! The configuration's are in the binary's own tests (`src/config/tests.rs`), because it has no library.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it was at"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../crates/mail/tests/drive/mod.rs"]
mod mail_drive;
#[path = "../crates/pop3/tests/drive/mod.rs"]
mod pop3_drive;
#[path = "../crates/screening/tests/drive/mod.rs"]
mod screening_drive;
#[path = "../crates/smtp/tests/drive/mod.rs"]
mod smtp_drive;
#[path = "../crates/store-embedded/tests/drive/mod.rs"]
mod store_drive;

/// Tells which file it was only when there is something to tell: the harness keeps what a passing test prints.
fn replay(target: &str, drive: fn(&[u8])) {
    let mut files: Vec<PathBuf> = fs::read_dir(fuzz().join("corpus").join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {target}");
    for file in files {
        eprintln!("{}", file.display());
        drive(&fs::read(&file).unwrap());
    }
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

#[test]
fn smtp_session() {
    replay("smtp_session", smtp_drive::drive);
}

#[test]
fn pop3_session() {
    replay("pop3_session", pop3_drive::drive);
}

#[test]
fn dots() {
    replay("dots", mail_drive::dots);
}

#[test]
fn lines() {
    replay("lines", mail_drive::lines);
}

#[test]
fn binary() {
    replay("binary", mail_drive::binary::binary);
}

#[test]
fn addresses() {
    replay("addresses", mail_drive::addresses);
}

#[test]
fn milter() {
    replay("milter", screening_drive::milter);
}

#[test]
fn segment() {
    replay("segment", store_drive::segment);
}

#[test]
fn recovery() {
    replay("recovery", store_drive::recovery);
}

/// A new target is not forgotten here, nor a corpus left behind.
#[test]
fn every_target_has_its_corpus_and_its_replay() {
    let names = |folder: &str| -> BTreeSet<String> {
        fs::read_dir(fuzz().join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().into())
            .collect()
    };
    let targets = names("fuzz_targets");
    assert_eq!(targets, names("corpus"));
    let replays = [include_str!("corpora.rs"), include_str!("../src/config/tests.rs")].concat();
    for target in targets {
        assert!(replays.contains(&format!("replay(\"{target}\"")) || replays.contains(&format!("fuzz/corpus/{target}\"")), "{target}");
    }
}
