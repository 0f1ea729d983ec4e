//! Programs of others that the tests use: found or asked for by name, and ended when patience is over.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::PATIENCE;

/// A program the tests need beside ours; it does not outlive our patience.
#[track_caller]
pub(crate) fn program(name: &str) -> Command {
    let path = [std::env::var("PATH").unwrap_or_default(), "/usr/sbin".into()].join(":");
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    assert!(found, "{name} is missing: `scripts/test setup` installs it");
    let mut command = Command::new("timeout");
    command.args([&PATIENCE.as_secs().to_string(), name]).env("PATH", path).stdin(Stdio::null());
    command
}

/// A Python script of `tests/server`.
#[track_caller]
pub(crate) fn script(name: &str) -> Command {
    let mut command = program("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server").join(name));
    command
}

/// Runs a program, which must succeed. Gives its output.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
