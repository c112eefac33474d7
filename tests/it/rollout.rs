//! A new generation of a handler that a share of the workers tries first: real components, a real server, a file that
//! is replaced under load, and a ledger.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_runtime::config::{Config, HttpAdmin, Retry, RolloutConfig, Setting, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;

use crate::support::cli::{Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::{Site, header, json};
use crate::support::web::{get, send, status};

/// One that lasts until there is evidence: it cannot be promoted before many times `for`.
fn rules() -> RolloutConfig {
    let duration = Duration::from_secs(3);
    RolloutConfig { duration, min_messages: 1_000_000_000, ..RolloutConfig::with_share(0.25) }
}

fn workload(rules: RolloutConfig) -> Workload {
    let retry = Retry { max_attempts: 10, backoff: vec![Duration::from_millis(10)] };
    Workload { rollout: Some(rules), retry, ..workers("work", 4) }
}

/// Another file of the same code: with a section that says nothing.
fn another(bytes: &[u8], name: u8) -> Vec<u8> {
    [bytes, &[0, 2, 1, name]].concat()
}

fn is_rolled_back(event: &Event) -> bool {
    matches!(event, Event::RolledBack { .. })
}

fn is_swapped(event: &Event) -> bool {
    matches!(event, Event::Swapped { plugin, .. } if &**plugin == "probe")
}

fn has_begun(event: &Event) -> bool {
    matches!(event, Event::RolloutBegan { .. })
}

struct Ledger {
    host: Host,
    published: AtomicU64,
}

impl Ledger {
    async fn start(workload: Workload) -> Self {
        let host = Host::start(vec![workload]).await;
        host.stream("OUT", &["out.>"]).await;
        Self { host, published: AtomicU64::new(0) }
    }

    /// Publishes so many, each with more lines as `lines` says, and waits until they are nearly handled.
    async fn some(&self, count: u64, lines: impl Fn(u64) -> &'static str) {
        let first = self.published.load(Relaxed);
        let payload = |id: u64| format!("{}\nledger out {id}", lines(id));
        self.host.publish_all("in.work.a", (first..first + count).map(payload)).await;
        self.published.store(first + count, Relaxed);
        eventually("the load is handled", async || self.host.consumer("work").await.num_pending < 20).await;
    }

    /// Load until something has happened.
    async fn until(&self, happened: impl Fn(&Event) -> bool, lines: impl Fn(u64) -> &'static str) {
        let done = AtomicBool::new(false);
        let load = async {
            while !done.load(Relaxed) {
                self.some(40, &lines).await;
            }
        };
        let wait = async {
            eventually("it happened", async || self.host.count(&happened) > 0).await;
            done.store(true, Relaxed);
        };
        tokio::join!(load, wait);
    }

    /// How many messages each version has handled well. Each message was, and once.
    async fn versions(&self) -> BTreeMap<String, usize> {
        self.host.settled("work").await;
        let count = self.published.load(Relaxed) as usize;
        let entries = self.host.stored_count("OUT", count).await;
        let ids: HashSet<&str> = entries.iter().filter_map(|entry| header(entry, "Nats-Msg-Id")).collect();
        assert_eq!(ids.len(), count);
        assert_eq!(self.host.count(|event| matches!(event, Event::Failed { dead: true, .. })), 0);
        let mut versions = BTreeMap::new();
        for entry in &entries {
            let entry = json(entry);
            *versions.entry(entry["version"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        versions
    }

    /// Nothing but the first version from now on.
    async fn only_the_first_version(&self) {
        let before = self.versions().await;
        self.some(200, |_| "ok").await;
        let after = self.versions().await;
        assert_eq!(before.get("v2"), after.get("v2"));
        assert_eq!(after["v1"], before["v1"] + 200);
    }

    fn reason(&self) -> String {
        let reason = |event| match event {
            Event::RolledBack { reason, .. } => Some(reason),
            _ => None,
        };
        self.host.events().into_iter().find_map(reason).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_two_percent_more_is_rolled_back_and_not_tried_again_until_its_file_changes() {
    let ledger = Ledger::start(workload(rules())).await;
    ledger.some(100, |_| "ok").await;
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.until(is_rolled_back, |id| if id % 50 == 0 { "before 2 in v2 retry" } else { "ok" }).await;
    assert!(ledger.reason().contains(" calls failed, 0 of "), "{}", ledger.reason());
    let versions = ledger.versions().await;
    // The other workers went on with the one before. How the messages fall is the machine's.
    assert!(versions["v1"] > 100 && versions["v2"] > 0, "{versions:?}");
    // The same bytes again are no change.
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.only_the_first_version().await;
    assert_eq!((ledger.host.count(has_begun), ledger.host.count(is_swapped)), (1, 0));
    ledger.host.install("probe", &another(probes::WORKER_V2, b'x'));
    ledger.until(|event| matches!(event, Event::RolloutBegan { .. }), |_| "ok").await;
    eventually("it is tried", async || ledger.host.count(has_begun) == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_traps_on_each_call_is_rolled_back_after_a_few() {
    let ledger = Ledger::start(workload(rules())).await;
    ledger.some(100, |_| "ok").await;
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.until(is_rolled_back, |_| "before 5 in v2 trap").await;
    assert!(ledger.reason().contains("of "), "{}", ledger.reason());
    ledger.only_the_first_version().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_slower_is_rolled_back() {
    let ledger = Ledger::start(workload(rules())).await;
    ledger.some(20, |_| "ok").await;
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.until(is_rolled_back, |_| "sleep 4\nin v2 sleep 8").await;
    assert!(ledger.reason().contains("times as long"), "{}", ledger.reason());
    ledger.only_the_first_version().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_fine_is_tried_by_a_share_and_then_promoted() {
    let rules = RolloutConfig { duration: Duration::from_secs(1), min_messages: 100, max_slowdown: 1000.0, ..rules() };
    let ledger = Ledger::start(workload(rules)).await;
    ledger.some(100, |_| "ok").await;
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.until(is_swapped, |id| if id % 50 == 0 { "before 2 retry" } else { "ok" }).await;
    let before = ledger.versions().await;
    // While it was tried, most were handled by the one before.
    assert!(before["v2"] >= 98, "{before:?}");
    ledger.some(200, |_| "ok").await;
    let after = ledger.versions().await;
    assert_eq!((after["v1"], after["v2"]), (before["v1"], before["v2"] + 200));
    assert_eq!((ledger.host.count(has_begun), ledger.host.count(is_rolled_back)), (1, 0));
    eventually("the same workers all the time", async || ledger.host.workers("work") == (4, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_file_takes_the_place_of_the_second() {
    let ledger = Ledger::start(workload(rules())).await;
    ledger.host.install("probe", probes::WORKER_V2);
    eventually("the second is tried", async || ledger.host.count(has_begun) == 1).await;
    ledger.some(100, |_| "ok").await;
    ledger.host.install("probe", &another(probes::WORKER_V2, b'x'));
    eventually("the third is tried", async || ledger.host.count(has_begun) == 2).await;
    ledger.some(100, |_| "ok").await;
    // The first again: nothing is tried any more.
    ledger.host.install("probe", probes::WORKER_V1);
    eventually("the first is loaded", async || {
        ledger.some(20, |_| "ok").await;
        let before = ledger.versions().await;
        ledger.some(100, |_| "ok").await;
        ledger.versions().await.get("v2") == before.get("v2")
    })
    .await;
    assert_eq!((ledger.host.count(is_swapped), ledger.host.count(is_rolled_back)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_worker_takes_turns() {
    let rules = RolloutConfig { duration: Duration::from_secs(1), min_messages: 20, max_slowdown: 1000.0, ..rules() };
    let ledger = Ledger::start(Workload { rollout: Some(rules), ..workers("work", 1) }).await;
    ledger.some(100, |_| "ok").await;
    ledger.host.install("probe", probes::WORKER_V2);
    ledger.until(is_swapped, |_| "ok").await;
    ledger.some(20, |_| "ok").await;
    let versions = ledger.versions().await;
    assert!(versions["v1"] > 100 && versions["v2"] >= 40, "{versions:?}");
}

const TOKEN: &str = "a-token-of-the-tests";

#[tokio::test(flavor = "multi_thread")]
async fn it_is_seen_and_a_person_decides_otherwise() {
    let site = Site::new().await;
    let http = Some("127.0.0.1:0".parse().unwrap());
    let http_admin = Some(HttpAdmin { token: Setting::from(TOKEN) });
    let host =
        Host::run(site.clone(), Config { http, http_admin, workloads: vec![workload(rules())], ..site.config() });
    host.ready(1).await;
    let address = host.address().await;
    let url = format!("http://{address}");
    let rollout = async |arguments: &[&str]| {
        let arguments: Vec<&str> = ["rollout"].iter().chain(arguments).chain(&["--url", &url]).copied().collect();
        let mut command = tidegate(arguments);
        command.env("TIDEGATE_HTTP_TOKEN", TOKEN);
        Running::start(command).end().await
    };
    rollout(&["promote", "work"]).await.failed_with(1, &["no new generation is tried now"]);
    rollout(&["abort", "other"]).await.failed_with(1, &["there is no workload other"]);
    run(["rollout", "abort", "work", "--url", &url]).await.failed_with(1, &["this needs the token", "--token-file"]);
    let change =
        |lines: &'static [&str]| send(&address, "/api/rollout/abort", lines, Some(json!({"workload": "work"})));
    assert_eq!(change(&[]).await.code, 401);
    assert_eq!(change(&["Authorization: Bearer something-else-of-length"]).await.code, 403);

    let first = status(&address).await["rollout"]["generation"].clone();
    assert_eq!(first.as_str().unwrap().len(), 64);
    host.install("probe", probes::WORKER_V2);
    eventually("a worker tries it", async || status(&address).await["rollout"]["trial"]["workers"] == json!([1])).await;
    host.publish_all("in.work.a", (0..40).map(|_| "sleep 1".to_owned())).await;
    host.settled("work").await;
    eventually("calls of both are seen", async || {
        let trial = &status(&address).await["rollout"]["trial"];
        trial["new"]["calls"].as_u64() > Some(0) && trial["old"]["calls"].as_u64() > Some(0)
    })
    .await;
    let ran = status(&address).await["workers"]["alive"].as_array().unwrap().clone();
    let of_first = ran.iter().filter(|worker| worker["generation"] == first).count();
    assert_eq!((ran.len(), of_first), (4, 3), "{ran:?}");
    let (_, metrics) = get(&address, "/metrics").await;
    for line in ["tidegate_rollout_active{workload=\"work\"} 1.0", "tidegate_rollout_workers{workload=\"work\"} 1.0"] {
        assert!(metrics.contains(line), "no {line}");
    }
    let ended = rollout(&["status"]).await;
    assert!(ended.code == Some(0) && ended.stdout.contains(" is tried for "), "{}", ended.said());

    let ended = rollout(&["abort", "work"]).await;
    assert!(ended.code == Some(0) && ended.stdout.contains("is tried no more"), "{}", ended.said());
    let seen = status(&address).await["rollout"].clone();
    assert_eq!(
        (&seen["last"]["ending"], &seen["ended"]["aborted"], &seen["trial"]),
        (&json!("aborted"), &json!(1), &Value::Null)
    );
    assert_eq!(seen["generation"], first);
    let ended = rollout(&["promote", "work", "--output", "json"]).await;
    let promoted: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_ne!(promoted["generation"], first);
    assert_eq!(status(&address).await["rollout"]["generation"], promoted["generation"]);
    eventually("all workers run it", async || {
        let workers = status(&address).await["workers"]["alive"].as_array().unwrap().clone();
        workers.iter().all(|worker| worker["generation"] == promoted["generation"])
    })
    .await;
    assert_eq!(host.count(is_swapped), 1);
}
