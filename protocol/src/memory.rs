//! What the process of a job may have of the machine's memory.
//!
//! # Contract
//! * Two bounds, the kernel's both. The worker sets the one on its data itself and is told when it
//!   is reached; the other is of a control group around the process, where there is one, and ends it.
//! * V8 keeps its own count of heap and buffers and ends more gracefully. The bound on data catches
//!   what V8 does not count, such as resizable buffers and the memories of WebAssembly; that of the
//!   group also what is not data: the stack, files in memory, and what the kernel keeps for the process.
//! * The second is never reached before the first by memory that the first counts.

use crate::limits::{
    MEMORY_BYTES_PER_CODE_BYTE, MEMORY_BYTES_PER_HEAP_BYTE, MEMORY_OF_KERNEL_BYTES,
    MEMORY_RESERVE_BYTES, MEMORY_SLACK_BYTES, SOURCE_MEMORY_BYTES_MAX, WORKER_STACK_BYTES,
};
use crate::message::{Job, JobHeap};

/// The bounds of one job, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Data, as `RLIMIT_DATA` counts it, while there is a script.
    pub data: u64,
    /// Data once it has been reached, so that the process can say so.
    pub data_with_reserve: u64,
    /// Everything, as a control group counts it.
    pub group: u64,
}

impl Job {
    /// What the process of this job may have.
    #[must_use]
    pub fn memory_bounds(&self) -> MemoryBounds {
        let for_source = (self.code.len() as u64)
            .saturating_mul(MEMORY_BYTES_PER_CODE_BYTE)
            .min(SOURCE_MEMORY_BYTES_MAX);
        let live = self.limits.heap_bytes.saturating_add(self.limits.buffer_bytes);
        let written = |heap: JobHeap| live.min(heap.bytes_max);
        let for_saving = |heap| written(heap).saturating_mul(MEMORY_BYTES_PER_HEAP_BYTE);
        let data = live
            .saturating_add(for_source)
            .saturating_add(self.heap.map_or(0, for_saving))
            .saturating_add(MEMORY_SLACK_BYTES);
        let data_with_reserve = data.saturating_add(MEMORY_RESERVE_BYTES);
        // A page table entry has eight bytes for a page of 4096.
        let page_tables = data_with_reserve / 512;
        let group = data_with_reserve
            .saturating_add(page_tables)
            .saturating_add(WORKER_STACK_BYTES)
            .saturating_add(self.heap.map_or(0, |heap| heap.bytes_max))
            .saturating_add(MEMORY_OF_KERNEL_BYTES);
        MemoryBounds { data, data_with_reserve, group }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::JobLimits;

    const MIB: u64 = 1024 * 1024;

    fn job(code_bytes: usize, heap: Option<JobHeap>) -> Job {
        let limits = JobLimits {
            heap_bytes: 8 * MIB,
            buffer_bytes: 16 * MIB,
            console_bytes: 0,
            cpu_secs: 1,
        };
        let code = " ".repeat(code_bytes).into();
        Job { execution_id: String::new(), attempt: 1, code, limits, heap }
    }

    #[test]
    fn data_is_heap_buffers_source_and_slack() {
        let bounds = job(100, None).memory_bounds();
        assert_eq!(bounds.data, 24 * MIB + 100 * MEMORY_BYTES_PER_CODE_BYTE + MEMORY_SLACK_BYTES);
        assert_eq!(bounds.data_with_reserve, bounds.data + MEMORY_RESERVE_BYTES);
    }

    #[test]
    fn source_takes_no_more_than_its_bound() {
        let most = (SOURCE_MEMORY_BYTES_MAX / MEMORY_BYTES_PER_CODE_BYTE) as usize;
        let at = job(most, None).memory_bounds().data;
        let past = job(most + 1, None).memory_bounds().data;
        assert!(at <= past && past == job(most + 1000, None).memory_bounds().data);
    }

    #[test]
    fn a_heap_that_is_kept_takes_what_may_be_written_of_it() {
        let kept = |bytes_max| Some(JobHeap { base_bytes: None, bytes_max });
        let without = job(0, None).memory_bounds();
        let little = job(0, kept(MIB)).memory_bounds();
        assert_eq!(little.data, without.data + MEMORY_BYTES_PER_HEAP_BYTE * MIB);
        let much = job(0, kept(512 * MIB)).memory_bounds();
        assert_eq!(much.data, without.data + MEMORY_BYTES_PER_HEAP_BYTE * 24 * MIB);
    }

    #[test]
    fn the_group_has_room_for_all_that_is_data_and_for_the_rest() {
        for heap in [None, Some(JobHeap { base_bytes: Some(1), bytes_max: 100 * MIB })] {
            let bounds = job(1, heap).memory_bounds();
            let rest = WORKER_STACK_BYTES + heap.map_or(0, |heap| heap.bytes_max);
            assert!(bounds.group > bounds.data_with_reserve + rest, "{bounds:?}");
            assert!(bounds.group < bounds.data_with_reserve + rest + 64 * MIB, "{bounds:?}");
        }
    }
}
