//! Problems are told as long as they last and no longer, by each host that has them.

use std::time::Duration;

use rustix::process::Signal;
use tidegate_runtime::config::{BreakerConfig, Config, ServiceConfig, StartLimits, Workload};

use crate::fleet::{BUCKET, member};
use crate::pause;
use crate::support::cli::{Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workers};
use crate::support::site::Site;
use crate::support::web::{get, status};

/// What keeps a host from being ready.
async fn problems(address: &str) -> String {
    get(address, "/readyz").await.1
}

async fn is_ready(address: &str) {
    eventually("it is ready", async || get(address, "/readyz").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_before_a_host_was_drained_is_told_no_more_when_it_goes_on() {
    let site = Site::new().await;
    for name in ["tripped", "lost"] {
        site.stream(name, &[&format!("in.{name}.>")]).await;
    }
    site.publish_all("in.tripped.a", (0..10).map(|_| "retry 10".to_owned())).await;
    site.publish("in.lost.a", "publish out.a x").await;
    let minute = Duration::from_secs(60);
    let breaker = BreakerConfig { ratio: 0.5, window: minute, min_calls: 4, probe_interval: minute };
    let start_limits = StartLimits { breaker: Some(breaker), ..StartLimits::default() };
    let workloads = vec![Workload { start_limits, ..workers("tripped", 1) }, workers("lost", 1)];
    let (host, prefix, replies) = (Some("one".to_owned()), "tidegate.host".to_owned(), vec!["_INBOX.>".to_owned()]);
    let service = Some(ServiceConfig { host, prefix, admin: true, replies });
    let http = Some("127.0.0.1:0".parse().unwrap());
    let host = Host::run(site.clone(), Config { http, service, workloads, ..site.config() });
    let (address, url) = (host.address().await, site.nats.servers[0].clone());
    eventually("both are told", async || {
        let told = problems(&address).await;
        ["workload tripped: breaker: ", "workload lost: effects: "].iter().all(|part| told.contains(part))
    })
    .await;
    eventually("it is drained", async || run(["drain", "one", "-s", &url]).await.code == Some(0)).await;
    assert_eq!(problems(&address).await.trim(), "the host is drained; `tidegate undrain one` lets it go on");
    // What they were of is gone meanwhile.
    for name in ["tripped", "lost"] {
        site.js.get_stream(name).await.unwrap().purge().await.unwrap();
    }
    assert_eq!(run(["undrain", "one", "-s", &url]).await.code, Some(0));
    is_ready(&address).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_a_fleet_that_follows_says_too_that_the_consumer_is_paused() {
    let Some((site, file)) = pause::site("shut").await else { return };
    let one = member(&site, "one", None, workers("shut", 2)).await;
    let first = one.address().await;
    eventually("it leads", async || status(&first).await["fleet"]["leader"] == "one").await;
    assert_eq!(pause::command(&file, &["pause", "shut"]).await.code, Some(0));
    let two = member(&site, "two", None, workers("shut", 2)).await;
    let second = two.address().await;
    for address in [&first, &second] {
        eventually("it is told", async || {
            let told = problems(address).await;
            told.contains("workload shut: consumer: ") && told.contains("is paused: nothing is delivered")
        })
        .await;
    }
    assert_eq!(status(&second).await["fleet"]["leader"], "one");
    assert_eq!(pause::command(&file, &["resume", "shut"]).await.code, Some(0));
    is_ready(&first).await;
    // It looks seldom as long as it follows, and at once when it leads.
    one.stop().await;
    is_ready(&second).await;
    two.stop().await;
}

/// A fleet's host of its own process with a policy that never answers, and where it answers itself.
async fn without_decision(site: &Site, id: &str) -> (Running, String) {
    let dir = site.plugins.path();
    let config = format!(
        r#"
        http = "127.0.0.1:0"
        nats.url = {url:?}
        plugins.dir = {dir:?}
        plugins.cache = {cache:?}
        fleet.bucket = "{BUCKET}"
        host.id = "{id}"
        [workload.work]
        stream = "work"
        subjects = ["in.work.>"]
        manage = "create"
        handler = "probe"
        policy = "probe-policy"
        policy-settings = {{ mode = "trap" }}
        scale = {{ interval = "200ms", window = "1s" }}
        "#,
        url = site.nats.servers[0],
        cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/plugin-cache"),
    );
    let file = dir.join(format!("{id}.toml"));
    std::fs::write(&file, config).unwrap();
    let mut host = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
    let line = host.line_with("over HTTP: /").await;
    let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    host.line_with(" ready workload=").await;
    (host, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_policy_is_told_by_the_host_that_leads_and_no_more_by_one_that_has_led() {
    const NO_DECISION: &str = "workload work: policy: no decision";
    let site = Site::new().await;
    let (mut one, first) = without_decision(&site, "one").await;
    eventually("the leader tells it", async || problems(&first).await.contains(NO_DECISION)).await;
    let (_two, second) = without_decision(&site, "two").await;
    is_ready(&second).await;
    one.signal(Signal::STOP);
    eventually("the next leader tells it", async || problems(&second).await.contains(NO_DECISION)).await;
    one.signal(Signal::CONT);
    one.line_with("here=false").await;
    is_ready(&first).await;
    assert!(problems(&second).await.contains(NO_DECISION));
}
