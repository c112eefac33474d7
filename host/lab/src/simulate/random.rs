//! What chance decides: how long messages take and which attempts fail.
//!
//! The k-th message gets the same from a seed whatever the policy does, so policies differ by what they decide alone.
//! Logarithms, roots and cosines are `libm`'s, which is software and the same on every machine. The crate `rand_distr`
//! cannot promise that: its logarithms are the system's wherever another crate turns on `num-traits/std`.

use std::sync::Arc;

use fastrand::Rng;

/// Salts, so that what is drawn from one seed does not repeat itself.
const TIMES: u64 = 0x7469_6d65;
const COINS: u64 = 0x636f_696e;
const AGAIN: u64 = 0x6167_6e21;

/// A number that looks like chance, made of two (the finalizer of `SplitMix64`).
pub(super) fn mix(seed: u64, salt: u64) -> u64 {
    let mut z = seed.rotate_left(32).wrapping_add(salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long one attempt takes. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceTime {
    /// Always the same.
    Constant(u64),
    /// Exponential with this mean.
    Exponential(u64),
    /// Log-normal with this mean, and this coefficient of variation (standard deviation over mean).
    LogNormal(u64, f64),
    /// One of these samples, each as likely as the other. Not empty.
    Measured(Arc<[u64]>),
}

impl ServiceTime {
    /// The mean.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(time) | Self::Exponential(time) | Self::LogNormal(time, _) => *time as f64,
            Self::Measured(samples) => {
                samples.iter().map(|time| *time as f64).sum::<f64>() / samples.len().max(1) as f64
            }
        }
    }

    /// Draws a time. How many numbers are drawn depends on the kind alone.
    pub fn draw(&self, chance: &mut Rng) -> u64 {
        match self {
            Self::Constant(time) => *time,
            Self::Exponential(mean) => (*mean as f64 * exponential(chance)).round() as u64,
            Self::LogNormal(mean, variation) => {
                let variance = libm::log(1.0 + variation * variation);
                let location = libm::log((*mean).max(1) as f64) - variance / 2.0;
                libm::exp(location + libm::sqrt(variance) * normal(chance)).round() as u64
            }
            Self::Measured(samples) => samples.get(chance.usize(0..samples.len().max(1))).copied().unwrap_or(0),
        }
    }
}

/// Exponential with mean 1.
pub(super) fn exponential(chance: &mut Rng) -> f64 {
    -libm::log(1.0 - chance.f64())
}

/// Normal with mean 0 and variance 1, by Box and Muller (1958).
fn normal(chance: &mut Rng) -> f64 {
    let length = libm::sqrt(2.0 * exponential(chance));
    length * libm::cos(std::f64::consts::TAU * chance.f64())
}

/// Some attempts fail, and are tried again after a delay until one succeeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryModel {
    /// The share of attempts that fail: 0 to below 1.
    pub share: f64,
    /// Nanoseconds from the failure until the message can be delivered again.
    pub delay: u64,
}

/// One attempt at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How long it takes.
    pub time: u64,
    /// Whether the message has to be tried again.
    pub fails: bool,
}

/// Draws attempts.
#[derive(Debug, Clone)]
pub struct RandomAttempts {
    service: ServiceTime,
    share: f64,
    seed: u64,
    times: Rng,
    coins: Rng,
}

impl RandomAttempts {
    /// From a seed.
    pub fn new(service: &ServiceTime, retry: Option<RetryModel>, seed: u64) -> Self {
        Self {
            service: service.clone(),
            share: retry.map_or(0.0, |retry| retry.share),
            seed,
            times: Rng::with_seed(mix(seed, TIMES)),
            coins: Rng::with_seed(mix(seed, COINS)),
        }
    }

    /// The first attempt at the next message.
    pub fn first(&mut self) -> Attempt {
        let fails = self.share > 0.0 && self.coins.f64() < self.share;
        Attempt { time: self.service.draw(&mut self.times), fails }
    }

    /// A later attempt, counted from 2, at the message that was the `message`-th to be tried.
    pub fn again(&self, message: u64, attempt: u32) -> Attempt {
        let mut chance = Rng::with_seed(mix(mix(self.seed, AGAIN ^ u64::from(attempt)), message));
        let fails = chance.f64() < self.share;
        Attempt { time: self.service.draw(&mut chance), fails }
    }

    /// The time of all attempts after the first at this message, which failed.
    pub fn rest(&self, message: u64) -> u64 {
        let mut sum = 0_u64;
        for attempt in 2.. {
            let Attempt { time, fails } = self.again(message, attempt);
            sum = sum.saturating_add(time);
            if !fails {
                break;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    const MS: u64 = 1_000_000;

    /// Mean and standard deviation of many draws.
    fn moments(service: &ServiceTime) -> (f64, f64) {
        let mut attempts = RandomAttempts::new(service, None, 7);
        let times: Vec<f64> = (0..200_000).map(|_| attempts.first().time as f64).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / times.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn each_distribution_has_the_mean_and_the_variation_it_names() {
        let close = |value: f64, wanted: f64, slack: f64| {
            assert!((value - wanted).abs() <= slack * wanted, "{value} is not {wanted}");
        };
        let service = ServiceTime::Constant(20 * MS);
        assert_eq!(moments(&service), (20e6, 0.0));
        let (mean, deviation) = moments(&ServiceTime::Exponential(200 * MS));
        close(mean, 200e6, 0.01);
        close(deviation, 200e6, 0.02);
        let (mean, deviation) = moments(&ServiceTime::LogNormal(50 * MS, 1.5));
        close(mean, 50e6, 0.02);
        close(deviation, 75e6, 0.06);
        let measured = ServiceTime::Measured([10 * MS, 30 * MS].into());
        let (mean, deviation) = moments(&measured);
        close(mean, measured.mean(), 0.01);
        close(deviation, 10e6, 0.01);
    }

    #[test]
    fn an_exponential_draw_is_what_it_was() {
        // The same on every machine and with every later version, or seeds mean something else.
        let mut attempts =
            RandomAttempts::new(&ServiceTime::Exponential(200 * MS), Some(RetryModel { share: 0.5, delay: 0 }), 1);
        let first: Vec<Attempt> = (0..3).map(|_| attempts.first()).collect();
        assert_eq!(
            first.iter().map(|attempt| attempt.time).collect::<Vec<_>>(),
            [36_233_711, 144_950_558, 186_214_840]
        );
        assert_eq!(attempts.again(2, 2).time, 218_906_895);
    }

    #[test]
    fn attempts_fail_as_often_as_they_should() {
        let mut attempts = RandomAttempts::new(&ServiceTime::Constant(1), Some(RetryModel { share: 0.2, delay: 0 }), 3);
        let failed = (0..100_000).filter(|_| attempts.first().fails).count();
        assert!((19_500..20_500).contains(&failed), "{failed}");
        let again = (0..100_000).filter(|message| attempts.again(*message, 2).fails).count();
        assert!((19_500..20_500).contains(&again), "{again}");
    }
}
