//! A workload that is paused, by command and by configuration.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_runtime::config::{Config, Workload};

use crate::edited::api;
use crate::support::cli::{Ended, run};
use crate::support::host::{Host, policy, workers};
use crate::support::site::Site;
use crate::support::web::{get, status};
use crate::support::{eventually, log, until};

/// A site on a server that can pause, and a configuration file of a workload of this name; `None` on an older server.
pub(crate) async fn site(name: &str) -> Option<(Arc<Site>, tempfile::NamedTempFile)> {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return None;
    }
    site.stream(name, &[&format!("in.{name}.>")]).await;
    site.stream("OUT", &["out.>"]).await;
    let file = file(name, site.server.lock().await.url());
    Some((site, file))
}

/// A configuration file with a workload of this name.
fn file(name: &str, url: &str) -> tempfile::NamedTempFile {
    let text =
        format!("nats.url = {url:?}\n[workload.{name}]\nstream = {name:?}\nhandler = \"probe\"\npolicy = \"fixed\"\n");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

pub(crate) async fn command(file: &tempfile::NamedTempFile, arguments: &[&str]) -> Ended {
    let file = ["-c", file.path().to_str().unwrap()];
    run(arguments.iter().chain(&file)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_and_no_worker_is_added_until_it_is_resumed() {
    let Some((site, file)) = site("held").await else { return };
    let workload = policy(workers("held", 1), "backlog", &[("pending-per-worker", "1"), ("cooldown", "0s")]);
    let (host, address) = Host::over_http(site, workload).await;
    host.ready(1).await;
    host.publish("in.held.a", "ledger out before").await;
    host.settled("held").await;
    let ended = command(&file, &["pause", "held"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "held is paused; `tidegate resume held` ends that\n"));
    eventually("the host has seen it", async || status(&address).await["paused"] == true).await;
    let problem = status(&address).await["problems"]["consumer"].as_str().unwrap().to_owned();
    assert!(problem.contains("is paused: nothing is delivered. `tidegate resume held` or"), "{problem}");
    assert!(get(&address, "/metrics").await.1.contains("tidegate_paused{workload=\"held\"} 1"));
    let (before, scaled) = (host.consumer("held").await.delivered, host.scalings("held").len());
    host.publish_all("in.held.a", (0..50).map(|id| format!("ledger out {id}"))).await;
    let decisions = status(&address).await["scaling"]["decisions"].clone();
    host.wire().await.samples("held", 5).await;
    let info = host.consumer("held").await;
    assert_eq!((info.delivered, info.num_pending), (before, 50));
    assert_eq!(status(&address).await["scaling"]["decisions"], decisions, "the policy is not asked");
    eventually("what waits is told all the same", async || {
        get(&address, "/metrics").await.1.contains("tidegate_pending{workload=\"held\"} 50")
    })
    .await;
    assert!(host.scalings("held").iter().skip(scaled).all(|(from, to, _)| to <= from));
    let ended = command(&file, &["resume", "held"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "held is not paused\n"));
    host.settled("held").await;
    assert_eq!(host.stored_count("OUT", 51).await.len(), 51);
    eventually("the host has seen it", async || {
        let status = status(&address).await;
        status["paused"] == false && status["problems"] == Value::Object(serde_json::Map::new())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_can_have_an_end_and_says_it_as_json() {
    let Some((site, file)) = site("timed").await else { return };
    let host = Host::start_at(site, vec![workers("timed", 1)]).await;
    let until = "2190-01-31T12:00:00Z";
    let ended = command(&file, &["pause", "timed", "--until", until, "--output", "json"]).await;
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((answer["paused"].as_bool(), answer["until"].as_str()), (Some(true), Some(until)), "{answer}");
    let ended = command(&file, &["pause", "timed", "--for", "10ms"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    host.publish("in.timed.a", "ledger out x").await;
    host.settled("timed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_pauses_a_workload_when_it_starts_and_lets_it_go_on() {
    let Some((site, file)) = site("still").await else { return };
    site.publish("in.still.a", "ledger out x").await;
    let paused = |paused| Workload { paused, ..workers("still", 1) };
    let host = Host::start_at(site, vec![paused(Some(true))]).await;
    assert_eq!(host.consumer("still").await.num_pending, 1);
    let (site, _) = host.stop().await;
    // Nothing is said: it stays.
    let host = Host::start_at(site, vec![paused(None)]).await;
    assert_eq!(host.consumer("still").await.num_pending, 1);
    let (site, _) = host.stop().await;
    let host = Host::start_at(site, vec![paused(Some(false))]).await;
    host.settled("still").await;
    assert_eq!(command(&file, &["resume", "still"]).await.code, Some(0), "it is not paused, and that is fine");
}

/// Runs a command until it is done: the server may still be removing the files of a consumer that was deleted.
async fn done(file: &tempfile::NamedTempFile, arguments: &[&str]) {
    eventually("the command is done", async || command(file, arguments).await.code == Some(0)).await;
}

/// Awaits that a workload's consumer is there, and gives whether it is paused.
async fn is_paused(site: &Site, name: &str) -> bool {
    let asked = format!("CONSUMER.INFO.{name}.{name}-workers");
    let info = until("the consumer is there", async || api(site, &asked, &json!({})).await.ok()).await;
    info["paused"] == true
}

/// Awaits that the host has read of a pause, or of its end.
async fn seen(address: &str, paused: bool) {
    eventually("the host has seen it", async || status(address).await["paused"] == paused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_made_anew_stays_as_somebody_has_paused_it() {
    let Some((site, file)) = site("kept").await else { return };
    let (host, address) = Host::over_http(site, Workload { paused: Some(false), ..workers("kept", 1) }).await;
    host.ready(1).await;
    done(&file, &["pause", "kept"]).await;
    seen(&address, true).await;
    host.delete_consumer("kept").await;
    assert!(is_paused(&host, "kept").await, "it is so from its first moment");
    log::logged(&["\"kept\"", "it is paused as before: somebody had paused it", "`tidegate resume`"]).await;
    done(&file, &["resume", "kept"]).await;
    seen(&address, false).await;

    // Somebody else makes it, and pauses it: the host, which waits longer each time, finds it so.
    let consumer = json!({
        "durable_name": "kept-workers", "ack_policy": "explicit", "ack_wait": 600_000_000_000_u64, "max_deliver": -1,
        "pause_until": "2190-01-31T12:00:00Z",
    });
    let body = json!({ "stream_name": "kept", "config": consumer, "action": "create" });
    until("it is made by hand", async || {
        host.delete_consumer("kept").await;
        api(&host, "CONSUMER.CREATE.kept.kept-workers", &body).await.ok()
    })
    .await;
    seen(&address, true).await;
    host.publish("in.kept.a", "ledger out x").await;
    host.delete_consumer("kept").await;
    assert!(is_paused(&host, "kept").await, "it is so from its first moment");
    log::logged(&["\"kept\"", "2190-01-31T12:00:00Z", "it is paused as before: somebody had paused it"]).await;
    assert_eq!(host.consumer("kept").await.num_pending, 1);
    assert_eq!(log::count(&["\"kept\"", "as paused says"]), 0);
    done(&file, &["resume", "kept"]).await;
    host.settled("kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_made_anew_stays_as_somebody_has_resumed_it() {
    let Some((site, file)) = site("going").await else { return };
    let (host, address) = Host::over_http(site, Workload { paused: Some(true), ..workers("going", 1) }).await;
    host.ready(1).await;
    seen(&address, true).await;
    host.delete_consumer("going").await;
    assert!(is_paused(&host, "going").await, "nobody has resumed it");
    // What is gone is not paused.
    seen(&address, true).await;
    done(&file, &["resume", "going"]).await;
    seen(&address, false).await;
    host.delete_consumer("going").await;
    log::logged(&["\"going\"", "it is not paused, as before, though paused = true"]).await;
    host.publish("in.going.a", "ledger out x").await;
    host.settled("going").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_paused_is_told() {
    let Some((_site, file)) = site("odd").await else { return };
    command(&file, &["pause", "odd"]).await.failed_with(1, &["stream odd has no consumer odd-workers"]);
    command(&file, &["pause", "old"]).await.failed_with(1, &["has no workload \"old\"; did you mean odd?"]);
    command(&file, &["resume", "other"]).await.failed_with(1, &["has no workload \"other\"; there is odd"]);
    for (arguments, words) in [
        (&["pause", "odd", "--for", "0s"][..], "it must be longer than nothing"),
        (&["pause", "odd", "--for", "1h", "--until", "2190-01-01T00:00:00Z"], "cannot be used with"),
        (&["pause", "odd", "--until", "2001-01-01T00:00:00Z"], "it is past"),
        (&["pause", "odd", "--until", "noon"], "write a time such as 2030-01-31T12:00:00Z"),
        (&["pause"], "WORKLOAD"),
    ] {
        let ended = command(&file, arguments).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_pause_is_told_and_a_workload_that_is_to_be_paused_does_not_start_there() {
    let site = Site::new().await;
    if site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let workload = Workload { paused: Some(true), ..workers("older", 1) };
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, workloads: vec![workload], ..site.config() });
    let address = host.address().await;
    eventually("it is told", async || get(&address, "/readyz").await.1.contains("paused = true needs 2.11 or newer"))
        .await;
    let file = file("older", site.server.lock().await.url());
    let said = ["the NATS server is version 2.", "pausing a consumer needs 2.11 or newer"];
    command(&file, &["pause", "older"]).await.failed_with(1, &said);
}
