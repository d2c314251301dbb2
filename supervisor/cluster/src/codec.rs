//! Bytes that outlive a process: log entries, votes, rows, frames between nodes.
//!
//! # Contract
//! * One version byte, then `bincode` 2 (standard configuration: little endian, variable-length
//!   integers). New variants are only ever added behind the existing ones, so an old log opens in
//!   a new binary; golden bytes in the tests hold that.
//! * A length is checked against a bound before a byte is allocated.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The encoding that this program writes.
pub const VERSION: u8 = 1;

/// Most bytes of anything that is decoded.
const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// They begin with a version of another program.
    #[error("encoding version {0} is unknown; this program reads version {VERSION}")]
    Version(u8),
    /// There are none.
    #[error("no bytes")]
    Empty,
    /// They do not decode.
    #[error("malformed: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
    /// There are more than there should be.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODED_BYTES_MAX>()
}

/// Encodes a value, with its version.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    encode_into(&mut bytes, value);
    bytes
}

/// Appends a value without a version.
pub fn encode_into<T: Serialize>(bytes: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail, and our types have no maps of unknown length.
    let _ = bincode::serde::encode_into_std_write(value, bytes, bincode::config::standard());
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`CodecError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes {
        [] => Err(CodecError::Empty),
        [VERSION, body @ ..] => decode_body(body),
        [version, ..] => Err(CodecError::Version(*version)),
    }
}

/// Decodes what [`encode_into`] wrote.
///
/// # Errors
/// [`CodecError`].
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, configuration())?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}
