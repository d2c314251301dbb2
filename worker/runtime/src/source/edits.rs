//! Text put into a source, without losing where everything was.

use oxc::span::Span;

use super::{Insertion, Position, units};

/// Insertions into one source.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Byte offset in the source, and what goes there.
    texts: Vec<(usize, &'static str)>,
}

impl Edits {
    /// Puts text around `span`.
    pub(super) fn wrap(&mut self, span: Span, (before, after): (&'static str, &'static str)) {
        self.texts.push((span.start as usize, before));
        self.texts.push((span.end as usize, after));
    }

    /// The edited text, and what was inserted at which place of it, in order.
    pub(super) fn apply(mut self, source: &str) -> (String, Vec<Insertion>) {
        // Stable, so that what was wrapped first stays outside where two begin together.
        self.texts.sort_by_key(|(offset, _)| *offset);
        let inserted: usize = self.texts.iter().map(|(_, text)| text.len()).sum();
        let mut code = String::with_capacity(source.len() + inserted);
        let mut insertions = Vec::with_capacity(self.texts.len());
        let mut at = Position::START;
        let mut done = 0;
        for (offset, text) in self.texts {
            // The parser's spans lie on character boundaries of this very source.
            let piece = source.get(done..offset).unwrap_or_default();
            at = at.after(piece);
            insertions.push(Insertion { at, units: units(text) });
            at = at.after(text);
            code.push_str(piece);
            code.push_str(text);
            done = offset;
        }
        code.push_str(source.get(done..).unwrap_or_default());
        (code, insertions)
    }
}
