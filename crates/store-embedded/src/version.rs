//! The version of everything in the data directory together, in the file `VERSION`, and the way from one to the next.
//!
//! A newer version is refused: what it holds is not known here. An older one is carried forward step by step, each step durable
//! before the version that says so. A step must be repeatable, because it may be stopped anywhere.
//! The index has a format of its own and is simply rebuilt when that is another.

use std::io::{self, IoSlice};
use std::path::Path;

use crate::disk::{Disk, read_whole, write_whole};
use crate::{people, spelling};

/// What this code writes.
pub(crate) const CURRENT: u32 = 6;

/// One step: makes a data directory of version `index + 1`, whose `directory.sqlite` is at the path, one of the next.
type Step = fn(&dyn Disk, &Path) -> io::Result<()>;

/// The steps from version 1 on. Since version 2 domains are kept in A-labels alone; since version 3 an envelope may have requests, which
/// nothing before has: a version that does not know them would take such a message for damage; since version 4
/// domains have settings; since version 5 accounts have verifiers for SCRAM; since version 6 a message may be held, and be released by a
/// record that nothing before knows.
const STEPS: &[Step] = &[
    |_, directory| spelling::unify(directory).map_err(io::Error::other),
    |_, _| Ok(()),
    |_, directory| people::add_tables(directory).map_err(io::Error::other),
    |_, directory| people::add_tables(directory).map_err(io::Error::other),
    |_, _| Ok(()),
];

/// What the directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing is there.
    New,
    /// This version.
    Version(u32),
    /// A file that is not a version.
    Unreadable,
}

/// Reads the version.
pub(crate) fn read(disk: &dyn Disk) -> io::Result<Found> {
    let file = match disk.open(NAME) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::New),
        Err(error) => return Err(error),
    };
    let mut octets = [0; 16];
    let length = read_whole(&*file, &mut octets, 0)?;
    let text = octets.get(..length).and_then(|octets| std::str::from_utf8(octets).ok());
    Ok(text.and_then(|text| text.trim_end().parse().ok()).map_or(Found::Unreadable, Found::Version))
}

/// Writes the version, durably.
pub(crate) fn write(disk: &dyn Disk, version: u32) -> io::Result<()> {
    match disk.unlink(NEXT) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(NEXT)?;
    write_whole(&*file, &mut [IoSlice::new(format!("{version}\n").as_bytes())], 0)?;
    file.sync()?;
    disk.rename(NEXT, NAME)?;
    disk.sync_dir(".")
}

/// Carries a data directory of `version` forward to the current one.
pub(crate) fn migrate(disk: &dyn Disk, directory: &Path, version: u32) -> io::Result<()> {
    walk(disk, directory, version, STEPS)
}

fn walk(disk: &dyn Disk, directory: &Path, version: u32, steps: &[Step]) -> io::Result<()> {
    for (before, step) in (1..).zip(steps).skip_while(|(before, _)| *before < version) {
        tracing::info!(from = before, to = before + 1, "carrying the store forward");
        step(disk, directory)?;
        write(disk, before + 1)?;
    }
    Ok(())
}

const NAME: &str = "VERSION";
const NEXT: &str = "VERSION.next";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn steps_are_walked_in_order_from_where_the_directory_stands() {
        assert_eq!(CURRENT as usize, STEPS.len() + 1);
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(dir.path().to_owned());
        assert_eq!(read(&disk).unwrap(), Found::New);
        write(&disk, 2).unwrap();
        let steps: &[Step] = &[
            |_, _| panic!("version 2 has this behind it"),
            |disk, _| disk.create("second").map(drop),
            |disk, _| disk.rename("second", "third"),
        ];
        walk(&disk, dir.path(), 2, steps).unwrap();
        assert_eq!(read(&disk).unwrap(), Found::Version(4));
        assert!(dir.path().join("third").exists());
        std::fs::write(dir.path().join(NAME), "x").unwrap();
        assert_eq!(read(&disk).unwrap(), Found::Unreadable);
    }
}
