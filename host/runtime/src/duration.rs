//! Durations as the whole numbers that they are written and counted as, and times of day as texts. What is finer is cut
//! off, and what is too long is the largest number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first second since the Unix epoch that RFC 3339 has no form for: its years have four digits.
const YEAR_10000: u64 = 253_402_300_800;

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

/// Whether a time of day can be told as RFC 3339 has it: not before 1970, nor from the year 10000 on.
pub fn has_rfc3339(at: SystemTime) -> bool {
    at.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < YEAR_10000)
}

/// A time of day as RFC 3339 has it, to the second; `None` if it [has no such form](has_rfc3339).
pub fn rfc3339_seconds(at: SystemTime) -> Option<String> {
    has_rfc3339(at).then(|| humantime::format_rfc3339_seconds(at).to_string())
}

/// The same to the millisecond.
pub fn rfc3339_millis(at: SystemTime) -> Option<String> {
    has_rfc3339(at).then(|| humantime::format_rfc3339_millis(at).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_without_a_form_is_not_told() {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let last = at(YEAR_10000 * 1000 - 1);
        assert_eq!(rfc3339_seconds(last).unwrap(), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339_millis(last).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339_millis(UNIX_EPOCH).unwrap(), "1970-01-01T00:00:00.000Z");
        for without in [at(YEAR_10000 * 1000), at(u64::MAX), UNIX_EPOCH - Duration::from_nanos(1)] {
            assert_eq!((rfc3339_seconds(without), rfc3339_millis(without)), (None, None));
        }
    }
}
