//! The file system as the log sees it: few operations, so that a test can count them, fail any one and cut the power at each.
//!
//! Paths are relative to the data directory. Nothing here retries: an error is the caller's to judge, with [`no_room`] telling a
//! full disk from a failing one. A write is durable after [`DiskFile::sync`], a name after [`Disk::sync_dir`].

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags};

/// A directory tree.
pub(crate) trait Disk: Send + Sync {
    /// Makes a file that must not be there yet, readable and writable by the owner alone.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes a directory unless it is there.
    fn create_dir(&self, path: &str) -> io::Result<()>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name; what is open stays readable.
    fn unlink(&self, path: &str) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Octets free for us.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync {
    /// Writes some of these octets at `offset` and says how many.
    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Reads some octets at `offset`; 0 at the end.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Takes room for a file of this length, which reads as zeros.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// As much as is in memory already, scattered over two buffers; an error when nothing is. Never waits for the disk.
    fn read_now(&self, buffers: [&mut [u8]; 2], offset: u64) -> io::Result<usize>;
    /// Makes what was written durable, and the file's length.
    fn sync(&self) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
}

/// Writes all of `slices` at `offset`.
pub(crate) fn write_whole(file: &dyn DiskFile, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    // Takes empty slices off the front.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_some(slices.get(..IOV_MAX).unwrap_or(slices), offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` as far as the file goes, and says how far.
pub(crate) fn read_whole(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_some(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether the error means that the disk, or our share of it, is full.
pub(crate) fn no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the error means that there are no file descriptors left, so that a file was not opened.
pub(crate) fn no_descriptor(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Opens a file that only we may read, making it when it is not there.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens a database that only we may read; SQLite gives its other files the same mode.
pub(crate) fn private_database(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    // Where the file cannot be made, SQLite says why.
    drop(private_file(path));
    rusqlite::Connection::open(path)
}

/// A directory of the real file system.
pub(crate) struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn options() -> std::fs::OpenOptions {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        options
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Self::options().create_new(true).open(self.root.join(path))?))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Self::options().open(self.root.join(path))?))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(self.root.join(path));
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        std::fs::read_dir(self.root.join(dir))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.root.join(dir))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn write_some(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, slices, offset)?)
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn read_now(&self, [first, second]: [&mut [u8]; 2], offset: u64) -> io::Result<usize> {
        let mut buffers = [IoSliceMut::new(first), IoSliceMut::new(second)];
        match rustix::io::preadv2(self, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::WouldBlock.into()),
            other => Ok(other?),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, length) {
            // The zeros to come take the room.
            Err(Errno::OPNOTSUPP) => self.set_len(length),
            other => Ok(other?),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// What Linux takes in one call.
const IOV_MAX: usize = 1024;
