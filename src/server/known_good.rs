//! What the gate knows of good sources, kept over a restart; and the day it is, which the gate is told.
//!
//! A file in the data directory, one line for each source: its prefix and the day of its last accepted message. Guarantees: the file is
//! replaced whole, so a crash leaves the old one. Lines that cannot be read are left out: what they knew is learned again. Fails
//! never: a file that cannot be read or written is a line in the log, as nothing but a statistic is lost. Dropping
//! [`keep`] loses what was learned since the file was last written.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use gate::{Day, Gate, IpNet};

/// Tells the gate the day, and what it knew before.
pub(crate) fn restore(gate: &Gate, data_dir: &Path) {
    gate.set_today(today());
    match fs::read_to_string(data_dir.join(FILE)) {
        Ok(text) => gate.restore_known_good(text.lines().filter_map(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(file = FILE, %error, "the sources known to be good cannot be read; they are learned again"),
    }
}

/// Tells the gate the day and writes down what it has learned, for as long as the server runs.
pub(crate) async fn keep(gate: Arc<Gate>, data_dir: PathBuf) {
    loop {
        net::clock::pause(EVERY).await;
        gate.set_today(today());
        let (gate, data_dir) = (Arc::clone(&gate), data_dir.clone());
        // Dropped here, the file is written all the same.
        let _written = tokio::task::spawn_blocking(move || save(&gate, &data_dir)).await;
    }
}

/// Writes down what the gate has learned.
pub(crate) fn save(gate: &Gate, data_dir: &Path) {
    let mut text = String::new();
    for (prefix, day) in gate.known_good() {
        let _ = writeln!(text, "{prefix} {day}");
    }
    let (new, file) = (data_dir.join(NEW), data_dir.join(FILE));
    if let Err(error) = fs::write(&new, text).and_then(|()| fs::rename(&new, &file)) {
        tracing::warn!(file = FILE, %error, "the sources known to be good cannot be written; a restart would forget them");
    }
}

fn read(line: &str) -> Option<(IpNet, Day)> {
    let (prefix, day) = line.split_once(' ')?;
    Some((prefix.parse().ok()?, day.parse().ok()?))
}

fn today() -> Day {
    Day::of_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

const FILE: &str = "known-good";
const NEW: &str = "known-good.new";
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
        let file = folder.path().join(FILE);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, format!("192.0.2.7/32 {0}\n2001:db8::/64 {0}\n", today()));

        fs::write(file, format!("nonsense\n192.0.2.0/24 {0}\n{text}192.0.2.9/32 tomorrow\n", today())).unwrap();
        restore(&after, folder.path());
        assert_eq!(after.known_good(), before.known_good());
    }
}
