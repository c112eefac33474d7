//! Follows keys of a fleet's bucket.
//!
//! Anybody who may publish there can leave a key of any bytes, or one with any headers, and the client library would
//! give up its connection over it each time that it is delivered. So what stands in the bucket when a watch begins, and
//! what has come while the connection was lost, comes on the second connection, where a message is bytes until it has
//! arrived. If all of it can be read, the watch goes on at once on the first one. If not, it stays there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::push::{self, Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use futures_util::{StreamExt, stream as streams};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::denied::unless_denied;
use crate::jetstream::Client;
use crate::jetstream::bucket::{is_deletion, stream, subject};
use crate::jetstream::careful_inbox::{CarefulInbox, Place};
use crate::jetstream::connect::Link;
use crate::jetstream::fallback::Raw;
use crate::ports::{KeyChange, KeyChanges, KvError};

/// How long the second connection may take. Without it a watch is as good as most are.
const CONNECT: Duration = Duration::from_secs(1);
/// What the server calls a watch.
const DESCRIPTION: &str = "tidegate: a host of the fleet";
/// How long the server keeps a consumer that nobody listens to.
const FORGOTTEN: Duration = Duration::from_secs(5);
/// Keys that cannot be read and are told, at most.
const TOLD: usize = 100;

/// What cannot be read and was told already.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<BTreeSet<String>>>);

impl Told {
    fn tell(&self, bucket: &str, key: String, revision: u64, why: &str) {
        let mut told = self.0.lock();
        if told.len() < TOLD && !told.contains(&key) {
            tracing::warn!(
                bucket,
                key,
                revision,
                reason = why,
                "a key of the fleet's bucket cannot be read, and is passed over; whoever wrote it should not write \
                 there"
            );
            told.insert(key);
        }
    }
}

/// What is followed.
struct Followed {
    client: Client,
    bucket: String,
    filters: Vec<String>,
    told: Told,
}

/// A watch, and how far it has come.
pub(super) struct KeyWatch {
    of: Followed,
    source: Source,
    /// The revision of the last change that came; 0 before the first.
    after: u64,
}

/// From where changes come.
enum Source {
    /// The client library, on a connection that was made and lost so often.
    Library { messages: Box<Ordered>, link: watch::Receiver<Link>, at: Link },
    /// Nowhere, until the client library has connected more often than that.
    Lost { link: watch::Receiver<Link>, connects: u64 },
    /// The second connection. What came could be read so far, or not, and so much comes after it.
    Careful { inbox: CarefulInbox, readable: bool, pending: Option<u64> },
    /// It has ended.
    None,
}

fn failed(why: &dyn std::fmt::Display) -> KvError {
    KvError::Unavailable(format!("it cannot be watched: {why}"))
}

fn ended(why: &dyn std::fmt::Display) -> KvError {
    KvError::Unavailable(format!("the watch has ended: {why}"))
}

impl KeyWatch {
    /// The last version of each of these keys, in their order, and then each change.
    pub(super) async fn begin(
        client: &Client,
        bucket: &str,
        keys: &[String],
        told: &Told,
    ) -> Result<KeyChanges, KvError> {
        let of = Followed {
            client: client.clone(),
            bucket: bucket.to_owned(),
            filters: keys.iter().map(|key| subject(bucket, key)).collect(),
            told: told.clone(),
        };
        let watch = Self { source: of.careful(0).await?, of, after: 0 };
        let changes = streams::unfold(watch, async |mut watch| {
            let change = watch.next().await?;
            if change.is_err() {
                watch.source = Source::None;
            }
            Some((change, watch))
        });
        Ok(changes.boxed())
    }

