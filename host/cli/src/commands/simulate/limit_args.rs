//! Limits of a workload that is simulated, as the configuration has them.

use std::time::Duration;

use super::ranges::{interval, number};
use crate::commands::whole_number;
use tidegate_runtime::config::{BreakerConfig, Rate, StartLimits, units};

/// Flags of limits.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// How many attempts may begin in a time: 500/s, 30/m, 10/h
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    pub rate: Option<Duration>,
    /// How many may begin at once after a time without any [default: what the rate allows in a second, at least 1]
    #[arg(long, value_name = "N", requires = "rate", value_parser = whole_number::<u32>(1..=1_000_000))]
    pub burst: Option<u32>,
    /// How many messages may be with workers at once
    #[arg(long, value_name = "N", value_parser = whole_number::<u32>(1..=1_000_000))]
    pub max_in_flight: Option<u32>,
    /// How many messages of a key of --keys may be with workers at once, in any order
    #[arg(long, value_name = "N", requires = "keys", value_parser = whole_number::<u32>(1..=1_000_000))]
    pub per_key_max_in_flight: Option<u32>,
    /// For more than which share of calls that fail the workload slows to probes; with --outage each policy is
    /// simulated without that, too
    #[arg(long, value_name = "SHARE", value_parser = ratio)]
    pub breaker_ratio: Option<f64>,
    /// What that share is measured over
    #[arg(long, value_name = "TIME", requires = "breaker_ratio", default_value = "10s", value_parser = window)]
    pub breaker_window: Duration,
    /// Before how many calls within the window it does not slow down
    #[arg(long, value_name = "N", requires = "breaker_ratio", default_value_t = 20,
        value_parser = whole_number::<u32>(1..=1_000_000))]
    pub breaker_min_calls: u32,
    /// Time from one probe to the next, each of which is one call
    #[arg(long, value_name = "TIME", requires = "breaker_ratio", default_value = "1s", value_parser = interval)]
    pub breaker_probe_interval: Duration,
}

fn ratio(text: &str) -> Result<f64, String> {
    number(text, 0.01..=0.99)
}

fn window(text: &str) -> Result<Duration, String> {
    let window = units::duration(text).map_err(|wrong| wrong.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    if range.contains(&window) { Ok(window) } else { Err("it must be from 1s to 1h".to_owned()) }
}

impl LimitArgs {
    /// What the whole workload has.
    ///
    /// # Errors
    /// If a number is too large for this machine.
    pub(super) fn limits(&self) -> anyhow::Result<StartLimits> {
        let breaker = self.breaker_ratio.map(|ratio| BreakerConfig {
            ratio,
            window: self.breaker_window,
            min_calls: self.breaker_min_calls,
            probe_interval: self.breaker_probe_interval,
        });
        let max_in_flight = self.max_in_flight.map(usize::try_from).transpose()?;
        Ok(StartLimits { rate: self.rate.map(|every| Rate::new(every, self.burst)), max_in_flight, breaker })
    }

    /// How many of a key are handled at once, where that is no order.
    ///
    /// # Errors
    /// If it is too large for this machine.
    pub(super) fn per_key(&self) -> anyhow::Result<Option<usize>> {
        Ok(self.per_key_max_in_flight.map(usize::try_from).transpose()?)
    }
}
