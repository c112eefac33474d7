//! What plugins that come from a bucket need of JetStream's object store.

use std::future::Future;
use std::pin::Pin;

use futures_util::stream::BoxStream;

/// An object as the bucket describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PluginObject {
    /// Its name, which is the plugin's.
    pub(crate) name: String,
    /// The position of its description in the bucket's stream: another content has another one.
    pub(crate) revision: u64,
    /// Its bytes, as its description says.
    pub(crate) bytes: u64,
    /// The SHA-256 of its content in hexadecimal digits, as its description says.
    pub(crate) digest: Option<String>,
    /// The signature that it has.
    pub(crate) signature: Option<String>,
    /// Why nothing can be read of it as long as it is described so, and what to do.
    pub(crate) problem: Option<String>,
}

/// The content of an object, or what is wrong with it as long as it is described as it is.
pub(crate) type ObjectContent = Result<Vec<u8>, String>;

/// What is seen of a bucket: first all that is there, then what changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ObjectEvent {
    /// An object is there, or is another one.
    Put(PluginObject),
    /// The object of this name was removed.
    Removed(String),
    /// All that was there is told.
    Known,
}

/// The events of a bucket. After an error there are no more.
pub(crate) type ObjectEvents = BoxStream<'static, Result<ObjectEvent, String>>;

/// What comes of a request, or why nothing does, with what to do.
pub(crate) type ObjectFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// What is another one after anything was put into a bucket or has gone from it, with a word or without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketMark {
    /// When its stream was made.
    pub(crate) created: String,
    /// The position of the last message.
    pub(crate) last: u64,
    /// How many messages there are.
    pub(crate) messages: u64,
}

/// What a look at a bucket has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketSeen {
    pub(crate) mark: BucketMark,
    /// Why plugins do not stay there, if they do not, and what to do.
    pub(crate) forgetting: Option<String>,
}

/// A bucket of plugins.
pub(crate) trait PluginObjects: Send + Sync {
    /// Looks at it.
    fn look(&self) -> ObjectFuture<'_, BucketSeen>;

    /// Watches it.
    fn watch(&self) -> ObjectFuture<'_, ObjectEvents>;

    /// An object as it is described now and its content, as far as `most` bytes and one: what is longer is too large.
    /// `None` if there is none.
    fn read<'a>(&'a self, name: &'a str, most: u64) -> ObjectFuture<'a, Option<(PluginObject, ObjectContent)>>;
}
