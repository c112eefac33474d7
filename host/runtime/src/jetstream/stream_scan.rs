//! Reads a stream through, in its order.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Stream;
use futures_util::StreamExt;

use crate::dead_letter::StoredMessage;

/// How many messages are asked for at once: without their payloads, and with them.
const BATCH: (usize, usize) = (1000, 100);

/// What is read of a stream.
pub(super) struct Scan {
    /// The last message that counts, by its sequence.
    pub(super) last: u64,
    /// On these subjects; on all if there are none.
    pub(super) subjects: Vec<String>,
    /// Stored since then.
    pub(super) since: Option<SystemTime>,
    /// Whether the payloads are wanted.
    pub(super) payloads: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Scan {
    /// Reads until `each` has enough.
    ///
    /// # Errors
    /// If the messages cannot all be read.
    pub(super) async fn run(
        &self,
        stream: &Stream,
        mut each: impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut policy = match self.since {
            Some(since) => DeliverPolicy::ByStartTime { start_time: since.into() },
            None => DeliverPolicy::All,
        };
        // A reconnect may lose messages on their way. Then it goes on after the last that came.
        loop {
            let config = pull::Config {
                ack_policy: AckPolicy::None,
                deliver_policy: policy,
                filter_subjects: self.subjects.clone(),
                headers_only: !self.payloads,
                max_waiting: 4,
                ..pull::Config::default()
            };
            let consumer: PullConsumer = stream.create_consumer(config).await?;
            let mut read = Reading { before: 0, consumer_sequence: 0 };
            if consumer.cached_info().num_pending == 0 || self.through(&mut read, &consumer, &mut each).await? {
                stream.delete_consumer(&consumer.cached_info().name).await.ok();
                return Ok(());
            }
            policy = match read.before {
                0 => policy,
                sequence => DeliverPolicy::ByStartSequence { start_sequence: sequence + 1 },
            };
        }
    }

    /// Reads until there is nothing left, or `each` has enough. `false` if something was lost on its way.
    async fn through(
        &self,
        read: &mut Reading,
        consumer: &PullConsumer,
        each: &mut impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<bool, Failure> {
        let most = if self.payloads { BATCH.1 } else { BATCH.0 };
        loop {
            let mut came = 0;
            let mut batch = consumer.fetch().max_messages(most).expires(Duration::from_secs(5)).messages().await?;
            while let Some(message) = batch.next().await {
                let message = message?;
                let info = message.info()?;
                if info.consumer_sequence != read.consumer_sequence + 1 {
                    return Ok(false);
                }
                (read.consumer_sequence, read.before) = (info.consumer_sequence, info.stream_sequence);
                if read.before > self.last {
                    return Ok(true);
                }
                let time = info.published.into();
                let pending = info.pending;
                came += 1;
                if each(stored(read.before, time, message.message)).is_break() || pending == 0 {
                    return Ok(true);
                }
            }
            if came == 0 && consumer.get_info().await?.num_pending == 0 {
                return Ok(true);
            }
        }
    }
}

/// What was read with one consumer.
struct Reading {
    /// The last that came, or 0.
    before: u64,
    consumer_sequence: u64,
}

/// A message as a consumer gives it.
fn stored(sequence: u64, time: SystemTime, message: async_nats::Message) -> StoredMessage {
    let mut headers = message.headers.as_ref().map(super::message::list).unwrap_or_default();
    // The server says how large the payload is where it left it out.
    let size = headers.iter().position(|(name, _)| name == "Nats-Msg-Size").map(|at| headers.remove(at).1);
    let size = size.and_then(|size| size.parse().ok()).unwrap_or(message.payload.len());
    StoredMessage { sequence, subject: message.subject.into_string(), headers, payload: message.payload, size, time }
}
