//! What reading a configuration promises, whatever is written. For the tests and for fuzzing (`fuzz/`).

#![expect(clippy::panic, reason = "a broken promise panics")]

use std::path::Path;

use super::fault::Report;
use super::{Config, document, rules};

/// Reads the octets, where they are UTF-8, as the file. Panics when a fault has no place in the file, when the report of a faulty file is
/// empty, or when what was read is not what is read when it is written again.
pub(crate) fn hold(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    let read = document::read(text);
    let sound = read.faults.is_empty();
    let findings = rules::findings(&read.config, &read.document).into_iter().filter(|finding| !read.document.lost(&finding.key));
    let faults: Vec<_> = read.faults.into_iter().chain(findings.map(|finding| read.document.place(finding))).collect();
    for fault in &faults {
        let line = fault.line.map(|line| text.split('\n').nth(line - 1));
        let columns = line.map(|line| line.map_or(0, |line| line.chars().count() + 1));
        assert!(fault.column.unwrap_or_default() <= columns.unwrap_or_default(), "{fault:?}");
        assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{fault:?}");
    }
    assert_eq!(Report::new(Path::new("gatepost.toml"), faults.clone()).to_string().lines().count(), faults.len());
    if sound {
        reads_back(&read.config);
    }
}

fn reads_back(config: &Config) {
    let written = toml::to_string(config).unwrap_or_else(|error| panic!("{config:?}: {error}"));
    let again = document::read(&written);
    assert!(again.faults.is_empty() && again.config == *config, "{written}: {:?}", again.faults);
    assert!(config.changes(&again.config).is_empty());
}
