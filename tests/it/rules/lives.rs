//! Rule 2: a message that is delivered anew, since its consumer was reset or made anew, is handled or is a dead letter.

use serde_json::json;
use tidegate_runtime::config::{Manage, Retry, Workload};

use crate::edited::api;
use crate::support::eventually;
use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, Site, header};

fn tried(name: &str, max_attempts: u32) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts, ..workload.retry.clone() }, ..workload }
}

/// Three messages of a workload each become a letter.
async fn letters(site: &Site, name: &str, script: &'static str) {
    for _ in 0..3 {
        site.publish(&format!("in.{name}.a"), script).await;
    }
    site.stored_count(DEAD, 3).await;
    site.settled(name).await;
}

/// A host that works on the consumer of a workload and makes none: one that it made anew would go on where it was known
/// to be settled.
async fn bound(mut workload: Workload) -> Host {
    let (site, _) = Host::start(vec![workload.clone()]).await.stop().await;
    workload.queue.manage = Manage::Bind;
    Host::start_at(site, vec![workload]).await
}

/// Somebody deletes the consumer and makes it as it was, at the beginning of its stream.
async fn consumer_anew(site: &Site, name: &str) {
    let consumer = format!("{name}.{name}-workers");
    let info = api(site, &format!("CONSUMER.INFO.{consumer}"), &json!({})).await.unwrap();
    api(site, &format!("CONSUMER.DELETE.{consumer}"), &json!({})).await.unwrap();
    let made = json!({ "stream_name": name, "config": info["config"] });
    eventually("it is made anew", async || api(site, &format!("CONSUMER.CREATE.{consumer}"), &made).await.is_ok())
        .await;
}

/// The same, and somebody deletes all letters first.
async fn anew(site: &Site, name: &str) {
    site.js.get_stream(DEAD).await.unwrap().purge().await.unwrap();
    consumer_anew(site, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_what_is_rejected_anew_is_a_letter_again_where_its_first_one_was_purged() {
    let host = bound(tried("work", 1)).await;
    letters(&host, "work", "reject me").await;
    // Within the duplicate window, and more than once.
    for _ in 0..2 {
        anew(&host, "work").await;
        let again = host.stored_count(DEAD, 3).await;
        assert!(again.iter().all(|letter| header(letter, "Tidegate-Reason") == Some("me")));
        host.settled("work").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_what_is_retried_anew_has_all_of_its_attempts_and_ends_as_a_letter() {
    let host = bound(tried("work", 2)).await;
    letters(&host, "work", "retry").await;
    anew(&host, "work").await;
    let again = host.stored_count(DEAD, 3).await;
    for letter in &again {
        assert_eq!(header(letter, "Tidegate-Cause"), Some("retries"));
        assert_eq!(header(letter, "Tidegate-Attempts"), Some("2"));
    }
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_host_that_knows_nothing_of_a_purged_letter_stores_one_all_the_same() {
    let host = bound(tried("work", 1)).await;
    letters(&host, "work", "reject me").await;
    let (site, _) = host.stop().await;
    anew(&site, "work").await;
    let host = Host::start_at(site, vec![tried("work", 1)]).await;
    host.stored_count(DEAD, 3).await;
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_letter_that_is_there_has_no_second_one_beside_it() {
    let host = bound(tried("work", 1)).await;
    letters(&host, "work", "reject me").await;
    consumer_anew(&host, "work").await;
    eventually("all are delivered anew and settled", async || {
        let stream = host.js.get_stream("work").await.unwrap();
        let info = stream.consumer_info("work-workers").await;
        info.is_ok_and(|info| info.num_pending == 0 && info.num_ack_pending == 0 && info.delivered.stream_sequence == 3)
    })
    .await;
    assert_eq!(host.stored(DEAD).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_2_a_letter_that_is_purged_without_the_others_is_stored_anew() {
    let host = bound(tried("work", 1)).await;
    letters(&host, "work", "reject me").await;
    host.js.get_stream(DEAD).await.unwrap().delete_message(2).await.unwrap();
    consumer_anew(&host, "work").await;
    let all = host.stored_count(DEAD, 3).await;
    let mut died: Vec<_> = all.iter().map(|letter| header(letter, "Tidegate-Sequence").unwrap()).collect();
    died.sort_unstable();
    assert_eq!(died, ["1", "2", "3"]);
}
