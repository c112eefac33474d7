use super::{dead, dead_json, letters, listed, once};
use crate::support::host::Host;
use crate::support::raw;
use crate::support::site::{DEAD, Site};
use crate::support::until;

/// Six letters of two workloads: sequences 1 to 6.
async fn six() -> Host {
    let host = Host::start(vec![once("one"), once("two")]).await;
    let mut count = 0;
    for (subject, script) in [
        ("in.one.a", "reject no such customer"),
        ("in.one.b", "trap"),
        ("in.two.a", "reject No such item"),
        ("in.two.b", "retry"),
        ("in.one.a.deep", "reject closed"),
        ("in.two.a", "overflow"),
    ] {
        host.publish(subject, script).await;
        count += 1;
        // One after the other, so that their order is known.
        host.stored_count(DEAD, count).await;
    }
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_newest_first_as_a_table_or_as_one_array() {
    let host = six().await;
    let ended = dead(&host, &["list", "--limit", "4"]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let lines: Vec<Vec<&str>> = ended.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["TIME", "WORKLOAD", "LETTER", "SUBJECT", "TRIES", "CAUSE", "HANDLER", "REASON"]);
    let column = |at: usize| lines[1..].iter().map(|line| line[at]).collect::<Vec<_>>();
    assert_eq!(column(2), ["6", "5", "4", "3"]);
    assert_eq!(column(1), ["two", "one", "two", "two"]);
    assert_eq!(column(3), ["in.two.a", "in.one.a.deep", "in.two.b", "in.two.a"]);
    assert_eq!(column(4), ["1"; 4]);
    assert_eq!(column(5), ["trapped", "rejected", "retries", "rejected"]);
    assert!(column(6).iter().all(|handler| handler.starts_with("probe@") && handler.len() == 18));
    assert!(ended.stdout.contains("No such item"));
    assert!(ended.stderr.contains("4 of 6 dead letters; --limit shows more"), "{}", ended.stderr);

    let list = dead_json(&host, &["list"]).await;
    let first = &list.as_array().unwrap()[5];
    assert_eq!(list.as_array().unwrap().len(), 6);
    for (key, expected) in [("workload", "one"), ("subject", "in.one.a"), ("stream", "one"), ("cause", "rejected")] {
        assert_eq!(first[key], expected);
    }
    assert_eq!((&first["sequence"], &first["stream_sequence"], &first["attempts"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!((first["reason"].as_str().unwrap(), &first["payload_bytes"]), ("no such customer", &23.into()));
    assert!(first["time"].as_str().unwrap() >= first["published"].as_str().unwrap());
    assert_eq!(listed(&host, &["--limit", "2"]).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_filter_leaves_what_it_names() {
    let host = six().await;
    let third = dead_json(&host, &["show", "3"]).await[0].clone();
    let (time, generation) = (third["time"].as_str().unwrap(), third["generation"].as_str().unwrap());
    for (filter, expected) in [
        (&["--workload", "one"][..], &[1, 2, 5][..]),
        (&["--cause", "rejected"], &[1, 3, 5]),
        (&["--cause", "trapped,retries"], &[2, 4, 6]),
        (&["--reason", "NO SUCH"], &[1, 3]),
        (&["--plugin", "probe"], &[1, 2, 3, 4, 5, 6]),
        (&["--plugin", "other"], &[]),
        (&["--generation", &generation[..6]], &[1, 2, 3, 4, 5, 6]),
        (&["--generation", "fffffffffff"], &[]),
        (&["--subject", "in.*.a"], &[1, 3, 6]),
        (&["--subject", "in.one.>"], &[1, 2, 5]),
        (&["--since", "1h"], &[1, 2, 3, 4, 5, 6]),
        (&["--until", "1h"], &[]),
        (&["--workload", "two", "--cause", "rejected"], &[3]),
    ] {
        assert_eq!(listed(&host, filter).await, expected, "{filter:?}");
    }
    // To the millisecond, and the server goes by nanoseconds.
    let (since, until) = (listed(&host, &["--since", time]).await, listed(&host, &["--until", time]).await);
    assert_eq!([until, since].concat(), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn what_cannot_be_listed_is_told_with_what_may_be_meant() {
    let site = Site::new().await;
    let none = dead(&site, &["list"]).await;
    none.failed_with(1, &["there are no dead letters: stream TIDEGATE_DEAD is not there", "--dead-letters"]);
    dead(&site, &["list", "--cause", "traped"]).await.failed_with(2, &["did you mean trapped?", "rejected, retries"]);
    for (flag, wrong, told) in [
        ("--subject", "a b", "no subject has white space"),
        ("--subject", ">>", "stands for one token"),
        ("--generation", "zz", "no digest begins so"),
    ] {
        dead(&site, &["list", flag, wrong]).await.failed_with(2, &[flag, told]);
    }
    dead(&site, &["list", "--since", "yesterday"]).await.failed_with(2, &["such as 2h"]);
    letters(&site, 1).await;
    let unknown = dead(&site, &["list", "--workload", "ordes"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(0), ""));
    assert!(unknown.stderr.contains("workload ordes has no dead letters in TIDEGATE_DEAD; did you mean orders?"));
    let none = dead(&site, &["list", "--cause", "time"]).await;
    assert!(none.stderr.contains("no dead letter in TIDEGATE_DEAD matches"), "{}", none.stderr);
    assert_eq!(dead_json(&site, &["list", "--cause", "time"]).await, serde_json::json!([]));
}

#[tokio::test]
async fn many_letters_are_listed_without_their_payloads_and_what_is_none_is_told() {
    let site = Site::new().await;
    letters(&site, 5000).await;
    site.publish("tidegate.dead.orders", "a stranger").await;
    assert_eq!(listed(&site, &[]).await, (1..=5000).collect::<Vec<u64>>());
    let ended = dead(&site, &["list", "--limit", "1"]).await;
    assert!(ended.stderr.contains("1 messages in TIDEGATE_DEAD are no dead letters"), "{}", ended.stderr);
    // The consumer that it read with is gone.
    let stream = site.js.get_stream(DEAD).await.unwrap();
    until("no consumer is left", async || (stream.get_info().await.ok()?.state.consumer_count == 0).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_sent_with_headers_that_break_the_client_is_told_and_ends_no_listing() {
    let site = Site::new().await;
    letters(&site, 3).await;
    let url = site.nats.servers[0].clone();
    let good = b"NATS/1.0\r\nA: b\r\n\r\n";
    for block in [&b"NATS/1.0\r\nA: \xff\r\n\r\n"[..], b"NATS/1.0\r\nnothing\r\n\r\n", b"NATS/1.0 408 x\r\n\r\n", good]
    {
        raw::publish(&url, "tidegate.dead.orders", block, b"a stranger").await;
    }
    letters(&site, 2).await;
    raw::publish(&url, "tidegate.dead.orders", b"NATS/1.0\r\nA name: x\r\n\r\n", b"a stranger").await;
    for filter in [&["list"][..], &["list", "--workload", "orders"], &["list", "--since", "1h"]] {
        let ended = dead(&site, filter).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        let said = &ended.stderr;
        assert!(said.contains("5 messages in TIDEGATE_DEAD are no dead letters"), "{filter:?}: {said}");
        assert!(said.contains("cannot be read: 4, 5, 10; `nats stream rmm TIDEGATE_DEAD 4`"), "{filter:?}: {said}");
    }
    assert_eq!(listed(&site, &[]).await, [1, 2, 3, 8, 9]);
}
