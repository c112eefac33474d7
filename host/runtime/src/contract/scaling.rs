//! What a policy is told, and what it answers.

use serde::{Deserialize, Serialize};

/// What a policy is told. The fields are those of `observation` in `wit/scaling.wit`, with their units, and then those
/// of `wit/signals.wit`.
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub limited: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_waiting: Option<u32>,
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
