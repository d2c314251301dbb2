//! From positions in what V8 compiled back to the user's source.

use std::borrow::Cow;

/// A place in a source. Both counts start at 1; columns count UTF-16 units, as V8 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Position {
    /// The beginning of a source.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// Where the byte `offset` of `source` lies.
    pub(crate) fn of_offset(source: &str, offset: usize) -> Self {
        Self::START.after(&source[..source.floor_char_boundary(offset)])
    }

    /// Where one is after `text` that begins here.
    pub(crate) fn after(self, text: &str) -> Self {
        let (mut line, mut line_start) = (self.line, 0);
        let mut chars = text.char_indices().peekable();
        while let Some((at, char)) = chars.next() {
            match char {
                // A carriage return and its line feed end one line.
                '\r' if chars.peek().is_some_and(|(_, next)| *next == '\n') => {}
                '\n' | '\r' | '\u{2028}' | '\u{2029}' => {
                    line += 1;
                    line_start = at + char.len_utf8();
                }
                _ => {}
            }
        }
        let first_column = if line == self.line { self.column } else { 1 };
        Self { line, column: first_column + units(&text[line_start..]) }
    }
}

/// Length of `text` in UTF-16 units.
pub(crate) fn units(text: &str) -> u32 {
    u32::try_from(text.encode_utf16().count()).unwrap_or(u32::MAX)
}

/// One piece of a source map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) compiled: Position,
    pub(crate) source: Position,
}

/// Text that was put into the source, at its place in the compiled text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Insertion {
    pub(crate) at: Position,
    pub(crate) units: u32,
}

/// How the compiled text came from the user's source.
#[derive(Debug, Clone)]
pub(crate) struct PositionMap {
    /// What V8 calls the source.
    script_name: Cow<'static, str>,
    /// Sorted by compiled position; empty when the text was not generated.
    mappings: Vec<Mapping>,
    /// What was inserted before any code was generated, in order, and how many units were inserted
    /// on the same line before it.
    insertions: Vec<(Insertion, u32)>,
}

impl PositionMap {
    /// The source is compiled as it is.
    pub(crate) fn identity() -> Self {
        Self::new(super::JS_NAME, Vec::new(), Vec::new())
    }

    /// The source had text inserted, and was then compiled to other text if there are `mappings`.
    pub(crate) fn new(
        script_name: &'static str,
        mappings: Vec<Mapping>,
        insertions: Vec<Insertion>,
    ) -> Self {
        let (mut line, mut before) = (0, 0);
        let counted = |insertion: Insertion| {
            if insertion.at.line != line {
                (line, before) = (insertion.at.line, 0);
            }
            let counted = (insertion, before);
            before += insertion.units;
            counted
        };
        let insertions = insertions.into_iter().map(counted).collect();
        Self { script_name: Cow::Borrowed(script_name), mappings, insertions }
    }

    /// What V8 calls the source.
    pub(crate) fn script_name(&self) -> &str {
        &self.script_name
    }

    /// The same for the script of that number in a heap that has seen others: what they left behind
    /// keeps its own places.
    pub(crate) fn numbered(mut self, number: u32) -> Self {
        if let Some((name, extension)) = self.script_name.rsplit_once('.') {
            self.script_name = Cow::Owned(format!("{name}-{number}.{extension}"));
        }
        self
    }

    /// The place in the user's source.
    pub(crate) fn map(&self, compiled: Position) -> Position {
        let mut position = compiled;
        if !self.mappings.is_empty() {
            let after = self.mappings.partition_point(|mapping| mapping.compiled <= compiled);
            let before = after.checked_sub(1).and_then(|at| self.mappings.get(at));
            let same_line = |mapping: &&Mapping| mapping.compiled.line == compiled.line;
            let nearest = before
                .filter(same_line)
                .or_else(|| self.mappings.get(after).filter(same_line))
                .or(before);
            if let Some(mapping) = nearest {
                position = mapping.source;
            }
        }
        let after = self.insertions.partition_point(|(insertion, _)| insertion.at <= position);
        let last = after.checked_sub(1).and_then(|at| self.insertions.get(at));
        let inserted = match last {
            Some((insertion, before)) if insertion.at.line == position.line => {
                before + (position.column - insertion.at.column).min(insertion.units)
            }
            _ => 0,
        };
        position.column = position.column.saturating_sub(inserted).max(1);
        position
    }

    /// `text` with every `script:line:column` of this source mapped.
    pub(crate) fn map_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.mappings.is_empty() && self.insertions.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut mapped = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(&*self.script_name) {
            let (head, tail) = rest.split_at(at + self.script_name.len());
            mapped.push_str(head);
            rest = tail;
            if let Some((position, after)) = parse_position(tail) {
                let Position { line, column } = self.map(position);
                mapped.push_str(&format!(":{line}:{column}"));
                rest = after;
            }
        }
        mapped.push_str(rest);
        Cow::Owned(mapped)
    }
}

/// Reads `:line:column` from the start of `text` and gives the rest.
fn parse_position(text: &str) -> Option<(Position, &str)> {
    let (line, rest) = parse_number(text.strip_prefix(':')?)?;
    let (column, rest) = parse_number(rest.strip_prefix(':')?)?;
    Some((Position { line, column }, rest))
}

fn parse_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}
