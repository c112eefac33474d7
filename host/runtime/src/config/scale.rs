//! How many workers, how that is decided, and how they fetch.

use std::time::Duration;

use super::batching::USUAL;
use super::reader::Reader;
use super::units::show_duration;
use super::words::SignalSource;

/// How many workers, and how that is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// The fewest workers. 0 parks the workload when its policy says so.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// Time between decisions.
    pub interval: Duration,
    /// What rates are measured over.
    pub window: Duration,
    /// Where the signals come from.
    pub source: SignalSource,
}

impl Scale {
    pub(super) fn read(keys: &mut Reader<'_>) -> Self {
        let (min, max) = (keys.get("scale.min"), keys.get("scale.max"));
        if min > max {
            let by_default = if keys.is_set("scale.max") { "" } else { " by default" };
            let problem = format!("{min} is more than max, which is {max}{by_default}");
            keys.problems.push(keys.place("scale.min").error(problem, "lower min or raise max"));
        }
        let interval = keys.get("scale.interval");
        Self { min, max, interval, window: window(keys, interval), source: keys.get("scale.source") }
    }
}

/// What rates are measured over: at least the time between two decisions.
fn window(keys: &mut Reader<'_>, interval: Duration) -> Duration {
    const USUAL: Duration = Duration::from_secs(5);
    let window = keys.maybe("scale.window").unwrap_or_else(|| interval.max(USUAL));
    if window >= interval {
        return window;
    }
    let problem = format!("{} is less than interval, which is {}", show_duration(&window), show_duration(&interval));
    keys.problems.push(keys.place("scale.window").error(problem, "raise window or lower interval"));
    interval
}

/// How many deliveries the few workers of a workload may hold together. Each pull costs the server and the host much,
/// however few it is for: one worker of a handler that does nothing handles 1.8 times as many messages a second with
/// these as with a hundred (`tidegate bench --only throughput`).
const AHEAD: usize = 2_000;

/// How workers fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullConfig {
    /// The most deliveries a worker holds at once.
    pub batch: usize,
    /// Deliveries that the workers of a host may hold together however few they are, as long as that is not more than
    /// they handle in 100 ms; 0 where `batch` was said.
    pub ahead: usize,
    /// Bytes of messages that wait for workers.
    pub max_bytes: usize,
    /// How long a pull waits at the server.
    pub expires: Duration,
}

impl PullConfig {
    /// How many deliveries this many workers may hold.
    pub fn held_by(&self, workers: u32) -> i64 {
        i64::from(workers).saturating_mul(i64::try_from(self.batch).unwrap_or(i64::MAX))
    }

    /// Of a worker whose handler is given so many deliveries at once, if that is said.
    pub(super) fn read(keys: &mut Reader<'_>, at_once: Option<usize>) -> Self {
        Self {
            batch: keys.maybe("pull.batch").unwrap_or(at_once.unwrap_or(USUAL).max(USUAL)),
            ahead: if keys.is_set("pull.batch") { 0 } else { AHEAD },
            max_bytes: keys.get("pull.max-bytes"),
            expires: keys.get("pull.expires"),
        }
    }
}
