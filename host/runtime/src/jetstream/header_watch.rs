//! Counts arrivals by their headers, as the Auto-Scaler's PROVISIONER does: on a consumer that is sent the headers of
//! every message, and whose last message of those that came together is acknowledged for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{PulledMessage, Puller};
use crate::clock::Since;
use crate::contract::Delivery;
use crate::delivery::paced_pull::PacedPull;
use crate::duration::micros;
use crate::ports::{Held, Notice, Pulled};

/// How many messages are kept asked for, and of how many bytes: as many as arrive while a pull is on its way, so that a
/// rate is seen as it is however far the server.
const AHEAD: usize = 1000;
const AHEAD_BYTES: usize = 4 << 20;

/// What has been counted so far.
#[derive(Debug, Default)]
pub(crate) struct HeaderArrivals {
    count: AtomicU64,
    last_us: AtomicU64,
    /// Whether the last pull failed: what arrives now is not counted.
    lost: AtomicBool,
}

impl HeaderArrivals {
    fn count(&self, start: Since) {
        self.count.fetch_add(1, Ordering::Release);
        let now = micros(start.elapsed());
        self.last_us.store(now, Ordering::Release);
    }

    /// How many messages were seen, and when the last one was, since `start`.
    pub(crate) fn read(&self) -> (u64, Duration) {
        (self.count.load(Ordering::Acquire), Duration::from_micros(self.last_us.load(Ordering::Acquire)))
    }

    /// Whether nothing can be counted now.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn set_lost(&self, lost: bool) {
        self.lost.store(lost, Ordering::Release);
    }
}

/// Counts the arrivals of a workload.
#[derive(Debug)]
pub struct HeaderWatch {
    puller: Puller,
    arrivals: Arc<HeaderArrivals>,
}

impl HeaderWatch {
    pub(super) fn new(puller: Puller) -> Self {
        Self { puller, arrivals: Arc::default() }
    }

    /// Where it counts.
    pub(crate) fn arrivals(&self) -> Arc<HeaderArrivals> {
        self.arrivals.clone()
    }

    /// Counts until `stop` ends. `tell` is called with the reason each time a pull fails, and with `None` when pulls do
    /// not fail any more. Times of arrivals count from `start`.
    pub async fn run(self, start: Since, tell: impl FnMut(Option<Notice>), stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut pull = PacedPull::new(self.puller, tell);
        let mut counter = ArrivalCounting { arrivals: self.arrivals, start, seen: 0 };
        loop {
            if !pull.ask(|asked| (asked * 2 <= AHEAD).then_some((AHEAD - asked, AHEAD_BYTES))).await {
                counter.arrivals.set_lost(true);
            }
            tokio::select! {
                biased;
                pulled = pull.next() => counter.take_in(&mut pull, pulled).await,
                () = &mut stop => break,
            }
        }
        // Acknowledging the last one acknowledges all before it. What still comes is not acknowledged: the next host to
        // watch counts it.
    }
}

struct ArrivalCounting {
    arrivals: Arc<HeaderArrivals>,
    start: Since,
    /// The last message that was counted, by its sequence.
    seen: u64,
}

impl ArrivalCounting {
    /// Counts all that is there, and acknowledges the last.
    async fn take_in(
        &mut self,
        pull: &mut PacedPull<Puller, impl FnMut(Option<Notice>)>,
        first: Option<Pulled<PulledMessage>>,
    ) {
        let (mut pulled, mut newest, now) = (first, None, Instant::now());
        while let Some(one) = pulled {
            match one {
                Pulled::Delivery(message) => {
                    self.count(message.delivery());
                    newest = Some(message);
                }
                Pulled::Ended => self.arrivals.set_lost(false),
                Pulled::Failed(_) => self.arrivals.set_lost(true),
                Pulled::Lost | Pulled::Connected => {}
            }
            pulled = pull.ready(now);
        }
        if let Some(message) = newest {
            message.seen().await;
        }
    }

    /// Counts an arrival. A redelivery is none, unless it was lost on its way before. A stream that is made anew begins
    /// at 1 again.
    fn count(&mut self, delivery: &Delivery) {
        self.arrivals.set_lost(false);
        if delivery.attempt == 1 || delivery.stream_sequence > self.seen {
            self.seen = delivery.stream_sequence;
            self.arrivals.count(self.start);
        }
    }
}
