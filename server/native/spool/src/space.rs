//! How much room the spool has left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The bounds of the spool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The most bytes of all files in the spool.
    pub spool_bytes: u64,
    /// The least free bytes of the disk.
    pub free_bytes: u64,
}

/// What was last seen of the spool and its disk.
pub(crate) struct Space {
    folder: PathBuf,
    bounds: Bounds,
    used: u64,
    free: u64,
}

impl Space {
    pub(crate) fn new(folder: PathBuf, bounds: Bounds) -> Self {
        Self { folder, bounds, used: 0, free: u64::MAX }
    }

    /// Looks at the spool and its disk.
    pub(crate) fn measure(&mut self) {
        // What cannot be read will fail when it is written.
        self.used = bytes_below(&self.folder, 2).unwrap_or(0);
        self.free = rustix::fs::statvfs(&self.folder)
            .map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    }

    /// Counts bytes that were written since.
    pub(crate) fn write(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        self.free = self.free.saturating_sub(bytes);
    }

    /// Whether no more rows may be written.
    pub(crate) fn is_full(&self) -> bool {
        self.used >= self.bounds.spool_bytes || self.free < self.bounds.free_bytes
    }

    /// For people: why no more rows may be written; `None` if they may.
    pub(crate) fn problem(&self) -> Option<String> {
        let Bounds { spool_bytes, free_bytes } = self.bounds;
        let folder = self.folder.display();
        if self.used >= spool_bytes {
            return Some(format!(
                "the spool {folder} has reached its limit of {spool_bytes} bytes: records are dropped until the \
                 shipper has moved some"
            ));
        }
        (self.free < free_bytes).then(|| {
            format!(
                "the disk of {folder} has {} bytes free and must keep {free_bytes}: records are dropped until \
                 there is room",
                self.free
            )
        })
    }
}

/// The bytes of all files in a folder and the folders below it, so many levels down.
fn bytes_below(folder: &Path, levels: usize) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Files come and go while this reads.
        let Ok(about) = entry.metadata() else { continue };
        if about.is_file() {
            total += about.len();
        } else if about.is_dir() && levels > 1 {
            total += bytes_below(&entry.path(), levels - 1).unwrap_or(0);
        }
    }
    Ok(total)
}
