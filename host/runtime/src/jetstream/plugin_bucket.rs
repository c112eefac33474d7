//! Plugins in an object store's bucket: a stream `OBJ_NAME` with the objects' descriptions and their chunks.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::ObjectStoreErrorKind;
use async_nats::jetstream::object_store::{Config, ObjectMetadata, ObjectStore};
use data_encoding::BASE64URL;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::timeout;

use super::denied::unless_denied;
use super::object_bucket::ObjectBucketState;
use super::object_description::{Description, SIGNATURE, decoded, event, undescribed, unusable};
use super::subject_watch::{Change, Followed, Unreadable};
use super::{Client, raw_message};
use crate::ports::{BucketSeen, ObjectContent, ObjectEvent, ObjectEvents, ObjectFuture, PluginObject, PluginObjects};

/// Bytes that are set aside for an object before any came, however many it says it has.
const AT_FIRST: u64 = 1 << 20;
/// How long nothing may come of a list that has begun.
const SILENCE: Duration = Duration::from_secs(10);

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
    /// Why nothing can be read of it, whatever the server does: it is a link, or is not described.
    pub problem: Option<String>,
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

    /// What the subjects of descriptions begin with.
    fn descriptions(&self) -> String {
        format!("$O.{}.M.", self.name)
    }

    fn description_subject(&self, name: &str) -> String {
        self.descriptions() + &BASE64URL.encode(name.as_bytes())
    }

    fn chunk_subject(&self, object: &Description) -> String {
        format!("$O.{}.C.{}", self.name, object.nuid())
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
        unless_denied(&self.client, &asked, answer).await
    }

    async fn state(&self) -> Result<ObjectBucketState, String> {
        let all = json!({});
        let state = self.client.api(format!("STREAM.INFO.{}", self.stream()), &all);
        let found = self.unless_denied("STREAM.INFO", state).await?;
        found.map_err(|error| self.failed("it cannot be looked at", &error))
    }

    /// Why plugins do not stay there, if they do not, and what to do. Nothing is said of a bucket that is not there.
    pub async fn forgetting(&self) -> Option<String> {
        self.state().await.ok()?.forgetting(&self.name)
    }

    async fn events(&self) -> Result<ObjectEvents, String> {
        self.store().await?;
        let prefix = self.descriptions();
        let followed = Followed {
            client: self.client.clone(),
            stream: self.stream(),
            filters: vec![format!("{prefix}>")],
            description: "tidegate: the plugins of a host",
        };
        let (there, changes) = followed.watch().await?;
        // Of an empty bucket nothing comes that could say that it was all.
        let first = (there == 0).then_some(Ok(ObjectEvent::Known));
        let events = changes.flat_map(move |change| {
            stream::iter(match change {
                Ok(change) => events_of(&change, &prefix).map(Ok).collect(),
                Err(why) => vec![Err(why)],
            })
        });
        Ok(stream::iter(first).chain(events).boxed())
    }

    /// How an object is described now, or why nothing can be read by that; `None` if there is none.
    async fn description(&self, name: &str) -> Result<Option<Result<Description, String>>, String> {
        let (stream, subject) = (self.stream(), self.description_subject(name));
        let found = raw_message::last(&self.client, &stream, &subject);
        let found = self.unless_denied("STREAM.MSG.GET", found).await?;
        let found = found.map_err(|error| self.failed("it cannot be read", &format_args!("{error:#}")))?;
        let Some(message) = found else { return Ok(None) };
        if message.is_unreadable() {
            return Ok(Some(Err(undescribed("its headers cannot be read"))));
        }
        Ok(match Description::read(&message.payload) {
            Ok(object) if object.is_removed() => None,
            described => Some(described.and_then(Description::usable)),
        })
    }

    async fn content(&self, name: &str, most: u64) -> Result<Option<(PluginObject, ObjectContent)>, String> {
        self.store().await?;
        let Some(description) = self.description(name).await? else { return Ok(None) };
        let object = match description {
            Ok(object) => object,
            Err(why) => return Ok(Some((unusable(name.to_owned(), 0, why.clone()), Err(why)))),
        };
        let described = object.clone().object(name.to_owned(), 0);
        if described.bytes > most {
            return Ok(Some((described, Ok(Vec::new()))));
        }
        let content = self.chunks(&object, most.saturating_add(1)).await?;
        Ok(Some((described, content)))
    }

    /// The chunks of an object by its description, whatever is described in its place meanwhile: `enough` bytes at
    /// most. The library's `get` would read the description again, and follow it where it is a link by then; and what
    /// it cannot read would cost its connection.
    async fn chunks(&self, object: &Description, enough: u64) -> Result<ObjectContent, String> {
        let enough = usize::try_from(enough).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(object.size().min(AT_FIRST)).unwrap_or_default());
        let (stream, subject, mut from) = (self.stream(), [self.chunk_subject(object)], 1);
        for there in 0..object.chunks() {
            let next = raw_message::next(&self.client, &stream, from, &subject);
            let next = self.unless_denied("STREAM.MSG.GET", next).await?;
            let next = next.map_err(|error| self.failed("it cannot be read to its end", &format_args!("{error:#}")))?;
            // A description comes after its chunks, so it does not help to wait.
            let Some(chunk) = next else {
                let said = object.chunks();
                return Ok(Err(format!("of its {said} chunks the bucket has {there}; push it again")));
            };
            from = chunk.sequence.saturating_add(1);
            let room = enough.saturating_sub(bytes.len());
            bytes.extend_from_slice(chunk.payload.get(..room).unwrap_or(&chunk.payload));
            if bytes.len() >= enough {
                break;
            }
        }
        Ok(Ok(bytes))
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
        // Of what is described there the client library removes the chunks: that has to be an object.
        if let Ok(Some(Err(_))) = self.description(name).await {
            self.mark_removed(name).await?;
        }
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
        let events = timeout(SILENCE, self.events()).await.map_err(|_| silent())?;
        listed(events?).await
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
        let listed = self.list().await?;
        let Some(plugin) = listed.iter().find(|plugin| plugin.name == name) else { return Ok(false) };
        if plugin.problem.is_some() {
            return self.mark_removed(name).await.map(|()| true);
        }
        let deleted = self.store().await?.delete(name).await;
        deleted.map(|()| true).map_err(|error| self.failed("it cannot be removed", &error))
    }

    /// Describes an object as removed that has no chunks of its own, or whose description does not say which.
    async fn mark_removed(&self, name: &str) -> Result<(), String> {
        let subject = self.description_subject(name);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Rollup", "sub");
        let bucket = &self.name;
        let object = json!({ "name": name, "bucket": bucket, "nuid": "none", "size": 0, "chunks": 0, "deleted": true });
        let failed = |error: &dyn Display| self.failed("it cannot be removed", error);
        let sent = self.client.context.publish_with_headers(subject, headers, object.to_string().into()).await;
        sent.map_err(|error| failed(&error))?.await.map(drop).map_err(|error| failed(&error))
    }
}

