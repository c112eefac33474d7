//! Follows keys of a fleet's bucket.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::jetstream::Client;
use crate::jetstream::bucket::{is_deletion, stream, subject};
use crate::jetstream::subject_watch::{Change, Followed, Unreadable};
use crate::ports::{KeyChange, KeyChanges, KvError};

/// What the server calls a watch.
const DESCRIPTION: &str = "tidegate: a host of the fleet";
/// Keys that cannot be read and are told, at most.
const TOLD: usize = 100;

/// What cannot be read and was told already.
#[derive(Clone, Default)]
pub(super) struct Told(Arc<Mutex<BTreeSet<String>>>);

impl Told {
    fn tell(&self, bucket: &str, key: &str, revision: u64, why: &str) {
        let mut told = self.0.lock();
        if told.len() < TOLD && !told.contains(key) {
            tracing::warn!(
                bucket,
                key,
                revision,
                reason = why,
                "a key of the fleet's bucket cannot be read, and is passed over; whoever wrote it should not write \
                 there"
            );
            told.insert(key.to_owned());
        }
    }
}

/// The last version of each of these keys, in their order, and then each change.
pub(super) async fn watch(client: &Client, bucket: &str, keys: &[String], told: &Told) -> Result<KeyChanges, KvError> {
    let followed = Followed {
        client: client.clone(),
        stream: stream(bucket),
        filters: keys.iter().map(|key| subject(bucket, key)).collect(),
        description: DESCRIPTION,
    };
    let (_, changes) = followed.watch().await.map_err(KvError::Unavailable)?;
    let (start, bucket, told) = (subject(bucket, ""), bucket.to_owned(), told.clone());
    let changes = changes.filter_map(move |change| {
        std::future::ready(match change {
            Ok(Change { message: Ok(message), sequence, .. }) => Some(Ok(change_of(&message, &start, sequence))),
            Ok(Change { message: Err(Unreadable { subject, why }), sequence, .. }) => {
                told.tell(&bucket, subject.strip_prefix(&start).unwrap_or(&subject), sequence, &why);
                None
            }
            Err(why) => Some(Err(KvError::Unavailable(why))),
        })
    });
    Ok(changes.boxed())
}

fn change_of(message: &Message, start: &str, revision: u64) -> KeyChange {
    let headers = message.headers.iter().flat_map(HeaderMap::iter);
    let deleted = is_deletion(headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    }));
    let key = message.subject.strip_prefix(start).unwrap_or_default().to_owned();
    KeyChange { key, revision, value: (!deleted).then(|| message.payload.clone()) }
}
