//! The load: batches of requests, each with a message id, each awaited and tried again if no reply comes.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;

use tidegate_runtime::duration::micros;

/// How often one request is sent before it counts as unanswered.
const ATTEMPTS: u32 = 5;
/// After so many unanswered requests in a row the handler is taken to be one that does not reply.
const STREAK: u32 = 10;

/// What one batch sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Requests.
    pub requests: u32,
    /// Requests that wait for a reply at the same time; 1 sends one after the other.
    pub concurrency: usize,
    /// Bytes of each payload.
    pub payload_size: usize,
    /// What message ids and payloads are made from. The same seed makes the same ones.
    pub seed: u64,
}

/// How sending a request once ended.
#[derive(Debug)]
pub(super) enum RequestOutcome {
    /// With a reply.
    Replied,
    /// Not known to be stored. The same message id is safe to use again.
    Unacked,
    /// Stored there and not replied to. The stream remembers the id even if the message is gone.
    Unanswered {
        /// The position in the stream.
        sequence: u64,
    },
    /// Stored there and kept as a dead letter: it will not be handled, so there is nothing to wait for.
    Dead {
        /// The position in the stream.
        sequence: u64,
    },
}

/// Sends one request once. Errors are those that another attempt would meet again.
pub(super) trait Requester: Sync {
    /// Sends it and waits for the reply.
    fn request(&self, id: &str, payload: Bytes) -> impl Future<Output = anyhow::Result<RequestOutcome>> + Send;
}

/// A request that never got a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// Its first message id.
    pub id: String,
    /// Where in the stream its messages were.
    pub sequences: Vec<u64>,
}

/// What came of a batch.
#[derive(Debug, Clone)]
pub(super) struct RequestBatch {
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Microseconds from sending a request for the first time to its reply.
    pub latency: Histogram<u64>,
    /// The same for the first request; `None` if it was never replied to.
    pub first: Option<Duration>,
    /// Requests, each counted once.
    pub sent: u64,
    /// Requests that got a reply.
    pub replied: u64,
    /// Times a request was sent again.
    pub retried: u64,
    /// The requests that got none.
    pub unanswered: Vec<Unanswered>,
}

/// What came of one request.
#[derive(Debug)]
struct SentRequest {
    index: u32,
    latency: Option<Duration>,
    retries: u32,
    sequences: Vec<u64>,
}

/// Sends one batch; `number` counts from 1 and keeps the message ids of batches apart. `done` is called after each
/// request.
///
/// # Errors
/// When requests cannot be sent at all, or when the last ten were all unanswered.
pub(super) async fn batch(
    load: &Load,
    number: u32,
    requester: &impl Requester,
    done: impl Fn(),
) -> anyhow::Result<RequestBatch> {
    let start = Instant::now();
    // One request after the other is the example's way: three significant digits of at most a minute.
    let latency = Histogram::new_with_bounds(1, 60_000_000, 3).context("a histogram of one minute")?;
    let empty = RequestBatch {
        elapsed: Duration::ZERO,
        latency,
        first: None,
        sent: 0,
        replied: 0,
        retried: 0,
        unanswered: Vec::new(),
    };
    let streak = AtomicU32::new(0);
    let (streak, done) = (&streak, &done);
    let requests = stream::iter(0..load.requests).map(|index| async move {
        let sent = one(load, number, index, requester).await?;
        done();
        if sent.latency.is_some() {
            streak.store(0, Ordering::Relaxed);
        } else if streak.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= STREAK {
            bail!(
                "the last {STREAK} requests got no reply: does the handler reply to such payloads, and do workers run?"
            );
        }
        Ok(sent)
    });
    let batch = requests.buffer_unordered(load.concurrency.max(1));
    let mut batch = batch.try_fold(empty, |batch, sent| async move { Ok(batch.with(load, number, sent)) }).await?;
    batch.elapsed = start.elapsed();
    Ok(batch)
}

async fn one(load: &Load, number: u32, index: u32, requester: &impl Requester) -> anyhow::Result<SentRequest> {
    let base = message_id(load.seed, number, index);
    let payload = payload(load.seed, index, load.payload_size);
    let (start, mut id) = (Instant::now(), base.clone());
    let mut sent = SentRequest { index, latency: None, retries: 0, sequences: Vec::new() };
    loop {
        match requester.request(&id, payload.clone()).await? {
            RequestOutcome::Replied => {
                sent.latency = Some(start.elapsed());
                return Ok(sent);
            }
            RequestOutcome::Dead { sequence } => {
                sent.sequences.push(sequence);
                return Ok(sent);
            }
            RequestOutcome::Unacked => {}
            RequestOutcome::Unanswered { sequence } => {
                sent.sequences.push(sequence);
                id = format!("{base}.{}", sent.retries.saturating_add(1));
            }
        }
        if sent.retries.saturating_add(1) >= ATTEMPTS {
            return Ok(sent);
        }
        sent.retries = sent.retries.saturating_add(1);
        tracing::warn!("batch {number}: request {index} not replied to, retrying as {id}");
    }
}

impl RequestBatch {
    fn with(mut self, load: &Load, number: u32, sent: SentRequest) -> Self {
        self.sent = self.sent.saturating_add(1);
        self.retried = self.retried.saturating_add(u64::from(sent.retries));
        match sent.latency {
            Some(latency) => {
                self.replied = self.replied.saturating_add(1);
                self.latency.saturating_record(micros(latency));
                if sent.index == 0 {
                    self.first = Some(latency);
                }
            }
            None => {
                let id = message_id(load.seed, number, sent.index);
                self.unanswered.push(Unanswered { id, sequences: sent.sequences });
            }
        }
        self
    }
}

