//! Hosts of a fleet with limits to which nobody gives a part of these.

use tidegate_runtime::config::{StartLimits, Workload};

use crate::fleet::{BUCKET, bind, member, parts};
use crate::support::eventually;
use crate::support::host::{policy, workload};
use crate::support::site::Site;
use crate::support::web::status;

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
    assert!(two.workers("work").0 > 0);
}
