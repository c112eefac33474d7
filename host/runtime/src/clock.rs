//! The clocks that can be wrong, or that stand still: the one place that reads them. What decides is given the time.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// The time of day, as the operating system has it. It may be set back.
#[expect(clippy::disallowed_methods, reason = "everything else calls this")]
pub fn time_of_day() -> SystemTime {
    SystemTime::now()
}

/// A moment, to measure from. Nobody can set this clock, and it goes on while the machine is suspended.
#[derive(Debug, Clone, Copy)]
pub struct Since(Duration);

impl Since {
    /// From now on.
    pub fn now() -> Self {
        Self(since_boot())
    }

    /// The time that has passed.
    pub(crate) fn elapsed(self) -> Duration {
        since_boot().saturating_sub(self.0)
    }
}

fn since_boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Apple's goes on in a suspend under this name.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
    // Never negative.
    clock_gettime(CLOCK).try_into().unwrap_or_default()
}
