//! Snapshots: the state machine at one position, in a file.
//!
//! # Contract
//! * Written under a temporary name, synced, renamed, and the directory synced: a file with a
//!   snapshot's name is whole. A checksum over all of it is at its end all the same.
//! * Only the latest is kept.
//!
//! A file is: magic, length and bytes of the encoded [`SnapshotMeta`], then rows (length of key,
//! length of value, key, value), a row with key length `u32::MAX`, the checksum of all before it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::codec::{decode, encode};
use crate::limits::VALUE_BYTES_MAX;
use crate::types::SnapshotMeta;

/// Where snapshots are, below the store.
pub const DIRECTORY: &str = "snapshots";

const MAGIC: &[u8; 8] = b"MCPV8SN1";
const END: u32 = u32::MAX;
/// No key or value is near this.
const FIELD_BYTES_MAX: u32 = (VALUE_BYTES_MAX * 8) as u32;
const META_BYTES_MAX: u32 = 1024 * 1024;

/// A snapshot in a file that is whole.
#[derive(Debug, Clone)]
pub struct SnapshotFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length, in bytes.
    pub bytes: u64,
}

/// Writes a snapshot.
#[derive(Debug)]
pub struct Writer {
    temporary: PathBuf,
    path: PathBuf,
    file: BufWriter<File>,
    sum: crc32fast::Hasher,
    bytes: u64,
}

impl Writer {
    /// Begins a snapshot in `directory`.
    pub fn create(directory: &Path, meta: &SnapshotMeta) -> io::Result<Self> {
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index());
        let path = directory.join(format!("{index:020}.snapshot"));
        let temporary = directory.join(format!("{index:020}.unfinished"));
        let file = BufWriter::new(File::create(&temporary)?);
        let mut writer = Self { temporary, path, file, sum: crc32fast::Hasher::new(), bytes: 0 };
        let meta = encode(meta);
        writer.put(MAGIC)?;
        writer.put(&(meta.len() as u32).to_le_bytes())?;
        writer.put(&meta)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Adds a row.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put(&(key.len() as u32).to_le_bytes())?;
        self.put(&(value.len() as u32).to_le_bytes())?;
        self.put(key)?;
        self.put(value)
    }

    /// Makes the file whole and durable.
    pub fn finish(mut self) -> io::Result<SnapshotFile> {
        self.put(&END.to_le_bytes())?;
        let sum = self.sum.clone().finalize().to_le_bytes();
        self.file.write_all(&sum)?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&self.temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            super::sync_directory(directory)?;
        }
        Ok(SnapshotFile { bytes: self.bytes + sum.len() as u64, path: self.path })
    }
}

/// Reads a snapshot, row by row.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    sum: crc32fast::Hasher,
    /// What it says about itself.
    pub meta: SnapshotMeta,
}

fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

impl Reader {
    /// Opens a snapshot.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut sum = crc32fast::Hasher::new();
        let mut head = [0; 12];
        file.read_exact(&mut head)?;
        sum.update(&head);
        let (magic, length) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(invalid("it is no snapshot of this program"));
        }
        let length = length.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
        if length > META_BYTES_MAX {
            return Err(invalid("its head is too long"));
        }
        let mut meta = vec![0; length as usize];
        file.read_exact(&mut meta)?;
        sum.update(&meta);
        let meta = decode(&meta).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { file, sum, meta })
    }

    fn length(&mut self) -> io::Result<u32> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length)?;
        self.sum.update(&length);
        Ok(u32::from_le_bytes(length))
    }

    /// The next row; `None` at the end, which is only reached when the checksum holds.
    pub fn row(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let key_length = self.length()?;
        if key_length == END {
            let mut sum = [0; 4];
            self.file.read_exact(&mut sum)?;
            if sum != self.sum.clone().finalize().to_le_bytes() {
                return Err(invalid("it does not match its checksum"));
            }
            return Ok(None);
        }
        let value_length = self.length()?;
        if key_length > FIELD_BYTES_MAX || value_length > FIELD_BYTES_MAX {
            return Err(invalid("a row is too long"));
        }
        let mut key = vec![0; key_length as usize];
        self.file.read_exact(&mut key)?;
        let mut value = vec![0; value_length as usize];
        self.file.read_exact(&mut value)?;
        self.sum.update(&key);
        self.sum.update(&value);
        Ok(Some((key, value)))
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
