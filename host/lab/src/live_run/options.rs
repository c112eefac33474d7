use std::time::Duration;

/// The workload's and the stream's name, and how its subject begins.
pub(super) const NAME: &str = "live";

/// One message of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceMessage {
    /// When it is sent, since the start of the trace.
    pub at: Duration,
    /// How long it takes a worker.
    pub service: Duration,
}

/// What is run. All times are those of the trace.
#[derive(Debug, Clone)]
pub struct LiveRunOptions {
    /// The messages, in the order of time.
    pub messages: Vec<TraceMessage>,
    /// How long the trace is. It is over when this is, and all messages are handled.
    pub length: Duration,
    /// By how much all times are compressed; at least 1.
    pub faster: f64,
    /// The fewest workers.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// Between two decisions.
    pub interval: Duration,
    /// What rates are measured over.
    pub window: Duration,
    /// The most deliveries fetched ahead for a worker.
    pub batch: usize,
    /// How long a worker takes to start, beside what it takes anyway.
    pub start_delay: Duration,
    /// `now-ms` at the start of the trace.
    pub start_ms: u64,
    /// A handler that takes as long as its payload says.
    pub wait: &'static [u8],
    /// The policy's component.
    pub policy: Vec<u8>,
    /// What it gets in `init`.
    pub settings: Vec<(String, String)>,
}

impl LiveRunOptions {
    /// A time of the trace as it is now.
    pub(super) fn real(&self, time: Duration) -> Duration {
        Duration::try_from_secs_f64(time.as_secs_f64() / self.faster).unwrap_or(Duration::MAX)
    }
}
