//! Whether this machine can hold the sessions that `max_inbound` lets in: file descriptors and memory.
//!
//! What a session may take is its worst, whatever the peers send: every one of them in the midst of a large message. So a
//! configuration that passes here cannot be brought to its knees by filling the gate (invariant 6). The sums are made of the bounds in
//! the code, said where they are kept.
//!
//! The machine's figures are a value, [`Machine`]; [`Machine::here`] reads them. A figure that cannot be read limits nothing. Pure but
//! for that, and cannot fail.

use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::Config;
use super::fault::{Finding, Severity};

/// What this process may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// File descriptors: the hard limit, to which the server raises its own.
    descriptors: Option<u64>,
    /// Octets of memory, and whose limit that is.
    memory: Option<(u64, Owner)>,
    /// Files of the store's log, each of which is open while the store is.
    log_files: u64,
}

/// Whose memory is the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Machine,
    ControlGroup,
}

impl Machine {
    /// The one we are on, with the store of `data_dir`.
    pub(crate) fn here(data_dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let machine = memory_total(&read("/proc/meminfo")).map(|octets| (octets, Owner::Machine));
        let group = group_limit(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")).map(|octets| (octets, Owner::ControlGroup));
        Self {
            descriptors: getrlimit(Resource::Nofile).maximum,
            memory: machine.into_iter().chain(group).min_by_key(|(octets, _)| *octets),
            log_files: fs::read_dir(data_dir.join("log")).map_or(0, |files| files.count() as u64),
        }
    }
}

/// What does not hold on `machine`. Errors for who is going to serve by it; for others, who may run on another machine or as another user,
/// warnings.
pub(super) fn findings(config: &Config, machine: &Machine, severity: Severity) -> Vec<Finding> {
    [descriptors(config, machine), memory(config, machine)]
        .into_iter()
        .flatten()
        .map(|message| Finding { severity, ..Finding::error("gate.max_inbound", message) })
        .collect()
}

fn descriptors(config: &Config, machine: &Machine) -> Option<String> {
    let services = config.listen.services().into_iter().zip(config.when_full.services());
    let (addresses, waiting) = services.fold((0, 0), |(addresses, waiting), ((_, listened), (_, patience))| {
        let (listened, places) = (listened.len() as u64, patience.room().map_or(0, |room| room.places as u64));
        (addresses + listened, listened.saturating_mul(places).saturating_add(waiting))
    });
    let introductions = if config.proxy.trusted_proxies.is_empty() { 0 } else { addresses * net::INTRODUCTIONS_MOST as u64 };
    let (sessions, files) = (u64::from(config.gate.max_inbound), machine.log_files + STORE_FILES);
    // A listener's socket, what watches those who wait, and the descriptor it keeps to answer with when there is no other.
    let (lingering, asking) = (net::LINGERING_MOST as u64, config.screening.descriptors_most() + config.oauth.descriptors_most());
    let asking = asking + config.recipients.descriptors_most();
    let rest = 3 * addresses + introductions + net::REFUSALS_MOST as u64 + asking + REST;
    let (beside, most) = ((lingering + files + rest).saturating_add(waiting), machine.descriptors?);
    let needed = sessions.saturating_add(beside);
    (needed > most).then(|| {
        format!(
            "max_inbound + {beside} <= file descriptors does not hold: {sessions} + {beside} = {needed} > {most}; each session takes one, \
             connections that wait for a place {waiting} (when_full), refused ones on their way out {lingering}, the store {files}, listeners \
             and the rest {rest}; raise the limit of open files \
             (LimitNOFILE= of the systemd unit, ulimit -Hn in a shell) or {}",
            lower(most.saturating_sub(beside))
        )
    })
}

fn memory(config: &Config, machine: &Machine) -> Option<String> {
    let (most, owner) = machine.memory?;
    let (sessions, owner) = (u64::from(config.gate.max_inbound), owner.words());
    let hashes = u64::from(config.auth.concurrent_hashes.get()).saturating_mul(config.auth.hash_memory.0);
    let (bodies, rates) = (config.store.body_memory.0, config.rates.octets_most());
    let accounts = u64::from(config.limits.recipients).max(smtp::limits::RECIPIENT_ACCOUNTS as u64).saturating_mul(ACCOUNT_OCTETS);
    let session = SESSION_OCTETS.saturating_add(accounts.next_multiple_of(1 << 10)).saturating_add(config.screening.session_octets());
    let screening = config.screening.octets_most();
    let recipients = config.recipients.octets_most();
    let beside = [bodies, hashes, rates, screening, recipients].into_iter().fold(BASE_OCTETS, u64::saturating_add);
    let needed = sessions.saturating_mul(session).saturating_add(beside);
    let part = |octets, what: &str, keys: &str| if octets > 0 { format!(" {what} {}MiB ({keys}),", mib(octets)) } else { String::new() };
    let screened = part(screening, "screening", "screening.checks, screening.dns_cache");
    let asked = part(recipients, "recipients", "recipients.remembered");
    (needed > most).then(|| {
        format!(
            "max_inbound * {}KiB + {}MiB <= memory does not hold: {sessions} * {}KiB + {}MiB = {}MiB > {}MiB, which {owner} has; each session \
             may take {}KiB while it brings a large message, messages in memory {}MiB (store.body_memory), passwords {}MiB \
             (auth.concurrent_hashes * auth.hash_memory), rates {}MiB (rates.keys),{screened}{asked} the rest {}MiB; give it more memory or {}",
            session >> 10,
            mib(beside),
            session >> 10,
            mib(beside),
            mib(needed),
            most >> 20,
            session >> 10,
            mib(bodies),
            mib(hashes),
            mib(rates),
            mib(BASE_OCTETS),
            lower(most.saturating_sub(beside) / session)
        )
    })
}

/// What would hold, where anything would.
fn lower(holds: u64) -> String {
    match holds {
        0 => "use a larger machine: no max_inbound holds there".into(),
        holds => format!("lower max_inbound to {holds}"),
    }
}

/// Rounded up.
fn mib(octets: u64) -> u64 {
    octets.div_ceil(1 << 20)
}

impl Owner {
    fn words(self) -> &'static str {
        match self {
            Self::Machine => "this machine",
            Self::ControlGroup => "the server's control group",
        }
    }
}

