//! What no grant covers is denied, and told.

use super::{bucket, granted, host, kv};
use crate::support::host::{Host, workload};
use crate::support::log;
use crate::support::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_granted_by_default_and_the_log_names_what_was_wanted() {
    let site = Site::new().await;
    bucket(&site, "secrets", 1).await;
    let host = Host::start_at(site, vec![workload("work")]).await;
    assert_eq!(kv(&host, "secrets get token").await, "access denied");
    assert_eq!(kv(&host, "not-there get token").await, "access denied");
    log::logged(&["\"WARN\"", "\"work\"", "secrets", "grants.kv", "read-write secrets"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_read_may_not_write_in_any_way() {
    let site = Site::new().await;
    bucket(&site, "prices", 1).await.put("tea", "3".into()).await.unwrap();
    let host = Host::start_at(site, vec![granted(&["read prices"])]).await;
    assert_eq!(kv(&host, "prices get tea").await, "3");
    assert_eq!(kv(&host, "prices list").await, "1 1 tea");
    for step in [
        "set tea 4",
        "delete tea",
        "increment tea 1",
        "cas tea - 4",
        "set-many 4 tea",
        "delete-many tea",
        "cas tea 4 5",
    ] {
        assert_eq!(kv(&host, &format!("prices {step}")).await, "access denied", "{step}");
    }
    assert_eq!(kv(&host, "prices get tea").await, "3");
    log::logged(&["\"WARN\"", "\"work\"", "may not write", "\"tea\"", "read-write prices"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outside_of_the_prefix_are_not_there() {
    let site = Site::new().await;
    let store = bucket(&site, "shared", 1).await;
    for key in ["orders.1", "orders.2", "ordersx", "users.1"] {
        store.put(key, "x".into()).await.unwrap();
    }
    let host = Host::start_at(site, vec![granted(&["read-write shared/orders.", "read shared/us"])]).await;
    assert_eq!(kv(&host, "shared get orders.1").await, "x");
    assert_eq!(kv(&host, "shared get users.1").await, "x");
    assert_eq!(kv(&host, "shared list").await, "1 3 orders.1 orders.2 users.1");
    for step in ["get ordersx", "set users.1 y", "get-many orders.1 ordersx", "set-many y orders.1 users.1"] {
        assert_eq!(kv(&host, &format!("shared {step}")).await, "access denied", "{step}");
    }
    // A batch that may not write one of its keys writes none.
    assert_eq!(kv(&host, "shared get orders.1").await, "x");
    // What is told to grant is no more than what was wanted.
    log::logged(&["\"WARN\"", "may not read", "\"ordersx\"", "[\\\"read shared/ordersx\\\"]"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_one_is_told() {
    let host = host(&["read-write counters"]).await;
    for (key, expected) in
        [("a..b", "two together"), (".a", "begins with a dot"), ("a.", "ends with a dot"), ("*", "'*'")]
    {
        let said = kv(&host, &format!("counters set {key} x")).await;
        assert!(said.starts_with(&format!("error: `{key}` cannot be a key: ")) && said.contains(expected), "{said}");
    }
}
