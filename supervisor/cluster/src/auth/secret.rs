//! The secret that the nodes of a cluster share.
//!
//! # Contract
//! * It comes from a file that nobody but its owner can read, and is of
//!   [`SECRET_BYTES_MIN`] to [`SECRET_BYTES_MAX`] bytes: whoever records a proof can try secrets
//!   on it for as long as they like, so it must be one that cannot be guessed.
//! * It is never shown, logged or sent. Each use has a key of its own, derived from it (HKDF,
//!   RFC 5869): what is signed for one purpose is of no use for another.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::{hkdf, hmac};

use crate::limits::{SECRET_BYTES_MAX, SECRET_BYTES_MIN};

/// What systemd sets for a service with `LoadCredential=`: a directory that only the service can
/// enter. The files in it look as if their group could read them, because of how access for the
/// service's user is granted.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Keeps these keys apart from those of other programs that were given the same secret.
const SALT: &[u8] = b"mcp-v8 cluster secret 1";

/// Why a file holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("--{flag} {path}: {source}")]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("--{flag} {path} is no regular file; give one that holds the secret")]
    NoFile {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error(
        "--{flag} {path} can be read by others than its owner (mode {mode:04o}). If nobody has, run: \
         chmod 600 {path}. If somebody may have, make a new secret for all nodes"
    )]
    Readable {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too short or too long.
    #[error(
        "--{flag} {path} holds {bytes} bytes; accepted: {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}. \
         Make one with: openssl rand -hex 32"
    )]
    Length {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// How many; one past the bound when there are more.
        bytes: usize,
    },
}

/// Keys derived from the shared secret.
#[derive(Clone)]
pub struct Secret {
    /// For requests to the cluster port.
    pub(super) request: hmac::Key,
    /// For answers to them.
    pub(super) answer: hmac::Key,
    /// For connections between nodes.
    pub(super) stream: hmac::Key,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads a file. Line ends behind the secret are not part of it. `flag` is the one that names
    /// the file.
    ///
    /// # Errors
    /// [`SecretError`], with what to do.
    pub fn read(flag: &'static str, path: &Path) -> Result<Self, SecretError> {
        let granted = std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from);
        let bytes = read_private(flag, path, granted.as_deref(), SECRET_BYTES_MAX)?;
        Self::new(&bytes).ok_or_else(|| SecretError::Length {
            flag,
            path: path.to_owned(),
            bytes: trimmed(&bytes).len(),
        })
    }

    /// The keys of a secret; `None` when it is too short or too long.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let secret = trimmed(bytes);
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return None;
        }
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        Some(Self {
            request: expand(&extracted, b"request")?,
            answer: expand(&extracted, b"answer")?,
            stream: expand(&extracted, b"stream")?,
        })
    }
}

/// A key for one purpose. There is always one: HKDF refuses only keys longer than 255 hashes.
pub(super) fn expand(extracted: &hkdf::Prk, purpose: &[u8]) -> Option<hmac::Key> {
    let info = [purpose];
    extracted.expand(&info, hmac::HMAC_SHA256).ok().map(hmac::Key::from)
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Reads a small file that only its owner may read, or that is in the directory of credentials
/// that was granted. What is past `bytes_max`, and a line end, is not read.
fn read_private(
    flag: &'static str,
    path: &Path,
    granted: Option<&Path>,
    bytes_max: usize,
) -> Result<Vec<u8>, SecretError> {
    let failed = |source| SecretError::Read { flag, path: path.to_owned(), source };
    // Without waiting: a pipe would hold the start up until somebody writes.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretError::NoFile { flag, path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    let readable = mode & 0o077 != 0;
    if readable && !granted.is_some_and(|granted| path.starts_with(granted)) {
        return Err(SecretError::Readable { flag, path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    let room_for_line_end = 2;
    let most = u64::try_from(bytes_max + 1 + room_for_line_end).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(contents: &[u8], mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), contents).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn tag(secret: &Secret) -> Vec<u8> {
        hmac::sign(&secret.request, b"x").as_ref().to_vec()
    }

    #[test]
    fn a_secret_at_its_bounds_passes_and_one_past_them_is_refused_with_what_to_do() {
        for length in [SECRET_BYTES_MIN, SECRET_BYTES_MAX] {
            for end in ["", "\n", "\r\n"] {
                let mut contents = vec![b's'; length];
                contents.extend_from_slice(end.as_bytes());
                let file = file(&contents, 0o600);
                assert!(Secret::read("f", file.path()).is_ok(), "{length} {end:?}");
            }
        }
        for length in [0, SECRET_BYTES_MIN - 1, SECRET_BYTES_MAX + 1, SECRET_BYTES_MAX * 2] {
            let file = file(&vec![b's'; length], 0o600);
            let error = Secret::read("f", file.path()).unwrap_err().to_string();
            assert!(error.starts_with("--f /") && error.contains("openssl rand"), "{error}");
        }
    }

    #[test]
    fn a_line_end_is_no_part_of_it_and_everything_else_is() {
        let secret = Secret::new(&[b's'; 40]).unwrap();
        let mut with_end = vec![b's'; 40];
        with_end.extend_from_slice(b"\r\n");
        assert_eq!(tag(&secret), tag(&Secret::new(&with_end).unwrap()));
        let mut with_space = vec![b's'; 40];
        with_space.push(b' ');
        assert_ne!(tag(&secret), tag(&Secret::new(&with_space).unwrap()));
    }

    #[test]
    fn each_use_has_a_key_of_its_own() {
        let secret = Secret::new(&[b's'; 32]).unwrap();
        let tags = [&secret.request, &secret.answer, &secret.stream]
            .map(|key| hmac::sign(key, b"x").as_ref().to_vec());
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
        for mode in [0o640, 0o604, 0o620, 0o666, 0o677] {
            let file = file(&[b's'; 32], mode);
            let error = Secret::read("f", file.path()).unwrap_err().to_string();
            let shown = format!("mode {mode:04o}");
            assert!(error.contains(&shown) && error.contains("chmod 600"), "{error}");
        }
        for mode in [0o400, 0o600, 0o700] {
            let file = file(&[b's'; 32], mode);
            assert!(Secret::read("f", file.path()).is_ok(), "{mode:o}");
        }
    }

    #[test]
    fn a_credential_that_systemd_grants_may_look_readable() {
        let file = file(&[b's'; 32], 0o440);
        let directory = file.path().parent().unwrap();
        assert!(read_private("f", file.path(), Some(directory), 100).is_ok());
        let elsewhere = Some(Path::new("/run/credentials/other"));
        assert!(read_private("f", file.path(), elsewhere, 100).is_err());
    }

    #[test]
    fn what_is_no_file_is_named() {
        let missing = Secret::read("f", Path::new("/nonexistent")).unwrap_err().to_string();
        assert!(missing.starts_with("--f /nonexistent: "), "{missing}");
        let directory = Secret::read("f", Path::new("/")).unwrap_err().to_string();
        assert!(directory.contains("no regular file"), "{directory}");
    }
}
