//! Durations and sizes as people write them.

use std::time::Duration;

use super::error::Wrong;

/// What a size may end in, and its bytes.
const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// Reads `5s`, `250ms`, `1m 30s`.
///
/// # Errors
/// No unit, an unknown unit, a sign, or more than fits.
pub fn duration(text: &str) -> Result<Duration, Wrong> {
    let text = text.trim();
    let shown = quoted(text);
    let remedy = "write a number and a unit (ms, s, m, h), such as \"5s\" or \"250ms\"";
    if text.starts_with('-') {
        return Err(Wrong::new(format!("{shown} is negative"), "write a duration of zero or more, such as \"5s\""));
    }
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(Wrong::new(format!("{shown} has no unit"), remedy));
    }
    humantime::parse_duration(text).map_err(|error| match error {
        humantime::DurationError::UnknownUnit { unit, .. } if !unit.is_empty() => {
            Wrong::new(format!("{shown} has the unknown unit {}", quoted(&unit)), remedy)
        }
        humantime::DurationError::NumberOverflow => Wrong::new(format!("{shown} is too large"), remedy),
        _ => Wrong::new(format!("{shown} is not a duration"), remedy),
    })
}

/// Reads `64MiB`, `512 kB`: a whole number and one of B, kB, KiB, MB, MiB, GB, GiB. Gives bytes.
///
/// # Errors
/// No unit, an unknown unit, not a whole number, or more than fits.
pub fn size(text: &str) -> Result<u64, Wrong> {
    let text = text.trim();
    let shown = quoted(text);
    let remedy = "write a whole number and a unit (B, kB, KiB, MB, MiB, GB, GiB), such as \"64MiB\"";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    if number.is_empty() || unit.starts_with('.') {
        return Err(Wrong::new(format!("{shown} is not a size"), remedy));
    }
    if unit.is_empty() {
        return Err(Wrong::new(format!("{shown} has no unit"), remedy));
    }
    let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        let near = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let remedy = near.map_or_else(|| remedy.to_owned(), |(name, _)| format!("write \"{number}{name}\""));
        return Err(Wrong::new(format!("{shown} has the unknown unit {}", quoted(unit)), remedy));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*bytes))
        .ok_or_else(|| Wrong::new(format!("{shown} is too large"), "write a smaller size, such as \"64MiB\""))
}

/// What a rate may be of, and how long that is.
const PERIODS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

/// The most events of a rate.
const MOST_EVENTS: u32 = 1_000_000;

/// Reads `500/s`, `30/m`, `10/h`: a whole number from 1 to 1,000,000 in a second, a minute or an hour. Gives the time
/// from one event to the next, rounded up to a nanosecond.
///
/// # Errors
/// No number, no period, an unknown period, or a number out of the range.
pub fn rate(text: &str) -> Result<Duration, Wrong> {
    let text = text.trim();
    let shown = quoted(text);
    let remedy = "write a whole number in a second, a minute or an hour: \"500/s\", \"30/m\", \"10/h\"";
    let Some((number, period)) = text.split_once('/') else {
        return Err(Wrong::new(format!("{shown} is not a rate"), remedy));
    };
    let (number, period) = (number.trim(), period.trim());
    let Some((_, period)) = PERIODS.iter().find(|(name, _)| *name == period) else {
        return Err(Wrong::new(format!("{shown} has the unknown period {}", quoted(period)), remedy));
    };
    let Ok(number) = number.parse::<u64>() else {
        return Err(Wrong::new(format!("{shown} is not a whole number in a time"), remedy));
    };
    match u32::try_from(number) {
        Ok(0) => Err(Wrong::new(
            format!("{shown} lets nothing begin"),
            "write a rate of 1 or more; `paused = true` lets nothing begin",
        )),
        Ok(number) if number <= MOST_EVENTS => {
            let nanos = period.as_nanos().div_ceil(u128::from(number));
            Ok(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
        }
        _ => Err(Wrong::new(format!("{shown} is too large"), "it can be 1/h to 1000000/s")),
    }
}

/// A duration as [`duration`] reads it.
pub fn show_duration(duration: &Duration) -> String {
    humantime::format_duration(*duration).to_string()
}

/// A size as [`size`] reads it, in the largest binary unit that shows it whole.
pub fn show_size(bytes: &u64) -> String {
    let binary = UNITS.iter().rev().filter(|(name, _)| name.contains('i'));
    let unit = binary.into_iter().find(|(_, unit)| *bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Text from a user, on one line and not endless, in quotes.
pub(super) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut short: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration(" 0s ").unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_duration_that_is_wrong_says_why() {
        for (text, problem) in [
            ("5", "has no unit"),
            ("-5s", "is negative"),
            ("5 parsecs", "unknown unit \"parsecs\""),
            ("", "is not a duration"),
            ("soon", "is not a duration"),
            ("99999999999999999999s", "is too large"),
        ] {
            let wrong = duration(text).unwrap_err();
            assert!(wrong.problem.contains(problem), "{text}: {wrong}");
        }
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        assert_eq!(size("64MiB").unwrap(), 64 << 20);
        assert_eq!(size("64 KiB").unwrap(), 64 << 10);
        assert_eq!(size("2GB").unwrap(), 2_000_000_000);
        assert_eq!(size("7kB").unwrap(), 7_000);
        assert_eq!(size("0B").unwrap(), 0);
    }

    #[test]
    fn a_size_that_is_wrong_says_why() {
        for (text, problem) in [
            ("64", "has no unit"),
            ("64 bananas", "unknown unit \"bananas\""),
            ("MiB", "is not a size"),
            ("1.5GiB", "is not a size"),
            ("-1MiB", "is not a size"),
            ("99999999999GiB", "is too large"),
        ] {
            let wrong = size(text).unwrap_err();
            assert!(wrong.problem.contains(problem), "{text}: {wrong}");
        }
        assert_eq!(size("64mib").unwrap_err().remedy, "write \"64MiB\"");
    }

    #[test]
    fn a_rate_is_so_many_in_a_time() {
        assert_eq!(rate("500/s").unwrap(), Duration::from_millis(2));
        assert_eq!(rate(" 30 / m ").unwrap(), Duration::from_secs(2));
        assert_eq!(rate("1/h").unwrap(), Duration::from_secs(3600));
        assert_eq!(rate("1000000/s").unwrap(), Duration::from_micros(1));
        // Never more in the time than was said.
        assert_eq!(rate("3/s").unwrap(), Duration::from_nanos(333_333_334));
    }

    #[test]
    fn a_rate_that_is_wrong_says_why() {
        for (text, problem) in [
            ("500", "is not a rate"),
            ("", "is not a rate"),
            ("500/day", "unknown period \"day\""),
            ("500/", "unknown period \"\""),
            ("0/s", "lets nothing begin"),
            ("-1/s", "is not a whole number"),
            ("0.5/s", "is not a whole number"),
            ("1000001/s", "is too large"),
            ("99999999999/s", "is too large"),
        ] {
            let wrong = rate(text).unwrap_err();
            assert!(wrong.problem.contains(problem), "{text}: {wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_shown_is_read_back_as_it_was(millis in 0u64..=1_000_000_000_000) {
            let given = Duration::from_millis(millis);
            prop_assert_eq!(duration(&show_duration(&given)), Ok(given));
        }

        #[test]
        fn a_size_shown_is_read_back_as_it_was(bytes in any::<u64>()) {
            prop_assert_eq!(size(&show_size(&bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_units_panic(text in any::<String>()) {
            let _ = duration(&text);
            let _ = size(&text);
            let _ = rate(&text);
        }
    }
}