    /// The next change; `None` when it has ended.
    async fn next(&mut self) -> Option<Result<KeyChange, KvError>> {
        loop {
            let next = match &mut self.source {
                Source::None => return None,
                Source::Library { messages, link, at } => {
                    let at = *at;
                    let came = tokio::select! {
                        biased;
                        message = messages.next() => Some(message),
                        // What the library could not read may have been the cause.
                        Ok(_) = link.wait_for(|now| now.losses != at.losses) => None,
                    };
                    match came {
                        Some(message) => return Some(self.change_of(message?)),
                        // Before the library asks for the same again.
                        None => Ok(Source::Lost { link: link.clone(), connects: at.connects }),
                    }
                }
                Source::Lost { link, connects } => {
                    let connects = *connects;
                    if link.wait_for(|now| now.connects != connects).await.is_err() {
                        return Some(Err(ended(&"the host stops")));
                    }
                    self.of.careful(self.after).await
                }
                Source::Careful { readable: true, pending: Some(0), .. } => self.of.library(self.after).await,
                Source::Careful { inbox, .. } => match inbox.next("").await {
                    Ok(raw) => match self.change_of_raw(&raw) {
                        Some(change) => return Some(Ok(change)),
                        None => continue,
                    },
                    Err(why) => return Some(Err(ended(&why))),
                },
            };
            match next {
                Ok(source) => self.source = source,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn change_of(&mut self, message: Result<Message, push::OrderedError>) -> Result<KeyChange, KvError> {
        let message = message.map_err(|error| ended(&error))?;
        let revision = message.info().map_err(|error| KvError::Unavailable(error.to_string()))?.stream_sequence;
        self.after = revision;
        Ok(self.of.change(&message.message, revision))
    }

    /// `None` of what is no change, or cannot be read.
    fn change_of_raw(&mut self, raw: &Raw) -> Option<KeyChange> {
        let place = Place::of(raw)?;
        self.after = place.sequence;
        let message = raw.read();
        if let Source::Careful { readable, pending, .. } = &mut self.source {
            *pending = Some(place.pending);
            *readable &= message.is_ok();
        }
        match message {
            Ok(message) => Some(self.of.change(&message, place.sequence)),
            Err(why) => {
                let (shown, start) = (raw.shown_subject(), subject(&self.of.bucket, ""));
                let key = shown.strip_prefix(&start).unwrap_or(&shown).to_owned();
                self.of.told.tell(&self.of.bucket, key, place.sequence, &why);
                None
            }
        }
    }
}

impl Followed {
    /// On the second connection, if there can be one.
    async fn careful(&self, after: u64) -> Result<Source, KvError> {
        let inbox = match timeout(CONNECT, CarefulInbox::open(&self.client)).await {
            Ok(Ok(inbox)) => inbox,
            Ok(Err(error)) => return self.without(after, &error).await,
            Err(elapsed) => return self.without(after, &elapsed.into()).await,
        };
        let config = push::Config {
            deliver_subject: inbox.subject().to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            deliver_policy: policy(after),
            ack_policy: AckPolicy::None,
            filter_subjects: self.filters.clone(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN,
            ..push::Config::default()
        };
        let made = self.client.context.create_consumer_on_stream(config, stream(&self.bucket));
        unless_denied(&self.client, &self.asked(), made).await?.map_err(|error| failed(&error))?;
        Ok(Source::Careful { inbox, readable: true, pending: None })
    }

    async fn without(&self, after: u64, error: &anyhow::Error) -> Result<Source, KvError> {
        tracing::debug!(bucket = self.bucket, error = format!("{error:#}"), "watched without a second connection");
        self.library(after).await
    }

    async fn library(&self, after: u64) -> Result<Source, KvError> {
        let link = self.client.link();
        let at = *link.borrow();
        let config = OrderedConfig {
            deliver_subject: self.client.nats.new_inbox(),
            description: Some(DESCRIPTION.to_owned()),
            filter_subjects: self.filters.clone(),
            deliver_policy: policy(after),
            ..OrderedConfig::default()
        };
        let made = self.client.context.create_consumer_on_stream(config, stream(&self.bucket));
        let consumer = unless_denied(&self.client, &self.asked(), made).await?.map_err(|error| failed(&error))?;
        let messages = Box::new(consumer.messages().await.map_err(|error| failed(&error))?);
        Ok(Source::Library { messages, link, at })
    }

    fn asked(&self) -> String {
        self.client.api_subject(&format!("CONSUMER.CREATE.{}", stream(&self.bucket)))
    }

    fn change(&self, message: &async_nats::Message, revision: u64) -> KeyChange {
        let headers = message.headers.iter().flat_map(HeaderMap::iter);
        let deleted = is_deletion(headers.flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values.iter().map(move |value| (name, value.as_str()))
        }));
        let key = message.subject.strip_prefix(&subject(&self.bucket, "")).unwrap_or_default().to_owned();
        KeyChange { key, revision, value: (!deleted).then(|| message.payload.clone()) }
    }
}

fn policy(after: u64) -> DeliverPolicy {
    match after {
        0 => DeliverPolicy::LastPerSubject,
        after => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
    }
}
