//! The file of a backup.
//!
//! # Contract
//! * A file of rows (see [`rowfile`]) with SHA-256. What comes before the rows: magic, number of the
//!   format, version of the program that wrote it (a length in one byte, text), length and bytes of
//!   the encoded [`Head`]. Formats that come later keep the beginning, so that a program that does
//!   not read them can name the one that does.
//! * The replicated rows are as they are in the store, without those that say where the store
//!   stands.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{FileError, Summary};
use crate::codec::{self, decode, encode};
use crate::hex;
use crate::state::Row;
use crate::store::OWN_ROWS;
use crate::store::rowfile::{self, Sum, Written};

const MAGIC: &[u8; 8] = b"MCPV8BAK";

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// Bytes of an encoded head.
pub const HEAD_BYTES_MAX: u32 = 1024 * 1024;

/// SHA-256: a backup is copied from disk to disk, and compared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sha(Sha256);

impl Sum for Sha {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn value(&self) -> Vec<u8> {
        self.0.clone().finalize().to_vec()
    }
}

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The cluster it was taken of.
    pub cluster: Uuid,
    /// Term of the last entry it reflects.
    pub term: u64,
    /// Index of that entry.
    pub index: u64,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: u64,
    /// Who belonged to the cluster.
    pub members: Vec<Member>,
}

/// A member of the cluster that a backup was taken of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where its cluster port was.
    pub address: String,
    /// Whether it voted.
    pub voter: bool,
}

/// Writes a backup.
#[derive(Debug)]
pub struct Writer<W> {
    rows: rowfile::Writer<W, Sha>,
}

impl<W: Write> Writer<W> {
    /// Begins with the head.
    ///
    /// # Errors
    /// Whatever writing says.
    pub fn begin(out: W, head: &Head) -> io::Result<Self> {
        Self::begin_as(out, head, FORMAT, env!("CARGO_PKG_VERSION"))
    }

    pub(super) fn begin_as(out: W, head: &Head, format: u32, program: &str) -> io::Result<Self> {
        let mut rows = rowfile::Writer::new(out);
        rows.put(MAGIC)?;
        rows.put(&format.to_le_bytes())?;
        let program = &program.as_bytes()[..program.len().min(255)];
        rows.put(&[program.len() as u8])?;
        rows.put(program)?;
        let head = encode(head);
        rows.put(&(head.len() as u32).to_le_bytes())?;
        rows.put(&head)?;
        Ok(Self { rows })
    }

    /// Adds rows; in order of their keys.
    ///
    /// # Errors
    /// Whatever writing says.
    pub fn add(&mut self, rows: &[Row]) -> io::Result<()> {
        rows.iter().try_for_each(|(key, value)| self.rows.row(key, value))
    }

    /// Ends it.
    ///
    /// # Errors
    /// Whatever writing says.
    pub fn finish(self) -> io::Result<Written<W>> {
        self.rows.finish()
    }
}

/// Reads a backup, row by row. What it gives is checked once [`Reader::row`] has given `None`.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    rows: rowfile::Reader<BufReader<File>, Sha>,
    program: String,
    /// What it says about itself.
    pub head: Head,
}

impl Reader {
    /// Opens a backup and reads its head.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::open(path)
            .and_then(|file| {
                if file.metadata()?.is_file() {
                    Ok(file)
                } else {
                    Err(io::Error::other("it is no file"))
                }
            })
            .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        let mut rows = rowfile::Reader::<_, Sha>::new(BufReader::new(file));
        match rows.take(MAGIC.len()) {
            Ok(magic) if magic == MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(FileError::Read { path: path.to_owned(), source: error });
            }
            _ => return Err(FileError::Foreign { path: path.to_owned() }),
        }
        let failed = |rows: &rowfile::Reader<_, _>, error| explain(path, rows, error);
        let format = rows.number().map_err(|error| failed(&rows, error))?;
        let length = rows.take(1).map_err(|error| failed(&rows, error))?;
        let program = rows.take(length[0].into()).map_err(|error| failed(&rows, error))?;
        let program = String::from_utf8_lossy(&program).into_owned();
        if format != FORMAT {
            return Err(FileError::Format { path: path.to_owned(), format, program });
        }
        let length = rows.number().map_err(|error| failed(&rows, error))?;
        if length > HEAD_BYTES_MAX {
            return Err(failed(&rows, rowfile::invalid("its head is too long")));
        }
        let head = rows.take(length as usize).map_err(|error| failed(&rows, error))?;
        let head = decode(&head)
            .map_err(|error| failed(&rows, rowfile::invalid(format!("its head: {error}"))))?;
        Ok(Self { path: path.to_owned(), rows, program, head })
    }

    /// The next row; `None` at the end of a file that is whole.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn row(&mut self) -> Result<Option<Row>, FileError> {
        let row = self.rows.row().and_then(|row| match row {
            Some((key, _)) if key.starts_with(OWN_ROWS) => {
                Err(rowfile::invalid("it has a row that belongs to a store"))
            }
            Some((_, value)) if value.first() != Some(&codec::VERSION) => {
                Err(rowfile::invalid("it has a row of another encoding"))
            }
            row => Ok(row),
        });
        row.map_err(|error| explain(&self.path, &self.rows, error))
    }

    /// Reads what is left, and says what the file is.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn finish(mut self) -> Result<Summary, FileError> {
        while self.row()?.is_some() {}
        let (bytes, rows) = self.rows.read_so_far();
        let (mut input, sum) = self.rows.into_inner();
        let left = input.read(&mut [0]);
        let left = left.map_err(|source| FileError::Read { path: self.path.clone(), source })?;
        if left > 0 {
            let problem = "something follows its checksum".to_owned();
            return Err(FileError::Damaged { path: self.path, problem });
        }
        let Head { cluster, term, index, taken_ms, members } = self.head;
        Ok(Summary {
            cluster_id: cluster,
            applied_index: index,
            term,
            taken_ms,
            program: self.program,
            members,
            rows,
            bytes,
            sha256: hex::encode(&sum),
        })
    }
}

/// Reads a whole file and says what it is.
///
/// # Errors
/// [`FileError`] for a file that is no backup, or not as it was written.
pub fn check(path: &Path) -> Result<Summary, FileError> {
    Reader::open(path)?.finish()
}

fn explain<R: Read, S: Sum>(
    path: &Path,
    rows: &rowfile::Reader<R, S>,
    error: io::Error,
) -> FileError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            let bytes = std::fs::metadata(&path).map_or(rows.read_so_far().0, |file| file.len());
            FileError::CutOff { path, bytes }
        }
        io::ErrorKind::InvalidData => FileError::Damaged { path, problem: error.to_string() },
        _ => FileError::Read { path, source: error },
    }
}
