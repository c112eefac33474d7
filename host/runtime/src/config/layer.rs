//! What one source says: the file, the flags, the environment, or a context of the `nats` command.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{At, SourcePosition};
use super::keys::{CONNECTION, Key};
use super::value::Value;

/// Values by the paths of their keys, each with its place.
#[derive(Clone, Default, PartialEq)]
pub struct Layer(BTreeMap<&'static str, At<Value>>);

/// Shows which keys are set and keeps their values, some of which are secret.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Layer {
    /// What a flag says, as in `--min`, or a variable. Given again, it adds to a list.
    pub fn add(&mut self, key: &Key, given_by: &str, value: Value) {
        let value = match self.0.remove(key.path) {
            Some(earlier) => earlier.value.and(value),
            None => value,
        };
        self.put(key, At { value, place: SourcePosition::named(given_by) });
    }

    pub(super) fn put(&mut self, key: &Key, at: At<Value>) {
        self.0.insert(key.path, at);
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it says something of the key at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Whether it says something of a table: `nats.` is that of a connection.
    pub(super) fn has_table(&self, prefix: &str) -> bool {
        self.0.keys().any(|path| path.starts_with(prefix))
    }

    pub(super) fn get(&self, path: &str) -> Option<&At<Value>> {
        self.0.get(path)
    }

    /// The same without what says how to reach servers. Of that only what inboxes are called is the client's own.
    pub(super) fn without_servers(mut self) -> Self {
        self.0.retain(|path, _| !path.starts_with(CONNECTION) || *path == "nats.inbox-prefix");
        self
    }

    /// The same without a connection of its own.
    pub(super) fn without_connection(mut self) -> Self {
        self.0.retain(|path, _| !path.starts_with(CONNECTION));
        self
    }

    /// The text that it says of the key at `path`.
    pub fn text_of(&self, path: &str) -> Option<String> {
        self.text(path).map(|at| at.value)
    }

    pub(super) fn text(&self, path: &str) -> Option<At<String>> {
        match self.get(path)? {
            At { value: Value::Text(text), place } => Some(At { value: text.clone(), place: place.clone() }),
            _ => None,
        }
    }

    /// What is set here, and the rest from `below`. Of a table each name counts for itself.
    pub(super) fn over(mut self, below: &Self) -> Self {
        for (path, lower) in &below.0 {
            match self.0.get_mut(path) {
                None => drop(self.0.insert(path, lower.clone())),
                Some(At { value: upper @ Value::Table(_), .. }) => *upper = lower.value.clone().and(upper.clone()),
                Some(_) => {}
            }
        }
        self
    }
}
