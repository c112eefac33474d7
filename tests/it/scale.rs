//! How many hosts there should be, as `/scale` says it of what keeps an order.

use serde_json::Value;
use tidegate_runtime::config::{Order, OrderKey, Workload};

use crate::fleet;
use crate::partitions::{COUNT, member, named};
use crate::support::eventually;
use crate::support::host::workers;
use crate::support::site::Site;
use crate::support::web::get;

async fn scale(address: &str, query: &str) -> Value {
    let (code, body) = get(address, &format!("/scale{query}")).await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

async fn workers_of(address: &str, query: &str) -> u64 {
    scale(address, query).await["desired_workers"].as_u64().unwrap()
}

/// Those that a host wants of the partitions that it has itself.
async fn own(address: &str) -> u64 {
    let mut all = 0;
    for number in 0..COUNT {
        all += workers_of(address, &format!("?workload=work-p{number}")).await;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_all_partitions_count_though_each_host_has_some() {
    let (site, keys) = (Site::new().await, named(40));
    let (one, two) = (member(&site, "one", ""), member(&site, "two", ""));
    let (one, two) = (one.address().await, two.address().await);
    // A partition has workers where its messages come.
    eventually("the stream is there", async || site.js.get_stream("work").await.is_ok()).await;
    for key in keys {
        site.publish(&format!("in.work.{key}"), "ok").await;
    }
    // Of a partition no more than one host has room for.
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    let all = COUNT as u64 * cores.min(2);
    eventually("both have some, and one of them says it of all", async || {
        let (first, second) = (own(&one).await, own(&two).await);
        let most = workers_of(&one, "").await.max(workers_of(&two, "").await);
        first > 0 && second > 0 && first + second == all && most == all
    })
    .await;
    let rows = scale(&one, "").await["workloads"].clone();
    assert_eq!(rows.as_array().unwrap().iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["work"]);
    assert_eq!(workers_of(&one, "?workload=work").await, workers_of(&one, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_an_order_without_partitions_counts_for_no_more_than_one_host() {
    let site = Site::new().await;
    let order = Order { key: OrderKey::Token(3), buffer: 100, buffer_bytes: 1 << 24, in_fleet: true };
    let work = Workload { order: Some(order), ..workers("work", 6) };
    let host = fleet::member(&site, "one", Some(2), work).await;
    let address = host.address().await;
    site.publish("in.work.a", "ok").await;
    eventually("it is for one host", async || {
        let said = scale(&address, "").await;
        (said["desired_workers"].as_u64(), said["desired_hosts"].as_u64()) == (Some(2), Some(1))
    })
    .await;
}
