//! Plugins in an object store's bucket: a stream `OBJ_NAME` with the objects' descriptions and their chunks.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::ErrorKind;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::context::ObjectStoreErrorKind;
use async_nats::jetstream::object_store::{Config, GetErrorKind, ObjectInfo, ObjectMetadata, ObjectStore};
use data_encoding::{BASE64URL, HEXLOWER};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::Client;
use crate::permissions::{Denial, Verb};
use crate::ports::{ObjectContent, ObjectEvent, ObjectEvents, ObjectFuture, PluginObject, PluginObjects};

/// The name of the signature in an object's metadata.
const SIGNATURE: &str = "tidegate-signature";
/// How long the next bytes of an object are waited for.
const NEXT_BYTES: Duration = Duration::from_secs(10);
/// Bytes that are set aside for an object before any came, however many it says it has.
const AT_FIRST: u64 = 1 << 20;

/// A bucket of plugins.
pub struct PluginBucket {
    client: Client,
    name: String,
}

/// A plugin that a bucket has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPlugin {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub digest: Option<String>,
    /// Its signature, as `tidegate plugin sign` writes it.
    pub signature: Option<String>,
}

impl PluginBucket {
    /// The bucket of this name, which may not be there.
    pub fn new(client: Client, name: &str) -> Self {
        Self { client, name: name.to_owned() }
    }

    /// The stream that the bucket is.
    fn stream(&self) -> String {
        format!("OBJ_{}", self.name)
    }

    fn failed(&self, what: &str, error: &dyn Display) -> String {
        format!("{what}: {error}; see that the server is there and what its log says")
    }

    async fn store(&self) -> Result<ObjectStore, String> {
        let name = &self.name;
        let found = self.unless_denied("STREAM.INFO", self.client.context.get_object_store(name)).await?;
        found.map_err(|error| match error.kind() {
            ObjectStoreErrorKind::GetStore if error.to_string().contains("10059") || is_not_found(&error) => {
                format!("it is not there; `tidegate plugin push` makes it, and so does `nats object add {name}`")
            }
            _ => self.failed("it cannot be found", &error),
        })
    }

    async fn unless_denied<T>(&self, api: &str, answer: impl Future<Output = T>) -> Result<T, String> {
        let asked = self.client.api_subject(&format!("{api}.{}", self.stream()));
        let concerns = |denial: &Denial| denial.verb == Verb::Publish && denial.subject.starts_with(&asked);
        self.client.denied.unless(concerns, answer).await.map_err(|denial| {
            let allow = self.client.denied.grant(&denial);
            format!(
                "the NATS server does not let this user {} to `{allow}`; allow it (`tidegate permissions` prints all)",
                denial.verb
            )
        })
    }

    async fn events(&self) -> Result<ObjectEvents, String> {
        self.store().await?;
        let config = OrderedConfig {
            deliver_subject: self.client.nats.new_inbox(),
            description: Some("tidegate: the plugins of a host".to_owned()),
            filter_subjects: vec![format!("$O.{}.M.>", self.name)],
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..OrderedConfig::default()
        };
        let failed = |error: &dyn Display| self.failed("it cannot be watched", error);
        let made = self.client.context.create_consumer_on_stream(config, self.stream());
        let consumer = self.unless_denied("CONSUMER.CREATE", made).await?.map_err(|error| failed(&error))?;
        // Of an empty bucket nothing comes that could say that it was all.
        let is_empty = consumer.cached_info().num_pending == 0;
        let messages = consumer.messages().await.map_err(|error| failed(&error))?;
        let changes = messages.flat_map(|message| {
            stream::iter(match message {
                Ok(message) => events_of(&message),
                Err(error) => vec![Err(format!("the watch has ended: {error}; it is tried again"))],
            })
        });
        let first = is_empty.then_some(Ok(ObjectEvent::Known));
        Ok(stream::iter(first).chain(changes).boxed())
    }

