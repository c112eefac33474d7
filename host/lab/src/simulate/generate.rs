//! Arrivals that are made and not recorded.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

use super::arrivals::{ArrivalRow, Arrivals};
use super::random::{exponential, mix};
use tidegate_runtime::config::units;

const SALT: u64 = 0x6765_6e65;
/// Rows are a second long.
const STEP: u64 = 1_000_000_000;
/// Below this rate the events of a second are counted one by one: it is short, and `rejected_poisson` is for no lower.
const COUNTED: f64 = 30.0;
/// The highest rate, in messages a second.
const MOST: f64 = 1e6;

/// For how long arrivals are made at most, each second of which is kept: 366 days.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// How the rate of arrivals goes. Rates are messages a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Generator {
    /// The same number each second.
    Constant(f64),
    /// A Poisson process.
    Poisson(f64),
    /// A Poisson process of the rate `low`, and of `high` for `length` at the end of each `every`.
    Burst {
        /// The rate between bursts.
        low: f64,
        /// The rate in a burst.
        high: f64,
        /// From burst to burst.
        every: Duration,
        /// How long one is.
        length: Duration,
    },
    /// A Poisson process whose rate goes from `low` at the start to `high` half a period later and back, as a cosine
    /// does.
    Diurnal {
        /// The lowest rate.
        low: f64,
        /// The highest.
        high: f64,
        /// From the lowest to the lowest.
        period: Duration,
    },
    /// A Poisson process whose rate goes evenly from the one to the other.
    Ramp(f64, f64),
}

impl Generator {
    /// Makes arrivals of this length, or of [`LONGEST`].
    pub fn arrivals(&self, length: Duration, seed: u64) -> Arrivals {
        let mut chance = Rng::with_seed(mix(seed, SALT));
        let seconds = length.min(LONGEST).as_secs().max(1);
        let mut before = 0_u64;
        let mut count = |second: u64| {
            let middle = second as f64 + 0.5;
            if let Self::Constant(rate) = self {
                let due = ((second + 1) as f64 * rate).round() as u64;
                let count = due - before;
                before = due;
                return count;
            }
            poisson(self.rate(middle, seconds as f64), &mut chance)
        };
        let row = |second: u64| ArrivalRow { start: second * STEP, step: STEP, count: count(second) };
        Arrivals::new((0..seconds).map(row).collect())
    }

    fn rate(&self, at: f64, length: f64) -> f64 {
        match *self {
            Self::Constant(rate) | Self::Poisson(rate) => rate,
            Self::Burst { low, high, every, length } => {
                let (every, length) = (every.as_secs_f64(), length.as_secs_f64());
                if libm::fmod(at, every) >= every - length { high } else { low }
            }
            Self::Diurnal { low, high, period } => {
                let phase = libm::cos(std::f64::consts::TAU * at / period.as_secs_f64());
                low + (high - low) * (1.0 - phase) / 2.0
            }
            Self::Ramp(from, to) => from + (to - from) * at / length,
        }
    }
}

/// How many events of a Poisson process of this rate fall into one unit of time.
fn poisson(rate: f64, chance: &mut Rng) -> u64 {
    if rate < COUNTED { counted_poisson(rate, chance) } else { rejected_poisson(rate, chance) }
}

/// Counts the events one by one, which takes as long as there are events.
fn counted_poisson(rate: f64, chance: &mut Rng) -> u64 {
    if rate <= 0.0 {
        return 0;
    }
    let (mut time, mut count) = (exponential(chance), 0);
    while time < rate {
        count += 1;
        time += exponential(chance);
    }
    count
}

/// Transformed rejection with squeeze, for rates of at least 10: the algorithm PTRS of W. Hormann, "The transformed
/// rejection method for generating Poisson random variables", Insurance: Mathematics and Economics 12 (1993). It takes
/// the same time whatever the rate is.
fn rejected_poisson(rate: f64, chance: &mut Rng) -> u64 {
    let b = 0.931 + 2.53 * libm::sqrt(rate);
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let squeeze = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let (u, v) = (chance.f64() - 0.5, chance.f64());
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
        if us >= 0.07 && v <= squeeze {
            return k as u64;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let proposed = libm::log(v * inverse_alpha / (a / (us * us) + b));
        if proposed <= k * libm::log(rate) - rate - libm::lgamma(k + 1.0) {
            return k as u64;
        }
    }
}

/// How a generator is written.
const FORMS: &str = "write constant:RATE, poisson:RATE, burst:LOW:HIGH:EVERY:LENGTH, diurnal:LOW:HIGH[:PERIOD] or \
                     ramp:FROM:TO, with rates in messages a second, such as burst:5:200:10m:30s";

impl Display for Generator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let time = units::show_duration;
        match self {
            Self::Constant(rate) => write!(f, "constant:{rate}"),
            Self::Poisson(rate) => write!(f, "poisson:{rate}"),
            Self::Burst { low, high, every, length } => {
                write!(f, "burst:{low}:{high}:{}:{}", time(every), time(length))
            }
            Self::Diurnal { low, high, period } => write!(f, "diurnal:{low}:{high}:{}", time(period)),
            Self::Ramp(from, to) => write!(f, "ramp:{from}:{to}"),
        }
    }
}

