//! A new generation of a handler that the hosts of a fleet try together: the leader decides for all of them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_runtime::config::{Config, FleetConfig, HttpAdmin, Retry, RolloutConfig, Scale, Setting, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;

use crate::support::cli::{Running, tidegate};
use crate::support::host::{Host, workers};
use crate::support::site::{Site, header, json};
use crate::support::web::{get, status};
use crate::support::{eventually, log};

const BUCKET: &str = "FLEET";
const TOKEN: &str = "a-token-of-the-tests";

/// One that lasts until there is evidence, or a person decides. A quarter of six workers is two.
fn rules() -> RolloutConfig {
    let duration = Duration::from_secs(600);
    RolloutConfig { duration, min_messages: 1_000_000_000, ..RolloutConfig::with_share(0.25) }
}

fn work(count: u32) -> Workload {
    let retry = Retry { max_attempts: 10, backoff: vec![Duration::from_millis(10)] };
    let work = workers("work", count);
    let scale = Scale { interval: Duration::from_millis(200), ..work.scale.clone() };
    Workload { rollout: Some(rules()), retry, scale, ..work }
}

/// Starts a host of this id in this process, which has its plugins from `dir`, or from where all have them.
async fn member(site: &Arc<Site>, id: &str, dir: Option<&Path>, work: Workload) -> Host {
    let (bucket, host) = (BUCKET.to_owned(), Some(id.to_owned()));
    let fleet = Some(FleetConfig { bucket, replicas: 1, host, max_workers: Some(8), fingerprints: BTreeMap::new() });
    let http = Some("127.0.0.1:0".parse().unwrap());
    let http_admin = Some(HttpAdmin { token: Setting::from(TOKEN) });
    let mut config = Config { fleet, http, http_admin, workloads: vec![work], ..site.config() };
    if let Some(dir) = dir {
        config.plugins.dir = dir.to_owned();
    }
    let host = Host::run(site.clone(), config);
    host.ready(1).await;
    host
}

/// What the lease says of the rollout.
async fn lease(site: &Site) -> Value {
    let Ok(bucket) = site.js.get_key_value(BUCKET).await else { return Value::Null };
    let value = bucket.get("leader.work").await.ok().flatten();
    value.map_or(Value::Null, |value| serde_json::from_slice(&value).unwrap())
}

/// Awaits that so many workers are shared out among so many hosts, and that a generation is in use.
async fn whole(site: &Site, workers: u64, hosts: usize) {
    eventually("all workers are shared out", async || {
        let lease = lease(site).await;
        let shares = lease["shares"].as_object().into_iter().flatten();
        let shares: Vec<u64> = shares.filter_map(|(_, share)| share.as_u64()).collect();
        shares.len() == hosts && shares.iter().sum::<u64>() == workers && lease["rollout"]["stable"].is_string()
    })
    .await;
}

async fn rollout(host: &Host) -> Value {
    status(&host.address().await).await["rollout"].clone()
}

fn has_begun(event: &Event) -> bool {
    matches!(event, Event::RolloutBegan { .. })
}

fn is_rolled_back(event: &Event) -> bool {
    matches!(event, Event::RolledBack { .. })
}

fn is_swapped(event: &Event) -> bool {
    matches!(event, Event::Swapped { plugin, .. } if &**plugin == "probe")
}

struct Ledger {
    site: Arc<Site>,
    published: AtomicU64,
}

impl Ledger {
    async fn new(site: &Arc<Site>) -> Self {
        site.stream("OUT", &["out.>"]).await;
        Self { site: site.clone(), published: AtomicU64::new(0) }
    }

    async fn some(&self, count: u64, lines: &str) {
        let first = self.published.load(Relaxed);
        let payload = |id: u64| format!("{lines}\nledger out {id}");
        self.site.publish_all("in.work.a", (first..first + count).map(payload)).await;
        self.published.store(first + count, Relaxed);
        eventually("the load is handled", async || self.site.consumer("work").await.num_pending < 20).await;
    }

    /// Load until a condition holds, and goes on to hold.
    async fn until(&self, what: &str, lines: &str, holds: impl AsyncFn() -> bool) {
        let done = AtomicBool::new(false);
        let load = async {
            while !done.load(Relaxed) {
                self.some(40, lines).await;
            }
        };
        let wait = async {
            eventually(what, holds).await;
            done.store(true, Relaxed);
        };
        tokio::join!(load, wait);
    }

