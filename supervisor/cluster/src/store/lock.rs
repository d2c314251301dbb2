//! One process at a time.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why the store is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it open.
    #[error(
        "{path} is in use by process {holder}: stop that one, or give this node a directory of its \
         own with --session-db-path (or another --node-id); --stateless keeps nothing on disk"
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// The number of the process, as it wrote it down.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lock that the kernel takes back when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a store.
    ///
    /// # Errors
    /// [`LockError::Held`] at once when another process has it.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("lock");
        let failed = |source| LockError::File { path: path.clone(), source };
        let options =
            || File::options().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options().open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Whatever is in it, the answer is the same.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "(unknown)".to_owned(),
                    pid => pid.to_owned(),
                };
                return Err(LockError::Held { path: directory.to_owned(), holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
