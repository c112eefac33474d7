//! Answers of a handler that cannot be carried out: each attempt fails, the last one makes a dead letter with the reason.

use async_nats::jetstream::stream::Stream;
use tidegate::config::Workload;
use tidegate::server::Options;

use crate::support::host::{Host, plugins, workload};
use crate::support::nats::nats_with;
use crate::support::until;

/// A server that takes 2 KiB, and a host whose messages have two attempts.
async fn host() -> Host {
    let server = nats_with(Options { config: "max_payload: 2048".into(), ..Options::default() }).await;
    let mut workload: Workload = workload("work");
    workload.retry.max_attempts = 2;
    Host::start_on(server, plugins(), vec![workload]).await
}

async fn dead_letter(dead: &Stream, of: u64) -> async_nats::jetstream::message::StreamMessage {
    until("a dead letter", async || {
        let letter = dead.get_last_raw_message_by_subject("work.dead").await.ok()?;
        let sequence = letter.headers.get("Tidegate-Sequence")?.as_str().parse::<u64>().ok()?;
        (sequence == of).then_some(letter)
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_sent_is_tried_again_and_then_a_dead_letter_that_says_why() {
    let host = host().await;
    let dead = host.js.get_stream("TIDEGATE_DEAD").await.unwrap();
    for (script, reason) in [
        ("big-publication work.out 3000", "publication 0: 3000 bytes, and the server takes 2048"),
        ("bad-header work.out", "publication 0: `Not A: Name` is not a legal header name"),
        ("nats-header work.out", "publication 0: the header `Nats-Msg-Id` belongs to the host"),
        ("bad-subject text", "publication 0: `no.*.literal` is not a literal subject"),
    ] {
        let sequence = host.publish("work.a", script).await;
        let letter = dead_letter(&dead, sequence).await;
        let header = |name: &str| letter.headers.get(name).unwrap().as_str().to_owned();
        assert_eq!(letter.payload, script);
        assert_eq!(header("Tidegate-Cause"), "effects");
        assert_eq!(header("Tidegate-Attempts"), "2");
        assert!(header("Tidegate-Reason").contains(reason), "{}", header("Tidegate-Reason"));
    }
    host.settled("work").await;
    // Nothing of such an answer is sent, so the stream has the requests and no more.
    assert_eq!(host.js.get_stream("work").await.unwrap().cached_info().state.messages, 4);
    host.stop().await;
}

#[tokio::test]
async fn a_reply_that_is_too_large_is_not_sent() {
    let host = host().await;
    let dead = host.js.get_stream("TIDEGATE_DEAD").await.unwrap();
    let inbox = "replies";
    let mut replies = crate::support::nats::client(&host.server).await.subscribe(inbox).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Reply", inbox);
    let sent = host.js.publish_with_headers("work.a", headers.clone(), "big-reply 3000".into()).await.unwrap();
    let letter = dead_letter(&dead, sent.await.unwrap().sequence).await;
    let reason = letter.headers.get("Tidegate-Reason").unwrap().as_str();
    assert!(reason.contains("a reply of 3000 bytes, and the server takes 2048"), "{reason}");
    // The next reply is the first that comes.
    host.js.publish_with_headers("work.a", headers, "reply small".into()).await.unwrap().await.unwrap();
    let first = futures_util::StreamExt::next(&mut replies).await.unwrap();
    assert_eq!(first.payload, "small");
    host.stop().await;
}