impl FromStr for Generator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        Ok(match parts.as_slice() {
            ["constant", rate] => Self::Constant(read(rate)?),
            ["poisson", rate] => Self::Poisson(read(rate)?),
            ["ramp", from, to] => Self::Ramp(read(from)?, read(to)?),
            ["diurnal", low, high] => Self::Diurnal { low: read(low)?, high: read(high)?, period: 24 * HOUR },
            ["diurnal", low, high, period] => {
                Self::Diurnal { low: read(low)?, high: read(high)?, period: time(period)? }
            }
            ["burst", low, high, every, length] => {
                let (every, length) = (time(every)?, time(length)?);
                if length > every {
                    return Err("a burst cannot last longer than from one to the next".to_owned());
                }
                Self::Burst { low: read(low)?, high: read(high)?, every, length }
            }
            _ => return Err(FORMS.to_owned()),
        })
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn read(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=MOST).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is not a rate; {FORMS}, from 0 to {MOST}")),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text).map_err(|wrong| wrong.to_string())?;
    if time < Duration::from_secs(1) { Err(format!("{text:?} is too short; rows are a second long")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    fn counts(text: &str, seconds: u64) -> Vec<u64> {
        let arrivals = text.parse::<Generator>().unwrap().arrivals(Duration::from_secs(seconds), 5);
        assert_eq!(arrivals.length(), seconds * STEP);
        arrivals.rows().iter().map(|row| row.count).collect()
    }

    fn mean(counts: &[u64]) -> f64 {
        counts.iter().sum::<u64>() as f64 / counts.len() as f64
    }

    #[test]
    fn a_constant_rate_is_kept_to_the_message() {
        assert_eq!(counts("constant:2.5", 4), [3, 2, 3, 2]);
    }

    #[test]
    fn a_poisson_process_varies_as_much_as_its_rate() {
        for rate in [3.0, 29.0, 30.0, 50.0, 1e6] {
            let counts = counts(&format!("poisson:{rate}"), 20_000);
            let mean = mean(&counts);
            let variance = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum::<f64>() / 20_000.0;
            // Four standard errors of a mean and of a variance.
            assert!((mean - rate).abs() < 4.0 * (rate / 20_000.0).sqrt(), "{rate}: mean {mean}");
            assert!((variance - rate).abs() < 4.0 * rate * (2.0 / 20_000.0_f64).sqrt() + 0.1, "{rate}: {variance}");
        }
    }

    #[test]
    fn the_counts_of_a_high_rate_are_as_likely_as_poisson_says() {
        let rate = 40.0_f64;
        let counts = counts("poisson:40", 200_000);
        for count in 20_u64..=64 {
            let wanted = (count as f64 * rate.ln() - rate - libm::lgamma(count as f64 + 1.0)).exp() * 200_000.0;
            let found = counts.iter().filter(|other| **other == count).count() as f64;
            assert!((found - wanted).abs() < 4.5 * wanted.sqrt() + 1.0, "{count}: {found} where {wanted} are likely");
        }
    }

    #[test]
    fn a_poisson_count_is_what_it_was() {
        // The same on every machine and with every later version, or seeds mean something else.
        assert_eq!(counts("poisson:5", 5), [5, 4, 6, 5, 3]);
        assert_eq!(counts("poisson:1000", 5), [949, 958, 961, 1056, 1027]);
    }

    #[test]
    fn bursts_days_and_ramps_go_where_they_should() {
        let bursts = counts("burst:0:100:10s:3s", 100);
        assert!(bursts.chunks(10).all(|ten| ten[..7] == [0; 7] && ten[7..].iter().all(|count| *count > 50)));
        let day = counts("diurnal:0:100:1000s", 1000);
        assert!(mean(&day[..50]) < 2.0 && mean(&day[475..525]) > 95.0 && mean(&day[950..]) < 2.0);
        let ramp = counts("ramp:0:100", 1000);
        assert!(mean(&ramp[..100]) < 8.0 && mean(&ramp[900..]) > 90.0);
    }

    #[test]
    fn a_generator_is_shown_as_it_is_written() {
        for text in ["constant:2.5", "poisson:50", "burst:5:200:10m:30s", "diurnal:1:200:1day", "ramp:0:9"] {
            assert_eq!(text.parse::<Generator>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_generator_is_told_what_would_be() {
        for text in
            ["", "poisson", "poisson:-1", "poisson:nan", "wave:3", "burst:1:2:10s", "burst:1:2:5s:9s", "ramp:1:2:3"]
        {
            assert!(text.parse::<Generator>().is_err(), "{text}");
        }
        assert!("poisson:x".parse::<Generator>().unwrap_err().contains("\"x\" is not a rate; write constant:RATE"));
    }
}
