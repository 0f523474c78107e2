//! Clocks: the time of day for tokens and log lines, and the CPU time of this process.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a program's own clock, for real servers only")]
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Nanoseconds of CPU time that all threads of this process have used, in user mode and in the
/// kernel.
pub(crate) fn cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(used.tv_nsec).unwrap_or_default()
}
