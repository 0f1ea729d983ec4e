//! The rows of the house, checked.
//!
//! Reads `cargo metadata` and the sources of the pure crates, and fails on every edge, every socket and every
//! clock that the plan does not allow:
//!
//! - a crate uses only rows below its own, never a neighbour, in its tests too;
//! - only the root names a real store (`store-*`); a service may use one in its tests;
//! - `smtp` and `pop3` reach no async runtime, through any crate;
//! - `gate`, `smtp` and `pop3` have no sockets and no clock of their own, and `smtp` and `pop3` no `async`;
//! - the libraries the project is built on are there.
//!
//! It reports every fault it finds, not the first. A workspace member that no row names is a fault.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// The rows from the bottom up. A new crate gets its name here, in the row where it belongs.
const ROWS: [(&str, &[&str]); 5] = [
    ("words", &["mail"]),
    ("contracts", &["gate", "smtp", "pop3", "store", "events"]),
    ("mechanisms", &["net", "recipients", "screening", "auth", "store-embedded", "store-postgres", "store-remote"]),
    ("services", &["smtp-listener", "pop3-listener", "outbound", "admin"]),
    ("root", &["gatepost"]),
];

#[test]
fn every_member_has_a_row() {
    let faults: Vec<String> = members(&metadata())
        .into_iter()
        .filter(|member| row(member).is_none())
        .map(|member| format!("`{member}` is in no row: add it to ROWS in tests/layers.rs, in the row where it belongs"))
        .collect();
    none(&faults);
}

#[test]
fn every_edge_goes_down() {
    let metadata = metadata();
    let members = members(&metadata);
    let mut faults = Vec::new();
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            if members.contains(dependency.name.as_str()) {
                faults.extend(fault(&package.name, &dependency.name, dependency.kind));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_protocols_reach_no_async_runtime() {
    let metadata = metadata();
    let mut faults = Vec::new();
    for protocol in ["smtp", "pop3"] {
        let reached = reached(&metadata, protocol);
        for runtime in ["tokio", "async-std", "smol", "mio"] {
            if reached.contains(runtime) {
                faults.push(format!("`{protocol}` reaches `{runtime}`: it is a pure machine"));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_pure_crates_have_no_sockets_and_no_clock() {
    const WORLD: &[&str] =
        &["TcpStream", "TcpListener", "UdpSocket", "UnixStream", "UnixListener", "Instant::now", "SystemTime::now", "Timestamp::now"];
    const ASYNC: &[&str] = &["async fn", "async move", "async {", ".await"];
    let mut faults = Vec::new();
    for (member, banned) in [("gate", WORLD.to_vec()), ("smtp", [WORLD, ASYNC].concat()), ("pop3", [WORLD, ASYNC].concat())] {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates").join(member).join("src");
        let sources = sources(&src);
        assert!(!sources.is_empty(), "no sources under {}", src.display());
        for path in sources {
            let text = fs::read_to_string(&path).unwrap();
            for (number, word) in mentions(&text, &banned) {
                faults.push(format!("{}:{number}: `{word}`: time and bytes are handed in", path.display()));
            }
        }
    }
    none(&faults);
}

#[test]
fn the_foundations_are_there() {
    const FOUNDATIONS: [&str; 9] =
        ["tokio", "mail-parser", "mail-auth", "tokio-rustls", "rustls", "governor", "dashmap", "tracing", "serde"];
    let metadata = metadata();
    let used: BTreeSet<&str> = metadata
        .workspace_packages()
        .into_iter()
        .flat_map(|package| &package.dependencies)
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let faults: Vec<String> = FOUNDATIONS
        .into_iter()
        .filter(|name| !used.contains(name))
        .map(|name| format!("no crate of the workspace depends on `{name}`"))
        .collect();
    none(&faults);
}

/// The rules themselves, on edges that are not in the tree.
#[test]
fn the_rules_can_fail() {
    use DependencyKind::{Development, Normal};
    for (from, to, kind, allowed) in [
        ("smtp", "mail", Normal, true),
        ("smtp-listener", "net", Normal, true),
        ("gatepost", "store-embedded", Normal, true),
        ("smtp-listener", "store-embedded", Development, true),
        ("smtp-listener", "store-embedded", Normal, false),
        ("net", "store-embedded", Development, false),
        ("smtp", "pop3", Normal, false),
        ("smtp", "store", Development, false),
        ("smtp-listener", "pop3-listener", Development, false),
        ("mail", "smtp", Normal, false),
        ("mail", "gatepost", Normal, false),
    ] {
        assert_eq!(fault(from, to, kind).is_none(), allowed, "{from} -> {to} ({kind})");
    }
    assert_eq!(mentions("// TcpStream\nlet now = Instant::now();\n", &["TcpStream", "Instant::now"]), [(2, "Instant::now")]);
    assert_eq!(mentions("#[cfg(all(test, not(loom)))]\nmod tests {\n    Instant::now();\n}\n", &["Instant::now"]), []);
}

/// Why the edge between two members is not allowed, if it is not. Members without a row are another test's fault.
fn fault(from: &str, to: &str, kind: DependencyKind) -> Option<String> {
    let (above, below) = (row(from)?, row(to)?);
    if below >= above {
        return Some(format!("`{from}` ({}) uses `{to}` ({}): a crate uses only rows below its own", ROWS[above].0, ROWS[below].0));
    }
    let in_tests = kind == DependencyKind::Development;
    if to.starts_with("store-") && from != "gatepost" && !in_tests {
        return Some(format!("`{from}` names `{to}`: only the root names a real store, others see the traits"));
    }
    None
}

/// The row of a member, counted from the bottom.
fn row(member: &str) -> Option<usize> {
    ROWS.iter().position(|(_, crates)| crates.contains(&member))
}

/// Everything that a member needs to be built for this machine, by name, through any number of crates.
fn reached<'a>(metadata: &'a Metadata, member: &str) -> BTreeSet<&'a str> {
    let resolve = metadata.resolve.as_ref().expect("metadata with a resolved graph");
    let nodes: BTreeMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = metadata.workspace_packages().into_iter().find(|package| package.name == member);
    let mut pending = vec![&start.unwrap_or_else(|| panic!("no member `{member}`")).id];
    let mut seen = BTreeSet::new();
    while let Some(id) = pending.pop() {
        if seen.insert(id) {
            let normal =
                nodes[id].deps.iter().filter(|dependency| dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal));
            pending.extend(normal.map(|dependency| &dependency.pkg));
        }
    }
    seen.into_iter().map(|id| metadata[id].name.as_str()).collect()
}

/// Where one of `words` stands in code: not in a comment, not in the tests at the file's end. Lines count from one.
fn mentions<'w>(text: &str, words: &[&'w str]) -> Vec<(usize, &'w str)> {
    text.lines()
        .take_while(|line| *line != "mod tests {")
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .flat_map(|(index, line)| words.iter().filter(|word| line.contains(**word)).map(move |word| (index + 1, *word)))
        .collect()
}

/// The Rust files under `directory`, but not files of tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        } else if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn members(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
}

/// The workspace as cargo sees it on this machine, so that nothing is fetched for another.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .other_options(vec!["--filter-platform".into(), platform])
        .exec()
        .expect("cargo metadata")
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
