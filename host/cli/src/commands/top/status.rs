//! What `/status` says, as far as it is shown. What another version of the host does not say is left empty.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) host: String,
    pub(super) version: String,
    pub(super) ready: bool,
    pub(super) problems: Vec<String>,
    pub(super) nats: Nats,
    pub(super) workloads: Vec<Workload>,
    /// Whether it is that of all hosts that answer by NATS.
    #[serde(skip)]
    pub(super) is_of_all: bool,
    /// Where to go on: the rest did not fit into the answer.
    pub(super) next: Option<usize>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Nats {
    pub(super) connected: bool,
    pub(super) server_version: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workload {
    /// The host that it is of, where several are shown.
    #[serde(skip)]
    pub(super) on: Option<String>,
    /// Whether that does not answer now.
    #[serde(skip)]
    pub(super) is_away: bool,
    pub(super) name: String,
    pub(super) stream: String,
    pub(super) consumer: String,
    pub(super) running: bool,
    pub(super) paused: bool,
    pub(super) problems: BTreeMap<String, String>,
    pub(super) handler: String,
    pub(super) workers: Workers,
    pub(super) limits: Option<Limits>,
    pub(super) deliveries: BTreeMap<String, u64>,
    pub(super) dead_letters: BTreeMap<String, u64>,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) scaling: Scaling,
    /// Only in a fleet.
    pub(super) fleet: Option<Fleet>,
}

/// The plan that the host follows.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fleet {
    pub(super) leader: Option<String>,
    pub(super) desired: u32,
    /// Workers by host.
    pub(super) shares: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workers {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) desired: u32,
    pub(super) running: u32,
    pub(super) set: Option<Set>,
    pub(super) alive: Vec<Worker>,
}

/// What a person has set in place of the policy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Set {
    pub(super) count: u32,
    pub(super) until_at_ms: Option<u64>,
}

impl Workers {
    /// Those that finish what they have and then end.
    pub(super) fn draining(&self) -> usize {
        self.alive.len().saturating_sub(usize::try_from(self.running).unwrap_or(usize::MAX))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Worker {
    pub(super) worker: u64,
    pub(super) handling: bool,
    pub(super) acked: u64,
    pub(super) alive_ms: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    pub(super) in_flight: u64,
    pub(super) breaker: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Scaling {
    pub(super) policy: String,
    pub(super) generation: Option<String>,
    pub(super) refused: Option<String>,
    pub(super) problem: Option<String>,
    pub(super) observation: Option<Observation>,
    /// Newest first.
    pub(super) last_decisions: Vec<Decision>,
    pub(super) shadow: Option<Shadow>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Observation {
    pub(super) arrival_rate: f64,
    pub(super) completion_rate: f64,
    pub(super) pending: u64,
    pub(super) ack_pending: u64,
    pub(super) redelivered: u64,
    pub(super) oldest_pending_ms: Option<u64>,
    pub(super) failure_ratio: f64,
    pub(super) busy_ratio: f64,
    pub(super) service_time_ms: f64,
    pub(super) limited: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Decision {
    pub(super) at_ms: u64,
    pub(super) desired: u32,
    pub(super) count: u32,
    pub(super) reason: String,
    pub(super) times: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shadow {
    pub(super) policy: String,
    pub(super) decisions: u64,
    pub(super) differing: u64,
    pub(super) problem: Option<String>,
    pub(super) count: Option<u32>,
    pub(super) reason: Option<String>,
}
