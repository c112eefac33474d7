//! What can be seen of a host over HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tidegate_runtime::config::{
    Batching, BreakerConfig, Config, FleetConfig, Limits, RolloutConfig, ServiceConfig, StartLimits, Workload,
};
use tidegate_test_artifacts::probes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::cli::{Running, run, tidegate};
use crate::support::host::{Host, install, workload};
use crate::support::site::Site;
use crate::support::web::{ask, get};
use crate::support::{PATIENCE, eventually, until};

/// A host that answers over HTTP, and where.
async fn host(site: std::sync::Arc<Site>) -> (Host, String) {
    Host::over_http(site, workload("work")).await
}

/// The value of a metric with these labels, in the order that they are written.
fn value(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_became_of_each_delivery() {
    let (host, address) = host(Site::new().await).await;
    host.ready(1).await;
    for script in ["ok", "ok", "reject no", "trap", "before 2 retry"] {
        host.publish("in.work.a", script).await;
    }
    host.settled("work").await;
    let outcomes = [
        ("tidegate_deliveries_total{workload=\"work\",outcome=\"acked\"}", 3.0),
        ("tidegate_deliveries_total{workload=\"work\",outcome=\"retried\"}", 3.0),
        ("tidegate_deliveries_total{workload=\"work\",outcome=\"dead\"}", 2.0),
        ("tidegate_dead_letters_total{workload=\"work\",cause=\"rejected\"}", 1.0),
        ("tidegate_dead_letters_total{workload=\"work\",cause=\"trapped\"}", 1.0),
        ("tidegate_handler_faults_total{workload=\"work\",kind=\"trap\"}", 3.0),
        ("tidegate_redeliveries_total{workload=\"work\"}", 3.0),
        ("tidegate_handler_seconds_count{workload=\"work\"}", 8.0),
        ("tidegate_handler_seconds_bucket{le=\"+Inf\",workload=\"work\"}", 8.0),
        ("tidegate_plugin_loads_total{plugin=\"probe\"}", 1.0),
        ("tidegate_workers_running{workload=\"work\"}", 1.0),
        ("tidegate_nats_connected", 1.0),
    ];
    for (name, expected) in outcomes {
        eventually(&format!("{name} {expected}"), async || {
            value(&get(&address, "/metrics").await.1, name) == Some(expected)
        })
        .await;
    }
    let (_, metrics) = get(&address, "/metrics").await;
    assert!(metrics.ends_with("# EOF\n"));
    assert!(value(&metrics, "process_resident_memory_bytes").unwrap() > 1e6);
    assert!(value(&metrics, "tidegate_pulls_total{workload=\"work\"}").unwrap() >= 1.0);
    assert!(value(&metrics, "tidegate_decisions_total{workload=\"work\"}").unwrap() >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_and_a_host_that_stops_are_not_ready_and_still_healthy() {
    let site = Site::new().await;
    let (mut host, address) = host(site.clone()).await;
    host.ready(1).await;
    eventually("it is ready", async || get(&address, "/readyz").await == (200, "ok\n".to_owned())).await;
    site.server.lock().await.kill();
    eventually("it is not ready", async || get(&address, "/readyz").await.0 == 503).await;
    assert!(get(&address, "/readyz").await.1.starts_with("the NATS server is away"));
    assert_eq!(get(&address, "/healthz").await, (200, "ok\n".to_owned()));
    site.server.lock().await.restart().await.unwrap();
    eventually("it is ready again", async || get(&address, "/readyz").await.0 == 200).await;
    let reconnects = value(&get(&address, "/metrics").await.1, "tidegate_nats_reconnects_total");
    assert_eq!(reconnects, Some(1.0));
    host.publish("in.work.a", "sleep 3000").await;
    eventually("a worker handles it", async || get(&address, "/status").await.1.contains("\"handling\": true")).await;
    host.tell_to_stop();
    eventually("it stops", async || get(&address, "/readyz").await.1.contains("the host stops")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_not_there_or_refused_is_named() {
    let site = Site::new().await;
    std::fs::remove_file(site.plugins.path().join("probe.wasm")).unwrap();
    let (host, address) = host(site).await;
    eventually("it names the plugin", async || {
        let (code, told) = get(&address, "/readyz").await;
        code == 503 && told.contains("plugin probe is not loaded") && told.contains("workload work does not run yet")
    })
    .await;
    install(host.plugins.path(), "probe", probes::WORKER_V1);
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    install(host.plugins.path(), "probe", b"not a component at all");
    let refused = async || {
        let status: Value = serde_json::from_str(&get(&address, "/status").await.1).unwrap();
        let plugins = status["plugins"].as_array().unwrap().clone();
        plugins.into_iter().find(|plugin| plugin["plugin"] == "probe" && plugin["refused"] == 1)
    };
    let plugin = until("the refusal is told", refused).await;
    assert!(plugin["problem"].as_str().unwrap().contains("it is text"), "{plugin}");
    assert!(plugin["generation"].is_string());
    // What is in use is good.
    assert_eq!(get(&address, "/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_only_some_workloads_can_use_is_told_with_their_names() {
    let site = Site::new().await;
    site.install("probe", probes::BATCH);
    let many = workload("many");
    let many = Workload { batching: Batching { wanted: true, ..many.batching }, ..many };
    let config = Config {
        http: Some("127.0.0.1:0".parse().unwrap()),
        workloads: vec![workload("single"), many],
        ..site.config()
    };
    let host = Host::run(site, config);
    let address = host.address().await;
    eventually("it is ready", async || get(&address, "/readyz").await.0 == 200).await;
    let probe = async || {
        let status: Value = serde_json::from_str(&get(&address, "/status").await.1).unwrap();
        let plugins = status["plugins"].as_array().unwrap().clone();
        plugins.into_iter().find(|plugin| plugin["plugin"] == "probe").unwrap()
    };
    assert!(probe().await["by_workload"].is_null(), "{}", probe().await);
    install(host.plugins.path(), "probe", probes::WORKER_V1);
    let told = until("each has what it can use", async || {
        let told = probe().await;
        let of = told["by_workload"].as_array()?.clone();
        let is_refused = told["problem"].as_str()?.starts_with("workload many: it handles one delivery a call");
        (is_refused && of.len() == 2 && of[0]["generation"] != of[1]["generation"]).then_some(told)
    })
    .await;
    let of = |name: &str| {
        let uses = told["by_workload"].as_array().unwrap();
        uses.iter().find(|of| of["workloads"] == serde_json::json!([name])).unwrap_or_else(|| panic!("{told}")).clone()
    };
    assert!(of("single")["problem"].is_null() && of("many")["problem"].is_string(), "{told}");
    // What is in use is good.
    assert_eq!(get(&address, "/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_workers_generations_and_why_they_are_as_many() {
    let (host, address) = host(Site::new().await).await;
    host.ready(1).await;
    host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    let status = async || {
        let status: Value = serde_json::from_str(&get(&address, "/status").await.1).unwrap();
        let acked = status["workloads"][0]["deliveries"]["acked"] == 1;
        let decided = status["workloads"][0]["scaling"]["decisions"].as_u64() > Some(0);
        (acked && decided && status["workloads"][0]["workers"]["running"] == 1).then_some(status)
    };
    let status = until("the message is told", status).await;
    let workload = &status["workloads"][0];
    assert_eq!(workload["name"], "work");
    assert_eq!(workload["workers"]["alive"][0]["acked"], 1);
    assert_eq!(workload["scaling"]["policy"], "fixed");
    assert!(workload["scaling"]["generation"].is_string());
    let decision = &workload["scaling"]["last_decisions"][0];
    assert_eq!((decision["desired"].as_u64(), decision["count"].as_u64()), (Some(1), Some(1)));
    assert!(!decision["reason"].as_str().unwrap().is_empty());
    assert_eq!(status["ready"], true);
    assert!(get(&address, "/nothing").await.0 == 404);
}

#[tokio::test]
async fn an_address_that_is_taken_or_none_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = crate::support::nats::nats().await;
    let flags =
        ["run", "--server", server.url(), "--stream", "S", "--subjects", "s", "--handler", "h", "--policy", "p"];
    let with = |http: &str| {
        flags.map(str::to_owned).into_iter().chain(["--http".to_owned(), http.to_owned()]).collect::<Vec<_>>()
    };
    run(with(&address))
        .await
        .failed_with(1, &[&format!("cannot listen on {address} for HTTP"), "Name another address"]);
    run(with("everywhere"))
        .await
        .failed_with(1, &["--http: \"everywhere\" is not an address to listen on", "write a port"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_none_of_the_hosts_is_refused_and_a_half_request_keeps_nobody_out() {
    let site = Site::new().await;
    let http_names = vec!["tidegate.internal".to_owned()];
    let http = Some("127.0.0.1:0".parse().unwrap());
    let config = Config { http, http_names, workloads: vec![workload("work")], ..site.config() };
    let host = Host::run(site, config);
    let address = host.address().await;
    let port = address.rsplit_once(':').unwrap().1.to_owned();
    for (name, code) in [("evil.example", 421), ("tidegate.internal", 200), ("localhost", 200), ("127.0.0.1", 200)] {
        let (answered, text) = ask(&address, &format!("{name}:{port}"), "/status").await;
        assert_eq!(answered, code, "{name}: {text}");
        assert_eq!(text.contains("\"workloads\""), code == 200, "{text}");
    }
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // One that is closed already does not take it.
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.ok();
        open.push(stream);
    }
    assert_eq!(get(&address, "/healthz").await, (200, "ok\n".to_owned()));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_several_requests_and_is_closed_when_none_comes() {
    let (host, address) = host(Site::new().await).await;
    let mut connection = BufReader::new(TcpStream::connect(&address).await.unwrap());
    for _ in 0..3 {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != "ok\n") {
            let mut line = String::new();
            assert!(connection.read_line(&mut line).await.unwrap() > 0, "closed after {lines:?}");
            lines.push(line);
        }
        assert_eq!(lines[0], "HTTP/1.1 200 OK\r\n");
    }
    let closed = tokio::time::timeout(PATIENCE, connection.read_u8()).await.expect("an idle connection is closed");
    assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    host.stop().await;
}

/// The sum of a metric over all generations of a plugin.
fn of_plugin(metrics: &str, name: &str, plugin: &str) -> f64 {
    let begin = format!("{name}{{workload=\"work\",plugin=\"{plugin}\",generation=\"");
    let values = metrics.lines().filter_map(|line| line.strip_prefix(&begin)?.split(' ').nth(1)?.parse::<f64>().ok());
    values.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guests_use_is_told_by_generation() {
    let workload = workload("work");
    let limits = Limits { time: Duration::from_secs(1), ..workload.limits.clone() };
    let (host, address) = Host::over_http(Site::new().await, Workload { limits, ..workload }).await;
    host.ready(1).await;
    let metrics = async || get(&address, "/metrics").await.1;
    host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    let before = metrics().await;
    let memory = of_plugin(&before, "tidegate_guest_memory_bytes", "probe");
    // A page is the least, and a limit bounds it.
    assert!((65536.0..64e6).contains(&memory), "{before}");
    // A call that is interrupted by ticks is measured as it is. It ends by its limit of time.
    host.publish("in.work.a", "spin").await;
    eventually("it has spun", async || {
        value(&metrics().await, "tidegate_handler_faults_total{workload=\"work\",kind=\"time\"}") > Some(0.0)
    })
    .await;
    let cpu = |metrics: &str| of_plugin(metrics, "tidegate_guest_cpu_seconds_total", "probe");
    let spent = cpu(&metrics().await) - cpu(&before);
    assert!(spent > 0.02, "a call that spun used {spent} s");
    assert!(metrics().await.contains("tidegate_guest_cpu_seconds_total{workload=\"work\",plugin=\"fixed\","));
    // Another generation has numbers of its own, and those of the one before stay.
    host.install("probe", tidegate_artifacts::workers::ECHO);
    let generations = |metrics: &str| {
        metrics
            .lines()
            .filter(|line| line.starts_with("tidegate_guest_cpu_seconds_total{workload=\"work\",plugin=\"probe\""))
            .count()
    };
    eventually("the other one runs", async || generations(&metrics().await) == 2).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
    let breaker = BreakerConfig {
        ratio: 0.5,
        window: Duration::from_secs(60),
        min_calls: 4,
        probe_interval: Duration::from_secs(1),
    };
    let start_limits = StartLimits { breaker: Some(breaker), ..StartLimits::default() };
    // It has all that a workload can have, so it tells all metrics: it is one of a fleet, whose workers a person has
    // set, and a new generation is tried.
    let site = Site::new().await;
    let rollout = Some(RolloutConfig::with_share(0.1));
    let work = Workload { start_limits, rollout, ..workload("work") };
    let (bucket, id) = ("FLEET".to_owned(), Some("one".to_owned()));
    let fleet = FleetConfig { bucket, replicas: 1, host: id.clone(), max_workers: None, fingerprints: BTreeMap::new() };
    let service = ServiceConfig {
        host: id,
        prefix: "tidegate.host".to_owned(),
        admin: true,
        replies: vec!["_INBOX.>".to_owned()],
    };
    let http = Some("127.0.0.1:0".parse().unwrap());
    let (fleet, service, workloads) = (Some(fleet), Some(service), vec![work]);
    let host = Host::run(site.clone(), Config { fleet, service, http, workloads, ..site.config() });
    let address = host.address().await;
    host.ready(1).await;
    let told = async |name: &str| {
        eventually(&format!("{name} is told"), async || get(&address, "/metrics").await.1.contains(name)).await;
    };
    told("tidegate_pending{").await;
    told("tidegate_rollout_hosts_without{").await;
    host.install("probe", probes::WORKER_V2);
    told("tidegate_rollout_failure_ratio{").await;
    let url = &site.nats.servers[0];
    let set = async || run(["scale", "work", "set", "1", "-s", url]).await.code == Some(0);
    eventually("its workers are set", set).await;
    told("tidegate_workers_set{").await;
    let (_, metrics) = get(&address, "/metrics").await;
    let mut names = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let words = target["expr"].as_str().unwrap().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in words.filter(|word| word.starts_with("tidegate_") || word.starts_with("process_")) {
                let there = metrics
                    .lines()
                    .any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
                assert!(there, "{name} is not told");
                names += 1;
            }
        }
    }
    assert!(names > 20, "{names}");
    let board = include_str!("../../docs/grafana.json");
    for told in ["limited", "paused", "in_flight", "breaker_open", "breaker_opened_total", "guest_cpu_seconds_total"] {
        assert!(board.contains(&format!("tidegate_{told}{{")), "no panel has tidegate_{told}");
    }
    // Of what a rollout and a fleet tell, all of it.
    let name = |line: &str| line.split_once('{').map(|(name, _)| name.to_owned());
    let is_meant = |name: &String| ["tidegate_rollout", "tidegate_fleet"].iter().any(|of| name.starts_with(of));
    for name in metrics.lines().filter_map(name).filter(is_meant) {
        assert!(board.contains(&format!("{name}{{")), "no panel has {name}");
    }
    // What is lost is to be seen.
    for lost in metrics.lines().filter_map(|line| line.split_once("_dropped_total")).map(|(name, _)| name) {
        assert!(include_str!("../../docs/grafana.json").contains(&format!("{lost}_dropped_total")), "{lost}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_cannot_be_taken_for_want_of_descriptors_are_told_and_taken_when_there_are_some() {
    let site = Site::new().await;
    let file = site.plugins.path().join("few.toml");
    let (url, dir) = (&site.nats.servers[0], site.plugins.path());
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-cache");
    let text =
        format!("http = \"127.0.0.1:0\"\nnats.url = {url:?}\nplugins = {{ dir = {dir:?}, cache = {cache:?} }}\n");
    let workload = "[workload.few]\nstream = \"few\"\nhandler = \"probe\"\npolicy = \"fixed\"\n";
    std::fs::write(&file, text + workload).unwrap();
    let mut host = Running::start(tidegate(["run", "--config", file.to_str().unwrap()]));
    let line = host.line_with("over HTTP").await;
    let address = line.split("address=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(get(&address, "/healthz").await.0, 200);
    let maximum = getrlimit(Resource::Nofile).maximum;
    let pid = host.pid();
    let allow = |current| prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let before = allow(Some(1));
    let waits = TcpStream::connect(&address).await.unwrap();
    let line = host.line_with("connections of HTTP cannot be taken").await;
    assert!(line.contains("WARN") && line.contains("`ulimit -n`"), "{line}");
    allow(before.current);
    assert_eq!(get(&address, "/healthz").await.0, 200);
    drop(waits);
}
