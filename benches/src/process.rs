//! What a server costs, read from `/proc`.
//!
//! A server is a process and everything it started: Postfix and Dovecot are dozens. CPU time includes that of
//! children that have ended and been waited for. Memory is what the processes hold, not what the kernel holds for their
//! sockets. A process that ends while it is looked at counts as nothing; a server that is gone is an error.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory of a server, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident pages, shared ones divided among those that share them.
    pub(crate) proportional: u64,
    /// Resident pages, shared ones counted in full for each process.
    pub(crate) resident: u64,
}

/// CPU seconds, user and system, that the server has used since it started.
pub(crate) fn cpu_seconds(server: u32) -> io::Result<f64> {
    let ticks: u64 = tree(server)?.iter().map(|process| process.cpu_ticks).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// What the server's processes hold now.
pub(crate) fn memory(server: u32) -> io::Result<Memory> {
    let mut sum = Memory::default();
    for process in tree(server)? {
        let Ok(rollup) = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.id)) else { continue };
        sum.proportional += kibibytes(&rollup, "Pss:") * 1024;
        sum.resident += kibibytes(&rollup, "Rss:") * 1024;
    }
    if sum.resident == 0 { Err(io::Error::other(format!("cannot read the memory of process {server}"))) } else { Ok(sum) }
}

/// Raises this process's limit of open files to what it is allowed; answers the new limit.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

struct Process {
    id: u32,
    parent: u32,
    cpu_ticks: u64,
}

/// The server's process and all its living descendants.
fn tree(server: u32) -> io::Result<Vec<Process>> {
    let mut others: Vec<Process> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| stat(id, &fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .collect();
    let mut found: Vec<Process> = others.extract_if(.., |process| process.id == server).collect();
    if found.is_empty() {
        return Err(io::Error::other(format!("no process {server}: has the server ended?")));
    }
    loop {
        let children: Vec<Process> = others.extract_if(.., |process| found.iter().any(|parent| parent.id == process.parent)).collect();
        if children.is_empty() {
            return Ok(found);
        }
        found.extend(children);
    }
}

/// The fields of proc_pid_stat(5) that matter, counted after the command, which may hold blanks and parentheses.
fn stat(id: u32, line: &str) -> Option<Process> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let cpu_ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Process { id, parent: u32::try_from(number(1)?).ok()?, cpu_ticks })
}

fn kibibytes(rollup: &str, key: &str) -> u64 {
    let value = rollup.lines().find_map(|line| line.strip_prefix(key));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_is_read() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 5";
        let process = stat(42, line).unwrap();
        assert_eq!((process.parent, process.cpu_ticks), (7, 100));
    }

    #[test]
    fn this_process_has_memory_and_a_gone_one_is_an_error() {
        assert!(memory(std::process::id()).unwrap().resident > 0);
        assert!(cpu_seconds(u32::MAX).is_err());
    }
}
