//! How far the log was reported as kept.
//!
//! # Contract
//! * After each sync of the database the index of the last entry in it is written here, in one
//!   small write that is not synced itself: it may be behind, never ahead of what is durable.
//! * Before entries are taken away from the end of the log, the mark is lowered and synced.
//! * So a log that ends before the mark has lost what was acknowledged. sled alone cannot tell:
//!   it takes damage near the end of its file for a write that was cut short, and drops it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Eight bytes of index, four of checksum.
const BYTES: usize = 12;

/// The mark of one store.
#[derive(Debug)]
pub struct Mark {
    file: File,
    /// What was written last.
    written: AtomicU64,
}

impl Mark {
    /// Opens or makes the file.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("synced");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mark = Self { file, written: AtomicU64::new(0) };
        mark.written.store(mark.read(), Ordering::Relaxed);
        Ok(mark)
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The index of the last entry that was synced; 0 when there was none, or the file was cut off
    /// in the middle of its only write.
    pub fn read(&self) -> u64 {
        let mut bytes = [0; BYTES];
        if self.file.read_exact_at(&mut bytes, 0).is_err() {
            return 0;
        }
        let (index, sum) = bytes.split_at(8);
        let matches = crc32fast::hash(index).to_le_bytes() == *sum;
        match <[u8; 8]>::try_from(index) {
            Ok(index) if matches => u64::from_le_bytes(index),
            _ => 0,
        }
    }

    /// Sets it, without a sync.
    pub fn write(&self, index: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&index.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..8]).to_le_bytes();
        bytes[8..].copy_from_slice(&sum);
        self.file.write_all_at(&bytes, 0)?;
        self.written.store(index, Ordering::Relaxed);
        Ok(())
    }

    /// Lowers it to `index`, on disk when this returns.
    pub fn lower(&self, index: u64) -> io::Result<()> {
        if self.read() > index {
            self.write(index)?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}
