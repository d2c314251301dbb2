//! A faster checksum for snapshots, in the place of V8's.
//!
//! V8 computes Fletcher's sum over what it writes, byte by byte with two divisions each, and does so
//! three times in a row: for the read-only part, for the whole, and once more to check itself. That
//! is a third of the time it takes to write a small heap. Release builds never look at the sum when
//! they read a snapshot, and heaps that are kept are authenticated by stronger means.
//!
//! V8 has the function in an object file of its own. The linker takes this one for the name and
//! leaves that file out; were it ever to do otherwise, V8's own would be used and all that is lost
//! is time.

/// `v8::internal::Checksum(base::Vector<const uint8_t>)`.
///
/// # Safety
/// V8 passes the start and the length of readable memory.
#[unsafe(export_name = "_ZN2v88internal8ChecksumENS_4base6VectorIKhEE")]
unsafe extern "C" fn checksum(start: *const u8, len: usize) -> u32 {
    if len == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    let (words, rest) = bytes.as_chunks::<8>();
    // Four lanes, so that the processor does not wait for one multiplication after the other.
    let mut lanes = [1_u64, 2, 3, 4];
    for (at, word) in words.iter().enumerate() {
        let lane = &mut lanes[at % 4];
        *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
    }
    let mut sum = len as u64;
    for lane in lanes {
        sum = (sum ^ lane).wrapping_mul(FACTOR).rotate_left(31);
    }
    for byte in rest {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(FACTOR).rotate_left(31);
    }
    (sum ^ sum >> 32) as u32
}

/// Any odd number with well mixed bits: this is 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::checksum;
    use crate::testing::with_v8;

    fn of(bytes: &[u8]) -> u32 {
        // SAFETY: a live slice.
        unsafe { checksum(bytes.as_ptr(), bytes.len()) }
    }

    #[test]
    fn any_change_of_one_byte_changes_it() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1003).collect();
        let sum = of(&bytes);
        assert_eq!(of(&bytes.clone()), sum);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(of(&changed), sum, "at {at}");
        }
        assert_ne!(of(&bytes[..1002]), sum);
        assert_eq!(of(&[]), 0);
    }

    /// Where a snapshot holds its sum, and where what it covers begins.
    const SUM_AT: usize = 8;
    const COVERED_AT: usize = 12;

    #[test]
    fn v8_uses_this_one() {
        let (stored, own) = with_v8(|snapshot| {
            let stored = snapshot[SUM_AT..].first_chunk().map(|sum| u32::from_le_bytes(*sum));
            (stored, of(&snapshot[COVERED_AT..]))
        });
        assert_eq!(stored, Some(own), "V8's own, slow sum was linked in");
    }
}
