//! Code that killed workers, and is not run for a while.
//!
//! # Contract
//! * Counted are the deaths of workers that a script brought about and that nothing kept in order;
//!   which those are is decided where deaths are attributed (`pool/attribution.rs`).
//! * [`QUARANTINE_DEATHS`] of the same code, byte for byte, within [`QUARANTINE_WINDOW`] quarantine it
//!   for [`QUARANTINE_TIME`]. Then it starts anew.
//! * At most [`QUARANTINE_ENTRIES_MAX`] codes are known. A quarantine that stands is never given up
//!   for a new count, so crashes of ever new code lift none.
//! * [`Table`] changes by nothing but (state, event, time): no clock of its own, no chance, no order
//!   of hashing. Replicas that see the same events agree.
//! * While nothing is quarantined, whoever asks pays for one atomic load and no hash.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::model::{ErrorDetail, ErrorKind, QuarantineEntry, QuarantineList, rfc3339};
use crate::limits::{
    HASH_INLINE_BYTES_MAX, QUARANTINE_DEATHS, QUARANTINE_ENTRIES_MAX, QUARANTINE_REASON_BYTES_MAX,
    QUARANTINE_TIME, QUARANTINE_WINDOW,
};

/// SHA-256 of a script's code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CodeHash([u8; 32]);

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
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
        let digits = text.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(LiftError::Malformed);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).ok_or(LiftError::Malformed)?;
                *byte = *byte << 4 | value as u8;
            }
        }
        Ok(Self(hash))
    }
}

/// Code is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "quarantined: this code killed {deaths} worker processes within {}, the last one so: {reason}. It \
     is refused until {}; an operator can lift that with DELETE /api/quarantine/{hash}",
    humantime::format_duration(QUARANTINE_WINDOW),
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
}

/// The quarantine of one server.
#[derive(Debug, Default)]
pub struct Quarantine {
    table: Mutex<Table>,
    /// When the last quarantine ends, in milliseconds since 1970 rounded up; 0 when there is none.
    armed_until_ms: AtomicU64,
}

impl Quarantine {
    /// Whether any code is quarantined, so that hashes matter.
    pub fn is_armed(&self, now: SystemTime) -> bool {
        unix_ms(now) < u128::from(self.armed_until_ms.load(Ordering::Acquire))
    }

    /// Notes that a worker died of this code, as `reason` says.
    pub fn died(&self, hash: CodeHash, reason: &str, now: SystemTime) {
        let mut table = self.table.lock();
        let state = table.died(hash, reason, now);
        self.arm(&table);
        drop(table);
        match state {
            Some(State::Quarantined { deaths, until, .. }) => {
                let until = rfc3339(until);
                tracing::warn!(%hash, deaths, reason, until, "code that kills workers is quarantined");
            }
            Some(State::Counted { times }) => {
                tracing::info!(%hash, deaths = times.len(), reason, "code killed a worker");
            }
            None => tracing::info!(%hash, reason, "code killed a worker; the quarantine is full"),
        }
    }

    /// Whether this code may run.
    ///
    /// # Errors
    /// [`Refusal`] when it may not.
    pub fn check(&self, hash: CodeHash, now: SystemTime) -> Result<(), Refusal> {
        self.table.lock().check(hash, now)
    }

    /// Forgets the deaths of this code.
    ///
    /// # Errors
    /// [`LiftError::NotFound`] when there are none.
    pub fn lift(&self, hash: CodeHash, now: SystemTime) -> Result<(), LiftError> {
        let mut table = self.table.lock();
        if !table.lift(hash, now) {
            return Err(LiftError::NotFound(hash));
        }
        self.arm(&table);
        drop(table);
        tracing::warn!(%hash, "the deaths of a code were forgotten on request");
        Ok(())
    }

    /// Everything that is known.
    pub fn list(&self, now: SystemTime) -> QuarantineList {
        QuarantineList { entries: self.table.lock().list(now) }
    }

    /// How many codes are quarantined.
    pub fn quarantined(&self, now: SystemTime) -> usize {
        self.table.lock().refused(now).count()
    }

    fn arm(&self, table: &Table) {
        let until = table.last_end().map_or(0, |until| unix_ms(until).saturating_add(1));
        self.armed_until_ms.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }
}

