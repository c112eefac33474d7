use std::collections::VecDeque;
use std::future::ready;

use futures_util::stream::{self, StreamExt as _};

use super::*;
use crate::ports::{Forgetting, KvEntry};

/// A bucket that answers writes of entries as it is told, and counts the watches.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<u64, KvError>>>,
    changes: Mutex<Vec<KeyChange>>,
    watches: AtomicU64,
}

impl FleetBucket for Scripted {
    fn find(&self) -> KvFuture<'_, Forgetting> {
        Box::pin(ready(Ok(Forgetting::default())))
    }

    fn get<'a>(&'a self, _: &'a str) -> KvFuture<'a, KvEntry> {
        Box::pin(ready(Ok(KvEntry { revision: 0, value: None })))
    }

    fn put<'a>(&'a self, key: &'a str, _: bytes::Bytes, _: Option<u64>) -> KvFuture<'a, u64> {
        if !key.starts_with("host.") {
            return Box::pin(ready(Ok(0)));
        }
        match self.answers.lock().pop_front() {
            Some(answer) => Box::pin(ready(answer)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn delete<'a>(&'a self, _: &'a str, _: Option<u64>) -> KvFuture<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn forget<'a>(&'a self, _: &'a str, _: u64) -> KvFuture<'a, ()> {
        Box::pin(ready(Ok(())))
    }

    fn watch(&self, _: Vec<String>) -> KvFuture<'_, KeyChanges> {
        self.watches.fetch_add(1, Relaxed);
        let changes = std::mem::take(&mut *self.changes.lock());
        Box::pin(ready(Ok(stream::iter(changes.into_iter().map(Ok)).chain(stream::pending()).boxed())))
    }
}

/// How often a host has begun to watch, and has found that the bucket went back, when its entries were answered so.
async fn watches(answers: Vec<Result<u64, KvError>>, changes: Vec<KeyChange>) -> (u64, u64) {
    let bucket = Arc::new(Scripted::default());
    *bucket.answers.lock() = answers.into();
    *bucket.changes.lock() = changes;
    let me = HostId { id: "a".to_owned(), boot: "a-1".to_owned() };
    let fleet = Fleet::new(me, (1, None), bucket.clone(), ("fleet".to_owned(), BTreeMap::new()));
    // A watch that brings nothing begins anew only later.
    let _ = timeout(SILENT - BEAT, fleet.run()).await;
    let returns = fleet.view.lock().returns();
    (bucket.watches.load(Relaxed), returns)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_cut_off_watches_anew() {
    let failed = || Err(KvError::Unavailable(String::new()));
    assert_eq!(watches(vec![Ok(1), Ok(2), Ok(3)], Vec::new()).await, (1, 0));
    assert_eq!(watches(vec![Ok(1), failed(), failed(), Ok(3)], Vec::new()).await, (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_bucket_went_back_where_an_entry_has_a_number_that_was_written_or_seen_before() {
    let seen = |revision| vec![KeyChange { key: "settings.w".to_owned(), revision, value: None }];
    assert_eq!(watches(vec![Ok(3), Ok(4)], seen(2)).await, (1, 0));
    assert_eq!(watches(vec![Ok(3), Ok(3), Ok(4)], Vec::new()).await, (2, 1));
    assert_eq!(watches(vec![Ok(3), Ok(4), Ok(5)], seen(4)).await, (2, 1));
}
