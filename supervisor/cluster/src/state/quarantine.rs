//! Code that killed workers, and is not run for a while.
//!
//! # Contract
//! * Counted are the deaths of workers that a script brought about and that nothing kept in order;
//!   whoever tells of one has decided that.
//! * [`QUARANTINE_DEATHS`] of the same code, byte for byte, within [`QUARANTINE_WINDOW_MS`] quarantine
//!   it for [`QUARANTINE_MS`]. Then it starts anew.
//! * At most [`QUARANTINE_ENTRIES_MAX`] codes are known. A quarantine that stands is never given up
//!   for a new count, so crashes of ever new code lift none.
//! * [`Table`] changes by nothing but (state, event, time): no clock of its own, no chance, no order
//!   of hashing. Replicas that see the same events agree. Times are in milliseconds since 1970.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde::{Deserialize, Serialize};

use super::{Change, Rows, StateError, Transaction, decode_row, keys};
use crate::command::{ForgetDeaths, Reply, WorkerDied};
use crate::limits::{
    QUARANTINE_DEATHS, QUARANTINE_ENTRIES_MAX, QUARANTINE_MS, QUARANTINE_REASON_BYTES_MAX,
    QUARANTINE_WINDOW_MS,
};

/// SHA-256 of a script's code.
pub type Code = [u8; 32];

/// What one code did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands.
    pub state: State,
    /// How the last worker died.
    pub reason: String,
}

/// Where a code stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It has killed fewer than [`QUARANTINE_DEATHS`].
    Counted {
        /// Deaths within the window, in the order in which they were told.
        times_ms: Vec<u64>,
    },
    /// It is refused.
    Quarantined {
        /// Workers killed since `since_ms`, those included that had begun before the quarantine.
        deaths: u64,
        /// The first death.
        since_ms: u64,
        /// When it is accepted again.
        until_ms: u64,
    },
}

impl Entry {
    /// Drops what no longer counts at `now_ms`; says whether anything is left.
    fn age(&mut self, now_ms: u64) -> bool {
        match &mut self.state {
            State::Counted { times_ms } => {
                // A death that seems to be still to come is one of this moment.
                times_ms.retain(|time| now_ms.saturating_sub(*time) <= QUARANTINE_WINDOW_MS);
                !times_ms.is_empty()
            }
            State::Quarantined { until_ms, .. } => now_ms < *until_ms,
        }
    }

    /// When it will be dropped.
    pub fn until_ms(&self) -> u64 {
        match &self.state {
            State::Counted { times_ms } => {
                times_ms.iter().max().map_or(0, |last| last.saturating_add(QUARANTINE_WINDOW_MS))
            }
            State::Quarantined { until_ms, .. } => *until_ms,
        }
    }

    /// Workers that it killed.
    pub fn deaths(&self) -> u64 {
        match &self.state {
            State::Counted { times_ms } => times_ms.len() as u64,
            State::Quarantined { deaths, .. } => *deaths,
        }
    }

    /// When it killed the first of them.
    pub fn since_ms(&self) -> u64 {
        match &self.state {
            State::Counted { times_ms } => times_ms.iter().min().copied().unwrap_or_default(),
            State::Quarantined { since_ms, .. } => *since_ms,
        }
    }

    /// Whether it is refused, or was until not long ago.
    pub fn is_quarantined(&self) -> bool {
        matches!(self.state, State::Quarantined { .. })
    }
}

/// The codes and their deaths. Ordered by hash, so that nothing depends on chance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    entries: BTreeMap<Code, Entry>,
}

