//! What is sent is checked before: no subject, header or duration of a stranger's or a guest's may break the
//! connection.

use std::time::Duration;

use async_nats::HeaderMap;

use crate::support::host::{Host, workload};
use crate::support::site::{DEAD, header};

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_cannot_break_the_connection_by_where_it_wants_the_reply() {
    let host = Host::start(vec![workload("work")]).await;
    let strange = [
        format!("_INBOX.{}", "a".repeat(5_000)),
        format!("_INBOX.{}", "a".repeat(60_000)),
        "_INBOX.a\u{a0}b".to_owned(),
        "_INBOX.a\u{2028}b".to_owned(),
        "_INBOX.a\u{85}b".to_owned(),
        "_INBOX.a b".to_owned(),
        "_INBOX.a\0b".to_owned(),
        "_INBOX.*".to_owned(),
    ];
    let count = strange.len() as u64;
    for inbox in strange {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Reply", inbox);
        host.js.publish_with_headers("in.work.a", headers, "reply unheard".into()).await.unwrap().await.unwrap();
    }
    assert_eq!(host.request("in.work.a", "reply well").await, "well");
    host.settled("work").await;
    // A connection that is cut loses what it holds until the ack wait ends, which is longer than any test.
    let info = host.consumer("work").await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (count + 1, 0));
    assert!(host.stored(DEAD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_the_server_would_not_take_is_its_handlers_failure_before_anything_is_sent() {
    let host = Host::start(vec![workload("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    let too_long = "x".repeat(5_000);
    let too_much = "x".repeat(70_000);
    for bad in [
        format!("publish out.{too_long} x"),
        "publish out.a\u{a0}b x".to_owned(),
        format!("header out.a Tint {too_much}"),
        "big-publication out.a 1048576".to_owned(),
    ] {
        host.publish("in.work.a", format!("publish out.first x\n{bad}")).await;
    }
    assert_eq!(host.request("in.work.a", "reply well").await, "well");
    let dead = host.stored_count(DEAD, 4).await;
    for letter in &dead {
        assert_eq!(header(letter, "Tidegate-Cause"), Some("effects"), "{letter:?}");
        assert!(header(letter, "Tidegate-Reason").unwrap().contains("publication 1: "), "{letter:?}");
    }
    host.settled("work").await;
    assert!(host.stored("OUT").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_longer_than_the_server_can_count_is_no_retry_at_once() {
    let host = Host::start(vec![workload("work")]).await;
    let mut wire = host.settlements("work").await;
    for delay in [u64::MAX, u64::MAX / 1_000_000, 9_223_372_036_855] {
        host.publish("in.work.a", format!("retry {delay}")).await;
        let nak = wire.settlement("work").await;
        let nanos: i64 = nak.strip_prefix("-NAK {\"delay\":").unwrap().strip_suffix('}').unwrap().parse().unwrap();
        assert!(Duration::from_nanos(nanos.unsigned_abs()) <= Duration::from_secs(100 * 366 * 24 * 3600), "{nak}");
    }
    assert_eq!(host.request("in.work.a", "reply well").await, "well");
    let info = host.consumer("work").await;
    assert_eq!((info.delivered.consumer_sequence, info.num_redelivered), (4, 0));
}
