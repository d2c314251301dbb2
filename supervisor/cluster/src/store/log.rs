//! The log and the vote, for openraft.
//!
//! # Contract
//! * An entry is readable once `append` returns and durable once its callback runs. It goes to two
//!   places: to sled, whose memory answers readers, and to the journal, which is what is synced.
//! * Pieces of at most [`VALUE_BYTES_MAX`] bytes under index and piece number; the whole begins with
//!   a checksum, so a wrong entry is an error and never a different command.
//! * There is no hole between the first and the last entry; opening checks that.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use super::journal::Records;
use super::{Inner, io_error};
use crate::codec::{decode, encode};
use crate::limits::{APPEND_BYTES_MAX, ENTRY_CACHE_BYTES_MAX, VALUE_BYTES_MAX};
use crate::types::{Entry, LogId, Types, Vote};

const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";

/// Bytes of the checksum in front of an entry.
const SUM_BYTES: usize = 4;

/// The log. Cheap to clone; all clones are one log.
#[derive(Debug, Clone)]
pub struct LogStore {
    store: Arc<Inner>,
    ends: Arc<Mutex<Ends>>,
}

/// What is known of the log without reading it.
#[derive(Debug, Default)]
struct Ends {
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    recent: Recent,
    /// Bytes appended since it was opened.
    written: u64,
}

/// The latest entries, decoded, and their encoded size.
#[derive(Debug, Default)]
struct Recent {
    entries: BTreeMap<u64, (Entry, usize)>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, index: u64, entry: Entry, bytes: usize) {
        if let Some((_, old)) = self.entries.insert(index, (entry, bytes)) {
            self.bytes -= old;
        }
        self.bytes += bytes;
        while self.bytes > ENTRY_CACHE_BYTES_MAX
            && let Some((_, (_, bytes))) = self.entries.pop_first()
        {
            self.bytes -= bytes;
        }
    }

    fn remove_from(&mut self, index: u64) {
        for (_, (_, bytes)) in self.entries.split_off(&index) {
            self.bytes -= bytes;
        }
    }

    fn remove_to(&mut self, index: u64) {
        let kept = self.entries.split_off(&(index + 1));
        for (_, (_, bytes)) in std::mem::replace(&mut self.entries, kept) {
            self.bytes -= bytes;
        }
    }
}

