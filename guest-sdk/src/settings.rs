//! The settings of a handler or a policy.
//!
//! They are taken one by one with the `take_` functions; [`Settings::finish`] then refuses what is left. Every error
//! names the key, the value and what would be right, for the host shows it to the user as it is.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

pub use crate::duration::millis;

/// The settings that nobody has taken yet.
#[derive(Debug)]
pub struct Settings {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Settings {
    /// Starts to read these keys and values.
    ///
    /// # Errors
    /// Names a key that is there twice.
    pub fn new(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut left: Vec<(String, String)> = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if left.iter().any(|(seen, _)| *seen == key) {
                return Err(format!("the setting `{key}` is there twice: leave one of them out"));
            }
            left.push((key, value));
        }
        Ok(Self { left, known: Vec::new() })
    }

    /// Takes the value of a key as it was written; `None` where it is not set.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let index = self.left.iter().position(|(name, _)| name == key)?;
        Some(self.left.remove(index).1)
    }

    /// Takes a whole number within `range`.
    ///
    /// # Errors
    /// The value is not a whole number or lies outside `range`.
    pub fn take_u32(&mut self, key: &'static str, default: u32, range: RangeInclusive<u32>) -> Result<u32, String> {
        self.take_number(key, default, &range, "a whole number")
    }

    /// Takes a whole number within `range`.
    ///
    /// # Errors
    /// The value is not a whole number or lies outside `range`.
    pub fn take_u64(&mut self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> Result<u64, String> {
        self.take_number(key, default, &range, "a whole number")
    }

    /// Takes a number within `range`, with or without a fraction.
    ///
    /// # Errors
    /// The value is not a number or lies outside `range`.
    pub fn take_f64(&mut self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> Result<f64, String> {
        self.take_number(key, default, &range, "a number")
    }

    fn take_number<T: FromStr + PartialOrd + Display>(
        &mut self,
        key: &'static str,
        default: T,
        range: &RangeInclusive<T>,
        what: &str,
    ) -> Result<T, String> {
        let wanted = format!("{what} from {} to {}", range.start(), range.end());
        self.take_with(key, default, &wanted, |text| text.parse().ok().filter(|number| range.contains(number)))
    }

    /// Takes a duration as people write it, such as `2s`, `500ms` or `1m 30s`, of at most [`LONGEST`]. What is finer
    /// than a millisecond is cut off.
    ///
    /// # Errors
    /// The value is not a duration or is longer than [`LONGEST`].
    pub fn take_duration(&mut self, key: &'static str, default: Duration) -> Result<Duration, String> {
        self.take_with(key, default, "a duration like 2s, 500ms or 5m, at most 365days", |text| {
            let duration = humantime::parse_duration(text).ok().filter(|duration| *duration <= LONGEST)?;
            Some(Duration::from_millis(millis(duration)))
        })
    }

    /// Takes a duration as [`Settings::take_duration`] does, that lies within `range`. `wanted` says in the error what
    /// would be right: `must be {wanted}`.
    ///
    /// # Errors
    /// The value is not a duration or lies outside `range`.
    pub fn take_duration_in(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
        wanted: &str,
    ) -> Result<Duration, String> {
        let text = self.left.iter().find(|(name, _)| name == key).map(|(_, text)| text.clone());
        let duration = self.take_duration(key, default)?;
        match text {
            Some(text) if !range.contains(&duration) => Err(format!("{key} = \"{text}\": must be {wanted}")),
            _ => Ok(duration),
        }
    }

    /// Takes one of the words in `choices` and gives what stands beside it.
    ///
    /// # Errors
    /// The value is none of the words.
    pub fn take_choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&str, T)]) -> Result<T, String> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let wanted = format!("one of {}", words.join(", "));
        self.take_with(key, default, &wanted, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, one)| *one)
        })
    }

    /// Takes what `read` makes of the value, without the spaces around it; `default` where it is not set. `wanted` says
    /// in the error what would be right: `must be {wanted}`.
    ///
    /// # Errors
    /// `read` makes nothing of the value.
    pub fn take_with<T>(
        &mut self,
        key: &'static str,
        default: T,
        wanted: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, String> {
        let Some(text) = self.take(key) else { return Ok(default) };
        read(text.trim()).ok_or_else(|| format!("{key} = \"{text}\": must be {wanted}"))
    }

    /// Those of the workload that this handler runs for: the table `settings` in the host's configuration. They do not
    /// change as long as an instance lives. In a native test there are none.
    ///
    /// # Errors
    /// The host does not give them, or as [`Settings::new`].
    pub fn of_workload() -> Result<Self, String> {
        #[cfg(target_family = "wasm")]
        let pairs = crate::handler::bindings::wasi::config::store::get_all()
            .map_err(|error| format!("the settings cannot be read: {error}"))?;
        #[cfg(not(target_family = "wasm"))]
        let pairs = Vec::new();
        Self::new(pairs)
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names a key that was not taken, and the keys there are.
    pub fn finish(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some((key, value)) => {
                Err(format!("{key} = \"{value}\": there is no such setting; there are {}", self.known()))
            }
        }
    }
}

