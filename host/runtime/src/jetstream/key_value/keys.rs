//! Reads a page of a bucket's keys, in the order of their last changes.

use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::jetstream::bucket::{gone, is_deletion, stream, subject};
use crate::jetstream::connect::Client;
use crate::ports::{KvError, KvPage};

/// Keys of a page, at most.
const PAGE: usize = 1_000;
/// Messages that a page is made of, at most: most of a bucket may be deleted.
const SCANNED: usize = 10_000;
/// Messages that are asked for at once.
const BATCH: usize = 1_000;
/// How long a page may take the server.
const WITHIN: Duration = Duration::from_secs(10);
/// How long the server keeps the consumer of a page that was given up.
const FORGOTTEN: Duration = Duration::from_secs(15);

/// What is asked for.
pub(super) struct Listing<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefixes: &'a [&'a str],
    /// The revision from which on keys are wanted.
    pub(super) from: u64,
    /// Messages that the bucket keeps of a key, if that is known.
    pub(super) history: Option<i64>,
}

/// How far a page has come.
#[derive(Default)]
struct Progress {
    page: KvPage,
    scanned: usize,
}

type ListError = Box<dyn std::error::Error + Send + Sync>;

impl Listing<'_> {
    pub(super) async fn run(&self, client: &Client) -> Result<KvPage, KvError> {
        let failed = |why: String| KvError::Unavailable(format!("cannot list the keys of {}: {why}", self.bucket));
        let read = match timeout(WITHIN, self.page(client)).await {
            Ok(read) => read,
            Err(_) => return Err(failed(format!("the server did not answer within {WITHIN:?}"))),
        };
        match read {
            Ok(page) => Ok(page),
            // What the server says when it has no such stream differs from call to call.
            Err(error) => match client.stream_state(&stream(self.bucket)).await {
                Ok(None) => Err(gone(self.bucket)),
                _ => Err(failed(error.to_string())),
            },
        }
    }

    async fn page(&self, client: &Client) -> Result<KvPage, ListError> {
        let bucket = client.context.get_stream_no_info(stream(self.bucket)).await?;
        let consumer: PullConsumer = bucket.create_consumer(self.consumer()).await?;
        let page = self.read(&consumer).await;
        bucket.delete_consumer(&consumer.cached_info().name).await.ok();
        page
    }

    /// Where a key has one message each message is a key's last, and a page begins where the one before ended.
    /// Elsewhere only the server knows which are the last ones; it sends all of them, and the first are left out.
    fn consumer(&self) -> pull::Config {
        let deliver_policy = match self.from {
            from if from > 1 && self.history == Some(1) => DeliverPolicy::ByStartSequence { start_sequence: from },
            _ => DeliverPolicy::LastPerSubject,
        };
        let filter = self.filter();
        pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: filter,
            headers_only: true,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN,
            max_waiting: 4,
            ..pull::Config::default()
        }
    }

    /// The narrowest subject that all wanted keys are on, as far as one prefix tells.
    fn filter(&self) -> String {
        let tokens = match self.prefixes {
            [prefix] => prefix.rsplit_once('.').map(|(tokens, _)| tokens),
            _ => None,
        };
        tokens.map_or_else(|| subject(self.bucket, ">"), |tokens| subject(self.bucket, &format!("{tokens}.>")))
    }

    async fn read(&self, consumer: &PullConsumer) -> Result<KvPage, ListError> {
        let mut progress = Progress::default();
        let mut pending = consumer.cached_info().num_pending;
        while pending > 0 {
            let mut batch = consumer.fetch().max_messages(BATCH).messages().await?;
            let mut came = false;
            while let Some(message) = batch.next().await {
                let message = message?;
                let info = message.info()?;
                (came, pending) = (true, info.pending);
                if self.take(&mut progress, info.stream_sequence, &message.message) {
                    progress.page.next = Some(info.stream_sequence + 1).filter(|_| pending > 0);
                    return Ok(progress.page);
                }
            }
            if !came {
                // What was counted may be gone meanwhile.
                pending = consumer.get_info().await?.num_pending;
            }
        }
        Ok(progress.page)
    }

    /// Whether the page is full with this message.
    fn take(&self, progress: &mut Progress, sequence: u64, message: &Message) -> bool {
        if sequence < self.from {
            return false;
        }
        progress.scanned += 1;
        let key = message.subject.strip_prefix(&subject(self.bucket, "")).unwrap_or_default();
        let headers = message.headers.iter().flat_map(async_nats::HeaderMap::iter);
        let deleted = is_deletion(headers.flat_map(|(name, values)| {
            let name: &str = name.as_ref();
            values.iter().map(move |value| (name, value.as_str()))
        }));
        if !deleted && self.prefixes.iter().any(|prefix| key.starts_with(prefix)) {
            progress.page.keys.push(key.to_owned());
        }
        progress.page.keys.len() >= PAGE || progress.scanned >= SCANNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing<'a>(prefixes: &'a [&'a str], from: u64, history: i64) -> Listing<'a> {
        Listing { bucket: "b", prefixes, from, history: Some(history) }
    }

    #[test]
    fn the_server_is_asked_only_for_what_one_prefix_leaves() {
        for (prefixes, filter) in [
            (&["orders."][..], "$KV.b.orders.>"),
            (&["orders.eu.x"], "$KV.b.orders.eu.>"),
            (&["order"], "$KV.b.>"),
            (&[""], "$KV.b.>"),
            (&["a.", "b."], "$KV.b.>"),
        ] {
            assert_eq!(listing(prefixes, 0, 1).filter(), filter, "{prefixes:?}");
        }
    }

    #[test]
    fn a_page_begins_where_the_last_ended_only_where_each_message_is_a_keys_last() {
        let policy = |from, history| listing(&[""], from, history).consumer().deliver_policy;
        assert_eq!(policy(7, 1), DeliverPolicy::ByStartSequence { start_sequence: 7 });
        assert_eq!(policy(7, 5), DeliverPolicy::LastPerSubject);
        assert_eq!(policy(0, 1), DeliverPolicy::LastPerSubject);
    }
}
