//! Every bound of the wire, with its unit in its name.
//!
//! Bounds that both sides must agree on live here and nowhere else. A value equal to a bound is
//! accepted, one past it is refused.

/// Bytes of the fixed frame header.
pub const FRAME_HEADER_BYTES: usize = 8;

/// Bytes of source code in one job: 16 MiB.
pub const CODE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of an execution id.
pub const EXECUTION_ID_BYTES_MAX: usize = 64;

/// Payload bytes of a frame to a worker: the largest job and room for its other fields.
pub const TO_WORKER_PAYLOAD_BYTES_MAX: usize = CODE_BYTES_MAX + 64 * 1024;

/// Payload bytes of a frame from a worker: the largest result, message and stack together.
pub const FROM_WORKER_PAYLOAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of console text in one frame.
pub const CONSOLE_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Bytes of the text of a script's result. Longer ones are cut and marked.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of an error message. Longer ones are cut.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a stack trace. Longer ones are cut.
pub const STACK_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a heap that is kept: 512 MiB. V8 counts the parts of a snapshot in 31 bits.
pub const HEAP_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of an artifact's name.
pub const ARTIFACT_KEY_BYTES_MAX: usize = 256;

/// Bytes of an artifact's media type.
pub const ARTIFACT_TYPE_BYTES_MAX: usize = 127;

/// Bytes of one artifact: 16 MiB.
pub const ARTIFACT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Artifacts that one execution leaves.
pub const ARTIFACTS_MAX: usize = 32;

/// Bytes of all artifacts that one execution leaves: 32 MiB. They are in the supervisor's memory until
/// it has ended.
pub const ARTIFACTS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Bytes of an artifact in one frame.
pub const ARTIFACT_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Engines whose heaps one worker can restore.
pub const HEAP_ENGINES_MAX: usize = 16;

/// Native stack of a worker's one thread, in bytes, unless the hard limit is lower. Deeply nested
/// source needs it; V8 itself stays far below.
pub const WORKER_STACK_BYTES: u64 = 64 * 1024 * 1024;

/// Memory of the process beside the job's heap and buffers, in bytes: V8's own structures, the
/// room its garbage collector and the end of an over-full heap need, stacks.
pub const MEMORY_SLACK_BYTES: u64 = 256 * 1024 * 1024;

/// Memory that reading the source takes, in bytes per byte of source. The densest JavaScript that
/// was measured (16 MiB of `a=>1;` or `{}`) takes 168, the densest TypeScript 195; ordinary code a
/// fifth of that.
pub const MEMORY_BYTES_PER_CODE_BYTE: u64 = 200;

/// The most memory that reading any source may take, in bytes: ordinary code of 16 MiB needs less,
/// and a few megabytes of the densest must not cost an operator many gigabytes.
pub const SOURCE_MEMORY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Memory that writing a heap takes beside the heap itself, in bytes per byte of what is written.
pub const MEMORY_BYTES_PER_HEAP_BYTE: u64 = 6;

/// Memory put by for saying that there is no more, in bytes.
pub const MEMORY_RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// Memory that the kernel keeps for one worker beside its page tables, in bytes: sockets, descriptors,
/// its own stack, and what a control group counts ahead on each processor.
pub const MEMORY_OF_KERNEL_BYTES: u64 = 32 * 1024 * 1024;

/// The user and group that own nothing, on every Linux.
pub const NOBODY_ID: u32 = 65534;

/// Descriptors that go with the first byte of one frame, in either direction.
pub const FRAME_DESCRIPTORS_MAX: usize = 2;

// The largest legal message of each direction fits its frame.
const _: () = assert!(RESULT_BYTES_MAX + 64 * 1024 < FROM_WORKER_PAYLOAD_BYTES_MAX);
const _: () = assert!(CONSOLE_CHUNK_BYTES_MAX + 1024 < FROM_WORKER_PAYLOAD_BYTES_MAX);
const _: () = assert!(ARTIFACT_CHUNK_BYTES_MAX + 1024 < FROM_WORKER_PAYLOAD_BYTES_MAX);
const _: () = assert!(CODE_BYTES_MAX + 1024 < TO_WORKER_PAYLOAD_BYTES_MAX);
const _: () = assert!(TO_WORKER_PAYLOAD_BYTES_MAX <= u32::MAX as usize);

/// Cuts `text` to at most `bytes_max` bytes at a character boundary and says whether it did.
pub fn cut(text: &mut String, bytes_max: usize) -> bool {
    if text.len() <= bytes_max {
        return false;
    }
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
    true
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cut_keeps_at_the_bound_and_cuts_one_past_it() {
        let mut at = "abcd".to_owned();
        assert!(!cut(&mut at, 4));
        assert_eq!(at, "abcd");
        let mut past = "abcde".to_owned();
        assert!(cut(&mut past, 4));
        assert_eq!(past, "abcd");
    }

    #[test]
    fn cut_never_splits_a_character() {
        let mut text = "aé€😀".to_owned();
        assert!(cut(&mut text, 5));
        assert_eq!(text, "aé");
    }
}