fn piece_key(index: u64, piece: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> Option<u64> {
    key.first_chunk::<8>().map(|index| u64::from_be_bytes(*index))
}

/// Puts a sealed entry into sled.
pub(super) fn insert(log: &sled::Tree, index: u64, sealed: &[u8]) -> io::Result<()> {
    for (piece, value) in (0..).zip(sealed.chunks(VALUE_BYTES_MAX)) {
        log.insert(piece_key(index, piece), value).map_err(io_error)?;
    }
    Ok(())
}

/// An entry as it is stored.
fn seal(entry: &Entry) -> Vec<u8> {
    let body = encode(entry);
    let mut bytes = Vec::with_capacity(SUM_BYTES + body.len());
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn unseal(index: u64, bytes: &[u8]) -> Result<Entry, String> {
    let (sum, body) = bytes
        .split_first_chunk::<SUM_BYTES>()
        .ok_or_else(|| format!("entry {index} is cut off"))?;
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(format!("entry {index} does not match its checksum"));
    }
    let entry: Entry = decode(body).map_err(|error| format!("entry {index}: {error}"))?;
    if entry.index() != index {
        return Err(format!("entry {} is in the place of entry {index}", entry.index()));
    }
    Ok(entry)
}

/// The last entry that was purged.
pub(super) fn purged(meta: &sled::Tree) -> Result<Option<LogId>, String> {
    let bytes = meta.get(PURGED).map_err(|error| error.to_string())?;
    bytes.map(|bytes| decode(&bytes)).transpose().map_err(|error| error.to_string())
}

/// Makes a log that is empty begin behind an entry.
pub(super) fn begin_behind(meta: &sled::Tree, last: Option<LogId>, vote: &Vote) -> io::Result<()> {
    if let Some(last) = last {
        meta.insert(PURGED, encode(&last)).map_err(io_error)?;
    }
    meta.insert(VOTE, encode(vote)).map_err(io_error)?;
    Ok(())
}

impl LogStore {
    /// Opens the log and checks that it is whole.
    pub(super) fn open(store: Arc<Inner>) -> Result<Self, String> {
        let read = |key: &[u8]| store.meta.get(key).map_err(|error| error.to_string());
        let purged = purged(&store.meta)?;
        let vote: Option<Vote> =
            read(VOTE)?.map(|bytes| decode(&bytes)).transpose().map_err(|e| e.to_string())?;
        let ends = Ends { purged, last: purged, vote, ..Ends::default() };
        let log = Self { store, ends: Arc::new(Mutex::new(ends)) };
        let mut expected = Some(purged.as_ref().map_or(0, |id| id.index() + 1));
        let mut last = None;
        let mut left_over = None;
        for key in log.store.log.iter().keys() {
            let key = key.map_err(|error| error.to_string())?;
            let Some(index) = index_of(&key) else { return Err("a strange key".to_owned()) };
            if last == Some(index) {
                continue;
            }
            // A purge that was cut short: what it left is no part of the log.
            if purged.as_ref().is_some_and(|purged| index <= purged.index()) {
                left_over = Some(index);
                continue;
            }
            if expected.is_some_and(|expected| expected != index) {
                return Err(format!("entry {} is missing", expected.unwrap_or_default()));
            }
            expected = Some(index + 1);
            last = Some(index);
        }
        if let Some(left_over) = left_over {
            log.store.purger.remove_to(left_over);
        }
        let marked = log.store.mark.read();
        if let Some(mut last) = last {
            let found = loop {
                match log.entry(last) {
                    Ok(found) => break found,
                    // Cut short by a crash before it counted.
                    Err(problem) if last > marked => {
                        tracing::warn!(
                            problem,
                            "the end of the log was never acknowledged: dropped"
                        );
                        log.remove_from(last).map_err(|error| error.to_string())?;
                        match last.checked_sub(1) {
                            Some(before) => last = before,
                            None => break None,
                        }
                    }
                    Err(problem) => return Err(problem),
                }
            };
            if let Some((entry, _)) = found {
                log.ends.lock().last = Some(entry.log_id());
            }
        }
        let last = log.ends.lock().last.as_ref().map_or(0, |id| id.index());
        if marked > last {
            return Err(format!(
                "its log ends at entry {last}, but entries up to {marked} were acknowledged"
            ));
        }
        Ok(log)
    }

    /// Entries from the first that is kept to the last, and the position of the last.
    pub fn length(&self) -> u64 {
        let ends = self.ends.lock();
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index() + 1);
        index(&ends.last) - index(&ends.purged)
    }

    /// Bytes of all entries that were appended since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.ends.lock().written
    }

    /// Syncs so far and the microseconds they took together.
    pub fn syncs(&self) -> (u64, u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let counts = self.store.syncer.counts();
        (counts.syncs.load(Relaxed), counts.micros.load(Relaxed))
    }

    /// An entry and how long it is.
    fn entry(&self, index: u64) -> Result<Option<(Entry, usize)>, String> {
        let mut bytes = Vec::new();
        let mut pieces = 0;
        for piece in self.store.log.scan_prefix(index.to_be_bytes()) {
            let (key, value) = piece.map_err(|error| error.to_string())?;
            if key[8..] != u32::to_be_bytes(pieces)[..] {
                return Err(format!("entry {index} has a piece missing"));
            }
            pieces += 1;
            bytes.extend_from_slice(&value);
        }
        if pieces == 0 { Ok(None) } else { Ok(Some((unseal(index, &bytes)?, bytes.len()))) }
    }

    /// Entries from `start` on, at most `bytes_max` of them but at least one if there is one.
    pub(crate) fn read_from(&self, start: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let end = self.ends.lock().last.as_ref().map_or(0, |id| id.index() + 1);
        self.entries(start, end, bytes_max)
    }

    /// Reads entries from `start` up to, not including, `end`, at most `bytes_max` of them but at
    /// least one.
    fn entries(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut next = start;
        while next < end && (entries.is_empty() || bytes < bytes_max) {
            let recent = {
                let ends = self.ends.lock();
                let found = ends.recent.entries.range(next..end);
                let mut expected = next;
                let consecutive = found.take_while(|(index, _)| {
                    let fits = **index == expected;
                    expected += 1;
                    fits
                });
                consecutive
                    .take(64)
                    .map(|(_, (entry, size))| (entry.clone(), *size))
                    .collect::<Vec<_>>()
            };
            if recent.is_empty() {
                let stored = self
                    .entry(next)
                    .map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))?;
                let Some((entry, size)) = stored else {
                    // Before the first entry nothing is missed; anywhere else nothing follows.
                    match self.first_from(next)? {
                        Some(first) if entries.is_empty() => {
                            next = first;
                            continue;
                        }
                        Some(first) => {
                            let problem = format!("entries {next} to {} are missing", first - 1);
                            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
                        }
                        None => break,
                    }
                };
                if !entries.is_empty() && bytes + size > bytes_max {
                    break;
                }
                bytes += size;
                entries.push(entry);
                next += 1;
                continue;
            }
            for (entry, size) in recent {
                if !entries.is_empty() && bytes + size > bytes_max {
                    return Ok(entries);
                }
                bytes += size;
                entries.push(entry);
                next += 1;
            }
        }
        Ok(entries)
    }

    /// The first index from `index` on that has an entry.
    fn first_from(&self, index: u64) -> io::Result<Option<u64>> {
        let key = self.store.log.range(piece_key(index, 0)..).keys().next();
        Ok(key.transpose().map_err(io_error)?.and_then(|key| index_of(&key)))
    }

    /// Removes the entries from `first` on, from the end, so that what a crash leaves has no hole.
    fn remove_from(&self, first: u64) -> io::Result<()> {
        for key in self.store.log.range(piece_key(first, 0)..).keys().rev() {
            self.store.log.remove(key.map_err(io_error)?).map_err(io_error)?;
        }
        Ok(())
    }

    fn save<T: serde::Serialize>(&self, key: &[u8], value: &T) -> io::Result<()> {
        self.store.meta.insert(key, encode(value)).map_err(io_error)?;
        Ok(())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let last = self.ends.lock().last.as_ref().map_or(0, |id| id.index() + 1);
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let purged = self.ends.lock().purged.as_ref().map_or(0, |id| id.index() + 1);
        self.entries(start.max(purged), end.min(last), usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.ends.lock().vote.clone())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(start, end, APPEND_BYTES_MAX)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let ends = self.ends.lock();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.save(VOTE, vote)?;
        self.store.syncer.wait().await?;
        // Readers see a vote once it holds.
        self.ends.lock().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Not synced: it only spares a restarted node some waiting.
        self.save(COMMITTED, &committed)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let bytes = self.store.meta.get(COMMITTED).map_err(io_error)?;
        match bytes {
            Some(bytes) => decode(&bytes).map_err(io_error),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // One write each, in order: what a crash leaves is a beginning of them, and the checksum
        // tells whether the last one is whole. A batch of sled's costs two more writes and a wait.
        let mut appended = Vec::new();
        let mut records = Records::default();
        for entry in entries {
            let bytes = seal(&entry);
            records.push(entry.index(), &bytes);
            insert(&self.store.log, entry.index(), &bytes)?;
            appended.push((entry, bytes.len()));
        }
        let Some(last) = appended.last().map(|(entry, _)| entry.log_id()) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        {
            let mut ends = self.ends.lock();
            for (entry, bytes) in appended {
                ends.written += bytes as u64;
                ends.recent.push(entry.index(), entry, bytes);
            }
            ends.last = Some(last);
        }
        self.store.syncer.entries(last.index(), records, callback);
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let keep = last_log_id.as_ref().map(|id| id.index());
        let first = keep.map_or(0, |index| index + 1);
        if self.ends.lock().last.as_ref().is_none_or(|last| last.index() < first) {
            return Ok(());
        }
        // What is waiting to be synced must not raise the mark again afterwards.
        self.store.syncer.wait().await?;
        let mark = Arc::clone(&self.store.mark);
        tokio::task::spawn_blocking(move || mark.lower(keep.unwrap_or(0)))
            .await
            .map_err(io_error)??;
        self.remove_from(first)?;
        // Else a restart would put them back from the journal, in front of what follows now.
        self.store.syncer.begin().await?;
        let mut ends = self.ends.lock();
        ends.recent.remove_from(first);
        ends.last = last_log_id.max(ends.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let beyond = {
            let mut ends = self.ends.lock();
            if ends.purged.as_ref().is_some_and(|purged| *purged >= log_id) {
                return Ok(());
            }
            self.save(PURGED, &log_id)?;
            ends.purged = Some(log_id);
            let beyond = ends.last.as_ref().is_none_or(|last| *last < log_id);
            if beyond {
                ends.last = Some(log_id);
            }
            ends.recent.remove_to(log_id.index());
            beyond
        };
        if beyond {
            // What is appended next follows `log_id`, not what is on the disk: the journal must not
            // know of it before the database knows why.
            self.store.syncer.begin().await?;
        }
        self.store.purger.remove_to(log_id.index());
        Ok(())
    }
}
