//! Programs of others that the tests use: found or asked for by name, and ended when patience is over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::PATIENCE;

/// Where a program is that the tests need beside ours.
#[track_caller]
pub(crate) fn require(name: &str) -> PathBuf {
    let found = std::env::split_paths(&path()).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: `scripts/test setup` installs it"))
}

/// Such a program; it does not outlive our patience.
#[track_caller]
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(require(name)).env("PATH", path()).stdin(Stdio::null());
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

/// Where the system keeps a mail server is not in everybody's path.
fn path() -> String {
    [std::env::var("PATH").unwrap_or_default(), "/usr/sbin".into()].join(":")
}
