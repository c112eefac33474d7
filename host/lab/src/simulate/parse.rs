//! Service times and retries as people write them.

use std::str::FromStr;
use std::time::Duration;

use super::keys::{KeyModel, KeySpread};
use super::random::{RetryModel, ServiceTime};
use tidegate_runtime::config::units;

/// How service times are written.
const FORMS: &str = "write constant:TIME, exponential:MEAN, log-normal:MEAN:VARIATION or measured:FILE, such as \
                     exponential:200ms or log-normal:200ms:1.5";
/// The longest mean or sample: ten days.
const LONGEST: Duration = Duration::from_secs(10 * 24 * 3600);

/// The most keys.
const MOST_KEYS: u32 = 100_000_000;

/// Where service times come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceTimeSource {
    /// A distribution.
    Drawn(ServiceTime),
    /// A file of samples, for [`samples`].
    Measured(String),
}

impl FromStr for ServiceTimeSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix("measured:").filter(|file| !file.is_empty()) {
            return Ok(Self::Measured(file.to_owned()));
        }
        let parts: Vec<&str> = text.split(':').collect();
        Ok(Self::Drawn(match parts.as_slice() {
            ["constant", time] => ServiceTime::Constant(nanos(time)?),
            ["exponential", mean] => ServiceTime::Exponential(nanos(mean)?),
            ["log-normal", mean, variation] => match variation.parse::<f64>() {
                Ok(number) if (0.0..=100.0).contains(&number) => ServiceTime::LogNormal(nanos(mean)?, number),
                _ => {
                    return Err(format!(
                        "{variation:?} is not a coefficient of variation, which is a number from 0 to 100"
                    ));
                }
            },
            _ => return Err(FORMS.to_owned()),
        }))
    }
}

impl FromStr for RetryModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (share, delay) = text.split_once(':').ok_or("write SHARE:DELAY, such as 0.05:1s")?;
        match share.parse::<f64>() {
            Ok(share) if (0.0..=0.99).contains(&share) => Ok(Self { share, delay: nanos(delay)? }),
            _ => Err(format!("{share:?} is not a share of attempts, which is a number from 0 to 0.99")),
        }
    }
}

impl FromStr for KeyModel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, spread) = text.split_once(':').unwrap_or((text, "uniform"));
        let spread = match spread {
            "uniform" => KeySpread::Uniform,
            "zipf" => KeySpread::Zipf,
            _ => return Err("write N, N:uniform or N:zipf, such as 1000:zipf".to_owned()),
        };
        match count.parse() {
            Ok(count) if (1..=MOST_KEYS).contains(&count) => Ok(Self { count, spread }),
            _ => Err(format!("{count:?} is not a number of keys, which is 1 to {MOST_KEYS}")),
        }
    }
}

pub(super) fn nanos(text: &str) -> Result<u64, String> {
    let time = units::duration(text).map_err(|wrong| wrong.to_string())?;
    u64::try_from(time.as_nanos())
        .ok()
        .filter(|_| time <= LONGEST)
        .ok_or_else(|| format!("{text:?} is longer than ten days"))
}

/// Reads measured service times: milliseconds, one a line.
///
/// # Errors
/// The line, from 1, and what is wrong with it.
pub fn samples(text: &str) -> Result<ServiceTime, (usize, String)> {
    let mut samples = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        match text.parse::<f64>() {
            Ok(ms) if (0.0..=LONGEST.as_secs_f64() * 1e3).contains(&ms) => samples.push((ms * 1e6).round() as u64),
            _ => {
                let shown: String = text.chars().take(40).collect();
                return Err((
                    line,
                    format!("{shown:?} is not a service time; write milliseconds, one a line, such as 12.5"),
                ));
            }
        }
    }
    if samples.is_empty() {
        return Err((1, "there are no service times; write milliseconds, one a line".to_owned()));
    }
    Ok(ServiceTime::Measured(samples.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn what_is_written_is_what_is_meant() {
        let read = |text: &str| text.parse::<ServiceTimeSource>().unwrap();
        assert_eq!(read("constant:20ms"), ServiceTimeSource::Drawn(ServiceTime::Constant(20_000_000)));
        assert_eq!(read("exponential:1s"), ServiceTimeSource::Drawn(ServiceTime::Exponential(1_000_000_000)));
        assert_eq!(read("log-normal:1s:0.5"), ServiceTimeSource::Drawn(ServiceTime::LogNormal(1_000_000_000, 0.5)));
        assert_eq!(read("measured:a:b.txt"), ServiceTimeSource::Measured("a:b.txt".into()));
        assert_eq!("0.05:1s".parse(), Ok(RetryModel { share: 0.05, delay: 1_000_000_000 }));
        let keys = |count, spread| Ok(KeyModel { count, spread });
        assert_eq!(("7".parse(), "7:uniform".parse()), (keys(7, KeySpread::Uniform), keys(7, KeySpread::Uniform)));
        assert_eq!("1000:zipf".parse(), keys(1000, KeySpread::Zipf));
        assert_eq!(samples("12.5\n\n3\n"), Ok(ServiceTime::Measured([12_500_000, 3_000_000].into())));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for text in
            ["", "fast", "constant", "constant:5", "exponential:-1s", "log-normal:1s", "log-normal:1s:x", "measured:"]
        {
            assert!(text.parse::<ServiceTimeSource>().is_err(), "{text}");
        }
        for text in ["", "0.5", "1:1s", "nan:1s", "-0.1:1s", "0.1:1"] {
            assert!(text.parse::<RetryModel>().is_err(), "{text}");
        }
        for text in ["", "0", "-1", "7:", "7:even", "zipf", "7:zipf:2", "100000001"] {
            assert!(text.parse::<KeyModel>().is_err(), "{text}");
        }
        assert_eq!(samples("1\nten\n").unwrap_err().0, 2);
        assert!(samples("1\n-3\n").is_err() && samples("\n").is_err());
    }
}
