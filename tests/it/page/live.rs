use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_runtime::config::{Config, FleetConfig};
use tokio::time::{Duration, timeout};

use super::{local, send};
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::Site;
use crate::support::web::Events;

/// The events up to the one of which this is so.
async fn events_until(events: &mut Events, mut is: impl FnMut(&Value) -> bool) -> (String, Value) {
    loop {
        let (id, event) = events.next().await;
        if is(&event) {
            return (id, event);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_once_a_second_and_only_what_has_changed() {
    let (host, address) = local(None).await;
    let (code, mut events) = Events::open(&address, "/api/live", &[]).await;
    assert_eq!(code, 200);
    let (_, first) = events.next().await;
    assert_eq!((first["rows"][0]["name"].as_str(), &first["detail"]), (Some("work"), &Value::Null));
    assert_eq!((first["host"]["connected"].as_bool(), first["host"]["admin"].as_bool()), (Some(true), Some(false)));
    host.publish("in.work.a", "ok").await;
    let (_, told) = events_until(&mut events, |event| event["rows"][0]["acked"] == 1).await;
    let row = &told["rows"][0];
    assert!(row["generations"][0]["digest"].as_str().unwrap().len() == 64, "{row}");
    assert_eq!((row["handler"].as_str(), row["policy"].as_str()), (Some("probe"), Some("fixed")));
    // Nothing happens any more.
    let (id, _) = events_until(&mut events, |event| event["rows"].as_array().unwrap().is_empty()).await;
    // Who comes back goes on from there; who comes with what another host has told begins anew.
    let (_, mut events) = Events::open(&address, "/api/live", &[&format!("Last-Event-ID: {id}")]).await;
    assert_eq!(events.next().await.1["rows"].as_array().unwrap().len(), 0);
    let (_, mut events) = Events::open(&address, "/api/live", &["Last-Event-ID: other:1/9/9"]).await;
    assert_eq!(events.next().await.1["rows"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_told_with_its_workers_decisions_and_failures() {
    let (host, address) = local(None).await;
    assert_eq!(send(&address, "/api/live?workload=other", &[], None).await.code, 404);
    let (_, mut events) = Events::open(&address, "/api/live?workload=work", &[]).await;
    let (_, first) = events_until(&mut events, |event| event["detail"]["decisions"][0].is_object()).await;
    let decision = &first["detail"]["decisions"][0];
    assert_eq!((decision["count"].as_u64(), decision["seen"]["max"].as_u64()), (Some(1), Some(8)), "{decision}");
    for script in ["ok", "reject no", "trap", "sleep 20000"] {
        host.publish("in.work.a", script).await;
    }
    let is_told = |event: &Value| {
        let detail = &event["detail"];
        detail["workers"][0]["handling_ms"].as_u64() > Some(1000) && detail["causes"]["trapped"] == 1
    };
    let (_, told) = events_until(&mut events, is_told).await;
    let detail = &told["detail"];
    assert_eq!(detail["causes"]["rejected"], 1, "{detail}");
    assert_eq!((&detail["faults"]["trap"], &detail["deliveries"]["acked"]), (&3.into(), &1.into()), "{detail}");
    // A decision is told once.
    assert_eq!(detail["decisions"].as_array().unwrap().len(), 0, "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hour_is_there_for_who_comes_later() {
    let (host, address) = local(None).await;
    for _ in 0..20 {
        host.publish("in.work.a", "sleep 5").await;
    }
    host.settled("work").await;
    eventually("the messages are in the history", async || {
        let history = send(&address, "/api/history?workload=work", &[], None).await.json();
        let samples = history["samples"].as_array().unwrap().clone();
        let has = |name: &str, at_least: f64| samples.iter().any(|sample| sample[name].as_f64() >= Some(at_least));
        has("completions", 1.0) && has("running", 1.0) && has("p99_us", 5000.0) && has("arrivals", 0.1)
    })
    .await;
    assert_eq!(send(&address, "/api/history?workload=other", &[], None).await.code, 404);
    let trends = send(&address, "/api/trends", &[], None).await.json();
    assert_eq!(trends["work"].as_array().unwrap().len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_sixteen_streams_are_open_and_one_that_is_closed_makes_room() {
    let (_host, address) = local(None).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let (code, events) = Events::open(&address, "/api/live", &[]).await;
        assert_eq!(code, 200);
        open.push(events);
    }
    assert_eq!(send(&address, "/api/live", &[], None).await.code, 503);
    assert_eq!(send(&address, "/healthz", &[], None).await.code, 200);
    open.pop();
    eventually("there is room", async || Events::open(&address, "/api/live", &[]).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_take_no_places_of_those_who_watch() {
    let (_host, address) = local(None).await;
    for site in ["cross-site", "same-site"] {
        let line = format!("Sec-Fetch-Site: {site}");
        // More than there are places; each would be held as long as it is open.
        let mut open = Vec::new();
        for _ in 0..17 {
            let (code, events) = Events::open(&address, "/api/live", &[&line]).await;
            assert_eq!(code, 403, "{site}");
            open.push(events);
        }
        let letters = send(&address, "/api/letters", &[&line], None).await;
        assert!(letters.code == 403 && letters.body.contains("another page asks"), "{letters:?}");
        // Anybody may be told how it is.
        assert_eq!(send(&address, "/healthz", &[&line], None).await.code, 200);
    }
    for site in ["same-origin", "none"] {
        let (code, _) = Events::open(&address, "/api/live", &[&format!("Sec-Fetch-Site: {site}")]).await;
        assert_eq!(code, 200, "{site}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_whole_before_its_connection_has_to() {
    let (_host, address) = local(None).await;
    let (_, mut events) = Events::open(&address, "/api/live", &[]).await;
    let ends = async {
        let mut last = String::new();
        while let Some(line) = events.line().await {
            if !line.is_empty() {
                last = line;
            }
        }
        last
    };
    // A connection has 30 s.
    assert_eq!(timeout(Duration::from_secs(90), ends).await.expect("it ends"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_of_a_fleet_are_told_by_host_and_remembered() {
    let site = Site::new().await;
    let member = async |id: &str| {
        let (bucket, host) = ("FLEET".to_owned(), Some(id.to_owned()));
        let fleet = FleetConfig { bucket, replicas: 1, host, max_workers: Some(10), fingerprints: BTreeMap::new() };
        let (http, workloads) = (Some("127.0.0.1:0".parse().unwrap()), vec![workers("work", 6)]);
        let host = Host::run(site.clone(), Config { fleet: Some(fleet), http, workloads, ..site.config() });
        host.ready(1).await;
        host
    };
    let (one, two) = (member("one").await, member("two").await);
    let (_, mut events) = Events::open(&one.address().await, "/api/live?workload=work", &[]).await;
    let shares = json!({"one": 3, "two": 3});
    let (_, told) = events_until(&mut events, |event| event["detail"]["fleet"]["shares"] == shares).await;
    let fleet = &told["detail"]["fleet"];
    assert_eq!((fleet["host"].as_str(), fleet["desired"].as_u64()), (Some("one"), Some(6)), "{fleet}");
    assert_eq!(fleet["by_host"], json!({"hosts": shares, "others": 0}), "{fleet}");
    let address = one.address().await;
    let history = async || {
        let history = send(&address, "/api/history?workload=work", &[], None).await.json();
        history["by_host"].as_array().unwrap().iter().map(|sample| sample["hosts"].clone()).collect::<Vec<_>>()
    };
    // One is kept, and one is the last look.
    let of = |samples: &[Value], hosts: &Value| samples.iter().filter(|sample| *sample == hosts).count();
    eventually("it is kept", async || of(&history().await, &shares) >= 2).await;
    two.stop().await;
    let alone = json!({"one": 6});
    eventually("the other has left", async || history().await.last() == Some(&alone)).await;
    assert!(of(&history().await, &shares) >= 1);
}
