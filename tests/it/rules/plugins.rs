//! Rules 4 and 5: plugins that are replaced.

use tidegate_artifacts::{policies, workers as handlers};
use tidegate_runtime::config::{Limits, Workload};
use tidegate_test_artifacts::probes;

use crate::support::host::{Host, policy, workload};
use crate::support::{eventually, log, until};

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_swap_touches_no_delivery_in_flight() {
    let host = Host::start(vec![workload("inflight"), workload("other")]).await;
    let mut wire = host.wire().await;
    let script = "print begun-inflight\nsleep 2500\nversion";
    host.publish_with("in.inflight.a", &[("Nats-Reply", "answers.1")], script).await;
    log::logged(&["begun-inflight", "\"inflight\""]).await;
    host.install("probe", probes::WORKER_V2);
    eventually("the other workload runs the new version", async || host.request("in.other.a", "version").await == "v2")
        .await;
    host.publish_with("in.inflight.a", &[("Nats-Reply", "answers.2")], "version").await;
    let first = wire.next(|message| message.subject.starts_with("answers.")).await;
    assert_eq!((first.subject.as_str(), first.payload.as_ref()), ("answers.1", b"v1".as_slice()));
    let second = wire.next(|message| message.subject.starts_with("answers.")).await;
    assert_eq!((second.subject.as_str(), second.payload.as_ref()), ("answers.2", b"v2".as_slice()));
    host.settled("inflight").await;
    assert_eq!(host.consumer("inflight").await.delivered.consumer_sequence, 2);
    assert_eq!(host.workers("inflight"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_a_handler_that_cannot_be_used_changes_nothing() {
    let host = Host::start(vec![workload("work")]).await;
    let file = host.plugins.path().join("probe.wasm").display().to_string();
    let core_module = b"\0asm\x01\0\0\0";
    let bad: [(&str, &[u8]); 6] = [
        ("text", b"(component)"),
        ("core module", core_module),
        ("half a file", &probes::WORKER_V2[..probes::WORKER_V2.len() / 2]),
        ("policy", policies::FIXED),
        ("unknown import", probes::UNKNOWN_IMPORT),
        ("other version", probes::OTHER_VERSION),
    ];
    for (nth, (what, bytes)) in bad.into_iter().enumerate() {
        host.install("probe", bytes);
        eventually(&format!("{what} is refused"), async || log::count(&["refused", &file, "stays in use"]) > nth).await;
        assert_eq!(host.request("in.work.a", "version").await, "v1", "{what}");
    }
    host.install("probe", probes::WORKER_V2);
    eventually("a good one is used", async || host.request("in.work.a", "version").await == "v2").await;
    std::fs::remove_file(host.plugins.path().join("probe.wasm")).unwrap();
    log::logged(&[&file, "the generation in use stays"]).await;
    assert_eq!(host.request("in.work.a", "version").await, "v2");
    assert_eq!(host.workers("work"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_5_a_policy_that_cannot_be_used_changes_nothing() {
    // It changes its mind at every call, so every call is seen.
    let flapping = policy(workload("flap"), "probe-policy", &[("mode", "flap"), ("desired", "2")]);
    let host = Host::start(vec![flapping]).await;
    let file = host.plugins.path().join("probe-policy.wasm").display().to_string();
    let decided = async |version: &str| {
        let before = host.scalings("flap").len();
        let of_version = |(_, _, reason): &(u32, u32, String)| reason.starts_with(version);
        eventually("a later decision", async || host.scalings("flap").iter().skip(before).any(of_version)).await;
    };
    decided("v1").await;
    host.install("probe-policy", handlers::REPLY);
    log::logged(&["refused", &file, "stays in use"]).await;
    decided("v1").await;
    // A policy, and one that refuses these settings.
    host.install("probe-policy", policies::FIXED);
    log::logged(&["policy not used", "\"flap\"", "it refuses its settings", "the version before goes on"]).await;
    decided("v1").await;
    host.install("probe-policy", probes::POLICY_V2);
    decided("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_waits_for_a_plugin_that_is_not_there_yet() {
    let host = Host::start(vec![]).await;
    let site = host.site.clone();
    std::fs::remove_file(site.plugins.path().join("probe.wasm")).unwrap();
    site.stream("late", &["in.late.>"]).await;
    site.publish("in.late.a", "ok").await;
    let late = Host::launch(site.clone(), site.config().grace, vec![workload("late")]);
    log::logged(&["waiting for", &site.plugins.path().join("probe.wasm").display().to_string()]).await;
    assert!(late.events().is_empty());
    site.install("probe", probes::WORKER_V1);
    until("the consumer", async || {
        let stream = site.js.get_stream_no_info("late").await.ok()?;
        stream.consumer_info("late-workers").await.ok()
    })
    .await;
    site.settled("late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_does_not_start_under_a_workloads_limits_is_tried_again_and_loses_nothing() {
    // The trial has the other workload's limits, so the directory takes it.
    let narrow = workload("narrow");
    let limits = Limits { memory: 64 << 10, ..narrow.limits.clone() };
    let host = Host::start(vec![workload("wide"), Workload { limits, ..narrow }]).await;
    host.publish("in.narrow.a", "ok").await;
    eventually("the worker was replaced", async || host.workers("narrow").1 >= 2).await;
    assert_eq!(host.request("in.wide.a", "reply well").await, "well");
    let (site, _) = host.stop().await;
    assert_eq!(site.deliverable("narrow", 1).await.len(), 1);
}
