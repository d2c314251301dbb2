//! Code that killed workers, and is not run for a while.
//!
//! # Contract
//! * What is counted and refused is said in [`mcp_v8_cluster::state::quarantine`]; which deaths a script
//!   brought about is decided where deaths are attributed (`pool/attribution.rs`).
//! * In a cluster the deaths at all nodes count together, and a lift counts everywhere: this is a copy
//!   of the replicated table, as new as what is applied here. A server that keeps nothing has a table
//!   of its own.
//! * While nothing is quarantined, whoever asks pays for one atomic load and no hash.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use mcp_v8_cluster::hex;
use mcp_v8_cluster::limits::QUARANTINE_WINDOW_MS;
use mcp_v8_cluster::state::quarantine::Table;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::ledger::{ms, time};
use super::model::{ErrorDetail, ErrorKind, QuarantineEntry, QuarantineList, rfc3339};
use crate::limits::HASH_INLINE_BYTES_MAX;

/// SHA-256 of a script's code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CodeHash(pub [u8; 32]);

impl CodeHash {
    /// The hash of `code`. A long one is hashed on a blocking thread, without a copy.
    pub async fn of(code: &Arc<String>) -> Self {
        if code.len() <= HASH_INLINE_BYTES_MAX {
            return Self::now(code);
        }
        let code = Arc::clone(code);
        // A blocking task fails only when the runtime is going down; then no answer matters.
        tokio::task::spawn_blocking(move || Self::now(&code)).await.unwrap_or(Self([0; 32]))
    }

    fn now(code: &str) -> Self {
        Self(Sha256::digest(code).into())
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CodeHash {
    type Err = LiftError;

    fn from_str(text: &str) -> Result<Self, LiftError> {
        hex::decode_array(text.as_bytes()).map(Self).ok_or(LiftError::Malformed)
    }
}

/// Code is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "quarantined: this code killed {deaths} worker processes within {}, the last one so: {reason}. It \
     is refused until {}; an operator can lift that with DELETE /api/quarantine/{hash}",
    humantime::format_duration(Duration::from_millis(QUARANTINE_WINDOW_MS)),
    rfc3339(*.until)
)]
pub struct Refusal {
    /// Which code.
    hash: CodeHash,
    /// Workers it killed.
    deaths: u64,
    /// How the last one died.
    reason: String,
    /// When it is accepted again.
    until: SystemTime,
}

impl From<Refusal> for ErrorDetail {
    fn from(refusal: Refusal) -> Self {
        Self::new(ErrorKind::Quarantined, refusal.to_string())
    }
}

/// Why a quarantine could not be lifted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiftError {
    /// The text is no hash.
    #[error(
        "`hash` is not a SHA-256; accepted: 64 hexadecimal digits, as GET /api/quarantine shows them"
    )]
    Malformed,
    /// Nothing is known of that code.
    #[error("no deaths are counted for code {0}; GET /api/quarantine lists those that have some")]
    NotFound(CodeHash),
    /// The cluster has not committed it.
    #[error("unavailable: {0}; try again, or ask another node")]
    Unavailable(String),
}

/// The quarantine, as this server knows it.
#[derive(Debug, Default)]
pub struct Quarantine {
    table: Mutex<Table>,
    /// When the last quarantine ends, in milliseconds since 1970; 0 when there is none.
    armed_until_ms: AtomicU64,
}

impl Quarantine {
    /// Whether any code is quarantined, so that hashes matter.
    pub fn is_armed(&self, now: SystemTime) -> bool {
        ms(now) < self.armed_until_ms.load(Ordering::Acquire)
    }

    /// Takes over the table of the cluster.
    pub fn replace(&self, table: Table, now: SystemTime) {
        self.change(now, |known| *known = table);
    }

    /// Notes that a worker died of this code, as `reason` says, on a server of its own.
    pub fn died(&self, hash: CodeHash, reason: &str, now: SystemTime) {
        if !self.change(now, |table| table.died(hash.0, reason, ms(now)).is_some()) {
            tracing::info!(%hash, "not counted: as much as there is room for is quarantined");
        }
    }

    /// Forgets the deaths of this code, on a server of its own.
    ///
    /// # Errors
    /// [`LiftError::NotFound`] when there are none.
    pub fn lift(&self, hash: CodeHash, now: SystemTime) -> Result<(), LiftError> {
        let known = self.change(now, |table| table.forget(&hash.0, ms(now)));
        if known { Ok(()) } else { Err(LiftError::NotFound(hash)) }
    }

