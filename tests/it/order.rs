//! Messages of one key one after the other, whatever the number of workers, and whatever becomes of the host.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use rustix::process::Signal;
use tidegate_runtime::config::{Order, OrderKey, PerKey, Workload};

use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, policy, workload};
use crate::support::log::{count, logged};
use crate::support::site::{DEAD, Site, text};
use crate::support::web::status;
use crate::support::{eventually, until};

/// The flags of a host of its own process with an order.
pub(crate) const IN_ORDER: [&str; 8] =
    ["--consumer", "work-workers", "--policy-setting", "workers=4", "--order-key", "subject:3", "--backoff", "10ms"];

/// Keeps the order of the third token, with workers that come and go.
fn in_order(workers: u32) -> Workload {
    let order = Order { key: OrderKey::Token(3), buffer: 1_000, buffer_bytes: 1 << 24, in_fleet: false };
    Workload { order: Some(order), ..policy(workload("work"), "fixed", &[("workers", &workers.to_string())]) }
}

/// Publishes messages with these numbers of each of these keys, of which some fail first.
pub(crate) async fn publish(site: &Site, keys: &[&str], numbers: std::ops::Range<u32>) {
    for number in numbers {
        for key in keys {
            let fails = if number % 3 == 0 { "before 3 retry\n" } else { "" };
            site.publish(&format!("in.work.{key}"), format!("{fails}publish out.{key} {number}")).await;
        }
    }
}

