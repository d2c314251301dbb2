//! Reading all rows as they are at one position, while they change.
//!
//! # Contract
//! * A view gives the rows in order of their keys, a few at a time; `apply` leaves it the old value
//!   of what it changes ahead of where the view has read.
//! * What is left so is bounded where the view says so: past the bound the view is given up.
//! * When a snapshot takes the place of the rows, every view of them ends.

use std::collections::BTreeMap;
use std::io;

use super::{io_error, machine::OWN_ROWS};
use crate::limits::SNAPSHOT_ROWS_PER_LOCK;
use crate::state::Row;

/// Bytes that a remembered row takes besides its key and value, about.
const REMEMBERED_BYTES: usize = 96;

/// All views of the present rows.
#[derive(Debug, Default)]
pub struct Views {
    /// Numbers are not used again, so that a view that has ended is not taken for another.
    last: u64,
    open: BTreeMap<u64, Result<View, Ended>>,
}

/// Why a view has ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// A snapshot took the place of the rows.
    #[error("a snapshot from the leader took the place of the rows while they were read")]
    Replaced,
    /// More was changed than may be remembered.
    #[error("more was written while the rows were read than may be kept for that ({0} bytes)")]
    Outrun(usize),
}

#[derive(Debug)]
struct View {
    /// Keys up to here have been read.
    read_to: Option<Vec<u8>>,
    /// Values, when the view began, of rows that changed since and have not been read.
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Bytes of those.
    bytes: usize,
    /// Bytes that they may be.
    bytes_max: usize,
}

/// The next rows, and whether there may be more.
pub type Chunk = (Vec<Row>, bool);

impl Views {
    /// Begins a view for which at most `bytes_max` bytes are remembered.
    pub fn begin(&mut self, bytes_max: usize) -> u64 {
        self.last += 1;
        let view = View { read_to: None, before: BTreeMap::new(), bytes: 0, bytes_max };
        self.open.insert(self.last, Ok(view));
        self.last
    }

    /// Forgets a view.
    pub fn forget(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Ends all views.
    pub fn replaced(&mut self) {
        self.open.values_mut().for_each(|view| *view = Err(Ended::Replaced));
    }

    /// Remembers the present values of rows that are about to change.
    pub fn keep(
        &mut self,
        rows: &sled::Tree,
        writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> io::Result<()> {
        for slot in self.open.values_mut() {
            let Ok(view) = slot else { continue };
            view.keep(rows, writes)?;
            if view.bytes > view.bytes_max {
                *slot = Err(Ended::Outrun(view.bytes_max));
            }
        }
        Ok(())
    }

    /// The next rows of a view.
    pub fn next(&mut self, number: u64, rows: &sled::Tree) -> io::Result<Result<Chunk, Ended>> {
        match self.open.get_mut(&number) {
            Some(Ok(view)) => view.next(rows).map(Ok),
            Some(Err(ended)) => Ok(Err(*ended)),
            None => Ok(Err(Ended::Replaced)),
        }
    }
}

impl View {
    fn keep(
        &mut self,
        rows: &sled::Tree,
        writes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ) -> io::Result<()> {
        for key in writes.keys() {
            let read = self.read_to.as_ref().is_some_and(|to| key <= to);
            if !read && !self.before.contains_key(key) {
                let value = rows.get(key).map_err(io_error)?.map(|value| value.to_vec());
                self.bytes += size(key, value.as_ref());
                self.before.insert(key.clone(), value);
            }
        }
        Ok(())
    }

    fn next(&mut self, state: &sled::Tree) -> io::Result<Chunk> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match &self.read_to {
            Some(to) => Excluded(to.clone()),
            None => Unbounded,
        };
        let stored: Vec<Row> = state
            .range::<Vec<u8>, _>((from.clone(), Unbounded))
            .take(SNAPSHOT_ROWS_PER_LOCK)
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(io_error))
            .collect::<io::Result<_>>()?;
        let more = stored.len() == SNAPSHOT_ROWS_PER_LOCK;
        let to = match stored.last() {
            Some((last, _)) if more => Included(last.clone()),
            _ => Unbounded,
        };
        let mut rows: BTreeMap<_, _> = stored.into_iter().collect();
        let changed: Vec<Vec<u8>> =
            self.before.range((from, to.clone())).map(|(key, _)| key.clone()).collect();
        for key in changed {
            let value = self.before.remove(&key).flatten();
            self.bytes -= size(&key, value.as_ref());
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        if let Included(to) = to {
            self.read_to = Some(to);
        }
        rows.retain(|key, _| !key.starts_with(OWN_ROWS));
        Ok((rows.into_iter().collect(), more))
    }
}

fn size(key: &[u8], value: Option<&Vec<u8>>) -> usize {
    REMEMBERED_BYTES + key.len() + value.map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (sled::Db, sled::Tree) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let tree = db.open_tree("rows").unwrap();
        (db, tree)
    }

    fn change(views: &mut Views, rows: &sled::Tree, key: &[u8], value: &[u8]) {
        let writes = [(key.to_vec(), Some(value.to_vec()))].into();
        views.keep(rows, &writes).unwrap();
        rows.insert(key, value).unwrap();
    }

    #[test]
    fn a_view_is_kept_up_to_its_bound_and_given_up_one_byte_past_it() {
        let (_db, rows) = tree();
        rows.insert(b"k", vec![1; 100]).unwrap();
        let kept = REMEMBERED_BYTES + 1 + 100;
        let mut views = Views::default();
        let (fits, past) = (views.begin(kept), views.begin(kept - 1));
        change(&mut views, &rows, b"k", b"new");
        let (read, more) = views.next(fits, &rows).unwrap().unwrap();
        assert_eq!((read, more), (vec![(b"k".to_vec(), vec![1; 100])], false));
        assert_eq!(views.next(past, &rows).unwrap(), Err(Ended::Outrun(kept - 1)));
    }

    #[test]
    fn two_views_each_see_their_own_moment_and_end_with_the_rows() {
        let (_db, rows) = tree();
        let mut views = Views::default();
        rows.insert(b"k", b"1").unwrap();
        let first = views.begin(usize::MAX);
        change(&mut views, &rows, b"k", b"2");
        let second = views.begin(usize::MAX);
        change(&mut views, &rows, b"k", b"3");
        for (view, seen) in [(second, b"2"), (first, b"1")] {
            let (read, _) = views.next(view, &rows).unwrap().unwrap();
            assert_eq!(read, [(b"k".to_vec(), seen.to_vec())]);
        }
        views.replaced();
        assert_eq!(views.next(first, &rows).unwrap(), Err(Ended::Replaced));
        views.forget(second);
        assert_eq!(views.next(second, &rows).unwrap(), Err(Ended::Replaced));
    }
}