/// Distinct for each request of a run.
fn message_id(seed: u64, batch: u32, index: u32) -> String {
    format!("{:016x}-{batch}-{index}", mix(seed))
}

fn payload(seed: u64, index: u32, size: usize) -> Bytes {
    let words = (0_u64..).flat_map(|word| mix(seed ^ (u64::from(index) << 32) ^ word).to_le_bytes());
    words.take(size).collect()
}

/// The splitmix64 generator's step (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;

    const LOAD: Load = Load { requests: 20, concurrency: 1, payload_size: 0, seed: 1 };

    /// Answers each id as told, and `Replied` where nothing is told; remembers all ids.
    #[derive(Default)]
    struct ScriptedRequester {
        told: BTreeMap<String, RequestOutcome>,
        ids: Mutex<Vec<String>>,
    }

    impl Requester for ScriptedRequester {
        async fn request(&self, id: &str, _: Bytes) -> anyhow::Result<RequestOutcome> {
            self.ids.lock().push(id.to_owned());
            Ok(match self.told.get(id) {
                Some(RequestOutcome::Unacked) => RequestOutcome::Unacked,
                Some(RequestOutcome::Unanswered { sequence }) => RequestOutcome::Unanswered { sequence: *sequence },
                Some(RequestOutcome::Dead { sequence }) => RequestOutcome::Dead { sequence: *sequence },
                Some(RequestOutcome::Replied) | None => RequestOutcome::Replied,
            })
        }
    }

    #[tokio::test]
    async fn each_request_is_sent_once_with_an_id_of_its_own() {
        let script = ScriptedRequester::default();
        let batch1 = batch(&LOAD, 1, &script, || {}).await.unwrap();
        let batch2 = batch(&LOAD, 2, &script, || {}).await.unwrap();
        assert_eq!((batch1.sent, batch1.replied, batch1.retried, batch2.sent), (20, 20, 0, 20));
        assert_eq!(batch1.latency.len(), 20);
        assert!(batch1.first.is_some());
        let mut ids = script.ids.into_inner();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 40);
    }

    #[tokio::test]
    async fn a_request_that_may_not_be_stored_is_sent_again_with_the_same_id() {
        let id = message_id(1, 1, 3);
        let script = ScriptedRequester {
            told: BTreeMap::from([(id.clone(), RequestOutcome::Unacked)]),
            ..ScriptedRequester::default()
        };
        let batch = batch(&LOAD, 1, &script, || {}).await.unwrap();
        assert_eq!((batch.sent, batch.replied, batch.retried), (20, 19, 4));
        assert_eq!(batch.unanswered, [Unanswered { id: id.clone(), sequences: vec![] }]);
        assert_eq!(script.ids.into_inner().iter().filter(|sent| **sent == id).count(), 5);
    }

    #[tokio::test]
    async fn a_request_that_was_stored_and_deleted_is_sent_again_with_a_new_id() {
        let id = message_id(1, 1, 0);
        let told = BTreeMap::from([(id.clone(), RequestOutcome::Unanswered { sequence: 9 })]);
        let script = ScriptedRequester { told, ..ScriptedRequester::default() };
        let batch = batch(&LOAD, 1, &script, || {}).await.unwrap();
        assert_eq!((batch.sent, batch.replied, batch.retried), (20, 20, 1));
        assert_eq!(script.ids.into_inner()[..2], [id.clone(), format!("{id}.1")]);
    }

    #[tokio::test]
    async fn a_request_that_became_a_dead_letter_is_not_sent_again() {
        let id = message_id(1, 1, 2);
        let script = ScriptedRequester {
            told: BTreeMap::from([(id.clone(), RequestOutcome::Dead { sequence: 9 })]),
            ..ScriptedRequester::default()
        };
        let batch = batch(&LOAD, 1, &script, || {}).await.unwrap();
        assert_eq!((batch.sent, batch.replied, batch.retried), (20, 19, 0));
        assert_eq!(batch.unanswered, [Unanswered { id, sequences: vec![9] }]);
    }

    #[tokio::test]
    async fn a_handler_that_never_replies_ends_the_batch() {
        struct Silent;
        impl Requester for Silent {
            async fn request(&self, _: &str, _: Bytes) -> anyhow::Result<RequestOutcome> {
                Ok(RequestOutcome::Unanswered { sequence: 1 })
            }
        }
        let error = batch(&LOAD, 1, &Silent, || {}).await.unwrap_err();
        assert!(error.to_string().contains("does the handler reply"), "{error}");
    }

    #[tokio::test]
    async fn no_more_requests_than_allowed_wait_at_once() {
        #[derive(Default)]
        struct LoadCounter(Mutex<(usize, usize)>);
        impl Requester for LoadCounter {
            async fn request(&self, _: &str, _: Bytes) -> anyhow::Result<RequestOutcome> {
                {
                    let mut count = self.0.lock();
                    count.0 += 1;
                    count.1 = count.1.max(count.0);
                }
                tokio::task::yield_now().await;
                self.0.lock().0 -= 1;
                Ok(RequestOutcome::Replied)
            }
        }
        for concurrency in [1, 4] {
            let counter = LoadCounter::default();
            batch(&Load { concurrency, ..LOAD }, 1, &counter, || {}).await.unwrap();
            assert_eq!(counter.0.into_inner().1, concurrency);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_ids_and_payloads() {
        assert_eq!(message_id(7, 1, 2), message_id(7, 1, 2));
        assert_ne!(message_id(7, 1, 2), message_id(8, 1, 2));
        assert_eq!(payload(7, 1, 100), payload(7, 1, 100));
        assert_ne!(payload(7, 1, 100), payload(7, 2, 100));
        assert_eq!(payload(7, 1, 100).len(), 100);
        assert!(payload(7, 1, 0).is_empty());
    }
}
