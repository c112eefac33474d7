//! What is given back when hosts stop in order uses up no attempt, at whichever host it comes next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_runtime::config::{Limits, Manage, Order, OrderKey, Queue, Retry, Workload};
use tidegate_test_artifacts::probes;

use crate::connections::permissions;
use crate::edited::api;
use crate::support::host::{Host, workers};
use crate::support::site::{DEAD, Site, header};
use crate::support::{eventually, log, until};

const EXCUSED: &str = "tidegate.excused";

/// A handler that has half an hour, and few attempts.
fn patient(name: &str, count: u32, max_attempts: u32) -> Workload {
    let workload = workers(name, count);
    let limits = Limits { time: Duration::from_secs(1800), ..workload.limits.clone() };
    Workload { limits, retry: Retry { max_attempts, ..workload.retry.clone() }, ..workload }
}

/// Starts a host that is given no time when it stops.
async fn hasty(site: &Arc<Site>, workload: &Workload) -> Host {
    Host::start_with(site.clone(), Duration::ZERO, vec![workload.clone()]).await
}

/// A message that the first version of the handler never finishes, and of which the next does this.
fn hangs(name: &str, then: &str) -> String {
    format!("in v1 print begun-{name}\nin v1 sleep 1000000\n{then}")
}

/// The next version of the handler finishes all, and nothing has become a dead letter.
async fn is_finished_by_the_next_handler(site: &Arc<Site>, workload: &Workload) {
    site.install("probe", probes::WORKER_V2);
    let host = hasty(site, workload).await;
    host.settled(&workload.name).await;
    host.stop().await;
    assert!(site.stored(DEAD).await.is_empty());
}

/// Awaits that this many such messages are in a handler, in all hosts until now.
async fn begun(name: &str, count: usize) {
    eventually("the handlers have begun", async || log::count(&[&format!("begun-{name}")]) >= count).await;
}

/// The consumer as the server tells it.
async fn consumer(site: &Site, name: &str) -> Value {
    api(site, &format!("CONSUMER.INFO.{name}.{name}-workers"), &json!({})).await.unwrap()
}

/// Edits the consumer.
async fn edit(site: &Site, name: &str, config: &Value) {
    let update = json!({ "stream_name": name, "config": config, "action": "update" });
    api(site, &format!("CONSUMER.CREATE.{name}.{name}-workers"), &update).await.unwrap();
}