fn unix_ms(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// What one code did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    state: State,
    /// How the last worker died.
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It has killed fewer than [`QUARANTINE_DEATHS`].
    Counted {
        /// Deaths within the window, in the order in which they were told.
        times: Vec<SystemTime>,
    },
    /// It is refused.
    Quarantined {
        /// Workers killed since `since`, those included that had begun before the quarantine.
        deaths: u64,
        /// The first death.
        since: SystemTime,
        /// When it is accepted again.
        until: SystemTime,
    },
}

impl Entry {
    /// Drops what no longer counts at `now`; says whether anything is left.
    fn age(&mut self, now: SystemTime) -> bool {
        match &mut self.state {
            State::Counted { times } => {
                // A death that seems to be still to come is one of this moment.
                let age = |time: &SystemTime| now.duration_since(*time).unwrap_or_default();
                times.retain(|time| age(time) <= QUARANTINE_WINDOW);
                !times.is_empty()
            }
            State::Quarantined { until, .. } => now < *until,
        }
    }

    /// When it will be dropped.
    fn until(&self) -> SystemTime {
        match &self.state {
            State::Counted { times } => {
                let last = times.iter().max().copied().unwrap_or(SystemTime::UNIX_EPOCH);
                later(last, QUARANTINE_WINDOW)
            }
            State::Quarantined { until, .. } => *until,
        }
    }
}

/// `time` and `more`; a time past all times stays what it is.
fn later(time: SystemTime, more: Duration) -> SystemTime {
    time.checked_add(more).unwrap_or(time)
}

/// The codes and their deaths. Ordered by hash, so that nothing depends on chance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    entries: BTreeMap<CodeHash, Entry>,
}