/// The numbers that were published of each key.
pub(crate) async fn published(site: &Site, count: usize) -> BTreeMap<String, Vec<u32>> {
    let mut numbers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for message in site.stored_count("OUT", count).await {
        numbers.entry(message.subject.to_string()).or_default().push(text(&message).parse().unwrap());
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_of_a_key_are_in_the_order_of_the_stream_though_some_fail_and_hosts_come_and_go() {
    let keys = ["a", "b", "c", "d"];
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    publish(&site, &keys, 0..20).await;
    let host = Host::start_with(site, Duration::ZERO, vec![in_order(8)]).await;
    eventually("some are handled", async || host.stored("OUT").await.len() >= 20).await;
    // It is stopped in the middle, with messages that wait for their turn.
    let (site, _) = host.stop().await;
    publish(&site, &keys, 20..40).await;
    let host = Host::start_at(site, vec![in_order(3)]).await;
    host.settled("work").await;
    for (subject, numbers) in published(&host, 160).await {
        assert_eq!(numbers, (0..40).collect::<Vec<_>>(), "{subject}");
    }
    assert!(host.stored(DEAD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_without_a_key_is_told_and_no_other() {
    let (key, by) = (OrderKey::Token(4), OrderKey::Header("Order-Id".to_owned()));
    let order = Order { key, buffer: 100, buffer_bytes: 1 << 24, in_fleet: false };
    let per_key = PerKey { key: by, max_in_flight: 1, buffer: 100, buffer_bytes: 1 << 24 };
    let ordered = Workload { order: Some(order), ..workload("unkeyed") };
    let limited = Workload { per_key: Some(per_key), ..workload("unlabelled") };
    let host = Host::start(vec![ordered, limited]).await;
    for (name, missing) in [("unkeyed", "token 4 of the subject"), ("unlabelled", "the header Order-Id")] {
        host.publish_with(&format!("in.{name}.a.b"), &[("Order-Id", "7")], "ok").await;
        host.publish(&format!("in.{name}.a"), "ok").await;
        host.publish(&format!("in.{name}.b"), "ok").await;
        host.settled(name).await;
        let named = format!("\"workload\":\"{name}\"");
        let parts = [&*named, "a message has no key", missing, "\"stream_sequence\":2", "WARN"];
        logged(&parts).await;
        assert_eq!(count(&parts[..2]), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_before_what_a_host_that_is_gone_had() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    let mut workload = in_order(4);
    workload.queue.ack_wait = Duration::from_secs(2);
    // As somebody else makes it, whose pulls name no group.
    let config = pull::Config {
        durable_name: Some("work-workers".to_owned()),
        ack_wait: workload.queue.ack_wait,
        max_ack_pending: workload.queue.max_ack_pending,
        ..pull::Config::default()
    };
    let stream = site.js.get_stream("work").await.unwrap();
    let consumer = stream.create_consumer(config).await.unwrap();
    publish(&site, &["a", "b"], 0..20).await;
    // Nobody settles these.
    let mut had = consumer.fetch().max_messages(5).messages().await.unwrap();
    while futures_util::StreamExt::next(&mut had).await.is_some() {}
    site.unsettled("work", 5).await;
    let host = Host::start_at(site, vec![workload]).await;
    host.settled("work").await;
    for (subject, numbers) in published(&host, 40).await {
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_stuck_holds_only_itself_and_a_dead_letter_lets_the_next_go() {
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let host = Host::start_at(site, vec![in_order(2)]).await;
    host.publish("in.work.stuck", "before 3 retry 1000\nreject no good").await;
    host.publish("in.work.stuck", "publish out.stuck 1").await;
    host.publish("in.work.other", "publish out.other 0").await;
    host.settled("work").await;
    let subjects: Vec<_> = host.stored_count("OUT", 2).await.iter().map(|stored| stored.subject.to_string()).collect();
    assert_eq!(subjects, ["out.other", "out.stuck"]);
    assert_eq!(host.stored_count(DEAD, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_had_comes_before_what_came_later_of_its_key() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    publish(&site, &["a", "b"], 0..4).await;
    // The first host does not get past this one.
    let hangs = "before 2 print begun-a4\nbefore 2 sleep 1000000\npublish out.a 4";
    site.publish("in.work.a", hangs).await;
    publish(&site, &["a"], 5..10).await;
    publish(&site, &["b"], 4..10).await;
    let flags = site.run_flags("work", "probe", &IN_ORDER);
    let mut first = Running::start(tidegate(&flags));
    first.line_with("begun-a4").await;
    site.stored_count("OUT", 14).await;
    // What hangs, and what waits for it.
    site.unsettled("work", 6).await;
    first.signal(Signal::KILL);
    first.end().await;
    // These are delivered to the second host at once, and what the first one had only after the ack wait.
    publish(&site, &["a", "b"], 10..20).await;
    let second = Running::start(tidegate(&flags));
    for (subject, numbers) in published(&site, 40).await {
        assert_eq!(numbers, (0..20).collect::<Vec<_>>(), "{subject}");
    }
    site.settled("work").await;
    second.signal(Signal::TERM);
    assert_eq!(second.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_stops_the_pulls_and_names_the_key_and_other_keys_that_are_here_flow() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    site.publish("in.work.stuck", "before 2 retry 3600000\npublish out.stuck 0").await;
    site.publish_all("in.work.stuck", (1..60).map(|number| format!("publish out.stuck {number}"))).await;
    site.publish("in.work.other", "publish out.other 0").await;
    let mut workload = in_order(4);
    workload.order = workload.order.map(|order| Order { buffer: 20, ..order });
    let (host, address) = Host::over_http(site, workload).await;
    let status = until("the key is named", async || {
        let status = status(&address).await;
        status["problems"]["order"].is_string().then_some(status)
    })
    .await;
    let problem = status["problems"]["order"].as_str().unwrap();
    assert!(problem.contains("most wait for message 1 of key `stuck`, which failed"), "{problem}");
    let waiting = status["order"]["waiting"].as_u64().unwrap();
    // The one that failed waits too, and was in its handler when the others were asked for.
    assert!((15..=21).contains(&waiting), "{status}");
    assert_eq!(status["order"]["keys"], 1);
    let unsettled = host.consumer("work").await.num_ack_pending as u64;
    assert_eq!(unsettled, waiting);
    assert!(host.stored("OUT").await.is_empty());
}