/// How many deliveries of each message do not count, as it stands at the consumer.
async fn excused(site: &Site, name: &str) -> BTreeMap<u64, u64> {
    let consumer = consumer(site, name).await;
    let text = consumer["config"]["metadata"][EXCUSED].as_str().unwrap_or_default().to_owned();
    let mut all = BTreeMap::new();
    for word in text.split(' ').skip(1) {
        let (messages, count) = word.split_once(':').unwrap();
        let (first, last) = messages.split_once('-').unwrap_or((messages, messages));
        let messages = first.parse::<u64>().unwrap()..=last.parse().unwrap();
        all.extend(messages.map(|message| (message, count.parse::<u64>().unwrap())));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn orderly_restarts_make_no_dead_letter_however_many_they_are() {
    let (site, often) = (Site::new().await, patient("often", 2, 1));
    // More deliveries than a message may have that never finishes.
    for restarts in 1..=3 {
        let host = hasty(&site, &often).await;
        if restarts == 1 {
            site.publish_all("in.often.a", (0..2).map(|_| hangs("often", "ok"))).await;
        }
        begun("often", 2 * restarts).await;
        host.stop().await;
        // What a worker gives back may come again by a pull that is still open.
        let deliveries = site.consumer("often").await.delivered.consumer_sequence;
        let excused = excused(&site, "often").await;
        assert_eq!(excused.values().sum::<u64>(), deliveries, "{excused:?}");
    }
    is_finished_by_the_next_handler(&site, &often).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_after_an_orderly_restart_is_not_the_last_that_a_message_may_have() {
    let (site, twice) = (Site::new().await, patient("twice", 1, 2));
    let host = hasty(&site, &twice).await;
    site.publish("in.twice.a", hangs("twice", "print failing-twice\nretry 10")).await;
    begun("twice", 1).await;
    host.stop().await;
    site.install("probe", probes::WORKER_V2);
    let host = hasty(&site, &twice).await;
    let letters = site.stored_count(DEAD, 1).await;
    assert_eq!(header(&letters[0], "Tidegate-Cause"), Some("retries"));
    host.stop().await;
    eventually("it was tried twice", async || log::count(&["failing-twice"]) == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_goes_on_asks_what_others_have_given_back_before_a_message_dies() {
    let host = Host::start(vec![patient("asks", 1, 2)]).await;
    let stream = api(&host, "STREAM.INFO.asks", &json!({})).await.unwrap();
    let mut config = consumer(&host, "asks").await["config"].clone();
    // As another host would that stops.
    config["metadata"][EXCUSED] = format!("{} 1:1", stream["created"].as_str().unwrap()).into();
    edit(&host, "asks", &config).await;
    // The second attempt comes when what the host read at its start is too old to die by.
    host.publish("in.asks.a", "before 2 retry 1500\nbefore 3 retry 10\nok").await;
    host.settled("asks").await;
    assert_eq!(host.consumer("asks").await.delivered.consumer_sequence, 3);
    assert!(host.stored(DEAD).await.is_empty());
    // What stands there is no setting of the consumer.
    assert_eq!(log::count(&["has other settings now", "\"asks\""]), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_stop_at_once_tell_of_what_each_has_given_back() {
    let (site, both) = (Site::new().await, patient("both", 1, 1));
    let (mut one, mut other) = (hasty(&site, &both).await, hasty(&site, &both).await);
    // A worker has one, and one waits for it: two of each host.
    site.publish_all("in.both.a", (0..4).map(|_| hangs("both", "ok"))).await;
    site.unsettled("both", 4).await;
    one.tell_to_stop();
    other.tell_to_stop();
    tokio::join!(one.ended(), other.ended());
    assert_eq!(excused(&site, "both").await.into_keys().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_turn_is_not_tried_and_all_else_of_the_consumer_stays_as_it_is() {
    let site = Site::new().await;
    let order = Order { key: OrderKey::Token(3), buffer: 100, buffer_bytes: 1 << 24, in_fleet: false };
    let turns = Workload { order: Some(order), ..patient("turns", 2, 1) };
    let host = hasty(&site, &turns).await;
    site.publish_all("in.turns.a", (0..3).map(|_| hangs("turns", "ok"))).await;
    begun("turns", 1).await;
    site.unsettled("turns", 3).await;
    // Somebody edits it meanwhile.
    let mut before = consumer(&site, "turns").await;
    before["config"]["description"] = "of turns".into();
    before["config"]["metadata"]["owner"] = "somebody".into();
    edit(&site, "turns", &before["config"]).await;
    host.stop().await;
    assert_eq!(excused(&site, "turns").await.into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    let mut after = consumer(&site, "turns").await;
    for consumer in [&mut before, &mut after] {
        // Servers note more there.
        consumer["config"]["metadata"].as_object_mut().unwrap().retain(|name, _| name == "owner");
    }
    for what in ["config", "created", "ack_floor"] {
        assert_eq!(after[what], before[what], "{what}");
    }
    is_finished_by_the_next_handler(&site, &turns).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_may_not_edit_its_consumer_stops_as_ever_and_does_not_want_the_right() {
    let text = "[workload.bound]\nstream = \"bound\"\nhandler = \"probe\"\npolicy = \"fixed\"\n";
    let site = permissions::site(&permissions::printed(text, &[]).await, None).await;
    site.stream("bound", &["in.bound.>"]).await;
    site.stream(DEAD, &["tidegate.dead.*"]).await;
    site.delivered_in_vain("bound", 0).await;
    let bound = patient("bound", 1, 1);
    let queue = Queue { manage: Manage::Bind, ..bound.queue.clone() };
    let host = hasty(&site, &Workload { queue, ..bound }).await;
    site.publish("in.bound.a", hangs("bound", "ok")).await;
    begun("bound", 1).await;
    host.stop().await;
    let denied = until("the server has denied it", async || permissions::violations(&site).await.pop()).await;
    assert!(denied.contains("CONSUMER.CREATE.bound.bound-workers"), "{denied}");
    assert!(excused(&site, "bound").await.is_empty());
    assert_eq!(log::count(&["does not let this user", "CONSUMER.CREATE.bound."]), 0);
}
