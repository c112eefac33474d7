//! Numbers and times of flags, within their ranges.

use std::time::Duration;

use tidegate_runtime::config::units;

pub(super) fn number(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("it must be a number from {} to {}", range.start(), range.end()))
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let interval = units::duration(text).map_err(|wrong| wrong.to_string())?;
    let range = Duration::from_millis(10)..=Duration::from_secs(3600);
    if range.contains(&interval) { Ok(interval) } else { Err("it must be from 10ms to 1h".to_owned()) }
}
