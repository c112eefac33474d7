//! Handlers of batches: what is in one call, and what becomes of each delivery of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use rustix::process::Signal;
use serde_json::Value;
use tidegate_artifacts::workers;
use tidegate_runtime::config::{Batching, Config, Limits, Setting, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;

use crate::support::cli::{Running, run, tidegate};
use crate::support::host::{Host, workers as with_workers, workload};
use crate::support::site::{Site, json, text};
use crate::support::web::get;
use crate::support::wire::{Wire, is_settlement};
use crate::support::{PATIENCE, eventually, log};

/// Batches of so many, which are waited for: a test publishes as many.
fn batches(name: &str, size: usize) -> Workload {
    let workload = workload(name);
    let batching = Batching { size, wait: Duration::from_secs(120), wanted: true, ..workload.batching };
    Workload { handler: "probe-batch".into(), batching, ..workload }
}

fn of(causes: &[(u64, &str)]) -> BTreeMap<u64, String> {
    causes.iter().map(|(sequence, cause)| (*sequence, (*cause).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_delivery_of_a_batch_is_settled_by_its_own_answer() {
    let scripts = [
        "ledger out one",
        "before 2 retry\nledger out two",
        "reject no good",
        "publish not.granted x",
        "ledger out three",
    ];
    let site = Site::with_scripts("work", scripts.map(str::to_owned)).await;
    // Those that come later are fewer, and wait for more in vain.
    let workload = batches("work", scripts.len());
    let batching = Batching { wait: Duration::from_secs(3), ..workload.batching };
    let host = Host::start_at(site, vec![Workload { batching, ..workload }]).await;
    // The first batch has been answered: whatever of it comes again is in later ones.
    eventually("the first batch is answered", async || host.stored("OUT").await.len() >= 2).await;
    host.publish_all("in.work.a", ["ledger out four", "ledger out five"].map(str::to_owned)).await;
    let entries = host.stored_count("OUT", 5).await;
    let attempts: BTreeMap<&str, u64> =
        entries.iter().map(|message| (message.subject.as_str(), json(message)["attempt"].as_u64().unwrap())).collect();
    assert_eq!(
        attempts,
        BTreeMap::from([("out.one", 1), ("out.two", 2), ("out.three", 1), ("out.four", 1), ("out.five", 1)])
    );
    assert_eq!(host.causes(2).await, of(&[(3, "rejected"), (4, "effects")]));
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_message_in_a_batch_of_a_hundred_costs_its_neighbours_nothing_but_a_call() {
    let script = |id: usize| if id == 40 { "trap".to_owned() } else { format!("ledger out {id}") };
    let site = Site::with_scripts("poison", (0..100).map(script)).await;
    let host = Host::start_at(site, vec![batches("poison", 100)]).await;
    let entries = host.stored_count("OUT", 99).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    assert_eq!(host.causes(1).await, of(&[(41, "trapped")]));
    host.settled("poison").await;
    // The poison is delivered as often as it may be tried, and all others once.
    assert_eq!(host.consumer("poison").await.delivered.consumer_sequence, 99 + 3);
    log::logged(&["a batch failed; each of its deliveries is tried by itself", "\"poison\"", "\"deliveries\":100"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_out_of_time_is_tried_one_by_one() {
    let script = |id: usize| if id == 1 { "spin".to_owned() } else { format!("ledger out {id}") };
    let site = Site::with_scripts("slow", (0..4).map(script)).await;
    let workload = batches("slow", 4);
    let limits = Limits { time: Duration::from_millis(300), ..workload.limits.clone() };
    let host = Host::start_at(site, vec![Workload { limits, ..workload }]).await;
    host.stored_count("OUT", 3).await;
    assert_eq!(host.causes(1).await, of(&[(2, "time")]));
    assert_eq!(host.consumer("slow").await.delivered.consumer_sequence, 3 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_length_is_a_failure_of_the_one_that_is_to_blame() {
    let site = Site::with_scripts("short", ["ledger out 1", "short", "ledger out 3"].map(str::to_owned)).await;
    let host = Host::start_at(site, vec![batches("short", 3)]).await;
    let entries = host.stored_count("OUT", 2).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    assert_eq!(host.causes(1).await, of(&[(2, "effects")]));
    log::logged(&["answered with 2 results to a batch of 3 deliveries", "\"short\""]).await;
    host.settled("short").await;
    // The one that is to blame is delivered as often as it may be tried, and the others once.
    assert_eq!(host.consumer("short").await.delivered.consumer_sequence, 2 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_what_one_publication_stands_for_is_acknowledged_when_it_is_stored() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.publish_all("in.work.a", ["ok", "publish out.all x", "ok"].map(str::to_owned)).await;
    // This test is the stream that the publication goes to.
    let mut stored = site.client.subscribe("out.all").await.unwrap();
    let mut wire = site.wire().await;
    let host = Host::start_at(site, vec![batches("work", 3)]).await;
    let publication = stored.next().await.unwrap();
    let said = |message: &Message| message.subject.as_str() == "said" || is_settlement(message, "work");
    // Where the host has said something of the batch before, that would come first.
    eventually("its deliveries are there", async || host.consumer("work").await.num_ack_pending == 3).await;
    host.client.publish("said", "".into()).await.unwrap();
    assert_eq!(wire.next(said).await.subject.as_str(), "said");
    let confirmation = r#"{"stream":"OUT","seq":1}"#;
    host.client.publish(publication.reply.unwrap(), confirmation.into()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(wire.settlement("work").await, "+ACK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_what_one_publication_stands_for_is_delivered_again_when_it_is_refused() {
    let site = Site::with_scripts("refused", ["ok", "before 2 publish not.granted x", "ok"].map(str::to_owned)).await;
    let workload = batches("refused", 3);
    let batching = Batching { wait: Duration::from_secs(1), ..workload.batching };
    let host = Host::start_at(site, vec![Workload { batching, ..workload }]).await;
    host.settled("refused").await;
    // No attempt of the others was used up, and none is lost.
    assert_eq!(host.consumer("refused").await.delivered.consumer_sequence, 6);
    log::logged(&["a publication of its batch is not stored", "no attempt is used up", "\"refused\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_what_is_in_a_publication_with_others_when_it_comes_again_is_stored_too() {
    let archived = archived_again("company", &["three"]).await;
    let texts: BTreeSet<String> = archived.iter().flat_map(texts).collect();
    assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_publication_that_comes_again_with_the_same_in_it_is_stored_once() {
    let archived = archived_again("alike", &[]).await;
    assert_eq!(archived.iter().map(texts).collect::<Vec<_>>(), [["one", "two"]]);
}

/// What an archive has in the end, of whose first publication, with `one` and `two`, the host never heard that it is
/// stored: it was killed. `more` is in one batch with these two when they come again.
async fn archived_again(name: &str, more: &[&str]) -> Vec<Message> {
    let site = Site::new().await;
    site.install("archive", workers::ARCHIVE);
    let (subject, consumer) = (format!("in.{name}.a"), format!("{name}-workers"));
    site.stream(name, &[&format!("in.{name}.>")]).await;
    site.publish_all(&subject, ["one", "two"].map(str::to_owned)).await;
    let start = |size: usize| {
        let (size, mut flags) = (size.to_string(), site.run_flags(name, "archive", &["--consumer", &consumer]));
        flags.extend(["--setting", "subject=out.archive", "--batching-wait", "1s", "--batching-size"]);
        Running::start(tidegate(flags.into_iter().chain([size.as_str()])))
    };
    // This test is the stream that the first publication goes to.
    let mut wire = Wire::new(&site.client, "out.archive").await;
    let first = start(2);
    let publication = wire.next(|_| true).await;
    first.signal(Signal::KILL);
    first.end().await;
    drop(wire);
    site.stream("OUT", &["out.>"]).await;
    let stored =
        site.js.publish_with_headers("out.archive", publication.headers.unwrap(), publication.payload).await.unwrap();
    stored.await.unwrap();
    give_back(&site, name, 2).await;
    site.publish_all(&subject, more.iter().map(|text| (*text).to_owned())).await;
    let second = start(2 + more.len());
    site.settled(name).await;
    second.signal(Signal::TERM);
    assert_eq!(second.end().await.code, Some(0));
    site.stored("OUT").await
}

/// Takes so many messages of a workload, and gives them back: they are delivered again before all others.
async fn give_back(site: &Site, name: &str, count: usize) {
    let stream = site.js.get_stream(name).await.unwrap();
    let consumer: PullConsumer = stream.get_consumer(&format!("{name}-workers")).await.unwrap();
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut some = consumer.batch().max_messages(count - taken.len()).expires(PATIENCE).messages().await.unwrap();
        while let Some(message) = some.next().await {
            taken.push(message.unwrap());
        }
    }
    for message in taken {
        message.ack_with(AckKind::Nak(None)).await.unwrap();
    }
    site.client.flush().await.unwrap();
}

/// What was published of the messages that are in a publication of an archive.
fn texts(publication: &Message) -> Vec<String> {
    let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    text(publication).lines().map(of).collect()
}

/// Generations with batches and without take over from each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_of_batches_is_swapped_under_load_and_every_message_is_handled_once() {
    let workload = with_workers("work", 3);
    let batching = Batching { size: 20, ..workload.batching };
    let host = Host::start(vec![Workload { batching, ..workload }]).await;
    host.stream("OUT", &["out.>"]).await;
    let swaps = async {
        for (swap, bytes) in [probes::BATCH, probes::WORKER_V2].repeat(5).into_iter().enumerate() {
            host.install("probe", bytes);
            let first = swap * 200;
            host.publish_all("in.work.a", (first..first + 200).map(|id| format!("sleep 1\nledger out {id}"))).await;
        }
    };
    swaps.await;
    host.settled("work").await;
    let entries = host.stored_count("OUT", 2000).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 1));
    let versions: BTreeSet<String> = entries.iter().map(|message| json(message)["version"].to_string()).collect();
    assert!(versions.len() == 2, "{versions:?}");
    let info = host.consumer("work").await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (2000, 0));
    assert_eq!(host.count(|event| matches!(event, Event::Failed { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_runs_is_finished_by_the_generation_that_has_it() {
    let script = |id: usize| format!("print begun-{id}\nsleep 300\nledger out {id}");
    let site = Site::with_scripts("swapped", (0..5).map(script)).await;
    let host = Host::start_at(site, vec![batches("swapped", 5)]).await;
    log::logged(&["begun-0", "\"swapped\""]).await;
    host.install("probe-batch", workers::REPLY_BATCH);
    let loaded = format!("loaded {}", host.plugins.path().join("probe-batch.wasm").display());
    eventually("the next generation is loaded", async || log::count(&[&loaded]) == 2).await;
    let entries = host.stored_count("OUT", 5).await;
    assert_eq!(entries.iter().map(|message| json(message)["count"].as_u64().unwrap()).max(), Some(5));
    assert_eq!(host.consumer("swapped").await.delivered.consumer_sequence, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_1_a_host_that_is_killed_in_a_batch_loses_none_of_it() {
    let script = |id: usize| format!("before 2 print begun-{id}\nbefore 2 sleep 1000000\nledger out {id}");
    let site = Site::with_scripts("killed", (0..10).map(script)).await;
    let more = ["--consumer", "killed-workers", "--batching-size", "10", "--batching-wait", "1s"];
    let flags = site.run_flags("killed", "probe-batch", &more);
    let mut first = Running::start(tidegate(&flags));
    first.line_with("begun-0").await;
    site.unsettled("killed", 10).await;
    first.signal(Signal::KILL);
    first.end().await;
    let second = Running::start(tidegate(&flags));
    let entries = site.stored_count("OUT", 10).await;
    assert!(entries.iter().all(|message| json(message)["attempt"] == 2));
    site.settled("killed").await;
    second.signal(Signal::TERM);
    assert_eq!(second.end().await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_batch_that_is_not_finished_in_the_grace_time_is_given_back() {
    let site = Site::with_scripts("grace", (0..7).map(|id| format!("print begun-{id}\nsleep 1000000"))).await;
    let workload = batches("grace", 7);
    let limits = Limits { time: Duration::from_secs(1800), ..workload.limits.clone() };
    let host = Host::start_with(site, Duration::from_secs(2), vec![Workload { limits, ..workload }]).await;
    log::logged(&["begun-0", "\"grace\""]).await;
    let (site, _) = host.stop().await;
    assert_eq!(site.deliverable("grace", 7).await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_3_a_batch_that_waits_for_more_waits_no_longer_when_its_host_stops() {
    let site = Site::with_scripts("waits", (0..7).map(|id| format!("ledger out {id}"))).await;
    let host = Host::start_at(site, vec![batches("waits", 100)]).await;
    host.unsettled("waits", 7).await;
    let (site, _) = host.stop().await;
    // What the worker had is handled, what it had not taken yet is given back.
    let handled = site.stored("OUT").await.len();
    assert_eq!(site.deliverable("waits", 7 - handled).await.len(), 7 - handled);
    site.settled("waits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_counts_as_a_call_for_each_of_its_deliveries() {
    let site = Site::with_scripts("counted", (0..10).map(|_| "sleep 5".to_owned())).await;
    let config =
        Config { http: Some("127.0.0.1:0".parse().unwrap()), workloads: vec![batches("counted", 10)], ..site.config() };
    let host = Host::run(site, config);
    let address = host.address().await;
    host.ready(1).await;
    host.settled("counted").await;
    let metric = async |name: &str| {
        let (_, metrics) = get(&address, "/metrics").await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok())
    };
    eventually("ten calls", async || {
        metric("tidegate_handler_seconds_count{workload=\"counted\"}").await == Some(10.0)
    })
    .await;
    let within = "tidegate_handler_seconds_bucket{le=\"0.0025\",workload=\"counted\"}";
    assert_eq!(metric(within).await, Some(0.0), "each took its part of fifty milliseconds");
}

#[tokio::test]
async fn a_handler_without_batches_is_refused_where_the_workload_has_some() {
    let site = Site::new().await;
    let dir = site.plugins.path().to_str().unwrap();
    let of = |handler| {
        ["--plugins", dir, "--stream", "work", "--handler", handler, "--policy", "fixed", "--batching-size", "10"]
    };
    let problem =
        "probe.wasm: it handles one delivery a call (it does not export tidegate:plugin/batch-handler@0.1.3, ";
    let checked = run(["check"].into_iter().chain(of("probe"))).await;
    checked.failed_with(1, &["workload probe: ", problem, "build it for the world `batch-worker`", "batching"]);
    let checked = run(["check"].into_iter().chain(of("probe-batch"))).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    site.stream("work", &["in.work.>"]).await;
    let host = ["run", "--server", &site.nats.servers[0]].into_iter().chain(of("probe"));
    let mut host = Running::start(tidegate(host));
    assert!(host.line_with("it handles one delivery a call").await.contains("probe.wasm"));
    site.install("probe", probes::BATCH);
    host.line_with("ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_each_message_once_in_few_publications() {
    let site = Site::with_scripts("archived", (0..1000).map(|id| format!("message {id}"))).await;
    site.install("archive", workers::ARCHIVE);
    let workload = batches("archived", 100);
    let settings = vec![("subject".to_owned(), Setting::Text("out.archive".to_owned()))];
    let host = Host::start_at(site, vec![Workload { handler: "archive".into(), settings, ..workload }]).await;
    host.settled("archived").await;
    let publications = host.stored("OUT").await;
    let lines = || publications.iter().flat_map(|publication| text(publication).lines());
    let texts: BTreeSet<String> =
        lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].to_string()).collect();
    assert_eq!((texts.len(), lines().count(), publications.len()), (1000, 1000, 10));
}
