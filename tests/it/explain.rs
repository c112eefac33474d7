//! `tidegate explain`: what is told of one message.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use serde_json::Value;
use tidegate_runtime::config::{Config, Retry, Workload};

use crate::support::cli::{Ended, run};
use crate::support::eventually;
use crate::support::host::{Host, workers, workload};
use crate::support::site::{DEAD, Site};

/// A configuration file of workload `work`, with a journal in a stream.
async fn file(site: &Site) -> tempfile::NamedTempFile {
    let url = site.server.lock().await.url().to_owned();
    let text = format!(
        "nats.url = {url:?}\njournal.stream = \"JOURNAL\"\n\
         [workload.work]\nstream = \"work\"\nhandler = \"probe\"\npolicy = \"fixed\"\n"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

async fn explain(site: &Site, arguments: &[&str]) -> Ended {
    let file = file(site).await;
    let file = ["-c", file.path().to_str().unwrap()];
    run(["explain"].iter().chain(arguments).chain(&file)).await
}

/// What a program is told of a message of workload `work`.
async fn told(site: &Site, sequence: u64) -> Value {
    let ended = explain(site, &["work", &sequence.to_string(), "--output", "json"]).await;
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.said()))
}

async fn fates(site: &Site, sequences: impl IntoIterator<Item = u64>) -> Vec<String> {
    let mut all = Vec::new();
    for sequence in sequences {
        all.push(told(site, sequence).await["fate"].as_str().unwrap().to_owned());
    }
    all
}

/// A site with a stream and a consumer of workload `work`, and no host.
async fn without_host() -> (Arc<Site>, PullConsumer) {
    let (site, _) = Host::start(vec![workload("work")]).await.stop().await;
    let stream = site.js.get_stream("work").await.unwrap();
    let consumer = stream.get_consumer("work-workers").await.unwrap();
    (site, consumer)
}

