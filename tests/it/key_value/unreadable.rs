//! Keys that the client library cannot read, of a handler's bucket and of a fleet's.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_runtime::config::Config;

use super::{bucket, granted, kv};
use crate::fleet::{BUCKET, member};
use crate::support::host::{Host, workers};
use crate::support::site::Site;
use crate::support::web::get;
use crate::support::{eventually, log, raw};

/// Header bytes at which the client library gives up its connection.
const BROKEN: &[u8] = b"NATS/1.0\r\nA: \xff\r\n\r\n";

/// How often a host has lost its connection and made it again.
async fn losses(host: &Host) -> u64 {
    let (_, body) = get(&host.address().await, "/status").await;
    serde_json::from_str::<Value>(&body).unwrap()["nats"]["reconnects"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_utf_8_costs_no_connection_but_is_left_out_of_the_list_and_told_once() {
    let site = Site::new().await;
    let (url, store) = (site.nats.servers[0].clone(), bucket(&site, "bytes", 1).await);
    store.put("a.1", "x".into()).await.unwrap();
    raw::publish(&url, b"$KV.bytes.\xff\xfe", b"", b"x").await;
    raw::publish(&url, b"$KV.bytes.a.\xc3", b"", b"x").await;
    // Its key can be read, and so can its value.
    raw::publish(&url, "$KV.bytes.a.2", BROKEN, b"x").await;
    store.put("b", "x".into()).await.unwrap();
    let http = Some("127.0.0.1:0".parse().unwrap());
    let config = Config { http, workloads: vec![granted(&["read-write bytes"])], ..site.config() };
    let host = Host::run(site, config);
    host.ready(1).await;
    for _ in 0..3 {
        assert_eq!(kv(&host, "bytes list").await, "1 3 a.1 a.2 b");
    }
    assert_eq!(kv(&host, "bytes get a.2").await, "x");
    assert_eq!(losses(&host).await, 0);
    let told = |key: &str| log::count(&["\"WARN\"", "\"work\"", "\"bytes\"", key, "list-keys leaves it out"]);
    assert_eq!((told("xff"), told("xc3"), told("")), (1, 1, 2));
}

async fn json(site: &Site, key: &str) -> Option<(u64, Value)> {
    let entry = site.js.get_key_value(BUCKET).await.ok()?.entry(key).await.ok()??;
    Some((entry.revision, serde_json::from_slice(&entry.value).ok()?))
}

async fn shared(site: &Site, expected: &[(&str, u64)]) {
    let expected: BTreeMap<String, u64> = expected.iter().map(|(host, share)| ((*host).to_owned(), *share)).collect();
    eventually(&format!("the shares are {expected:?}"), async || {
        let plan = json(site, "plan.work").await.map(|(_, plan)| plan["shares"].clone());
        plan.and_then(|shares| serde_json::from_value(shares).ok()) == Some(expected.clone())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_in_the_bucket_of_a_fleet_is_passed_over_and_costs_no_connection_again() {
    let site = Site::new().await;
    let url = site.nats.servers[0].clone();
    let first = member(&site, "first", None, workers("work", 4)).await;
    shared(&site, &[("first", 4)]).await;
    for (key, block, shown) in [(&b"host.ghost"[..], BROKEN, "host.ghost"), (b"host.\xff\xfe", b"", "xff")] {
        raw::publish(&url, [b"$KV.FLEET.", key].concat(), block, b"{}").await;
        log::logged(&["\"WARN\"", shown, "a key of the fleet's bucket cannot be read, and is passed over"]).await;
    }
    let lost = losses(&first).await;
    assert!(lost <= 2, "{lost}");
    let (revision, _) = json(&site, "host.first").await.unwrap();
    eventually("it has told some times that it lives", async || {
        json(&site, "host.first").await.is_some_and(|(now, _)| now >= revision + 6)
    })
    .await;
    assert_eq!(losses(&first).await, lost);
    // Who comes later loses none, also when it leads.
    let second = member(&site, "second", None, workers("work", 4)).await;
    shared(&site, &[("first", 2), ("second", 2)]).await;
    first.stop().await;
    shared(&site, &[("second", 4)]).await;
    assert_eq!(site.request("in.work.a", "reply fine").await, "fine");
    assert_eq!(losses(&second).await, 0);
}
