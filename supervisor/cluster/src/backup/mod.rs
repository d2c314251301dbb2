//! Backups: the replicated state at one position, in a file that leaves the cluster, and what a new
//! cluster is made of.
//!
//! # Contract
//! * A backup reflects everything that was acknowledged before it was asked for, and one position in
//!   the log ([`Node::backup`](crate::node::Node::backup)); or everything that one stopped node has
//!   ([`stopped`]).
//! * A file that was cut off, lengthened or changed in any bit is refused ([`file`]).
//! * A backup is only ever made into a *new* cluster ([`restore`]): nodes of the one it was taken
//!   of are strangers to it.

pub mod file;
pub mod restore;
pub mod save;
pub mod stopped;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

pub use self::file::{Member, check};

/// What a backup is of, and how much it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The cluster it was taken of.
    pub cluster_id: Uuid,
    /// Index of the last entry it reflects.
    pub applied_index: u64,
    /// Term of that entry.
    pub term: u64,
    /// When it was taken, in milliseconds since 1970, by the clock of the node that did.
    pub taken_ms: u64,
    /// Version of the program that took it.
    pub program: String,
    /// Who belonged to the cluster.
    pub members: Vec<Member>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its checksum, in hexadecimal.
    pub sha256: String,
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is no backup of mcp-v8: it does not begin like one")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another program's.
    #[error(
        "{path} is a backup in format {format}, made by mcp-v8 {program}; this program ({own}) reads \
         format {accepted}: restore it with that version",
        own = env!("CARGO_PKG_VERSION"),
        accepted = file::FORMAT
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The version that made it.
        program: String,
    },
    /// It ends too early.
    #[error(
        "{path} is cut off: it ends after {bytes} bytes, before its checksum. Copy it again from \
         where it was taken, or use another backup"
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// How long it is.
        bytes: u64,
    },
    /// Its contents are not what they were.
    #[error(
        "{path} is damaged: {problem}. Copy it again from where it was taken, or use another backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}