impl Settings {
    fn known(&self) -> String {
        if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") }
    }
}

/// The longest duration a setting may have: so that no sum of milliseconds overflows.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).unwrap()
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let mut none = settings(&[]);
        assert_eq!(none.take_u32("a", 7, 0..=9), Ok(7));
        assert_eq!(none.take_f64("b", 0.5, 0.0..=1.0), Ok(0.5));
        assert_eq!(none.take_duration("c", Duration::from_secs(2)), Ok(Duration::from_secs(2)));
        assert_eq!(none.take_choice("d", 'x', &[("ex", 'x'), ("why", 'y')]), Ok('x'));
        assert_eq!(none.finish(), Ok(()));
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [("2s", 2_000), ("500ms", 500), ("5m", 300_000), (" 1m 30s ", 90_000), ("0s", 0)] {
            let duration = settings(&[("d", text)]).take_duration("d", Duration::ZERO).unwrap();
            assert_eq!(millis(duration), ms, "{text}");
        }
    }

    #[test]
    fn a_duration_out_of_its_range_is_refused_as_it_was_written() {
        let range = Duration::from_secs(6)..=Duration::from_secs(3600);
        let take =
            |text: &str| settings(&[("d", text)]).take_duration_in("d", Duration::ZERO, range.clone(), "from 6s to 1h");
        assert_eq!(take("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["5s", "61m", "1ns", " 2s "] {
            assert_eq!(take(wrong).unwrap_err(), format!("d = \"{wrong}\": must be from 6s to 1h"));
        }
        assert!(take("soon").unwrap_err().contains("must be a duration like"));
    }

    #[test]
    fn an_error_names_the_key_the_value_and_what_would_be_right() {
        let mut bad = settings(&[("n", "10"), ("f", "NaN"), ("d", "2"), ("l", "366days"), ("c", "z")]);
        assert_eq!(bad.take_u32("n", 0, 0..=9).unwrap_err(), "n = \"10\": must be a whole number from 0 to 9");
        assert_eq!(bad.take_f64("f", 0.0, 0.0..=1.0).unwrap_err(), "f = \"NaN\": must be a number from 0 to 1");
        let wrong = "must be a duration like 2s, 500ms or 5m, at most 365days";
        assert_eq!(bad.take_duration("d", Duration::ZERO).unwrap_err(), format!("d = \"2\": {wrong}"));
        assert_eq!(bad.take_duration("l", Duration::ZERO).unwrap_err(), format!("l = \"366days\": {wrong}"));
        assert_eq!(bad.take_choice("c", 0, &[("x", 0), ("y", 1)]).unwrap_err(), "c = \"z\": must be one of x, y");
    }

    #[test]
    fn a_setting_that_is_not_known_or_there_twice_is_refused() {
        let mut settings = settings(&[("works", "1")]);
        assert_eq!(settings.take_u32("workers", 1, 0..=9), Ok(1));
        assert_eq!(settings.take_u32("rate", 1, 0..=9), Ok(1));
        let error = settings.finish().unwrap_err();
        assert_eq!(error, "works = \"1\": there is no such setting; there are workers, rate");

        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        let error = Settings::new(twice).unwrap_err();
        assert_eq!(error, "the setting `a` is there twice: leave one of them out");
    }
}
