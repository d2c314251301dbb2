//! Files of rows, as snapshots and backups are: a head, rows in order of their keys, an end, a
//! checksum over everything before it.
//!
//! # Contract
//! * What a [`Reader`] gives is checked when [`Reader::row`] has returned `None`, not before.
//! * A length is checked against [`FIELD_BYTES_MAX`] before a byte is allocated.
//! * Keys grow from row to row; a file in which they do not is no file of ours.
//!
//! After the head, which is the caller's matter, a row is: length of key, length of value (four
//! bytes each, little endian), key, value. The end is a key of length `u32::MAX`.

use std::io::{self, Read, Write};

use crate::limits::VALUE_BYTES_MAX;

const END: u32 = u32::MAX;

/// Bytes of one key or value; none of ours is near this.
pub const FIELD_BYTES_MAX: u32 = (VALUE_BYTES_MAX * 8) as u32;

/// A checksum that grows with what is fed to it.
pub trait Sum: Clone + Default {
    /// Takes more bytes.
    fn update(&mut self, bytes: &[u8]);

    /// The checksum of all bytes so far.
    fn value(&self) -> Vec<u8>;
}

/// CRC-32, for files that never leave their disk.
#[derive(Debug, Clone, Default)]
pub struct Crc32(crc32fast::Hasher);

impl Sum for Crc32 {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn value(&self) -> Vec<u8> {
        self.0.clone().finalize().to_le_bytes().to_vec()
    }
}

/// The error of bytes that are not what they should be.
pub fn invalid(problem: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.into())
}

/// Writes such a file.
#[derive(Debug)]
pub struct Writer<W, S> {
    out: W,
    sum: S,
    bytes: u64,
}

/// A whole file.
#[derive(Debug)]
pub struct Written<W> {
    /// What was written to.
    pub out: W,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its checksum.
    pub sum: Vec<u8>,
}

impl<W: Write, S: Sum> Writer<W, S> {
    /// Begins with nothing: the head comes first.
    pub fn new(out: W) -> Self {
        Self { out, sum: S::default(), bytes: 0 }
    }

    /// Adds bytes of the head.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Adds a row.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put(&(key.len() as u32).to_le_bytes())?;
        self.put(&(value.len() as u32).to_le_bytes())?;
        self.put(key)?;
        self.put(value)
    }

    /// Adds end and checksum.
    pub fn finish(mut self) -> io::Result<Written<W>> {
        self.put(&END.to_le_bytes())?;
        let sum = self.sum.value();
        self.out.write_all(&sum)?;
        Ok(Written { out: self.out, bytes: self.bytes + sum.len() as u64, sum })
    }
}

/// Reads such a file.
#[derive(Debug)]
pub struct Reader<R, S> {
    input: R,
    sum: S,
    bytes: u64,
    rows: u64,
    last: Vec<u8>,
    ended: bool,
}

impl<R: Read, S: Sum> Reader<R, S> {
    /// Begins at the head.
    pub fn new(input: R) -> Self {
        Self { input, sum: S::default(), bytes: 0, rows: 0, last: Vec::new(), ended: false }
    }

    /// Bytes and rows read so far.
    pub fn read_so_far(&self) -> (u64, u64) {
        (self.bytes, self.rows)
    }

    /// The next bytes of the head. `length` is the caller's to bound.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.input.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        self.bytes += length as u64;
        Ok(bytes)
    }

    /// The next four bytes, as a number.
    pub fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        self.bytes += 4;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next row; `None` at the end, which is only reached when the checksum holds.
    pub fn row(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        if self.ended {
            return Ok(None);
        }
        let key_length = self.number()?;
        if key_length == END {
            let expected = self.sum.value();
            let mut sum = vec![0; expected.len()];
            self.input.read_exact(&mut sum)?;
            self.bytes += sum.len() as u64;
            if sum != expected {
                return Err(invalid("it does not match its checksum"));
            }
            self.ended = true;
            return Ok(None);
        }
        let value_length = self.number()?;
        if key_length > FIELD_BYTES_MAX || value_length > FIELD_BYTES_MAX {
            return Err(invalid("a row is too long"));
        }
        let key = self.take(key_length as usize)?;
        let value = self.take(value_length as usize)?;
        if self.rows > 0 && key <= self.last {
            return Err(invalid("its rows are not in order"));
        }
        self.last.clone_from(&key);
        self.rows += 1;
        Ok(Some((key, value)))
    }

    /// What is left of the input, and the checksum of what was read: of everything before the
    /// checksum itself, at the end.
    pub fn into_inner(self) -> (R, Vec<u8>) {
        (self.input, self.sum.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::<_, Crc32>::new(Vec::new());
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
        writer.finish().unwrap().out
    }

    fn all(bytes: &[u8]) -> io::Result<usize> {
        let mut reader = Reader::<_, Crc32>::new(bytes);
        while reader.row()?.is_some() {}
        Ok(reader.read_so_far().1 as usize)
    }

    #[test]
    fn a_field_at_the_bound_passes_and_one_past_it_is_refused_by_its_length() {
        let long = |length: u32| vec![(vec![1], vec![7; length as usize])];
        assert_eq!(all(&file(&long(FIELD_BYTES_MAX))).unwrap(), 1);
        let error = all(&file(&long(FIELD_BYTES_MAX + 1))).unwrap_err();
        assert_eq!(error.to_string(), "a row is too long");
    }

    #[test]
    fn rows_out_of_order_or_twice_are_refused() {
        let row = |key: u8| (vec![key], vec![]);
        assert_eq!(all(&file(&[row(1), row(2)])).unwrap(), 2);
        for rows in [[row(2), row(1)], [row(1), row(1)]] {
            assert_eq!(all(&file(&rows)).unwrap_err().to_string(), "its rows are not in order");
        }
    }
}
