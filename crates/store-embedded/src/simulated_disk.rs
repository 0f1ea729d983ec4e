//! A disk in memory that counts its operations, fails any one of them, and forgets at a power cut what was not synced.
//!
//! A write is kept for sure from the file's sync on, a name from its directory's sync on. A power cut keeps, by the throw of a seeded
//! die, some of the pages and some of the names that were not: any subset, in pages of 512 octets, torn within a write.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile};
use crate::lock;

const PAGE: usize = 512;

#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    unsynced_names: Vec<Renaming>,
    operations: u64,
    cut_at: Option<u64>,
    fail: Option<(u64, io::ErrorKind)>,
    pub(crate) full: bool,
}

#[derive(Default, Clone)]
struct File {
    current: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<(usize, usize)>,
}

/// One change of names in one directory.
enum Renaming {
    Made(String, u64),
    Moved(String, String, u64),
    Gone(String),
}

impl Renaming {
    fn name(&self) -> &str {
        match self {
            Self::Made(name, _) | Self::Moved(name, _, _) | Self::Gone(name) => name,
        }
    }
}

/// A small generator: the same seed, the same throws.
pub(crate) struct Die(pub(crate) u64);

impl Die {
    pub(crate) fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

impl SimulatedDisk {
    /// Operations so far that change something.
    pub(crate) fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// From that operation on nothing happens any more.
    pub(crate) fn cut_at(&self, operation: u64) {
        lock(&self.0).cut_at = Some(operation);
    }

    /// That operation fails, and only that one.
    pub(crate) fn fail_at(&self, operation: u64, kind: io::ErrorKind) {
        lock(&self.0).fail = Some((operation, kind));
    }

    /// Whether there is room for new files.
    pub(crate) fn set_full(&self, full: bool) {
        lock(&self.0).full = full;
    }

    /// What a machine finds that starts after the power was cut.
    pub(crate) fn after_power_cut(&self, seed: u64) -> Self {
        let (state, mut die) = (lock(&self.0), Die(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1));
        let mut names = state.durable_names.clone();
        for renaming in &state.unsynced_names {
            if die.throw().is_multiple_of(2) {
                continue;
            }
            match renaming {
                Renaming::Made(name, file) => drop(names.insert(name.clone(), *file)),
                Renaming::Moved(from, to, file) if names.get(from) == Some(file) => {
                    names.remove(from);
                    names.insert(to.clone(), *file);
                }
                Renaming::Moved(..) => {}
                Renaming::Gone(name) => drop(names.remove(name)),
            }
        }
        let mut files = BTreeMap::new();
        for (number, file) in &state.files {
            let mut octets = file.durable.clone();
            for (start, end) in &file.dirty {
                for page in (start / PAGE)..end.div_ceil(PAGE) {
                    if die.throw().is_multiple_of(2) {
                        continue;
                    }
                    let (from, to) = ((page * PAGE).max(*start), ((page + 1) * PAGE).min(*end));
                    if octets.len() < to {
                        octets.resize(to, 0);
                    }
                    octets[from..to].copy_from_slice(&file.current[from..to]);
                }
            }
            files.insert(*number, File { current: octets.clone(), durable: octets, dirty: Vec::new() });
        }
        let after = State { files, next_file: state.next_file, durable_names: names.clone(), names, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }

    /// What a process finds that starts after this one has ended, the machine running on.
    pub(crate) fn restarted(&self) -> Self {
        let state = lock(&self.0);
        let (files, names) = (state.files.clone(), state.names.clone());
        let after = State { files, next_file: state.next_file, durable_names: names.clone(), names, ..State::default() };
        Self(Arc::new(Mutex::new(after)))
    }

    /// Names of files that begin with `dir`.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        lock(&self.0).names.keys().filter(|name| name.starts_with(dir)).cloned().collect()
    }

    /// Flips one bit of a file, durably.
    pub(crate) fn damage(&self, path: &str, at: usize) {
        let mut state = lock(&self.0);
        let number = state.names[path];
        let file = state.files.get_mut(&number).unwrap();
        file.current[at] ^= 0x10;
        file.durable[at] ^= 0x10;
    }
}

impl State {
    fn begin(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.cut_at.is_some_and(|cut| self.operations >= cut) {
            return Err(io::Error::other("the power is cut"));
        }
        match self.fail {
            Some((at, kind)) if at == self.operations => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn find(&self, path: &str) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(dir, _)| dir)
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = lock(&self.0);
        state.begin()?;
        if state.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.next_file += 1;
        let number = state.next_file;
        state.files.insert(number, File::default());
        state.names.insert(path.into(), number);
        state.unsynced_names.push(Renaming::Made(path.into(), number));
        Ok(Arc::new(Handle { disk: self.clone(), number }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let number = lock(&self.0).find(path)?;
        Ok(Arc::new(Handle { disk: self.clone(), number }))
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        lock(&self.0).begin()
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        Ok(state.names.keys().filter(|name| dir_of(name) == dir).map(|name| name.rsplit('/').next().unwrap().into()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.begin()?;
        let number = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.into(), number);
        state.unsynced_names.push(Renaming::Moved(from.into(), to.into(), number));
        Ok(())
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.begin()?;
        state.find(path)?;
        state.names.remove(path);
        state.unsynced_names.push(Renaming::Gone(path.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.begin()?;
        let names: Vec<_> = state.names.iter().filter(|(name, _)| dir_of(name) == dir).map(|(name, file)| (name.clone(), *file)).collect();
        state.durable_names.retain(|name, _| dir_of(name) != dir);
        state.durable_names.extend(names);
        state.unsynced_names.retain(|renaming| dir_of(renaming.name()) != dir);
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if lock(&self.0).full { 0 } else { u64::MAX })
    }
}

struct Handle {
    disk: SimulatedDisk,
    number: u64,
}

impl DiskFile for Handle {
    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = lock(&self.disk.0);
        state.begin()?;
        let file = state.files.get_mut(&self.number).unwrap();
        let (start, mut octets) = (offset as usize, Vec::new());
        slices.iter().for_each(|slice| octets.extend_from_slice(slice));
        let end = start + octets.len();
        if file.current.len() < end {
            file.current.resize(end, 0);
        }
        file.current[start..end].copy_from_slice(&octets);
        file.dirty.push((start, end));
        Ok(octets.len())
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = lock(&self.disk.0);
        let octets = state.files[&self.number].current.get(offset as usize..).unwrap_or_default();
        let length = octets.len().min(buffer.len());
        buffer[..length].copy_from_slice(&octets[..length]);
        Ok(length)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        state.begin()?;
        state.files.get_mut(&self.number).unwrap().current.resize(length as usize, 0);
        Ok(())
    }

    fn read_now(&self, _: [&mut [u8]; 2], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.disk.0);
        state.begin()?;
        let file = state.files.get_mut(&self.number).unwrap();
        file.durable = file.current.clone();
        file.dirty.clear();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk.0).files[&self.number].current.len() as u64)
    }
}
