//! What a running host tells whoever embeds it: the demo, the benchmark, tests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::digest::Digest;

/// Something a person would put on a time line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The workload fetches, or could: its streams, consumers and plugins are all there.
    Ready {
        /// The workload's name.
        workload: Arc<str>,
    },
    /// Health, metrics and status can be read over HTTP.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// The desired number of workers changed.
    Scaled {
        /// The workload's name.
        workload: Arc<str>,
        /// Workers wanted before.
        from: u32,
        /// Workers wanted now.
        to: u32,
        /// Why, in the policy's words or the host's.
        reason: String,
    },
    /// A worker started.
    WorkerStarted {
        /// The workload's name.
        workload: Arc<str>,
        /// The worker's number, from 1, never used twice by one host.
        worker: u64,
    },
    /// A worker ended.
    WorkerEnded {
        /// The workload's name.
        workload: Arc<str>,
        /// The worker's number.
        worker: u64,
        /// Deliveries it acknowledged.
        handled: u64,
    },
    /// A delivery was settled other than by an ack.
    Failed {
        /// The workload's name.
        workload: Arc<str>,
        /// Its position in the stream.
        stream_sequence: u64,
        /// Whether it became a dead letter; otherwise it will be tried again.
        dead: bool,
    },
    /// A new generation of a handler is tried by a share of the workers. [`Event::Swapped`] tells that it is promoted.
    RolloutBegan {
        /// The workload's name.
        workload: Arc<str>,
        /// The plugin's name.
        plugin: Arc<str>,
        /// The new generation's digest.
        generation: Digest,
    },
    /// A new generation that was tried is run by no worker any more.
    RolledBack {
        /// The workload's name.
        workload: Arc<str>,
        /// The plugin's name.
        plugin: Arc<str>,
        /// The new generation's digest.
        generation: Digest,
        /// Why.
        reason: String,
    },
    /// A plugin's new generation went into use, in all workers to come and in running ones between two messages.
    Swapped {
        /// The workload's name.
        workload: Arc<str>,
        /// The plugin's name.
        plugin: Arc<str>,
        /// The new generation's digest.
        generation: Digest,
    },
}

/// Where events go. Called from the host's tasks, so it must not block.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Event) + Send + Sync>);

impl Observer {
    /// Calls `f` for each event.
    pub fn new(f: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(f))
    }

    /// Ignores all events.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Tells of an event.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }
}