impl Table {
    /// Counts a death at `now_ms` and says where its code stands; `None` when there is no room.
    pub fn died(&mut self, code: Code, reason: &str, now_ms: u64) -> Option<&Entry> {
        self.entries.retain(|_, entry| entry.age(now_ms));
        if self.entries.len() >= QUARANTINE_ENTRIES_MAX && !self.entries.contains_key(&code) {
            self.make_room()?;
        }
        let entry = match self.entries.entry(code) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let state = State::Counted { times_ms: Vec::new() };
                slot.insert(Entry { state, reason: String::new() })
            }
        };
        reason[..reason.floor_char_boundary(QUARANTINE_REASON_BYTES_MAX)]
            .clone_into(&mut entry.reason);
        match &mut entry.state {
            State::Quarantined { deaths, .. } => *deaths = deaths.saturating_add(1),
            State::Counted { times_ms } => {
                times_ms.push(now_ms);
                if times_ms.len() >= QUARANTINE_DEATHS {
                    entry.state = State::Quarantined {
                        deaths: times_ms.len() as u64,
                        since_ms: times_ms.iter().min().copied().unwrap_or(now_ms),
                        until_ms: now_ms.saturating_add(QUARANTINE_MS),
                    };
                }
            }
        }
        Some(entry)
    }

    /// Forgets the count that is oldest, of equally old ones that of the smallest hash.
    fn make_room(&mut self) -> Option<()> {
        let counted = self.entries.iter().filter(|(_, entry)| !entry.is_quarantined());
        let (oldest, _) = counted.min_by_key(|(code, entry)| (entry.until_ms(), **code))?;
        let oldest = *oldest;
        self.entries.remove(&oldest);
        Some(())
    }

    /// What a code has done that is refused at `now_ms`.
    pub fn refused(&self, code: &Code, now_ms: u64) -> Option<&Entry> {
        self.entries.get(code).filter(|entry| entry.is_quarantined() && now_ms < entry.until_ms())
    }

    /// Forgets a code; says whether there was anything to forget.
    pub fn forget(&mut self, code: &Code, now_ms: u64) -> bool {
        self.entries.remove(code).is_some_and(|mut entry| entry.age(now_ms))
    }

    /// Quarantines that stand at `now_ms`.
    pub fn all_refused(&self, now_ms: u64) -> impl Iterator<Item = (&Code, &Entry)> {
        self.entries
            .iter()
            .filter(move |(_, entry)| entry.is_quarantined() && now_ms < entry.until_ms())
    }

    /// When the last quarantine ends.
    pub fn last_end_ms(&self) -> Option<u64> {
        self.entries.values().filter(|entry| entry.is_quarantined()).map(Entry::until_ms).max()
    }

    /// Quarantines first, then counts; of each, what ends last comes first. Looking changes nothing:
    /// what no longer counts is left out, not dropped.
    pub fn list(&self, now_ms: u64) -> Vec<(Code, Entry)> {
        let aged = |(code, entry): (&Code, &Entry)| {
            let mut entry = entry.clone();
            entry.age(now_ms).then_some((*code, entry))
        };
        let mut entries: Vec<_> = self.entries.iter().filter_map(aged).collect();
        entries.sort_by_key(|(_, entry)| {
            std::cmp::Reverse((entry.is_quarantined(), entry.until_ms()))
        });
        entries
    }
}

fn from_rows(rows: Vec<super::Row>) -> Result<Table, StateError> {
    let mut entries = BTreeMap::new();
    for (key, value) in rows {
        if let Ok(code) = Code::try_from(&key[keys::DEATHS.len()..]) {
            entries.insert(code, decode_row(&key, &value)?);
        }
    }
    Ok(Table { entries })
}

/// The table of the cluster.
///
/// # Errors
/// [`StateError`].
pub fn table(rows: &dyn Rows) -> Result<Table, StateError> {
    from_rows(rows.first(keys::DEATHS, QUARANTINE_ENTRIES_MAX)?)
}

/// Changes the table of the cluster.
fn change<T>(
    state: &mut Transaction<'_>,
    change: impl FnOnce(&mut Table) -> T,
) -> Result<T, StateError> {
    let before = from_rows(state.first(keys::DEATHS, QUARANTINE_ENTRIES_MAX)?)?;
    let mut after = before.clone();
    let changed = change(&mut after);
    for code in before.entries.keys().filter(|code| !after.entries.contains_key(*code)) {
        state.delete(keys::deaths(code));
    }
    for (code, entry) in &after.entries {
        if before.entries.get(code) != Some(entry) {
            state.put(keys::deaths(code), entry);
        }
    }
    if before != after {
        state.changes.push(Change::Quarantine);
    }
    Ok(changed)
}

/// Counts a death.
pub(super) fn died(state: &mut Transaction<'_>, died: &WorkerDied) -> Result<Reply, StateError> {
    // Without room it is not counted.
    change(state, |table| table.died(died.code, &died.reason, died.at_ms).is_some())?;
    Ok(Reply::Done)
}

