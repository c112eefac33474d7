//! Hosts that share an ordered consumer: the server gives its messages to one of them, and to another when that one is
//! gone. Servers before 2.11 pin nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::json;
use tidegate_runtime::config::{Config, FleetConfig, Order, OrderKey, Workload};

use crate::edited::api;
use crate::order::{IN_ORDER, publish, published};
use crate::support::cli::{Running, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::Site;

/// What a host says when it is the one.
const IS_PINNED: &str = "this host is given the messages from now on";
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Starts one more host.
fn host(site: &Site) -> Running {
    let more = [&IN_ORDER[..], &["--expires", "2s"]].concat();
    Running::start(tidegate(site.run_flags("work", "probe", &more)))
}

/// Starts a host that waits for its turn.
async fn standby(site: &Site) -> Running {
    let mut host = host(site);
    host.line_with(" ready workload=").await;
    host
}

/// The client that the server gives the messages to.
async fn pinned(site: &Site) -> Option<String> {
    let info = api(site, "CONSUMER.INFO.work.work-workers", &json!({})).await.unwrap();
    Some(info["priority_groups"][0]["pinned_client_id"].as_str()?.to_owned())
}

/// Publishes a message of the first key with this number that is not finished by the host that has it first.
async fn publish_one_that_hangs(site: &Site, number: u32) {
    let hangs = format!("before 2 print begun-{number}\nbefore 2 sleep 3000\npublish out.a {number}");
    site.publish("in.work.a", hangs).await;
    publish(site, &KEYS[1..], number..number + 1).await;
}

async fn effects_are_in_order(site: &Site, to: u32) {
    for (subject, numbers) in published(site, KEYS.len() * to as usize).await {
        assert_eq!(numbers, (0..to).collect::<Vec<_>>(), "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_takes_over_when_the_one_that_works_stops_is_killed_or_stands_still() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    publish(&site, &KEYS, 0..10).await;
    let mut first = host(&site);
    first.line_with(IS_PINNED).await;
    let mut second = standby(&site).await;
    // It is stopped, with messages that wait.
    publish(&site, &KEYS, 10..20).await;
    let before = pinned(&site).await;
    assert!(before.is_some(), "nobody is pinned");
    first.signal(Signal::TERM);
    publish(&site, &KEYS, 20..25).await;
    assert_eq!(first.end().await.code, Some(0));
    // It has left, and nobody has to wait until its pin has timed out.
    assert_ne!(pinned(&site).await, before);
    // The first host may still have been given all of those before.
    publish(&site, &KEYS, 25..30).await;
    second.line_with(IS_PINNED).await;
    effects_are_in_order(&site, 30).await;
    // It is killed, in a message and with some that wait for it.
    publish_one_that_hangs(&site, 30).await;
    publish(&site, &KEYS, 31..40).await;
    second.line_with("begun-30").await;
    let mut third = standby(&site).await;
    second.signal(Signal::KILL);
    second.end().await;
    publish(&site, &KEYS, 40..50).await;
    third.line_with(IS_PINNED).await;
    effects_are_in_order(&site, 50).await;
    // It stands still, and then goes on.
    publish_one_that_hangs(&site, 50).await;
    publish(&site, &KEYS, 51..60).await;
    third.line_with("begun-50").await;
    let mut fourth = standby(&site).await;
    third.signal(Signal::STOP);
    publish(&site, &KEYS, 60..70).await;
    fourth.line_with(IS_PINNED).await;
    effects_are_in_order(&site, 70).await;
    third.signal(Signal::CONT);
    third.line_with("another host is given the messages").await;
    publish(&site, &KEYS, 70..80).await;
    effects_are_in_order(&site, 80).await;
    site.settled("work").await;
    for host in [third, fourth] {
        host.signal(Signal::TERM);
        assert_eq!(host.end().await.code, Some(0));
    }
}

/// Starts a host of a fleet in this process.
async fn member(site: &Arc<Site>, id: &str) -> Host {
    let order = Order { key: OrderKey::Token(3), buffer: 1_000, buffer_bytes: 1 << 24, in_fleet: true };
    let work = Workload { order: Some(order), ..workers("work", 3) };
    let (bucket, host) = ("FLEET".to_owned(), Some(id.to_owned()));
    let fleet = Some(FleetConfig { bucket, replicas: 1, host, max_workers: None, fingerprints: BTreeMap::new() });
    let host = Host::run(site.clone(), Config { fleet, workloads: vec![work], ..site.config() });
    host.ready(1).await;
    host
}

fn running(host: &Host) -> usize {
    let (started, ended) = host.workers("work");
    started - ended
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_fleet_one_host_works_an_ordered_consumer_and_the_others_run_no_workers_for_it() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    site.stream("OUT", &["out.>"]).await;
    let one = member(&site, "one").await;
    publish(&site, &KEYS, 0..10).await;
    eventually("one has its workers", async || running(&one) == 3).await;
    let two = member(&site, "two").await;
    publish(&site, &KEYS, 10..20).await;
    site.settled("work").await;
    assert_eq!((running(&one), two.workers("work").0), (3, 0));
    one.stop().await;
    publish(&site, &KEYS, 20..30).await;
    site.settled("work").await;
    eventually("two has its workers", async || running(&two) == 3).await;
    effects_are_in_order(&site, 30).await;
}
