//! Numbers and times of flags, within their ranges.

use std::time::Duration;

use super::super::positive;
use tidegate_lab::simulate::generate::LONGEST;
use tidegate_runtime::config::units;

/// The longest that a worker may take to start: as long as a message may take.
const SLOWEST: Duration = Duration::from_secs(10 * 24 * 3600);

pub(super) fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("it must be a number from {} to {}", range.start(), range.end()))
}

pub(super) fn generated(text: &str) -> Result<Duration, String> {
    let duration = positive(text)?;
    if duration <= LONGEST { Ok(duration) } else { Err("it must be at most 366days".to_owned()) }
}

pub(super) fn start_delay(text: &str) -> Result<Duration, String> {
    let delay = units::duration(text).map_err(|wrong| wrong.to_string())?;
    if delay <= SLOWEST { Ok(delay) } else { Err("it must be at most 10days".to_owned()) }
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text).map_err(|wrong| wrong.to_string())?;
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    if range.contains(&interval) { Ok(interval) } else { Err("it must be from 10ms to 1h".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_made_for_a_year_at_most() {
        assert_eq!(generated("366days"), Ok(LONGEST));
        for wrong in ["1000000h", "367days", "0s", "soon"] {
            assert!(generated(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_worker_takes_ten_days_to_start_at_most() {
        assert_eq!((start_delay("0s"), start_delay("240h")), (Ok(Duration::ZERO), Ok(SLOWEST)));
        assert_eq!(start_delay("10000000000h").unwrap_err(), "it must be at most 10days");
    }
}
