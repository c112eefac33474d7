//! The settings of a workload's consumer that are in effect now. Somebody may edit them at the server at any time.
//!
//! `jetstream` writes them when it reads the consumer's state, once an interval. Workers, the fetching task and the
//! monitor read them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::config::Scale;
use crate::delivery::pin::Pin;
pub use crate::delivery::pin::PinGroup;
pub(crate) use crate::delivery::pin::PullAs;

/// The settings that are in effect.
#[derive(Debug)]
pub struct Effective {
    ack_wait_ns: AtomicU64,
    /// After how long without a pull or an ack the server deletes the consumer; 0 is never.
    inactive_threshold_ns: AtomicU64,
    edited: Notify,
    max_ack_pending: AtomicI64,
    /// After how many deliveries the server drops a message, without telling anybody; 0 is never.
    max_deliver: AtomicU32,
    pulls: Mutex<PullLimits>,
    flow: Mutex<ConsumerFlow>,
    pin: Mutex<Pin>,
    /// Whether there is a connection by which announcements go out.
    is_linked: AtomicBool,
    /// Messages that wait for another try: how often they were delivered, by their sequence.
    retried: Mutex<BTreeMap<u64, u32>>,
    /// Messages in handlers of which the server heard so late that another host may have had them, by their sequence.
    lapsed: Mutex<BTreeSet<u64>>,
}

/// How many messages that wait for another try are remembered, and how many of which the server heard late.
const REMEMBERED: usize = 100_000;

/// What one consumer lets a pull ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullLimits {
    /// Messages of one pull, at most.
    pub batch: usize,
    /// Bytes of one pull, at most.
    pub bytes: usize,
    /// How long a pull may wait at the server, at most.
    pub expires: Duration,
    /// Pulls that may wait at once, at most.
    pub waiting: usize,
}

impl PullLimits {
    /// No limits.
    pub(crate) const NONE: Self =
        Self { batch: usize::MAX, bytes: usize::MAX, expires: Duration::MAX, waiting: usize::MAX };
}

/// One pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Messages that the pull asks for.
    pub batch: usize,
    /// Bytes that the pull asks for; 0 is no limit.
    pub bytes: usize,
    /// How long the pull may wait at the server.
    pub expires: Duration,
}

impl PullLimits {
    /// What one pull asks for, if up to `count` messages of `bytes` together are wanted within `expires`, and the
    /// server takes payloads of up to `max_payload` bytes.
    ///
    /// A message that is larger than the bytes of a pull would never be delivered, and hold up those behind it. So
    /// where the consumer limits a pull to fewer bytes than one message may have, with its subject and headers, the
    /// pull names no bytes, and asks for no more messages than fit.
    pub fn ask(&self, count: usize, bytes: usize, expires: Duration, max_payload: usize) -> Ask {
        let one = max_payload.saturating_mul(2);
        let batch = count.min(self.batch).max(1);
        let expires = expires.min(self.expires);
        match bytes.max(one).min(self.bytes) {
            bytes if bytes >= one => Ask { batch, bytes, expires },
            _ => Ask { batch: batch.min((bytes / max_payload.max(1)).max(1)), bytes: 0, expires },
        }
    }
}

/// Whether the consumer delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerFlow {
    /// It delivers.
    Free,
    /// It delivers, and something is wrong with it all the same: what, and the remedy.
    Doubtful(String),
    /// It delivers nothing for now, and pulls may wait at it: why, and the remedy.
    Held(String),
    /// Nothing must be pulled from it, because messages would be lost: why, and the remedy.
    Refused(String),
}

impl ConsumerFlow {
    /// What is wrong with the consumer, with the remedy, if something is.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Free => None,
            Self::Doubtful(problem) | Self::Held(problem) | Self::Refused(problem) => Some(problem),
        }
    }
}

/// The settings, as they were read from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// How long the server waits for a settlement before it delivers again.
    pub ack_wait: Duration,
    /// After how long without a pull or an ack the server deletes the consumer, if it ever does.
    pub inactive_threshold: Option<Duration>,
    /// Deliveries that may be unsettled at once; not positive is no limit.
    pub max_ack_pending: i64,
    /// How often the server delivers a message; `None` is for ever.
    pub max_deliver: Option<u32>,
    /// What a pull may ask for.
    pub pulls: PullLimits,
    /// The group of hosts of which one is given messages, if the consumer has one.
    pub pin_group: Option<PinGroup>,
}

