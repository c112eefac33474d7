//! The fleet that a host is one of.

use super::error::Wrong;
use super::reader::Reader;
use super::units::quoted;
use super::words::SignalSource;
use super::workload::Workload;

/// The longest name of a bucket, in bytes: its stream's name has `KV_` before it.
const LONGEST: usize = 252;
/// The longest id of a host, in bytes.
const LONGEST_ID: usize = 128;

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
}

impl FleetConfig {
    pub(super) fn read(keys: &mut Reader<'_>) -> Option<Self> {
        let (bucket, replicas) = (keys.maybe("fleet.bucket"), keys.get("fleet.replicas"));
        let (host, max_workers) = (keys.maybe("host.id"), keys.maybe("host.max-workers"));
        if let Some(bucket) = bucket {
            return Some(Self { bucket, replicas, host, max_workers });
        }
        for key in ["fleet.replicas", "host.id", "host.max-workers"] {
            if keys.is_set(key) {
                let problem = keys.place(key).error("it is of no use without a fleet", "set fleet.bucket, or leave it out");
                keys.problems.push(problem);
            }
        }
        None
    }

    /// What is wrong with a workload of a fleet's host.
    pub(super) fn check(workload: &Workload) -> Result<(), Wrong> {
        if workload.scale.source == SignalSource::Headers {
            let problem = "hosts of a fleet that count headers would each see a part of them";
            return Err(Wrong::new(problem, "use \"info\", or leave fleet.bucket out"));
        }
        Ok(())
    }
}

/// Checks the name of a bucket.
pub(super) fn bucket(name: &str) -> Result<(), Wrong> {
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(is_of_name) {
        let problem = format!("{} is not the name of a bucket", quoted(name));
        return Err(Wrong::new(problem, "use letters, digits, - and _"));
    }
    Ok(())
}

/// Checks the id of a host: it becomes a part of a key.
pub(super) fn host_id(id: &str) -> Result<(), Wrong> {
    if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(is_of_name) {
        let problem = format!("{} cannot be the id of a host", quoted(id));
        return Err(Wrong::new(problem, "use letters, digits, - and _, and no more than 128 of them"));
    }
    Ok(())
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
