//! What artifacts a script may leave. Both sides ask: the worker, to tell the script, and the
//! supervisor, which believes nothing.

use crate::limits::{
    ARTIFACT_BYTES_MAX, ARTIFACT_KEY_BYTES_MAX, ARTIFACT_TYPE_BYTES_MAX, ARTIFACTS_BYTES_MAX,
    ARTIFACTS_MAX,
};

/// Why an artifact is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The name.
    #[error(
        "the key must have 1 to {ARTIFACT_KEY_BYTES_MAX} bytes in UTF-8 and no control characters"
    )]
    Key,
    /// The media type.
    #[error(
        "the media type must be like image/png: type/subtype in ASCII, at most \
         {ARTIFACT_TYPE_BYTES_MAX} bytes"
    )]
    Type,
    /// It is too large.
    #[error("it has {bytes} bytes; accepted: {ARTIFACT_BYTES_MAX}")]
    Bytes {
        /// How large it is.
        bytes: u64,
    },
    /// There are too many of them.
    #[error("an execution leaves {ARTIFACTS_MAX} artifacts at most")]
    Count,
    /// All together are too large.
    #[error("the artifacts of an execution have {ARTIFACTS_BYTES_MAX} bytes at most, all together")]
    Total,
}

/// Checks the name of an artifact.
///
/// # Errors
/// [`ArtifactError::Key`].
pub fn check_artifact_key(key: &str) -> Result<(), ArtifactError> {
    let fits = (1..=ARTIFACT_KEY_BYTES_MAX).contains(&key.len());
    if fits && !key.chars().any(char::is_control) { Ok(()) } else { Err(ArtifactError::Key) }
}

/// Checks a media type: as RFC 9110, section 8.3.1 has it, with parameters in visible ASCII.
fn check_type(text: &str) -> Result<(), ArtifactError> {
    let token = |part: &str| {
        let special = b"!#$%&'*+-.^_`|~";
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b))
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let named = essence.trim_end().split_once('/').is_some_and(|(a, b)| token(a) && token(b));
    let visible = parameters.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let fits = text.len() <= ARTIFACT_TYPE_BYTES_MAX;
    if named && visible && fits { Ok(()) } else { Err(ArtifactError::Type) }
}

/// The artifacts of one execution, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Artifacts {
    count: usize,
    bytes: u64,
}

impl Artifacts {
    /// Counts one more; without effect when it is not accepted.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub fn add(&mut self, key: &str, mime_type: &str, bytes: u64) -> Result<(), ArtifactError> {
        check_artifact_key(key)?;
        check_type(mime_type)?;
        if bytes > ARTIFACT_BYTES_MAX {
            return Err(ArtifactError::Bytes { bytes });
        }
        if self.count >= ARTIFACTS_MAX {
            return Err(ArtifactError::Count);
        }
        if self.bytes + bytes > ARTIFACTS_BYTES_MAX {
            return Err(ArtifactError::Total);
        }
        self.count += 1;
        self.bytes += bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_types_at_their_bounds_pass_and_past_them_do_not() {
        let add = |key: &str, kind: &str| Artifacts::default().add(key, kind, 0);
        let key = "k".repeat(ARTIFACT_KEY_BYTES_MAX);
        assert_eq!(add(&key, "a/b"), Ok(()));
        for bad in [format!("{key}k"), String::new(), "a\nb".into(), "a\0".into(), "\u{85}".into()]
        {
            assert_eq!(add(&bad, "a/b"), Err(ArtifactError::Key), "{bad:?}");
        }
        let long = format!("a/{}", "b".repeat(ARTIFACT_TYPE_BYTES_MAX - 2));
        for good in [&long, "image/svg+xml", "text/plain; charset=utf-8", "text/plain;a=\"b c\""] {
            assert_eq!(add("plots/ü 1.png", good), Ok(()), "{good}");
        }
        let past = format!("{long}b");
        for bad in [&past, "", "png", "a/", "/b", "a/b/c", "a b/c", "a/b\r\nx: y", "a/b; ü", "ä/b"]
        {
            assert_eq!(add("k", bad), Err(ArtifactError::Type), "{bad:?}");
        }
    }

    #[test]
    fn as_many_artifacts_and_bytes_as_may_be_pass_and_not_one_more() {
        let mut artifacts = Artifacts::default();
        let past = ARTIFACT_BYTES_MAX + 1;
        let error = Err(ArtifactError::Bytes { bytes: past });
        assert_eq!(artifacts.add("k", "a/b", past), error);
        assert_eq!(artifacts.add("k", "a/b", ARTIFACT_BYTES_MAX), Ok(()));
        assert_eq!(artifacts.add("k", "a/b", ARTIFACTS_BYTES_MAX - ARTIFACT_BYTES_MAX), Ok(()));
        assert_eq!(artifacts.add("k", "a/b", 1), Err(ArtifactError::Total));
        for _ in 2..ARTIFACTS_MAX {
            assert_eq!(artifacts.add("k", "a/b", 0), Ok(()));
        }
        assert_eq!(artifacts.add("k", "a/b", 0), Err(ArtifactError::Count));
    }
}
