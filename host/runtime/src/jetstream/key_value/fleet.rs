//! The bucket of a fleet.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::KeyRequests;
use super::fleet_watch::{Told, watch};
use crate::config::FleetConfig;
use crate::jetstream::Client;
use crate::jetstream::bucket::{refused, stream, subject};
use crate::jetstream::bucket_setup::wanted;
use crate::jetstream::create_errors::{Creation, remedy};
use crate::jetstream::denied::unless_denied;
use crate::ports::{FleetBucket, Forgetting, KeyChanges, KvEntry, KvError, KvFuture};

/// The bucket that the hosts of a fleet share.
pub(crate) struct Bucket {
    client: Client,
    requests: KeyRequests,
    name: String,
    replicas: usize,
    may_create: bool,
    told: Told,
}

impl Bucket {
    /// The bucket that is configured. It is made if this host `may_create` what is missing.
    pub(crate) fn new(client: Client, config: &FleetConfig, may_create: bool) -> Self {
        let requests = KeyRequests::new(client.clone());
        let (name, replicas) = (config.bucket.clone(), config.replicas);
        Self { client, requests, name, replicas, may_create, told: Told::default() }
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

    async fn find(&self) -> Result<Forgetting, KvError> {
        let name = &self.name;
        let asked = self.client.api_subject(&format!("STREAM.INFO.{}", stream(name)));
        let found = unless_denied(&self.client, &asked, self.client.bucket_state(&stream(name))).await;
        let found = found.map_err(KvError::Unavailable)?;
        match found.map_err(|error| KvError::Unavailable(error.to_string()))? {
            Some(state) => match state.config.problem(name) {
                Some(problem) => Err(KvError::Unavailable(problem)),
                None => Ok(state.config.forgetting()),
            },
            None if self.may_create => self.make().await.map(|()| Forgetting::default()),
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> KvError {
        let name = &self.name;
        KvError::NoBucket(format!(
            "it is not there; make it (`nats kv add {name}`), or let one workload have manage = \"create\""
        ))
    }

    async fn forget(&self, key: &str, until: u64) -> Result<(), KvError> {
        // Up to and without `seq`.
        let body = json!({ "filter": subject(&self.name, key), "seq": until.saturating_add(1) }).to_string();
        let asked = self.client.api_subject(&format!("STREAM.PURGE.{}", stream(&self.name)));
        let answer = self.requests.ask(asked, HeaderMap::new(), body.into()).await?;
        if let Some(error) = refused(&self.name, &answer.payload) {
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

impl FleetBucket for Bucket {
    fn find(&self) -> KvFuture<'_, Forgetting> {
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
        Box::pin(async move { watch(&self.client, &self.name, &keys, &self.told).await })
    }
}
