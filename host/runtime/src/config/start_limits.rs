//! Limits for what is behind a handler: how many deliveries begin in a time and are in handlers at once, and when the
//! workload slows to probes.

use std::time::Duration;

use super::keys::WORKLOAD;
use super::reader::Reader;
use super::units;

/// When a delivery may begin.
#[derive(Debug, Clone, PartialEq)]
pub struct StartLimits {
    /// How many begin in a time.
    pub rate: Option<Rate>,
    /// How many are in handlers at once.
    pub max_in_flight: Option<usize>,
    /// When the workload slows to probes.
    pub breaker: Option<BreakerConfig>,
}

/// How many deliveries begin in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// From one delivery to the next; not zero.
    pub every: Duration,
    /// How many may begin at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// With this time from one delivery to the next; the burst is what begins in a second unless it is given.
    pub fn new(every: Duration, burst: Option<u32>) -> Self {
        Self { every, burst: burst.unwrap_or_else(|| of_a_second(every)).max(1) }
    }
}

/// How many a rate with this time from one to the next allows in a second. The time was rounded up, so that of `3/s` is
/// a little more than a third of a second.
fn of_a_second(every: Duration) -> u32 {
    let (second, every) = (Duration::from_secs(1).as_nanos(), every.as_nanos().max(1));
    let whole = second / every;
    let is_rounded = whole > 0 && second.div_ceil(whole) != every && second.div_ceil(whole + 1) == every;
    u32::try_from(whole + u128::from(is_rounded)).unwrap_or(u32::MAX)
}

/// When a workload slows to probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerConfig {
    /// For more than this share of calls, between 0 and 1.
    pub ratio: f64,
    /// Over this time.
    pub window: Duration,
    /// Not before so many calls within the window.
    pub min_calls: u32,
    /// From one probe to the next.
    pub probe_interval: Duration,
}

/// The keys that say nothing without another.
const ALONE: [(&str, &str); 4] = [
    ("burst", "rate"),
    ("breaker.window", "breaker.ratio"),
    ("breaker.min-calls", "breaker.ratio"),
    ("breaker.probe-interval", "breaker.ratio"),
];

impl StartLimits {
    /// The share of the time between two observations for which a limit must have kept messages waiting to be what
    /// binds.
    pub const BINDS: f64 = 0.75;

    /// Of a workload whose handler is given so many deliveries at once, if that is said.
    pub(super) fn read(keys: &mut Reader<'_>, at_once: Option<usize>) -> Self {
        for (key, of) in ALONE {
            if keys.is_set(key) && !keys.is_set(of) {
                let remedy = format!("add {of}, or remove it");
                keys.note(keys.place(key).error(format!("says nothing without {of}"), remedy));
            }
        }
        let limits = Self {
            rate: rate(keys),
            max_in_flight: keys.maybe("max-in-flight"),
            breaker: keys.maybe("breaker.ratio").map(|ratio| BreakerConfig {
                ratio,
                window: keys.get("breaker.window"),
                min_calls: keys.get("breaker.min-calls"),
                probe_interval: keys.get("breaker.probe-interval"),
            }),
        };
        for (key, most) in limits.at_once() {
            if let (Some(size), Some(most)) = (at_once, most)
                && size > most
            {
                let problem = format!("{size} is more than {key}, which is {most}: no batch has so many");
                let error = keys.place("batching.size").error(problem, format!("lower it, or raise {key}"));
                keys.note(error);
            }
        }
        limits
    }

    /// How many may begin at once, by the keys that say it.
    pub(super) fn at_once(&self) -> [(&'static str, Option<usize>); 2] {
        let burst = self.rate.map(|rate| usize::try_from(rate.burst).unwrap_or(usize::MAX));
        [("burst", burst), ("max-in-flight", self.max_in_flight)]
    }

    /// What one of so many partitions may begin, so that all of them begin no more than this.
    pub(super) fn part(&self, count: u32) -> Self {
        let part = |rate: Rate| Rate { every: rate.every.saturating_mul(count), burst: rate.burst / count };
        let count_of = usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            rate: self.rate.map(part),
            max_in_flight: self.max_in_flight.map(|most| most / count_of),
            ..self.clone()
        }
    }

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        self.rate.is_none() && self.max_in_flight.is_none() && self.breaker.is_none()
    }
}

impl Default for StartLimits {
    fn default() -> Self {
        Reader::of_nothing(WORKLOAD, |keys| Self::read(keys, None))
    }
}

fn rate(keys: &mut Reader<'_>) -> Option<Rate> {
    let every = keys.parsed("rate", units::rate)?;
    Some(Rate::new(every, keys.maybe("burst")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn burst(rate: &str) -> u32 {
        Rate::new(units::rate(rate).unwrap(), None).burst
    }

    #[test]
    fn without_a_burst_it_is_what_the_rate_allows_in_a_second() {
        for number in 1..=1000 {
            assert_eq!(burst(&format!("{number}/s")), number);
            assert_eq!(burst(&format!("{}/m", number * 60)), number);
        }
        for (rate, allows) in [("10/h", 1), ("59/m", 1), ("100/m", 1), ("119/m", 1), ("200/m", 3), ("9999/m", 166)] {
            assert_eq!(burst(rate), allows, "{rate}");
        }
        assert_eq!((burst("33333/s"), burst("1000000/s")), (33_333, 1_000_000));
    }
}
