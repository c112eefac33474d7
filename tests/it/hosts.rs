//! Many workloads in a host, many hosts on a consumer, and what happens beside a host while it runs.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_runtime::config::{Isolation, Manage, Queue, Retention, Scale, SignalSource, Workload};
use tidegate_runtime::events::Event;

use crate::support::host::{Host, handled, policy, workers, workload};
use crate::support::site::{DEAD, Site};
use crate::support::{eventually, log};

/// A workload without workers, whose policy is asked when the host starts and when a message finds no worker, but in
/// between only once an hour.
fn parked(name: &str) -> Workload {
    let workload = policy(workload(name), "backlog", &[]);
    let hour = Duration::from_secs(3600);
    let scale = Scale { min: 0, max: 1, interval: hour, window: hour, ..workload.scale.clone() };
    Workload { scale, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_zero_a_message_is_handled_by_the_worker_it_started_without_a_tick() {
    let host = Host::start(vec![parked("park")]).await;
    log::logged(&["policy in use", "\"park\"", "backlog"]).await;
    assert_eq!(host.workers("park"), (0, 0));
    assert_eq!(host.request("in.park.a", "count").await, "1");
    assert_eq!(host.request("in.park.a", "count\nprint printed-park").await, "2");
    // The instance was made ahead of its worker, and speaks for it.
    log::logged(&["printed-park", "\"worker\":1,\"plugin\""]).await;
    host.settled("park").await;
    // What is told of the first worker comes after its reply.
    eventually("the worker is told", async || host.workers("park") == (1, 0)).await;
    assert_eq!(host.scalings("park"), [(0, 1, "a message arrived".to_owned())]);
    assert_eq!(host.consumer("park").await.delivered.consumer_sequence, 2);
    let (_, events) = host.stop().await;
    assert_eq!(handled(&events), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_always_wants_none_strands_no_message() {
    let host = Host::start(vec![workers("none", 0)]).await;
    host.publish_all("in.none.a", (0..100).map(|_| "ok".to_owned())).await;
    host.settled("none").await;
    eventually("all workers have ended", async || {
        let (started, ended) = host.workers("none");
        started > 0 && started == ended
    })
    .await;
    assert_eq!(host.consumer("none").await.delivered.consumer_sequence, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_that_a_message_started_stays_while_messages_wait_whatever_the_policy_wants() {
    let host = Host::start(vec![workers("calm", 0)]).await;
    host.publish_all("in.calm.a", (0..30).map(|_| "sleep 50".to_owned())).await;
    host.settled("calm").await;
    eventually("all workers have ended", async || {
        let (started, ended) = host.workers("calm");
        started > 0 && started == ended
    })
    .await;
    // Once up and once down, and again where the last message was on its way when the policy was asked; not for each
    // message.
    let scalings = host.scalings("calm");
    assert!(scalings.len() <= 6, "{scalings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_of_one_host_have_their_own_settings_and_workers() {
    let named = |name: &str| Workload { settings: vec![("who".to_owned(), name.into())], ..workload(name) };
    let host = Host::start(vec![named("one"), named("two"), named("three")]).await;
    for name in ["one", "two", "three"] {
        assert_eq!(host.request(&format!("in.{name}.a"), "config who").await, name);
        assert_eq!(host.request(&format!("in.{name}.a"), "count").await, "2");
        eventually("the worker is told", async || host.workers(name) == (1, 0)).await;
    }
    assert!(host.stored(DEAD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_workloads_make_of_one_message_is_stored_for_both() {
    let (one, two) = (workload("one"), workload("two"));
    let queue = Queue { stream: "one".to_owned(), subjects: one.queue.subjects.clone(), ..two.queue.clone() };
    let host = Host::start(vec![one, Workload { queue, ..two }]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish("in.one.a", "publish out.a x").await;
    assert_eq!(host.stored_count("OUT", 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_by_message_gives_every_message_a_fresh_instance() {
    let isolated = Workload { isolation: Isolation::Message, ..workload("fresh") };
    let host = Host::start(vec![isolated, workload("kept")]).await;
    for nth in 1..=3 {
        assert_eq!(host.request("in.fresh.a", "count").await, "1");
        assert_eq!(host.request("in.kept.a", "count").await, nth.to_string());
    }
    eventually("the worker is told", async || host.workers("fresh") == (1, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_share_a_consumer_share_its_work_and_lose_none_when_one_stops() {
    const COUNT: usize = 2000;
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let one = Host::start_at(site.clone(), vec![workers("work", 2)]).await;
    let two = Host::start_at(site.clone(), vec![workers("work", 2)]).await;
    let half = async |from: usize| {
        site.publish_all("in.work.a", (from..from + COUNT / 2).map(|id| format!("sleep 1\nledger out {id}"))).await;
    };
    half(0).await;
    eventually("half is handled", async || site.consumer("work").await.ack_floor.stream_sequence > 900).await;
    let (_, first) = one.stop().await;
    half(COUNT / 2).await;
    site.settled("work").await;
    let (_, second) = two.stop().await;
    let ids: HashSet<String> = site.stored_count("OUT", COUNT).await.iter().map(|m| m.subject.to_string()).collect();
    assert_eq!(ids.len(), COUNT);
    // Nothing that was given back has lost its attempts by that.
    assert!(site.stored(DEAD).await.is_empty());
    assert!(handled(&first) > 0);
    assert_eq!((handled(&first) + handled(&second)) as usize, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_somebody_deletes_is_made_again_where_that_is_allowed() {
    let workload = workload("work");
    let queue = Queue { retention: Retention::Workqueue, ..workload.queue.clone() };
    let host = Host::start(vec![Workload { queue, ..workload }]).await;
    assert_eq!(host.request("in.work.a", "count").await, "1");
    host.settled("work").await;
    host.delete_consumer("work").await;
    assert_eq!(host.request("in.work.a", "count").await, "2");
    assert_eq!(host.workers("work"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headers_consumer_that_somebody_deletes_is_made_again_where_that_is_allowed() {
    let workload = workload("work");
    let scale = Scale { source: SignalSource::Headers, ..workload.scale.clone() };
    let host = Host::start(vec![Workload { scale, ..workload }]).await;
    let stream = host.js.get_stream("work").await.unwrap();
    let first = stream.consumer_info("work-workers-watch").await.unwrap().created;
    // A server of 2.10 may say that its directory is not empty yet; the consumer is gone all the same.
    let _ = stream.delete_consumer("work-workers-watch").await;
    eventually("it is there again", async || {
        stream.consumer_info("work-workers-watch").await.is_ok_and(|info| info.created > first)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_stops_though_its_server_is_away() {
    let host = Host::start(vec![workers("work", 2), workload("other")]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish_all("in.work.a", (0..200).map(|id| format!("sleep 5\nledger out {id}"))).await;
    eventually("messages flow", async || host.consumer("work").await.ack_floor.stream_sequence > 10).await;
    host.server.lock().await.kill();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_somebody_deletes_is_asked_for_where_it_is_only_bound() {
    let site = Site::new().await;
    site.stream("bound", &["in.bound.>"]).await;
    site.delivered_in_vain("bound", 0).await;
    let workload = workload("bound");
    let queue = Queue { manage: Manage::Bind, ..workload.queue.clone() };
    let host = Host::start_at(site.clone(), vec![Workload { queue, ..workload }]).await;
    assert_eq!(host.request("in.bound.a", "count").await, "1");
    host.settled("bound").await;
    // It is told only to a pull that waits there.
    eventually("a pull waits", async || host.consumer("bound").await.num_waiting > 0).await;
    site.delete_consumer("bound").await;
    log::logged(&["\"ERROR\"", "cannot fetch", "consumer bound-workers", "deleted"]).await;
    let sequence = host.publish("in.bound.a", "publish out.a x\nok").await;
    assert_eq!(sequence, 2);
    // A person mends it, and the host goes on by itself.
    host.stream("OUT", &["out.>"]).await;
    site.delivered_in_vain("bound", 0).await;
    host.stored_count("OUT", 1).await;
    assert_eq!(host.workers("bound"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_comes_back_loses_no_message() {
    // What the crash swallows (acks that were on their way) is delivered again after the ack wait.
    let workload = workers("work", 2);
    let queue = Queue { ack_wait: Duration::from_secs(2), ..workload.queue.clone() };
    let host = Host::start(vec![Workload { queue, ..workload }]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish_all("in.work.a", (0..1000).map(|id| format!("sleep 1\nledger out {id}"))).await;
    eventually("messages flow", async || host.consumer("work").await.ack_floor.stream_sequence > 50).await;
    host.server.lock().await.kill();
    host.server.lock().await.restart().await.unwrap();
    host.publish_all("in.work.a", (1000..1200).map(|id| format!("ledger out {id}"))).await;
    host.settled("work").await;
    assert_eq!(host.stored_count("OUT", 1200).await.len(), 1200);
    eventually("two workers, the same all the time", async || host.workers("work") == (2, 0)).await;
    assert_eq!(host.count(|event| matches!(event, Event::Failed { dead: true, .. })), 0);
}
