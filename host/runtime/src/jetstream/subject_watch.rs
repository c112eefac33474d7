//! Follows subjects of a stream: the last message of each, and then each that comes.
//!
//! Anybody who may publish there can leave a message with a subject of any bytes, or with any headers, and the client
//! library would give up its connection over it each time that it is delivered. So what stands in the stream when a
//! watch begins, and what has come while the connection was lost, comes on the second connection, where a message is
//! bytes until it has arrived. If all of it can be read, the watch goes on at once on the first one. If not, it stays
//! there.

use std::fmt::Display;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::push::{self, Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream as streams};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Client;
use super::careful_inbox::{CarefulInbox, Place};
use super::connect::Link;
use super::denied::unless_denied;
use super::fallback::Raw;

/// How long the second connection may take. Without it a watch is as good as most are.
const CONNECT: Duration = Duration::from_secs(1);
/// How long the server keeps a consumer that nobody listens to.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// What is followed.
pub(super) struct Followed {
    pub(super) client: Client,
    pub(super) stream: String,
    pub(super) filters: Vec<String>,
    /// What the server calls the watch.
    pub(super) description: &'static str,
}

/// A message that came.
pub(super) struct Change {
    pub(super) message: Result<Message, Unreadable>,
    /// Its position in the stream.
    pub(super) sequence: u64,
    /// How many came before it did, and are not told yet.
    pub(super) pending: u64,
}

/// A message that the client library cannot read.
pub(super) struct Unreadable {
    /// Its subject as text, with what cannot be shown escaped.
    pub(super) subject: String,
    pub(super) why: String,
}

/// The messages as they come. After an error there are no more.
pub(super) type Changes = BoxStream<'static, Result<Change, String>>;

/// A watch, and how far it has come.
struct SubjectWatch {
    of: Followed,
    source: Source,
    /// The position of the last message that came; 0 before the first.
    after: u64,
}

/// From where messages come.
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

/// A source, and how many messages it has at once.
type Begun = Result<(Source, u64), String>;

fn failed(why: &dyn Display) -> String {
    format!("it cannot be watched: {why}; see that the server is there and what its log says")
}

fn ended(why: &dyn Display) -> String {
    format!("the watch has ended: {why}; it is tried again")
}

impl Followed {
    /// Begins to follow. Returns how many messages there are at once too.
    ///
    /// # Errors
    /// Why it cannot be followed, and what to do.
    pub(super) async fn watch(self) -> Result<(u64, Changes), String> {
        let (source, there) = self.careful(0).await?;
        let watch = SubjectWatch { source, of: self, after: 0 };
        let changes = streams::unfold(watch, async |mut watch| {
            let change = watch.next().await?;
            if change.is_err() {
                watch.source = Source::None;
            }
            Some((change, watch))
        });
        Ok((there, changes.boxed()))
    }

    /// On the second connection, if there can be one.
    async fn careful(&self, after: u64) -> Begun {
        let inbox = match timeout(CONNECT, CarefulInbox::open(&self.client)).await {
            Ok(Ok(inbox)) => inbox,
            Ok(Err(error)) => return self.without(after, &error).await,
            Err(elapsed) => return self.without(after, &elapsed.into()).await,
        };
        let config = push::Config {
            deliver_subject: inbox.subject().to_owned(),
            description: Some(self.description.to_owned()),
            deliver_policy: policy(after),
            ack_policy: AckPolicy::None,
            filter_subjects: self.filters.clone(),
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN,
            ..push::Config::default()
        };
        let made = self.client.context.create_consumer_on_stream(config, &self.stream);
        let consumer = unless_denied(&self.client, &self.asked(), made).await?.map_err(|error| failed(&error))?;
        Ok((Source::Careful { inbox, readable: true, pending: None }, consumer.cached_info().num_pending))
    }

    async fn without(&self, after: u64, error: &anyhow::Error) -> Begun {
        tracing::debug!(stream = self.stream, error = format!("{error:#}"), "watched without a second connection");
        self.library(after).await
    }

    async fn library(&self, after: u64) -> Begun {
        let link = self.client.link();
        let at = *link.borrow();
        let config = OrderedConfig {
            deliver_subject: self.client.nats.new_inbox(),
            description: Some(self.description.to_owned()),
            filter_subjects: self.filters.clone(),
            deliver_policy: policy(after),
            ..OrderedConfig::default()
        };
        let made = self.client.context.create_consumer_on_stream(config, &self.stream);
        let consumer = unless_denied(&self.client, &self.asked(), made).await?.map_err(|error| failed(&error))?;
        let there = consumer.cached_info().num_pending;
        let messages = Box::new(consumer.messages().await.map_err(|error| failed(&error))?);
        Ok((Source::Library { messages, link, at }, there))
    }

    fn asked(&self) -> String {
        self.client.api_subject(&format!("CONSUMER.CREATE.{}", self.stream))
    }
}

impl SubjectWatch {
    /// The next message; `None` when it has ended.
    async fn next(&mut self) -> Option<Result<Change, String>> {
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
                    self.of.careful(self.after).await.map(|(source, _)| source)
                }
                Source::Careful { readable: true, pending: Some(0), .. } => {
                    self.of.library(self.after).await.map(|(source, _)| source)
                }
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

    fn change_of(
        &mut self,
        message: Result<async_nats::jetstream::Message, push::OrderedError>,
    ) -> Result<Change, String> {
        let message = message.map_err(|error| ended(&error))?;
        let info = message.info().map_err(|error| ended(&error))?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        self.after = sequence;
        Ok(Change { message: Ok(message.message), sequence, pending })
    }

    /// `None` of what is no delivery.
    fn change_of_raw(&mut self, raw: &Raw) -> Option<Change> {
        let Place { sequence, pending: left } = Place::of(raw)?;
        self.after = sequence;
        let message = raw.read().map_err(|why| Unreadable { subject: raw.shown_subject(), why });
        if let Source::Careful { readable, pending, .. } = &mut self.source {
            *pending = Some(left);
            *readable &= message.is_ok();
        }
        Some(Change { message, sequence, pending: left })
    }
}

fn policy(after: u64) -> DeliverPolicy {
    match after {
        0 => DeliverPolicy::LastPerSubject,
        after => DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
    }
}
