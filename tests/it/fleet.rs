//! Hosts that are one fleet: one plan for all of them, and what becomes of it when a host is killed or stands still.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tidegate_nats_server::ServerOptions;
use tidegate_runtime::config::{Config, FleetConfig, Manage, Queue, Rate, Scale, StartLimits, Workload};
use tidegate_runtime::events::Event;

use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::Site;
use crate::support::web::{get, status};
use crate::support::{eventually, log, until};

pub(crate) const BUCKET: &str = "FLEET";

/// Starts a host of this id in this process.
pub(crate) async fn member(site: &Arc<Site>, id: &str, max_workers: Option<u32>, work: Workload) -> Host {
    let (bucket, host) = (BUCKET.to_owned(), Some(id.to_owned()));
    let fleet = Some(FleetConfig { bucket, replicas: 1, host, max_workers, fingerprints: BTreeMap::new() });
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { fleet, http, workloads: vec![work], ..site.config() });
    host.ready(1).await;
    host
}

/// The same workload, which makes nothing, nor does its host.
pub(crate) fn bind(work: Workload) -> Workload {
    Workload { queue: Queue { manage: Manage::Bind, ..work.queue }, ..work }
}

/// What stands at a key of the bucket.
pub(crate) async fn key(site: &Site, key: &str) -> Option<Value> {
    let bucket = site.js.get_key_value(BUCKET).await.ok()?;
    let value = bucket.get(key).await.ok()??;
    serde_json::from_slice(&value).ok()
}

async fn shares(site: &Site) -> BTreeMap<String, u64> {
    let plan = key(site, "plan.work").await.unwrap_or_default();
    let shares = plan["shares"].as_object().cloned().unwrap_or_default();
    shares.into_iter().map(|(host, share)| (host, share.as_u64().unwrap())).collect()
}

pub(crate) async fn shared(site: &Site, expected: &[(&str, u64)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(host, share)| ((*host).to_owned(), *share)).collect();
    eventually(&format!("the shares are {expected:?}"), async || shares(site).await == expected).await;
}

/// How many workers a host runs.
fn running(host: &Host) -> usize {
    let (started, ended) = host.workers("work");
    started - ended
}

