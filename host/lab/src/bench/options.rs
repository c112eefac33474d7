use super::loop_kind::LoopKind;
use super::rows::{Row, Rows};

/// Workers of the throughput rounds that have several.
pub(super) const WORKERS: u32 = 4;
/// The sizes of batches that are measured, each with several workers and with one.
pub(super) const BATCH_SIZES: [usize; 3] = [1, 10, 100];
/// How many keys the order has that is measured, each with several workers, beside no order on the same stream.
pub(super) const KEYS: [usize; 3] = [1, 100, 100_000];
/// The loops of the throughput rounds, with their workers. What is compared runs one after the other.
pub(super) const KINDS: [(LoopKind, u32); 5] = [
    (LoopKind::Native, WORKERS),
    (LoopKind::Wasm, WORKERS),
    (LoopKind::Example, WORKERS),
    (LoopKind::Native, 1),
    (LoopKind::Wasm, 1),
];
/// Workers of handlers that wait, and how many deliveries each has at once.
pub const WAITING: [(u32, usize); 2] = [(4, 64), (256, 1)];

/// Requests that are under way at once, where each has an instance of its own.
pub(super) const AT_ONCE: usize = 64;
/// Workloads of a host that has many.
pub(super) const MANY: usize = 1_000;

/// Workloads of a host whose workloads are all busy, at most, and messages of each of them.
pub(super) const BUSY: u32 = 1_000;
pub(super) const BUSY_MESSAGES: usize = 100;
/// Workers of a host that has many, at most.
pub(super) const MANY_WORKERS: u32 = 10_000;
/// Plugins of a host that starts.
pub(super) const PLUGINS: usize = 8;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// What is measured.
    pub rows: Rows,
    /// The process of the nats-server, if it is known.
    pub server: Option<u32>,
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
    /// A handler that publishes each message as often as its settings say.
    pub fan_out: &'static [u8],
    /// A policy that always wants the same number of workers.
    pub fixed: &'static [u8],
}

impl BenchOptions {
    /// How often [`run`](super::run) advances its bar.
    pub fn steps(&self) -> u64 {
        let once = [
            Row::Instance,
            Row::Idle,
            Row::FromZero,
            Row::Swap,
            Row::Swap,
            Row::Isolated,
            Row::ManyIdle,
            Row::Start,
            Row::IdleMemory,
            Row::ManyBusy,
            Row::ManyWorkers,
        ]
        .map(|row| self.rows.count(row));
        let rounds = KINDS.iter().filter(|(kind, _)| self.compares(*kind)).count() as u64
            + self.rows.count(Row::Batches) * 2 * BATCH_SIZES.len() as u64
            + self.rows.count(Row::Order) * (1 + KEYS.len() as u64)
            + self.rows.count(Row::Requests) * 2
            + self.rows.count(Row::Publications) * 2;
        u64::from(self.has_lab()) + once.into_iter().sum::<u64>() + rounds * u64::from(self.rounds)
    }

    /// Whether something is measured in this process on streams that are filled before.
    pub(super) fn has_lab(&self) -> bool {
        self.rows.any(|row| !row.has_processes() && row != Row::Instance && row != Row::Waiting)
    }

    /// Whether the throughput of this loop is measured. Batches are compared with native code.
    pub(super) fn compares(&self, kind: LoopKind) -> bool {
        self.rows.has(Row::Throughput) || self.rows.has(Row::Batches) && kind == LoopKind::Native
    }
}
