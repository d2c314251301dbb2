//! What a caller asks for, checked once for every transport.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_v8_cluster::codec::encode;
use mcp_v8_cluster::limits::{SESSION_NAME_BYTES_MAX, SESSIONS_MAX, TAGS_BYTES_MAX, TAGS_MAX};
use mcp_v8_cluster::principal::MARK;
use sha2::{Digest as _, Sha256};

use super::quarantine::Refusal;
use super::registry::Digest;
use crate::heaps::HeapId;
use crate::limits::{
    CODE_BYTES_MAX, EXECUTION_TIMEOUT_SECS_MAX, EXECUTION_TIMEOUT_SECS_MIN, HASH_INLINE_BYTES_MAX,
    HEAP_MB_MAX, HEAP_MB_MIN, IDEMPOTENCY_KEY_BYTES_MAX,
};
use crate::observe::Origin;

/// A script and what its caller wants for it. Absent limits take the server's defaults.
#[derive(Debug, Clone, Default)]
pub struct Submit {
    /// The source of one ES module.
    pub code: String,
    /// Heap limit in MiB.
    pub heap_memory_max_mb: Option<u64>,
    /// Wall clock limit in seconds.
    pub execution_timeout_secs: Option<u64>,
    /// A retry with the same key and the same submission finds the first execution.
    pub idempotency_key: Option<String>,
    /// The session whose next step it is.
    pub session: Option<String>,
    /// The heap to begin with, instead of where the session stands.
    pub heap: Option<HeapId>,
    /// Tags of the heap it leaves.
    pub tags: BTreeMap<String, String>,
    /// The request that asks.
    pub origin: Option<Origin>,
}

/// Which executions leave a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepHeaps {
    /// None; whoever asks for it is refused.
    Never,
    /// Those that name a session, a heap or tags.
    WhereAsked,
    /// All.
    Always,
}

/// Why a submission was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A field has a value outside what is accepted.
    #[error("`{field}` {problem}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be accepted.
        problem: String,
    },
    /// The key belongs to another submission.
    #[error("`idempotency_key` was used before with other code or limits: use a new key")]
    KeyConflict,
    /// There is no such heap.
    #[error("`heap` {0}: there is no such heap, or nothing names it any more")]
    NoHeap(HeapId),
    /// There are too many sessions.
    #[error(
        "`session` would be one more than the {SESSIONS_MAX} that are kept: delete one, or go on in one"
    )]
    TooManySessions,
    /// The caller has as many as it may.
    #[error(
        "too many: {max} executions of yours have not ended, and no more may be; wait for one, or \
         cancel one"
    )]
    TooManyRunning {
        /// How many it may have.
        max: u32,
    },
    /// The caller submits more often than it may.
    #[error(
        "too often: {per_minute} scripts a minute are accepted of you here; try again in {} seconds",
        whole_seconds(*wait)
    )]
    TooOften {
        /// How often it may.
        per_minute: u32,
        /// When it may again.
        wait: Duration,
    },
    /// The queue is full.
    #[error("overloaded: {waiting} executions are waiting; try again in a moment")]
    Overloaded {
        /// Executions that wait.
        waiting: usize,
    },
    /// No worker can be started.
    #[error("unavailable: worker processes do not start: {reason}")]
    Unavailable {
        /// What the last one died of.
        reason: String,
    },
    /// The cluster does not commit it.
    #[error("unavailable: {0}")]
    Cluster(String),
    /// The server is stopping.
    #[error("shutting down: this server takes no new executions")]
    ShuttingDown,
    /// The code killed workers.
    #[error(transparent)]
    Quarantined(#[from] Refusal),
}

impl SubmitError {
    /// Its name in metrics and logs. Stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::NoHeap(_) => "no_heap",
            Self::TooManySessions => "too_many_sessions",
            Self::KeyConflict => "key_conflict",
            Self::Overloaded { .. } => "overloaded",
            Self::Unavailable { .. } => "unavailable",
            Self::Cluster(_) => "no_majority",
            Self::ShuttingDown => "shutting_down",
            Self::Quarantined(_) => "quarantined",
            Self::TooManyRunning { .. } => "too_many_running",
            Self::TooOften { .. } => "too_often",
        }
    }
}

/// So many seconds, or part of the last one.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Refuses what is no name of a session.
///
/// # Errors
/// [`SubmitError::Invalid`].
pub fn check_session(field: &'static str, name: &str) -> Result<(), SubmitError> {
    let problem = if name.is_empty() || name.len() > SESSION_NAME_BYTES_MAX {
        format!("is {} bytes; accepted: 1 to {SESSION_NAME_BYTES_MAX}", name.len())
    } else if name.chars().any(char::is_control) {
        "has a control character; accepted: any other text".to_owned()
    } else {
        return Ok(());
    };
    Err(SubmitError::Invalid { field, problem })
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), SubmitError> {
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if tags.len() <= TAGS_MAX && bytes <= TAGS_BYTES_MAX {
        return Ok(());
    }
    let (field, count) = ("tags", tags.len());
    let problem = format!(
        "has {count} tags and {bytes} bytes of keys and values; accepted: {TAGS_MAX} and \
         {TAGS_BYTES_MAX}"
    );
    Err(SubmitError::Invalid { field, problem })
}

