//! The trace that a message belongs to goes on to what is sent because of it.

use async_nats::Message;
use tidegate_runtime::config::{Retry, Workload};

use crate::support::host::{Host, workers};
use crate::support::site::{DEAD, header};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-aaaaaaaaaaaaaaaa-01";

fn all<'a>(message: &'a Message, name: &str) -> Vec<&'a str> {
    let headers = message.headers.as_ref().unwrap();
    headers.get_all(name).map(|value| value.as_str()).collect()
}

async fn host() -> Host {
    let workload = workers("work", 1);
    let retry = Retry { max_attempts: 1, ..workload.retry.clone() };
    let host = Host::start(vec![Workload { retry, ..workload }]).await;
    host.stream("OUT", &["out.>"]).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_the_reply_and_a_dead_letter_belong_to_the_trace_of_their_message() {
    let host = host().await;
    let headers = [("Nats-Reply", "answers.1"), ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let mut wire = host.wire().await;
    host.publish_with("in.work.a", &headers, "publish out.a x\nreply done").await;
    let reply = wire.next(|message| message.subject.as_str() == "answers.1").await;
    assert_eq!((all(&reply, "traceparent"), all(&reply, "tracestate")), (vec![PARENT], vec!["a=1,b=2"]));
    host.publish_with("in.work.a", &headers, format!("header out.b TraceParent {OTHER}")).await;
    host.publish_with("in.work.a", &headers, "reject no").await;
    host.settled("work").await;
    let stored = host.stored_count("OUT", 2).await;
    assert_eq!((all(&stored[0], "traceparent"), all(&stored[0], "tracestate")), (vec![PARENT], vec!["a=1,b=2"]));
    // A handler that names its own step has the say.
    assert_eq!((all(&stored[1], "TraceParent"), all(&stored[1], "traceparent")), (vec![OTHER], vec![]));
    assert_eq!(all(&stored[1], "tracestate"), [""; 0]);
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!((all(dead, "traceparent"), all(dead, "tracestate")), (vec![PARENT], vec!["a=1", "b=2"]));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_trace_goes_no_further_and_a_trace_keeps_nothing_from_being_sent() {
    let host = host().await;
    host.publish_with("in.work.a", &[("traceparent", "yes"), ("tracestate", "a=1")], "publish out.a x").await;
    host.publish("in.work.a", "publish out.a y").await;
    host.settled("work").await;
    for message in host.stored_count("OUT", 2).await {
        assert_eq!((header(&message, "traceparent"), header(&message, "tracestate")), (None, None));
    }
    // The largest that is taken without a trace is taken with one, which then goes no further.
    let mut size = 1_048_576;
    let traced = loop {
        let script = format!("big-publication out.big {size}");
        host.publish_with("in.work.a", &[("traceparent", PARENT)], script).await;
        host.settled("work").await;
        let stored = host.stored("OUT").await;
        if let Some(message) = stored.into_iter().nth(2) {
            break message;
        }
        size -= 64;
    };
    assert_eq!(header(&traced, "traceparent"), None);
    host.publish_with("in.work.a", &[("traceparent", PARENT)], format!("big-publication out.big {}", size - 256)).await;
    host.settled("work").await;
    assert_eq!(header(&host.stored_count("OUT", 4).await[3], "traceparent"), Some(PARENT));
    host.stop().await;
}
