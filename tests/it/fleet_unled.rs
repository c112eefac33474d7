//! Hosts of a fleet with limits to which nobody gives a part of these, and what else keeps hosts from being led.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{kv, stream};
use serde_json::Value;
use tidegate_runtime::config::{StartLimits, Workload};

use crate::fleet::{BUCKET, bind, key, member, parts, shared};
use crate::support::host::{policy, workers, workload};
use crate::support::site::Site;
use crate::support::web::{get, status};
use crate::support::{eventually, log};

/// With no worker while there is nothing to do, by a policy of this name.
fn limited(name: &str) -> Workload {
    let start_limits = StartLimits { max_in_flight: Some(4), ..StartLimits::default() };
    Workload { start_limits, ..policy(workload("work"), name, &[]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_host_has_the_policy_messages_of_a_workload_with_limits_are_handled() {
    let site = Site::new().await;
    let hosts =
        [member(&site, "one", None, limited("missing")).await, member(&site, "two", None, limited("missing")).await];
    site.publish_all("in.work.a", (0..10).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    drop(hosts);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_host_that_has_all_of_the_limits_is_gone_and_so_is_the_bucket_messages_are_handled() {
    let site = Site::new().await;
    // It makes what is needed.
    let first = member(&site, "first", None, limited("backlog")).await;
    eventually("one alone has all", async || parts(&[&first]).await == [1.0]).await;
    first.stop().await;
    let one = member(&site, "one", None, bind(limited("backlog"))).await;
    eventually("one alone has all", async || parts(&[&one]).await == [1.0]).await;
    let two = member(&site, "two", None, bind(limited("backlog"))).await;
    eventually("the other knows that it has none", async || {
        let plan = status(&two.address().await).await["fleet"].clone();
        plan["shares"].as_object().is_some_and(|shares| shares.len() == 2)
    })
    .await;
    assert_eq!(parts(&[&one, &two]).await, [1.0, 0.0]);
    site.js.delete_key_value(BUCKET).await.unwrap();
    one.stop().await;
    site.publish_all("in.work.a", (0..10).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
    eventually("it had workers", async || two.workers("work").0 > 0).await;
}

/// A server with the fleet's bucket, which forgets a key after so long, or never.
async fn with_bucket(max_age: Duration) -> (Arc<Site>, kv::Store) {
    let site = Site::new().await;
    let config = kv::Config { bucket: BUCKET.to_owned(), max_age, ..kv::Config::default() };
    let bucket = site.js.create_key_value(config).await.unwrap();
    (site, bucket)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_lease_is_told_once_and_written_over() {
    let (site, bucket) = with_bucket(Duration::ZERO).await;
    bucket.put("leader.work", "nonsense".into()).await.unwrap();
    let host = member(&site, "one", None, workers("work", 2)).await;
    shared(&site, &[("one", 2)]).await;
    let told = ["\"ERROR\"", "leader.work is not what a host writes there (expected ident"];
    log::logged(&told).await;
    // Of a host that leads.
    let before = key(&site, "leader.work").await.unwrap();
    bucket.put("leader.work", "nonsense".into()).await.unwrap();
    eventually("it is a lease again", async || {
        key(&site, "leader.work").await.is_some_and(|lease| lease["holder"] == before["holder"])
    })
    .await;
    let after = key(&site, "leader.work").await.unwrap();
    let decisions = |lease: &Value| lease["fold"]["decisions"].as_u64().unwrap();
    assert!(decisions(&after) >= decisions(&before), "it goes on: {before}\n{after}");
    shared(&site, &[("one", 2)]).await;
    assert_eq!(log::count(&told), 1);
    eventually("nothing is wrong", async || status(&host.address().await).await["problems"] == serde_json::json!({}))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_a_newer_version_has_written_is_left_as_it_is() {
    let (site, bucket) = with_bucket(Duration::ZERO).await;
    let newer = r#"{"lineage":"a-1","holder":{"id":"newer","boot":"b"},"epoch":7,"desired":"many"}"#;
    let written = bucket.put("leader.work", newer.into()).await.unwrap();
    let host = member(&site, "older", None, workers("work", 2)).await;
    let address = host.address().await;
    eventually("it is told", async || {
        get(&address, "/readyz").await.1.contains("leader.work is not what a host writes there")
    })
    .await;
    assert_eq!(bucket.entry("leader.work").await.unwrap().unwrap().revision, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_forgets_soon_is_told_with_what_mends_it() {
    let (site, _) = with_bucket(Duration::from_secs(30 * 60)).await;
    let host = member(&site, "one", None, workers("work", 2)).await;
    let address = host.address().await;
    let told = "the fleet's bucket FLEET forgets what hosts write after 30m (max_age)";
    log::logged(&["\"ERROR\"", "\"fleet\"", told, "`nats stream edit KV_FLEET --max-age=0s`"]).await;
    assert!(get(&address, "/readyz").await.1.contains(told));
    // All the same it is used.
    shared(&site, &[("one", 2)]).await;
    let stream = site.js.get_stream(format!("KV_{BUCKET}")).await.unwrap();
    let config = stream.cached_info().config.clone();
    site.js.update_stream(stream::Config { max_age: Duration::ZERO, ..config }).await.unwrap();
    eventually("it is mended", async || get(&address, "/readyz").await.0 == 200).await;
}