impl Table {
    /// Counts a death at `now` and says where its code stands; `None` when there is no room.
    fn died(&mut self, hash: CodeHash, reason: &str, now: SystemTime) -> Option<State> {
        self.entries.retain(|_, entry| entry.age(now));
        if self.entries.len() >= QUARANTINE_ENTRIES_MAX && !self.entries.contains_key(&hash) {
            self.make_room()?;
        }
        let entry = match self.entries.entry(hash) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let state = State::Counted { times: Vec::new() };
                slot.insert(Entry { state, reason: String::new() })
            }
        };
        reason[..reason.floor_char_boundary(QUARANTINE_REASON_BYTES_MAX)]
            .clone_into(&mut entry.reason);
        match &mut entry.state {
            State::Quarantined { deaths, .. } => *deaths = deaths.saturating_add(1),
            State::Counted { times } => {
                times.push(now);
                if times.len() >= QUARANTINE_DEATHS {
                    entry.state = State::Quarantined {
                        deaths: times.len() as u64,
                        since: times.iter().min().copied().unwrap_or(now),
                        until: later(now, QUARANTINE_TIME),
                    };
                }
            }
        }
        Some(entry.state.clone())
    }

    /// Forgets the count that is oldest, of equally old ones that of the smallest hash.
    fn make_room(&mut self) -> Option<()> {
        let counted =
            self.entries.iter().filter(|(_, entry)| matches!(entry.state, State::Counted { .. }));
        let (oldest, _) = counted.min_by_key(|(hash, entry)| (entry.until(), **hash))?;
        let oldest = *oldest;
        self.entries.remove(&oldest);
        Some(())
    }

    fn check(&self, hash: CodeHash, now: SystemTime) -> Result<(), Refusal> {
        match self.entries.get(&hash) {
            Some(Entry { state: State::Quarantined { deaths, until, .. }, reason })
                if now < *until =>
            {
                let (deaths, reason, until) = (*deaths, reason.clone(), *until);
                Err(Refusal { hash, deaths, reason, until })
            }
            _ => Ok(()),
        }
    }

    /// Forgets a code; says whether there was anything to forget.
    fn lift(&mut self, hash: CodeHash, now: SystemTime) -> bool {
        self.entries.remove(&hash).is_some_and(|mut entry| entry.age(now))
    }

    /// Quarantines that stand at `now`.
    fn refused(&self, now: SystemTime) -> impl Iterator<Item = &Entry> {
        let refused = move |entry: &&Entry| matches!(entry.state, State::Quarantined { until, .. } if now < until);
        self.entries.values().filter(refused)
    }

    /// When the last quarantine ends.
    fn last_end(&self) -> Option<SystemTime> {
        let quarantined = |entry: &Entry| match entry.state {
            State::Quarantined { until, .. } => Some(until),
            State::Counted { .. } => None,
        };
        self.entries.values().filter_map(quarantined).max()
    }

    /// Looking changes nothing: what no longer counts is left out, not dropped.
    fn list(&self, now: SystemTime) -> Vec<QuarantineEntry> {
        let aged = |(hash, entry): (&CodeHash, &Entry)| {
            let mut entry = entry.clone();
            entry.age(now).then_some((*hash, entry))
        };
        let mut entries: Vec<_> = self.entries.iter().filter_map(aged).collect();
        let quarantined = |entry: &Entry| matches!(entry.state, State::Quarantined { .. });
        entries.sort_by_key(|(_, entry)| std::cmp::Reverse((quarantined(entry), entry.until())));
        let row = |(hash, entry): (CodeHash, Entry)| {
            let (deaths, since) = match &entry.state {
                State::Counted { times } => (times.len() as u64, times.iter().min().copied()),
                State::Quarantined { deaths, since, .. } => (*deaths, Some(*since)),
            };
            QuarantineEntry {
                hash: hash.to_string(),
                quarantined: quarantined(&entry),
                deaths,
                since: rfc3339(since.unwrap_or(now)),
                until: rfc3339(entry.until()),
                reason: entry.reason,
            }
        };
        entries.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGV: &str = "The script's process ended (signal 11: invalid memory access)";
    const MS: Duration = Duration::from_millis(1);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn code(n: usize) -> CodeHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        CodeHash(hash)
    }

    /// Kills as often as quarantines at `now`.
    fn quarantine(table: &mut Table, hash: CodeHash, now: SystemTime) {
        for _ in 0..QUARANTINE_DEATHS {
            table.died(hash, SEGV, now);
        }
    }

    #[test]
    fn the_last_of_its_deaths_quarantines_code_and_the_one_before_does_not() {
        let mut table = Table::default();
        for _ in 1..QUARANTINE_DEATHS {
            table.died(code(1), SEGV, start());
        }
        assert_eq!(table.check(code(1), start()), Ok(()));
        table.died(code(1), SEGV, start());
        let refusal = table.check(code(1), start()).unwrap_err();
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
        assert_eq!(table.check(code(2), start()), Ok(()), "other code runs");
    }

    #[test]
    fn deaths_within_the_window_count_and_one_moment_past_it_not() {
        for (last, quarantined) in [(QUARANTINE_WINDOW, true), (QUARANTINE_WINDOW + MS, false)] {
            let mut table = Table::default();
            table.died(code(1), SEGV, start());
            for _ in 1..QUARANTINE_DEATHS {
                table.died(code(1), SEGV, start() + last);
            }
            assert_eq!(table.check(code(1), start() + last).is_err(), quarantined, "{last:?}");
        }
    }

    #[test]
    fn a_quarantine_ends_at_its_time_and_the_count_starts_anew() {
        let mut table = Table::default();
        quarantine(&mut table, code(1), start());
        let end = start() + QUARANTINE_TIME;
        assert!(table.check(code(1), end - MS).is_err());
        assert_eq!(table.check(code(1), end), Ok(()));
        table.died(code(1), SEGV, end);
        assert_eq!(table.check(code(1), end), Ok(()));
        assert_eq!(table.list(end)[0].deaths, 1);
    }

    #[test]
    fn a_death_of_one_that_had_begun_before_counts_but_prolongs_nothing() {
        let mut table = Table::default();
        quarantine(&mut table, code(1), start());
        table.died(code(1), "the last", start() + MS);
        let entry = &table.list(start())[0];
        assert_eq!((entry.deaths, entry.reason.as_str()), (4, "the last"));
        assert_eq!(table.check(code(1), start() + QUARANTINE_TIME), Ok(()));
    }

    #[test]
    fn codes_are_known_up_to_the_bound_and_past_it_the_oldest_count_is_forgotten() {
        let mut table = Table::default();
        quarantine(&mut table, code(0), start());
        for n in 1..QUARANTINE_ENTRIES_MAX {
            table.died(code(n), SEGV, start() + MS * n as u32);
        }
        let now = start() + MS * QUARANTINE_ENTRIES_MAX as u32;
        assert_eq!(table.list(now).len(), QUARANTINE_ENTRIES_MAX);
        table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, now);
        let known: Vec<_> = table.list(now).into_iter().map(|entry| entry.hash).collect();
        assert_eq!(known.len(), QUARANTINE_ENTRIES_MAX);
        assert!(!known.contains(&code(1).to_string()), "the oldest count");
        assert!(known.contains(&code(2).to_string()));
        assert!(table.check(code(0), now).is_err(), "older, but quarantined");
    }

    #[test]
    fn while_all_are_quarantined_one_more_is_not_counted() {
        let mut table = Table::default();
        for n in 0..QUARANTINE_ENTRIES_MAX {
            quarantine(&mut table, code(n), start());
        }
        assert_eq!(table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, start()), None);
        assert_eq!(table.refused(start()).count(), QUARANTINE_ENTRIES_MAX);
        let later = start() + QUARANTINE_TIME;
        assert!(table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, later).is_some());
        assert_eq!(table.list(later).len(), 1);
    }

    #[test]
    fn a_reason_is_kept_up_to_its_bound_and_cut_past_it() {
        let mut table = Table::default();
        for (bytes, kept) in [
            (QUARANTINE_REASON_BYTES_MAX, QUARANTINE_REASON_BYTES_MAX),
            (QUARANTINE_REASON_BYTES_MAX + 1, QUARANTINE_REASON_BYTES_MAX),
        ] {
            table.died(code(1), &"x".repeat(bytes), start());
            assert_eq!(table.list(start())[0].reason.len(), kept);
        }
        table.died(code(1), &"é".repeat(QUARANTINE_REASON_BYTES_MAX), start());
        assert_eq!(table.list(start())[0].reason.len(), QUARANTINE_REASON_BYTES_MAX);
    }

    #[test]
    fn a_list_has_what_is_refused_first_and_forgets_what_no_longer_counts() {
        let mut table = Table::default();
        table.died(code(1), "once", start() + MS);
        quarantine(&mut table, code(2), start());
        let list = table.list(start());
        let shown = |entry: &QuarantineEntry| (entry.quarantined, entry.deaths);
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), [(true, 3), (false, 1)]);
        assert_eq!(list[0].since, "2027-01-15T08:00:00.000Z");
        assert_eq!(list[0].until, "2027-01-15T09:00:00.000Z");
        assert_eq!(list[1].until, "2027-01-15T09:00:00.001Z");
        assert_eq!(table.list(start() + QUARANTINE_TIME).len(), 1);
        assert_eq!(table.list(start() + QUARANTINE_TIME + MS * 2), []);
    }

    #[test]
    fn it_is_armed_from_the_first_quarantine_to_the_end_of_the_last_or_until_all_are_lifted() {
        let quarantine = Quarantine::default();
        let kill = |n, times, now| (0..times).for_each(|_| quarantine.died(code(n), SEGV, now));
        kill(1, QUARANTINE_DEATHS - 1, start());
        assert!(!quarantine.is_armed(start()), "merely counted");
        kill(1, 1, start());
        kill(2, QUARANTINE_DEATHS, start() + MS);
        let end = start() + QUARANTINE_TIME + MS;
        assert!(quarantine.is_armed(start()) && quarantine.is_armed(end - MS));
        assert!(!quarantine.is_armed(end + MS));
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

    /// Deaths, lifts and queries of few codes over a few windows, times not always in order.
    fn events() -> impl Strategy<Value = Vec<(u8, usize, u64)>> {
        let span = 3 * QUARANTINE_WINDOW.as_secs();
        proptest::collection::vec((0..10_u8, 0..4_usize, 0..span), 0..80)
    }

    proptest! {
        /// Whatever happens in whatever order of times: replicas agree, also where one is looked at,
        /// and who is refused has killed often enough.
        #[test]
        fn the_same_events_lead_to_the_same_table(events in events()) {
            let mut replicas = [Table::default(), Table::default()];
            for (event, n, secs) in events {
                let now = start() + Duration::from_secs(secs);
                replicas[0].list(now);
                for table in &mut replicas {
                    match event {
                        0 => drop(table.lift(code(n), now)),
                        _ => drop(table.died(code(n), SEGV, now)),
                    }
                    for entry in table.entries.values() {
                        match &entry.state {
                            State::Counted { times } => {
                                prop_assert!(!times.is_empty() && times.len() < QUARANTINE_DEATHS);
                            }
                            State::Quarantined { deaths, since, until } => {
                                prop_assert!(*deaths >= QUARANTINE_DEATHS as u64 && since < until);
                            }
                        }
                    }
                }
                prop_assert_eq!(&replicas[0], &replicas[1]);
            }
        }
    }
}
