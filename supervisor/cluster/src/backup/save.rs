//! A backup gets its name when it is whole.
//!
//! # Contract
//! * What comes in goes to a file of another name beside it; that one is synced, read again and
//!   checked, then renamed, and the directory is synced. So a file under the name is a whole backup,
//!   whenever the process or the machine stops, and an older one of that name stays until then.
//! * The file is for its owner alone: it holds scripts and what they printed.
//! * Given up, it leaves nothing; killed, a file whose name says that it is partial.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{FileError, Summary, check};
use crate::store::snapshot::Temporary;

/// Why a backup is not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The path cannot be one of a file.
    #[error("{0} is no name of a file; give a path such as mcp-v8.backup")]
    Name(PathBuf),
    /// It cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was written is no whole backup.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A backup that is coming in.
#[derive(Debug)]
pub struct Partial {
    path: PathBuf,
    temporary: Temporary,
    file: File,
}

impl Partial {
    /// Begins beside `path`, which is not touched yet.
    ///
    /// # Errors
    /// [`SaveError`].
    pub fn create(path: &Path) -> Result<Self, SaveError> {
        let name = path.file_name().filter(|_| !path.is_dir());
        let name = name.ok_or_else(|| SaveError::Name(path.to_owned()))?;
        let mut partial = name.to_owned();
        partial.push(format!(".partial-{}", uuid::Uuid::new_v4().simple()));
        let temporary = path.with_file_name(partial);
        let options = || File::options().write(true).create_new(true).mode(0o600).clone();
        let file = options()
            .open(&temporary)
            .map_err(|source| SaveError::Write { path: temporary.clone(), source })?;
        Ok(Self { path: path.to_owned(), temporary: Temporary(temporary), file })
    }

    /// Where the bytes go.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name, if it is whole and the caller accepts it. Blocks.
    ///
    /// # Errors
    /// [`SaveError`], or what the caller has against it; then there is nothing under the name that
    /// was not there before.
    pub fn keep<E: From<SaveError>>(
        self,
        accept: impl FnOnce(&Summary) -> Result<(), E>,
    ) -> Result<Summary, E> {
        let failed = |source| SaveError::Write { path: self.path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        let summary = check(&self.temporary.0).map_err(SaveError::from)?;
        accept(&summary)?;
        std::fs::rename(&self.temporary.0, &self.path).map_err(failed)?;
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        crate::store::sync_directory(directory).map_err(failed)?;
        Ok(summary)
    }
}
