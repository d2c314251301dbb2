//! The clocks of a job: wall time and the CPU time of the process, exact for the record, coarse for
//! the script.

use rustix::time::{ClockId, clock_gettime};

use crate::limits::CLOCK_RESOLUTION_US;

/// Readings taken when a job arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    wall_us: u64,
    cpu_us: u64,
    unix_us: u64,
}

impl Started {
    /// Reads the clocks, at the same moment: a process that is made to wait between the readings of two would
    /// have them apart by that for its whole job.
    pub(crate) fn now() -> Self {
        const TRIES: usize = 8;
        let cpu_us = read(ClockId::ProcessCPUTime);
        let reading = || {
            let (wall_us, unix_us) = (read(ClockId::Monotonic), unix_us());
            (read(ClockId::Monotonic) - wall_us, Self { wall_us, cpu_us, unix_us })
        };
        let mut best = reading();
        for _ in 1..TRIES {
            if best.0 <= CLOCK_RESOLUTION_US {
                break;
            }
            let again = reading();
            if again.0 < best.0 {
                best = again;
            }
        }
        best.1
    }

    /// Wall clock since, in microseconds.
    pub(crate) fn wall_us(self) -> u64 {
        read(ClockId::Monotonic).saturating_sub(self.wall_us)
    }

    /// CPU time of the process since, in microseconds.
    pub(crate) fn cpu_us(self) -> u64 {
        read(ClockId::ProcessCPUTime).saturating_sub(self.cpu_us)
    }

    /// The time of day it was then, in microseconds since 1970.
    pub(crate) fn unix_us(self) -> u64 {
        self.unix_us
    }
}

/// The time of day, in microseconds since 1970.
pub(crate) fn unix_us() -> u64 {
    read(ClockId::Realtime)
}

/// A reading as scripts may have it.
pub(crate) fn coarse(us: u64) -> u64 {
    us - us % CLOCK_RESOLUTION_US
}

/// Microseconds as the milliseconds that scripts count in.
pub(crate) fn milliseconds(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::coarse;
    use crate::limits::CLOCK_RESOLUTION_US;

    #[test]
    fn readings_are_rounded_down() {
        assert_eq!(CLOCK_RESOLUTION_US, 100);
        for (us, expected) in [(0, 0), (99, 0), (100, 100), (101, 100), (199, 100), (200, 200)] {
            assert_eq!(coarse(us), expected);
        }
    }
}
