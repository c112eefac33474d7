//! Messages whose subject or headers the client library cannot read.

use serde_json::Value;
use tidegate_runtime::config::{Retry, Scale, SignalSource, Workload};

use crate::support::cli::{Running, run, tidegate};
use crate::support::eventually;
use crate::support::host::{Host, workload};
use crate::support::raw;
use crate::support::site::{DEAD, Site, header, text};

fn once(name: &str) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts: 1, ..workload.retry.clone() }, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_breaks_the_connection_becomes_a_dead_letter_and_the_others_flow() {
    let host = Host::start(vec![once("work")]).await;
    let url = host.nats.servers[0].clone();
    let blocks: [&[u8]; 3] =
        [b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n", b"NATS/1.0\r\nA name: x\r\n\r\n", b"NATS/1.0\r\nnothing\r\n\r\n"];
    for (index, block) in blocks.iter().enumerate() {
        raw::publish(&url, "in.work.a", block, b"payload \x00\xff").await;
        let dead = &host.stored_count(DEAD, index + 1).await[index];
        assert_eq!(&dead.payload[..], b"payload \x00\xff");
        assert_eq!(header(dead, "Tidegate-Cause"), Some("unreadable"));
        assert_eq!(header(dead, "Tidegate-Subject"), Some("in.work.a"));
        assert_eq!(header(dead, "Tidegate-Sequence"), Some((2 * index + 1).to_string().as_str()));
        assert_eq!(host.request("in.work.a", "reply fine").await, "fine");
    }
    host.settled("work").await;
    assert_eq!(host.stored(DEAD).await.len(), blocks.len());

    let show = run(["dead", "show", "1", "--output", "json", "--server", &url]).await;
    let shown: Value = serde_json::from_str(&show.stdout).unwrap();
    assert_eq!(shown[0]["headers"], Value::Null);
    assert_eq!(shown[0]["unreadable_headers"], "TkFUUy8xLjANCkE6IP/+DQoNCg==");
    assert!(shown[0]["reason"].as_str().unwrap().contains("they are not UTF-8"));
    let redrive = run(["dead", "redrive", "1", "--server", &url]).await;
    redrive.failed_with(1, &["dead letter 1 stays: its subject or headers cannot be published by this client"]);
    assert_eq!(host.stored(DEAD).await.len(), blocks.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_breaks_the_connection_is_told_in_a_dead_letter_and_the_others_flow() {
    let host = Host::start(vec![once("work"), once("other")]).await;
    let url = host.nats.servers[0].clone();
    let block = b"NATS/1.0\r\nA: b\r\n\r\n";
    for (index, (subject, block, shown)) in [
        (&b"in.work.\xff"[..], &b""[..], "in.work.\\xff"),
        (b"in.work.a\xc2\xa0b", block, "in.work.a\\u{a0}b"),
        (b"in.work.\xe2\x82", block, "in.work.\\xe2\\x82"),
    ]
    .into_iter()
    .enumerate()
    {
        raw::publish(&url, subject, block, b"reply never").await;
        let dead = &host.stored_count(DEAD, index + 1).await[index];
        assert_eq!(text(dead), "reply never");
        assert_eq!(header(dead, "Tidegate-Cause"), Some("unreadable"));
        assert_eq!(header(dead, "Tidegate-Subject"), Some(shown));
        assert!(header(dead, "Tidegate-Reason").unwrap().contains("its subject"), "{dead:?}");
        assert_eq!(host.request("in.work.a", "reply fine").await, "fine");
        assert_eq!(host.request("in.other.a", "reply fine").await, "fine");
    }
    host.settled("work").await;
    // What it can read is handled, however odd.
    raw::publish(&url, "in.work.a\u{a0}\u{1}b", b"", b"reject me").await;
    let dead = &host.stored_count(DEAD, 4).await[3];
    assert_eq!(header(dead, "Tidegate-Cause"), Some("rejected"));
}

/// How many connections the server has accepted, with this one.
async fn connections(url: &str) -> u64 {
    async_nats::connect(url).await.unwrap().server_info().client_id
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workloads_share_one_second_connection() {
    let names: Vec<_> = (0..8).map(|number| format!("work{number}")).collect();
    let host = Host::start(names.iter().map(|name| workload(name)).collect()).await;
    let url = host.nats.servers[0].clone();
    // A message waits for another attempt in each, so any of them may be the one that cost the connection.
    for name in &names {
        host.publish(&format!("in.{name}.later"), "retry 600000").await;
        host.unsettled(name, 1).await;
    }
    let before = connections(&url).await;
    raw::publish(&url, b"in.work0.\xff", b"", b"never read").await;
    // Without a consumer, for which the server would count a connection.
    eventually("the dead letter is there", async || {
        host.js.get_stream(DEAD).await.is_ok_and(|stream| stream.cached_info().state.messages == 1)
    })
    .await;
    for name in &names {
        assert_eq!(host.request(&format!("in.{name}.a"), "reply fine").await, "fine");
    }
    // That of the publisher, the host's, which was lost, the second one, and the one that asks.
    assert_eq!(connections(&url).await - before, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_does_not_stop_the_headers_source() {
    let workload = once("work");
    let scale = Scale { source: SignalSource::Headers, ..workload.scale.clone() };
    let host = Host::start(vec![Workload { scale, ..workload }]).await;
    let url = host.nats.servers[0].clone();
    raw::publish(&url, b"in.work.\xff", b"", b"x").await;
    host.stored_count(DEAD, 1).await;
    assert_eq!(host.request("in.work.a", "reply fine").await, "fine");
    let stream = host.js.get_stream("work").await.unwrap();
    eventually("both are counted", async || {
        let info = stream.consumer_info("work-workers-watch").await.unwrap();
        info.num_pending == 0 && info.num_ack_pending == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_a_status_line_is_a_delivery() {
    let host = Host::start(vec![once("work")]).await;
    let url = host.nats.servers[0].clone();
    for status in ["100", "404 No Messages", "408 Request Timeout", "409 Consumer Deleted", "503"] {
        let block = format!("NATS/1.0 {status}\r\nTint: blue\r\n\r\n");
        raw::publish(&url, "in.work.a", block.as_bytes(), b"reject me").await;
    }
    let dead = host.stored_count(DEAD, 5).await;
    assert!(dead.iter().all(|letter| text(letter) == "reject me" && header(letter, "Tint") == Some("blue")));
    host.settled("work").await;
}

#[tokio::test]
async fn a_message_that_makes_the_client_library_panic_does_not_end_the_program() {
    let site = Site::new().await;
    let (url, plugins) = (site.nats.servers[0].as_str(), site.plugins.path().to_str().unwrap());
    let flags = ["run", "--no-cache", "--server", url, "--plugins", plugins, "--expires", "1s", "--min", "1"];
    let work = ["--stream", "work", "--subjects", "work.>", "--handler", "probe", "--policy", "fixed"];
    let mut host = Running::start(tidegate(flags.iter().chain(&work)));
    host.line_with("worker started").await;
    raw::publish(url, "work.a", b"NATS/1.0\r\nA: a\rb\r\n\r\n", b"payload").await;
    host.line_with("starting again").await;
    // A server that is away just then is waited for, too.
    site.server.lock().await.kill();
    host.line_with("no NATS server answers").await;
    site.server.lock().await.restart().await.unwrap();
    let dead = &site.stored_count(DEAD, 1).await[0];
    assert_eq!((text(dead), header(dead, "Tidegate-Cause")), ("payload", Some("unreadable")));
    assert_eq!(site.request("work.a", "reply fine").await, "fine");
}
