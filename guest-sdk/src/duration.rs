use std::time::Duration;

/// A duration in whole milliseconds; what is finer is cut off.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