/// How many messages the workers have handled that have ended.
fn handled(host: &Host) -> u64 {
    let of = |event: Event| if let Event::WorkerEnded { handled, .. } = event { handled } else { 0 };
    host.events().into_iter().map(of).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_the_workers_of_one_plan_by_capacity_and_one_that_leaves_gives_back_its_share() {
    let site = Site::new().await;
    let one = member(&site, "one", Some(20), workers("work", 6)).await;
    shared(&site, &[("one", 6)]).await;
    let two = member(&site, "two", Some(10), workers("work", 6)).await;
    shared(&site, &[("one", 4), ("two", 2)]).await;
    eventually("both run their shares", async || (running(&one), running(&two)) == (4, 2)).await;
    site.publish_all("in.work.a", (0..50).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    // The one that leads leaves: its lease and its share go to the other.
    one.stop().await;
    shared(&site, &[("two", 6)]).await;
    eventually("all workers run there", async || running(&two) == 6).await;
    eventually("it is not there any more", async || key(&site, "host.one").await.is_none()).await;
    assert_eq!(key(&site, "leader.work").await.unwrap()["holder"]["id"], "two");
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn max_counts_for_all_hosts_together_and_max_workers_for_one() {
    let site = Site::new().await;
    let work = || {
        let work = workers("work", 100);
        Workload { scale: Scale { max: 8, ..work.scale.clone() }, ..work }
    };
    let _one = member(&site, "one", Some(3), work()).await;
    shared(&site, &[("one", 3)]).await;
    let _two = member(&site, "two", Some(30), work()).await;
    eventually("all eight are shared out", async || {
        let shares = shares(&site).await;
        shares.values().sum::<u64>() == 8 && shares["one"] <= 3
    })
    .await;
}

/// Awaits that so many pulls are parked at the consumer.
async fn parked(site: &Site, expected: usize) {
    eventually(&format!("{expected} pulls are parked"), async || {
        let mut consumer: PullConsumer = site.js.get_consumer_from_stream("work-workers", "work").await.unwrap();
        consumer.info().await.unwrap().num_waiting == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_zero_one_host_keeps_a_pull_parked_and_another_when_that_one_leaves() {
    let site = Site::new().await;
    let work = || policy(workload("work"), "backlog", &[("cooldown", "1s")]);
    let one = member(&site, "one", None, work()).await;
    shared(&site, &[("one", 0)]).await;
    let two = member(&site, "two", None, work()).await;
    shared(&site, &[("one", 0), ("two", 0)]).await;
    // The second one has asked before it saw a plan.
    parked(&site, 1).await;
    for nth in 1..=3 {
        assert_eq!(site.request("in.work.a", "count").await, "1");
        // A plan may have started another one beside the worker that had the message.
        eventually("that worker has ended", async || handled(&one) + handled(&two) == nth).await;
        eventually("no worker runs", async || running(&one) + running(&two) == 0).await;
    }
    one.stop().await;
    shared(&site, &[("two", 0)]).await;
    assert_eq!(site.request("in.work.a", "count").await, "1");
    eventually("the worker is told", async || two.workers("work").0 > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_zero_the_next_host_keeps_the_pull_parked_when_the_leader_is_killed() {
    let site = Site::new().await;
    let zero =
        "policy = \"backlog\"\npolicy-settings = { cooldown = \"1s\" }\nscale = { max = 6, interval = \"200ms\" }";
    let mut hosts = BTreeMap::new();
    for id in ["a", "b", "c"] {
        hosts.insert(id.to_owned(), process_of(&site, id, zero).await);
    }
    shared(&site, &[("a", 0), ("b", 0), ("c", 0)]).await;
    parked(&site, 1).await;
    let first = leader(&site).await;
    hosts.remove(&first).unwrap().signal(Signal::KILL);
    until("another host leads", async || Some(leader(&site).await).filter(|id| *id != first)).await;
    assert_eq!(site.request("in.work.a", "count").await, "1");
}

/// The parts of the limits that hosts have, from 0 to 1.
pub(crate) async fn parts(hosts: &[&Host]) -> Vec<f64> {
    let mut parts = Vec::new();
    for host in hosts {
        parts.push(status(&host.address().await).await["limits"]["part"].as_f64().unwrap());
    }
    parts
}

/// The milliseconds from the first to the last of so many messages that handlers have published, by the server's clock.
async fn took(site: &Site, count: u64) -> i128 {
    site.settled("work").await;
    let stream = site.js.get_stream("OUT").await.unwrap();
    let of = async |sequence| stream.get_raw_message(sequence).await.unwrap().time;
    (of(count).await - of(1).await).whole_milliseconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_in_handlers_of_all_hosts_together_and_a_host_alone_has_all() {
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let start_limits = StartLimits { max_in_flight: Some(4), ..StartLimits::default() };
    let work = || Workload { start_limits: start_limits.clone(), ..workers("work", 12) };
    let one = member(&site, "one", Some(12), work()).await;
    eventually("one alone has all", async || parts(&[&one]).await == [1.0]).await;
    let two = member(&site, "two", Some(12), work()).await;
    let three = member(&site, "three", Some(12), work()).await;
    eventually("each has a part", async || {
        let parts = parts(&[&one, &two, &three]).await;
        parts.iter().sum::<f64>() == 1.0 && parts.iter().all(|part| *part > 0.0)
    })
    .await;
    site.publish_all("in.work.a", (0..24).map(|id| format!("sleep 100\nledger out {id}"))).await;
    let took = took(&site, 24).await;
    assert!(took >= 450, "24 of a tenth of a second, four at once, took {took} ms");
    two.stop().await;
    three.stop().await;
    eventually("one alone has all again", async || parts(&[&one]).await == [1.0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_begin_at_all_hosts_together_than_the_rate_allows() {
    let site = Site::new().await;
    site.stream("OUT", &["out.>"]).await;
    let rate = Some(Rate { every: Duration::from_millis(50), burst: 4 });
    let start_limits = StartLimits { rate, ..StartLimits::default() };
    let work = || Workload { start_limits: start_limits.clone(), ..workers("work", 8) };
    let one = member(&site, "one", Some(8), work()).await;
    let two = member(&site, "two", Some(8), work()).await;
    eventually("each has half", async || parts(&[&one, &two]).await == [0.5, 0.5]).await;
    site.publish_all("in.work.a", (0..40).map(|id| format!("ledger out {id}"))).await;
    let took = took(&site, 40).await;
    // But for a burst, and one of each host that it had asked for.
    assert!(took >= (40 - 4 - 2) * 50 - 50, "40, of which 20 may begin in a second, took {took} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_bucket_a_host_keeps_its_share_and_says_what_mends_it() {
    let site = Site::new().await;
    let first = member(&site, "first", None, workers("work", 2)).await;
    shared(&site, &[("first", 2)]).await;
    first.stop().await;
    let host = member(&site, "kept", None, bind(workers("work", 2))).await;
    eventually("two workers run", async || running(&host) == 2).await;
    site.js.delete_key_value(BUCKET).await.unwrap();
    log::logged(&["\"ERROR\"", "\"fleet\"", "nats kv add FLEET", "keeps its last share"]).await;
    site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    assert_eq!(running(&host), 2);
    // It is there again, and the fleet goes on.
    let config = async_nats::jetstream::kv::Config { bucket: BUCKET.to_owned(), ..Default::default() };
    site.js.create_key_value(config).await.unwrap();
    shared(&site, &[("kept", 2)]).await;
    assert_eq!(running(&host), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_is_too_large_for_the_server_is_told_as_that_and_the_share_stays() {
    let site = Site::with(ServerOptions { config: "max_payload: 65536".into(), ..ServerOptions::default() }).await;
    let settings = [("mode", "large-state"), ("after", "2"), ("desired", "2")];
    let host = member(&site, "laden", None, policy(workload("work"), "probe-policy", &settings)).await;
    shared(&site, &[("laden", 2)]).await;
    let told = "headers included; raise max_payload of the server, or use a policy with less state";
    log::logged(&["\"ERROR\"", "\"fleet\"", "the plan of work has 8", "with the policy's state", told]).await;
    assert_eq!(log::count(&["bucket FLEET cannot be used", "at once, headers included"]), 0);
    site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    assert_eq!(running(&host), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_made_anew_has_the_lease_again_though_nothing_is_decided_otherwise() {
    let site = Site::new().await;
    let one = member(&site, "one", Some(20), workers("work", 6)).await;
    shared(&site, &[("one", 6)]).await;
    // The lease comes to have a revision that the next bucket will not have for long.
    let bucket = site.js.get_key_value(BUCKET).await.unwrap();
    for number in 0..500 {
        bucket.put("other", number.to_string().into()).await.unwrap();
    }
    let two = member(&site, "two", Some(10), workers("work", 6)).await;
    shared(&site, &[("one", 4), ("two", 2)]).await;
    let before = key(&site, "leader.work").await.unwrap();

    site.js.delete_key_value(BUCKET).await.unwrap();
    shared(&site, &[("one", 4), ("two", 2)]).await;
    let after = key(&site, "leader.work").await.unwrap();
    assert_ne!(before["lineage"], after["lineage"]);
    assert_eq!(before["holder"], after["holder"]);
    let decisions = |lease: &Value| lease["fold"]["decisions"].as_u64().unwrap();
    assert!(decisions(&after) >= decisions(&before), "{before}\n{after}");
    eventually("both run their shares", async || (running(&one), running(&two)) == (4, 2)).await;

    // What is no plan is written over.
    let bucket = site.js.get_key_value(BUCKET).await.unwrap();
    bucket.put("plan.work", "garbage".into()).await.unwrap();
    shared(&site, &[("one", 4), ("two", 2)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_sealed_in_use_is_told_with_what_mends_it() {
    let site = Site::new().await;
    let host = member(&site, "barred", None, workers("work", 2)).await;
    shared(&site, &[("barred", 2)]).await;
    let stream = site.js.get_stream(format!("KV_{BUCKET}")).await.unwrap();
    let config = async_nats::jetstream::stream::Config { sealed: true, ..stream.cached_info().config.clone() };
    site.js.update_stream(config).await.unwrap();
    let told = "the bucket FLEET is sealed, and takes no writes; name another";
    log::logged(&["\"ERROR\"", "\"fleet\"", told, "keeps its last share"]).await;
    assert_eq!(running(&host), 2);
}

/// A host as a process, whose policy counts its decisions. `more` is of the workload.
async fn process(site: &Site, id: &str, more: &str) -> Running {
    let count = r#"policy = "probe-policy"
        policy-settings = { mode = "count" }
        scale = { min = 3, max = 6, interval = "200ms", window = "1s" }"#;
    process_of(site, id, &format!("{count}\n{more}")).await
}

/// The same with another policy, whose decisions go into a journal.
async fn process_of(site: &Site, id: &str, more: &str) -> Running {
    let dir = site.plugins.path();
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    let config = format!(
        r#"
            [nats]
            url = {url:?}
            [plugins]
            dir = {dir:?}
            cache = {cache:?}
            [journal]
            stream = "DECISIONS"
            [fleet]
            bucket = "{BUCKET}"
            [host]
            id = "{id}"
            [workload.work]
            stream = "work"
            subjects = ["in.work.>"]
            manage = "create"
            handler = "probe"
            {more}
            "#,
        url = site.nats.servers[0],
    );
    let file = dir.join(format!("{id}.toml"));
    std::fs::write(&file, config).unwrap();
    let mut host = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
    host.line_with(" ready workload=").await;
    host
}

/// Three of them, each with a share.
async fn processes(site: &Site) -> BTreeMap<String, Running> {
    let mut hosts = BTreeMap::new();
    for id in ["a", "b", "c"] {
        hosts.insert(id.to_owned(), process(site, id, "").await);
    }
    eventually("all have a share", async || shares(site).await.values().filter(|share| **share > 0).count() == 3).await;
    hosts
}

async fn leader(site: &Site) -> String {
    key(site, "leader.work").await.unwrap()["holder"]["id"].as_str().unwrap().to_owned()
}

async fn decisions(site: &Site) -> u64 {
    key(site, "leader.work").await.and_then(|lease| lease["fold"]["decisions"].as_u64()).unwrap_or_default()
}

async fn epoch(site: &Site) -> u64 {
    key(site, "leader.work").await.unwrap()["epoch"].as_u64().unwrap()
}

/// Who writes the lease from now on.
struct Leaders(Subscriber);

impl Leaders {
    async fn of(site: &Site) -> Self {
        let leases = site.client.subscribe(format!("$KV.{BUCKET}.leader.*")).await.unwrap();
        site.client.flush().await.unwrap();
        Self(leases)
    }

    /// How often another host wrote it than before.
    async fn changes(mut self) -> usize {
        self.0.unsubscribe().await.unwrap();
        let holder = |lease: Message| serde_json::from_slice::<Value>(&lease.payload).unwrap()["holder"]["id"].clone();
        let mut holders: Vec<_> = self.0.map(holder).collect().await;
        holders.dedup();
        holders.len().saturating_sub(1)
    }
}

/// Awaits that another host leads, and goes on deciding.
async fn led_by_another(site: &Site, before: &str) -> String {
    let other = until("another host leads", async || Some(leader(site).await).filter(|id| id != before)).await;
    let so_far = decisions(site).await;
    eventually("it decides", async || decisions(site).await > so_far + 3).await;
    other
}

/// Asserts that no call of the policy is in the journal twice, and that none is missing but the last of each host that
/// led and does not: one that is killed has not sent its last lines, and one that stood still does not know that its
/// last decision holds. A line of a host that stood still may come late.
async fn decided_once(site: &Site, leaders: Leaders) {
    let lines = site.stored("DECISIONS").await;
    let lines = lines.iter().map(|line| serde_json::from_slice::<Value>(&line.payload).unwrap());
    let call = |line: Value| {
        let reason = line["decision"]["reason"].as_str()?.to_owned();
        assert!(line["fleet"]["shares"].is_object(), "{line}");
        reason.strip_prefix("v1 call ")?.parse().ok()
    };
    let mut calls: Vec<u64> = lines.filter_map(call).collect();
    calls.sort_unstable();
    assert!(calls.is_sorted_by(|a, b| a < b), "a decision was made twice: {calls:?}");
    // A leader that is killed takes the lines with it that it has not written yet.
    let gaps = calls.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
    let changes = leaders.changes().await;
    assert!(gaps <= changes, "{changes} changes of who leads: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_by_another_that_goes_on_from_its_state() {
    let site = Site::new().await;
    let leaders = Leaders::of(&site).await;
    let mut hosts = processes(&site).await;
    let first = leader(&site).await;
    hosts.remove(&first).unwrap().signal(Signal::KILL);
    led_by_another(&site, &first).await;
    eventually("the others have all workers", async || {
        let shares = shares(&site).await;
        shares.values().sum::<u64>() == 6 && !shares.contains_key(&first)
    })
    .await;
    decided_once(&site, leaders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_longer_than_its_lease_writes_no_plan_after_it() {
    let site = Site::new().await;
    let leaders = Leaders::of(&site).await;
    let mut hosts = processes(&site).await;
    let first = leader(&site).await;
    let paused = hosts.get_mut(&first).unwrap();
    paused.signal(Signal::STOP);
    led_by_another(&site, &first).await;
    // What the bucket refuses is not seen here: a host that stands still with a plan on its way tries to write it.
    let (led, bucket) = (epoch(&site).await, site.js.get_key_value(BUCKET).await.unwrap());
    let mut plans = bucket.watch_with_history("plan.work").await.unwrap();
    paused.signal(Signal::CONT);
    paused.line_with("here=false").await;
    let so_far = decisions(&site).await;
    eventually("the other goes on", async || decisions(&site).await > so_far + 3).await;
    eventually("the one that stood still has a share again", async || {
        shares(&site).await.get(&first).is_some_and(|share| *share > 0)
    })
    .await;
    let last = bucket.entry("plan.work").await.unwrap().unwrap().revision;
    let mut seen = 0;
    while seen < last {
        let entry = plans.next().await.unwrap().unwrap();
        let plan: Value = serde_json::from_slice(&entry.value).unwrap();
        // It may lead again, where the other stood still as long, but then from what that has written.
        assert!(plan["holder"]["id"] != first.as_str() || plan["epoch"].as_u64().unwrap() > led, "{led}: {plan}");
        seen = entry.revision;
    }
    decided_once(&site, leaders).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_differ_from_those_of_the_leader_are_told_by_their_keys() {
    let site = Site::new().await;
    let _first = process(&site, "a", "").await;
    eventually("the first one leads", async || shares(&site).await.contains_key("a")).await;
    let mut other = process(&site, "b", "limits.time = \"7s\"\nretry.max-attempts = 9").await;
    let line = other.line_with("settings of this host differ").await;
    for part in ["WARN", "workload=work", "leader=a", "keys=\"limits.time, retry.max-attempts\"", "give both"] {
        assert!(line.contains(part), "no `{part}` in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_in_the_status_and_in_the_metrics_of_each_host() {
    let site = Site::new().await;
    let one = member(&site, "one", Some(10), workers("work", 6)).await;
    shared(&site, &[("one", 6)]).await;
    let two = member(&site, "two", Some(10), workers("work", 6)).await;
    shared(&site, &[("one", 3), ("two", 3)]).await;
    for (host, is_leader) in [(&one, 1), (&two, 0)] {
        let address = &host.address().await;
        eventually("the host has seen the plan", async || {
            status(address).await["fleet"]["shares"] == json!({ "one": 3, "two": 3 })
        })
        .await;
        let metrics = get(address, "/metrics").await.1;
        let expected = [("hosts", 2), ("leader", is_leader), ("workers", 6), ("share", 3), ("settings_differ", 0)];
        for (metric, value) in expected {
            let line = format!("tidegate_fleet_{metric}{{workload=\"work\"}} {value}");
            assert!(metrics.contains(&line), "no `{line}` in\n{metrics}");
        }
        assert!(metrics.contains("tidegate_fleet_epoch{workload=\"work\"} "), "{metrics}");
    }
}
