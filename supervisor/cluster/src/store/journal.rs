//! Entries on their way into the database: what a sync has to write.
//!
//! # Contract
//! * [`Journal::write`] makes records durable with one write and one `fdatasync` of a file whose
//!   blocks were written before, so that the file system has nothing of its own to commit. The same
//!   through sled takes a write with `sync_file_range` and an `fdatasync` that also commits the
//!   file's growth: two and a half times as long (`docs/decisions/0002-journal.md`).
//! * Everything in it is in sled's memory as well. Two segments take turns: before one is written
//!   anew, what it holds is durable in sled (see [`super::sync`]).
//! * [`Journal::open`] gives back what was written since, oldest first, up to the first record
//!   that is not whole. Giving back what sled has already is harmless: an index has one content
//!   until [`Journal::begin`], after which nothing written before comes back.
//!
//! Layout of a segment, integers little-endian: magic (8), sequence (8), floor (8), CRC-32 of these
//! (4), padding to [`HEAD_BYTES`]; then records: length of the body (4), CRC-32 over sequence, index
//! and body (4), index (8), body. A length of 0 ends it, as does a checksum that does not match: an
//! older segment's records do not, because its sequence is another.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::limits::JOURNAL_SEGMENT_BYTES;

const MAGIC: &[u8; 8] = b"mv8jrnl1";
const HEAD_BYTES: usize = 64;
/// Bytes before the body of a record.
const RECORD_HEAD_BYTES: usize = 16;
const NAMES: [&str; 2] = ["journal-0", "journal-1"];

/// Records in the order in which they are to be written. Checksums are added then: they depend on
/// the segment.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
}

impl Records {
    /// Adds the sealed entry `index`.
    pub fn push(&mut self, index: u64, body: &[u8]) {
        // Bodies are bounded far below 4 GiB by whoever makes them; a longer one would not fit a
        // segment and takes the way through sled.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.bytes.extend_from_slice(body);
    }

    /// Adds those of `other` behind its own.
    pub fn append(&mut self, mut other: Self) {
        if self.bytes.is_empty() {
            std::mem::swap(self, &mut other);
        } else {
            self.bytes.append(&mut other.bytes);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets them and keeps the memory, within a bound.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(crate::limits::ENTRY_BYTES_MAX);
    }

    /// Fills in the checksums for a segment.
    fn seal(&mut self, sequence: u64) {
        let mut rest = &mut self.bytes[..];
        while let Some((head, after)) = rest.split_first_chunk_mut::<RECORD_HEAD_BYTES>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some((body, after)) = after.split_at_mut_checked(length) else { return };
            let sum = checksum(sequence, &head[8..], body);
            head[4..8].copy_from_slice(&sum.to_le_bytes());
            rest = after;
        }
    }
}

fn checksum(sequence: u64, index: &[u8], body: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&sequence.to_le_bytes());
    hash.update(index);
    hash.update(body);
    hash.finalize()
}

/// The two segments, one of which is written.
#[derive(Debug)]
pub struct Journal {
    segments: [File; 2],
    /// Of the segment that is written; its lowest bit says which one that is.
    sequence: u64,
    /// Segments with a lower sequence no longer count.
    floor: u64,
    /// Where the next record goes.
    position: usize,
}