    async fn content(&self, name: &str, most: u64) -> Result<Option<(PluginObject, ObjectContent)>, String> {
        let store = self.store().await?;
        let got = self.unless_denied("DIRECT.GET", store.get(name)).await?;
        let object = match got {
            Ok(object) => object,
            Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("it cannot be read", &error)),
        };
        let described = described(object.info().clone(), 0);
        let said = described.bytes;
        if said > most {
            return Ok(Some((described, Ok(Vec::new()))));
        }
        // Chunks that are not there would be waited for, and each time again.
        if let Some(missing) = self.missing(object.info()).await? {
            return Ok(Some((described, Err(missing))));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(said.min(AT_FIRST)).unwrap_or_default());
        let mut content = object.take(most.saturating_add(1));
        loop {
            match timeout(NEXT_BYTES, content.read_buf(&mut bytes)).await {
                Ok(Ok(0)) => return Ok(Some((described, Ok(bytes)))),
                Ok(Ok(_)) => {}
                // It has another digest than its description says, as who reads this finds out too.
                Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => return Ok(Some((described, Ok(bytes)))),
                Ok(Err(error)) => return Err(self.failed("it cannot be read to its end", &error)),
                Err(_) => {
                    let (come, limit) = (bytes.len(), NEXT_BYTES.as_secs());
                    return Err(format!(
                        "of its {said} bytes {come} came, and no more for {limit} s; it is tried again"
                    ));
                }
            }
        }
    }

    /// What is wrong where the bucket does not have all chunks of an object. A description comes after its chunks.
    async fn missing(&self, object: &ObjectInfo) -> Result<Option<String>, String> {
        if object.bucket != self.name {
            // It is a link, and what it leads to has its chunks elsewhere.
            return Ok(None);
        }
        let subject = format!("$O.{}.C.{}", self.name, object.nuid);
        let counted = async {
            let stream = self.client.context.get_stream_no_info(self.stream()).await?;
            let mut subjects = stream.info_with_subjects(&subject).await?;
            let mut chunks = 0;
            while let Some((_, count)) = subjects.try_next().await? {
                chunks += count;
            }
            Ok::<usize, async_nats::Error>(chunks)
        };
        let there = self.unless_denied("STREAM.INFO", counted).await?;
        let there = there.map_err(|error| self.failed("its chunks cannot be counted", &*error))?;
        let said = object.chunks;
        Ok((there < said).then(|| format!("of its {said} chunks the bucket has {there}; push it again")))
    }

    /// Puts a plugin there, in place of one of its name. The bucket is made if it is not there.
    ///
    /// # Errors
    /// If the servers do not take it.
    pub async fn push(&self, name: &str, content: &[u8], signature: Option<String>) -> Result<(), String> {
        let store = match self.store().await {
            Ok(store) => store,
            Err(problem) if problem.starts_with("it is not there") => self.make().await?,
            Err(problem) => return Err(problem),
        };
        let metadata: HashMap<String, String> =
            signature.map(|text| (SIGNATURE.to_owned(), text)).into_iter().collect();
        let object = ObjectMetadata { name: name.to_owned(), metadata, ..ObjectMetadata::default() };
        let mut content = content;
        let put = store.put(object, &mut content).await;
        put.map(drop).map_err(|error| self.failed("it cannot be put there", &error))
    }

    async fn make(&self) -> Result<ObjectStore, String> {
        let config = Config {
            bucket: self.name.clone(),
            description: Some("plugins of tidegate".to_owned()),
            num_replicas: 1,
            max_bytes: -1,
            ..Config::default()
        };
        let made = self.unless_denied("STREAM.CREATE", self.client.context.create_object_store(config)).await?;
        made.map_err(|error| self.failed("it cannot be made", &error))
    }

    /// What is there, by name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn list(&self) -> Result<Vec<StoredPlugin>, String> {
        let mut events = self.events().await?;
        let mut plugins: Vec<StoredPlugin> = Vec::new();
        while let Some(event) = events.next().await {
            match event? {
                ObjectEvent::Put(object) => plugins.push(object.into()),
                ObjectEvent::Removed(_) => {}
                ObjectEvent::Known => break,
            }
        }
        plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(plugins)
    }

    /// The content of a plugin of at most this many bytes and one; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn get(&self, name: &str, most: u64) -> Result<Option<(StoredPlugin, Vec<u8>)>, String> {
        let Some((described, content)) = self.content(name, most).await? else { return Ok(None) };
        content.map(|content| Some((described.into(), content)))
    }

    /// Removes a plugin. `false` if it is not there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub async fn remove(&self, name: &str) -> Result<bool, String> {
        if !self.list().await?.iter().any(|plugin| plugin.name == name) {
            return Ok(false);
        }
        let deleted = self.store().await?.delete(name).await;
        deleted.map(|()| true).map_err(|error| self.failed("it cannot be removed", &error))
    }
}

/// Whether what is not there is the bucket's stream.
fn is_not_found(error: &dyn std::error::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.to_string().contains("not found") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the description of an object says, and that it was the last that was there.
fn events_of(message: &Message) -> Vec<Result<ObjectEvent, String>> {
    let info = match message.info() {
        Ok(info) => info,
        Err(error) => return vec![Err(format!("the watch has ended: {error}; it is tried again"))],
    };
    // What is no description is nobody's: the others are not to suffer for it.
    let described = serde_json::from_slice::<ObjectInfo>(&message.payload).ok();
    let event = described.map(|object| Ok(event(object, info.stream_sequence)));
    let known = (info.pending == 0).then_some(Ok(ObjectEvent::Known));
    event.into_iter().chain(known).collect()
}

fn event(object: ObjectInfo, revision: u64) -> ObjectEvent {
    if object.deleted {
        return ObjectEvent::Removed(object.name);
    }
    ObjectEvent::Put(described(object, revision))
}

fn described(mut object: ObjectInfo, revision: u64) -> PluginObject {
    PluginObject {
        revision,
        bytes: u64::try_from(object.size).unwrap_or(u64::MAX),
        digest: object.digest.as_deref().and_then(hex),
        signature: object.metadata.remove(SIGNATURE),
        name: object.name,
    }
}

impl From<PluginObject> for StoredPlugin {
    fn from(PluginObject { name, bytes, digest, signature, .. }: PluginObject) -> Self {
        Self { name, bytes, digest, signature }
    }
}

/// The digest as an object's description has it, in hexadecimal digits.
fn hex(digest: &str) -> Option<String> {
    let encoded = digest.strip_prefix("SHA-256=")?;
    Some(HEXLOWER.encode(&BASE64URL.decode(encoded.as_bytes()).ok()?))
}

impl PluginObjects for PluginBucket {
    fn watch(&self) -> ObjectFuture<'_, ObjectEvents> {
        Box::pin(self.events())
    }

    fn read<'a>(&'a self, name: &'a str, most: u64) -> ObjectFuture<'a, Option<(PluginObject, ObjectContent)>> {
        Box::pin(self.content(name, most))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_digest_is_read_as_object_stores_write_it() {
        let digest = "SHA-256=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg=";
        assert_eq!(hex(digest).unwrap(), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        for other in ["", "SHA-256=", "MD5=abc=", "SHA-256=!"] {
            assert!(hex(other).is_none_or(|digits| digits.is_empty()), "{other}");
        }
    }
}
