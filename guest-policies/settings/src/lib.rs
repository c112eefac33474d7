//! Reads the settings of a policy and keeps them in its state.
//!
//! A policy takes its settings one by one with the `take_` functions and then calls [`Settings::finish`], which
//! refuses what is left. Every error names the key, the value and what would be right, for the host shows it to the
//! user as it is.
//!
//! Every call of a policy runs in a fresh instance, so `decide` knows the settings only from the state that `init`
//! made of them. [`encode`] and [`decode`] write a state as one line of text, which [`Settings`] can read again.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

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
        let Some(text) = self.take(key) else {
            return Ok(default);
        };
        match text.trim().parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(format!("{key} = \"{text}\": must be {what} from {} to {}", range.start(), range.end())),
        }
    }

    /// Takes a duration as people write it, such as `2s`, `500ms` or `1m 30s`, of at most [`LONGEST`]. What is finer
    /// than a millisecond is cut off.
    ///
    /// # Errors
    /// The value is not a duration or is longer than [`LONGEST`].
    pub fn take_duration(&mut self, key: &'static str, default: Duration) -> Result<Duration, String> {
        let Some(text) = self.take(key) else {
            return Ok(default);
        };
        match humantime::parse_duration(text.trim()) {
            Ok(duration) if duration <= LONGEST => Ok(Duration::from_millis(millis(duration))),
            _ => Err(format!("{key} = \"{text}\": must be a duration like 2s, 500ms or 5m, at most 365days")),
        }
    }

    /// Takes one of the words in `choices` and gives what stands beside it.
    ///
    /// # Errors
    /// The value is none of the words.
    pub fn take_choice<T: Copy>(&mut self, key: &'static str, default: T, choices: &[(&str, T)]) -> Result<T, String> {
        let Some(text) = self.take(key) else {
            return Ok(default);
        };
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text.trim()) {
            return Ok(*choice);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        Err(format!("{key} = \"{text}\": must be one of {}", words.join(", ")))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names a key that was not taken, and the keys there are.
    pub fn finish(self) -> Result<(), String> {
        match self.left.first() {
            None => Ok(()),
            Some((key, value)) => {
                Err(format!("{key} = \"{value}\": there is no such setting; there are {}", self.known.join(", ")))
            }
        }
    }
}

/// The longest duration a setting may have: so that no sum of milliseconds overflows.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A duration in whole milliseconds; what is finer is cut off.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a state: the name and version of its form, then keys and values, with spaces between.
///
/// Neither keys nor values may contain spaces, and keys no `=`.
#[must_use]
pub fn encode(form: &str, pairs: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from(form);
    for (key, value) in pairs {
        text.push(' ');
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    text.into_bytes()
}

/// Reads a state that [`encode`] wrote; `None` if it has another form, is damaged or is not ours at all.
#[must_use]
pub fn decode(form: &str, state: &[u8]) -> Option<Settings> {
    let mut words = std::str::from_utf8(state).ok()?.split(' ');
    if words.next() != Some(form) {
        return None;
    }
    let mut pairs = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=')?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Settings::new(pairs).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_state_of_another_form_is_not_read() {
        for state in ["", "other/1 a=1", "form/2 a=1", "form/1 a", "form/1 a=1 a=2", "form/1  a=1"] {
            assert!(decode("form/1", state.as_bytes()).is_none(), "{state:?}");
        }
        assert!(decode("form/1", &[0xff, 0xfe]).is_none());
    }

    proptest! {
        #[test]
        fn a_state_is_read_as_it_was_written(number: u64, fraction in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
            let state = encode("form/1", &[("n", number.to_string()), ("f", fraction.to_string())]);
            let mut read = decode("form/1", &state).unwrap();
            prop_assert_eq!(read.take_u64("n", 0, 0..=u64::MAX).unwrap(), number);
            prop_assert_eq!(read.take_f64("f", 0.0, f64::MIN..=f64::MAX).unwrap(), fraction);
            prop_assert!(read.finish().is_ok());
        }

        #[test]
        fn no_bytes_make_the_reading_of_a_state_panic(bytes: Vec<u8>) {
            let _ = decode("form/1", &bytes);
        }
    }
}
