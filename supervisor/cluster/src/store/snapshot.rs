//! Snapshots: the state machine at one position, in a file.
//!
//! # Contract
//! * Written under a temporary name, synced, renamed, and the directory synced: a file with a
//!   snapshot's name is whole. A checksum over all of it is at its end all the same.
//! * Only the latest is kept.
//!
//! A file of rows (see [`rowfile`]) whose head is: magic, length and bytes of the encoded
//! [`SnapshotMeta`].

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use super::rowfile::{self, Crc32, Written, invalid};
use crate::codec::{decode, encode};
use crate::types::SnapshotMeta;

/// Where snapshots are, below the store.
pub const DIRECTORY: &str = "snapshots";

const MAGIC: &[u8; 8] = b"MCPV8SN1";
const META_BYTES_MAX: u32 = 1024 * 1024;

/// A snapshot in a file that is whole.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// A file that is removed unless it got its name.
#[derive(Debug)]
pub struct Temporary(pub PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is not there any more when it was whole.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a snapshot.
#[derive(Debug)]
pub struct Writer {
    temporary: Temporary,
    path: PathBuf,
    rows: rowfile::Writer<BufWriter<File>, Crc32>,
}

impl Writer {
    /// Begins a snapshot in `directory`.
    pub fn create(directory: &Path, meta: &SnapshotMeta) -> io::Result<Self> {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index());
        let path = directory.join(format!("{index:020}.snapshot"));
        let temporary = Temporary(directory.join(format!("{index:020}.unfinished")));
        let mut rows = rowfile::Writer::new(BufWriter::new(File::create(&temporary.0)?));
        let meta = encode(meta);
        rows.put(MAGIC)?;
        rows.put(&(meta.len() as u32).to_le_bytes())?;
        rows.put(&meta)?;
        Ok(Self { temporary, path, rows })
    }

    /// Adds a row; in order of the keys.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.rows.row(key, value)
    }

    /// Makes the file whole and durable.
    pub fn finish(self) -> io::Result<SnapshotFile> {
        let Written { out: file, bytes, .. } = self.rows.finish()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&self.temporary.0, &self.path)?;
        if let Some(directory) = self.path.parent() {
            super::sync_directory(directory)?;
        }
        Ok(SnapshotFile { bytes, path: self.path })
    }
}

/// Reads a snapshot, row by row.
#[derive(Debug)]
pub struct Reader {
    rows: rowfile::Reader<BufReader<File>, Crc32>,
    /// What it says about itself.
    pub meta: SnapshotMeta,
}

impl Reader {
    /// Opens a snapshot.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut rows = rowfile::Reader::new(BufReader::new(File::open(path)?));
        if rows.take(MAGIC.len())? != MAGIC {
            return Err(invalid("it is no snapshot of this program"));
        }
        let length = rows.number()?;
        if length > META_BYTES_MAX {
            return Err(invalid("its head is too long"));
        }
        let meta = decode(&rows.take(length as usize)?);
        let meta = meta.map_err(|error| invalid(error.to_string()))?;
        Ok(Self { rows, meta })
    }

    /// The next row; `None` at the end, which is only reached when the checksum holds.
    pub fn row(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.rows.row()
    }
}

/// Reads a whole file and says whether it is a snapshot.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path) -> io::Result<SnapshotMeta> {
    let mut reader = Reader::open(path)?;
    while reader.row()?.is_some() {}
    Ok(reader.meta)
}

/// Removes what a crash has left.
pub fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension != "snapshot") {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// The latest snapshot in a directory.
pub fn latest(directory: &Path) -> io::Result<Option<SnapshotFile>> {
    let mut latest: Option<PathBuf> = None;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "snapshot") {
            latest = latest.max(Some(path));
        }
    }
    let Some(path) = latest else { return Ok(None) };
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok(Some(SnapshotFile { bytes: metadata.len(), path })),
        // A newer one has taken its place.
        Err(error) if error.kind() == io::ErrorKind::NotFound => self::latest(directory),
        Err(error) => Err(error),
    }
}

/// Makes a snapshot one of `directory`, if it is not.
pub fn adopt(directory: &Path, file: SnapshotFile) -> io::Result<SnapshotFile> {
    let Some(name) = file.path.file_name() else { return Err(invalid("it has no name")) };
    let path = directory.join(name);
    if path == file.path {
        return Ok(file);
    }
    let temporary = path.with_extension("unfinished");
    std::fs::copy(&file.path, &temporary)?;
    File::open(&temporary)?.sync_all()?;
    std::fs::rename(&temporary, &path)?;
    super::sync_directory(directory)?;
    Ok(SnapshotFile { path, ..file })
}

/// Removes all snapshots but one.
pub fn remove_others(directory: &Path, keep: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let older =
            path.extension().is_some_and(|extension| extension == "snapshot") && path < keep;
        if older {
            // A reader that has it open goes on reading.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