    /// How many messages each version has handled well. Each message was, and once.
    async fn versions(&self) -> BTreeMap<String, usize> {
        self.site.settled("work").await;
        let count = self.published.load(Relaxed) as usize;
        let entries = self.site.stored_count("OUT", count).await;
        let ids: HashSet<&str> = entries.iter().filter_map(|entry| header(entry, "Nats-Msg-Id")).collect();
        assert_eq!(ids.len(), count);
        let mut versions = BTreeMap::new();
        for entry in &entries {
            *versions.entry(json(entry)["version"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        versions
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_worse_is_rolled_back_on_all_hosts_and_those_that_ran_none_of_it_say_so_too() {
    let site = Site::new().await;
    let ledger = Ledger::new(&site).await;
    let mut hosts = Vec::new();
    for id in ["a", "b", "c"] {
        hosts.push(member(&site, id, None, work(3)).await);
    }
    whole(&site, 3, 3).await;
    site.install("probe", probes::WORKER_V2);
    eventually("all try it", async || hosts.iter().all(|host| host.count(has_begun) == 1)).await;
    // A quarter of three workers is one, so two hosts have none of it.
    let trial = rollout(&hosts[0]).await;
    eventually("one worker of one host runs it", async || {
        let workers = lease(&site).await["rollout"]["tried"]["workers"].clone();
        workers.as_object().is_some_and(|of| of.len() == 1 && of.values().all(|count| *count == 1))
    })
    .await;
    assert!(trial["trial"]["generation"].as_str().unwrap().len() == 64, "{trial}");
    ledger
        .until("it is rolled back", "before 5 in v2 retry", async || {
            hosts.iter().all(|host| host.count(is_rolled_back) == 1)
        })
        .await;
    let before = ledger.versions().await;
    ledger.some(200, "ok").await;
    let after = ledger.versions().await;
    assert_eq!((after.get("v2"), after["v1"]), (before.get("v2"), before["v1"] + 200));
    for host in &hosts {
        let seen = rollout(host).await;
        assert_eq!((&seen["last"]["ending"], &seen["trial"]), (&json!("rolled_back"), &Value::Null), "{seen}");
        assert!(seen["last"]["reason"].as_str().unwrap().contains(" calls failed, 0 of "), "{seen}");
        assert_eq!((host.count(has_begun), host.count(is_swapped)), (1, 0));
        let metrics = get(&host.address().await, "/metrics").await.1;
        assert!(metrics.contains("tidegate_rollouts_total{workload=\"work\",ending=\"rolled_back\"} 1"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_goes_on_with_the_trial_and_a_person_promotes_it_by_any_host() {
    let site = Site::new().await;
    let ledger = Ledger::new(&site).await;
    let first = member(&site, "a", None, work(8)).await;
    whole(&site, 8, 1).await;
    let others = [member(&site, "b", None, work(8)).await, member(&site, "c", None, work(8)).await];
    whole(&site, 8, 3).await;
    site.install("probe", probes::WORKER_V2);
    eventually("all try it", async || others.iter().all(|host| host.count(has_begun) == 1)).await;
    let calls = async || {
        let compared = lease(&site).await["rollout"]["tried"]["compared"].clone();
        compared["new"]["calls"].as_u64().unwrap_or(0).min(compared["old"]["calls"].as_u64().unwrap_or(0))
    };
    ledger.until("both are called", "sleep 1", async || calls().await > 50).await;
    let so_far = calls().await;
    // It gives back its lease.
    first.stop().await;
    whole(&site, 8, 2).await;
    let now = lease(&site).await;
    assert_ne!(now["holder"]["id"], "a");
    assert_eq!(now["rollout"]["number"], 1, "{now}");
    ledger.until("the next leader counts on", "sleep 1", async || calls().await > so_far + 50).await;

    // The one that does not lead is asked.
    let leader = lease(&site).await["holder"]["id"].as_str().unwrap().to_owned();
    let asked = &others[usize::from(leader == "b")];
    let url = format!("http://{}", asked.address().await);
    let mut command = tidegate(["rollout", "promote", "work", "--url", &url]);
    command.env("TIDEGATE_HTTP_TOKEN", TOKEN);
    let ended = Running::start(command).end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    eventually("all hosts have it in use", async || others.iter().all(|host| host.count(is_swapped) == 1)).await;
    eventually("all workers run it", async || {
        for host in &others {
            let seen = status(&host.address().await).await;
            let workers = seen["workers"]["alive"].as_array().unwrap().clone();
            if !workers.iter().all(|worker| worker["generation"] == seen["rollout"]["generation"]) {
                return false;
            }
        }
        true
    })
    .await;
    let before = ledger.versions().await;
    ledger.some(100, "ok").await;
    let after = ledger.versions().await;
    assert_eq!((after["v1"], after["v2"]), (before["v1"], before["v2"] + 100));
    assert!(others.iter().all(|host| (host.count(has_begun), host.count(is_rolled_back)) == (1, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_the_file_is_told_and_takes_part_when_it_has_it() {
    let site = Site::new().await;
    let own = tempfile::TempDir::new().unwrap();
    for plugin in ["probe.wasm", "fixed.wasm"] {
        std::fs::copy(site.plugins.path().join(plugin), own.path().join(plugin)).unwrap();
    }
    let with = member(&site, "with", None, work(4)).await;
    let without = member(&site, "without", Some(own.path()), work(4)).await;
    whole(&site, 4, 2).await;
    site.install("probe", probes::WORKER_V2);
    eventually("both know of it", async || {
        let seen = rollout(&without).await;
        seen["fleet"] == json!({ "workers": { "with": 1 }, "without": ["without"] }) && with.count(has_begun) == 1
    })
    .await;
    let url = format!("http://{}", without.address().await);
    let mut command = tidegate(["rollout", "promote", "work", "--url", &url]);
    command.env("TIDEGATE_HTTP_TOKEN", TOKEN);
    assert_eq!(Running::start(command).end().await.code, Some(0));
    log::logged(&["WARN", "this host does not have the generation that its fleet has in use"]).await;
    let first = rollout(&without).await["generation"].clone();
    eventually("the other runs it", async || rollout(&with).await["generation"] != first).await;
    // Its file comes later: it is in use at once, and nothing is tried.
    std::fs::write(own.path().join(".new"), probes::WORKER_V2).unwrap();
    std::fs::rename(own.path().join(".new"), own.path().join("probe.wasm")).unwrap();
    eventually("it has it too", async || rollout(&without).await["generation"] == rollout(&with).await["generation"])
        .await;
    eventually("nobody is without it", async || rollout(&with).await["fleet"]["without"] == json!([])).await;
    assert_eq!((with.count(has_begun), without.count(has_begun)), (1, 1));
}
