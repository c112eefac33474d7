//! Components that were written for wasmCloud in the asynchronous form: several messages of one instance at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use tidegate_runtime::config::{Grants, Isolation, Limits, Workload};
use tidegate_test_artifacts::probes;

use crate::support::cli::run;
use crate::support::host::{Host, workload};
use crate::support::log;
use crate::support::site::{DEAD, Site, header, text};

/// A workload whose handler is such a component, with so many messages in an instance at once.
fn streamed(name: &str, concurrency: usize) -> Workload {
    let workload = workload(name);
    let grants = Grants { request: vec!["prices.>".into()], ..workload.grants.clone() };
    Workload { handler: "probe-messaging-async".into(), grants, concurrency, ..workload }
}

async fn installed(site: Arc<Site>) -> Arc<Site> {
    site.install("probe-messaging-async", probes::MESSAGING_ASYNC);
    site
}

async fn host(workload: Workload) -> Host {
    let site = installed(Site::new().await).await;
    site.stream("OUT", &["out.>"]).await;
    Host::start_at(site, vec![workload]).await
}

/// Answers what is asked on `prices.>` once so many wait for their answers.
async fn answers_together(site: &Site, count: usize) {
    let mut requests = site.client.subscribe("prices.>").await.unwrap();
    site.client.flush().await.unwrap();
    let client = site.client.clone();
    tokio::spawn(async move {
        let mut waiting = Vec::new();
        while let Some(request) = requests.next().await {
            waiting.push(request);
            if waiting.len() < count {
                continue;
            }
            for request in std::mem::take(&mut waiting) {
                let hops = header(&request, "Tidegate-Hops").unwrap_or("no hops");
                let answer = format!("{} of {hops}", text(&request));
                client.publish(request.reply.clone().unwrap(), answer.into()).await.unwrap();
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn such_a_component_runs_and_its_replies_and_settings_arrive() {
    let work = streamed("peer", 1);
    let host = host(Workload { settings: vec![("greeting".into(), "hello".into())], ..work }).await;
    assert_eq!(host.request("in.peer.a", "echo").await, "echo");
    assert_eq!(host.request("in.peer.b", "delivery").await, "in.peer.b true");
    assert_eq!(host.request("in.peer.a", "config greeting").await, "hello");
    assert_eq!(host.request("in.peer.a", "count").await, "4");
    // More than is handed over at once.
    let long = format!("echo\n{}", "ok\n".repeat(100_000));
    assert_eq!(host.request("in.peer.a", long.clone()).await, long);
    host.settled("peer").await;
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_message_that_is_retried_nothing_is_sent_and_what_is_rejected_is_a_dead_letter() {
    let host = host(streamed("answers", 1)).await;
    host.publish("in.answers.a", "publish out.b 1\npublish out.a 2\nfirst-retry").await;
    let stored = host.stored_count("OUT", 2).await;
    let told: Vec<_> = stored.iter().map(|message| (message.subject.as_str(), text(message))).collect();
    assert_eq!(told, [("out.b", "1"), ("out.a", "2")]);
    assert!(stored.iter().all(|message| header(message, "Tidegate-Hops") == Some("1 answers")));
    host.settled("answers").await;
    assert_eq!(host.consumer("answers").await.delivered.consumer_sequence, 2);
    for script in ["reject", "other there is no stock", "retry", "trap"] {
        host.publish("in.answers.a", format!("publish out.a 3\n{script}")).await;
    }
    let of = [(2, "rejected"), (3, "rejected"), (4, "retries"), (5, "trapped")];
    assert_eq!(host.causes(4).await, BTreeMap::from(of.map(|(at, cause)| (at, cause.to_owned()))));
    let letters = host.stored_count(DEAD, 4).await;
    assert!(letters.iter().any(|letter| {
        header(letter, "Tidegate-Reason").is_some_and(|reason| reason.contains("there is no stock"))
    }));
    assert_eq!(host.stored("OUT").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instance_has_many_messages_at_once_and_each_has_its_own_reply_and_publication() {
    let host = host(streamed("many", 16)).await;
    // No answer comes before all sixteen wait for it.
    answers_together(&host, 16).await;
    let subjects: Vec<_> = (0..16).map(|n| format!("in.many.{n}")).collect();
    let asked = subjects.iter().enumerate().map(async |(n, subject)| {
        let script = format!("publish out.{n} {n}\nrequest prices.tea 60000 {n}");
        host.request(subject, script).await
    });
    let replies = join_all(asked).await;
    let expected: Vec<_> = (0..16).map(|n| format!("answer: {n} of 1 many")).collect();
    assert_eq!(replies, expected);
    let stored = host.stored_count("OUT", 16).await;
    assert!(stored.iter().all(|message| message.subject.as_str() == format!("out.{}", text(message))));
    assert_eq!(host.workers("many").0, 1);
    assert_eq!(host.request("in.many.a", "count").await, "17");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_has_several_requests_at_once() {
    let host = host(streamed("together", 1)).await;
    answers_together(&host, 8).await;
    let asked = host.request("in.together.a", "together prices.tea 16").await;
    let expected: Vec<_> = (0..16).map(|n| format!("answer: {n} of 1 together")).collect();
    assert_eq!(asked, expected.join("|"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_may_not_or_cannot_have_it_is_told() {
    let work = streamed("denied", 4);
    let limits = Limits { publications: 5, requests: 7, response: 64 << 10, ..work.limits.clone() };
    let host = host(Workload { limits, ..work }).await;
    let asks = async |script: &'static str| host.request("in.denied.a", script).await;
    assert_eq!(asks("try-publish orders.new x").await, "Err(Error::AccessDenied)");
    log::logged(&["\"denied\"", "may not publish on `orders.new`; add it to grants.publish"]).await;
    assert_eq!(asks("try-publish out.*.x x").await, "Err(Error::SubjectInvalid)");
    assert_eq!(asks("try-publish-bytes out.a 70000").await, "Err(Error::MessageTooLarge)");
    assert_eq!(asks("request $JS.API.STREAM.DELETE.OUT 1000 x").await, "error: Error::AccessDenied");
    let nobody = asks("request prices.nobody 60000 x").await;
    assert!(nobody.contains("nobody listens on `prices.nobody`"), "{nobody}");
    let silent = host.client.subscribe("prices.silent").await.unwrap();
    host.client.flush().await.unwrap();
    assert_eq!(asks("request prices.silent 100 x").await, "error: Error::Timeout");
    drop(silent);
    host.publish("in.denied.a", "publications out.a").await;
    let letters = host.stored_count(DEAD, 1).await;
    let reason = header(&letters[0], "Tidegate-Reason").unwrap();
    assert!(reason.contains("5 Error::QuotaExceeded"), "{reason}");
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_it_does_not_read_take_no_more_of_the_host_than_a_call_may() {
    let work = streamed("hoard", 2);
    let limits = Limits { response: 64 << 10, ..work.limits.clone() };
    let host = host(Workload { limits, ..work }).await;
    let mut requests = host.client.subscribe("prices.>").await.unwrap();
    host.client.flush().await.unwrap();
    let client = host.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            client.publish(request.reply.unwrap(), vec![b'x'; 10_000].into()).await.unwrap();
        }
    });
    // Each call has as much again: what the one before kept is gone.
    for _ in 0..3 {
        assert_eq!(host.request("in.hoard.a", "hoard prices.tea").await, "6 Error::MessageTooLarge");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_leaves_ends_with_it() {
    let host = host(streamed("left", 2)).await;
    let mut requests = host.client.subscribe("prices.>").await.unwrap();
    host.client.flush().await.unwrap();
    let client = host.client.clone();
    tokio::spawn(async move {
        // The second is answered when the first has come, which nobody answers.
        let (mut left, mut asked) = (None, None);
        while let Some(request) = requests.next().await {
            match request.subject.as_str() {
                "prices.nobody" => left = Some(request),
                _ => asked = Some(request),
            }
            if left.is_some()
                && let Some(asked) = asked.take()
            {
                client.publish(asked.reply.unwrap(), "0123456789".into()).await.unwrap();
            }
        }
    });
    let script = "leave-publication out.a\nleave-request prices.nobody\nleave-answer prices.tea\necho";
    assert_eq!(host.request("in.left.a", script).await, script);
    // Of the same instance, in a call of its own.
    let told = host.request("in.left.a", "left 2").await;
    for left in ["written", "asked"] {
        assert!(told.contains(&format!("nothing can be {left} while no message is handled")), "{told}");
    }
    assert_eq!(host.request("in.left.a", "left-answer").await, "0 bytes");
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_costs_the_other_messages_of_its_instance_nothing() {
    let script =
        |id: usize| if id == 3 { "sleep 100\ntrap".to_owned() } else { format!("sleep 200\npublish out.a {id}") };
    let site = installed(Site::with_scripts("poison", (0..8).map(script)).await).await;
    let host = Host::start_at(site, vec![streamed("poison", 8)]).await;
    assert_eq!(host.stored_count("OUT", 7).await.len(), 7);
    assert_eq!(host.causes(1).await, BTreeMap::from([(4, "trapped".to_owned())]));
    host.settled("poison").await;
    assert_eq!(host.consumer("poison").await.delivered.consumer_sequence, 7 + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_that_passes_in_a_request_counts_in_the_calls_limit() {
    let work = streamed("slow", 2);
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
async fn it_is_isolated_and_swapped_as_others_are() {
    let alone = host(Workload { isolation: Isolation::Message, ..streamed("alone", 1) }).await;
    for _ in 0..3 {
        assert_eq!(alone.request("in.alone.a", "count").await, "1");
    }
    let host = host(streamed("swap", 1)).await;
    let says = async |begin: &str| host.replies("in.swap.a", "delivery", begin).await;
    says("in.swap.a true").await;
    host.install("probe-messaging-async", probes::ASYNC);
    says("{").await;
    host.install("probe-messaging-async", probes::MESSAGING_ASYNC);
    says("in.swap.a true").await;
    host.install("probe-messaging-async", probes::WORKER_V1);
    says("{").await;
    host.install("probe-messaging-async", probes::MESSAGING_ASYNC);
    says("in.swap.a true").await;
}

#[tokio::test]
async fn check_takes_it_where_a_workload_has_several_messages_in_an_instance() {
    let site = installed(Site::new().await).await;
    site.install("probe-messaging", probes::MESSAGING);
    let dir = site.plugins.path().to_str().unwrap();
    let of = |handler| {
        ["--plugins", dir, "--stream", "work", "--handler", handler, "--policy", "fixed", "--concurrency", "10"]
    };
    let checked = run(["check"].into_iter().chain(of("probe-messaging-async"))).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let checked = run(["check"].into_iter().chain(of("probe-messaging"))).await;
    checked
        .failed_with(1, &["does not export tidegate:plugin/async-handler@0.1.3 or wasmcloud:messaging/handler@0.3.0"]);
}