/// Refuses a number outside `min..=max`.
pub fn check_range(
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
    unit: &str,
) -> Result<(), SubmitError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let problem = format!("is {value}; accepted: {min} to {max}{unit}");
    Err(SubmitError::Invalid { field, problem })
}

impl Submit {
    /// Checks every field.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] for the first field outside its bounds.
    pub fn check(&self) -> Result<(), SubmitError> {
        let invalid = |field, problem: String| Err(SubmitError::Invalid { field, problem });
        if self.code.trim().is_empty() {
            return invalid("code", "is empty; give JavaScript or TypeScript to run".to_owned());
        }
        if self.code.len() > CODE_BYTES_MAX {
            let bytes = self.code.len();
            return invalid("code", format!("is {bytes} bytes; accepted: up to {CODE_BYTES_MAX}"));
        }
        if let Some(mb) = self.heap_memory_max_mb {
            check_range("heap_memory_max_mb", mb, HEAP_MB_MIN, HEAP_MB_MAX, " MiB")?;
        }
        if let Some(secs) = self.execution_timeout_secs {
            let (min, max) = (EXECUTION_TIMEOUT_SECS_MIN, EXECUTION_TIMEOUT_SECS_MAX);
            check_range("execution_timeout_secs", secs, min, max, " seconds")?;
        }
        if let Some(session) = &self.session {
            check_session("session", session)?;
        }
        check_tags(&self.tags)?;
        match &self.idempotency_key {
            Some(key) if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
                let bytes = key.len();
                let max = IDEMPOTENCY_KEY_BYTES_MAX;
                invalid("idempotency_key", format!("is {bytes} bytes; accepted: 1 to {max}"))
            }
            Some(key) if key.starts_with(MARK) => {
                let problem = "begins with the control character U+0001; accepted: any other text";
                invalid("idempotency_key", problem.to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether its heap is kept, where `keep` is what the server keeps.
    ///
    /// # Errors
    /// [`SubmitError::Invalid`] for what asks for a heap where none is kept.
    pub fn keeps_heap(&self, keep: KeepHeaps) -> Result<bool, SubmitError> {
        let asked = [
            ("session", self.session.is_some()),
            ("heap", self.heap.is_some()),
            ("tags", !self.tags.is_empty()),
        ];
        let asked = asked.into_iter().find(|(_, asked)| *asked);
        match (keep, asked) {
            (KeepHeaps::Never, Some((field, _))) => {
                let problem = "cannot be kept: this server was started with --stateless or \
                               --heap-store=none; leave it out, or ask a server that keeps heaps";
                Err(SubmitError::Invalid { field, problem: problem.to_owned() })
            }
            (KeepHeaps::Never, None) => Ok(false),
            (KeepHeaps::WhereAsked, asked) => Ok(asked.is_some()),
            (KeepHeaps::Always, _) => Ok(true),
        }
    }

    /// The digest that makes two submissions under one key the same.
    pub async fn digest(&self) -> Digest {
        let (heap, timeout) = (self.heap_memory_max_mb, self.execution_timeout_secs);
        // Nothing for one without a heap: its digest is what it was before there were any.
        let mut keeping = Vec::new();
        if self.session.is_some() || self.heap.is_some() || !self.tags.is_empty() {
            keeping = encode(&(&self.session, self.heap.map(|heap| heap.0), &self.tags));
        }
        let hash = move |code: &str| -> Digest {
            let mut hasher = Sha256::new();
            hasher.update(&keeping);
            for limit in [heap, timeout] {
                hasher.update([u8::from(limit.is_some())]);
                hasher.update(limit.unwrap_or_default().to_le_bytes());
            }
            hasher.update(code);
            hasher.finalize().into()
        };
        if self.code.len() <= HASH_INLINE_BYTES_MAX {
            return hash(&self.code);
        }
        let code = self.code.clone();
        // A blocking task fails only when the runtime is going down; then no answer matters.
        tokio::task::spawn_blocking(move || hash(&code)).await.unwrap_or_default()
    }
}

/// Limits of one execution after defaults.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Wall clock from the moment a worker has the job.
    pub wall: Duration,
    /// V8 heap, and the same again for buffers, in bytes.
    pub heap_bytes: u64,
    /// Console text in bytes.
    pub console_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit() -> Submit {
        Submit { code: "1".to_owned(), ..Submit::default() }
    }

    fn field(submit: &Submit) -> Option<&'static str> {
        match submit.check() {
            Ok(()) => None,
            Err(SubmitError::Invalid { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn code_at_the_bound_passes_and_one_past_it_or_empty_does_not() {
        let at = Submit { code: "x".repeat(CODE_BYTES_MAX), ..submit() };
        assert_eq!(field(&at), None);
        let past = Submit { code: "x".repeat(CODE_BYTES_MAX + 1), ..submit() };
        assert_eq!(field(&past), Some("code"));
        let empty = Submit { code: " \n\t".to_owned(), ..submit() };
        assert_eq!(field(&empty), Some("code"));
    }

    #[test]
    fn numbers_pass_at_their_bounds_and_fail_one_past_them() {
        let heap = |mb| field(&Submit { heap_memory_max_mb: Some(mb), ..submit() });
        assert_eq!((heap(HEAP_MB_MIN), heap(HEAP_MB_MAX)), (None, None));
        assert_eq!(heap(HEAP_MB_MIN - 1), Some("heap_memory_max_mb"));
        assert_eq!(heap(HEAP_MB_MAX + 1), Some("heap_memory_max_mb"));
        let wall = |secs| field(&Submit { execution_timeout_secs: Some(secs), ..submit() });
        assert_eq!(
            (wall(EXECUTION_TIMEOUT_SECS_MIN), wall(EXECUTION_TIMEOUT_SECS_MAX)),
            (None, None)
        );
        assert_eq!(wall(EXECUTION_TIMEOUT_SECS_MIN - 1), Some("execution_timeout_secs"));
        assert_eq!(wall(EXECUTION_TIMEOUT_SECS_MAX + 1), Some("execution_timeout_secs"));
        let key = |bytes| field(&Submit { idempotency_key: Some("k".repeat(bytes)), ..submit() });
        assert_eq!((key(1), key(IDEMPOTENCY_KEY_BYTES_MAX)), (None, None));
        assert_eq!(key(0), Some("idempotency_key"));
        assert_eq!(key(IDEMPOTENCY_KEY_BYTES_MAX + 1), Some("idempotency_key"));
        let key = |key: &str| field(&Submit { idempotency_key: Some(key.to_owned()), ..submit() });
        assert_eq!((key("\u{1}a"), key("a\u{1}")), (Some("idempotency_key"), None));
    }

    #[test]
    fn a_session_and_tags_pass_at_their_bounds_and_fail_one_past_them() {
        let session = |name: String| field(&Submit { session: Some(name), ..submit() });
        assert_eq!(session("s".repeat(SESSION_NAME_BYTES_MAX)), None);
        assert_eq!(session("s".repeat(SESSION_NAME_BYTES_MAX + 1)), Some("session"));
        assert_eq!((session(String::new()), session("ä ö/ü".to_owned())), (Some("session"), None));
        assert_eq!(session("a\0b".to_owned()), Some("session"));
        let tags = |count: usize, bytes: usize| {
            let mut tags: BTreeMap<_, _> =
                (0..count).map(|n| (format!("{n:02}"), String::new())).collect();
            tags.insert("00".to_owned(), "v".repeat(bytes - 2 * count));
            field(&Submit { tags, ..submit() })
        };
        assert_eq!(tags(TAGS_MAX, TAGS_BYTES_MAX), None);
        assert_eq!(tags(TAGS_MAX + 1, TAGS_BYTES_MAX), Some("tags"));
        assert_eq!(tags(TAGS_MAX, TAGS_BYTES_MAX + 1), Some("tags"));
    }

    #[test]
    fn heaps_are_kept_where_they_are_asked_for_always_or_never() {
        let plain = submit();
        let asked = Submit { session: Some("s".to_owned()), ..submit() };
        assert_eq!(plain.keeps_heap(KeepHeaps::Never), Ok(false));
        let refused = asked.keeps_heap(KeepHeaps::Never).unwrap_err().to_string();
        assert!(refused.starts_with("`session` cannot be kept"), "{refused}");
        assert_eq!(plain.keeps_heap(KeepHeaps::WhereAsked), Ok(false));
        assert_eq!(asked.keeps_heap(KeepHeaps::WhereAsked), Ok(true));
        assert_eq!(plain.keeps_heap(KeepHeaps::Always), Ok(true));
    }

    #[test]
    fn an_error_names_the_field_and_what_is_accepted() {
        let error = Submit { execution_timeout_secs: Some(301), ..submit() }.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`execution_timeout_secs` is 301; accepted: 1 to 300 seconds"
        );
    }

    #[tokio::test]
    async fn the_digest_tells_submissions_apart() {
        let one = submit().digest().await;
        assert_eq!(one, submit().digest().await);
        let other = Submit { heap_memory_max_mb: Some(0), ..submit() };
        assert_ne!(one, other.digest().await);
        let submit_to = |session: &str| Submit { session: Some(session.to_owned()), ..submit() };
        assert_ne!(one, submit_to("a").digest().await);
        assert_ne!(submit_to("b").digest().await, submit_to("a").digest().await);
        let from = Submit { heap: Some(HeapId([1; 32])), ..submit_to("a") };
        assert_ne!(from.digest().await, submit_to("a").digest().await);
        let tagged = Submit { tags: [("k".to_owned(), "v".to_owned())].into(), ..submit() };
        assert_ne!(tagged.digest().await, one);
        let long =
            |c: char| Submit { code: c.to_string().repeat(HASH_INLINE_BYTES_MAX + 1), ..submit() };
        assert_ne!(long('a').digest().await, long('b').digest().await);
    }
}