/// proc_meminfo(5): `MemTotal: 16384 kB`.
fn memory_total(text: &str) -> Option<u64> {
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1 << 10)
}

/// The least memory that any control group allows that this process is in: of version 2 (`0::/PATH`), and of version 1
/// (`N:...,memory,...:/PATH`). See cgroups(7). A container sees its own group at the root, whatever the path says.
fn group_limit(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        match controllers {
            "" => least_above(root, path, "memory.max"),
            several if several.split(',').any(|controller| controller == "memory") => {
                least_above(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    limits.min()
}

/// The least number in `file` of the group at `path` and of all above it. What is no number, such as `max`, is no limit.
fn least_above(root: &Path, path: &str, file: &str) -> Option<u64> {
    let groups = Path::new(path).ancestors().map(|group| root.join(group).join(file));
    groups.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// A session at its worst: its connection, a message that goes to a file of its own and is made of lines on its way, itself with the header that
/// a report brings back, and what was asked for its recipients ([`smtp::limits::REQUESTS_BYTES`], twice); the accounts that they come to are beside.
const SESSION_OCTETS: u64 = (net::OCTETS_MOST + store_embedded::ARRIVING_OCTETS + mail::binary::OCTETS_MOST) as u64
    + (64 << 10)
    + 2 * smtp::limits::REQUESTS_BYTES as u64;
/// An account that a message is for: its name, which is the directory's own, twice, and what its maildrop may hold and holds. What one list
/// has more of them than [`smtp::limits::RECIPIENT_ACCOUNTS`] is bounded by the directory, which is not looked into here.
const ACCOUNT_OCTETS: u64 = 96;
/// What the server has before the first session (docs/performance.md, without `body_memory`), and may come to have beside them: the
/// store's index and the listings it keeps, the last refusals, refused and known good sources.
const BASE_OCTETS: u64 = 64 << 20;
/// The store's databases with their companions, its lock, segments being made.
const STORE_FILES: u64 = 48;
/// The admin's connections and the control socket's, signals, the runtime.
const REST: u64 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(max_inbound: u32) -> Config {
        Config { gate: gate::Settings { max_inbound, ..gate::Settings::default() }, ..Config::default() }
    }

    fn said(config: &Config, machine: &Machine) -> Vec<String> {
        findings(config, machine, Severity::Error).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn descriptors_must_hold_every_session_and_what_is_beside() {
        let machine = Machine { descriptors: Some(5000), log_files: 2, ..Machine::default() };
        // By default 10 addresses, and 256 who wait at each of 8.
        let beside = 2048 + 1024 + 50 + 30 + 16 + 80;
        assert_eq!(said(&config(5000 - beside), &machine), [""; 0]);
        let message = "max_inbound + 3248 <= file descriptors does not hold: 1753 + 3248 = 5001 > 5000; each session takes one, connections \
                       that wait for a place 2048 (when_full), refused ones on their way out 1024, the store 50, listeners and the rest 126; \
                       raise the limit of open files (LimitNOFILE= of the systemd unit, ulimit -Hn in a shell) or lower max_inbound to 1752";
        assert_eq!(said(&config(5001 - beside), &machine), [message]);
        let proxy = toml::from_str("trusted_proxies = ['192.0.2.1']").unwrap();
        assert!(said(&Config { proxy, ..config(5000 - beside) }, &machine)[0].contains("listeners and the rest 766"));
        let nothing = Machine { descriptors: Some(64), ..machine };
        assert!(said(&config(1), &nothing)[0].ends_with("or use a larger machine: no max_inbound holds there"));
        assert_eq!(said(&config(u32::MAX), &Machine::default()), [""; 0], "what is not known limits nothing");
    }

    #[test]
    fn memory_must_hold_every_session_at_its_worst() {
        // 766 KiB a session; bodies 64 MiB, passwords 4 * 19 MiB, the rest 64 MiB.
        let machine = |mib: u64| Machine { memory: Some((mib << 20, Owner::ControlGroup)), ..Machine::default() };
        assert_eq!(said(&config(1000), &machine(953)), [""; 0]);
        let message = "max_inbound * 766KiB + 204MiB <= memory does not hold: 1000 * 766KiB + 204MiB = 953MiB > 952MiB, which the server's \
                       control group has; each session may take 766KiB while it brings a large message, messages in memory 64MiB \
                       (store.body_memory), passwords 76MiB (auth.concurrent_hashes * auth.hash_memory), rates 0MiB (rates.keys), the rest \
                       64MiB; give it more memory or lower max_inbound to 999";
        assert_eq!(said(&config(1000), &machine(952)), [message]);
        assert_eq!(said(&config(999), &machine(952)), [""; 0], "what it names holds");
        let rates = toml::from_str("messages_per_source = '1/1s'\nconnections_per_address = '1/1s'").unwrap();
        assert!(said(&Config { rates, ..config(1000) }, &machine(953))[0].contains("rates 13MiB"));
        let screening = toml::from_str("checks = [{ check = 'dkim' }]").unwrap();
        let screened = &said(&Config { screening, ..config(1000) }, &machine(953))[0];
        assert!(
            screened.contains("may take 894KiB") && screened.contains("screening 256MiB (screening.checks, screening.dns_cache), the rest"),
            "{screened}"
        );
        let recipients = toml::from_str("call_forward = '127.0.0.1:24'").unwrap();
        let asking = &said(&Config { recipients, ..config(1000) }, &machine(906))[0];
        assert!(asking.contains("rates 0MiB (rates.keys), recipients 26MiB (recipients.remembered), the rest"), "{asking}");
        assert!(said(&config(1), &machine(204))[0].contains("no max_inbound holds there"));
    }

    #[test]
    fn who_does_not_serve_is_warned_only() {
        let machine = Machine { descriptors: Some(1), memory: Some((1, Owner::Machine)), log_files: 0 };
        let severities = findings(&config(1), &machine, Severity::Warning).into_iter().map(|finding| finding.severity);
        assert_eq!(severities.collect::<Vec<_>>(), [Severity::Warning; 2]);
    }

    #[test]
    fn memory_is_read_of_the_machine_and_of_control_groups_of_both_versions() {
        assert_eq!(memory_total("MemFree: 1 kB\nMemTotal:       24684092 kB\n"), Some(24_684_092 << 10));
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let limit = |groups: &str| group_limit(groups, root.path());
        assert_eq!(limit("0::/system.slice/gatepost.service\n"), None);
        put("system.slice/memory.max", "1000\n");
        put("system.slice/gatepost.service/memory.max", "max\n");
        assert_eq!(limit("0::/system.slice/gatepost.service\n"), Some(1000), "what is above it limits it, too");
        put("memory/a/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/a/b/memory.limit_in_bytes", "500\n");
        assert_eq!(limit("3:cpu,memory:/a/b\n1:cpu:/a\n0::/\n"), Some(500));
        assert_eq!(limit("3:cpu,memory:/a/c\n"), Some(9_223_372_036_854_771_712), "as good as none");
    }

    #[test]
    fn this_machine_has_figures() {
        let machine = Machine::here(Path::new("/nowhere"));
        assert!(machine.memory.is_some() && machine.log_files == 0, "{machine:?}");
    }
}
