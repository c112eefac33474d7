//! Limits for what is behind a handler: a rate, a number in flight, a breaker; and what a policy is told of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_runtime::config::{
    BreakerConfig, Config, Limits, OrderKey, PerKey, Rate, ServiceConfig, StartLimits, Workload,
};

use crate::support::host::{Host, policy, workers};
use crate::support::site::{Site, json};
use crate::support::web::{get, status};
use crate::support::{eventually, log, until};

fn limited(workload: Workload, start_limits: StartLimits) -> Workload {
    Workload { start_limits, ..workload }
}

/// A place where these scripts wait for a workload of this name, and a stream for what they publish.
async fn with(name: &str, scripts: impl IntoIterator<Item = String>) -> Arc<Site> {
    let site = Site::new().await;
    site.stream(name, &[&format!("in.{name}.>")]).await;
    site.stream("OUT", &["out.>"]).await;
    site.publish_all(&format!("in.{name}.a"), scripts).await;
    site
}

async fn stored(site: &Site) -> usize {
    usize::try_from(site.js.get_stream("OUT").await.unwrap().cached_info().state.messages).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_begins_than_the_burst_and_what_the_rate_allows_in_the_time_and_the_rest_stays_in_the_stream() {
    let site = with("paced", (0..40).map(|id| format!("ledger out {id}"))).await;
    let every = Duration::from_millis(100);
    let limits = StartLimits { rate: Some(Rate { every, burst: 5 }), ..StartLimits::default() };
    let begin = Instant::now();
    let host = Host::start_at(site, vec![limited(workers("paced", 4), limits)]).await;
    until("thirty are handled", async || {
        let info = host.consumer("paced").await;
        let delivered = info.delivered.consumer_sequence;
        let handled = stored(&host).await as u64;
        // The time is read last: it is what the host had at least.
        let allowed = 5 + begin.elapsed().as_millis() / every.as_millis();
        assert!(u128::from(delivered.max(handled)) <= allowed, "{delivered} delivered where {allowed} may begin");
        (handled >= 30).then_some(())
    })
    .await;
    host.settled("paced").await;
    assert_eq!(stored(&host).await, 40);
    let (_, events) = host.stop().await;
    assert_eq!(crate::support::host::handled(&events), 40);
}

/// What a host that is called `again` answers as a service, if it does.
async fn answer(site: &Site, subject: &'static str) -> Option<Value> {
    let answer = site.client.request(subject, "".into()).await.ok()?;
    serde_json::from_slice(&answer.payload).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_starts_again_has_of_the_rate_only_what_it_had_left() {
    let site = with("again", (0..12).map(|id| format!("ledger out {id}"))).await;
    let every = Duration::from_secs(2);
    let limits = StartLimits { rate: Some(Rate { every, burst: 5 }), ..StartLimits::default() };
    let (host, replies) = (Some("again".to_owned()), vec!["_INBOX.>".to_owned()]);
    let service = Some(ServiceConfig { host, prefix: "tidegate.host".to_owned(), admin: true, replies });
    let begin = Instant::now();
    let workloads = vec![limited(workers("again", 2), limits)];
    let host = Host::run(site.clone(), Config { service, workloads, ..site.config() });
    host.ready(1).await;
    eventually("the burst is handled", async || stored(&host).await >= 5).await;
    let is = async |drain: &str| {
        let pong = answer(&site, "$SRV.PING.tidegate.again").await.unwrap_or_default();
        pong["metadata"]["drain"] == drain
    };
    eventually("it answers", async || answer(&site, "$SRV.PING.tidegate.again").await.is_some()).await;
    answer(&site, "tidegate.host.again.drain").await.expect("it is told to drain");
    eventually("it is drained", async || is("drained").await).await;
    answer(&site, "tidegate.host.again.undrain").await.expect("it is told to go on");
    until("more is handled", async || {
        let handled = stored(&host).await;
        let allowed = 5 + begin.elapsed().as_millis() / every.as_millis();
        assert!(handled as u128 <= allowed, "{handled} handled where {allowed} may begin");
        (handled >= 6).then_some(())
    })
    .await;
    drop(host);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_are_in_handlers_at_once_and_no_more() {
    let site = with("few", (0..12).map(|id| format!("sleep 100\nledger out {id}"))).await;
    let limits = StartLimits { max_in_flight: Some(2), ..StartLimits::default() };
    let (host, address) = Host::over_http(site, limited(workers("few", 6), limits)).await;
    host.ready(1).await;
    eventually("two are in handlers", async || {
        let in_flight = status(&address).await["limits"]["in_flight"].as_u64().unwrap();
        assert!(in_flight <= 2, "{in_flight} in flight");
        in_flight == 2
    })
    .await;
    host.settled("few").await;
    let entries = host.stored_count("OUT", 12).await;
    let at = |message: &async_nats::Message| {
        let entry = json(message);
        assert_eq!(entry["attempt"], 1);
    };
    entries.iter().for_each(at);
    // By the server's clock: six pairs, each of a tenth of a second, from the end of the first to that of the last.
    let stream = host.js.get_stream("OUT").await.unwrap();
    let of = async |sequence| stream.get_raw_message(sequence).await.unwrap().time;
    let took = of(12).await - of(1).await;
    assert!(took.whole_milliseconds() >= 450, "twelve of a tenth of a second, two at once, took {took}");
}

/// A workload with six workers, two at most with messages of one subject.
fn two_of_a_key(name: &str) -> Workload {
    let per_key = PerKey { key: OrderKey::Token(3), max_in_flight: 2, buffer: 100, buffer_bytes: 1 << 24 };
    Workload { per_key: Some(per_key), ..workers(name, 6) }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_a_key_are_handled_at_once_and_no_more() {
    let site = with("keyed", (0..12).map(|id| format!("sleep 100\nledger out {id}"))).await;
    let host = Host::start_at(site, vec![two_of_a_key("keyed")]).await;
    host.settled("keyed").await;
    assert!(host.stored_count("OUT", 12).await.iter().all(|entry| json(entry)["attempt"] == 1));
    // By the server's clock, as above.
    let stream = host.js.get_stream("OUT").await.unwrap();
    let of = async |sequence| stream.get_raw_message(sequence).await.unwrap().time;
    let took = of(12).await - of(1).await;
    assert!(took.whole_milliseconds() >= 450, "twelve of a tenth of a second, two at once, took {took}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_places_are_taken_holds_only_itself_and_what_waits_goes_on_at_another_host() {
    // The first two do not end, until another host has them.
    let hang = |id| if id < 2 { "before 2 sleep 10000000\n" } else { "" };
    let site = with("held", (0..7).map(|id| format!("{}ledger out {id}", hang(id)))).await;
    site.publish_all("in.held.b", (7..40).map(|id| format!("ledger out {id}"))).await;
    let of = two_of_a_key("held");
    let limits = Limits { time: Duration::from_secs(1800), ..of.limits.clone() };
    let workload = Workload { limits, ..of };
    let (http, grace) = (Some("127.0.0.1:0".parse().unwrap()), Duration::ZERO);
    let config = Config { http, grace, workloads: vec![workload.clone()], ..site.config() };
    let host = Host::run(site, config);
    let address = host.address().await;
    host.stored_count("OUT", 33).await;
    eventually("five wait for a place", async || {
        let per_key = status(&address).await["per_key"].clone();
        (per_key["keys"].as_u64(), per_key["waiting"].as_u64()) == (Some(1), Some(5))
    })
    .await;
    eventually("the policy is told that no worker could do more", async || {
        status(&address).await["scaling"]["observation"]["limited"].as_bool() == Some(true)
    })
    .await;
    let (_, metrics) = get(&address, "/metrics").await;
    assert!(metrics.contains("tidegate_per_key_waiting{workload=\"held\"} 5"), "{metrics}");
    assert_eq!(stored(&host).await, 33);
    let (site, _) = host.stop().await;
    let host = Host::start_at(site, vec![workload]).await;
    host.settled("held").await;
    assert_eq!(stored(&host).await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_calls_ask_to_retry_one_at_a_time_tries_and_all_goes_on_by_itself() {
    let scripts = (0..30).map(|id| format!("before 2 retry 10\nledger out {id}"));
    let site = with("broken", scripts).await;
    let breaker = BreakerConfig {
        ratio: 0.5,
        window: Duration::from_secs(60),
        min_calls: 4,
        probe_interval: Duration::from_millis(50),
    };
    let limits = StartLimits { breaker: Some(breaker), ..StartLimits::default() };
    let (host, address) = Host::over_http(site, limited(workers("broken", 2), limits)).await;
    host.ready(1).await;
    eventually("it has slowed to probes", async || {
        status(&address).await["limits"]["breaker_opened"].as_u64().unwrap() >= 1
    })
    .await;
    host.settled("broken").await;
    assert_eq!(stored(&host).await, 30);
    eventually("it goes on", async || status(&address).await["limits"]["breaker"] == "closed").await;
    let status = status(&address).await;
    assert_eq!(status["problems"], Value::Object(serde_json::Map::new()));
    let opened = usize::try_from(status["limits"]["breaker_opened"].as_u64().unwrap()).unwrap();
    let named = "\"workload\":\"broken\"";
    assert_eq!(log::count(&[named, "asked to retry or ran out of time"]), opened, "told once a change");
    assert_eq!(log::count(&[named, "\"part\":\"breaker\"", "works again"]), opened);
    let (_, metrics) = get(&address, "/metrics").await;
    assert!(metrics.contains(&format!("tidegate_breaker_opened_total{{workload=\"broken\"}} {opened}\n")));
    assert!(metrics.contains("tidegate_breaker_open{workload=\"broken\"} 0"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_behind_the_handler_costs_few_calls_and_what_waits_is_not_called() {
    let site = with("down", (0..200).map(|_| "retry 10".to_owned())).await;
    let probe_interval = Duration::from_millis(100);
    let breaker = BreakerConfig { ratio: 0.5, window: Duration::from_secs(60), min_calls: 10, probe_interval };
    let limits = StartLimits { breaker: Some(breaker), ..StartLimits::default() };
    let (begin, workers) = (Instant::now(), workers("down", 4));
    let retry = tidegate_runtime::config::Retry { max_attempts: 1000, ..workers.retry.clone() };
    let (host, address) = Host::over_http(site, limited(Workload { retry, ..workers }, limits)).await;
    host.ready(1).await;
    until("some probes were made", async || {
        let status = status(&address).await;
        let calls = status["deliveries"]["retried"].as_u64().unwrap();
        // Those of the window, those that ran when it was full, and one an interval.
        let allowed = 10 + 4 + begin.elapsed().as_millis() / probe_interval.as_millis();
        assert!(u128::from(calls) <= allowed, "{calls} calls, where {allowed} may be");
        (calls >= 20 && status["limits"]["breaker"] == "open").then_some(())
    })
    .await;
    let (code, said) = get(&address, "/readyz").await;
    assert_eq!(code, 503);
    assert!(said.contains("more than 0.5 of the calls within 1m asked to retry or ran out of time"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_adds_no_workers_where_the_limit_is_what_binds() {
    let site = with("bound", (0..3_000).map(|id| format!("ledger out {id}"))).await;
    // Quick calls: one worker does what the rate allows many times over.
    let limits =
        StartLimits { rate: Some(Rate { every: Duration::from_millis(20), burst: 5 }), ..StartLimits::default() };
    let workload = policy(limited(workers("bound", 1), limits), "backlog", &[("pending-per-worker", "10")]);
    let (host, address) = Host::over_http(site, workload).await;
    host.ready(1).await;
    eventually("the policy is told", async || {
        status(&address).await["scaling"]["observation"]["limited"].as_bool() == Some(true)
    })
    .await;
    eventually("it says so", async || {
        let status = status(&address).await;
        let reason = status["scaling"]["last_decisions"][0]["reason"].as_str().unwrap_or_default().to_owned();
        reason.contains("a limit keeps it at")
    })
    .await;
    let (_, metrics) = get(&address, "/metrics").await;
    assert!(metrics.contains("tidegate_limited{workload=\"bound\"} 1"), "{metrics}");
    drop(host);
}
