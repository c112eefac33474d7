//! JetStream KV buckets: a bucket is a stream `KV_NAME` that is bound to `$KV.NAME.>`, and a key is the rest of such a
//! subject. Its revision is the position of its last message there.
//!
//! Keys are read from the stream's leader, and not with direct gets, which replicas and mirrors answer: those may lag
//! behind what this host has just written.

mod fleet;
mod fleet_watch;
mod keys;

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde_json::json;

use super::Client;
use super::bucket::{Histories, OPERATION, gone, is_deletion, refused, stream, subject};
use super::publisher::{ANSWER, read};
use super::raw_message::{self, RawMessage};
use super::request_window::RequestWindow;
use crate::conditions::{Conditions, Part};
use crate::dead_letter::block;
use crate::delivery::outage::Outage;
use crate::ports::{EffectError, KeyValue, KvEntry, KvError, KvFuture, KvPage};

pub(crate) use fleet::Bucket;

/// JetStream's "stream not found".
const NO_STREAM: u64 = 10059;
/// Operations of a workload that may wait for their answers.
const AT_ONCE: usize = 64;

/// The buckets that a workload's grants name.
pub(crate) struct Buckets {
    client: Client,
    requests: KeyRequests,
    histories: Histories,
    lister: keys::Lister,
    outage: Outage,
}

impl Buckets {
    pub(super) fn new(client: Client, histories: Histories, conditions: Arc<Conditions>) -> Arc<Self> {
        let requests = KeyRequests::new(client.clone());
        let lister = keys::Lister::new(&conditions.workload());
        Arc::new(Self { client, requests, histories, lister, outage: Outage::new(conditions, Part::KeyValue) })
    }

    /// Clears the condition each time buckets can be used again, and lets go what is not used; never returns.
    pub(crate) async fn watch(&self) -> std::convert::Infallible {
        tokio::select! {
            never = self.outage.watch() => never,
            never = self.lister.let_go() => never,
        }
    }

    /// Notes whether the buckets can be used.
    fn noted<T>(&self, result: Result<T, KvError>) -> Result<T, KvError> {
        match &result {
            Err(KvError::NoBucket(why) | KvError::Unavailable(why)) => {
                self.outage.failed(&EffectError::Unavailable(why.clone()));
            }
            // The server has answered.
            Ok(_) | Err(KvError::Conflict(_) | KvError::Refused(_) | KvError::TooLarge(_)) => self.outage.succeeded(),
        }
        result
    }
}

/// Reads and writes keys of buckets, in a window of its own.
struct KeyRequests {
    client: Client,
    window: RequestWindow,
}

impl KeyRequests {
    fn new(client: Client) -> Self {
        let window = RequestWindow::new(client.clone(), AT_ONCE, "the server or the bucket");
        Self { client, window }
    }

    /// Reads a key of a bucket.
    async fn read(&self, bucket: &str, key: &str) -> Result<KvEntry, KvError> {
        let body = json!({ "last_by_subj": subject(bucket, key) }).to_string();
        let asked = self.client.api_subject(&format!("STREAM.MSG.GET.{}", stream(bucket)));
        let answer = self.ask(asked, HeaderMap::new(), body.into()).await?;
        match raw_message::parse(&answer.payload) {
            Ok(None) => Ok(KvEntry::default()),
            Ok(Some(message)) => Ok(entry(message)),
            Err(error) if code(&error) == Some(NO_STREAM) => Err(gone(bucket)),
            Err(error) => Err(KvError::Unavailable(format!("cannot read bucket {bucket}: {error:#}"))),
        }
    }

    /// Writes a key of a bucket, if its revision is the expected one.
    async fn set(&self, bucket: &str, key: &str, value: Bytes, expected: Option<u64>) -> Result<u64, KvError> {
        self.write(bucket, key, if_last(expected), value).await
    }