#[cfg(test)]
impl ConsumerSettings {
    /// An ack wait of 30 s, and no limits.
    fn unlimited() -> Self {
        Self {
            ack_wait: Duration::from_secs(30),
            inactive_threshold: None,
            max_ack_pending: -1,
            max_deliver: None,
            pulls: PullLimits::NONE,
            pin_group: None,
        }
    }
}

impl Effective {
    /// With these settings, of a consumer that delivers.
    pub fn new(settings: &ConsumerSettings) -> Arc<Self> {
        let effective = Self {
            ack_wait_ns: AtomicU64::new(0),
            inactive_threshold_ns: AtomicU64::new(0),
            edited: Notify::new(),
            max_ack_pending: AtomicI64::new(0),
            max_deliver: AtomicU32::new(0),
            pulls: Mutex::new(PullLimits::NONE),
            flow: Mutex::new(ConsumerFlow::Free),
            pin: Mutex::default(),
            is_linked: AtomicBool::new(true),
            retried: Mutex::default(),
            lapsed: Mutex::default(),
        };
        effective.set(settings);
        Arc::new(effective)
    }

    /// With this ack wait, and no other limit.
    #[cfg(test)]
    pub(crate) fn with_ack_wait(ack_wait: Duration) -> Arc<Self> {
        Self::new(&ConsumerSettings { ack_wait, ..ConsumerSettings::unlimited() })
    }

    /// With this limit of unsettled deliveries, and no other.
    #[cfg(test)]
    pub(crate) fn with_max_ack_pending(max_ack_pending: i64) -> Arc<Self> {
        Self::new(&ConsumerSettings { max_ack_pending, ..ConsumerSettings::unlimited() })
    }

    /// With this ack wait, of a consumer that gives messages to one host of a group.
    #[cfg(test)]
    pub(crate) fn grouped(ack_wait: Duration) -> Arc<Self> {
        let effective = Self::with_ack_wait(ack_wait);
        let group = PinGroup { name: "g".to_owned(), timeout: Duration::from_secs(8) };
        effective.pin.lock().set_group(Some(&group));
        effective
    }

