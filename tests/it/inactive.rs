//! Consumers that the server deletes where nobody uses them, and hosts that ask for nothing meanwhile.

use std::time::Duration;

use serde_json::json;
use tidegate_runtime::config::{Rate, StartLimits, Workload};

use crate::edited::{api, edit};
use crate::support::host::{Host, workers, workload};
use crate::support::site::Site;
use crate::support::{eventually, log};

/// A stream with interest retention and its consumer, which the server deletes when nobody uses it for the shortest
/// time that a host takes.
async fn expires(site: &Site, name: &str) {
    let stream = json!({ "name": name, "subjects": [format!("in.{name}.>")], "retention": "interest" });
    api(site, &format!("STREAM.CREATE.{name}"), &stream).await.unwrap();
    let config = json!({
        "durable_name": format!("{name}-workers"), "ack_policy": "explicit", "ack_wait": 600_000_000_000u64,
        "max_deliver": -1, "inactive_threshold": 10_000_000_000u64,
    });
    let body = json!({ "stream_name": name, "config": config });
    api(site, &format!("CONSUMER.CREATE.{name}.{name}-workers"), &body).await.unwrap();
}

/// One that begins a single message and then none for an hour.
fn once_an_hour(name: &str) -> Workload {
    let rate = Some(Rate { every: Duration::from_secs(3600), burst: 1 });
    Workload { start_limits: StartLimits { rate, ..StartLimits::default() }, ..workers(name, 1) }
}

/// Awaits that a host has said for longer than the threshold that the consumer is in use: it does so after each third.
async fn outlasts_its_threshold(site: &Site, name: &str) {
    let (mut wire, subject) = (site.settlements(name).await, format!("$JS.ACK.{name}.{name}-workers.1.0.0.0.0"));
    for _ in 0..5 {
        wire.next(|said| said.subject.as_str() == subject && said.payload == "+WPI").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_a_host_that_asks_for_nothing_stays_with_all_that_waits() {
    let site = Site::new().await;
    let names = ["rated", "refused", "pluginless"];
    for name in names {
        expires(&site, name).await;
    }
    let pluginless = Workload { handler: "missing".to_owned(), ..workload("pluginless") };
    let workloads = vec![once_an_hour("rated"), workload("refused"), pluginless];
    let host = Host::launch(site, Duration::from_secs(20), workloads);
    host.ready(2).await;
    edit(&host, "refused", json!({ "max_deliver": 7 })).await;
    log::logged(&["consumer refused-workers on stream refused cannot be used any more"]).await;
    eventually("no pull waits", async || host.consumer("refused").await.num_waiting == 0).await;
    let mut made = Vec::new();
    for name in names {
        host.publish_all(&format!("in.{name}.a"), (0..3).map(|_| "ok".to_owned())).await;
        made.push(host.consumer(name).await.created);
    }
    let [rated, refused, pluginless] = names.map(|name| outlasts_its_threshold(&host, name));
    tokio::join!(rated, refused, pluginless);
    for (name, made) in names.iter().zip(made) {
        assert_eq!(host.consumer(name).await.created, made, "{name}");
    }
    let waits = async |name: &str| host.js.get_stream(name).await.unwrap().cached_info().state.messages;
    assert_eq!((waits("rated").await, waits("refused").await, waits("pluginless").await), (2, 3, 3));
    edit(&host, "refused", json!({ "max_deliver": -1 })).await;
    host.settled("refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_given_a_threshold_by_an_edit_is_warned_of() {
    let host = Host::start(vec![workload("thresholded")]).await;
    edit(&host, "thresholded", json!({ "inactive_threshold": 3_600_000_000_000u64 })).await;
    let said = "consumer thresholded-workers has had its inactive_threshold by an edit";
    log::logged(&["WARN", "\"thresholded\"", said, "--inactive-threshold=0s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_while_a_rate_lets_nothing_be_asked_for_is_made_anew() {
    let host = Host::start(vec![once_an_hour("unasked")]).await;
    host.publish_all("in.unasked.a", (0..3).map(|_| "ok".to_owned())).await;
    eventually("the first is handled", async || host.consumer("unasked").await.ack_floor.stream_sequence == 1).await;
    host.delete_consumer("unasked").await;
    let stream = host.js.get_stream("unasked").await.unwrap();
    eventually("it is made anew", async || stream.consumer_info("unasked-workers").await.is_ok()).await;
    log::logged(&["works again", "\"unasked\"", "\"pull\""]).await;
}