impl Journal {
    /// Opens or makes the files and gives what they hold to `found`: index and sealed entry.
    ///
    /// Nothing may be written before [`Journal::begin`]: what follows a record that is not whole
    /// would never be found again.
    ///
    /// # Errors
    /// When a file cannot be read or made, or `found` fails.
    pub fn open(
        directory: &Path,
        mut found: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> io::Result<Self> {
        let segments = [segment(&directory.join(NAMES[0]))?, segment(&directory.join(NAMES[1]))?];
        let heads = [read_head(&segments[0])?, read_head(&segments[1])?];
        let newest = heads.into_iter().flatten().max_by_key(|head| head.sequence);
        let mut journal = Self { segments, sequence: 0, floor: 0, position: JOURNAL_SEGMENT_BYTES };
        if let Some(newest) = newest {
            (journal.sequence, journal.floor) = (newest.sequence, newest.floor);
            let mut counting: Vec<u64> = heads
                .into_iter()
                .flatten()
                .map(|head| head.sequence)
                .filter(|sequence| *sequence >= newest.floor)
                .collect();
            counting.sort_unstable();
            for sequence in counting {
                replay(journal.file(sequence), sequence, &mut found)?;
            }
        }
        Ok(journal)
    }

    fn file(&self, sequence: u64) -> &File {
        &self.segments[usize::from(sequence % 2 == 1)]
    }

    /// Whether `records` fit into the present segment.
    pub fn has_room(&self, records: &Records) -> bool {
        self.position + records.bytes.len() <= JOURNAL_SEGMENT_BYTES
    }

    /// Whether `records` fit into a segment at all.
    pub fn can_hold(records: &Records) -> bool {
        HEAD_BYTES + records.bytes.len() <= JOURNAL_SEGMENT_BYTES
    }

    /// Makes `records`, which have room, durable.
    ///
    /// # Errors
    /// When the write or the sync fails; what is on the disk is unknown then.
    pub fn write(&mut self, records: &mut Records) -> io::Result<()> {
        records.seal(self.sequence);
        let file = self.file(self.sequence);
        file.write_all_at(&records.bytes, self.position as u64)?;
        file.sync_data()?;
        self.position += records.bytes.len();
        Ok(())
    }

    /// Turns to the other segment, whose content must be durable elsewhere. On disk with the next
    /// [`Journal::write`].
    ///
    /// # Errors
    /// When the write fails.
    pub fn turn(&mut self) -> io::Result<()> {
        self.start(self.floor)
    }

    /// Starts over: what was written so far, and must be durable elsewhere, does not come back.
    /// On disk when this returns.
    ///
    /// # Errors
    /// When the write or the sync fails.
    pub fn begin(&mut self) -> io::Result<()> {
        self.start(self.sequence + 1)?;
        self.file(self.sequence).sync_data()
    }

    fn start(&mut self, floor: u64) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(MAGIC);
        head[8..16].copy_from_slice(&sequence.to_le_bytes());
        head[16..24].copy_from_slice(&floor.to_le_bytes());
        let sum = crc32fast::hash(&head[..24]);
        head[24..28].copy_from_slice(&sum.to_le_bytes());
        self.file(sequence).write_all_at(&head, 0)?;
        (self.sequence, self.floor, self.position) = (sequence, floor, HEAD_BYTES);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Head {
    sequence: u64,
    floor: u64,
}

/// Opens a segment; makes it, with its blocks written, if it is not there in full length.
fn segment(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let length = file.metadata()?.len();
    if length < JOURNAL_SEGMENT_BYTES as u64 {
        // One that was cut off keeps its beginning: whether that matters, the mark tells.
        let zeros = vec![0; JOURNAL_SEGMENT_BYTES - length as usize];
        file.write_all_at(&zeros, length)?;
        file.sync_all()?;
    }
    Ok(file)
}

/// `None` for a segment that was never started, or whose start was cut short.
fn read_head(file: &File) -> io::Result<Option<Head>> {
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0)?;
    let number = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let sum = crc32fast::hash(&head[..24]).to_le_bytes();
    let valid = head[..8] == *MAGIC && head[24..28] == sum;
    Ok(valid.then(|| Head { sequence: number(8), floor: number(16) }))
}

fn replay(
    file: &File,
    sequence: u64,
    found: &mut impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = vec![0; JOURNAL_SEGMENT_BYTES - HEAD_BYTES];
    file.read_exact_at(&mut bytes, HEAD_BYTES as u64)?;
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let sum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let Some((body, after)) = after.split_at_checked(length) else { break };
        if length == 0 || checksum(sequence, &head[8..], body) != sum {
            break;
        }
        let index = head[8..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        found(index, body)?;
        rest = after;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn records(index: u64, bytes: usize) -> Records {
        let mut records = Records::default();
        records.push(index, &vec![index as u8 + 1; bytes]);
        records
    }

    fn open(path: &Path) -> (Journal, Vec<(u64, usize)>) {
        let mut seen = Vec::new();
        let journal = Journal::open(path, |index, body| {
            assert!(body.iter().all(|byte| *byte == index as u8 + 1));
            seen.push((index, body.len()));
            Ok(())
        });
        (journal.unwrap(), seen)
    }

    #[test]
    fn records_that_fill_a_segment_fit_and_a_byte_more_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(dir.path());
        journal.begin().unwrap();
        let most = JOURNAL_SEGMENT_BYTES - HEAD_BYTES - RECORD_HEAD_BYTES;
        let too_many = records(1, most + 1);
        assert!(!Journal::can_hold(&too_many) && !journal.has_room(&too_many));
        let mut fitting = records(1, most);
        assert!(Journal::can_hold(&fitting) && journal.has_room(&fitting));
        journal.write(&mut fitting).unwrap();
        assert!(!journal.has_room(&records(2, 1)));
        assert_eq!(open(dir.path()).1, [(1, most)]);
    }

    #[test]
    fn what_was_written_comes_back_until_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, seen) = open(dir.path());
        assert_eq!(seen, []);
        journal.begin().unwrap();
        let mut both = records(1, 100);
        both.append(records(2, 200));
        journal.write(&mut both).unwrap();
        journal.turn().unwrap();
        journal.write(&mut records(3, 300)).unwrap();
        assert_eq!(open(dir.path()).1, [(1, 100), (2, 200), (3, 300)]);
        journal.turn().unwrap();
        journal.write(&mut records(4, 400)).unwrap();
        // The segment of 1 and 2 was written anew, and is shorter now.
        assert_eq!(open(dir.path()).1, [(3, 300), (4, 400)]);
        journal.begin().unwrap();
        assert_eq!(open(dir.path()).1, []);
        journal.write(&mut records(2, 250)).unwrap();
        assert_eq!(open(dir.path()).1, [(2, 250)]);
    }
}
