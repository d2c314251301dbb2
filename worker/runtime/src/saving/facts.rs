//! What this build of V8 looks like inside: found out when the base is baked, stored with it.

use super::raw::Type;

macro_rules! kinds {
    ($($kind:ident => $sample:literal),* $(,)?) => {
        /// Types of objects that V8 cannot write as they are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind { $($kind),* }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// An expression that makes one.
            pub(crate) fn sample(self) -> &'static str {
                match self { $(Self::$kind => $sample),* }
            }

            /// Its name, as the recipes know it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),* }
            }
        }
    };
}

kinds! {
    // These have a description from which they can be made again; see `recipes.js`.
    Collator => "new Intl.Collator",
    DateTimeFormat => "new Intl.DateTimeFormat",
    DisplayNames => "new Intl.DisplayNames('en', {type: 'region'})",
    DurationFormat => "new Intl.DurationFormat",
    ListFormat => "new Intl.ListFormat",
    Locale => "new Intl.Locale('en')",
    NumberFormat => "new Intl.NumberFormat",
    PluralRules => "new Intl.PluralRules",
    RelativeTimeFormat => "new Intl.RelativeTimeFormat",
    Segmenter => "new Intl.Segmenter",
    Duration => "new Temporal.Duration",
    Instant => "new Temporal.Instant(0n)",
    PlainDate => "new Temporal.PlainDate(2000, 1, 1)",
    PlainDateTime => "new Temporal.PlainDateTime(2000, 1, 1)",
    PlainMonthDay => "new Temporal.PlainMonthDay(1, 1)",
    PlainTime => "new Temporal.PlainTime",
    PlainYearMonth => "new Temporal.PlainYearMonth(2000, 1)",
    ZonedDateTime => "new Temporal.ZonedDateTime(0n, 'UTC')",
    // These have not.
    BreakIterator => "new Intl.v8BreakIterator",
    Segments => "new Intl.Segmenter().segment('')",
    SegmentIterator => "new Intl.Segmenter().segment('')[Symbol.iterator]()",
    WasmModule => "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))",
    WasmInstance =>
        "new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])))",
    WasmMemory => "new WebAssembly.Memory({initial: 0})",
    // V8 would write these, with numbers for their types that mean something else in another process.
    WasmTable => "new WebAssembly.Table({initial: 0, element: 'externref'})",
    WasmGlobal => "new WebAssembly.Global({value: 'i32'})",
    WasmTag => "new WebAssembly.Tag({parameters: []})",
    WasmException => "new WebAssembly.Exception(new WebAssembly.Tag({parameters: []}), [])",
}

impl Kind {
    /// Whether an object of this type can be made again from a description.
    pub(crate) fn has_recipe(self) -> bool {
        (self as usize) < Self::BreakIterator as usize
    }

    /// What users call it.
    pub(crate) fn title(self) -> String {
        match self.name().strip_prefix("Wasm") {
            Some(name) => format!("a WebAssembly.{name}"),
            None => match self {
                Self::BreakIterator => "an Intl.v8BreakIterator".to_owned(),
                Self::Segments => "what Intl.Segmenter.prototype.segment returned".to_owned(),
                Self::SegmentIterator => "an iterator of text segments".to_owned(),
                _ if self as usize >= Self::Duration as usize => {
                    format!("a Temporal.{}", self.name())
                }
                _ => format!("an Intl.{}", self.name()),
            },
        }
    }
}

/// Facts of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Where isolates have their flag; see [`super::serializer`].
    pub(crate) flag_offset: usize,
    /// The types of [`Kind::ALL`], in that order.
    pub(crate) types: Vec<Type>,
}

impl Facts {
    /// The kind of an object of this type, if it is one.
    pub(crate) fn kind(&self, found: Type) -> Option<Kind> {
        let at = self.types.iter().position(|known| *known == found)?;
        Kind::ALL.get(at).copied()
    }

    /// As bytes, to be stored beside the base.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.types.iter().map(|Type(number)| u32::from(*number));
        let offset = u32::try_from(self.flag_offset).unwrap_or(u32::MAX);
        std::iter::once(offset).chain(numbers).flat_map(u32::to_le_bytes).collect()
    }

    /// What [`to_bytes`](Self::to_bytes) gave; none for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<4>() else { return None };
        let mut numbers = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let flag_offset = numbers.next()? as usize;
        let types: Option<Vec<_>> =
            numbers.map(|number| u16::try_from(number).ok().map(Type)).collect();
        let types = types.filter(|types| types.len() == Kind::ALL.len())?;
        Some(Self { flag_offset, types })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_being_stored_and_nothing_else_passes_for_them() {
        let types = (0..Kind::ALL.len() as u16).map(|number| Type(1000 + number)).collect();
        let facts = Facts { flag_offset: 68_216, types };
        let bytes = facts.to_bytes();
        assert_eq!(Facts::from_bytes(&bytes), Some(facts.clone()));
        for len in 0..bytes.len() {
            assert_eq!(Facts::from_bytes(&bytes[..len]), None, "{len}");
        }
        assert_eq!(Facts::from_bytes(&[bytes, vec![0; 4]].concat()), None);
        assert_eq!(facts.kind(Type(1000)), Some(Kind::Collator));
        assert_eq!(facts.kind(Type(999)), None);
    }

    #[test]
    fn kinds_are_told_apart_and_named() {
        assert!(Kind::ZonedDateTime.has_recipe() && Kind::Collator.has_recipe());
        assert!(!Kind::BreakIterator.has_recipe() && !Kind::WasmException.has_recipe());
        assert_eq!(Kind::Collator.title(), "an Intl.Collator");
        assert_eq!(Kind::Duration.title(), "a Temporal.Duration");
        assert_eq!(Kind::WasmModule.title(), "a WebAssembly.Module");
    }
}