    /// Deletes a key of a bucket, if its revision is the expected one.
    async fn remove(&self, bucket: &str, key: &str, expected: Option<u64>) -> Result<(), KvError> {
        let mut headers = if_last(expected);
        headers.insert(OPERATION, "DEL");
        self.write(bucket, key, headers, Bytes::new()).await.map(drop)
    }

    async fn write(&self, bucket: &str, key: &str, headers: HeaderMap, value: Bytes) -> Result<u64, KvError> {
        let subject = self.client.config.of_bucket(subject(bucket, key));
        let answer = self.ask(subject.clone(), headers, value).await?;
        if answer.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
            return Err(gone(bucket));
        }
        match read(&answer, &subject) {
            Ok(ack) if ack.stream == stream(bucket) => Ok(ack.sequence),
            Ok(ack) => Err(KvError::Unavailable(format!(
                "stream {} has stored what belongs into bucket {bucket}: bind only {} to its subjects",
                ack.stream,
                stream(bucket)
            ))),
            Err(error) => Err(refused(bucket, &answer.payload).unwrap_or_else(|| error.into())),
        }
    }

    async fn ask(&self, subject: String, headers: HeaderMap, payload: Bytes) -> Result<Message, KvError> {
        Ok(self.window.ask(subject, headers, payload, ANSWER).await?)
    }
}

/// Headers of what is written only where the revision of its key is this.
fn if_last(revision: Option<u64>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(revision) = revision {
        headers.insert("Nats-Expected-Last-Subject-Sequence", revision.to_string());
    }
    headers
}

impl From<EffectError> for KvError {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::Conflict(why) => Self::Conflict(why),
            EffectError::Refused(why) => Self::Refused(why),
            EffectError::Denied(why) | EffectError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl KeyValue for Buckets {
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> KvFuture<'a, KvEntry> {
        Box::pin(async move { self.noted(self.requests.read(bucket, key).await) })
    }

    fn set<'a>(&'a self, bucket: &'a str, key: &'a str, value: Bytes, expected: Option<u64>) -> KvFuture<'a, u64> {
        Box::pin(async move { self.noted(self.requests.set(bucket, key, value, expected).await) })
    }

    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> KvFuture<'a, ()> {
        Box::pin(async move { self.noted(self.requests.remove(bucket, key, None).await) })
    }

    fn keys<'a>(&'a self, bucket: &'a str, prefixes: &'a [&'a str], from: u64) -> KvFuture<'a, KvPage> {
        Box::pin(async move {
            let room = self.requests.window.room().await;
            let (history, lister) = (self.histories.get(bucket).copied(), &self.lister);
            let listing = keys::Listing { bucket, prefixes, from, history, lister };
            let page = listing.run(&self.client).await;
            drop(room);
            self.noted(page)
        })
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").field("histories", &self.histories).finish_non_exhaustive()
    }
}

fn code(error: &anyhow::Error) -> Option<u64> {
    error.downcast_ref::<async_nats::jetstream::Error>().map(|error| error.error_code().0)
}

fn entry(message: RawMessage) -> KvEntry {
    // A block that cannot be read says nothing: who writes such headers does not delete.
    let headers = block::read(&message.block).unwrap_or_default();
    let deleted = is_deletion(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    KvEntry { revision: message.sequence, value: (!deleted).then_some(message.payload) }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn value(block: &[u8]) -> Option<Bytes> {
        let (subject, payload) = ("$KV.b.k".to_owned(), Bytes::from_static(b"x"));
        entry(RawMessage { sequence: 7, subject, block: block.to_vec(), payload, time: SystemTime::UNIX_EPOCH }).value
    }

    #[test]
    fn a_key_whose_last_message_is_a_deletion_is_not_there() {
        assert!(value(b"").is_some());
        assert!(value(b"NATS/1.0\r\nKV-Operation: PUT\r\n\r\n").is_some());
        for deleted in ["KV-Operation: DEL", "KV-Operation: PURGE", "Nats-Marker-Reason: MaxAge"] {
            assert_eq!(value(format!("NATS/1.0\r\n{deleted}\r\n\r\n").as_bytes()), None, "{deleted}");
        }
    }
}
