//! Consumers and streams that somebody edits, deletes or makes anew while a host works, or while it is away.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_runtime::config::{Grants, Limits, Manage, Queue, Retention, Retry, Workload};

use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::{DEAD, Site};
use crate::support::web::get;
use crate::support::{eventually, log};

/// Asks JetStream's API, and gives what it says if that is no error.
pub(crate) async fn api(site: &Site, subject: &str, body: &Value) -> Result<Value, Value> {
    let answer = site.client.request(format!("$JS.API.{subject}"), body.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    match answer.get("error") {
        Some(error) => Err(error.clone()),
        None => Ok(answer),
    }
}

/// Changes settings of a workload's consumer.
pub(crate) async fn edit(site: &Site, name: &str, settings: Value) {
    let consumer = format!("{name}-workers");
    let info = api(site, &format!("CONSUMER.INFO.{name}.{consumer}"), &json!({})).await.unwrap();
    let mut config = info["config"].clone();
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let body = json!({ "stream_name": name, "config": config, "action": "update" });
    api(site, &format!("CONSUMER.CREATE.{name}.{consumer}"), &body).await.unwrap();
}

/// Changes settings of a stream.
async fn edit_stream(site: &Site, name: &str, settings: Value) {
    let info = api(site, &format!("STREAM.INFO.{name}"), &json!({})).await.unwrap();
    let mut config = info["config"].clone();
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    api(site, &format!("STREAM.UPDATE.{name}"), &config).await.unwrap();
}

/// A workload whose file limits its consumer to these subjects.
fn filtered(name: &str, filter: &str) -> Workload {
    let workload = workload(name);
    Workload { queue: Queue { filter: vec![filter.to_owned()], ..workload.queue.clone() }, ..workload }
}

/// A handler that has time.
fn patient(name: &str) -> Workload {
    let workload = workload(name);
    Workload { limits: Limits { time: Duration::from_secs(60), ..workload.limits.clone() }, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_wait_that_is_edited_is_followed_by_what_is_handled_and_what_waits() {
    let host = Host::start(vec![patient("waits")]).await;
    host.publish_all("in.waits.a", ["sleep 4000".to_owned(), "ok".to_owned()]).await;
    host.unsettled("waits", 2).await;
    let mut wire = host.settlements("waits").await;
    edit(&host, "waits", json!({ "ack_wait": 5_000_000_000u64 })).await;
    for sequence in [1, 2] {
        let start = format!("$JS.ACK.waits.waits-workers.1.{sequence}.");
        wire.next(|said| said.payload == "+WPI" && said.subject.starts_with(&start)).await;
    }
    host.settled("waits").await;
    assert_eq!(host.consumer("waits").await.delivered.consumer_sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_max_deliver_that_is_set_while_a_host_works_stops_its_pulls_until_it_is_taken_away() {
    let host = Host::start(vec![workload("capped")]).await;
    host.publish("in.capped.a", "ok").await;
    host.settled("capped").await;
    edit(&host, "capped", json!({ "max_deliver": 2 })).await;
    log::logged(&["consumer capped-workers on stream capped cannot be used any more", "--max-deliver=-1"]).await;
    eventually("no pull waits", async || host.consumer("capped").await.num_waiting == 0).await;
    host.publish("in.capped.a", "ok").await;
    let mut wire = host.wire().await;
    wire.samples("capped", 3).await;
    assert_eq!(host.consumer("capped").await.num_pending, 1);
    edit(&host, "capped", json!({ "max_deliver": -1 })).await;
    host.settled("capped").await;
    log::logged(&["works again", "\"capped\"", "\"consumer\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_refused_and_then_deleted_is_made_anew() {
    let (host, address) = Host::over_http(Site::new().await, workload("replaced")).await;
    host.ready(1).await;
    host.publish("in.replaced.a", "ok").await;
    host.settled("replaced").await;
    edit(&host, "replaced", json!({ "max_deliver": 7 })).await;
    log::logged(&["consumer replaced-workers on stream replaced cannot be used any more"]).await;
    eventually("no pull waits", async || host.consumer("replaced").await.num_waiting == 0).await;
    host.delete_consumer("replaced").await;
    host.publish("in.replaced.a", "ok").await;
    let stream = host.js.get_stream("replaced").await.unwrap();
    eventually("it is made anew", async || stream.consumer_info("replaced-workers").await.is_ok()).await;
    host.settled("replaced").await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    assert_eq!(host.consumer("replaced").await.config.max_deliver, -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_with_a_bound_consumer_is_not_said_of_one_that_is_gone() {
    let site = Site::new().await;
    site.stream("vanished", &["in.vanished.>"]).await;
    let config = json!({ "durable_name": "vanished-workers", "ack_policy": "explicit", "max_deliver": -1 });
    let body = json!({ "stream_name": "vanished", "config": config });
    api(&site, "CONSUMER.CREATE.vanished.vanished-workers", &body).await.unwrap();
    let bound = workload("vanished");
    let queue = Queue { manage: Manage::Bind, ..bound.queue.clone() };
    let (host, address) = Host::over_http(site, Workload { queue, ..bound }).await;
    host.ready(1).await;
    edit(&host, "vanished", json!({ "max_deliver": 7 })).await;
    let refused = "vanished-workers on stream vanished cannot be used any more";
    eventually("it is refused", async || get(&address, "/readyz").await.1.contains(refused)).await;
    host.delete_consumer("vanished").await;
    eventually("it is told as gone, and not as refused", async || {
        let (code, text) = get(&address, "/readyz").await;
        code == 503 && text.contains("make the stream and the consumer again") && !text.contains(refused)
    })
    .await;
    api(&host, "CONSUMER.CREATE.vanished.vanished-workers", &body).await.unwrap();
    host.publish("in.vanished.a", "ok").await;
    host.settled("vanished").await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_the_servers_last_delivery_is_kept_before_the_server_drops_it() {
    let retries = workload("last");
    let retry = Retry { max_attempts: 1_000, backoff: vec![Duration::from_millis(1)] };
    let host = Host::start(vec![Workload { retry, ..retries }]).await;
    // Handled until the edit was made: its first delivery is out then, and the second is the server's last.
    host.publish("in.last.a", "sleep 1500\nretry").await;
    host.unsettled("last", 1).await;
    edit(&host, "last", json!({ "max_deliver": 1 })).await;
    let letter = host.stored_count(DEAD, 1).await.remove(0);
    let reason = crate::support::site::header(&letter, "Tidegate-Reason").unwrap_or_default().to_owned();
    assert!(reason.contains("max_deliver"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_paused_is_told_and_gets_no_workers_until_it_goes_on() {
    let site = Site::new().await;
    if !site.client.is_server_compatible(2, 11, 0) {
        return;
    }
    let workload = policy(workload("paused"), "backlog", &[("pending-per-worker", "10")]);
    let host = Host::start_at(site, vec![workload]).await;
    let pause = async |until: Value| {
        api(&host, "CONSUMER.PAUSE.paused.paused-workers", &until).await.unwrap();
    };
    pause(json!({ "pause_until": "2100-01-01T00:00:00Z" })).await;
    log::logged(&["consumer paused-workers on stream paused is paused until 2100-01-01T00:00:00Z"]).await;
    host.publish_all("in.paused.a", (0..100).map(|_| "ok".to_owned())).await;
    let mut wire = host.wire().await;
    wire.samples("paused", 5).await;
    assert_eq!(host.workers("paused").0, 0);
    pause(json!({})).await;
    host.settled("paused").await;
    assert!(host.workers("paused").0 > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_while_a_host_works_is_made_anew_where_it_was() {
    let host = Host::start(vec![workload("gone")]).await;
    host.publish_all("in.gone.a", (0..200).map(|_| "ok".to_owned())).await;
    host.settled("gone").await;
    let mut wire = host.wire().await;
    wire.samples("gone", 3).await;
    host.delete_consumer("gone").await;
    eventually("the consumer is there again", async || {
        let stream = host.js.get_stream_no_info("gone").await.unwrap();
        stream.consumer_info("gone-workers").await.is_ok()
    })
    .await;
    host.publish_all("in.gone.a", (0..10).map(|_| "ok".to_owned())).await;
    host.settled("gone").await;
    assert_eq!(host.consumer("gone").await.delivered.consumer_sequence, 10);
    log::logged(&["the consumer was gone and is made anew", "\"gone\"", "\"floor\":200"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_deleted_while_hosts_were_away_says_how_much_is_handled_again() {
    let host = Host::start(vec![workload("away")]).await;
    host.publish_all("in.away.a", (0..30).map(|_| "ok".to_owned())).await;
    host.settled("away").await;
    let (site, _) = host.stop().await;
    site.delete_consumer("away").await;
    let host = Host::start_at(site, vec![workload("away")]).await;
    log::logged(&["WARN", "\"away\"", "at the beginning of its stream", "30 messages are to be handled"]).await;
    host.settled("away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_made_anew_by_somebody_else_has_its_own_ack_wait_followed() {
    let host = Host::start(vec![patient("other")]).await;
    host.delete_consumer("other").await;
    let config = json!({
        "durable_name": "other-workers", "ack_policy": "explicit", "ack_wait": 4_000_000_000u64, "max_deliver": -1,
    });
    let body = json!({ "stream_name": "other", "config": config });
    // The host may have been quicker; then it is edited.
    if api(&host, "CONSUMER.CREATE.other.other-workers", &body).await.is_err() {
        edit(&host, "other", json!({ "ack_wait": 4_000_000_000u64 })).await;
    }
    host.publish("in.other.a", "sleep 6000").await;
    host.unsettled("other", 1).await;
    host.settled("other").await;
    assert_eq!(host.consumer("other").await.delivered.consumer_sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_difference_and_every_loop_is_said_at_the_start() {
    let site = Site::new().await;
    site.stream("differs", &["in.differs.>"]).await;
    let config = json!({
        "durable_name": "differs-workers", "ack_policy": "explicit", "ack_wait": 7_000_000_000u64, "max_deliver": -1,
        "filter_subject": "in.differs.mine",
    });
    let body = json!({ "stream_name": "differs", "config": config });
    api(&site, "CONSUMER.CREATE.differs.differs-workers", &body).await.unwrap();
    let workload = workload("differs");
    let grants = Grants { publish: vec!["in.differs.*".to_owned()], ..workload.grants.clone() };
    let _host = Host::start_at(site, vec![Workload { grants, ..workload }]).await;
    for said in [
        "nats consumer edit differs differs-workers --wait=10m",
        "nats consumer edit differs differs-workers --filter='>'",
        "grants.publish has `in.differs.*`, and this workload reads `in.differs.mine`",
    ] {
        log::logged(&["WARN", said]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_anew_goes_on_from_its_first_message() {
    let host = Host::start(vec![workers("anew", 1)]).await;
    host.publish_all("in.anew.a", (0..50).map(|_| "ok".to_owned())).await;
    host.settled("anew").await;
    let mut wire = host.wire().await;
    wire.samples("anew", 2).await;
    host.js.delete_stream("anew").await.unwrap();
    eventually("the stream is there again", async || host.js.get_stream("anew").await.is_ok()).await;
    host.publish_all("in.anew.a", (0..20).map(|_| "ok".to_owned())).await;
    eventually("its consumer is there", async || {
        let stream = host.js.get_stream_no_info("anew").await.unwrap();
        stream.consumer_info("anew-workers").await.is_ok()
    })
    .await;
    host.settled("anew").await;
    assert_eq!(host.consumer("anew").await.delivered.consumer_sequence, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_makes_its_consumer_as_the_stream_allows() {
    let site = Site::new().await;
    let limits = json!({ "max_ack_pending": 50, "inactive_threshold": 3_600_000_000_000u64 });
    let stream = json!({ "name": "limited", "subjects": ["in.limited.>"], "consumer_limits": limits });
    api(&site, "STREAM.CREATE.limited", &stream).await.unwrap();
    let queue = Queue { max_ack_pending: 1000, ..workload("limited").queue };
    let host = Host::start_at(site, vec![Workload { queue, ..workload("limited") }]).await;
    host.publish("in.limited.a", "ok").await;
    host.settled("limited").await;
    assert_eq!(host.consumer("limited").await.config.max_ack_pending, 50);
    log::logged(&["WARN", "\"limited\"", "nats stream edit limited --limit-consumer-inactive"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_not_ready_where_nothing_that_its_stream_stores_matches_its_filter() {
    let site = Site::new().await;
    site.stream("unmatched", &["foo.unmatched.>"]).await;
    let (host, address) = Host::over_http(site, filtered("unmatched", "in.unmatched.>")).await;
    host.ready(1).await;
    eventually("/readyz tells it", async || {
        let (code, text) = get(&address, "/readyz").await;
        code == 503
            && text.contains("its filter in.unmatched.> matches nothing that its stream stores: foo.unmatched.>")
            && text.contains("nats stream edit unmatched --subjects=...")
    })
    .await;
    edit_stream(&host, "unmatched", json!({ "subjects": ["foo.unmatched.>", "in.unmatched.*"] })).await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    host.publish("in.unmatched.a", "ok").await;
    host.settled("unmatched").await;
    assert_eq!(host.consumer("unmatched").await.delivered.consumer_sequence, 1);
    log::logged(&[
        "WARN",
        "\"unmatched\"",
        "subjects of the configuration is in.unmatched.>, and the stream has foo.unmatched.>, which counts",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_edited_so_that_a_filter_matches_nothing_any_more_is_told() {
    let host = Host::start(vec![filtered("narrowed", "in.narrowed.>")]).await;
    host.publish("in.narrowed.a", "ok").await;
    host.settled("narrowed").await;
    edit_stream(&host, "narrowed", json!({ "subjects": ["else.narrowed.>"] })).await;
    let said = "consumer narrowed-workers on stream narrowed is given no message: its filter in.narrowed.> matches \
                nothing that its stream stores: else.narrowed.>";
    log::logged(&["\"ERROR\"", "\"narrowed\"", said]).await;
    let transform = |to: &str| json!({ "subject_transform": { "src": "else.narrowed.>", "dest": to } });
    edit_stream(&host, "narrowed", transform("in.narrowed.>")).await;
    log::logged(&["works again", "\"narrowed\"", "\"consumer\""]).await;
    host.publish("else.narrowed.a", "ok").await;
    host.settled("narrowed").await;
    assert_eq!(host.consumer("narrowed").await.delivered.consumer_sequence, 2);
    edit_stream(&host, "narrowed", transform("other.narrowed.>")).await;
    log::logged(&["\"ERROR\"", "\"narrowed\"", "other.narrowed.>, mapped from `else.narrowed.>`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_a_stream_was_narrowed_is_handled_and_then_it_is_told() {
    let site = Site::new().await;
    site.stream("leftover", &["in.leftover.>"]).await;
    site.publish_all("in.leftover.a", (0..20).map(|_| "ok".to_owned())).await;
    edit_stream(&site, "leftover", json!({ "subjects": ["else.leftover.>"] })).await;
    let host = Host::start_at(site, vec![filtered("leftover", "in.leftover.>")]).await;
    host.settled("leftover").await;
    assert_eq!(host.consumer("leftover").await.delivered.consumer_sequence, 20);
    log::logged(&["WARN", "\"leftover\"", "what waits is handled, and nothing comes after it"]).await;
    log::logged(&["\"ERROR\"", "\"leftover\"", "its filter in.leftover.> matches nothing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_edited_to_what_the_stream_does_not_have_is_told() {
    let host = Host::start(vec![workload("refiltered")]).await;
    host.publish("in.refiltered.a", "ok").await;
    host.settled("refiltered").await;
    edit(&host, "refiltered", json!({ "filter_subject": "nothing.here" })).await;
    log::logged(&["\"ERROR\"", "\"refiltered\"", "its filter nothing.here matches nothing"]).await;
    edit(&host, "refiltered", json!({ "filter_subject": "in.refiltered.*" })).await;
    host.publish("in.refiltered.b", "ok").await;
    host.settled("refiltered").await;
    log::logged(&["works again", "\"refiltered\"", "\"consumer\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deleted_while_no_pull_is_open_is_made_anew_though_somebody_hears_everything() {
    let host = Host::start(vec![workers("unheard", 1)]).await;
    let mut wire = host.wire().await;
    // The worker has one and another waits for it: nothing is asked for.
    host.publish_all("in.unheard.a", (0..2).map(|_| "sleep 1500".to_owned())).await;
    host.unsettled("unheard", 2).await;
    wire.samples("unheard", 3).await;
    host.delete_consumer("unheard").await;
    log::logged(&["\"unheard\"", "the consumer was deleted; the host makes it anew"]).await;
    assert_eq!(host.request("in.unheard.a", "reply back").await, "back");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_drops_with_a_consumer_that_is_deleted_is_told() {
    let one = Workload { limits: patient("dropped").limits, ..workers("dropped", 1) };
    let queue = Queue { retention: Retention::Interest, ..one.queue.clone() };
    let host = Host::start(vec![Workload { queue, ..one }]).await;
    // The first is handled until the others are gone.
    host.publish_all("in.dropped.a", (0..5).map(|_| "sleep 2000".to_owned())).await;
    let mut wire = host.wire().await;
    // One that has begun when the last message was there is among them.
    wire.samples("dropped", 3).await;
    host.delete_consumer("dropped").await;
    log::logged(&["\"ERROR\"", "\"dropped\"", "messages are lost: 5 were not settled at the last look"]).await;
    let said = "messages may be lost: its stream has interest retention, so the server has dropped what";
    log::logged(&["\"ERROR\"", "\"dropped\"", said, "\"unsettled\":5"]).await;
    assert_eq!(log::count(&["\"dropped\"", "it goes on where it was known to be settled"]), 0);
}
