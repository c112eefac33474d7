/// Workers of the throughput rounds that have several.
pub(super) const WORKERS: u32 = 4;
/// The sizes of batches that are measured, each with several workers and with one.
pub(super) const BATCH_SIZES: [usize; 3] = [1, 10, 100];
/// How many keys the order has that is measured, each with several workers, beside no order on the same stream.
pub(super) const KEYS: [usize; 3] = [1, 100, 100_000];
/// Workers of handlers that wait, and how many deliveries each has at once.
pub(super) const WAITING: [(u32, usize); 2] = [(4, 64), (256, 1)];

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Messages of a throughput round.
    pub messages: usize,
    /// Bytes of each message.
    pub payload: usize,
    /// Rounds of each kind; the medians are reported. An idle host is looked at for as many seconds.
    pub rounds: u32,
    /// Requests of a latency round.
    pub requests: u32,
    /// A handler that answers each message with an empty reply.
    pub reply: &'static [u8],
    /// The same for batches.
    pub reply_batch: &'static [u8],
    /// A handler that answers each message with its payload.
    pub echo: &'static [u8],
    /// A handler that asks a service for what each message names, and publishes the answer.
    pub fetch: &'static [u8],
    /// The same in the asynchronous form.
    pub fetch_async: &'static [u8],
}

impl BenchOptions {
    /// How often [`run`](super::run) advances its bar.
    pub fn steps(&self) -> u64 {
        5 + WAITING.len() as u64 + (8 + 2 * BATCH_SIZES.len() as u64 + KEYS.len() as u64) * u64::from(self.rounds)
    }
}
