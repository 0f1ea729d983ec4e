//! A large body's own file, `bodies/ID`, written while the message arrives.
//!
//! The file and its name are durable before the record that refers to them is written. Until the writer takes it over, dropping
//! the value removes the file; after a crash, files that no record names are removed at open.

use std::io::{self, IoSlice};
use std::sync::Arc;

use mail::MessageId;

use crate::disk::{DiskFile, write_whole};
use crate::engine::Engine;

/// Where large bodies live.
pub(crate) const BODIES: &str = "bodies";

/// The name of a message's body file.
pub(crate) fn body_path(id: MessageId) -> String {
    format!("{BODIES}/{id}")
}

/// A body file that nothing refers to yet.
pub(crate) struct BodyFile {
    engine: Arc<Engine>,
    id: MessageId,
    file: Arc<dyn DiskFile>,
    written: u64,
    kept: bool,
}

impl BodyFile {
    /// Makes the file. Waits for the disk.
    pub(crate) fn create(engine: Arc<Engine>, id: MessageId) -> io::Result<Self> {
        let file = engine.disk.create(&body_path(id))?;
        Ok(Self { engine, id, file, written: 0, kept: false })
    }

    /// Appends. Waits for the disk.
    pub(crate) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        write_whole(&*self.file, &mut [IoSlice::new(piece)], self.written)?;
        self.written += piece.len() as u64;
        Ok(())
    }

    /// Octets so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The file, to read what was written.
    pub(crate) fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Makes file and name durable. Waits for the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        self.engine.disk.sync_dir(BODIES)
    }

    /// A record refers to it from now on.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        if !self.kept {
            self.engine.tender.discard(vec![self.id]);
        }
    }
}
