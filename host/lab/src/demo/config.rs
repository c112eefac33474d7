//! The demo as a configuration: the example's stream and consumers, and one workload.

use std::path::Path;
use std::time::Duration;

use super::options::DemoOptions;
use tidegate_runtime::config::{
    Batching, Config, DeadLetters, Grants, Isolation, JournalConfig, Limits, Manage, Nats, Origin, Plugins, PullConfig,
    Queue, Retention, Retry, Scale, StartLimits, Workload,
};

pub(super) const STREAM: &str = "TEST";
pub(super) const SUBJECTS: &str = "test.*";
pub(super) const SUBJECT: &str = "test.foo";
pub(super) const CONSUMER: &str = "PROCESSOR";
const WATCH_CONSUMER: &str = "PROVISIONER";
const WORKLOAD: &str = "demo";
const MAX_WORKERS: u32 = 64;
const BATCH: usize = 100;

/// What [`tidegate_runtime::run()`] is given.
pub(super) fn config(options: &DemoOptions, url: &str, plugins: &Path) -> Config {
    Config {
        nats: Nats { servers: vec![url.to_owned()], ..Nats::default() },
        plugins: Plugins {
            dir: plugins.to_owned(),
            rescan: Duration::from_secs(5),
            cache: None,
            compile: options.compile.clone(),
            origin: Origin::default(),
        },
        dead_letters: DeadLetters::default(),
        journal: JournalConfig::default(),
        http: None,
        http_names: Vec::new(),
        http_admin: None,
        telemetry: None,
        fleet: None,
        service: None,
        reload_watch: false,
        grace: Duration::from_secs(30),
        workloads: vec![workload(options)],
    }
}

fn workload(options: &DemoOptions) -> Workload {
    Workload {
        nats: None,
        name: WORKLOAD.to_owned(),
        queue: queue(),
        handler: options.handler.clone(),
        handler_pin: None,
        policy: options.policy.clone(),
        policy_pin: None,
        isolation: Isolation::Worker,
        batching: Batching::default(),
        concurrency: 1,
        settings: Vec::new(),
        policy_settings: Vec::new(),
        shadow: None,
        scale: Scale {
            min: 0,
            max: MAX_WORKERS,
            interval: Duration::from_secs(1),
            window: Duration::from_secs(5),
            source: options.source,
        },
        pull: PullConfig { batch: BATCH, ahead: 0, max_bytes: 64 << 20, expires: Duration::from_secs(5) },
        grants: Grants::default(),
        limits: Limits::default(),
        retry: Retry { max_attempts: 5, backoff: vec![Duration::from_secs(1)] },
        order: None,
        per_key: None,
        max_hops: 16,
        start_limits: StartLimits::default(),
        rollout: None,
        paused: None,
    }
}

fn queue() -> Queue {
    let workers = i64::from(MAX_WORKERS);
    let batch = i64::try_from(BATCH).unwrap_or(i64::MAX);
    Queue {
        stream: STREAM.to_owned(),
        consumer: CONSUMER.to_owned(),
        manage: Manage::Create,
        subjects: vec![SUBJECTS.to_owned()],
        retention: Retention::Interest,
        filter: Vec::new(),
        max_bytes: None,
        ack_wait: Duration::from_secs(30),
        // Both must exceed what all workers together can ask for.
        max_ack_pending: workers.saturating_mul(batch).saturating_mul(2),
        max_waiting: workers.saturating_mul(4),
        watch_consumer: WATCH_CONSUMER.to_owned(),
        partition: None,
    }
}
