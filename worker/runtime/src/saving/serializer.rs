//! The mark of an isolate that will be written to a snapshot.
//!
//! V8 takes an isolate that was made to be written for one that is never used otherwise: contexts
//! are left without what V8 installs at run time (`WebAssembly`, `Temporal`, `Float16Array`, a dozen
//! more), and loops are never optimised while they run. Both hang on one flag in the isolate, which
//! is set when the isolate is made and read in a handful of places. It is cleared while the base
//! gets its globals and while a script runs, and set when the heap is written, which is what the
//! writer's own assertions expect.
//!
//! Where the flag lies is found out when the base is baked, by a function of V8's whose answer
//! depends on it; a process that uses the base asks that function again before it trusts the place.

use super::raw;

/// What V8 answers to how code is to be generated. Its first byte says whether the code may end up
/// in a snapshot. Larger than V8's own, which is returned in memory as this is.
#[repr(C)]
struct AssemblerOptions([u64; 8]);

unsafe extern "C" {
    /// `v8::internal::AssemblerOptions::Default(Isolate*)`: reads fields of the isolate and has no
    /// effect.
    #[link_name = "_ZN2v88internal16AssemblerOptions7DefaultEPNS0_7IsolateE"]
    fn assembler_options(isolate: *mut u8) -> AssemblerOptions;

    /// `v8::internal::Deoptimizer::DeoptimizeAll(Isolate*)`: no function refers to machine code any
    /// more, which the next collection then frees.
    #[link_name = "_ZN2v88internal11Deoptimizer13DeoptimizeAllEPNS0_7IsolateE"]
    fn deoptimize_all(isolate: *mut u8);
}

/// Bytes of an isolate in which the flag is looked for. An isolate has 73,080, and the flag is among
/// the last six thousand.
const SEARCHED_BYTES: usize = 71 * 1024;

/// The flag of one isolate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serializer {
    flag: *mut u8,
}

impl Serializer {
    /// Finds the flag of `isolate`, which must be one that was made to be written, at `offset`.
    /// None when it is not there.
    pub(crate) fn at(isolate: &v8::Isolate, offset: usize) -> Option<Self> {
        if offset >= SEARCHED_BYTES {
            return None;
        }
        let isolate = raw::isolate(isolate);
        // SAFETY: the offset is within the isolate, which is larger.
        let flag = unsafe { isolate.add(offset) };
        governs(isolate, flag).then_some(Self { flag })
    }

    /// Where the flag lies in isolates, found by comparing one that has it set with one that has
    /// not. None unless there is exactly one such place.
    pub(crate) fn find(marked: &v8::Isolate, unmarked: &v8::Isolate) -> Option<usize> {
        let (marked, unmarked) = (raw::isolate(marked), raw::isolate(unmarked));
        let mut found = (0..SEARCHED_BYTES).filter(|offset| {
            // SAFETY: within both isolates, whose objects are larger.
            let values = unsafe { (*marked.add(*offset), *unmarked.add(*offset)) };
            // SAFETY: as above; the word is aligned since isolates are.
            let word = unsafe { *marked.add(offset & !7).cast::<u64>() };
            values == (1, 0) && !may_be_pointer(word) && {
                // SAFETY: as above.
                governs(marked, unsafe { marked.add(*offset) })
            }
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// From here on the isolate is as any other.
    pub(crate) fn clear(self) {
        // SAFETY: `at` has made sure that this is the flag, a `bool`; the process has one thread and
        // whoever holds this has the isolate.
        unsafe { *self.flag = 0 };
    }

    /// From here on the isolate may be written. No script runs in it any more.
    pub(crate) fn set(self, isolate: &v8::Isolate) {
        // V8 cannot write machine code. What its functions have, it drops when it writes them; but
        // what such code depends on refers to it as well, and may be written before.
        // SAFETY: a live isolate in which nothing is running.
        unsafe { deoptimize_all(raw::isolate(isolate)) };
        // SAFETY: as above.
        unsafe { *self.flag = 1 };
    }
}

/// Whether V8's answer depends on `flag`, which is set.
fn governs(isolate: *mut u8, flag: *mut u8) -> bool {
    // SAFETY: the function reads fields of a live isolate. While it does, at most one byte that is
    // part of no pointer is zero instead of one.
    unsafe {
        if *flag != 1 || !will_be_written(isolate) {
            return false;
        }
        *flag = 0;
        let governs = !will_be_written(isolate);
        *flag = 1;
        governs
    }
}

/// # Safety
/// `isolate` is live.
unsafe fn will_be_written(isolate: *mut u8) -> bool {
    // SAFETY: the caller's promise.
    let AssemblerOptions(words) = unsafe { assembler_options(isolate) };
    words[0].to_le_bytes()[0] == 1
}

/// Whether a word of memory looks like an address of this process's code or C++ objects.
fn may_be_pointer(word: u64) -> bool {
    word >> 48 == 0 && word >> 40 >= 0x55
}