/// What is there, by name, of what is seen of a bucket.
async fn listed(mut events: ObjectEvents) -> Result<Vec<StoredPlugin>, String> {
    let mut plugins: Vec<StoredPlugin> = Vec::new();
    while let Some(event) = timeout(SILENCE, events.next()).await.map_err(|_| silent())? {
        match event? {
            ObjectEvent::Put(object) => plugins.push(object.into()),
            ObjectEvent::Removed(_) => {}
            ObjectEvent::Known => break,
        }
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plugins)
}

fn silent() -> String {
    let within = SILENCE.as_secs();
    format!("nothing came of it for {within} s; see that the connection stays and what the server's log says")
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

/// What a message says of the object that its subject names, and that it was the last that was there.
fn events_of(change: &Change, prefix: &str) -> impl Iterator<Item = ObjectEvent> {
    let event = match &change.message {
        Ok(message) => event(message.subject.strip_prefix(prefix), &message.payload, change.sequence),
        Err(Unreadable { subject, why }) => {
            let name = subject.strip_prefix(prefix).and_then(decoded);
            name.map(|name| ObjectEvent::Put(unusable(name, change.sequence, undescribed(why))))
        }
    };
    event.into_iter().chain((change.pending == 0).then_some(ObjectEvent::Known))
}

impl From<PluginObject> for StoredPlugin {
    fn from(PluginObject { name, bytes, digest, signature, problem, .. }: PluginObject) -> Self {
        Self { name, bytes, digest, signature, problem }
    }
}

impl PluginObjects for PluginBucket {
    fn look(&self) -> ObjectFuture<'_, BucketSeen> {
        Box::pin(async {
            let state = self.state().await?;
            Ok(BucketSeen { forgetting: state.forgetting(&self.name), mark: state.mark() })
        })
    }

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

    fn events(events: Vec<ObjectEvent>) -> ObjectEvents {
        stream::iter(events.into_iter().map(Ok)).chain(stream::pending()).boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_which_nothing_comes_any_more_ends() {
        let put = |name: &str| ObjectEvent::Put(unusable(name.to_owned(), 1, "it is a link".to_owned()));
        let (first, second) = (put("b"), put("a"));
        let whole = listed(events(vec![first.clone(), second, ObjectEvent::Known])).await.unwrap();
        assert_eq!(whole.into_iter().map(|plugin| plugin.name).collect::<Vec<_>>(), ["a", "b"]);
        let problem = listed(events(vec![first])).await.unwrap_err();
        assert!(problem.contains("nothing came of it for 10 s"), "{problem}");
    }
}
