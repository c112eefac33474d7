//! Workers that a person sets in place of the policy, and workloads that a person pauses.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_runtime::config::{Config, FleetConfig, JournalConfig, JournalStream, Scale, ServiceConfig, Workload};

use super::{answer, host, refused, service};
use crate::support::cli::run;
use crate::support::eventually;
use crate::support::host::{Host, policy, workers, workload};
use crate::support::log;
use crate::support::site::Site;
use crate::support::web::{get, status};

/// What the program answers about a workload.
async fn scale(site: &Site, arguments: &[&str]) -> String {
    let ended = run(["scale"].iter().chain(arguments).chain(&["-s", &site.nats.servers[0]])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    ended.stdout
}

/// With `scale.min` as told.
fn at_least(min: u32, of: Workload) -> Workload {
    Workload { scale: Scale { min, ..of.scale.clone() }, ..of }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sets_workers_whatever_the_policy_wants_until_that_is_ended() {
    let site = Site::new().await;
    let count = policy(workload("tide"), "probe-policy", &[("mode", "count")]);
    let (host, address) = host(site.clone(), service(true), vec![at_least(2, count)]).await;
    let running = async |count: u64| {
        eventually(&format!("{count} workers run"), async || status(&address).await["workers"]["running"] == count)
            .await;
    };
    // It wants as many as may be.
    running(8).await;
    // Below scale.min, too.
    for (count, by) in [(5, ["tide", "set", "5"]), (1, ["tide", "set", "1"])] {
        let said = scale(&site, &by).await;
        assert!(said.contains(&format!("a person has set {count}; `tidegate scale tide auto` ends that")), "{said}");
        running(count).await;
        let workers = status(&address).await["workers"].clone();
        assert_eq!(workers["set"], json!({ "count": count, "until_at_ms": null }), "{workers}");
        assert!(
            get(&address, "/metrics").await.1.contains(&format!("tidegate_workers_set{{workload=\"tide\"}} {count}"))
        );
    }
    assert!(host.scalings("tide").iter().any(|(_, to, why)| *to == 5 && why == "a person has set 5 workers"));
    // The policy is asked on: it counts its calls in its state.
    let calls = async || {
        let scaling = status(&address).await["scaling"].clone();
        let reason = scaling["last_decisions"][0]["reason"].as_str().unwrap().to_owned();
        reason.strip_prefix("v1 call ").unwrap().parse::<u64>().unwrap()
    };
    let before = calls().await;
    eventually("the policy goes on", async || calls().await > before + 2).await;
    let said = scale(&site, &["tide", "status", "--output", "json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let at = &said["hosts"][0];
    assert_eq!((&at["host"], &at["set"], &at["running"]), (&json!("one"), &json!(1), &json!(1)), "{at}");
    assert!(at["policy"]["reason"].as_str().unwrap().starts_with("v1 call "), "{at}");

    let said = scale(&site, &["tide", "auto"]).await;
    assert!(said.contains("its policy decides, from 2 to 8"), "{said}");
    running(8).await;
    assert!(!get(&address, "/metrics").await.1.contains("tidegate_workers_set{"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_sets_for_a_time_ends_by_itself_and_the_journal_says_whose_number_it_was() {
    let site = Site::new().await;
    let stream = JournalStream { name: "SAID".to_owned(), replicas: 1, max_age: None, max_bytes: 1 << 20 };
    let journal = JournalConfig { file: None, stream: Some(stream) };
    let work = vec![workers("ebb", 3)];
    let service = Some(service(true));
    let host = Host::run(site.clone(), Config { journal, service, workloads: work, ..site.config() });
    host.ready(1).await;
    let set_by_person = async || {
        let lines = site.stored("SAID").await.into_iter();
        let lines = lines.map(|line| serde_json::from_slice::<Value>(&line.payload).unwrap());
        lines.filter(|line| line["event"] == "decide").map(|line| line["workers"].clone()).collect::<Vec<_>>()
    };
    eventually("it is asked", async || super::ask(&site, "$SRV.PING.tidegate.one", "").await.is_some()).await;
    let said = scale(&site, &["ebb", "set", "0", "--for", "2s"]).await;
    assert!(said.contains("a person has set 0 until 20"), "{said}");
    log::logged(&["\"workload\":\"ebb\"", "the time is over for which a person set the workers"]).await;
    eventually("the policy decides again", async || {
        host.scalings("ebb").last().is_some_and(|(from, to, _)| (*from, *to) == (0, 3))
    })
    .await;
    eventually("all of it is in the journal", async || {
        let workers = set_by_person().await;
        let is = |of: &Value, to: u64, person: bool| {
            of["to"] == to && of["set_by_person"].as_bool().unwrap_or(false) == person
        };
        let first = workers.iter().position(|of| is(of, 0, true));
        first.is_some_and(|first| workers[first..].iter().any(|of| is(of, 3, false)))
    })
    .await;
    let workers = set_by_person().await;
    assert!(workers.iter().all(|of| of["to"] != 0 || of["set_by_person"] == true), "{workers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_workers_set_a_message_is_still_handled() {
    let site = Site::new().await;
    let (host, address) = host(site.clone(), service(true), vec![workers("low", 2)]).await;
    scale(&site, &["low", "set", "0"]).await;
    eventually("none runs", async || status(&address).await["workers"]["running"] == 0).await;
    for _ in 0..3 {
        assert_eq!(host.request("in.low.a", "reply done").await, "done");
        eventually("none runs", async || status(&address).await["workers"]["running"] == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let site = Site::new().await;
    let (_host, address) = host(site.clone(), service(true), vec![workers("neap", 2)]).await;
    let url = &site.nats.servers[0];
    let failed = async |arguments: &[&str], words: &[&str]| {
        let ended = run(["scale"].iter().chain(arguments).chain(&["-s", url])).await;
        ended.failed_with(1, words);
    };
    failed(&["neap", "set", "9"], &["host one: 9 workers are more than scale.max, which is 8 for neap"]).await;
    failed(&["nape", "set", "1"], &["no host that answers has a workload \"nape\"; there is neap"]).await;
    failed(&["neap", "auto", "--host", "on"], &["no host \"on\" answers; did you mean one?"]).await;
    for arguments in [&["neap", "set", "many"][..], &["neap", "set", "1", "--for", "0s"], &["neap"]] {
        let ended = run(["scale"].iter().chain(arguments)).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
    }
    let (code, words) = refused(&site, "tidegate.host.one.scale.neap", "{\"set\":1.5}").await;
    assert!(code == 400 && words.contains("{\"set\":4,\"for\":\"1h\"}"), "{words}");
    assert_eq!(status(&address).await["workers"]["set"], Value::Null);
}

/// A host of a fleet, which journals what it decides when it leads.
async fn member(site: &Arc<Site>, id: &str) -> Host {
    let (bucket, host) = ("SHOAL".to_owned(), Some(id.to_owned()));
    let fleet = FleetConfig { bucket, replicas: 1, host, max_workers: Some(8), fingerprints: Default::default() };
    let stream = JournalStream { name: "SAID".to_owned(), replicas: 1, max_age: None, max_bytes: 1 << 20 };
    let journal = JournalConfig { file: None, stream: Some(stream) };
    let service = ServiceConfig { host: Some(id.to_owned()), ..service(true) };
    let http = Some("127.0.0.1:0".parse().unwrap());
    let workloads = vec![at_least(2, workers("shoal", 4))];
    let config = Config { fleet: Some(fleet), journal, service: Some(service), http, workloads, ..site.config() };
    let host = Host::run(site.clone(), config);
    host.ready(1).await;
    let ping = format!("$SRV.PING.tidegate.{id}");
    eventually("it answers", async || super::ask(site, &ping, "").await.is_some()).await;
    host
}

/// Awaits that so many workers run at these hosts together, and at each not more than it has by the plan.
async fn run_together(hosts: &[&Host], count: u64) {
    eventually(&format!("{count} workers run"), async || {
        let mut running = 0;
        for host in hosts {
            running += status(&host.address().await).await["workers"]["running"].as_u64().unwrap();
        }
        running == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sets_the_workers_of_a_whole_fleet_and_that_outlives_its_leader() {
    let site = Site::new().await;
    let one = member(&site, "one").await;
    run_together(&[&one], 4).await;
    let two = member(&site, "two").await;
    run_together(&[&one, &two], 4).await;
    let (code, words) = refused(&site, "tidegate.host.two.scale.shoal", "{\"set\":9}").await;
    assert!(code == 400 && words.contains("more than scale.max"), "{words}");
    // By the one that does not lead.
    let said = scale(&site, &["shoal", "set", "7", "--host", "two", "--for", "1h"]).await;
    assert!(said.contains("a person has set 7 until 20") && said.contains("in its fleet"), "{said}");
    run_together(&[&one, &two], 7).await;
    for host in [&one, &two] {
        let workers = status(&host.address().await).await["workers"].clone();
        assert_eq!(workers["set"]["count"], 7, "{workers}");
        let metrics = get(&host.address().await, "/metrics").await.1;
        assert!(metrics.contains("tidegate_workers_set{workload=\"shoal\"} 7"));
        eventually("each speaks of the workers of all hosts", async || {
            let scale: Value = serde_json::from_str(&get(&host.address().await, "/scale").await.1).unwrap();
            scale["desired_workers"] == 7
        })
        .await;
    }
    let journaled = async || {
        let lines = site.stored("SAID").await.into_iter();
        let mut lines = lines.map(|line| serde_json::from_slice::<Value>(&line.payload).unwrap());
        lines.any(|line| line["workers"]["set_by_person"] == true && line["workers"]["to"] == 7)
    };
    eventually("the journal says whose number it is", journaled).await;
    // Its leader leaves, and it holds.
    one.stop().await;
    run_together(&[&two], 7).await;
    assert_eq!(status(&two.address().await).await["workers"]["set"]["count"], 7);
    // Below scale.min, as on one host.
    scale(&site, &["shoal", "set", "1"]).await;
    run_together(&[&two], 1).await;
    let said = scale(&site, &["shoal", "auto"]).await;
    assert!(said.contains("its policy decides, from 2 to 8"), "{said}");
    run_together(&[&two], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_a_fleet_that_is_drained_gives_back_its_share_and_its_lease_until_that_is_ended() {
    let site = Site::new().await;
    let one = member(&site, "one").await;
    run_together(&[&one], 4).await;
    let two = member(&site, "two").await;
    let shares = async |expected: Value| {
        eventually(&format!("the shares are {expected}"), async || {
            status(&two.address().await).await["fleet"]["shares"] == expected
        })
        .await;
    };
    shares(json!({ "one": 2, "two": 2 })).await;
    answer(&site, "tidegate.host.one.drain", "").await;
    shares(json!({ "two": 4 })).await;
    run_together(&[&two], 4).await;
    assert_eq!(status(&two.address().await).await["fleet"]["leader"], "two");
    eventually("it is drained", async || answer(&site, "tidegate.host.one.drain", "").await["drain"] == "drained")
        .await;
    two.publish_all("in.shoal.a", (0..20).map(|_| "ok".to_owned())).await;
    two.settled("shoal").await;
    answer(&site, "tidegate.host.one.undrain", "").await;
    shares(json!({ "one": 2, "two": 2 })).await;
    run_together(&[&one, &two], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_a_fleet_is_paused_for_all_hosts_by_one() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let one = member(&site, "one").await;
    run_together(&[&one], 4).await;
    let two = member(&site, "two").await;
    run_together(&[&one, &two], 4).await;
    assert_eq!(answer(&site, "tidegate.host.two.pause.shoal", "").await["paused"], true);
    // Nothing is given, so as few run as may be.
    run_together(&[&one, &two], 2).await;
    two.publish("in.shoal.a", "ok").await;
    assert_eq!(two.consumer("shoal").await.num_pending, 1);
    assert_eq!(answer(&site, "tidegate.host.two.resume.shoal", "").await["paused"], false);
    two.settled("shoal").await;
    run_together(&[&one, &two], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_sets_for_a_fleet_for_a_time_ends_by_itself() {
    let site = Site::new().await;
    let one = member(&site, "one").await;
    run_together(&[&one], 4).await;
    scale(&site, &["shoal", "set", "6", "--for", "3s"]).await;
    log::logged(&["\"workload\":\"shoal\"", "the time is over for which a person set the workers"]).await;
    eventually("the policy decides again", async || one.scalings("shoal").last().is_some_and(|(_, to, _)| *to == 4))
        .await;
    assert_eq!(status(&one.address().await).await["workers"]["set"], Value::Null);
    let bucket = site.js.get_key_value("SHOAL").await.unwrap();
    assert!(bucket.get("workers.shoal").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_what_a_person_sets_for_a_fleet_is_counted_by_no_hosts_clock() {
    let site = Site::new().await;
    let one = member(&site, "one").await;
    run_together(&[&one], 4).await;
    let bucket = site.js.get_key_value("SHOAL").await.unwrap();
    let set = async |value: Value| bucket.put("workers.shoal", value.to_string().into()).await.unwrap();
    // The host that was asked is an hour behind, or in the next century.
    set(json!({ "count": 6, "for-ms": 3_600_000, "until-ms": 1_000 })).await;
    run_together(&[&one], 6).await;
    eventually("it is counted", async || {
        let lease = bucket.get("leader.shoal").await.unwrap().unwrap_or_default();
        serde_json::from_slice::<Value>(&lease).unwrap()["set"]["for-ms"] == 3_600_000
    })
    .await;
    assert_eq!(status(&one.address().await).await["workers"]["set"]["count"], 6);
    // The next leader goes on counting.
    let two = member(&site, "two").await;
    one.stop().await;
    run_together(&[&two], 6).await;
    set(json!({ "count": 5, "for-ms": 2_000, "until-ms": 5_000_000_000_000_u64 })).await;
    run_together(&[&two], 5).await;
    run_together(&[&two], 4).await;
    eventually("it is taken away", async || bucket.get("workers.shoal").await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_paused_and_resumed_by_its_host() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let (host, _) = host(site.clone(), service(true), vec![workers("slack", 1)]).await;
    let paused = answer(&site, "tidegate.host.one.pause.slack", "{\"for\":\"1h\"}").await;
    assert!(paused["paused"] == true && paused["until"].is_string(), "{paused}");
    host.publish("in.slack.a", "ok").await;
    assert_eq!(host.consumer("slack").await.num_pending, 1);
    assert_eq!(answer(&site, "tidegate.host.one.resume.slack", "").await["paused"], false);
    host.settled("slack").await;
}
