//! What was written of each key, by which one reading of a configuration is compared with the next.

use std::collections::BTreeMap;

use super::error::At;
use super::keys::{HOST, Key, WORKLOAD};
use super::layer::Layer;
use super::value::Value;

/// What was written, flags and variables laid over the files.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    pub(super) host: Layer,
    pub(super) workloads: BTreeMap<String, Layer>,
}

impl Written {
    pub(super) fn of(host: &Layer, workloads: &[(At<String>, Layer)]) -> Self {
        let workloads = workloads.iter().map(|(name, layer)| (name.value.clone(), layer.clone()));
        Self { host: host.clone(), workloads: workloads.collect() }
    }

    /// The keys of the host that have other values there.
    pub(super) fn of_host(&self, other: &Self) -> Vec<&'static str> {
        differing(HOST, &self.host, &other.host)
    }

    /// The keys of a workload that have other values there.
    pub(super) fn of_workload(&self, other: &Self, workload: &str) -> Vec<&'static str> {
        match (self.workloads.get(workload), other.workloads.get(workload)) {
            (Some(one), Some(other)) => differing(WORKLOAD, one, other),
            _ => Vec::new(),
        }
    }
}

fn differing(keys: &'static [Key], one: &Layer, other: &Layer) -> Vec<&'static str> {
    keys.iter().filter(|key| value(key, one) != value(key, other)).map(|key| key.path).collect()
}

/// What a key comes to: a default that is written out is no other value.
fn value(key: &Key, layer: &Layer) -> Option<Value> {
    layer.get(key.path).map(|at| at.value.clone()).or_else(|| key.default_value())
}
