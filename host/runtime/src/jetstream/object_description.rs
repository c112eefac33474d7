//! What a message in a bucket of plugins says of an object. Pure.
//!
//! Any client of object stores may have written it, and each writes what it likes: of what is not needed here nothing
//! is read, such as the time, which some leave empty in what they remove.

use std::collections::HashMap;

use data_encoding::{BASE64URL, HEXLOWER};
use serde::Deserialize;

use crate::ports::{ObjectEvent, PluginObject};
use crate::text::plain;

/// The name of the signature in an object's metadata.
pub(super) const SIGNATURE: &str = "tidegate-signature";
/// Bytes of a text from the bucket that are told.
const TOLD: usize = 200;

/// An object as it is described.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Description {
    name: Option<String>,
    nuid: Option<String>,
    size: Option<u64>,
    chunks: Option<u64>,
    digest: Option<String>,
    metadata: Option<HashMap<String, String>>,
    options: Option<Options>,
    deleted: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
struct Options {
    link: Option<Link>,
}

#[derive(Debug, Clone, Deserialize)]
struct Link {
    bucket: Option<String>,
    name: Option<String>,
}

impl Description {
    /// Reads it.
    ///
    /// # Errors
    /// Why nothing can be read of the object, and what to do.
    pub(super) fn read(payload: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(payload).map_err(|error| undescribed(&error.to_string()))
    }

    /// Whether the object was removed.
    pub(super) fn is_removed(&self) -> bool {
        self.deleted == Some(true)
    }

    /// The description, or why nothing can be read of the object as long as it is described so. A link is not followed:
    /// it may lead in circles, and to what other people may write.
    pub(super) fn usable(self) -> Result<Self, String> {
        if let Some(link) = self.options.as_ref().and_then(|options| options.link.as_ref()) {
            return Err(link.refused());
        }
        let is_token = |c: char| c.is_ascii_graphic() && !matches!(c, '.' | '*' | '>');
        if self.chunks() > 0 && (self.nuid().is_empty() || !self.nuid().chars().all(is_token)) {
            return Err("its description does not say which chunks are its own; push it again".to_owned());
        }
        Ok(self)
    }

    /// What tells its chunks from those of others.
    pub(super) fn nuid(&self) -> &str {
        self.nuid.as_deref().unwrap_or_default()
    }

    pub(super) fn size(&self) -> u64 {
        self.size.unwrap_or_default()
    }

    pub(super) fn chunks(&self) -> u64 {
        self.chunks.unwrap_or_default()
    }

    /// The object of this name, whose description has this position in the bucket's stream.
    pub(super) fn object(self, name: String, revision: u64) -> PluginObject {
        PluginObject {
            name,
            revision,
            bytes: self.size(),
            digest: self.digest.as_deref().and_then(hex),
            signature: self.metadata.and_then(|mut metadata| metadata.remove(SIGNATURE)),
            problem: None,
        }
    }
}

impl Link {
    fn refused(&self) -> String {
        let bucket = told(self.bucket.as_deref().unwrap_or_default());
        let to = match &self.name {
            Some(name) => format!("{} of {bucket}", told(name)),
            None => format!("the bucket {bucket}"),
        };
        format!("it is a link to {to}, and links are not followed; push the plugin itself in its place")
    }
}

/// What is told of an object whose description cannot be read.
pub(super) fn undescribed(why: &str) -> String {
    format!("its description in the bucket cannot be read ({}); push it again", told(why))
}

/// A text from the bucket as a part of a line, and not endless.
fn told(text: &str) -> String {
    plain(text.get(..text.floor_char_boundary(TOLD)).unwrap_or(text))
}

/// An object of which nothing can be read.
pub(super) fn unusable(name: String, revision: u64, why: String) -> PluginObject {
    PluginObject { name, revision, bytes: 0, digest: None, signature: None, problem: Some(why) }
}

/// What a description says of the object that its subject names, as far as that has come along. What is described where
/// no object can be is nobody's: the others are not to suffer for it.
pub(super) fn event(encoded: Option<&str>, payload: &[u8], revision: u64) -> Option<ObjectEvent> {
    let description = Description::read(payload);
    let name = match encoded {
        Some(encoded) => decoded(encoded)?,
        None => description.as_ref().ok()?.name.clone()?,
    };
    if description.as_ref().is_ok_and(Description::is_removed) {
        return Some(ObjectEvent::Removed(name));
    }
    Some(ObjectEvent::Put(match description.and_then(Description::usable) {
        Ok(description) => description.object(name, revision),
        Err(why) => unusable(name, revision, why),
    }))
}

/// The name of an object, as subjects have it.
pub(super) fn decoded(encoded: &str) -> Option<String> {
    String::from_utf8(BASE64URL.decode(encoded.as_bytes()).ok()?).ok()
}

/// The digest as an object's description has it, in hexadecimal digits.
fn hex(digest: &str) -> Option<String> {
    let encoded = digest.strip_prefix("SHA-256=")?;
    Some(HEXLOWER.encode(&BASE64URL.decode(encoded.as_bytes()).ok()?))
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

    #[test]
    fn what_other_clients_write_is_read_whatever_stands_for_the_rest() {
        // As clients in other languages have it that leave the time empty, or write all that there is.
        for removed in [
            r#"{"name":"echo","bucket":"PB","nuid":"n","size":0,"mtime":"","chunks":0,"digest":"","deleted":true}"#,
            r#"{"name":"echo","bucket":"PB","nuid":"n","size":0,"mtime":"0001-01-01T00:00:00Z","deleted":true}"#,
            r#"{"name":"echo","size":null,"metadata":null,"headers":null,"options":null,"mtime":7,"deleted":true}"#,
        ] {
            assert_eq!(put(removed), ObjectEvent::Removed("echo".to_owned()), "{removed}");
        }
        let there = r#"{"name":"echo","nuid":"n","size":3,"chunks":1,"mtime":"today","deleted":null,"digest":
            "SHA-256=n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg=","options":{"link":null,"max_chunk_size":9},
            "metadata":{"tidegate-signature":"signed"}}"#;
        let ObjectEvent::Put(object) = put(there) else { panic!() };
        assert_eq!((object.bytes, object.problem, object.signature.as_deref()), (3, None, Some("signed")));
        assert!(object.digest.is_some_and(|digest| digest.starts_with("9f86d081")));
    }
}