    /// Changes the table and says what is quarantined since.
    fn change<T>(&self, now: SystemTime, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let before = table.clone();
        let changed = change(&mut table);
        self.armed_until_ms.store(table.last_end_ms().unwrap_or_default(), Ordering::Release);
        for (code, entry) in table.all_refused(ms(now)) {
            if before.refused(code, ms(now)).is_none() {
                let (hash, until) = (CodeHash(*code), rfc3339(time(entry.until_ms())));
                let (deaths, reason) = (entry.deaths(), &entry.reason);
                tracing::warn!(%hash, deaths, reason, until, "code that kills workers is quarantined");
            }
        }
        changed
    }

    /// Whether this code may run.
    ///
    /// # Errors
    /// [`Refusal`] when it may not.
    pub fn check(&self, hash: CodeHash, now: SystemTime) -> Result<(), Refusal> {
        match self.table.lock().refused(&hash.0, ms(now)) {
            None => Ok(()),
            Some(entry) => Err(Refusal {
                hash,
                deaths: entry.deaths(),
                reason: entry.reason.clone(),
                until: time(entry.until_ms()),
            }),
        }
    }

    /// Everything that is known.
    pub fn list(&self, now: SystemTime) -> QuarantineList {
        let entries = self.table.lock().list(ms(now));
        let shown = entries.into_iter().map(|(code, entry)| QuarantineEntry {
            hash: CodeHash(code).to_string(),
            quarantined: entry.is_quarantined(),
            deaths: entry.deaths(),
            since: rfc3339(time(entry.since_ms())),
            until: rfc3339(time(entry.until_ms())),
            reason: entry.reason,
        });
        QuarantineList { entries: shown.collect() }
    }

    /// How many codes are quarantined.
    pub fn quarantined(&self, now: SystemTime) -> usize {
        self.table.lock().all_refused(ms(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcp_v8_cluster::limits::{QUARANTINE_DEATHS, QUARANTINE_MS};

    const SEGV: &str = "The script's process ended (signal 11: invalid memory access)";
    const MS: Duration = Duration::from_millis(1);
    const TIME: Duration = Duration::from_millis(QUARANTINE_MS);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn code(n: u8) -> CodeHash {
        CodeHash([n; 32])
    }

    #[test]
    fn a_refusal_says_why_until_when_and_what_lifts_it() {
        let quarantine = Quarantine::default();
        (0..QUARANTINE_DEATHS).for_each(|_| quarantine.died(code(1), SEGV, start()));
        let refusal = quarantine.check(code(1), start()).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            format!(
                "quarantined: this code killed 3 worker processes within 1h, the last one so: {SEGV}. \
                 It is refused until 2027-01-15T09:00:00.000Z; an operator can lift that with \
                 DELETE /api/quarantine/{}",
                code(1)
            )
        );
        assert_eq!(ErrorDetail::from(refusal).kind, ErrorKind::Quarantined);
        let entry = &quarantine.list(start()).entries[0];
        assert_eq!(entry.since, "2027-01-15T08:00:00.000Z");
        assert_eq!(entry.until, "2027-01-15T09:00:00.000Z");
    }

    #[test]
    fn it_is_armed_from_the_first_quarantine_to_the_end_of_the_last_or_until_all_are_lifted() {
        let quarantine = Quarantine::default();
        let kill = |n, times, now| (0..times).for_each(|_| quarantine.died(code(n), SEGV, now));
        kill(1, QUARANTINE_DEATHS - 1, start());
        assert!(!quarantine.is_armed(start()), "merely counted");
        kill(1, 1, start());
        kill(2, QUARANTINE_DEATHS, start() + MS);
        let end = start() + TIME + MS;
        assert!(quarantine.is_armed(start()) && quarantine.is_armed(end - MS));
        assert!(!quarantine.is_armed(end));
        assert_eq!((quarantine.quarantined(start()), quarantine.quarantined(end)), (2, 0));
        assert_eq!(quarantine.lift(code(2), start()), Ok(()));
        assert_eq!(quarantine.check(code(2), start()), Ok(()));
        assert!(quarantine.is_armed(start()) && quarantine.check(code(1), start()).is_err());
        assert_eq!(quarantine.lift(code(1), start()), Ok(()));
        assert!(!quarantine.is_armed(start()));
        assert_eq!(quarantine.lift(code(1), start()), Err(LiftError::NotFound(code(1))));
    }

    #[test]
    fn a_hash_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let hash = CodeHash::now("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        let almost = format!("{}g", &text[1..]);
        for wrong in ["", &text[1..], &format!("{text}0"), &almost, &"é".repeat(32)] {
            assert_eq!(wrong.parse::<CodeHash>(), Err(LiftError::Malformed), "{wrong}");
        }
    }

    #[tokio::test]
    async fn code_past_the_inline_bound_has_the_same_hash_as_before_it() {
        for bytes in [HASH_INLINE_BYTES_MAX, HASH_INLINE_BYTES_MAX + 1] {
            let code = Arc::new("x".repeat(bytes));
            assert_eq!(CodeHash::of(&code).await, CodeHash::now(&code));
        }
    }
}
