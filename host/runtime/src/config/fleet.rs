//! The fleet that a host is one of.

use std::collections::BTreeMap;

use super::error::Wrong;
use super::fingerprints::Fingerprints;
use super::reader::Reader;
use super::words::SignalSource;
use super::workload::Workload;

/// The fleet that a host is one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetConfig {
    /// The key-value bucket that its hosts share.
    pub bucket: String,
    /// Servers that keep a copy. It counts only where the host makes the bucket.
    pub replicas: usize,
    /// The host's id; `None` is one of this process alone.
    pub host: Option<String>,
    /// The most workers of all workloads together that the host runs; `None` is no limit.
    pub max_workers: Option<u32>,
    /// What the settings of each workload come to, by its name.
    pub fingerprints: BTreeMap<String, Fingerprints>,
}

impl FleetConfig {
    pub(super) fn read(keys: &mut Reader<'_>) -> Option<Self> {
        let (bucket, replicas) = (keys.maybe("fleet.bucket"), keys.get("fleet.replicas"));
        let (host, max_workers) = (keys.maybe("host.id"), keys.maybe("host.max-workers"));
        if let Some(bucket) = bucket {
            return Some(Self { bucket, replicas, host, max_workers, fingerprints: BTreeMap::new() });
        }
        for key in ["host.id", "host.max-workers"] {
            if keys.is_set(key) {
                let place = keys.place(key);
                keys.problems.push(place.error("it is of no use without a fleet", "set fleet.bucket, or leave it out"));
            }
        }
        None
    }

    /// What a workload of a fleet's host cannot have: each key, with what is wrong.
    pub(super) fn check(workload: &Workload) -> Vec<(&'static str, Wrong)> {
        let mut wrong = Vec::new();
        if workload.scale.source == SignalSource::Headers {
            let problem = "hosts of a fleet that count headers would each see a part of them";
            wrong.push(("scale.source", Wrong::new(problem, "use \"info\", or leave fleet.bucket out")));
        }
        wrong
    }
}
