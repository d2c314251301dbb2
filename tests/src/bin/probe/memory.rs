//! Attempts to have more memory than the job may.

use mcp_v8_protocol::Job;
use mcp_v8_protocol::limits::{MEMORY_RESERVE_BYTES, MEMORY_SLACK_BYTES};
use rustix::io::Errno;

use crate::attempt::{in_words, raw};

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;
const PAGE_BYTES: usize = 4096;

/// Past every limit that the job brings, the reserve included.
fn too_much(job: &Job) -> usize {
    let job = job.limits.heap_bytes + job.limits.buffer_bytes;
    (job + 2 * (MEMORY_SLACK_BYTES + MEMORY_RESERVE_BYTES)) as usize
}

fn map(bytes: usize, protection: i32, flags: i32) -> Result<usize, Errno> {
    let arguments = [0, bytes, protection as usize, flags as usize, usize::MAX, 0];
    raw(libc::SYS_mmap, arguments)
}

fn protect(at: usize, bytes: usize, protection: i32) -> Result<usize, Errno> {
    raw(libc::SYS_mprotect, [at, bytes, protection as usize])
}

/// A megabyte, used; then code in it.
pub fn ordinary() -> String {
    const BYTES: usize = 1 << 20;
    let used = map(BYTES, READ_WRITE, ANONYMOUS).and_then(|at| {
        // SAFETY: it is our own mapping of that size.
        unsafe { std::ptr::write_bytes(at as *mut u8, 1, BYTES) };
        protect(at, BYTES, libc::PROT_READ | libc::PROT_EXEC)
    });
    in_words(used)
}

/// A mapping with further flags.
pub fn with(flags: i32) -> String {
    in_words(map(PAGE_BYTES, READ_WRITE, ANONYMOUS | flags))
}

/// Memory shared with whoever is forked.
pub fn shared() -> String {
    in_words(map(PAGE_BYTES, READ_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS))
}

/// More than there is.
pub fn past_the_limit(job: &Job) -> String {
    in_words(map(too_much(job), READ_WRITE, ANONYMOUS))
}

/// The same without a promise of the kernel to have it.
pub fn not_reserved(job: &Job) -> String {
    in_words(map(too_much(job), READ_WRITE, ANONYMOUS | libc::MAP_NORESERVE))
}

/// The same as a stack, which has a limit of its own.
pub fn as_a_stack(job: &Job) -> String {
    in_words(map(too_much(job), READ_WRITE, ANONYMOUS | libc::MAP_GROWSDOWN))
}

/// First addresses, then the right to write to them.
pub fn made_writable(job: &Job) -> String {
    let bytes = too_much(job);
    let at = map(bytes, libc::PROT_NONE, ANONYMOUS).expect("addresses are not memory");
    in_words(protect(at, bytes, READ_WRITE))
}

/// A little that grows.
pub fn grown(job: &Job) -> String {
    let at = map(PAGE_BYTES, READ_WRITE, ANONYMOUS).expect("a page");
    let flags = libc::MREMAP_MAYMOVE as usize;
    in_words(raw(libc::SYS_mremap, [at, PAGE_BYTES, too_much(job), flags]))
}

/// The same by the end of the data segment.
pub fn by_brk(job: &Job) -> String {
    let end = raw(libc::SYS_brk, [0]).expect("where it ends");
    let wanted = end + too_much(job);
    let grown = raw(libc::SYS_brk, [wanted]) == Ok(wanted);
    in_words(if grown { Ok(()) } else { Err(Errno::NOMEM) })
}

/// Pieces that are filled and made read-only one after the other, since what cannot be written to is
/// not counted. A page of each is used, as an example.
pub fn in_read_only_pieces(job: &Job) -> String {
    const PIECES: usize = 16;
    let bytes = too_much(job).next_multiple_of(PIECES * PAGE_BYTES) / PIECES;
    let pieces = (0..PIECES).try_for_each(|_| {
        let at = map(bytes, READ_WRITE, ANONYMOUS)?;
        // SAFETY: it is our own mapping, of at least a page.
        unsafe { std::ptr::write_bytes(at as *mut u8, 1, PAGE_BYTES) };
        protect(at, bytes, libc::PROT_READ).map(drop)
    });
    in_words(pieces)
}

/// Raises one of its own limits past what was set for it.
pub fn raise(resource: libc::__rlimit_resource_t) -> String {
    let unlimited = [u64::MAX; 2];
    let limit = &raw const unlimited as usize;
    in_words(raw(libc::SYS_prlimit64, [0, resource as usize, limit, 0]))
}
