//! When each message was sent, and how long it waited until a worker gave it to its handler.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use tidegate_runtime::contract::Author;
use tidegate_runtime::contract::{Delivery, Fault, Outcome};
use tidegate_runtime::ports::{Handler, Handlers};

/// Both ends of a wait are taken from this process's one clock, so no two clocks have to agree. Messages are sent one
/// after the other into an empty stream, so a message's position there says which it is.
#[derive(Debug)]
pub(super) struct WaitRecorder {
    start: OnceLock<Instant>,
    /// Nanoseconds since the start, in the order of the stream.
    sent: Vec<AtomicU64>,
    waits_us: Mutex<Histogram<u64>>,
    /// Messages whose first attempt has not ended.
    left: watch::Sender<usize>,
}

impl WaitRecorder {
    pub(super) fn new(messages: usize) -> anyhow::Result<Self> {
        Ok(Self {
            start: OnceLock::new(),
            sent: (0..messages).map(|_| AtomicU64::new(0)).collect(),
            waits_us: Mutex::new(Histogram::new(3)?),
            left: watch::Sender::new(messages),
        })
    }

    /// Times count from here.
    pub(super) fn start(&self, at: Instant) {
        let _ = self.start.set(at);
    }

    fn now(&self) -> u64 {
        self.start.get().map_or(0, |start| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The message of this index is sent now.
    pub(super) fn sent(&self, index: usize) {
        if let Some(sent) = self.sent.get(index) {
            sent.store(self.now(), Relaxed);
        }
    }

    /// A worker begins with the message at this position of the stream, for the first time.
    fn begin(&self, stream_sequence: u64) {
        let index = usize::try_from(stream_sequence).ok().and_then(|sequence| sequence.checked_sub(1));
        let Some(sent) = index.and_then(|index| self.sent.get(index)) else { return };
        let wait_ns = self.now().saturating_sub(sent.load(Relaxed));
        // It resizes itself, so every value fits.
        self.waits_us.lock().record(wait_ns / 1000).ok();
    }

    /// A worker's first attempt at a message has ended.
    fn end(&self) {
        self.left.send_modify(|left| *left = left.saturating_sub(1));
    }

    /// Waits until every message was handled.
    pub(super) async fn all(&self) {
        // The sender lives as long as this.
        let _ = self.left.subscribe().wait_for(|left| *left == 0).await;
    }

    /// Messages that were not handled yet.
    pub(super) fn left(&self) -> usize {
        *self.left.borrow()
    }

    /// The waits in microseconds, each `faster` times as long as it was.
    pub(super) fn waits(&self, faster: f64) -> Histogram<u64> {
        let real = self.waits_us.lock();
        let mut waits = real.clone();
        waits.reset();
        for value in real.iter_recorded() {
            let wait = value.value_iterated_to() as f64 * faster;
            waits.record_n(wait.round() as u64, value.count_at_value()).ok();
        }
        waits
    }
}

/// Handlers whose instances note when they begin with a message.
#[derive(Clone)]
pub(super) struct RecordingHandlers<H> {
    inner: H,
    recorder: Arc<WaitRecorder>,
    start_delay: Duration,
}

impl<H> RecordingHandlers<H> {
    /// `start_delay` is real time that each instance takes longer to start.
    pub(super) fn new(inner: H, recorder: Arc<WaitRecorder>, start_delay: Duration) -> Self {
        Self { inner, recorder, start_delay }
    }
}

pub(super) struct RecordingHandler<I> {
    inner: I,
    recorder: Arc<WaitRecorder>,
}

impl<H: Handlers> Handlers for RecordingHandlers<H> {
    type Instance = RecordingHandler<H::Instance>;

    async fn instantiate(&mut self, worker: u64) -> Result<Self::Instance, Fault> {
        let inner = self.inner.instantiate(worker).await?;
        if !self.start_delay.is_zero() {
            sleep(self.start_delay).await;
        }
        Ok(RecordingHandler { inner, recorder: self.recorder.clone() })
    }

    fn prepare(&mut self) -> impl Future<Output = Result<(), Fault>> + Send + use<H> {
        self.inner.prepare()
    }

    fn is_newer(&mut self) -> bool {
        self.inner.is_newer()
    }

    async fn newer(&mut self) {
        self.inner.newer().await;
    }
}

impl<I: Handler> Handler for RecordingHandler<I> {
    async fn handle(&mut self, delivery: &Delivery) -> Outcome {
        let is_first = delivery.attempt == 1;
        if is_first {
            self.recorder.begin(delivery.stream_sequence);
        }
        let outcome = self.inner.handle(delivery).await;
        if is_first {
            self.recorder.end();
        }
        outcome
    }

    fn author(&self) -> &Author {
        self.inner.author()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_from_sending_to_beginning_and_in_the_time_of_the_trace() {
        let recorder = WaitRecorder::new(2).unwrap();
        recorder.start(Instant::now());
        recorder.sent(0);
        advance(Duration::from_millis(30)).await;
        recorder.sent(1);
        advance(Duration::from_millis(20)).await;
        recorder.begin(1);
        recorder.begin(2);
        assert_eq!(recorder.left(), 2);
        recorder.end();
        recorder.end();
        recorder.all().await;
        let waits = recorder.waits(10.0);
        assert_eq!(waits.len(), 2);
        let close = |value: u64, to: u64| value.abs_diff(to) * 500 <= to;
        assert!(close(waits.min(), 200_000) && close(waits.max(), 500_000), "{} {}", waits.min(), waits.max());
    }

    #[tokio::test]
    async fn a_message_of_somebody_else_is_not_counted() {
        let recorder = WaitRecorder::new(1).unwrap();
        recorder.begin(0);
        recorder.begin(2);
        assert_eq!(recorder.waits(1.0).len(), 0);
    }
}
