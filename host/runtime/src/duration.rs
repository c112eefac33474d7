//! Durations as the whole numbers that they are written and counted as. What is finer is cut off, and what is too long
//! is the largest number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// In milliseconds.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// In microseconds.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A time of day in milliseconds since the Unix epoch; 0 before it.
pub(crate) fn unix_millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}
