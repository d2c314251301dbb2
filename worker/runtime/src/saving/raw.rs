//! Objects of V8's heap by their addresses.
//!
//! V8's interface neither tells an `Intl.Collator` from any other object nor reaches what is native
//! in it. What is read here is what V8's own embedder headers read (`v8-internal.h`): a tagged
//! pointer leads to an object, whose first word is its map, which holds its type and its size. The
//! native part of an object is a `Foreign`, which is one of its words.
//!
//! A garbage collection moves objects: addresses are good until the next one.

/// What an object looks like, from `v8-internal.h`; for builds without pointer compression.
const TAG: usize = 1;
const TAG_MASK: usize = 3;
const WORD: usize = size_of::<usize>();
/// `kMapInstanceTypeOffset`.
const MAP_TYPE_AT: usize = WORD + size_of::<u32>();
/// The size of an instance in words, in the first byte behind the map's own map.
const MAP_SIZE_AT: usize = WORD;
/// `kForeignType`.
const FOREIGN_TYPE: u16 = 0xcc;
/// Words of every JavaScript object: map, properties, elements.
const HEADER_WORDS: usize = 3;
/// Words that the built-in types considered here have beyond that, at most.
const OWN_WORDS_MAX: usize = 8;
/// Where a context has its length, a small integer: its value is in the upper half of the word.
const CONTEXT_LENGTH_AT: usize = WORD + size_of::<u32>();
/// Where a fixed array has its length.
const ARRAY_LENGTH_AT: usize = WORD;
/// Elements of a fixed array that are looked at.
const ELEMENTS_MAX: usize = 1024;

/// The type of an object, a number of V8's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Type(pub(crate) u16);

/// The address of V8's own isolate.
pub(crate) fn isolate(isolate: &v8::Isolate) -> *mut u8 {
    // SAFETY: the binding's `Isolate` is a pointer to V8's and nothing else.
    unsafe { *std::ptr::from_ref(isolate).cast::<*mut u8>() }
}

/// A tagged word: a pointer to an object, or a small integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tagged(usize);

impl Tagged {
    /// What a handle refers to.
    pub(crate) fn of<T>(handle: v8::Local<'_, T>) -> Self {
        // SAFETY: a handle is a pointer to a slot that holds a tagged word.
        Self(unsafe { *std::ptr::from_ref::<T>(&handle).cast::<usize>() })
    }

    /// A small integer, as it is in a word.
    pub(crate) fn small_integer(value: u32) -> Self {
        Self((value as usize) << u32::BITS)
    }

    fn is_small_integer(self) -> bool {
        self.0 & TAG == 0
    }

    fn object(self) -> Option<usize> {
        (self.0 & TAG_MASK == TAG).then(|| self.0 - TAG)
    }

    /// # Safety
    /// The object is live, and has that many words.
    unsafe fn word(self, at: usize) -> Option<*mut Self> {
        let object = self.object()?;
        Some((object + at * WORD) as *mut Self)
    }

    /// The type of an object.
    ///
    /// # Safety
    /// It is a word of V8's heap, and nothing was collected since it was read.
    pub(crate) unsafe fn object_type(self) -> Option<Type> {
        // SAFETY: every object begins with its map, and every map has these fields.
        unsafe {
            let map = (*self.word(0)?).object()?;
            Some(Type(*((map + MAP_TYPE_AT) as *const u16)))
        }
    }

    /// # Safety
    /// As [`object_type`](Self::object_type).
    unsafe fn is_foreign(self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.object_type() == Some(Type(FOREIGN_TYPE)) }
    }

    /// The words of a JavaScript object that are its type's own, as pointers.
    ///
    /// # Safety
    /// A live object, nothing collected since.
    unsafe fn own_words(self) -> Option<impl Iterator<Item = *mut Self>> {
        // SAFETY: the map tells how many words the object has.
        let size = unsafe {
            let map = (*self.word(0)?).object()?;
            usize::from(*((map + MAP_SIZE_AT) as *const u8))
        };
        let object = self.object()?;
        let end = size.min(HEADER_WORDS + OWN_WORDS_MAX);
        Some((HEADER_WORDS..end).map(move |at| (object + at * WORD) as *mut Self))
    }
}

/// Which of the own words of `object` are native parts, as a mask.
///
/// # Safety
/// `object` is a live object.
pub(crate) unsafe fn native_parts(object: Tagged) -> u32 {
    // SAFETY: its own words are tagged ones.
    unsafe {
        let Some(words) = object.own_words() else { return 0 };
        let parts = words.enumerate().filter(|(_, word)| (**word).is_foreign());
        parts.fold(0, |mask, (at, _)| mask | 1 << at)
    }
}

