//! Reads a stream through, in its order.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{RetentionPolicy, Stream};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;

use super::connect::{Client, Link};
use super::raw_message;
use crate::dead_letter::StoredMessage;

/// How many messages are asked for at once: without payloads, and with them.
const BATCH: (usize, usize) = (1000, 100);
/// How long a pull waits at the server.
const EXPIRES: Duration = Duration::from_secs(5);

/// What is read of a stream.
pub(super) struct Scan {
    /// The sequences of the first message to read and of the last.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The subjects to read; all if there are none.
    pub(super) subjects: Vec<String>,
    /// Only messages that were stored since this time.
    pub(super) since: Option<SystemTime>,
    /// Whether the payloads are wanted.
    pub(super) payloads: bool,
}

type ScanError = Box<dyn std::error::Error + Send + Sync>;

/// How far one consumer was read.
enum Read {
    /// There are no more messages, or `each` had enough.
    All,
    /// The message after this sequence did not come.
    Until(u64),
}

impl Scan {
    /// Reads until `each` has enough.
    ///
    /// A message that the client library cannot read breaks the connection, or ends a batch. So a message that did not
    /// come is read as JSON, and another consumer goes on after it.
    ///
    /// # Errors
    /// If the messages cannot all be read.
    pub(super) async fn run(
        &self,
        client: &Client,
        stream: &Stream,
        mut each: impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        if stream.cached_info().config.retention == RetentionPolicy::WorkQueue {
            return self.read_one_by_one(client, stream, &mut each).await;
        }
        let mut begin = match self.since {
            Some(since) => DeliverPolicy::ByStartTime { start_time: since.into() },
            None if self.first > 1 => DeliverPolicy::ByStartSequence { start_sequence: self.first },
            None => DeliverPolicy::All,
        };
        loop {
            let link = client.link();
            let consumer: PullConsumer = stream.create_consumer(self.consumer(begin)).await?;
            let read = self.read(link, &consumer, &mut each).await;
            stream.delete_consumer(&consumer.cached_info().name).await.ok();
            let Read::Until(after) = read? else { return Ok(()) };
            let name = &stream.cached_info().config.name;
            let Some(after) = self.read_as_json(client, name, after, &mut each).await? else { return Ok(()) };
            begin = DeliverPolicy::ByStartSequence { start_sequence: after + 1 };
        }
    }

    /// Reads a work queue, whose messages the server gives no consumer but the one that takes them away.
    async fn read_one_by_one(
        &self,
        client: &Client,
        stream: &Stream,
        each: &mut impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let mut after = self.first.saturating_sub(1);
        while let Some(last) = self.read_as_json(client, &stream.cached_info().config.name, after, each).await? {
            after = last;
        }
        Ok(())
    }

    fn consumer(&self, begin: DeliverPolicy) -> pull::Config {
        pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: begin,
            filter_subjects: self.subjects.clone(),
            headers_only: !self.payloads,
            max_waiting: 4,
            ..pull::Config::default()
        }
    }

    /// Reads until there is nothing left, something does not come, or `each` has enough.
    async fn read(
        &self,
        mut link: watch::Receiver<Link>,
        consumer: &PullConsumer,
        each: &mut impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<Read, ScanError> {
        let info = consumer.cached_info();
        if info.num_pending == 0 {
            return Ok(Read::All);
        }
        let losses = link.borrow_and_update().losses;
        let (mut after, mut count) = (info.delivered.stream_sequence, 0);
        let span = usize::try_from(self.last.saturating_sub(self.first)).unwrap_or(usize::MAX).saturating_add(1);
        let most = span.min(if self.payloads { BATCH.1 } else { BATCH.0 });
        loop {
            let before = count;
            let mut batch = consumer.fetch().max_messages(most).expires(EXPIRES).messages().await?;
            loop {
                let message = tokio::select! {
                    biased;
                    message = batch.next() => message,
                    // Messages on their way are lost with the connection.
                    Ok(_) = link.wait_for(|link| link.losses != losses) => return Ok(Read::Until(after)),
                };
                let message = match message {
                    Some(Ok(message)) => message,
                    // The message has a status line, or the consumer is gone.
                    Some(Err(_)) => return Ok(Read::Until(after)),
                    None => break,
                };
                let info = message.info()?;
                if info.consumer_sequence != count + 1 {
                    return Ok(Read::Until(after));
                }
                (count, after) = (info.consumer_sequence, info.stream_sequence);
                if after > self.last {
                    return Ok(Read::All);
                }
                let (time, pending) = (info.published.into(), info.pending);
                if each(stored(after, time, message.message)).is_break() || pending == 0 {
                    return Ok(Read::All);
                }
            }
            if count == before {
                let info = consumer.get_info().await?;
                if info.delivered.consumer_sequence > count {
                    return Ok(Read::Until(after));
                }
                if info.num_pending == 0 {
                    return Ok(Read::All);
                }
            }
        }
    }

    /// Reads the messages after `after` as JSON, up to the first that the client library could have read. Returns that
    /// one's sequence; `None` if there is nothing left, or `each` has enough.
    async fn read_as_json(
        &self,
        client: &Client,
        stream: &str,
        mut after: u64,
        each: &mut impl FnMut(StoredMessage) -> ControlFlow<()>,
    ) -> Result<Option<u64>, ScanError> {
        loop {
            let next = raw_message::next(client, stream, after + 1, &self.subjects).await?;
            let Some(message) = next.filter(|message| message.sequence <= self.last) else { return Ok(None) };
            after = message.sequence;
            let is_readable = !message.is_unreadable();
            let counts = self.since.is_none_or(|since| message.time >= since);
            let mut message = StoredMessage::from(message);
            if !self.payloads {
                message.payload = Bytes::new();
            }
            if counts && each(message).is_break() {
                return Ok(None);
            }
            if is_readable {
                return Ok(Some(after));
            }
        }
    }
}

/// A message as a consumer gives it.
fn stored(sequence: u64, time: SystemTime, message: async_nats::Message) -> StoredMessage {
    let mut headers = message.headers.as_ref().map(super::message::list).unwrap_or_default();
    // Where the server left the payload out, a header says its size.
    let size = headers.iter().position(|(name, _)| name == "Nats-Msg-Size").map(|at| headers.remove(at).1);
    let size = size.and_then(|size| size.parse().ok()).unwrap_or(message.payload.len());
    let subject = message.subject.into_string();
    StoredMessage { sequence, subject, headers, is_readable: true, payload: message.payload, size, time }
}
