//! `docs/rfc.md` and `docs/safety.md` name the tests that show what they say, in the last cell of each row: each is there.
//!
//! A transcript is `smtp/NAME.txt` or `pop3/NAME.txt`, where `*` stands for any text; a function is `PATH.rs::NAME`, and `::NAME` is one more of the
//! same file. What a test shows is for the reader to judge; that it is no longer there is found here.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_rfc_has_a_status_and_its_tests() {
    let mut numbers = BTreeSet::new();
    for row in rows("docs/rfc.md") {
        let [number, _, status, tests] = row.as_slice() else { panic!("{row:?} has not four cells") };
        assert!(number == "-" || numbers.insert(number.clone()), "{number} has two rows");
        let (word, what) = status.split_once(": ").unwrap_or((status, ""));
        match word {
            "yes" => {}
            "in part" | "no" => assert!(!what.is_empty(), "{number}: what not, or why not"),
            _ => panic!("{number}: {status} begins with none of yes, in part, no"),
        }
        let found = all_there(tests, number);
        assert!(found > 0 || word == "no", "{number}: {word}, and nothing shows it");
    }
    assert!(numbers.len() > 40, "{numbers:?}");
}

#[test]
fn every_treatment_of_hostile_input_has_its_tests() {
    let rows = rows("docs/safety.md");
    for row in &rows {
        let [input, treatment, why, tests] = row.as_slice() else { panic!("{row:?} has not four cells") };
        assert!(!treatment.is_empty() && !why.is_empty(), "{input}: what is done, and why");
        assert!(all_there(tests, input) > 0, "{input}: nothing shows it");
    }
    assert!(rows.len() > 30, "{} rows", rows.len());
}

/// The cells of every row of every table, without the heads.
fn rows(page: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(in_the_tree(page)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |at: usize| lines[at].starts_with('|') && !lines[at].starts_with("| ---");
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("| ---"));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    (0..lines.len()).filter(|at| is_row(*at) && !is_head(*at)).map(|at| cells(lines[at])).collect()
}

/// Looks for every test that a cell names; how many there are.
fn all_there(cell: &str, row: &str) -> usize {
    let (mut file, mut found) = (None, 0);
    for name in cell.split('`').skip(1).step_by(2) {
        if let Some((path, function)) = name.split_once("::") {
            if !path.is_empty() {
                file = Some(path);
            }
            let path = file.unwrap_or_else(|| panic!("{row}: {name} is of no file"));
            assert!(is_test(path, function), "{row}: {path} has no test {function}");
        } else {
            assert!(is_transcript(name), "{row}: there is no transcript {name}");
        }
        found += 1;
    }
    found
}

fn is_test(path: &str, function: &str) -> bool {
    let text = fs::read_to_string(in_the_tree(path)).unwrap_or_else(|_| panic!("{path} is not there"));
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.contains(&format!("fn {function}(")));
    let attributes = |at: usize| {
        lines[..at].iter().rev().take_while(|line| line.starts_with("#[")).any(|line| line.contains("test]") || line.contains("test("))
    };
    at.is_some_and(attributes)
}

fn is_transcript(name: &str) -> bool {
    let Some((protocol, file)) = name.split_once('/') else { return false };
    let (start, end) = file.split_once('*').unwrap_or((file, ""));
    let Ok(entries) = fs::read_dir(in_the_tree(&format!("crates/{protocol}/tests/transcripts"))) else { return false };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().any(|name| if file.contains('*') { name.starts_with(start) && name.ends_with(end) } else { name == file })
}

fn in_the_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn what_is_not_there_is_found() {
    assert!(is_test("tests/documents.rs", "what_is_not_there_is_found") && is_transcript("smtp/smuggling_*.txt"));
    assert!(!is_test("tests/documents.rs", "rows") && !is_test("tests/documents.rs", "what_was_never_there"));
    assert!(!is_transcript("smtp/nothing_*.tx") && !is_transcript("pop3/bdat.txt") && !is_transcript("dots.txt"));
}
