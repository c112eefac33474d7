//! Reads a page of a bucket's keys, in the order of their last changes.
//!
//! Anybody who may publish there can have a key of any bytes, and the client library would give up its connection over
//! one that is not UTF-8. So pages come on the second connection, where a message is bytes until it has arrived.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::dead_letter::block;
use crate::jetstream::bucket::{gone, is_deletion, stream, subject};
use crate::jetstream::careful_inbox::{CarefulInbox, Place};
use crate::jetstream::connect::Client;
use crate::jetstream::denied::unless_denied;
use crate::jetstream::fallback::Raw;
use crate::jetstream::publisher::ANSWER;
use crate::ports::{KvError, KvPage};

/// Keys of a page, at most.
const PAGE: usize = 1_000;
/// Messages that a page is made of, at most: most of a bucket may be deleted.
const SCANNED: usize = 10_000;
/// Messages that are asked for at once.
const BATCH: usize = 1_000;
/// How long the server keeps the consumer of a page that was given up.
const FORGOTTEN: Duration = Duration::from_secs(15);
/// How long the second connection stays open after a page: the next may follow soon.
const KEPT: Duration = Duration::from_secs(30);
/// Keys that cannot be read and are told, at most.
const TOLD: usize = 100;

/// What is asked for.
pub(super) struct Listing<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefixes: &'a [&'a str],
    /// The revision from which on keys are wanted.
    pub(super) from: u64,
    /// Messages that the bucket keeps of a key, if that is known.
    pub(super) history: Option<i64>,
    pub(super) lister: &'a Lister,
}

/// What the pages of one workload have in common.
pub(super) struct Lister {
    workload: String,
    /// The inbox of the last page, which keeps the second connection open.
    kept: Mutex<Option<CarefulInbox>>,
    used: Notify,
    told: Mutex<BTreeSet<String>>,
}

impl Lister {
    pub(super) fn new(workload: &str) -> Self {
        let (kept, used, told) = (Mutex::default(), Notify::new(), Mutex::default());
        Self { workload: workload.to_owned(), kept, used, told }
    }

    fn keep(&self, inbox: CarefulInbox) {
        *self.kept.lock() = Some(inbox);
        self.used.notify_one();
    }

    /// Lets the second connection go when no page was read for a while; never returns.
    pub(super) async fn let_go(&self) -> Infallible {
        loop {
            self.used.notified().await;
            while timeout(KEPT, self.used.notified()).await.is_ok() {}
            self.kept.lock().take();
        }
    }

    /// Tells a key that cannot be read, once.
    fn tell(&self, bucket: &str, key: String, revision: u64) {
        let mut told = self.told.lock();
        if told.len() < TOLD && !told.contains(&key) {
            tracing::warn!(
                workload = self.workload,
                bucket,
                key,
                revision,
                "a key of the bucket is not UTF-8: no handler can be given it, so list-keys leaves it out"
            );
            told.insert(key);
        }
    }
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
        let read = async {
            match self.page(client).await {
                Ok(page) => Ok(page),
                // What the server says when it has no such stream differs from call to call.
                Err(error) => match client.stream_state(&stream(self.bucket)).await {
                    Ok(None) => Err(gone(self.bucket)),
                    _ => Err(failed(error.to_string())),
                },
            }
        };
        let late = |_| Err(failed(format!("the server did not answer within {ANSWER:?}")));
        timeout(ANSWER, read).await.unwrap_or_else(late)
    }

    async fn page(&self, client: &Client) -> Result<KvPage, ListError> {
        let mut inbox = CarefulInbox::open(client).await?;
        let bucket = client.context.get_stream_no_info(stream(self.bucket)).await?;
        let asked = client.api_subject(&format!("CONSUMER.CREATE.{}", stream(self.bucket)));
        let made = bucket.create_consumer(self.consumer());
        let consumer: PullConsumer = unless_denied(client, &asked, made).await??;
        let page = self.read(client, &consumer, &mut inbox).await;
        bucket.delete_consumer(&consumer.cached_info().name).await.ok();
        self.lister.keep(inbox);
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

    async fn read(
        &self,
        client: &Client,
        consumer: &PullConsumer,
        inbox: &mut CarefulInbox,
    ) -> Result<KvPage, ListError> {
        let mut progress = Progress::default();
        let info = consumer.cached_info();
        let next = client.api_subject(&format!("CONSUMER.MSG.NEXT.{}.{}", info.stream_name, info.name));
        let mut pending = info.num_pending;
        while pending > 0 {
            inbox.ask(&next, json!({ "batch": BATCH, "no_wait": true }).to_string().as_bytes());
            let mut count = 0;
            while count < BATCH && pending > 0 {
                let raw = inbox.next(&next).await?;
                // Otherwise the server says that this is all it has now.
                let Some(place) = Place::of(&raw) else { break };
                (count, pending) = (count + 1, place.pending);
                if self.take(&mut progress, place.sequence, &raw) {
                    progress.page.next = Some(place.sequence + 1).filter(|_| pending > 0);
                    return Ok(progress.page);
                }
            }
            if count == 0 {
                // What was counted may be gone meanwhile.
                pending = consumer.get_info().await?.num_pending;
            }
        }
        Ok(progress.page)
    }

    /// Whether the page is full with this message.
    fn take(&self, progress: &mut Progress, sequence: u64, raw: &Raw) -> bool {
        if sequence < self.from {
            return false;
        }
        progress.scanned += 1;
        let start = subject(self.bucket, "");
        let key = raw.subject.strip_prefix(start.as_bytes()).unwrap_or_default();
        // A block that cannot be read says nothing: who writes such headers does not delete.
        let headers = block::read(raw.block.as_deref().unwrap_or_default()).unwrap_or_default();
        let deleted = is_deletion(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !deleted && self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes())) {
            match std::str::from_utf8(key) {
                Ok(key) => progress.page.keys.push(key.to_owned()),
                Err(_) => {
                    let shown = raw.shown_subject();
                    let key = shown.strip_prefix(&start).unwrap_or(&shown).to_owned();
                    self.lister.tell(self.bucket, key, sequence);
                }
            }
        }
        progress.page.keys.len() >= PAGE || progress.scanned >= SCANNED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing<'a>(prefixes: &'a [&'a str], from: u64, history: i64, lister: &'a Lister) -> Listing<'a> {
        Listing { bucket: "b", prefixes, from, history: Some(history), lister }
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
            assert_eq!(listing(prefixes, 0, 1, &Lister::new("w")).filter(), filter, "{prefixes:?}");
        }
    }

    #[test]
    fn a_page_begins_where_the_last_ended_only_where_each_message_is_a_keys_last() {
        let policy = |from, history| listing(&[""], from, history, &Lister::new("w")).consumer().deliver_policy;
        assert_eq!(policy(7, 1), DeliverPolicy::ByStartSequence { start_sequence: 7 });
        assert_eq!(policy(7, 5), DeliverPolicy::LastPerSubject);
        assert_eq!(policy(0, 1), DeliverPolicy::LastPerSubject);
    }
}
