//! What becomes of a fleet in whose bucket somebody writes what no host has decided, or deletes what one has, or whose
//! bucket is edited so that it keeps or takes less.

use std::sync::Arc;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, kv};
use serde_json::{Value, json};

use crate::fleet::{BUCKET, key, member, shared};
use crate::support::host::{policy, workers, workload};
use crate::support::site::Site;
use crate::support::web::{get, status};
use crate::support::{eventually, log};

/// The largest number that a host reads in an entry.
const LARGEST: u64 = (1 << 53) - 1;

async fn bucket(site: &Site) -> kv::Store {
    site.js.get_key_value(BUCKET).await.unwrap()
}

/// What stands at a key, with these members in place of its own.
async fn forge(site: &Site, at: &str, members: Value) {
    let mut entry = key(site, at).await.unwrap();
    for (name, value) in members.as_object().unwrap() {
        entry[name] = value.clone();
    }
    bucket(site).await.put(at, entry.to_string().into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_the_leaders_name_is_written_over_and_one_that_is_deleted_is_written_again() {
    let site = Site::new().await;
    let one = member(&site, "one", Some(20), workers("work", 6)).await;
    let two = member(&site, "two", Some(10), workers("work", 6)).await;
    shared(&site, &[("one", 4), ("two", 2)]).await;
    for forged in [
        json!({ "shares": {} }),
        json!({ "shares": { "one": 1_000_000 } }),
        json!({ "limit": { "of": 0, "hosts": {} } }),
        json!({ "lineage": "another", "shares": {} }),
        json!({ "epoch": LARGEST, "shares": {} }),
    ] {
        forge(&site, "plan.work", forged).await;
        shared(&site, &[("one", 4), ("two", 2)]).await;
    }
    bucket(&site).await.delete("plan.work").await.unwrap();
    shared(&site, &[("one", 4), ("two", 2)]).await;
    assert_eq!(key(&site, "plan.work").await.unwrap()["limit"], Value::Null);
    for host in [&one, &two] {
        let address = host.address().await;
        eventually("it follows", async || {
            let fleet = status(&address).await["fleet"].clone();
            fleet["shares"] == json!({ "one": 4, "two": 2 })
        })
        .await;
        eventually("nothing is wrong", async || get(&address, "/readyz").await.0 == 200).await;
    }
    site.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
    site.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_goes_on_from_numbers_of_a_lease_to_which_nobody_has_counted() {
    let site = Site::new().await;
    let one = member(&site, "one", None, workers("work", 2)).await;
    shared(&site, &[("one", 2)]).await;
    let nobody = json!({ "id": "", "boot": "" });
    let watched = json!({ "arrivals": LARGEST, "elapsed-ms": LARGEST, "now-ms": LARGEST });
    for forged in [json!({ "holder": nobody, "watched": watched }), json!({ "holder": nobody, "epoch": LARGEST })] {
        forge(&site, "leader.work", forged).await;
        // Whoever leads then reads what it has written since.
        for _ in 0..2 {
            eventually("it leads with other numbers", async || {
                let lease = key(&site, "leader.work").await.unwrap();
                let counted = |number: &Value| number.as_u64().unwrap() < 1 << 52;
                lease["holder"]["id"] == "one" && counted(&lease["epoch"]) && counted(&lease["watched"]["elapsed-ms"])
            })
            .await;
            forge(&site, "leader.work", json!({ "holder": nobody })).await;
        }
    }
    shared(&site, &[("one", 2)]).await;
    let address = one.address().await;
    eventually("nothing is wrong", async || get(&address, "/readyz").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_policy_decides_nothing_gives_the_lead_up_to_a_host_whose_policy_does() {
    let site = Site::new().await;
    let traps = policy(workload("work"), "probe-policy", &[("mode", "trap")]);
    let _one = member(&site, "one", None, traps).await;
    eventually("it leads", async || {
        key(&site, "leader.work").await.is_some_and(|lease| lease["holder"]["id"] == "one")
    })
    .await;
    let _two = member(&site, "two", None, workers("work", 4)).await;
    shared(&site, &[("one", 2), ("two", 2)]).await;
    assert_eq!(key(&site, "leader.work").await.unwrap()["holder"]["id"], "two");
    log::logged(&["\"WARN\"", "this host gives up the lead of the fleet"]).await;
}

/// A server with the fleet's bucket, edited so.
async fn edited(edit: impl FnOnce(Config) -> Config) -> Arc<Site> {
    let site = Site::new().await;
    site.js.create_key_value(kv::Config { bucket: BUCKET.to_owned(), ..kv::Config::default() }).await.unwrap();
    change(&site, edit).await;
    site
}

async fn change(site: &Site, edit: impl FnOnce(Config) -> Config) {
    let stream: jetstream::stream::Stream = site.js.get_stream(format!("KV_{BUCKET}")).await.unwrap();
    site.js.update_stream(edit(stream.cached_info().config.clone())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_drops_what_was_written_first_is_told_with_what_mends_it() {
    let old = |config| Config { discard: DiscardPolicy::Old, max_messages: 1000, ..config };
    let site = edited(old).await;
    let host = member(&site, "one", None, workers("work", 2)).await;
    let address = host.address().await;
    let told = "the fleet's bucket FLEET forgets what was written first when it is full (discard old";
    log::logged(&["\"ERROR\"", "\"fleet\"", told, "`nats stream edit KV_FLEET --discard=new"]).await;
    assert!(get(&address, "/readyz").await.1.contains(told));
    // All the same it is used.
    shared(&site, &[("one", 2)]).await;
    change(&site, |config| Config { discard: DiscardPolicy::New, max_messages: -1, ..config }).await;
    eventually("it is mended", async || get(&address, "/readyz").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_takes_no_value_of_that_size_is_told_with_what_mends_it() {
    let site = edited(|config| Config { max_message_size: 64, ..config }).await;
    let host = member(&site, "one", None, workers("work", 2)).await;
    let told = "the entry of this host has less than 1 KiB, and the bucket FLEET takes no value of that size";
    log::logged(&["\"ERROR\"", "\"fleet\"", told, "`nats stream edit KV_FLEET --max-msg-size=-1`"]).await;
    assert_eq!(log::count(&["less than 1 KiB", "raise max_payload"]), 0);
    change(&site, |config| Config { max_message_size: -1, ..config }).await;
    shared(&site, &[("one", 2)]).await;
    let address = host.address().await;
    eventually("it is mended", async || get(&address, "/readyz").await.0 == 200).await;
}
