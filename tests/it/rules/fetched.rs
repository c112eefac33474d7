//! Rules 1, 2, 3 and 6: what becomes of a delivery that was fetched.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use futures_util::StreamExt;
use tidegate_runtime::config::{Isolation, Limits, Queue, Retry, Workload};

use crate::support::host::{Host, handled, workers, workload};
use crate::support::site::{DEAD, Site, header, text};
use crate::support::wire::is_settlement;
use crate::support::{eventually, log};

/// A handler that has half an hour, and tries for ever without a pause that counts.
fn patient(name: &str) -> Workload {
    let workload = workload(name);
    let limits = Limits { time: Duration::from_secs(1800), ..workload.limits.clone() };
    Workload { limits, retry: Retry { max_attempts: 1_000_000, ..workload.retry.clone() }, ..workload }
}

fn ledger(ids: std::ops::Range<usize>, line: &str) -> impl Iterator<Item = String> {
    ids.map(move |id| format!("{line}\nledger out {id}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_1_every_delivery_is_settled_or_can_be_delivered_again_at_once_when_the_host_stops() {
    const COUNT: usize = 5000;
    let host = Host::start(vec![workers("flow", 3)]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish_all("in.flow.a", ledger(0..COUNT, "ok")).await;
    eventually("messages flow", async || host.consumer("flow").await.ack_floor.stream_sequence > 500).await;
    let (site, events) = host.stop().await;

    let done: HashSet<u64> =
        site.stored("OUT").await.iter().map(|entry| field(text(entry), "stream_sequence")).collect();
    assert_eq!(handled(&events), done.len() as u64);
    assert!(done.len() < COUNT, "the host stopped after the last message: the test shows nothing");
    // The ack wait is far longer than this waits.
    let left = site.deliverable("flow", COUNT - done.len()).await;
    assert!(left.is_disjoint(&done));
    site.settled("flow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_an_ack_waits_until_the_publications_are_stored() {
    let host = Host::start(vec![workload("work")]).await;
    // This test is the stream that the publication goes to.
    let mut stored = host.client.subscribe("out.a").await.unwrap();
    host.client.flush().await.unwrap();
    let mut wire = host.wire().await;
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], "publish out.a x\nreply done").await;
    let publication = stored.next().await.unwrap();
    // The worker goes on meanwhile, so the second message is settled first.
    host.publish("in.work.a", "ok").await;
    let early =
        |message: &async_nats::Message| message.subject.as_str() == "answers.1" || is_settlement(message, "work");
    let second = wire.next(early).await;
    assert!(second.subject.starts_with("$JS.ACK.work.work-workers.1.2."), "{}", second.subject);
    let confirmation = r#"{"stream":"OUT","seq":1}"#;
    host.client.publish(publication.reply.unwrap(), confirmation.into()).await.unwrap();
    assert_eq!(wire.next(early).await.subject.as_str(), "answers.1");
    assert_eq!(wire.settlement("work").await, "+ACK");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_message_whose_publications_are_stored_is_settled_while_the_worker_handles_the_next() {
    let host = Host::start(vec![patient("behind")]).await;
    let mut wire = host.settlements("behind").await;
    // This test is the stream that the publication goes to.
    let mut stored = host.client.subscribe("out.a").await.unwrap();
    host.client.flush().await.unwrap();
    host.publish("in.behind.a", "publish out.a x").await;
    let publication = stored.next().await.unwrap();
    host.publish("in.behind.a", "print begun-behind\nsleep 1000000").await;
    log::logged(&["begun-behind", "\"behind\""]).await;
    let confirmation = r#"{"stream":"OUT","seq":1}"#;
    host.client.publish(publication.reply.unwrap(), confirmation.into()).await.unwrap();
    assert_eq!(wire.settlement("behind").await, "+ACK");
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_stream_that_is_full_costs_no_message() {
    let host = Host::start(vec![patient("work")]).await;
    let full = Config {
        name: "OUT".into(),
        subjects: vec!["out.>".into()],
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    host.js.create_stream(full.clone()).await.unwrap();
    let mut wire = host.wire().await;
    host.publish_all("in.work.a", ledger(0..10, "ok")).await;
    // Every message was tried and given back once more than there is room.
    for _ in 0..20 {
        wire.next(|message| message.payload.starts_with(b"-NAK")).await;
    }
    assert_eq!(host.consumer("work").await.num_ack_pending, 8);
    host.js.update_stream(Config { max_messages: -1, ..full }).await.unwrap();
    assert_eq!(ids(&host, 10).await.len(), 10);
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_stream_that_is_missing_costs_no_message() {
    let host = Host::start(vec![patient("work")]).await;
    let mut wire = host.settlements("work").await;
    host.publish_all("in.work.a", ledger(0..10, "ok")).await;
    for _ in 0..20 {
        wire.next(|message| message.payload.starts_with(b"-NAK")).await;
    }
    assert_eq!(host.consumer("work").await.num_ack_pending, 10);
    host.stream("OUT", &["out.>"]).await;
    assert_eq!(ids(&host, 10).await.len(), 10);
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_message_is_termed_only_when_its_dead_letter_is_stored() {
    let host = Host::start(vec![workload("work")]).await;
    let config = host.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    host.js.delete_stream(DEAD).await.unwrap();
    let mut wire = host.settlements("work").await;
    host.publish("in.work.a", "reject me").await;
    for _ in 0..3 {
        assert!(wire.settlement("work").await.starts_with("-NAK"));
    }
    host.js.create_stream(config).await.unwrap();
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!((text(dead), dead.subject.as_str()), ("reject me", "work.dead"));
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_publications_of_a_message_that_is_tried_again_are_stored_once() {
    let host = Host::start(vec![patient("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    let mut wire = host.settlements("work").await;
    host.publish("in.work.a", "publish out.a one\npublish later.a two\nattempt").await;
    for _ in 0..3 {
        wire.next(|message| message.payload.starts_with(b"-NAK")).await;
    }
    host.stream("LATER", &["later.>"]).await;
    host.settled("work").await;
    let (out, later) = (host.stored("OUT").await, host.stored("LATER").await);
    assert_eq!((out.len(), later.len()), (1, 1));
    for (message, index) in [(&out[0], ":0"), (&later[0], ":1")] {
        let id = header(message, "Nats-Msg-Id").unwrap();
        assert!(id.starts_with("work:work-workers:1:") && id.ends_with(index), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_worker_finishes_its_message_and_the_host_gives_back_the_others() {
    let mut host = Host::start(vec![patient("slow")]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish_all("in.slow.a", ledger(0..1, "print begun-slow\nsleep 1500")).await;
    log::logged(&["begun-slow", "\"slow\""]).await;
    host.publish_all("in.slow.a", ledger(1..5, "ok")).await;
    host.tell_to_stop();
    let (site, events) = host.ended().await;
    assert_eq!(handled(&events), 1);
    assert_eq!(field(text(&site.stored_count("OUT", 1).await[0]), "stream_sequence"), 1);
    assert_eq!(site.deliverable("slow", 4).await, HashSet::from([2, 3, 4, 5]));
    site.settled("slow").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_message_that_is_not_finished_within_the_grace_time_is_given_back() {
    let site = Site::new().await;
    let host = Host::start_with(site.clone(), Duration::from_millis(50), vec![patient("long")]).await;
    site.publish("in.long.a", "before 2 print begun-long\nbefore 2 sleep 1000000\nattempt").await;
    log::logged(&["begun-long", "\"long\""]).await;
    let (site, events) = host.stop().await;
    assert_eq!(handled(&events), 0);
    let mut wire = site.wire().await;
    let host = Host::start_at(site, vec![patient("long")]).await;
    wire.next(|message| message.payload == "+ACK" && is_settlement(message, "long")).await;
    host.settled("long").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_6_messages_that_wait_behind_a_slow_one_are_delivered_once() {
    let workload = patient("wait");
    let queue = Queue { ack_wait: Duration::from_secs(1), ..workload.queue.clone() };
    let host = Host::start(vec![Workload { queue, isolation: Isolation::Worker, ..workload }]).await;
    host.stream("OUT", &["out.>"]).await;
    let mut wire = host.wire().await;
    // Quick messages first, until the host fetches a batch ahead.
    host.publish_all("in.wait.a", ledger(0..50, "ok")).await;
    wire.next(|message| {
        let pull = message.subject.starts_with("$JS.API.CONSUMER.MSG.NEXT.wait.");
        pull && field(std::str::from_utf8(&message.payload).unwrap(), "batch") >= 40
    })
    .await;
    host.publish_all("in.wait.a", ledger(50..51, "sleep 3500")).await;
    host.publish_all("in.wait.a", ledger(51..71, "ok")).await;
    // How many wait depends on how quick the machine was just now; that some do is the point.
    eventually("messages wait behind the slow one", async || host.consumer("wait").await.num_ack_pending > 3).await;
    assert_eq!(ids(&host, 71).await.len(), 71);
    host.settled("wait").await;
    let info = host.consumer("wait").await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (71, 0));
}

/// The ids in the ledger, of which there are `count`: each of them once.
async fn ids(host: &Host, count: usize) -> HashSet<String> {
    let entries = host.stored_count("OUT", count).await;
    entries.iter().map(|entry| entry.subject.to_string()).collect()
}

/// A number in a JSON object.
fn field(json: &str, name: &str) -> u64 {
    let object: serde_json::Value = serde_json::from_str(json).unwrap();
    object[name].as_u64().unwrap()
}
