//! `wasi:keyvalue` on JetStream KV buckets.

mod dedupe;
mod grants;
mod limits;
mod outages;
mod setup;
mod unreadable;

use async_nats::jetstream::kv;
use futures_util::TryStreamExt;
use tidegate_runtime::config::{Config, Workload};

use crate::support::host::{Host, workers};
use crate::support::site::Site;

/// A workload with so many workers, whose handler may use buckets.
fn granted_to(name: &str, count: u32, grants: &[&str], limits: &str) -> Workload {
    let text =
        format!("[workload.x]\nstream = \"x\"\nhandler = \"h\"\npolicy = \"p\"\ngrants.kv = {grants:?}\n{limits}\n");
    let kv = Config::from_toml(&text).unwrap_or_else(|errors| panic!("{errors}")).workloads.remove(0);
    let work = workers(name, count);
    Workload {
        grants: tidegate_runtime::config::Grants { kv: kv.grants.kv, ..work.grants.clone() },
        limits: kv.limits,
        ..work
    }
}

fn granted(grants: &[&str]) -> Workload {
    granted_to("work", 1, grants, "")
}

/// A host with one workload that may use buckets.
async fn host(grants: &[&str]) -> Host {
    Host::start(vec![granted(grants)]).await
}

/// What the probe says of a step.
async fn kv(host: &Site, step: &str) -> String {
    kv_of(host, "work", step).await
}

/// The same of another workload.
async fn kv_of(host: &Site, workload: &str, step: &str) -> String {
    host.request(&format!("in.{workload}.a"), format!("kv {step}")).await
}

async fn bucket(site: &Site, name: &str, history: i64) -> kv::Store {
    let config = kv::Config { bucket: name.to_owned(), history, ..Default::default() };
    site.js.create_key_value(config).await.unwrap()
}

/// A key's value, as the client library of these tests reads it.
async fn value(site: &Site, bucket: &str, key: &str) -> Option<String> {
    let store = site.js.get_key_value(bucket).await.unwrap();
    store.get(key).await.unwrap().map(|value| String::from_utf8(value.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_handler_sets_others_read_and_the_other_way_round() {
    let host = host(&["read-write counters"]).await;
    for (step, expected) in [
        ("get a", "none"),
        ("exists a", "false"),
        ("set a one", "done"),
        ("get a", "one"),
        ("set a two", "done"),
        ("exists a", "true"),
        ("delete a", "done"),
        ("get a", "none"),
        ("exists a", "false"),
        ("delete never-there", "done"),
        ("set-many x a b.c d/e=f", "done"),
        ("get-many a nothing d/e=f", "x none x"),
        ("delete-many a b.c", "done"),
        ("get-many a b.c d/e=f", "none none x"),
        ("list", "1 1 d/e=f"),
    ] {
        assert_eq!(kv(&host, &format!("counters {step}")).await, expected, "{step}");
    }
    assert_eq!(value(&host, "counters", "d/e=f").await.as_deref(), Some("x"));
    let store = host.js.get_key_value("counters").await.unwrap();
    store.put("theirs", "y".into()).await.unwrap();
    assert_eq!(kv(&host, "counters get theirs").await, "y");
    store.purge("theirs").await.unwrap();
    assert_eq!(kv(&host, "counters get theirs").await, "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_four_workers_that_increment_one_key_a_thousand_times_lose_none() {
    let site = Site::new().await;
    let work = granted_to("work", 4, &["read-write counters"], "");
    let first = Host::start_at(site.clone(), vec![work.clone()]).await;
    let second = Host::start_at(site.clone(), vec![work]).await;
    let both = (0..1_000).map(|_| "kv counters retry increment hits 1".to_owned());
    site.publish_all("in.work.a", both).await;
    site.settled("work").await;
    assert_eq!(value(&site, "counters", "hits").await.as_deref(), Some("1000"));
    assert!(site.stored(crate::support::site::DEAD).await.is_empty());
    let (site, events) = first.stop().await;
    let handled = crate::support::host::handled(&events);
    assert!(handled > 0 && handled < 1_000, "one host did it all");
    drop((site, second));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_increment_is_of_decimal_digits_and_overwrites_nothing_else() {
    let host = host(&["read-write counters"]).await;
    assert_eq!(kv(&host, "counters increment n 41").await, "41");
    assert_eq!(kv(&host, "counters increment n -1").await, "40");
    assert_eq!(value(&host, "counters", "n").await.as_deref(), Some("40"));
    kv(&host, "counters delete n").await;
    assert_eq!(kv(&host, "counters increment n 2").await, "2");
    kv(&host, "counters set text many").await;
    assert_eq!(kv(&host, "counters increment text 1").await, "error: `text` is no number in decimal digits");
    assert_eq!(kv(&host, "counters get text").await, "many");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_is_done_only_if_nobody_came_between_and_a_handle_outlives_its_call() {
    let host = host(&["read-write counters"]).await;
    assert_eq!(kv(&host, "counters cas k - first").await, "swapped");
    assert_eq!(kv(&host, "counters cas k between second").await, "failed at between, then swapped");
    assert_eq!(kv(&host, "counters get k").await, "second");
    // A key that is deleted has a revision too.
    kv(&host, "counters delete k").await;
    assert_eq!(kv(&host, "counters cas k - again").await, "swapped");
    assert_eq!(kv(&host, "counters keep k").await, "again");
    assert_eq!(kv(&host, "counters swap-kept later").await, "swapped");
    assert_eq!(kv(&host, "counters keep k").await, "later");
    host.js.get_key_value("counters").await.unwrap().put("k", "theirs".into()).await.unwrap();
    assert_eq!(kv(&host, "counters swap-kept lost").await, "failed at theirs, then swapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_pages_without_those_that_are_deleted() {
    for history in [1, 5] {
        let site = Site::new().await;
        let store = bucket(&site, "many", history).await;
        let put = (0..2_500).map(|index| store.put(format!("orders.{index}"), "x".into()));
        let put: Vec<u64> =
            futures_util::stream::iter(put.map(Ok::<_, kv::PutError>)).try_buffered(100).try_collect().await.unwrap();
        assert_eq!(put.len(), 2_500);
        store.put("orders.0", "again".into()).await.unwrap();
        store.put("other", "x".into()).await.unwrap();
        store.delete("orders.7").await.unwrap();
        let host = Host::start_at(site, vec![granted(&["read many/orders."])]).await;
        assert_eq!(kv(&host, "many list").await, "3 2499", "history {history}");
        assert_eq!(kv(&host, "many list-from 2501").await, "orders.0", "history {history}");
        assert!(kv(&host, "many list-from x").await.contains("this cursor is none that list-keys gave"));
        let consumers = host.js.get_stream("KV_many").await.unwrap().cached_info().state.consumer_count;
        assert_eq!(consumers, 0, "what listed is left behind");
    }
}
