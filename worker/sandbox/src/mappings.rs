//! The memory mappings of a template, made so that its children get them.
//!
//! V8 marks its mappings `MADV_DONTFORK` (`dc` among the `VmFlags` of `/proc/self/smaps`): a child
//! would be without its heap. A template has one thread and forks on purpose, so the mark is taken
//! off again once everything is mapped.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use crate::fork::ForkError;

/// The table of mappings, opened while files can be opened and read once everything is mapped.
#[derive(Debug)]
pub(crate) struct Mappings(io::Result<File>);

impl Mappings {
    /// Opens the table.
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/self/smaps"))
    }

    /// Lets children have every mapping there is now. Returns how many were marked.
    pub(crate) fn share_all(self) -> Result<usize, ForkError> {
        self.0.and_then(share_all).map_err(|error| ForkError::Mappings(error.to_string()))
    }
}

fn share_all(file: File) -> io::Result<usize> {
    let mut marked = Vec::new();
    let mut range = None;
    for line in BufReader::with_capacity(64 * 1024, file).lines() {
        let line = line?;
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if flags.split_whitespace().any(|flag| flag == "dc") {
                marked.extend(range);
            }
        } else if let Some(found) = parse_range(&line) {
            range = Some(found);
        }
    }
    for (start, end) in &marked {
        // SAFETY: changes nothing but what a fork copies; the range is a whole mapping of ours.
        let done =
            unsafe { libc::madvise(*start as *mut libc::c_void, end - start, libc::MADV_DOFORK) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(marked.len())
}

/// The addresses at the head of a mapping's entry: `start-end perms offset dev inode`.
fn parse_range(line: &str) -> Option<(usize, usize)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_a_range_and_other_lines_are_not() {
        let head = "7f00aa000000-7f00aa021000 rw-p 00000000 00:00 0 ";
        assert_eq!(parse_range(head), Some((0x7f00_aa00_0000, 0x7f00_aa02_1000)));
        for line in ["Size:                132 kB", "VmFlags: rd wr mr dc", "", "a-b"] {
            assert_eq!(parse_range(line), None, "{line}");
        }
    }
}
