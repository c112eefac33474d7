//! Where hosts run: a server, a plugin directory, and a client that publishes and looks.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, pull};
use async_nats::jetstream::{self, AckKind, stream};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use tempfile::TempDir;
use tidegate_nats_server::{Server, ServerOptions};
use tidegate_runtime::config::{Compile, Config, DeadLetters, JournalConfig, Nats, Origin, Plugins};
use tokio::sync::Mutex;

use super::host::{install, plugins};
use super::nats::{client, nats_with, reach};
use super::wire::Wire;
use super::{eventually, log, until};

/// Where dead letters are kept.
pub(crate) const DEAD: &str = "TIDEGATE_DEAD";

/// A server and a plugin directory for one test. Both end with it.
pub(crate) struct Site {
    pub(crate) server: Arc<Mutex<Server>>,
    /// How a host reaches the server.
    pub(crate) nats: Nats,
    pub(crate) plugins: TempDir,
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
}

impl Site {
    pub(crate) async fn new() -> Arc<Self> {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Arc<Self> {
        log::collect();
        let server = nats_with(options).await;
        let client = client(&server).await;
        let (nats, js) = (reach(&server), jetstream::new(client.clone()));
        Arc::new(Self { server: Arc::new(Mutex::new(server)), nats, plugins: plugins(), client, js })
    }

    /// A place where these scripts wait for a host with a workload of this name, and a stream for what they publish.
    pub(crate) async fn with_scripts(name: &str, scripts: impl IntoIterator<Item = String>) -> Arc<Self> {
        let site = Self::new().await;
        site.stream(name, &[&format!("in.{name}.>")]).await;
        site.stream("OUT", &["out.>"]).await;
        site.publish_all(&format!("in.{name}.a"), scripts).await;
        site
    }

    /// The configuration of a host, without workloads.
    pub(crate) fn config(&self) -> Config {
        // All tests compile the same plugins.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
        let dir = self.plugins.path().to_owned();
        Config {
            nats: self.nats.clone(),
            plugins: Plugins {
                dir,
                rescan: Duration::from_millis(200),
                cache: Some(cache),
                compile: Compile::default(),
                origin: Origin::default(),
            },
            dead_letters: DeadLetters::default(),
            journal: JournalConfig::default(),
            grace: Duration::from_secs(20),
            http: None,
            http_names: Vec::new(),
            http_admin: None,
            telemetry: None,
            fleet: None,
            service: None,
            reload_watch: false,
            workloads: Vec::new(),
        }
    }

    /// Puts a plugin into place.
    pub(crate) fn install(&self, name: &str, bytes: &[u8]) {
        install(self.plugins.path(), name, bytes);
    }

    /// A stream on these subjects.
    pub(crate) async fn stream(&self, name: &str, subjects: &[&str]) {
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        self.js.create_stream(stream::Config { name: name.into(), subjects, ..Default::default() }).await.unwrap();
    }

    /// The arguments of a host of its own process with one workload, whose handler may print, publish and hang.
    pub(crate) fn run_flags<'a>(&'a self, stream: &'a str, handler: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let plugins = self.plugins.path().to_str().unwrap();
        let mut flags = vec!["run", "--no-cache", "--server", &self.nats.servers[0], "--plugins", plugins];
        flags.extend(["--stream", stream, "--handler", handler, "--policy", "fixed", "--ack-wait", "2s"]);
        flags.extend(["--grant-publish", "out.>", "--limit-time", "1h"]);
        flags.extend(more);
        flags
    }

    /// The causes of the letters, once there are so many, by the position of their message.
    pub(crate) async fn causes(&self, count: usize) -> BTreeMap<u64, String> {
        let letters = self.stored_count(DEAD, count).await;
        let of = |letter: &Message| {
            let sequence = header(letter, "Tidegate-Sequence").unwrap().parse().unwrap();
            (sequence, header(letter, "Tidegate-Cause").unwrap().to_owned())
        };
        letters.iter().map(of).collect()
    }

    /// Publishes and awaits that it is stored.
    pub(crate) async fn publish(&self, subject: &str, payload: impl Into<Bytes>) -> u64 {
        self.js.publish(subject.to_owned(), payload.into()).await.unwrap().await.unwrap().sequence
    }

