//! Plugins that are replaced under load, with a ledger.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_runtime::config::{Scale, Workload};
use tidegate_runtime::events::Event;
use tidegate_test_artifacts::probes;

use crate::support::eventually;
use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::{header, json};

const SWAPS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_swapped_under_load_and_every_message_is_handled_once_by_one_version() {
    let host = Host::start(vec![workers("work", 3)]).await;
    host.stream("OUT", &["out.>"]).await;
    let (swapped, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let load = async {
        while !swapped.load(Relaxed) || published.load(Relaxed) < 2000 {
            let first = published.load(Relaxed);
            host.publish_all("in.work.a", (first..first + 20).map(|id| format!("ledger out {id}"))).await;
            published.store(first + 20, Relaxed);
            // The workers keep up, so that all swaps are under load and none under a backlog that hides them.
            eventually("the load is handled", async || host.consumer("work").await.num_pending < 20).await;
        }
    };
    let swaps = async {
        for swap in 0..SWAPS {
            let (version, bytes) = match swap % 2 {
                0 => ("\"v2\"", probes::WORKER_V2),
                _ => ("\"v1\"", probes::WORKER_V1),
            };
            host.install("probe", bytes);
            eventually(version, async || {
                let stream = host.js.get_stream("OUT").await.unwrap();
                let last = stream.get_last_raw_message_by_subject("out.>").await;
                last.is_ok_and(|last| std::str::from_utf8(&last.payload).unwrap().contains(version))
            })
            .await;
        }
        swapped.store(true, Relaxed);
    };
    tokio::join!(load, swaps);
    host.settled("work").await;
    let count = published.load(Relaxed) as usize;
    let entries = host.stored_count("OUT", count).await;
    let mut versions: BTreeMap<u64, String> = BTreeMap::new();
    for entry in &entries {
        let entry = json(entry);
        let sequence = entry["stream_sequence"].as_u64().unwrap();
        assert_eq!(entry["attempt"], 1, "{entry}");
        assert!(versions.insert(sequence, entry["version"].to_string()).is_none(), "{entry}");
    }
    let ids: HashSet<&str> = entries.iter().filter_map(|entry| header(entry, "Nats-Msg-Id")).collect();
    assert_eq!((ids.len(), versions.len()), (count, count));
    let both: HashSet<&String> = versions.values().collect();
    assert_eq!(both.len(), 2);
    let info = host.consumer("work").await;
    assert_eq!((info.delivered.consumer_sequence as usize, info.num_redelivered), (count, 0));
    eventually("three workers, the same all the time", async || host.workers("work") == (3, 0)).await;
    assert_eq!(host.count(|event| matches!(event, Event::Failed { .. })), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_swapped_under_load_and_goes_on_with_the_state_of_the_one_before() {
    let counting = policy(workload("work"), "probe-policy", &[("mode", "count")]);
    let scale = Scale { min: 1, max: 10_000, interval: Duration::from_millis(40), ..counting.scale.clone() };
    let host = Host::start(vec![Workload { scale, ..counting }]).await;
    let swapped = AtomicBool::new(false);
    let load = async {
        while !swapped.load(Relaxed) {
            host.publish_all("in.work.a", (0..20).map(|_| "ok".to_owned())).await;
            host.settled("work").await;
        }
    };
    let decided = async |version: &str| {
        eventually(version, async || host.scalings("work").last().is_some_and(|last| last.2.starts_with(version)))
            .await;
    };
    let swaps = async {
        decided("v1").await;
        for swap in 0..SWAPS {
            let (version, bytes) = match swap % 2 {
                0 => ("v2", probes::POLICY_V2),
                _ => ("v1", probes::POLICY_V1),
            };
            host.install("probe-policy", bytes);
            decided(version).await;
        }
        swapped.store(true, Relaxed);
    };
    tokio::join!(load, swaps);
    host.settled("work").await;
    let scalings = host.scalings("work");
    for (nth, (from, to, reason)) in scalings.iter().enumerate() {
        assert_eq!((*from as usize, *to as usize), (nth + 1, nth + 2));
        assert!(reason.ends_with(&format!(" call {}", nth + 2)), "{reason}");
    }
    let changes = scalings.windows(2).filter(|pair| pair[0].2[..2] != pair[1].2[..2]).count();
    assert_eq!(changes, SWAPS);
    let info = host.consumer("work").await;
    assert_eq!(info.delivered.consumer_sequence, info.ack_floor.consumer_sequence);
    assert_eq!(host.count(|event| matches!(event, Event::Failed { .. })), 0);
}
