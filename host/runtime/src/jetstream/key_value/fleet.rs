//! The bucket of a fleet.

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::KeyRequests;
use crate::config::FleetConfig;
use crate::jetstream::Client;
use crate::jetstream::bucket::{is_deletion, sealed, stream, subject};
use crate::jetstream::bucket_setup::wanted;
use crate::jetstream::create_errors::{Creation, remedy};
use crate::permissions::{Denial, Verb};
use crate::ports::{FleetBucket, KeyChange, KeyChanges, KvEntry, KvError, KvFuture};

/// The bucket that the hosts of a fleet share.
pub(crate) struct Bucket {
    client: Client,
    requests: KeyRequests,
    name: String,
    replicas: usize,
    may_create: bool,
}

impl Bucket {
    /// The bucket that is configured. It is made if this host `may_create` what is missing.
    pub(crate) fn new(client: Client, config: &FleetConfig, may_create: bool) -> Self {
        let requests = KeyRequests::new(client.clone());
        Self { client, requests, name: config.bucket.clone(), replicas: config.replicas, may_create }
    }

    async fn make(&self) -> Result<(), KvError> {
        let name = &self.name;
        match self.client.make_stream(&stream(name), &wanted(name, self.replicas)).await {
            Ok(_) => {
                tracing::info!(bucket = name, "bucket of the fleet created");
                Ok(())
            }
            Err(error) => {
                let remedy = error.code().and_then(|code| remedy(Creation::Fleet, code)).unwrap_or_default();
                Err(KvError::Unavailable(format!("it cannot be made: {error}. {remedy}")))
            }
        }
    }

    async fn find(&self) -> Result<(), KvError> {
        let name = &self.name;
        let asked = self.client.api_subject(&format!("STREAM.INFO.{}", stream(name)));
        let found = self.unless_denied(&asked, self.client.bucket_state(&stream(name))).await?;
        match found.map_err(|error| KvError::Unavailable(error.to_string()))? {
            Some(state) => match state.config.problem(name) {
                Some(problem) => Err(KvError::Unavailable(problem)),
                None => Ok(()),
            },
            None if self.may_create => self.make().await,
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> KvError {
        let name = &self.name;
        KvError::NoBucket(format!(
            "it is not there; make it (`nats kv add {name}`), or let one workload have manage = \"create\""
        ))
    }

    async fn unless_denied<T>(&self, asked: &str, answer: impl Future<Output = T>) -> Result<T, KvError> {
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject.starts_with(asked);
        self.client.denied.unless(concerns, answer).await.map_err(|denial| {
            let allow = self.client.denied.grant(&denial);
            KvError::Unavailable(format!(
                "the NATS server does not let this user {} to `{allow}`; allow it (`tidegate permissions` prints all)",
                denial.verb
            ))
        })
    }

    async fn changes(&self, keys: Vec<String>) -> Result<KeyChanges, KvError> {
        let failed = |error: &dyn std::fmt::Display| KvError::Unavailable(format!("it cannot be watched: {error}"));
        let of = stream(&self.name);
        let config = OrderedConfig {
            deliver_subject: self.client.nats.new_inbox(),
            description: Some("tidegate: a host of the fleet".to_owned()),
            filter_subjects: keys.iter().map(|key| subject(&self.name, key)).collect(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let asked = self.client.api_subject(&format!("CONSUMER.CREATE.{of}"));
        let made = self.client.context.create_consumer_on_stream(config, of);
        let consumer = self.unless_denied(&asked, made).await?.map_err(|error| failed(&error))?;
        let messages = consumer.messages().await.map_err(|error| failed(&error))?;
        let prefix = subject(&self.name, "");
        let changes = messages.map(move |message| match message {
            Ok(message) => change(&message, &prefix),
            Err(error) => Err(KvError::Unavailable(format!("the watch has ended: {error}"))),
        });
        Ok(changes.boxed())
    }

    async fn forget(&self, key: &str, until: u64) -> Result<(), KvError> {
        // Up to and without `seq`.
        let body = json!({ "filter": subject(&self.name, key), "seq": until.saturating_add(1) }).to_string();
        let asked = self.client.api_subject(&format!("STREAM.PURGE.{}", stream(&self.name)));
        let answer = self.requests.ask(asked, HeaderMap::new(), body.into()).await?;
        if let Some(error) = sealed(&self.name, &answer.payload) {
            return Err(error);
        }
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        if answer.get("success") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        let why = answer.pointer("/error/description").and_then(Value::as_str).unwrap_or("no answer that can be read");
        Err(KvError::Unavailable(format!("{key} cannot be removed from it: {why}")))
    }

    /// The error in the words of a fleet.
    fn told<T>(&self, result: Result<T, KvError>) -> Result<T, KvError> {
        result.map_err(|error| match error {
            KvError::NoBucket(_) => self.gone(),
            error => error,
        })
    }
}

fn change(message: &Message, prefix: &str) -> Result<KeyChange, KvError> {
    let info = message.info().map_err(|error| KvError::Unavailable(error.to_string()))?;
    let headers = message.headers.iter().flat_map(HeaderMap::iter);
    let deleted = is_deletion(headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    }));
    let key = message.subject.strip_prefix(prefix).unwrap_or_default().to_owned();
    Ok(KeyChange { key, revision: info.stream_sequence, value: (!deleted).then(|| message.payload.clone()) })
}

impl FleetBucket for Bucket {
    fn find(&self) -> KvFuture<'_, ()> {
        Box::pin(self.find())
    }

    fn get<'a>(&'a self, key: &'a str) -> KvFuture<'a, KvEntry> {
        Box::pin(async move { self.told(self.requests.read(&self.name, key).await) })
    }

    fn put<'a>(&'a self, key: &'a str, value: Bytes, expected: Option<u64>) -> KvFuture<'a, u64> {
        Box::pin(async move { self.told(self.requests.set(&self.name, key, value, expected).await) })
    }

    fn delete<'a>(&'a self, key: &'a str, expected: Option<u64>) -> KvFuture<'a, ()> {
        Box::pin(async move { self.told(self.requests.remove(&self.name, key, expected).await) })
    }

    fn forget<'a>(&'a self, key: &'a str, until: u64) -> KvFuture<'a, ()> {
        Box::pin(async move { self.told(self.forget(key, until).await) })
    }

    fn watch(&self, keys: Vec<String>) -> KvFuture<'_, KeyChanges> {
        Box::pin(self.changes(keys))
    }
}
