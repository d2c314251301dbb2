//! Console text of one execution: appended by the worker's driver, read in pages.
//!
//! # Contract
//! * Holds at most its budget and one notice. A page costs the page and at most
//!   [`LINES_PER_MARK`] lines of search before it, never the whole text.
//! * Lines are what newlines end, and the unfinished rest if there is one. Bytes are UTF-8; a page
//!   in bytes is cut at character boundaries, and reading on from `end` loses and repeats nothing.

/// The start of every so many lines is remembered.
const LINES_PER_MARK: u64 = 64;

/// Append-only text with a sparse index of line starts.
#[derive(Debug, Default)]
pub struct Console {
    text: String,
    newlines: u64,
    /// Byte offset of lines 0, 64, 128 … (the first is implied).
    marks: Vec<u32>,
}

/// A stretch of console text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The text.
    pub data: String,
    /// First line, from 1.
    pub start_line: u64,
    /// Last line, `start_line - 1` when empty.
    pub end_line: u64,
    /// First byte, from 0.
    pub start_byte: u64,
    /// The byte after the last one, newline included.
    pub end_byte: u64,
}

impl Console {
    /// Appends text.
    pub fn append(&mut self, chunk: &str) {
        let base = self.text.len();
        self.text.push_str(chunk);
        for (at, byte) in chunk.bytes().enumerate() {
            if byte == b'\n' {
                self.newlines += 1;
                if self.newlines.is_multiple_of(LINES_PER_MARK) {
                    // The budget keeps the text far below 4 GiB.
                    self.marks.push(u32::try_from(base + at + 1).unwrap_or(u32::MAX));
                }
            }
        }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Lines so far, an unfinished one included.
    pub fn lines(&self) -> u64 {
        self.newlines + u64::from(!self.text.is_empty() && !self.text.ends_with('\n'))
    }

    /// Releases spare capacity once nothing more will come.
    pub fn finish(&mut self) {
        self.text.shrink_to_fit();
        self.marks.shrink_to_fit();
    }

    /// At most `limit` lines from line `offset` (from 1), without the last newline.
    pub fn page_by_lines(&self, offset: u64, limit: u64) -> Page {
        let total = self.lines();
        let first = offset.max(1) - 1;
        if first >= total {
            let end = self.text.len() as u64;
            return Page {
                data: String::new(),
                start_line: first + 1,
                end_line: first,
                start_byte: end,
                end_byte: end,
            };
        }
        let last = first.saturating_add(limit).min(total);
        let start = self.line_start(first);
        let end = if last == total { self.text.len() } else { self.line_start(last) };
        let data = &self.text[start..end];
        Page {
            data: data.strip_suffix('\n').unwrap_or(data).to_owned(),
            start_line: first + 1,
            end_line: last,
            start_byte: start as u64,
            end_byte: end as u64,
        }
    }

    /// At most `limit` bytes from byte `offset`, cut at character boundaries; at least one
    /// character when there is one.
    pub fn page_by_bytes(&self, offset: u64, limit: u64) -> Page {
        let length = self.text.len();
        let start =
            self.text.floor_char_boundary(usize::try_from(offset).unwrap_or(length).min(length));
        let limit = usize::try_from(limit).unwrap_or(length);
        let mut end = self.text.floor_char_boundary(start.saturating_add(limit).min(length));
        if end == start {
            end = self.text.ceil_char_boundary((start + 1).min(length));
        }
        let data = self.text[start..end].to_owned();
        let start_line = self.line_of(start) + 1;
        let breaks = data.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let end_line = if data.is_empty() {
            start_line - 1
        } else {
            start_line + breaks - u64::from(data.ends_with('\n'))
        };
        Page { data, start_line, end_line, start_byte: start as u64, end_byte: end as u64 }
    }

    /// Byte offset of the mark at or before line `line` (from 0), and that mark's line.
    fn mark(&self, index: u64) -> (usize, u64) {
        match index.checked_sub(1).and_then(|i| self.marks.get(usize::try_from(i).ok()?)) {
            Some(&byte) => (byte as usize, index * LINES_PER_MARK),
            None => (0, 0),
        }
    }

    /// Byte offset of line `line`, counted from 0.
    fn line_start(&self, line: u64) -> usize {
        let (byte, marked) = self.mark(line / LINES_PER_MARK);
        let mut at = byte;
        for _ in marked..line {
            match self.text[at..].find('\n') {
                Some(newline) => at += newline + 1,
                None => return self.text.len(),
            }
        }
        at
    }

    /// The line, counted from 0, that holds byte `byte`.
    fn line_of(&self, byte: usize) -> u64 {
        let index = self.marks.partition_point(|mark| *mark as usize <= byte) as u64;
        let (start, line) = self.mark(index);
        line + self.text[start..byte].bytes().filter(|b| *b == b'\n').count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn console(text: &str) -> Console {
        let mut console = Console::default();
        console.append(text);
        console
    }

    #[test]
    fn pages_by_lines() {
        let console = console("a\nb\nc");
        assert_eq!(console.lines(), 3);
        let page = console.page_by_lines(1, 2);
        assert_eq!((page.data.as_str(), page.start_line, page.end_line), ("a\nb", 1, 2));
        assert_eq!((page.start_byte, page.end_byte), (0, 4));
        let page = console.page_by_lines(3, 100);
        assert_eq!((page.data.as_str(), page.start_line, page.end_line), ("c", 3, 3));
        let page = console.page_by_lines(4, 100);
        assert_eq!((page.data.as_str(), page.start_line, page.end_line), ("", 4, 3));
        assert_eq!((page.start_byte, page.end_byte), (5, 5));
    }

    #[test]
    fn pages_by_bytes_never_split_a_character_and_always_advance() {
        let console = console("é\n€x");
        let page = console.page_by_bytes(0, 1);
        assert_eq!((page.data.as_str(), page.end_byte), ("é", 2));
        let page = console.page_by_bytes(2, 2);
        assert_eq!((page.data.as_str(), page.start_line, page.end_line), ("\n", 1, 1));
        let page = console.page_by_bytes(3, 4);
        assert_eq!((page.data.as_str(), page.start_line, page.end_line), ("€x", 2, 2));
        assert_eq!(console.page_by_bytes(99, 4).data, "");
    }

    proptest! {
        /// Reading page after page gives the whole text, in both modes, wherever chunks were cut.
        #[test]
        fn pages_put_together_are_the_text(
            chunks in proptest::collection::vec("[aé€\n]{0,90}", 0..20),
            limit in 1_u64..200,
        ) {
            let mut console = Console::default();
            for chunk in &chunks {
                console.append(chunk);
            }
            let text = chunks.concat();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            prop_assert_eq!(console.lines(), lines.len() as u64);

            let (mut offset, mut whole) = (1, String::new());
            while offset <= console.lines() {
                let page = console.page_by_lines(offset, limit);
                let expected = lines[offset as usize - 1..page.end_line as usize].concat();
                prop_assert_eq!(&text[page.start_byte as usize..page.end_byte as usize], &expected);
                whole.push_str(&expected);
                offset = page.end_line + 1;
            }
            prop_assert_eq!(&whole, &text);

            let (mut offset, mut whole) = (0, String::new());
            while offset < text.len() as u64 {
                let page = console.page_by_bytes(offset, limit);
                prop_assert!(page.end_byte > offset);
                let before = text[..offset as usize].matches('\n').count() as u64;
                prop_assert_eq!(page.start_line, before + 1);
                whole.push_str(&page.data);
                offset = page.end_byte;
            }
            prop_assert_eq!(&whole, &text);
        }
    }
}
