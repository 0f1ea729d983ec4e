//! What the gate remembers over a restart: its good sources, and its bans; and the day it is, which the gate is told.
//!
//! Two files in the data directory, one line for each source: its prefix and the day of its last accepted message; or the banned network,
//! the second since 1970 at which the ban ends, who made it, and why. Guarantees: a file is replaced whole, so a crash leaves the old
//! one; bans are written as soon as they change, an operator's before the answer. Lines that cannot be read are left out. A file that
//! cannot be read or written is a line in the log, and fails nothing but [`save_bans`]. Dropping [`keep`] loses what was learned of good
//! sources since their file was last written.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use gate::{BAN_MOST, Ban, BanUse, Day, Gate, IpNet};

/// Tells the gate the day, and what it knew before.
pub(crate) fn restore(gate: &Gate, data_dir: &Path) {
    gate.set_today(today());
    gate.restore_known_good(read(data_dir, KNOWN_GOOD).lines().filter_map(known_good));
    gate.restore_bans(read(data_dir, BANS).lines().filter_map(ban), net::now());
}

/// Tells the gate the day and writes down what it has learned, for as long as the server runs.
pub(crate) async fn keep(gate: Arc<Gate>, data_dir: PathBuf) {
    loop {
        let save: fn(&Gate, &Path) = tokio::select! {
            () = net::clock::pause(EVERY) => save,
            // It is in the log.
            () = gate.bans_changed() => |gate, data_dir| drop(save_bans(gate, data_dir)),
        };
        gate.set_today(today());
        let (gate, data_dir) = (Arc::clone(&gate), data_dir.clone());
        // Dropped here, the file is written all the same.
        let _written = tokio::task::spawn_blocking(move || save(&gate, &data_dir)).await;
        // Whoever earns bans by the hundred does not keep the disk busy.
        net::clock::pause(REST).await;
    }
}

/// Writes down what the gate has learned.
pub(crate) fn save(gate: &Gate, data_dir: &Path) {
    let known_good: String = gate.known_good().into_iter().map(|(prefix, day)| format!("{prefix} {day}\n")).collect();
    // What cannot be written is in the log.
    let _left = (write(data_dir, KNOWN_GOOD, &known_good), save_bans(gate, data_dir));
}

/// Writes down the bans there are.
///
/// # Errors
/// The system's.
pub(crate) fn save_bans(gate: &Gate, data_dir: &Path) -> io::Result<()> {
    let _alone = SAVING_BANS.lock().unwrap_or_else(PoisonError::into_inner);
    let (now, unix) = (net::now(), unix_seconds());
    let line = |BanUse { ban: Ban { network, reason, until, is_automatic }, .. }| {
        let (until, by) = (unix + until.saturating_duration_since(now).as_secs(), if is_automatic { AUTOMATIC } else { OPERATOR });
        format!("{network} {until} {by} {reason}\n")
    };
    write(data_dir, BANS, &gate.bans(now).into_iter().map(line).collect::<String>())
}

fn read(data_dir: &Path, file: &str) -> String {
    fs::read_to_string(data_dir.join(file)).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(file, %error, "what the gate remembered cannot be read, and is forgotten");
        }
        String::new()
    })
}

fn write(data_dir: &Path, file: &str, text: &str) -> io::Result<()> {
    let (new, file) = (data_dir.join(format!("{file}.new")), data_dir.join(file));
    let written = fs::File::create(&new).and_then(|mut whole| {
        whole.write_all(text.as_bytes())?;
        // Before the name: a crash leaves the old file or the new one.
        whole.sync_all()?;
        fs::rename(&new, &file)?;
        // And the name itself.
        fs::File::open(data_dir)?.sync_all()
    });
    written.inspect_err(|error| {
        tracing::warn!(file = %file.display(), %error, "what the gate remembers cannot be written; a restart would forget it");
    })
}

fn known_good(line: &str) -> Option<(IpNet, Day)> {
    let (prefix, day) = line.split_once(' ')?;
    Some((prefix.parse().ok()?, day.parse().ok()?))
}

/// None of one that is over.
fn ban(line: &str) -> Option<Ban> {
    let mut words = line.splitn(4, ' ');
    let (network, until) = (words.next()?.parse().ok()?, words.next()?.parse::<u64>().ok()?);
    let (by, reason) = (words.next()?, words.next()?);
    let left = until.checked_sub(unix_seconds()).filter(|left| *left > 0)?;
    let until = net::now().checked_add(Duration::from_secs(left).min(BAN_MOST))?;
    Some(Ban { network, reason: reason.into(), until, is_automatic: by == AUTOMATIC })
}

fn today() -> Day {
    Day::of_unix_seconds(unix_seconds())
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whoever has it looks at the bans and writes what they saw, one after the other: the last to write has seen the last change.
static SAVING_BANS: Mutex<()> = Mutex::new(());

const KNOWN_GOOD: &str = "known-good";
const BANS: &str = "bans";
/// Between two times that bans are written.
const REST: Duration = Duration::from_secs(1);
const AUTOMATIC: &str = "automatic";
const OPERATOR: &str = "operator";
/// A crash forgets so much; a new day is noticed so late.
const EVERY: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_was_learned_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let gate = || Gate::new(gate::Settings::default()).unwrap();
        let (before, after) = (gate(), gate());
        restore(&before, folder.path());
        before.delivered("192.0.2.7".parse().unwrap(), Instant::now());
        before.delivered("2001:db8::7".parse().unwrap(), Instant::now());
        save(&before, folder.path());
        let file = folder.path().join(KNOWN_GOOD);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("192.0.2.7/32 {0}\n2001:db8::/64 {0}\n", today()));

        fs::write(file, format!("nonsense\n192.0.2.0/24 {0}\n{text}192.0.2.9/32 tomorrow\n", today())).unwrap();
        restore(&after, folder.path());
        assert_eq!(after.known_good(), before.known_good());
    }

    #[test]
    fn a_ban_outlives_a_restart_and_its_time_does_not_begin_again() {
        let folder = tempfile::tempdir().unwrap();
        let gate = || Gate::new(gate::Settings::default()).unwrap();
        let (before, after, now) = (gate(), gate(), net::now());
        let ban = |network: &str, minutes: u64| {
            let until = now + Duration::from_secs(60 * minutes);
            Ban { network: network.parse().unwrap(), reason: "guesses passwords, again".into(), until, is_automatic: minutes == 90 }
        };
        before.ban(ban("192.0.2.0/24", 10), now).unwrap();
        before.ban(ban("2001:db8::/64", 90), now).unwrap();
        save_bans(&before, folder.path()).unwrap();
        assert!(save_bans(&before, &folder.path().join("gone")).is_err());
        let file = folder.path().join(BANS);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("nonsense\n198.51.100.1/32 {} operator over\n198.51.100.2/32 soon operator x\n{text}", unix_seconds()))
            .unwrap();
        restore(&after, folder.path());
        let told = |gate: &Gate| -> Vec<_> {
            let minutes = |ban: &Ban| ban.until.saturating_duration_since(now).as_secs().div_ceil(60);
            let bans = gate.bans(now).into_iter().map(|used| used.ban);
            bans.map(|ban| (ban.network.to_string(), ban.reason.to_string(), minutes(&ban), ban.is_automatic)).collect()
        };
        assert_eq!(told(&after), told(&before));
        assert_eq!(told(&after).len(), 2);
    }
}