/// Forgets the deaths of a code.
pub(super) fn forget(
    state: &mut Transaction<'_>,
    forget: &ForgetDeaths,
) -> Result<Reply, StateError> {
    let known = change(state, |table| table.forget(&forget.code, forget.at_ms))?;
    Ok(if known { Reply::Done } else { Reply::NoDeaths })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::VALUE_BYTES_MAX;

    const SEGV: &str = "The script's process ended (signal 11: invalid memory access)";
    const START: u64 = 1_800_000_000_000;

    fn code(n: usize) -> Code {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        hash
    }

    /// Kills as often as quarantines at `now`.
    fn quarantine(table: &mut Table, code: Code, now: u64) {
        for _ in 0..QUARANTINE_DEATHS {
            table.died(code, SEGV, now);
        }
    }

    #[test]
    fn the_last_of_its_deaths_quarantines_code_and_the_one_before_does_not() {
        let mut table = Table::default();
        for _ in 1..QUARANTINE_DEATHS {
            table.died(code(1), SEGV, START);
        }
        assert_eq!(table.refused(&code(1), START), None);
        table.died(code(1), SEGV, START);
        let entry = table.refused(&code(1), START).unwrap();
        assert_eq!((entry.deaths(), entry.reason.as_str()), (3, SEGV));
        assert_eq!(entry.until_ms(), START + QUARANTINE_MS);
        assert_eq!(table.refused(&code(2), START), None, "other code runs");
    }

    #[test]
    fn deaths_within_the_window_count_and_one_moment_past_it_not() {
        for (last, quarantined) in [(QUARANTINE_WINDOW_MS, true), (QUARANTINE_WINDOW_MS + 1, false)]
        {
            let mut table = Table::default();
            table.died(code(1), SEGV, START);
            for _ in 1..QUARANTINE_DEATHS {
                table.died(code(1), SEGV, START + last);
            }
            assert_eq!(table.refused(&code(1), START + last).is_some(), quarantined, "{last:?}");
        }
    }

    #[test]
    fn a_quarantine_ends_at_its_time_and_the_count_starts_anew() {
        let mut table = Table::default();
        quarantine(&mut table, code(1), START);
        let end = START + QUARANTINE_MS;
        assert!(table.refused(&code(1), end - 1).is_some());
        assert_eq!(table.refused(&code(1), end), None);
        table.died(code(1), SEGV, end);
        assert_eq!(table.refused(&code(1), end), None);
        assert_eq!(table.list(end)[0].1.deaths(), 1);
    }

    #[test]
    fn a_death_of_one_that_had_begun_before_counts_but_prolongs_nothing() {
        let mut table = Table::default();
        quarantine(&mut table, code(1), START);
        table.died(code(1), "the last", START + 1);
        let entry = &table.list(START)[0].1;
        assert_eq!((entry.deaths(), entry.reason.as_str()), (4, "the last"));
        assert_eq!(table.refused(&code(1), START + QUARANTINE_MS), None);
    }

    #[test]
    fn codes_are_known_up_to_the_bound_and_past_it_the_oldest_count_is_forgotten() {
        let mut table = Table::default();
        quarantine(&mut table, code(0), START);
        for n in 1..QUARANTINE_ENTRIES_MAX {
            table.died(code(n), SEGV, START + n as u64);
        }
        let now = START + QUARANTINE_ENTRIES_MAX as u64;
        assert_eq!(table.list(now).len(), QUARANTINE_ENTRIES_MAX);
        table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, now);
        let known: Vec<_> = table.list(now).into_iter().map(|(code, _)| code).collect();
        assert_eq!(known.len(), QUARANTINE_ENTRIES_MAX);
        assert!(!known.contains(&code(1)), "the oldest count");
        assert!(known.contains(&code(2)));
        assert!(table.refused(&code(0), now).is_some(), "older, but quarantined");
    }

    #[test]
    fn while_all_are_quarantined_one_more_is_not_counted() {
        let mut table = Table::default();
        for n in 0..QUARANTINE_ENTRIES_MAX {
            quarantine(&mut table, code(n), START);
        }
        assert_eq!(table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, START), None);
        assert_eq!(table.all_refused(START).count(), QUARANTINE_ENTRIES_MAX);
        let later = START + QUARANTINE_MS;
        assert!(table.died(code(QUARANTINE_ENTRIES_MAX), SEGV, later).is_some());
        assert_eq!(table.list(later).len(), 1);
    }

    #[test]
    fn a_reason_is_kept_up_to_its_bound_and_cut_past_it_and_fits_a_row() {
        let mut table = Table::default();
        for (bytes, kept) in [
            (QUARANTINE_REASON_BYTES_MAX, QUARANTINE_REASON_BYTES_MAX),
            (QUARANTINE_REASON_BYTES_MAX + 1, QUARANTINE_REASON_BYTES_MAX),
        ] {
            let entry = table.died(code(1), &"x".repeat(bytes), START).unwrap();
            assert_eq!(entry.reason.len(), kept);
            assert!(crate::codec::encode(entry).len() < VALUE_BYTES_MAX);
        }
        let entry = table.died(code(1), &"é".repeat(QUARANTINE_REASON_BYTES_MAX), START).unwrap();
        assert_eq!(entry.reason.len(), QUARANTINE_REASON_BYTES_MAX);
    }

    #[test]
    fn a_list_has_what_is_refused_first_and_forgets_what_no_longer_counts() {
        let mut table = Table::default();
        table.died(code(1), "once", START + 1);
        quarantine(&mut table, code(2), START);
        let list = table.list(START);
        let shown = |(_, entry): &(Code, Entry)| (entry.is_quarantined(), entry.deaths());
        assert_eq!(list.iter().map(shown).collect::<Vec<_>>(), [(true, 3), (false, 1)]);
        assert_eq!((list[0].1.since_ms(), list[0].1.until_ms()), (START, START + QUARANTINE_MS));
        assert_eq!(list[1].1.until_ms(), START + 1 + QUARANTINE_WINDOW_MS);
        assert_eq!(table.list(START + QUARANTINE_MS).len(), 1);
        assert_eq!(table.list(START + QUARANTINE_MS + 2), []);
    }

    /// Deaths, lifts and queries of few codes over a few windows, times not always in order.
    fn events() -> impl Strategy<Value = Vec<(u8, usize, u64)>> {
        proptest::collection::vec((0..10_u8, 0..4_usize, 0..3 * QUARANTINE_WINDOW_MS), 0..80)
    }

    proptest! {
        /// Whatever happens in whatever order of times: replicas agree, one in memory and one in
        /// rows, and who is refused has killed often enough.
        #[test]
        fn the_same_events_lead_to_the_same_table_in_memory_and_in_rows(events in events()) {
            let mut memory = Table::default();
            let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (event, n, later) in events {
                let (code, at_ms, id) = (code(n), START + later, uuid::Uuid::nil());
                memory.list(at_ms);
                let mut state = Transaction::new(&rows);
                let reply = if event == 0 {
                    let known = memory.forget(&code, at_ms);
                    let reply = forget(&mut state, &ForgetDeaths { id, code, at_ms }).unwrap();
                    prop_assert_eq!(known, reply == Reply::Done);
                    reply
                } else {
                    memory.died(code, SEGV, at_ms);
                    let reason = SEGV.to_owned();
                    died(&mut state, &WorkerDied { id, code, reason, at_ms }).unwrap()
                };
                prop_assert!(matches!(reply, Reply::Done | Reply::NoDeaths));
                for (key, value) in state.writes {
                    match value {
                        Some(value) => drop(rows.insert(key, value)),
                        None => drop(rows.remove(&key)),
                    }
                }
                prop_assert_eq!(&table(&rows).unwrap(), &memory);
                for entry in memory.entries.values() {
                    match &entry.state {
                        State::Counted { times_ms } => {
                            prop_assert!(!times_ms.is_empty() && times_ms.len() < QUARANTINE_DEATHS);
                        }
                        State::Quarantined { deaths, since_ms, until_ms } => {
                            prop_assert!(*deaths >= QUARANTINE_DEATHS as u64 && since_ms < until_ms);
                        }
                    }
                }
            }
        }
    }
}
