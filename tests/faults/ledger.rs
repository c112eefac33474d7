//! The count of messages: each id that was stored, and where it went.
//!
//! An id is recorded after its PubAck. The handler publishes it twice: on `out.NAME`, whose stream drops what has the
//! message id of one before, as users have it; and on `raw.NAME`, whose stream forgets message ids at once, so that it
//! shows how often each message was handled.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::patience::until;
use crate::stage::{DEAD, Stage};

/// How many publications may wait for their PubAck.
const IN_FLIGHT: usize = 256;

/// The shortest that a server allows.
const FORGETFUL: Duration = Duration::from_millis(100);

/// What was published on `in.NAME`.
pub(crate) struct Ledger {
    js: jetstream::Context,
    name: String,
    raw: bool,
    bytes: usize,
    key: Option<fn(u64) -> u64>,
    /// Whether the key is the last token of the subject too.
    by_subject: bool,
    first: u64,
    next: u64,
}

/// What a ledger found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Ids that a stream has acknowledged.
    pub(crate) published: u64,
    /// Ids that are neither in the output nor a dead letter.
    pub(crate) lost: Vec<u64>,
    /// Ids that became dead letters.
    pub(crate) dead: u64,
    /// Dead letters by their cause.
    pub(crate) causes: HashMap<String, u64>,
    /// Copies in the output beyond the first.
    pub(crate) stored_again: u64,
    /// Times that a message was handled beyond the first, if that was counted.
    pub(crate) handled_again: Option<u64>,
    /// What is there and was never sent.
    pub(crate) strangers: Vec<String>,
}

impl Audit {
    /// Effects that were had more than once.
    pub(crate) fn duplicates(&self) -> u64 {
        self.handled_again.unwrap_or(self.stored_again)
    }
}

impl Ledger {
    /// Makes the streams `OUT` and `RAW`, if they are not there.
    pub(crate) async fn open(stage: &Stage, name: &str) -> Result<Self> {
        stage.stream(stage.kept("OUT", "out.>")).await?;
        stage.stream(stream::Config { duplicate_window: FORGETFUL, ..stage.kept("RAW", "raw.>") }).await?;
        stage.stream(stage.kept(name, &format!("in.{name}"))).await?;
        Ok(Self {
            js: stage.js.clone(),
            name: name.to_owned(),
            raw: true,
            bytes: 0,
            key: None,
            by_subject: false,
            first: 0,
            next: 0,
        })
    }

    /// The same with the key of each id as the last token of its subject, which the stream maps to so many partitions.
    pub(crate) async fn open_mapped(stage: &Stage, name: &str, key: fn(u64) -> u64, partitions: u32) -> Result<Self> {
        let source = format!("in.{name}.*");
        let destination = format!("{{{{partition({partitions},1)}}}}.in.{name}.{{{{wildcard(1)}}}}");
        let mapped = stage.kept(name, &source);
        let mapped =
            stream::Config { subject_transform: Some(stream::SubjectTransform { source, destination }), ..mapped };
        // Made first, so that it is left as it is.
        stage.stream(mapped).await?;
        stage.stream(stage.kept("OUT", "out.>")).await?;
        stage.stream(stream::Config { duplicate_window: FORGETFUL, ..stage.kept("RAW", "raw.>") }).await?;
        let (js, name) = (stage.js.clone(), name.to_owned());
        Ok(Self { js, name, raw: true, bytes: 0, key: Some(key), by_subject: true, first: 0, next: 0 })
    }

    /// The same without `RAW`, where twice the publications would be too many.
    pub(crate) async fn open_without_raw(stage: &Stage, name: &str) -> Result<Self> {
        stage.stream(stage.kept("OUT", "out.>")).await?;
        stage.stream(stage.kept(name, &format!("in.{name}"))).await?;
        Ok(Self {
            js: stage.js.clone(),
            name: name.to_owned(),
            raw: false,
            bytes: 0,
            key: None,
            by_subject: false,
            first: 0,
            next: 0,
        })
    }

    /// The ids that were published so far are those below.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Begins with this id, as where those below it are another ledger's of the same name. Call it before anything is
    /// published.
    pub(crate) fn start_at(&mut self, first: u64) {
        (self.first, self.next) = (first, first);
    }

    /// So many ids more were published in another way.
    pub(crate) fn count_others(&mut self, count: u64) {
        self.next += count;
    }

