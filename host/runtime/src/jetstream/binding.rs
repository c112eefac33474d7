//! A workload on its connection: what every delivery needs to be settled.

use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::connect::Client;
use super::publisher::Publisher;
use crate::config::{Grants, published};
use crate::delivery::counters::Traffic;
use crate::telemetry::WorkloadSpans;

/// What every delivery of one workload needs to be settled.
#[derive(Debug)]
pub(super) struct WorkloadBinding {
    pub(super) client: Client,
    pub(super) publisher: Publisher,
    pub(super) workload: Arc<str>,
    pub(super) stream: String,
    /// When the stream was made, as it was found when the workload was set up.
    pub(super) stream_made: String,
    pub(super) consumer: String,
    /// Whether the stream has mapped subjects to partitions.
    pub(super) is_partition: bool,
    /// The name of the stream of dead letters.
    pub(super) dead_letters: String,
    /// When that stream was last seen to keep letters.
    pub(super) letters_seen: Mutex<Option<Instant>>,
    pub(super) host: String,
    pub(super) grants: Grants,
    pub(super) traffic: Arc<Traffic>,
    /// What traces its deliveries; unset where nothing is traced.
    pub(super) spans: OnceLock<Arc<WorkloadSpans>>,
    pub(super) parked: super::parked_pull::ParkedPull,
    /// Whether the consumer or its stream was gone when the signals were read last.
    pub(super) gone: watch::Sender<bool>,
}

impl WorkloadBinding {
    /// The subject on which a message was published that the stream has with this one.
    pub(super) fn published(&self, stored: String) -> String {
        if self.is_partition { published(&stored).to_owned() } else { stored }
    }
}