/// Puts `undefined` in the place of the native `parts` of `object`.
///
/// # Safety
/// `object` is a live object, and nothing uses its native parts any more.
pub(crate) unsafe fn empty(object: Tagged, parts: u32, undefined: Tagged) {
    // SAFETY: its own words are tagged ones. `undefined` is immovable and immortal, so that the
    // garbage collector need not hear of it.
    unsafe {
        let Some(words) = object.own_words() else { return };
        for (_, word) in words.enumerate().filter(|(at, _)| parts & 1 << at != 0) {
            *word = undefined;
        }
    }
}

/// Gives `object` the native `parts` of `twin`, an object of the same type. False, and nothing done,
/// when the two do not match.
///
/// # Safety
/// Both are live, and neither is young: the collection after both were made has moved them and their
/// parts among the old, so that the collector need not hear of the new references.
pub(crate) unsafe fn fill(object: Tagged, twin: Tagged, parts: u32, undefined: Tagged) -> bool {
    // SAFETY: own words are tagged ones.
    unsafe {
        if object.object_type() != twin.object_type() {
            return false;
        }
        let (Some(words), Some(theirs)) = (object.own_words(), twin.own_words()) else {
            return false;
        };
        let pairs: Vec<_> = words
            .zip(theirs)
            .enumerate()
            .filter(|(at, _)| parts & 1 << at != 0)
            .map(|(_, pair)| pair)
            .collect();
        let fits = |(word, part): &(*mut Tagged, *mut Tagged)| {
            **word == undefined && (**part).is_foreign()
        };
        if pairs.len() != parts.count_ones() as usize || !pairs.iter().all(fits) {
            return false;
        }
        for (word, part) in pairs {
            *word = *part;
        }
    }
    true
}

/// Puts `undefined` in the place of every reference to one of `targets` in the slots of a native
/// context and in the fixed arrays that these refer to. Says how many there were.
///
/// # Safety
/// `context` is a live native context, `array` any live fixed array.
pub(crate) unsafe fn forget_in_context(
    context: Tagged,
    array: Tagged,
    targets: &[Tagged],
    undefined: Tagged,
) -> usize {
    let mut forgotten = 0;
    // SAFETY: a context holds its length in the upper half of its second word, a fixed array in the
    // lower one, and then come so many tagged words. `undefined` is immovable and immortal, so that
    // the collector need not hear of it.
    unsafe {
        let array_type = array.object_type();
        for slot in slots(context, CONTEXT_LENGTH_AT) {
            if targets.contains(&*slot) {
                *slot = undefined;
                forgotten += 1;
            } else if (*slot).object_type() == array_type {
                for element in slots(*slot, ARRAY_LENGTH_AT) {
                    if targets.contains(&*element) {
                        *element = undefined;
                        forgotten += 1;
                    }
                }
            }
        }
    }
    forgotten
}

/// The slots of a native context.
///
/// # Safety
/// `context` is a live native context.
pub(crate) unsafe fn context_slots(context: Tagged) -> Vec<Tagged> {
    // SAFETY: see `forget_in_context`.
    unsafe { slots(context, CONTEXT_LENGTH_AT).map(|slot| *slot).collect() }
}

/// Which slots have a small integer in `after` where `before` they had `undefined`.
pub(crate) fn numbered_since(before: &[Tagged], after: &[Tagged], undefined: Tagged) -> Vec<usize> {
    let pairs = before.iter().zip(after).enumerate();
    let numbered =
        pairs.filter(|(_, (before, after))| **before == undefined && after.is_small_integer());
    numbered.map(|(at, _)| at).collect()
}

/// Puts a small integer into a slot of a native context that holds `undefined`; false, and nothing
/// done, when it holds anything else.
///
/// # Safety
/// `context` is a live native context.
pub(crate) unsafe fn number_slot(
    context: Tagged,
    at: usize,
    value: u32,
    undefined: Tagged,
) -> bool {
    // SAFETY: see `forget_in_context`; the collector has nothing to know of a small integer.
    unsafe {
        match slots(context, CONTEXT_LENGTH_AT).nth(at) {
            Some(slot) if *slot == undefined => {
                *slot = Tagged::small_integer(value);
                true
            }
            _ => false,
        }
    }
}

/// The tagged words of an object that holds their number, 32 bits at `length_at`, and then them.
///
/// # Safety
/// It is live and one of that kind.
unsafe fn slots(array: Tagged, length_at: usize) -> impl Iterator<Item = *mut Tagged> {
    let object = array.object();
    // SAFETY: the caller's promise.
    let length = object.map_or(0, |object| unsafe { *((object + length_at) as *const u32) });
    let first = object.unwrap_or_default() + 2 * WORD;
    (0..ELEMENTS_MAX.min(length as usize)).map(move |at| (first + at * WORD) as *mut Tagged)
}