    /// From now on each output has at least so many bytes.
    pub(crate) fn outputs_of(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// From now on each message has the key of its id in the header `Key`.
    pub(crate) fn keyed(&mut self, key: fn(u64) -> u64) {
        self.key = Some(key);
    }

    /// The last one is not to be counted: it waits for its ack wait, which is longer than the row.
    pub(crate) fn forget_last(&mut self) {
        self.next -= 1;
    }

    /// Publishes so many messages more, and awaits that all are stored. `before` says for each id what its handler does
    /// before it publishes the id, in the lines of the probe.
    pub(crate) async fn publish(&mut self, count: u64, before: impl Fn(u64) -> String) -> Result<()> {
        let ids = self.next..self.next + count;
        let mut stored = futures_util::stream::iter(ids)
            .map(|id| self.store(id, self.payload(id, &before(id))))
            .buffer_unordered(IN_FLIGHT);
        while let Some(one) = stored.next().await {
            one?;
        }
        drop(stored);
        self.next += count;
        Ok(())
    }

    /// What a message of this id holds.
    pub(crate) fn payload(&self, id: u64, before: &str) -> String {
        let name = &self.name;
        let raw = if self.raw { format!("record raw.{name} {id}\n") } else { String::new() };
        // First, so that an audit finds it at the start of the payload.
        format!("record out.{name} {id} {}\n{raw}{before}\n", self.bytes)
    }

    /// Publishes until a stream has acknowledged it. The message id keeps it from being stored twice.
    async fn store(&self, id: u64, payload: String) -> Result<()> {
        let payload = Bytes::from(payload);
        let start = Instant::now();
        let subject = match self.key.filter(|_| self.by_subject) {
            Some(key) => format!("in.{}.{}", self.name, key(id)),
            None => format!("in.{}", self.name),
        };
        loop {
            let message = PublishMessage::build().payload(payload.clone());
            let message = match self.key {
                Some(key) => message.header("Key", key(id).to_string()),
                None => message,
            };
            let message = message.message_id(format!("{}-{id}", self.name));
            let stored = async { self.js.send_publish(subject.clone(), message).await?.await };
            match stored.await {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > Duration::from_secs(60) => {
                    bail!("id {id} cannot be published: {error}")
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Looks for every id. Call it when all is settled.
    pub(crate) async fn audit(&self) -> Result<Audit> {
        let mut audit = Audit { published: self.next - self.first, ..Audit::default() };
        let mut found = vec![0u32; usize::try_from(self.next)?];
        let out = format!("out.{}", self.name);
        let mut look = |subject: &str, id: Option<u64>, strangers: &mut Vec<String>| match id
            .and_then(|id| found.get_mut(usize::try_from(id).ok()?))
        {
            Some(times) => *times += 1,
            None => strangers.push(format!("a message on {subject}")),
        };
        let mut strangers = Vec::new();
        read(&self.js, "OUT", &out, |message| {
            let text = std::str::from_utf8(&message.payload).unwrap_or_default();
            look(&out, text.split(' ').next().and_then(|id| id.parse().ok()), &mut strangers);
        })
        .await?;
        audit.stored_again = found.iter().map(|times| u64::from(times.saturating_sub(1))).sum();
        let dead = format!("{}.dead", self.name);
        let mut buried = Vec::new();
        read(&self.js, DEAD, &dead, |message| {
            // The first line is `record out.NAME ID BYTES`.
            let text = std::str::from_utf8(&message.payload).unwrap_or_default();
            let id = text.lines().next().and_then(|line| line.split(' ').nth(2)).and_then(|id| id.parse::<u64>().ok());
            let cause = message.headers.as_ref().and_then(|headers| headers.get("Tidegate-Cause"));
            *audit.causes.entry(cause.map_or_else(String::new, ToString::to_string)).or_default() += 1;
            audit.dead += 1;
            match id.filter(|id| *id < self.next) {
                Some(id) => buried.push(id),
                None => strangers.push(format!("a dead letter on {dead}")),
            }
        })
        .await?;
        for id in buried {
            found[usize::try_from(id)?] += 1;
        }
        audit.lost =
            (0..).zip(&found).filter(|(id, times)| *id >= self.first && **times == 0).map(|(id, _)| id).collect();
        audit.strangers = strangers;
        if self.raw {
            let mut handled = HashMap::<String, u64>::new();
            read(&self.js, "RAW", &format!("raw.{}", self.name), |message| {
                let text = String::from_utf8_lossy(&message.payload);
                *handled.entry(text.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
            })
            .await?;
            audit.handled_again = Some(handled.values().map(|times| times - 1).sum());
        }
        Ok(audit)
    }
}

/// Reads all of a stream that is there now and has this subject.
pub(crate) async fn read(
    js: &jetstream::Context,
    name: &str,
    subject: &str,
    mut each: impl FnMut(&jetstream::Message),
) -> Result<()> {
    let config = pull::OrderedConfig {
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ..pull::OrderedConfig::default()
    };
    let found = async || js.get_stream(name).await.ok();
    let stream = until(Duration::from_secs(30), &format!("the stream {name}"), found).await?;
    // What the leader has: a consumer may be where a copy is that has not all of it yet.
    let last = match stream.get_last_raw_message_by_subject(subject).await {
        Ok(last) => last.sequence,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => return Ok(()),
        Err(error) => return Err(error).context("the last message of the subject"),
    };
    // A cluster of which a server has just come back may take a while.
    let made = async || stream.create_consumer(config.clone()).await.ok();
    let consumer = until(Duration::from_secs(30), &format!("a consumer that reads {name}"), made).await?;
    let reader = consumer.cached_info().name.clone();
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        each(&message);
        if message.info().map_err(anyhow::Error::from_boxed)?.stream_sequence >= last {
            break;
        }
    }
    drop(messages);
    // Some rows read a stream many times, and a server allows only so many consumers. One that is made anew meanwhile
    // has another name, and goes by itself.
    let _ = stream.delete_consumer(&reader).await;
    Ok(())
}