async fn fetch(consumer: &PullConsumer, count: usize) -> Vec<async_nats::jetstream::Message> {
    let batch = consumer.batch().max_messages(count).expires(Duration::from_secs(30)).messages().await.unwrap();
    let all: Vec<_> = batch.map(Result::unwrap).take(count).collect().await;
    assert_eq!(all.len(), count);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_waits_or_died_is_told_with_the_decisions_around_it() {
    let site = Site::new().await;
    let Config { journal, .. } = {
        let file = file(&site).await;
        Config::from_toml(&std::fs::read_to_string(file.path()).unwrap()).unwrap()
    };
    let work = Workload { retry: Retry { max_attempts: 2, ..workers("work", 1).retry }, ..workers("work", 1) };
    let host = Host::run(site.clone(), Config { journal, workloads: vec![work], ..site.config() });
    host.ready(1).await;
    let acked = host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    let dead = host.publish("in.work.a", "reject no such customer").await;
    host.stored_count(DEAD, 1).await;
    host.settled("work").await;
    let tried_again = host.publish("in.work.a", "retry 600000").await;
    host.unsettled("work", 1).await;
    // They are written down a little later.
    eventually("decisions are stored", async || {
        told(&site, acked).await["journal"]["decisions"].as_array().is_some_and(|decisions| !decisions.is_empty())
    })
    .await;

    assert_eq!(fates(&site, [acked, dead, tried_again, 99]).await, ["settled", "dead", "unsettled", "not-stored"]);
    let ended = explain(&site, &["work", &acked.to_string()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for part in ["2 bytes on in.work.a", "settled: it is not delivered again", " 1 workers: fixed at 1"] {
        assert!(ended.stdout.contains(part), "no {part} in\n{}", ended.stdout);
    }
    let letter = told(&site, dead).await;
    assert_eq!(letter["dead_letters"][0]["reason"], "no such customer", "{letter}");
    assert_eq!(letter["dead_letters"][0]["attempts"], 1);
    assert!(letter["dead_letters"][0].get("payload_bytes").is_none());
    let ended = explain(&site, &["work", &dead.to_string()]).await;
    for part in ["after 1 delivery, rejected: no such customer, handler probe@", "` shows it"] {
        assert!(ended.stdout.contains(part), "no {part} in\n{}", ended.stdout);
    }
    let ended = explain(&site, &["work", &tried_again.to_string()]).await;
    for part in ["it waits for the delay of another try", "1 delivered and not settled"] {
        assert!(ended.stdout.contains(part), "no {part} in\n{}", ended.stdout);
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_a_message_has_started_is_among_the_decisions() {
    let site = Site::new().await;
    let file = file(&site).await;
    let Config { journal, .. } = Config::from_toml(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let host = Host::run(site.clone(), Config { journal, workloads: vec![workers("work", 0)], ..site.config() });
    host.ready(1).await;
    let woke = host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    eventually("the start is told", async || {
        explain(&site, &["work", &woke.to_string()]).await.stdout.contains(" 0 to 1 workers: ")
    })
    .await;
    host.stop().await;
}

/// Where the server says how far a consumer is, it says which is the first that is not settled: the same on servers of
/// all versions.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_proves_is_told_and_nothing_else() {
    let (site, consumer) = without_host().await;
    for number in 0..6 {
        site.publish("in.work.a", format!("ok {number}")).await;
    }
    assert_eq!(fates(&site, 1..=2).await, ["not-delivered"; 2]);
    let first = fetch(&consumer, 5).await;
    assert_eq!(fates(&site, 1..=6).await[..5], ["unsettled"; 5]);
    first[1].ack_with(AckKind::Ack).await.unwrap();
    first[3].ack_with(AckKind::Ack).await.unwrap();
    site.unsettled("work", 3).await;
    let said = ["unsettled", "settled-or-not", "settled-or-not", "settled-or-not", "settled-or-not", "not-delivered"];
    assert_eq!(fates(&site, 1..=6).await, said);
    // It is delivered again, and only then settled: the first that is not is the third.
    first[0].double_ack_with(AckKind::Nak(None)).await.unwrap();
    let again = fetch(&consumer, 1).await.remove(0);
    assert_eq!(again.info().unwrap().stream_sequence, 1);
    again.ack_with(AckKind::Term).await.unwrap();
    site.unsettled("work", 2).await;
    let said = ["settled", "settled", "unsettled", "settled-or-not", "settled-or-not", "not-delivered"];
    assert_eq!(fates(&site, 1..=6).await, said);
    first[2].ack_with(AckKind::Nak(Some(Duration::from_secs(600)))).await.unwrap();
    first[4].ack_with(AckKind::Ack).await.unwrap();
    site.unsettled("work", 1).await;
    let said = ["settled", "settled", "unsettled", "settled-or-not", "settled-or-not", "not-delivered"];
    assert_eq!(fates(&site, 1..=6).await, said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_and_ends_with_1() {
    let (site, _) = without_host().await;
    let sequence = site.publish("in.work.a", "ok").await;
    site.js.get_stream("work").await.unwrap().delete_message(sequence).await.unwrap();
    let deleted = sequence.to_string();
    explain(&site, &["work", &deleted]).await.failed_with(1, &["not in the stream any more: a limit of the stream or"]);
    explain(&site, &["work", "99"]).await.failed_with(1, &["not stored: the last message of the stream is 1"]);
    explain(&site, &["wrk", "1"]).await.failed_with(1, &["has no workload \"wrk\"; did you mean work?"]);
    for (arguments, words) in [
        (&["work", "0"][..], "it can be a whole number from 1 on"),
        (&["work"], "SEQUENCE"),
        (&["work", "1", "--around", "0s"], "it must be longer than nothing"),
    ] {
        let ended = explain(&site, arguments).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said());
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    let kept = site.publish("in.work.a", "ok").await.to_string();
    site.delete_consumer("work").await;
    let ended = explain(&site, &["work", &kept]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.stdout.contains("there is no consumer work-workers; a host makes it"), "{}", ended.stdout);
    assert!(ended.stdout.contains("journal   stream JOURNAL of the journal is not there"), "{}", ended.stdout);
    site.js.delete_stream("work").await.unwrap();
    explain(&site, &["work", &kept]).await.failed_with(1, &["stream work is not there"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_wrote_cannot_act_on_a_terminal() {
    let (site, _) = without_host().await;
    let sequence = site.publish("in.work.\u{1b}[2J\u{202e}x", "ok").await.to_string();
    let ended = explain(&site, &["work", &sequence]).await;
    assert!(ended.stdout.contains("on in.work.\u{fffd}[2J\u{fffd}x"), "{}", ended.said());
}
