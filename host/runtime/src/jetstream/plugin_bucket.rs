//! Plugins in an object store's bucket: a stream `OBJ_NAME` with the objects' descriptions and their chunks.

use std::collections::HashMap;
use std::fmt::Display;

use async_nats::HeaderMap;
use async_nats::jetstream::context::ObjectStoreErrorKind;
use async_nats::jetstream::object_store::{Config, ObjectInfo, ObjectLink, ObjectMetadata, ObjectStore};
use data_encoding::{BASE64URL, HEXLOWER};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::denied::unless_denied;
use super::subject_watch::{Change, Followed, Unreadable};
use super::{Client, raw_message};
use crate::ports::{ObjectContent, ObjectEvent, ObjectEvents, ObjectFuture, PluginObject, PluginObjects};
use crate::text::plain;

/// The name of the signature in an object's metadata.
const SIGNATURE: &str = "tidegate-signature";
/// Bytes that are set aside for an object before any came, however many it says it has.
const AT_FIRST: u64 = 1 << 20;
/// Bytes of a text from the bucket that are told.
const TOLD: usize = 200;

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

    fn chunk_subject(&self, object: &ObjectInfo) -> String {
        format!("$O.{}.C.{}", self.name, object.nuid)
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
    async fn description(&self, name: &str) -> Result<Option<Result<ObjectInfo, String>>, String> {
        let (stream, subject) = (self.stream(), self.description_subject(name));
        let found = raw_message::last(&self.client, &stream, &subject);
        let found = self.unless_denied("STREAM.MSG.GET", found).await?;
        let found = found.map_err(|error| self.failed("it cannot be read", &format_args!("{error:#}")))?;
        let Some(message) = found else { return Ok(None) };
        if message.is_unreadable() {
            return Ok(Some(Err(undescribed("its headers cannot be read"))));
        }
        Ok(match serde_json::from_slice::<ObjectInfo>(&message.payload) {
            Ok(object) if object.deleted => None,
            Ok(object) => Some(usable(object)),
            Err(error) => Some(Err(undescribed(&error.to_string()))),
        })
    }

    async fn content(&self, name: &str, most: u64) -> Result<Option<(PluginObject, ObjectContent)>, String> {
        self.store().await?;
        let Some(description) = self.description(name).await? else { return Ok(None) };
        let object = match description {
            Ok(object) => object,
            Err(why) => return Ok(Some((unusable(name.to_owned(), 0, why.clone()), Err(why)))),
        };
        let described = described(name.to_owned(), object.clone(), 0);
        if described.bytes > most {
            return Ok(Some((described, Ok(Vec::new()))));
        }
        let content = self.chunks(&object, most.saturating_add(1)).await?;
        Ok(Some((described, content)))
    }

    /// The chunks of an object by its description, whatever is described in its place meanwhile: `enough` bytes at
    /// most. The library's `get` would read the description again, and follow it where it is a link by then; and what
    /// it cannot read would cost its connection.
    async fn chunks(&self, object: &ObjectInfo, enough: u64) -> Result<ObjectContent, String> {
        let said = u64::try_from(object.size).unwrap_or(u64::MAX);
        let enough = usize::try_from(enough).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(usize::try_from(said.min(AT_FIRST)).unwrap_or_default());
        let (stream, subject, mut from) = (self.stream(), [self.chunk_subject(object)], 1);
        for there in 0..object.chunks {
            let next = raw_message::next(&self.client, &stream, from, &subject);
            let next = self.unless_denied("STREAM.MSG.GET", next).await?;
            let next = next.map_err(|error| self.failed("it cannot be read to its end", &format_args!("{error:#}")))?;
            // A description comes after its chunks, so it does not help to wait.
            let Some(chunk) = next else {
                let said = object.chunks;
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

/// The name of an object, as subjects have it.
fn decoded(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64URL.decode(encoded.as_bytes()).ok()?).ok()
}

/// What a description says of the object that its subject names, as far as that has come along. What is described where
/// no object can be is nobody's: the others are not to suffer for it.
fn event(encoded: Option<&str>, payload: &[u8], revision: u64) -> Option<ObjectEvent> {
    let object = serde_json::from_slice::<ObjectInfo>(payload);
    let name = match encoded {
        Some(encoded) => decoded(encoded)?,
        None => object.as_ref().ok()?.name.clone(),
    };
    let object = object.map_err(|error| undescribed(&error.to_string()));
    if object.as_ref().is_ok_and(|object| object.deleted) {
        return Some(ObjectEvent::Removed(name));
    }
    Some(ObjectEvent::Put(match object.and_then(usable) {
        Ok(object) => described(name, object, revision),
        Err(why) => unusable(name, revision, why),
    }))
}

/// An object, or why nothing can be read of it as long as it is described so. A link is not followed: it may lead in
/// circles, and to what other people may write.
fn usable(object: ObjectInfo) -> Result<ObjectInfo, String> {
    if let Some(link) = object.options.as_ref().and_then(|options| options.link.as_ref()) {
        return Err(linked(link));
    }
    let is_token = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>');
    if object.chunks > 0 && (object.nuid.is_empty() || !object.nuid.chars().all(is_token)) {
        return Err("its description does not say which chunks are its own; push it again".to_owned());
    }
    Ok(object)
}

fn linked(link: &ObjectLink) -> String {
    let bucket = told(&link.bucket);
    let to = match &link.name {
        Some(name) => format!("{} of {bucket}", told(name)),
        None => format!("the bucket {bucket}"),
    };
    format!("it is a link to {to}, and links are not followed; push the plugin itself in its place")
}

fn undescribed(why: &str) -> String {
    format!("its description in the bucket cannot be read ({}); push it again", told(why))
}

/// A text from the bucket as a part of a line, and not endless.
fn told(text: &str) -> String {
    plain(text.get(..text.floor_char_boundary(TOLD)).unwrap_or(text))
}

fn unusable(name: String, revision: u64, why: String) -> PluginObject {
    PluginObject { name, revision, bytes: 0, digest: None, signature: None, problem: Some(why) }
}

fn described(name: String, mut object: ObjectInfo, revision: u64) -> PluginObject {
    PluginObject {
        name,
        revision,
        bytes: u64::try_from(object.size).unwrap_or(u64::MAX),
        digest: object.digest.as_deref().and_then(hex),
        signature: object.metadata.remove(SIGNATURE),
        problem: None,
    }
}

impl From<PluginObject> for StoredPlugin {
    fn from(PluginObject { name, bytes, digest, signature, problem, .. }: PluginObject) -> Self {
        Self { name, bytes, digest, signature, problem }
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
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_digest_is_read_as_object_stores_write_it() {
        let digest = "SHA-256=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg=";
        assert_eq!(hex(digest).unwrap(), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
        for other in ["", "SHA-256=", "MD5=abc=", "SHA-256=!"] {
            assert!(hex(other).is_none_or(|digits| digits.is_empty()), "{other}");
        }
    }

    /// What is told of what is described as `echo`.
    fn put(description: &str) -> ObjectEvent {
        event(Some("ZWNobw=="), description.as_bytes(), 7).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_an_object_of_its_subjects_name_with_a_problem() {
        let link = |to: &str| format!(r#"{{"name":"echo","bucket":"PB","options":{{"link":{to}}}}}"#);
        for (description, expected) in [
            (link(r#"{"bucket":"PB","name":"echo"}"#), "it is a link to echo of PB, and links are not followed; push "),
            (link(r#"{"bucket":"OTHER"}"#), "it is a link to the bucket OTHER, and links are not followed; push the "),
            ("what?".to_owned(), "its description in the bucket cannot be read (expected value at line 1 column 1); "),
            (r#"{"name":"echo","bucket":"PB","size":-5}"#.to_owned(), "cannot be read (invalid value: integer `-5`"),
            (r#"{"name":"echo","bucket":"PB","chunks":1}"#.to_owned(), "does not say which chunks are its own"),
            (r#"{"name":"echo","bucket":"PB","chunks":1,"nuid":">"}"#.to_owned(), "does not say which chunks are its"),
        ] {
            let ObjectEvent::Put(PluginObject { name, revision, problem, .. }) = put(&description) else { panic!() };
            let problem = problem.unwrap_or_default();
            assert!(problem.contains(expected) && problem.contains("push"), "{description}: {problem}");
            assert_eq!((name.as_str(), revision), ("echo", 7));
        }
        let long = format!(r#"{{"name":"echo","bucket":"PB","size":"{}"}}"#, "ä\n".repeat(10_000));
        let ObjectEvent::Put(object) = put(&long) else { panic!() };
        assert!(object.problem.is_some_and(|told| told.len() < 300 && told.lines().count() == 1));
    }

    #[test]
    fn an_object_is_the_one_of_its_subject() {
        let (removed, other) = (r#"{"name":"x","bucket":"PB","deleted":true}"#, r#"{"name":"x","bucket":"PB"}"#);
        assert_eq!(put(removed), ObjectEvent::Removed("echo".to_owned()));
        let named = |event| match event {
            Some(ObjectEvent::Put(object)) => Some(object.name),
            _ => None,
        };
        assert_eq!(named(Some(put(other))).as_deref(), Some("echo"));
        // Where an account's import has the subject be another, only the description says it.
        assert_eq!(named(event(None, other.as_bytes(), 7)).as_deref(), Some("x"));
        for nobodys in ["!", "_w==", ""] {
            assert!(named(event(Some(nobodys), other.as_bytes(), 7)).is_none_or(|name| name.is_empty()), "{nobodys}");
        }
    }
}
