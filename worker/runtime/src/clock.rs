//! The two clocks of a job: wall time and the CPU time of the process.

use rustix::time::{ClockId, clock_gettime};

/// Readings taken when a job arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    wall_us: u64,
    cpu_us: u64,
}

impl Started {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self { wall_us: read(ClockId::Monotonic), cpu_us: read(ClockId::ProcessCPUTime) }
    }

    /// Wall clock since, in microseconds.
    pub(crate) fn wall_us(self) -> u64 {
        read(ClockId::Monotonic).saturating_sub(self.wall_us)
    }

    /// CPU time of the process since, in microseconds.
    pub(crate) fn cpu_us(self) -> u64 {
        read(ClockId::ProcessCPUTime).saturating_sub(self.cpu_us)
    }
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}
