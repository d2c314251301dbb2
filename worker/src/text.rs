//! The program's own code on huge pages.
//!
//! A child of a template touches code all over the program. With pages of 4 KiB every execution
//! pays a page fault for each bit of it and for unmapping it again, which together cost more than
//! the script; with pages of 2 MiB a child inherits the mapping and pays next to nothing. So the
//! template copies its code into anonymous memory, has the kernel back that by huge pages, and moves
//! it to where the code was. The bytes and their protection are the same as before.
//!
//! It costs each template the size of the code in memory. Where the kernel gives no huge pages
//! nothing changes.

use std::io::Error;

/// Bytes of a huge page, on both processors that are supported.
const HUGE_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// Why the code stayed where it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    #[error("the program's code is not found")]
    NotFound,
    #[error("{call}: {error}")]
    Kernel { call: &'static str, error: Error },
}

/// Moves the code.
///
/// # Errors
/// [`TextError`]; everything is as it was then.
pub(crate) fn move_to_huge_pages() -> Result<(), TextError> {
    let (from, bytes) = code().ok_or(TextError::NotFound)?;
    let start = from.next_multiple_of(HUGE_PAGE_BYTES);
    let end = (from + bytes) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    let len = end.checked_sub(start).filter(|len| *len > 0).ok_or(TextError::NotFound)?;
    let copy = Copy::new(len)?;
    // SAFETY: the source is mapped code that nothing writes to, the target is as long and our own.
    unsafe {
        std::ptr::copy_nonoverlapping(start as *const u8, copy.aligned as *mut u8, len);
    }
    // It fails unless every page is a huge one in the end.
    // SAFETY: advice on a mapping of our own.
    let collapsed = unsafe { libc::madvise(copy.aligned as *mut _, len, libc::MADV_COLLAPSE) };
    check("madvise(MADV_COLLAPSE)", collapsed)?;
    // SAFETY: a mapping of our own that nothing refers to yet.
    let protected =
        unsafe { libc::mprotect(copy.aligned as *mut _, len, libc::PROT_READ | libc::PROT_EXEC) };
    check("mprotect", protected)?;
    // SAFETY: the code is replaced by the same bytes with the same protection in one step; the
    // process has one thread, and the call itself is in another library.
    let moved = unsafe {
        libc::mremap(
            copy.aligned as *mut _,
            len,
            len,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            start as *mut libc::c_void,
        )
    };
    check("mremap", if moved == libc::MAP_FAILED { -1 } else { 0 })
}

/// A mapping that holds `len` bytes on a huge page's boundary. What is left of it is unmapped.
struct Copy {
    mapped: usize,
    aligned: usize,
    len: usize,
}

impl Copy {
    fn new(len: usize) -> Result<Self, TextError> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let whole = len + HUGE_PAGE_BYTES;
        // SAFETY: a new mapping wherever the kernel likes.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), whole, protection, flags, -1, 0) };
        check("mmap", if mapped == libc::MAP_FAILED { -1 } else { 0 })?;
        let mapped = mapped as usize;
        let copy = Self { mapped, aligned: mapped.next_multiple_of(HUGE_PAGE_BYTES), len };
        // SAFETY: advice on a mapping of our own.
        let advised = unsafe { libc::madvise(copy.aligned as *mut _, len, libc::MADV_HUGEPAGE) };
        check("madvise(MADV_HUGEPAGE)", advised)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: all of this range was mapped by `new`; the part that was moved away is a hole, and
        // nothing has been mapped since.
        unsafe { libc::munmap(self.mapped as *mut _, self.len + HUGE_PAGE_BYTES) };
    }
}

fn check(call: &'static str, returned: libc::c_int) -> Result<(), TextError> {
    if returned == 0 {
        Ok(())
    } else {
        Err(TextError::Kernel { call, error: Error::last_os_error() })
    }
}

/// Address and length of the program's code, from its program headers.
fn code() -> Option<(usize, usize)> {
    let mut found: Option<(usize, usize)> = None;
    // SAFETY: the callback gets what it expects, and `found` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(first_program), (&raw mut found).cast()) };
    found
}

/// Looks at the program itself, which comes first, and ends the iteration.
unsafe extern "C" fn first_program(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: libc passes a valid description, and `found` is what `code` passed.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Option<(usize, usize)>>()) };
    // SAFETY: the headers are in memory for as long as the program is.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let address = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
            *found = Some((address, header.p_memsz as usize));
        }
    }
    1
}
