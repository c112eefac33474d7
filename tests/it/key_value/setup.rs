//! Buckets at the start, and what `check` and `permissions` say of them.

use std::sync::Arc;

use tidegate_artifacts::workers::DEDUPE;
use tidegate_runtime::config::{Config, Manage, Queue, Workload};
use tidegate_test_artifacts::probes::MESSAGING;

use super::{bucket, granted, kv};
use crate::support::cli::run;
use crate::support::host::Host;
use crate::support::log;
use crate::support::site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_missing_is_waited_for_where_the_host_makes_nothing() {
    let site = Site::new().await;
    let made = Host::start_at(site.clone(), vec![granted(&[])]).await;
    let work = granted(&["read-write late", "read late/x"]);
    let queue = Queue { manage: Manage::Bind, ..work.queue.clone() };
    let (site, _) = made.stop().await;
    let config = Config { workloads: vec![Workload { queue, ..work }], ..site.config() };
    let host = Host::run(site, config);
    log::logged(&["\"work\"", "\"setup\"", "there is no bucket late, which grants.kv names", "nats kv add late"]).await;
    bucket(&host, "late", 1).await;
    host.ready(1).await;
    assert_eq!(kv(&host, "late set a x").await, "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_bucket_is_refused() {
    let site = Site::new().await;
    site.stream("KV_odd", &["odd.>"]).await;
    let config = Config { workloads: vec![granted(&["read odd"])], ..site.config() };
    let _host = Host::run(site, config);
    log::logged(&["\"work\"", "\"setup\"", "bucket odd, which grants.kv names", "not bound to $KV.odd.>"]).await;
}

#[tokio::test]
async fn check_says_which_buckets_are_missing_and_permissions_what_they_need() {
    let site = Site::new().await;
    site.stream("S", &["s"]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    let write = |manage: &str| {
        let text = format!(
            "nats.url = \"{}\"\nplugins.dir = \"{}\"\n[workload.orders]\nstream = \"S\"\nsubjects = [\"s\"]\n\
             manage = \"{manage}\"\nhandler = \"probe\"\npolicy = \"fixed\"\n\
             grants.kv = [\"read-write counters/orders.\", \"read prices\"]\n",
            site.nats.servers[0],
            site.plugins.path().display()
        );
        std::fs::write(&path, text).unwrap();
    };
    let config = path.to_str().unwrap();
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let check = async || run(["check", "--connect", "--cache-dir", cache, "--config", config]).await;
    bucket(&site, "prices", 1).await;
    write("bind");
    let ended = check().await;
    let expected = "workload.orders.grants.kv: there is no bucket counters, which grants.kv names";
    ended.failed_with(1, &[expected, "nats kv add counters"]);
    assert!(!ended.said().contains("bucket prices"), "{}", ended.said());
    write("create");
    let ended = check().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.said().contains("key-value bucket counters"), "{}", ended.said());
    let ended = run(["permissions", "--config", config]).await;
    for subject in ["$JS.API.STREAM.MSG.GET.KV_prices", "$KV.counters.orders.>", "$JS.API.STREAM.CREATE.KV_counters"] {
        assert!(ended.said().contains(&format!("\"{subject}\"")), "{subject}: {}", ended.said());
    }
    assert!(!ended.said().contains("$KV.prices"), "{}", ended.said());
}

/// A site with a handler that imports `wasi:keyvalue`, and one of `wasmcloud:messaging`.
async fn site_of_two() -> Arc<Site> {
    let site = Site::new().await;
    site.install("dedupe", DEDUPE);
    site.install("peer", MESSAGING);
    site
}

/// What `check` says of a workload with this handler, which passes.
async fn checked(site: &Site, handler: &str, grants: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache");
    let text = format!(
        "plugins.dir = \"{}\"\n[workload.w]\nstream = \"S\"\nhandler = \"{handler}\"\npolicy = \"fixed\"\n\
         {grants}\n",
        site.plugins.path().display()
    );
    std::fs::write(&path, text).unwrap();
    let ended = run(["check", "--cache-dir", cache, "--config", path.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    ended.said()
}

#[tokio::test]
async fn check_warns_of_a_handler_that_imports_key_value_and_is_granted_none() {
    let site = site_of_two().await;
    let check = async |handler: &str, grants: &str| checked(&site, handler, grants).await;
    let said = check("dedupe", "").await;
    assert!(said.contains("dedupe.wasm imports wasi:keyvalue, and grants.kv grants it nothing"), "{said}");
    let said = check("dedupe", "grants.kv = [\"read-write seen\"]").await;
    assert!(!said.contains("warning"), "{said}");
    let said = check("dedupe", "grants.kv = [\"read-write seen\"]\ngrants.request = [\"prices.>\"]").await;
    assert!(said.contains("does not import wasmcloud:messaging/consumer, so what grants.request grants"), "{said}");
    let said = check("peer", "grants.request = [\"prices.>\"]\ngrants.publish = [\"out.>\"]").await;
    assert!(!said.contains("warning"), "{said}");
}

#[tokio::test]
async fn check_warns_of_what_is_granted_and_cannot_be_used() {
    let site = site_of_two().await;
    let check = async |handler: &str, grants: &str| checked(&site, handler, grants).await;
    for (handler, grants, expected) in [
        (
            "dedupe",
            "grants.http = [\"https://a.example.com/\"]",
            "does not import wasi:http, so what grants.http grants",
        ),
        ("peer", "grants.http = [\"https://a.example.com/\"]", "does not import wasi:http, so what grants.http grants"),
        ("peer", "grants.kv = [\"read prices\"]", "does not import wasi:keyvalue, so what grants.kv grants it is"),
        (
            "peer",
            "grants.nats-headers = [\"Nats-TTL\"]",
            "has no headers in its interface, so what grants.nats-headers",
        ),
        ("peer", "grants.http-ca = \"ca.pem\"", "workload w: grants.http-ca is of no use without grants.http"),
    ] {
        let said = check(handler, grants).await;
        assert!(said.contains("warning: ") && said.contains(expected), "{handler} {grants}: {said}");
    }
}
