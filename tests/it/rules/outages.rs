//! Rule 9: an outage is not a failure of a message or a guest; and rule 8, of what workloads share: the publish window.

use std::time::Duration;

use futures_util::StreamExt;
use tidegate_runtime::config::{Limits, Retry, Workload};
use tokio::time::timeout;

use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site, header, text};
use crate::support::{PATIENCE, log};

/// One attempt is all that a message has.
fn once(name: &str) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts: 1, ..workload.retry.clone() }, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_9_publications_that_no_stream_takes_use_up_no_attempt() {
    let host = Host::start(vec![once("work")]).await;
    let mut wire = host.settlements("work").await;
    host.publish("in.work.a", "publish out.a one\nattempt").await;
    for _ in 0..5 {
        wire.next(|message| message.payload.starts_with(b"-NAK")).await;
    }
    log::logged(&["\"ERROR\"", "\"work\"", "\"effects\"", "no stream is bound to `out.a`"]).await;
    host.stream("OUT", &["out.>"]).await;
    host.settled("work").await;
    assert_eq!((host.stored("OUT").await.len(), host.stored(DEAD).await.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_9_a_death_is_decided_once_and_waits_for_the_stream_of_dead_letters() {
    let host = Host::start(vec![once("work")]).await;
    let config = host.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    host.js.delete_stream(DEAD).await.unwrap();
    let mut wire = host.settlements("work").await;
    host.publish("in.work.a", "print called-once-and-dead\ntrap").await;
    for _ in 0..5 {
        assert!(wire.settlement("work").await.starts_with("-NAK"));
    }
    log::logged(&["\"ERROR\"", "\"work\"", "\"dead-letters\"", "no stream is bound to `tidegate.dead.work`"]).await;
    host.js.create_stream(config).await.unwrap();
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!(header(dead, "Tidegate-Cause"), Some("trapped"));
    host.settled("work").await;
    assert_eq!(log::count(&["called-once-and-dead", "\"work\""]), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_9_deliveries_that_no_host_saw_the_end_of_do_not_keep_a_message_from_being_tried() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    site.publish("in.work.a", "ledger out it").await;
    // Three attempts are allowed, and three times as many deliveries.
    site.delivered_in_vain("work", 8).await;
    let host = Host::start_at(site, vec![workload("work")]).await;
    assert!(text(&host.stored_count("OUT", 1).await[0]).contains("\"attempt\":9"));
    host.settled("work").await;
    assert!(host.stored(DEAD).await.is_empty());
}

/// More publications in one answer than any window holds.
fn prolific(name: &str) -> Workload {
    let workload = workload(name);
    let limits = Limits { publications: 20_000, ..workload.limits.clone() };
    Workload { limits, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_one_answer_may_have_more_publications_than_may_be_under_way_at_once() {
    let host = Host::start(vec![prolific("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish("in.work.a", "many out.a 12000").await;
    host.settled("work").await;
    let state = host.js.get_stream("OUT").await.unwrap().cached_info().state.clone();
    assert_eq!((state.messages, host.consumer("work").await.delivered.consumer_sequence), (12_000, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_a_target_that_never_answers_holds_up_its_own_workload_alone() {
    let site = Site::new().await;
    // Somebody listens, so the server does not say that no stream is there; and nobody says that it is stored.
    let mut silence = site.client.subscribe("nowhere.>").await.unwrap();
    site.client.flush().await.unwrap();
    let workloads = vec![prolific("stalled"), workload("other")];
    let host = Host::start_with(site, Duration::from_millis(50), workloads).await;
    host.stream("OUT", &["out.>"]).await;
    let mut wire = host.settlements("stalled").await;
    host.publish("in.stalled.a", "many nowhere.a 20000\nprint begun-stalled").await;
    log::logged(&["begun-stalled", "\"stalled\""]).await;
    // All of its window is on the way, and nothing of it comes back.
    let full = silence.by_ref().take(5_000).for_each(|_| std::future::ready(()));
    timeout(PATIENCE, full).await.expect("the window is full");
    host.publish_all("in.other.a", (0..200).map(|id| format!("ledger out {id}"))).await;
    host.publish("in.other.a", "reject me").await;
    host.stored_count("OUT", 200).await;
    host.stored_count(DEAD, 1).await;
    host.settled("other").await;
    // It was not the time-out of acks that made room for the other.
    assert!(timeout(Duration::ZERO, wire.settlement("stalled")).await.is_err(), "the window was full all the time");
    host.stop().await;
    drop(silence);
    assert!(wire.settlement("stalled").await.starts_with("-NAK"));
}
