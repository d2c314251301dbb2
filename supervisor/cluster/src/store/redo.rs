//! Changes of several rows that a crash leaves whole.
//!
//! # Contract
//! * [`Redo::write`] puts all changes into one row of a tree of its own and then makes them one by
//!   one. sled keeps the order of what is written to a database, whatever a crash cuts off its end:
//!   [`Redo::finish`] makes the changes of the last row again, after which all of them or none are
//!   there.
//! * Why not a batch of sled's: each of those ends two of its buffers, which wakes a pool of threads
//!   twice and waits for nothing useful; that is most of what a commit cost
//!   (`docs/decisions/0002-journal.md`).
//! * Those who read meanwhile may see some of the changes. They are made so that what is named is
//!   there before what names it: pieces of texts, then executions, then all else.

use std::collections::BTreeMap;
use std::io;

use super::io_error;
use crate::limits::REDO_BYTES_MAX;
use crate::state::keys;

const NAME: &str = "redo";

/// Changes of rows; `None` deletes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The tree with the last changes, under the name of the tree they are of.
#[derive(Debug, Clone)]
pub struct Redo {
    tree: sled::Tree,
}

impl Redo {
    /// Opens it in the database that has the rows.
    pub fn open(db: &sled::Db) -> sled::Result<Self> {
        Ok(Self { tree: db.open_tree(NAME)? })
    }

    /// Makes `writes` in `rows`.
    ///
    /// # Errors
    /// When the database fails; what is there then is unknown until it is opened again.
    pub fn write(&self, rows: &sled::Tree, writes: Writes) -> io::Result<()> {
        let bytes = encode(&writes);
        if bytes.len() > REDO_BYTES_MAX {
            self.forget(rows)?;
            let mut batch = sled::Batch::default();
            for (key, value) in writes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            return rows.apply_batch(batch).map_err(io_error);
        }
        self.tree.insert(rows.name(), bytes).map_err(io_error)?;
        let mut writes: Vec<_> = writes.into_iter().collect();
        writes.sort_by_key(|(key, value)| rank(key, value.is_none()));
        for (key, value) in writes {
            change(rows, &key, value.as_deref())?;
        }
        Ok(())
    }

    /// Makes the last changes of `rows` again.
    ///
    /// # Errors
    /// The problem, when they cannot be read or made.
    pub fn finish(&self, rows: &sled::Tree) -> Result<(), String> {
        let Some(bytes) = self.tree.get(rows.name()).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (key, value);
            (key, value, rest) = decode(rest).ok_or("the last changes of rows are damaged")?;
            change(rows, key, value).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Forgets the last changes of `rows`: other changes follow that are not made here.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self, rows: &sled::Tree) -> io::Result<()> {
        self.tree.remove(rows.name()).map(drop).map_err(io_error)
    }
}

/// What comes first.
fn rank(key: &[u8], deleted: bool) -> u8 {
    match key.first() {
        // Whose something was is known as long as it is there.
        Some(letter) if deleted && is_whose(*letter) => 4,
        // What is not there any more must not be named: last.
        _ if deleted => 3,
        Some(letter) if is_whose(*letter) => 0,
        // An execution is shown with what it printed and the heap it left.
        Some(letter) if *letter == keys::PARTS || *letter == keys::STEPS => 0,
        Some(letter) if *letter == keys::EXECUTIONS[0] => 1,
        _ => 2,
    }
}

/// Whether rows under this letter say whose something is.
fn is_whose(letter: u8) -> bool {
    [keys::PRINCIPALS, keys::LEFT_BY, keys::MCP_PRINCIPALS].contains(&letter)
}

fn change(rows: &sled::Tree, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
    match value {
        Some(value) => rows.insert(key, value).map(drop).map_err(io_error),
        None => rows.remove(key).map(drop).map_err(io_error),
    }
}

/// Each change: length of the key (4, little-endian), length of the value and one (4; 0 deletes),
/// key, value.
fn encode(writes: &Writes) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::new();
    for (key, value) in writes {
        let value_length = value.as_deref().map_or(0, |value| length(value).saturating_add(1));
        bytes.extend_from_slice(&length(key).to_le_bytes());
        bytes.extend_from_slice(&value_length.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    bytes
}

/// A key, its new value, and what follows.
type Decoded<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The first change and what follows.
fn decode(bytes: &[u8]) -> Option<Decoded<'_>> {
    let (key_length, rest) = bytes.split_first_chunk()?;
    let (value_length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    match u32::from_le_bytes(*value_length).checked_sub(1) {
        None => Some((key, None, rest)),
        Some(length) => {
            let (value, rest) = rest.split_at_checked(length as usize)?;
            Some((key, Some(value), rest))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn opened() -> (Redo, sled::Tree) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        (Redo::open(&db).unwrap(), db.open_tree("rows").unwrap())
    }

    fn all(rows: &sled::Tree) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows.iter()
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
            .collect()
    }

    fn some_writes() -> Writes {
        [
            (b"e1".to_vec(), Some(b"ended".to_vec())),
            (b"p1".to_vec(), Some(Vec::new())),
            (b"r1".to_vec(), None),
            (b"k".to_vec(), Some(vec![9; 1000])),
        ]
        .into()
    }

    #[test]
    fn changes_that_were_cut_short_anywhere_are_finished() {
        let (redo, rows) = opened();
        rows.insert("r1", "runs").unwrap();
        let before = all(&rows);
        redo.write(&rows, some_writes()).unwrap();
        let after = all(&rows);
        assert_eq!(after.len(), 3);
        let mut undone: Vec<_> = some_writes().into_keys().collect();
        while let Some(key) = undone.pop() {
            let old = before.iter().find(|(known, _)| *known == key);
            change(&rows, &key, old.map(|(_, value)| value.as_slice())).unwrap();
            redo.finish(&rows).unwrap();
            assert_eq!(all(&rows), after);
        }
        redo.forget(&rows).unwrap();
        rows.remove("e1").unwrap();
        redo.finish(&rows).unwrap();
        assert_eq!(all(&rows).len(), 2);
    }

    #[test]
    fn changes_at_the_bound_are_kept_to_be_made_again_and_larger_ones_are_a_batch() {
        let (redo, rows) = opened();
        for (bytes, kept) in [(REDO_BYTES_MAX, true), (REDO_BYTES_MAX + 1, false)] {
            let writes = Writes::from([(b"k".to_vec(), Some(vec![1; bytes - 8 - 1]))]);
            assert_eq!(encode(&writes).len(), bytes);
            redo.write(&rows, writes).unwrap();
            assert_eq!(rows.get("k").unwrap().unwrap().len(), bytes - 9);
            assert_eq!(redo.tree.contains_key("rows").unwrap(), kept);
        }
    }

    #[test]
    fn texts_come_before_executions_and_deletions_last() {
        let mut writes: Vec<_> = some_writes().into_iter().collect();
        writes.sort_by_key(|(key, value)| rank(key, value.is_none()));
        let order: Vec<_> = writes.iter().map(|(key, _)| key[0]).collect();
        assert_eq!(order, *b"pekr");
    }
}
