//! Rules 7 and 8: guests that misbehave.

use std::mem::ManuallyDrop;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use tidegate_runtime::config::{Limits, Manage, Queue, Retry, Scale, SignalSource, Workload};

use crate::support::host::{Host, policy, workers, workload};
use crate::support::site::Site;
use crate::support::{eventually, log};

/// A workload whose policy decides often.
fn quick(name: &str) -> Workload {
    let workload = workload(name);
    let scale = Scale { interval: Duration::from_millis(20), ..workload.scale.clone() };
    Workload { scale, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_policy_that_fails_leaves_the_count_where_it_is() {
    for mode in ["trap", "spin", "grow", "huge-state"] {
        let failing = policy(quick("work"), "probe-policy", &[("mode", mode), ("after", "2"), ("desired", "3")]);
        let limits = Limits { fuel: 10_000_000, ..failing.limits.clone() };
        let host = Host::start(vec![Workload { limits, ..failing }]).await;
        eventually("a decision", async || !host.scalings("work").is_empty()).await;
        host.wire().await.samples("work", 10).await;
        assert_eq!(host.scalings("work"), [(0, 3, "v1 fixed".to_owned())], "{mode}");
        eventually(&format!("three workers, and they stay, with {mode}"), async || host.workers("work") == (3, 0))
            .await;
        assert_eq!(host.request("in.work.a", "reply well").await, "well");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_the_count_stays_within_its_limits_whatever_a_policy_answers() {
    let absurd = policy(quick("much"), "probe-policy", &[("mode", "max"), ("after", "2"), ("desired", "0")]);
    let little = workers("little", 0);
    let scale = Scale { min: 2, ..quick("little").scale };
    let host = Host::start(vec![absurd, Workload { scale, ..little }]).await;
    eventually("a decision", async || !host.scalings("much").is_empty()).await;
    let mut wire = host.wire().await;
    wire.samples("much", 10).await;
    wire.samples("little", 2).await;
    assert_eq!(host.scalings("much"), [(0, 8, "v1 max".to_owned())]);
    assert_eq!(host.scalings("little"), []);
    eventually("two workers", async || host.workers("little") == (2, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_signals_that_cannot_be_read_change_nothing() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.delivered_in_vain("work", 0).await;
    // Every decision changes the count.
    let flapping = policy(quick("work"), "probe-policy", &[("mode", "flap"), ("desired", "3")]);
    let queue = Queue { manage: Manage::Bind, ..flapping.queue.clone() };
    let host = Host::start_at(site, vec![Workload { queue, ..flapping }]).await;
    eventually("the count changes", async || host.scalings("work").len() > 3).await;
    host.delete_consumer("work").await;
    let mut wire = host.wire().await;
    // One decision may have been on its way.
    wire.samples("work", 2).await;
    let before = host.scalings("work");
    wire.samples("work", 10).await;
    assert_eq!(host.scalings("work"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_headers_that_cannot_be_read_change_nothing() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.delivered_in_vain("work", 0).await;
    let durable_name = Some("work-workers-watch".to_owned());
    let watch = pull::Config { durable_name, ack_policy: AckPolicy::All, headers_only: true, ..Default::default() };
    let stream = site.js.get_stream("work").await.unwrap();
    stream.create_consumer(watch).await.unwrap();
    let flapping = policy(quick("work"), "probe-policy", &[("mode", "flap"), ("desired", "3")]);
    let queue = Queue { manage: Manage::Bind, ..flapping.queue.clone() };
    let scale = Scale { source: SignalSource::Headers, ..flapping.scale.clone() };
    let host = Host::start_at(site, vec![Workload { queue, scale, ..flapping }]).await;
    eventually("the count changes", async || host.scalings("work").len() > 3).await;
    // It is told only to a pull that waits there.
    eventually("a pull waits", async || {
        stream.consumer_info("work-workers-watch").await.is_ok_and(|info| info.num_waiting > 0)
    })
    .await;
    // A server of 2.10 may say that its directory is not empty yet; the consumer is gone all the same.
    let _ = stream.delete_consumer("work-workers-watch").await;
    log::logged(&["\"ERROR\"", "cannot fetch", "consumer work-workers-watch", "deleted"]).await;
    let mut wire = host.wire().await;
    // One decision may have been on its way.
    wire.samples("work", 2).await;
    let before = host.scalings("work");
    wire.samples("work", 10).await;
    assert_eq!(host.scalings("work"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_7_a_server_that_is_away_does_not_scale_to_zero() {
    let host = Host::start(vec![policy(quick("work"), "fixed", &[("workers", "2")])]).await;
    eventually("two workers", async || host.workers("work") == (2, 0)).await;
    host.server.lock().await.kill();
    host.server.lock().await.restart().await.unwrap();
    assert_eq!(host.request("in.work.a", "reply back").await, "back");
    host.wire().await.samples("work", 3).await;
    assert_eq!((host.scalings("work").len(), host.workers("work")), (1, (2, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_8_guests_that_spin_or_grow_do_not_stop_their_neighbours() {
    // More of them than threads, and they never come to an end: each is tried again at once.
    let greedy = |name: &str| {
        let workload = workers(name, 2);
        let limits = Limits { time: Duration::from_millis(300), memory: 32 << 20, ..workload.limits.clone() };
        let retry = Retry { max_attempts: u32::MAX, backoff: vec![Duration::ZERO] };
        Workload { limits, retry, ..workload }
    };
    // The host has threads of its own: where its guests hold them for ever, this test can still say so.
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let threads = ManuallyDrop::new(threads);
    let (site, workloads) = (Site::new().await, vec![greedy("spin"), greedy("grow"), workload("good")]);
    let host = {
        let _on_them = threads.enter();
        Host::launch(site, Duration::from_secs(20), workloads)
    };
    host.ready(3).await;
    for _ in 0..2 {
        host.publish("in.spin.a", "spin").await;
        host.publish("in.grow.a", "grow").await;
    }
    host.unsettled("spin", 2).await;
    host.unsettled("grow", 2).await;
    // One worker can have had both.
    eventually("two workers each", async || (host.workers("spin"), host.workers("grow")) == ((2, 0), (2, 0))).await;
    host.publish_all("in.good.a", (0..500).map(|_| "ok".to_owned())).await;
    host.settled("good").await;
    assert_eq!(host.consumer("good").await.delivered.consumer_sequence, 500);
    assert_eq!((host.consumer("spin").await.num_ack_pending, host.consumer("grow").await.num_ack_pending), (2, 2));
    assert_eq!((host.workers("spin"), host.workers("grow")), ((2, 0), (2, 0)));
    host.stop().await;
    ManuallyDrop::into_inner(threads).shutdown_background();
}
