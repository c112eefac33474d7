//! Headers by which a handler asks something of a stream.

use std::time::Duration;

use async_nats::Message;
use serde_json::json;
use tidegate_artifacts::workers;
use tidegate_runtime::config::{Config, Grants, NatsHeaders, Retry, Setting, Workload};

use crate::support::cli::run;
use crate::support::host::{Host, workload};
use crate::support::log;
use crate::support::site::{DEAD, Site};

const ALL: [NatsHeaders; 2] = [NatsHeaders::ExpectedLast, NatsHeaders::Rollup];

/// A workload whose handler may set these headers.
fn granted(name: &str, publish: &[&str], headers: &[NatsHeaders]) -> Workload {
    let workload = workload(name);
    let publish = publish.iter().map(|subject| (*subject).to_owned()).collect();
    let grants = Grants { publish, nats_headers: headers.to_vec(), ..workload.grants.clone() };
    let retry = Retry { max_attempts: 2, backoff: vec![Duration::from_millis(10)] };
    Workload { grants, retry, ..workload }
}

/// Makes a stream with settings that the client library of these tests does not know.
async fn stream(site: &Site, config: serde_json::Value) {
    let subject = format!("$JS.API.STREAM.CREATE.{}", config["name"].as_str().unwrap());
    let made = site.client.request(subject, config.to_string().into()).await.unwrap();
    let made = String::from_utf8_lossy(&made.payload).into_owned();
    assert!(!made.contains("\"error\""), "{made}");
}

fn header<'a>(message: &'a Message, name: &str) -> &'a str {
    message.headers.as_ref().unwrap().get(name).unwrap().as_str()
}

/// What the one dead letter says: its cause and its reason.
async fn dead(host: &Host) -> (String, String) {
    host.settled("work").await;
    let letters = host.stored(DEAD).await;
    assert_eq!(letters.len(), 1);
    (header(&letters[0], "Tidegate-Cause").to_owned(), header(&letters[0], "Tidegate-Reason").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn later_has_a_message_published_once_more_and_a_server_that_cannot_is_named_at_the_start() {
    let site = Site::new().await;
    site.install("later", workers::LATER);
    let settings = vec![("after".to_owned(), Setting::from("1s"))];
    let work = granted("reminders", &["later.>", "due"], &[NatsHeaders::Schedule]);
    let work = Workload { handler: "later".to_owned(), settings, ..work };
    let old = !site.client.is_server_compatible(2, 12, 0);
    let config = Config { workloads: vec![work], ..site.config() };
    let host = Host::run(site, config);
    if old {
        return log::logged(&["reminders", "Nats-Schedule* in grants.nats-headers needs 2.12 or newer"]).await;
    }
    host.ready(1).await;
    stream(&host, json!({"name": "LATER", "subjects": ["later.>", "due"], "allow_msg_schedules": true})).await;
    host.publish("in.reminders.a", "wake up").await;
    host.settled("reminders").await;
    let due = async || {
        let stored = host.stored("LATER").await;
        stored.into_iter().find(|message| message.subject.as_str() == "due")
    };
    let message = crate::support::until("it is due", due).await;
    assert_eq!(message.payload, "wake up");
    assert!(host.stored(DEAD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_another_last_message_is_a_retry_and_then_a_dead_letter_with_its_own_cause() {
    let host = Host::start(vec![granted("work", &["out.>"], &ALL)]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish("in.work.a", "header out.a Nats-Expected-Last-Subject-Sequence 0").await;
    host.settled("work").await;
    assert_eq!(host.stored_count("OUT", 1).await.len(), 1);
    // In vain at first; the second attempt expects what is there.
    host.publish("in.work.a", "before 2 header out.a Nats-Expected-Last-Subject-Sequence 9\nok").await;
    host.settled("work").await;
    assert!(host.stored(DEAD).await.is_empty());
    host.publish("in.work.a", "header out.a Nats-Expected-Last-Subject-Sequence 0").await;
    let (cause, reason) = dead(&host).await;
    assert_eq!(cause, "conflict");
    assert!(reason.contains("out.a") && reason.contains("wrong last sequence"), "{reason}");
    assert_eq!(host.stored("OUT").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_wants_to_reach_further_by_a_header_is_stopped() {
    for (line, expected) in [
        ("header out.a Nats-Schedule-Target in.work.b", "`Nats-Schedule*`"),
        ("header out.a Nats-TTL 1s", "grants.nats-headers"),
        ("header out.a Nats-Rollup all", "can only be `sub`"),
        ("header out.a Nats-Msg-Id mine", "belongs to the host"),
    ] {
        let host = Host::start(vec![granted("work", &["out.>"], &ALL)]).await;
        host.stream("OUT", &["out.>"]).await;
        host.publish("in.work.a", line).await;
        let (cause, reason) = dead(&host).await;
        assert_eq!(cause, "effects");
        assert!(reason.contains(expected), "{reason}");
        assert!(host.stored("OUT").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_replaces_what_stood_on_its_subject_and_nothing_else() {
    let host = Host::start(vec![granted("work", &["out.>"], &ALL)]).await;
    stream(&host, json!({"name": "OUT", "subjects": ["out.>"], "allow_rollup_hdrs": true})).await;
    for payload in ["publish out.a x", "publish out.b x", "publish out.a y", "header out.a Nats-Rollup sub"] {
        host.publish("in.work.a", payload).await;
    }
    host.settled("work").await;
    let subjects: Vec<String> = host.stored("OUT").await.iter().map(|message| message.subject.to_string()).collect();
    assert_eq!(subjects, ["out.b", "out.a"]);
}

#[tokio::test]
async fn check_tells_of_a_server_that_is_too_old_for_a_grant() {
    let site = Site::new().await;
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "nats.url = \"{}\"\nplugins.dir = \"{}\"\n[workload.orders]\nstream = \"S\"\nsubjects = [\"s\"]\n\
         manage = \"create\"\nhandler = \"probe\"\npolicy = \"fixed\"\ngrants.nats-headers = [\"Nats-Schedule*\"]\n",
        site.nats.servers[0],
        site.plugins.path().display()
    );
    let path = directory.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let ended = run(["check", "--connect", "--cache-dir", cache, "--config", path.to_str().unwrap()]).await;
    if site.client.is_server_compatible(2, 12, 0) {
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    } else {
        ended.failed_with(1, &["workload.orders.grants.nats-headers: ", "needs 2.12 or newer"]);
    }
}
