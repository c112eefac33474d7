use std::time::Duration;

use tidegate_runtime::config::{Compile, SignalSource};

/// What to send and what to run it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoOptions {
    /// Batches, at least 1.
    pub batches: u32,
    /// Requests of each batch, at least 1.
    pub requests: u32,
    /// Requests that wait for a reply at the same time; 1 sends one after the other, as the example does.
    pub concurrency: usize,
    /// Bytes of each request's payload.
    pub payload_size: usize,
    /// How long each request waits for its PubAck and its reply.
    pub timeout: Duration,
    /// Between two batches, and after the last before the host stops.
    pub pause: Duration,
    /// What message ids and payloads are made from.
    pub seed: u64,
    /// Where the host's signals come from.
    pub source: SignalSource,
    /// The handler's plugin name.
    pub handler: String,
    /// The policy's plugin name.
    pub policy: String,
    /// How plugins are compiled.
    pub compile: Compile,
}