    /// Replaces the settings.
    pub(crate) fn set(&self, settings: &ConsumerSettings) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let ack_wait = nanos(settings.ack_wait);
        let inactive_threshold = settings.inactive_threshold.map_or(0, nanos);
        self.max_ack_pending.store(settings.max_ack_pending, Relaxed);
        self.max_deliver.store(settings.max_deliver.unwrap_or(0), Relaxed);
        *self.pulls.lock() = settings.pulls;
        self.pin.lock().set_group(settings.pin_group.as_ref());
        let other_ack_wait = self.ack_wait_ns.swap(ack_wait, Relaxed) != ack_wait;
        if self.inactive_threshold_ns.swap(inactive_threshold, Relaxed) != inactive_threshold || other_ack_wait {
            self.edited.notify_waiters();
        }
    }

    /// Sets whether the consumer delivers.
    pub fn flows(&self, flow: ConsumerFlow) {
        *self.flow.lock() = flow;
    }

    /// Whether the consumer delivers.
    pub(crate) fn flow(&self) -> ConsumerFlow {
        self.flow.lock().clone()
    }

    /// Whether nothing must be pulled.
    pub fn is_refused(&self) -> bool {
        matches!(*self.flow.lock(), ConsumerFlow::Refused(_))
    }

    /// Whether it delivers nothing for now, though it could.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.flow.lock(), ConsumerFlow::Held(_))
    }

    /// How a pull is to be sent; `None` where all hosts are given messages.
    pub(crate) fn pull_as(&self) -> Option<PullAs> {
        self.pin.lock().pull_as()
    }

    /// Whether one host at a time is given messages.
    pub(crate) fn has_pin_group(&self) -> bool {
        self.pin.lock().has_group()
    }

    /// How often this host has to pull to be given messages still; `None` if it is not given any, or need not be.
    pub(crate) fn keep_pin_every(&self) -> Option<Duration> {
        self.pin.lock().keep_every()
    }

    /// A delivery names the pinned host, which is this one, for it came here. `false` where the consumer has no group.
    pub(crate) fn pinned(&self, id: &str) -> bool {
        self.pin.lock().came(id)
    }

    /// The server has refused a pull of this change, for another host is pinned. Whether that is news.
    pub(crate) fn pin_refused(&self, epoch: u64) -> bool {
        self.pin.lock().refused(epoch)
    }

    /// Whether this host cannot work, so that another may be given the messages.
    pub(crate) fn lets_pin_go(&self, lets: bool) {
        self.pin.lock().set_idle(lets);
    }

    /// Whether another host of the group may be the one that is given messages.
    pub(crate) fn is_standby(&self) -> bool {
        self.pin.lock().is_standby()
    }

    /// Whether this host has ceased to be given messages since this was asked last.
    pub(crate) fn lost_pin(&self) -> bool {
        self.pin.lock().take_lost()
    }

    /// Whether there is a connection.
    pub(crate) fn linked(&self, is_linked: bool) {
        self.is_linked.store(is_linked, Relaxed);
    }

    /// Whether a delivery of an order, of which the server heard last at `since`, may have been given to another host
    /// by now. Announcements come before half of the ack wait is over; the last quarter leaves time to notice that a
    /// connection is dead.
    pub(crate) fn has_lapsed(&self, since: Instant) -> bool {
        since.elapsed() * 4 > self.ack_wait() * 3 && self.pin.lock().has_group()
    }

    /// A message is in a handler, and announced; the server heard of it last at `since`.
    pub(crate) fn announced(&self, stream_sequence: u64, since: Instant) {
        if self.has_lapsed(since) {
            let mut lapsed = self.lapsed.lock();
            lapsed.insert(stream_sequence);
            if lapsed.len() > REMEMBERED {
                lapsed.pop_first();
            }
        }
    }

    /// A message is delivered again, and to this host.
    pub(crate) fn is_here_again(&self, stream_sequence: u64) {
        self.lapsed.lock().remove(&stream_sequence);
    }

    /// How many messages in handlers another host may have had. `is_in_handler` is asked of each.
    pub(crate) fn lapsed(&self, is_in_handler: impl Fn(u64) -> bool) -> u64 {
        let mut lapsed = self.lapsed.lock();
        lapsed.retain(|sequence| is_in_handler(*sequence));
        lapsed.len() as u64
    }

    /// Whether the server hears of an announcement that is sent now, as far as can be known, and it is not too late for
    /// it.
    pub(crate) fn may_announce(&self, since: Instant) -> bool {
        self.is_linked.load(Relaxed) && !self.has_lapsed(since) || !self.pin.lock().has_group()
    }

    /// How long the server waits for a settlement.
    pub(crate) fn ack_wait(&self) -> Duration {
        Duration::from_nanos(self.ack_wait_ns.load(Relaxed))
    }

    /// After how long the server is told again that a delivery is in progress: a quarter of the ack wait.
    pub fn announce_after(&self) -> Duration {
        (self.ack_wait() / 4).max(Duration::from_millis(1))
    }

    /// How often the server is told that the consumer is in use: three times in its inactive threshold, if it has one.
    pub(crate) fn tell_in_use_every(&self) -> Option<Duration> {
        let threshold = Duration::from_nanos(self.inactive_threshold_ns.load(Relaxed));
        (!threshold.is_zero()).then(|| (threshold / 3).max(Duration::from_millis(100)))
    }

    /// Ends when the ack wait or the inactive threshold is edited after this was called.
    pub(crate) fn edited(&self) -> Notified<'_> {
        self.edited.notified()
    }

    /// Whether the server will not deliver a message again after this many deliveries. If it is not settled for good
    /// then, it is lost.
    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        let most = self.max_deliver.load(Relaxed);
        most > 0 && attempt >= most
    }

    /// Remembers that a message was given back after this many deliveries.
    pub(crate) fn gave_back(&self, stream_sequence: u64, attempt: u32) {
        let mut retried = self.retried.lock();
        retried.insert(stream_sequence, attempt);
        if retried.len() > REMEMBERED {
            retried.pop_first();
        }
    }

    /// Forgets a message that was given back and is delivered again.
    pub(crate) fn came_back(&self, stream_sequence: u64) {
        self.retried.lock().remove(&stream_sequence);
    }

    /// Forgets messages up to this sequence: all of them are settled, by whichever host.
    pub(crate) fn settled_to(&self, stream_sequence: u64) {
        let mut retried = self.retried.lock();
        if !retried.is_empty() {
            *retried = retried.split_off(&stream_sequence.saturating_add(1));
        }
    }

    /// Takes the messages that this host gave back and the server will not deliver again, each with the number of its
    /// deliveries.
    pub(crate) fn dropped(&self) -> Vec<(u64, u32)> {
        let most = self.max_deliver.load(Relaxed);
        if most == 0 {
            return Vec::new();
        }
        self.retried.lock().extract_if(.., |_, attempt| *attempt >= most).collect()
    }

    /// What a pull may ask for.
    pub(crate) fn pulls(&self) -> PullLimits {
        *self.pulls.lock()
    }

    /// How many deliveries may be unsettled at once; `None` is no limit.
    pub(crate) fn max_ack_pending(&self) -> Option<usize> {
        usize::try_from(self.max_ack_pending.load(Relaxed)).ok().filter(|most| *most > 0)
    }

    /// The scale without workers that could never get a message: the server has at most `max_ack_pending` deliveries
    /// out at once.
    pub fn employable(&self, scale: &Scale) -> Scale {
        let most = match u32::try_from(self.max_ack_pending.load(Relaxed)) {
            Ok(limit @ 1..) => scale.max.min(limit),
            _ => scale.max,
        };
        Scale { min: scale.min.min(most), max: most, ..scale.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SignalSource;

    fn settings(max_ack_pending: i64, max_deliver: Option<u32>) -> ConsumerSettings {
        let ack_wait = Duration::from_secs(2);
        ConsumerSettings { ack_wait, max_ack_pending, max_deliver, ..ConsumerSettings::unlimited() }
    }

    #[test]
    fn the_last_delivery_is_that_of_the_server() {
        let effective = Effective::new(&settings(-1, None));
        assert!(!effective.is_last(1_000_000));
        effective.set(&settings(-1, Some(2)));
        assert!(!effective.is_last(1));
        assert!(effective.is_last(2) && effective.is_last(3));
    }

    #[test]
    fn what_waits_for_another_try_when_max_deliver_is_set_is_known_by_its_sequence() {
        let effective = Effective::new(&settings(-1, None));
        for (sequence, attempt) in [(1, 9), (2, 1), (3, 2), (4, 5), (5, 7)] {
            effective.gave_back(sequence, attempt);
        }
        assert_eq!(effective.dropped(), []);
        effective.came_back(4);
        effective.settled_to(1);
        effective.set(&settings(-1, Some(2)));
        assert_eq!(effective.dropped(), [(3, 2), (5, 7)]);
        assert_eq!(effective.dropped(), []);
        // A message that is given back at its last delivery all the same is noticed too.
        effective.gave_back(2, 2);
        assert_eq!(effective.dropped(), [(2, 2)]);
    }

    #[test]
    fn no_more_workers_than_deliveries_that_may_be_unsettled() {
        let second = Duration::from_secs(1);
        let scale = Scale { min: 4, max: 8, interval: second, window: second, source: SignalSource::Info };
        let bounds = |limit| {
            let scale = Effective::new(&settings(limit, None)).employable(&scale);
            (scale.min, scale.max)
        };
        assert_eq!((bounds(-1), bounds(0), bounds(100)), ((4, 8), (4, 8), (4, 8)));
        assert_eq!((bounds(3), bounds(6)), ((3, 3), (4, 6)));
    }

    #[test]
    fn a_pull_asks_for_what_the_consumer_lets_it() {
        let (mib, second) = (1 << 20, Duration::from_secs(1));
        let free = PullLimits::NONE.ask(100, 64 * mib, second * 5, mib);
        assert_eq!(free, Ask { batch: 100, bytes: 64 * mib, expires: second * 5 });
        let tight = PullLimits { batch: 7, bytes: 3 * mib, expires: second, waiting: 1 };
        assert_eq!(tight.ask(100, 64 * mib, second * 5, mib), Ask { batch: 7, bytes: 3 * mib, expires: second });
        assert_eq!(tight.ask(3, 0, second / 2, mib), Ask { batch: 3, bytes: 2 * mib, expires: second / 2 });
    }

    #[test]
    fn a_message_larger_than_a_pull_may_bring_does_not_hold_up_those_behind_it() {
        let (mib, second) = (1 << 20, Duration::from_secs(1));
        let tiny = PullLimits { bytes: 1, ..PullLimits::NONE };
        assert_eq!(tiny.ask(100, 8 * mib, second, mib), Ask { batch: 8, bytes: 0, expires: second });
        assert_eq!(tiny.ask(100, 0, second, mib), Ask { batch: 1, bytes: 0, expires: second });
    }

    #[tokio::test]
    async fn who_waits_hears_of_another_ack_wait() {
        let effective = Effective::with_ack_wait(Duration::from_secs(30));
        let heard = effective.edited();
        effective.set(&settings(-1, None));
        heard.await;
        assert_eq!(effective.announce_after(), Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_consumer_that_the_server_would_delete_is_said_to_be_in_use_three_times_before() {
        let effective = Effective::new(&settings(-1, None));
        assert_eq!(effective.tell_in_use_every(), None);
        let heard = effective.edited();
        let inactive_threshold = Some(Duration::from_secs(30));
        effective.set(&ConsumerSettings { inactive_threshold, ..settings(-1, None) });
        heard.await;
        assert_eq!(effective.tell_in_use_every(), Some(Duration::from_secs(10)));
    }
}