    /// The same with headers.
    pub(crate) async fn publish_with(&self, subject: &str, headers: &[(&str, &str)], payload: impl Into<Bytes>) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let stored = self.js.publish_with_headers(subject.to_owned(), map, payload.into()).await.unwrap();
        stored.await.unwrap().sequence
    }

    /// Publishes payloads, and awaits once that all are stored.
    pub(crate) async fn publish_all(&self, subject: &str, payloads: impl IntoIterator<Item = String>) {
        let mut stored = Vec::new();
        for payload in payloads {
            stored.push(self.js.publish(subject.to_owned(), payload.into()).await.unwrap());
        }
        for ack in stored {
            ack.await.unwrap();
        }
    }

    /// Publishes a message for whose reply somebody waits, and awaits the reply.
    pub(crate) async fn request(&self, subject: &str, payload: impl Into<Bytes>) -> String {
        let inbox = self.client.new_inbox();
        let mut replies = self.client.subscribe(inbox.clone()).await.unwrap();
        self.publish_with(subject, &[("Nats-Reply", &inbox)], payload).await;
        let reply = tokio::time::timeout(super::PATIENCE, replies.next()).await.expect("a reply").unwrap();
        String::from_utf8(reply.payload.to_vec()).unwrap()
    }

    /// Awaits that a request is replied to by something that begins so.
    pub(crate) async fn replies(&self, subject: &str, payload: &'static str, begin: &str) {
        let replied = async || self.request(subject, payload).await.starts_with(begin);
        eventually(&format!("{subject} is replied to by {begin}..."), replied).await;
    }

    /// Everything that is said on this account from now on.
    pub(crate) async fn wire(&self) -> Wire {
        Wire::new(&self.client, ">").await
    }

    /// What is said about deliveries of a workload from now on. Unlike [`Site::wire`] it is no interest in what has
    /// none.
    pub(crate) async fn settlements(&self, workload: &str) -> Wire {
        Wire::new(&self.client, &format!("$JS.ACK.{workload}.>")).await
    }

    /// The state of a workload's consumer.
    pub(crate) async fn consumer(&self, workload: &str) -> consumer::Info {
        let stream = self.js.get_stream_no_info(workload).await.unwrap();
        stream.consumer_info(format!("{workload}-workers")).await.unwrap()
    }

    /// Deletes a workload's consumer.
    pub(crate) async fn delete_consumer(&self, workload: &str) {
        let stream = self.js.get_stream(workload).await.unwrap();
        // A server of 2.10 may say that its directory is not empty yet; the consumer is gone all the same.
        let _ = stream.delete_consumer(&format!("{workload}-workers")).await;
    }

    /// Awaits that all messages of a workload's stream are settled.
    pub(crate) async fn settled(&self, workload: &str) {
        let last = self.js.get_stream(workload).await.unwrap().cached_info().state.last_sequence;
        eventually(&format!("everything of {workload} is settled"), async || {
            let info = self.consumer(workload).await;
            // A message that was just stored may not be pending yet.
            info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence >= last
        })
        .await;
    }

    /// Awaits that so many deliveries of a workload are unsettled.
    pub(crate) async fn unsettled(&self, workload: &str, count: usize) {
        eventually(&format!("{count} deliveries of {workload} are unsettled"), async || {
            self.consumer(workload).await.num_ack_pending == count
        })
        .await;
    }

    /// All messages that a stream has, in their order.
    pub(crate) async fn stored(&self, stream: &str) -> Vec<Message> {
        let stream = self.js.get_stream(stream).await.unwrap();
        // Read as a consumer does: what the client makes of a single stored message has one value a header.
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let count = consumer.cached_info().num_pending as usize;
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let mut batch = consumer.fetch().max_messages(count - all.len()).messages().await.unwrap();
            while let Some(message) = batch.next().await {
                all.push(message.unwrap().message);
            }
        }
        all
    }

    /// Awaits that a stream has so many messages, and gives them.
    pub(crate) async fn stored_count(&self, stream: &str, count: usize) -> Vec<Message> {
        until(&format!("{count} messages in {stream}"), async || {
            let state = self.js.get_stream(stream).await.ok()?.cached_info().state.clone();
            (state.messages as usize >= count).then_some(())
        })
        .await;
        let all = self.stored(stream).await;
        assert_eq!(all.len(), count, "messages in {stream}");
        all
    }

    /// The stream sequences of what a workload's consumer delivers at once, which this settles.
    pub(crate) async fn deliverable(&self, workload: &str, count: usize) -> HashSet<u64> {
        let stream = self.js.get_stream(workload).await.unwrap();
        let consumer: consumer::PullConsumer = stream.get_consumer(&format!("{workload}-workers")).await.unwrap();
        let mut sequences = HashSet::new();
        while sequences.len() < count {
            let missing = count - sequences.len();
            let mut batch = consumer.batch().max_messages(missing).expires(super::PATIENCE).messages().await.unwrap();
            while let Some(message) = batch.next().await {
                let message = message.unwrap();
                let info = message.info().unwrap();
                assert!(info.delivered <= 2, "delivered {} times: given back more than once", info.delivered);
                assert!(sequences.insert(info.stream_sequence));
                message.ack().await.unwrap();
                if sequences.len() == count {
                    break;
                }
            }
            assert!(sequences.len() == count, "only {} of {count} can be delivered", sequences.len());
        }
        sequences
    }

    /// Makes a workload's consumer as a user might, and delivers its first message so often in vain.
    pub(crate) async fn delivered_in_vain(&self, workload: &str, times: usize) {
        let stream = self.js.get_stream(workload).await.unwrap();
        let durable_name = Some(format!("{workload}-workers"));
        let config = pull::Config { durable_name, ack_policy: AckPolicy::Explicit, ..Default::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        for _ in 0..times {
            let message = consumer.batch().max_messages(1).messages().await.unwrap().next().await.unwrap().unwrap();
            message.ack_with(AckKind::Nak(None)).await.unwrap();
        }
    }
}

/// A message's payload as text.
pub(crate) fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

/// The payload as JSON.
pub(crate) fn json(message: &Message) -> serde_json::Value {
    serde_json::from_str(text(message)).unwrap()
}

/// A header's first value.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
