//! A bucket or a server that is away is an error that the guest answers.

use std::time::Duration;

use tidegate_runtime::config::{Queue, Retry, Workload};
use tidegate_runtime::events::Event;

use super::{bucket, granted, granted_to, kv_of, value};
use crate::support::host::Host;
use crate::support::site::DEAD;
use crate::support::{eventually, log};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_deleted_in_use_is_no_such_store_and_told_until_it_is_back() {
    let host = Host::start(vec![granted_to("bereft", 1, &["read-write counters"], "")]).await;
    let kv = async |step: &str| kv_of(&host, "bereft", &format!("counters {step}")).await;
    assert_eq!(kv("set a x").await, "done");
    host.js.delete_key_value("counters").await.unwrap();
    for step in ["get a", "set a y", "delete a", "increment a 1", "list", "cas a - y"] {
        assert_eq!(kv(step).await, "no such store", "{step}");
    }
    log::logged(&["\"ERROR\"", "\"bereft\"", "\"key-value\"", "there is no bucket counters", "nats kv add counters"])
        .await;
    bucket(&host, "counters", 1).await;
    assert_eq!(kv("set a z").await, "done");
    log::logged(&["\"bereft\"", "\"key-value\"", "works again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_a_retry_of_the_guests_and_nothing_is_lost() {
    let retry = Retry { max_attempts: 100, backoff: vec![Duration::from_millis(50)] };
    let work = granted(&["read-write counters"]);
    // Settlements that are on their way are lost with the server.
    let queue = Queue { ack_wait: Duration::from_secs(1), ..work.queue.clone() };
    let host = Host::start(vec![Workload { retry, queue, ..work }]).await;
    let wanted = (0..200).map(|index| format!("kv counters retry set k.{index} {index}"));
    host.publish_all("in.work.a", wanted).await;
    host.server.lock().await.restart().await.unwrap();
    host.publish("in.work.a", "kv counters retry set last it").await;
    host.settled("work").await;
    for (key, expected) in [("k.0", "0"), ("k.199", "199"), ("last", "it")] {
        eventually(key, async || value(&host, "counters", key).await.as_deref() == Some(expected)).await;
    }
    assert!(host.stored(DEAD).await.is_empty());
    assert_eq!(host.count(|event| matches!(event, Event::WorkerEnded { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_answered_is_an_error_of_the_guests_before_its_time_is_over() {
    let host = Host::start(vec![granted_to("patient", 1, &["read-write counters"], "")]).await;
    let stands = async {
        host.unsettled("patient", 1).await;
        host.server.lock().await.pause().await.unwrap();
        log::logged(&["\"ERROR\"", "\"patient\"", "\"key-value\"", "cannot list the keys of counters"]).await;
        host.server.lock().await.resume().unwrap();
    };
    let (said, ()) = tokio::join!(host.request("in.patient.a", "sleep 1000\nkv counters list"), stands);
    assert_eq!(said, "error: cannot list the keys of counters: the server did not answer within 5s");
    assert_eq!(host.count(|event| matches!(event, Event::WorkerEnded { .. })), 0);
}
