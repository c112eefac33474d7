//! Components that were written for wasmCloud, as handlers: what they publish, ask and answer.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tidegate_runtime::config::{Config, Grants, Isolation, Limits, Workload};
use tidegate_test_artifacts::probes;
use tokio::task::JoinHandle;

use crate::support::cli::run;
use crate::support::host::{Host, workload};
use crate::support::log;
use crate::support::site::{DEAD, Site, header, text};
use crate::support::wire::is_settlement;

/// A workload whose handler is such a component, and may ask on `prices.>` and on what reaches its stream.
fn messaging(name: &str) -> Workload {
    let workload = workload(name);
    let grants = Grants { request: vec!["prices.>".into(), "in.>".into()], ..workload.grants.clone() };
    Workload { handler: "probe-messaging".into(), grants, ..workload }
}

async fn site() -> Arc<Site> {
    let site = Site::new().await;
    site.install("probe-messaging", probes::MESSAGING);
    site.stream("OUT", &["out.>"]).await;
    site
}

async fn host(workload: Workload) -> Host {
    Host::start_at(site().await, vec![workload]).await
}

/// Answers each request on a subject with its payload.
async fn answers(site: &Site, subject: &str) -> JoinHandle<()> {
    let mut requests = site.client.subscribe(subject.to_owned()).await.unwrap();
    site.client.flush().await.unwrap();
    let client = site.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let hops = header(&request, "Tidegate-Hops").unwrap_or("no hops");
            let answer = format!("{} for {} of {hops}", request.subject, text(&request));
            client.publish(request.reply.clone().unwrap(), answer.into()).await.unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn such_a_component_runs_and_its_replies_settings_and_log_lines_arrive() {
    let work = messaging("peer");
    let host = host(Workload { settings: vec![("greeting".into(), "hello".into())], ..work }).await;
    assert_eq!(host.request("in.peer.a", "echo").await, "echo");
    assert_eq!(host.request("in.peer.b", "delivery").await, "in.peer.b true");
    assert_eq!(host.request("in.peer.a", "config greeting").await, "hello");
    assert_eq!(host.request("in.peer.a", "config other").await, "none");
    assert_eq!(host.request("in.peer.a", "count").await, "5");
    host.publish("in.peer.a", "log a-peer-speaks").await;
    log::logged(&["a-peer-speaks", "\"peer\"", "WARN"]).await;
    host.settled("peer").await;
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_gives_each_message_an_instance_of_its_own() {
    let host = host(Workload { isolation: Isolation::Message, ..messaging("alone") }).await;
    for _ in 0..3 {
        assert_eq!(host.request("in.alone.a", "count").await, "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_publishes_is_stored_in_order_before_the_ack() {
    let host = host(messaging("publish")).await;
    let mut wire = host.wire().await;
    host.publish("in.publish.a", "publish out.b 1\npublish out.a 2").await;
    let stored = host.stored_count("OUT", 2).await;
    let told: Vec<_> = stored.iter().map(|message| (message.subject.as_str(), text(message))).collect();
    assert_eq!(told, [("out.b", "1"), ("out.a", "2")]);
    for (index, message) in stored.iter().enumerate() {
        assert!(header(message, "Nats-Msg-Id").unwrap().ends_with(&format!(":{index}")));
        assert_eq!(header(message, "Tidegate-Hops"), Some("1 publish"));
    }
    host.settled("publish").await;
    // Both go out before the acknowledgement.
    let mut before = 0;
    let before = wire.read(|message| {
        before += usize::from(message.subject.starts_with("out."));
        if is_settlement(&message, "publish") { ControlFlow::Break(before) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(before.await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_call_that_fails_or_traps_nothing_is_sent_and_the_message_is_tried_again() {
    let host = host(messaging("fails")).await;
    host.publish("in.fails.a", "publish out.a 1\nfirst-fail not-now").await;
    let stored = host.stored_count("OUT", 1).await;
    assert_eq!(text(&stored[0]), "1");
    host.settled("fails").await;
    assert_eq!(host.consumer("fails").await.delivered.consumer_sequence, 2);
    log::logged(&["to be tried again", "\"fails\"", "the handler failed: not-now"]).await;
    host.publish("in.fails.a", "publish out.a 2\nfail there is no stock").await;
    host.publish("in.fails.a", "publish out.a 3\ntrap").await;
    let letters = host.stored_count(DEAD, 2).await;
    assert_eq!(header(&letters[0], "Tidegate-Cause"), Some("retries"));
    assert_eq!(header(&letters[0], "Tidegate-Reason"), Some("the handler failed: there is no stock"));
    assert_eq!(header(&letters[1], "Tidegate-Cause"), Some("trapped"));
    assert_eq!(host.stored("OUT").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_publishes_and_asks_only_where_it_is_granted_and_is_told_so() {
    let host = host(messaging("denied")).await;
    let refused = host.request("in.denied.a", "try-publish orders.new x").await;
    assert!(refused.contains("`orders.new` is not granted: grants.publish"), "{refused}");
    log::logged(&["\"denied\"", "may not publish on `orders.new`; add it to grants.publish"]).await;
    let refused = host.request("in.denied.a", "request $JS.API.STREAM.DELETE.OUT 1000 x").await;
    assert!(refused.contains("is not granted: grants.request"), "{refused}");
    assert!(host.js.get_stream("OUT").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_asks_is_answered_or_it_is_told_why_not() {
    let host = host(messaging("asks")).await;
    let answering = answers(&host, "prices.*").await;
    let asked = host.request("in.asks.a", "request prices.tea 5000 two cups").await;
    assert_eq!(asked, "answer: prices.tea for two cups of 1 asks");
    answering.abort();
    let silent = host.client.subscribe("prices.silent").await.unwrap();
    host.client.flush().await.unwrap();
    let asked = host.request("in.asks.a", "request prices.silent 100 x").await;
    assert!(asked.contains("error: `prices.silent` was not answered within 100ms"), "{asked}");
    drop(silent);
    let asked = host.request("in.asks.a", "request prices.nobody.there 5000 x").await;
    assert_eq!(asked, "error: nobody listens on `prices.nobody.there`");
    // What a stream takes in is answered by the stream; the hop count says where it came from.
    let asked = host.request("in.asks.a", "request in.asks.b 5000 ok").await;
    assert!(asked.contains("\"stream\":\"asks\""), "{asked}");
    let stored = host.stored("asks").await;
    assert_eq!(header(stored.last().unwrap(), "Tidegate-Hops"), Some("1 asks"));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_passes_in_a_request_counts_in_the_calls_limit() {
    let work = messaging("slow");
    // Making an instance has the same limit, and is done with what other work leaves of the processor.
    let limits = Limits { time: Duration::from_secs(1), ..work.limits.clone() };
    let host = host(Workload { limits, ..work }).await;
    let _silent = host.client.subscribe("prices.>").await.unwrap();
    host.client.flush().await.unwrap();
    host.publish("in.slow.a", "request prices.tea 4000000000 x").await;
    let letters = host.stored_count(DEAD, 1).await;
    assert_eq!(header(&letters[0], "Tidegate-Cause"), Some("time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_asks_and_publishes_without_end_is_held_to_its_limits() {
    let work = messaging("hostile");
    let limits = Limits { requests: 7, publications: 5, ..work.limits.clone() };
    let host = host(Workload { limits, ..work }).await;
    let _answering = answers(&host, "prices.*").await;
    let asked = host.request("in.hostile.a", "requests prices.tea").await;
    assert_eq!(asked, "7 more than the 7 requests in one call that limits.requests allows");
    host.publish("in.hostile.a", "publications out.a").await;
    let letters = host.stored_count(DEAD, 1).await;
    let reason = header(&letters[0], "Tidegate-Reason").unwrap();
    assert!(reason.contains("5 more than the 5 publications in one call"), "{reason}");
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn such_a_component_is_swapped_for_a_handler_of_the_contract_and_back() {
    let host = host(messaging("swap")).await;
    let says = async |begin: &str| host.replies("in.swap.a", "delivery", begin).await;
    says("in.swap.a true").await;
    host.install("probe-messaging", probes::WORKER_V1);
    says("{").await;
    host.install("probe-messaging", probes::MESSAGING);
    says("in.swap.a true").await;
}

#[tokio::test]
async fn permissions_have_the_subjects_that_it_may_ask_on() {
    let flags = ["--stream", "S", "--handler", "h", "--policy", "p", "--grant-request", "prices.>"];
    let ended = run(["permissions"].iter().chain(&flags)).await;
    assert!(ended.said().contains("\"prices.>\""), "{}", ended.said());
    let grants = Config::from_toml("[workload.w]\nstream = \"S\"\nhandler = \"h\"\npolicy = \"p\"\n").unwrap();
    assert!(grants.workloads[0].grants.request.is_empty());
}
