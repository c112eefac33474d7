//! What a policy is told, what it answers, and what is made of that. Pure: no clock, no IO.

use serde::{Deserialize, Serialize};

/// What a policy is told. The fields are those of `observation` in `wit/scaling.wit`, with their units.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Observation {
    pub now_ms: u64,
    pub running: u32,
    pub min: u32,
    pub max: u32,
    pub idle_ms: Option<u64>,
    pub arrival_rate: f64,
    pub mean_arrival_rate: f64,
    pub completion_rate: f64,
    pub pending: u64,
    pub ack_pending: u64,
    pub redelivered: u64,
    pub oldest_pending_ms: Option<u64>,
    pub failure_ratio: f64,
    pub busy_ratio: f64,
    pub service_time_ms: f64,
}

/// What a policy answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The number of workers wanted, before the clamp.
    pub desired: u32,
    /// Why.
    pub reason: String,
    /// The state for the next call.
    pub state: Vec<u8>,
}

/// What a decision comes to where so many workers were wanted before: the count within the limits. But the last worker
/// stays while it is `needed`, which is where messages wait, and for one interval after a message started it: no message
/// is left behind, and a policy that wants nobody neither stops each worker that a message starts nor is asked for each.
pub fn carried_out(desired: u32, (min, max): (u32, u32), before: u32, needed: bool) -> u32 {
    match clamp(desired, min, max) {
        0 if before > 0 && needed => 1,
        count => count,
    }
}

/// A decided count within the limits. `min <= max` is checked when the configuration is read.
pub fn clamp(desired: u32, min: u32, max: u32) -> u32 {
    desired.min(max).max(min.min(max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_stays_while_it_is_needed() {
        assert_eq!(carried_out(0, (0, 8), 3, true), 1);
        assert_eq!(carried_out(0, (0, 8), 3, false), 0);
        // It is the message that starts a worker, not what waits.
        assert_eq!(carried_out(0, (0, 8), 0, true), 0);
        assert_eq!(carried_out(0, (2, 8), 3, true), 2);
        assert_eq!(carried_out(9, (0, 8), 0, true), 8);
    }
}
