//! What a handler answers, and what the host then does.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Message;
use tidegate_runtime::config::{Limits, Retry, Workload};

use crate::support::host::{Host, workers, workload};
use crate::support::site::{DEAD, Site, header, text};
use crate::support::wire::{is_ack, is_settlement};

#[tokio::test(flavor = "multi_thread")]
async fn a_handled_message_is_acknowledged() {
    let host = Host::start(vec![workload("work")]).await;
    host.publish("in.work.a", "ok").await;
    host.settled("work").await;
    let info = host.consumer("work").await;
    assert_eq!((info.ack_floor.stream_sequence, info.num_redelivered), (1, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_sent_before_the_ack() {
    let host = Host::start(vec![workload("work")]).await;
    let mut wire = host.wire().await;
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], "reply done").await;
    let said = |message: Message| (message.subject.to_string(), message.payload);
    let first = wire.next(|message| message.subject.as_str() == "answers.1" || is_ack(message, "work")).await;
    assert_eq!(said(first), ("answers.1".to_owned(), "done".into()));
    assert_eq!(wire.settlement("work").await, "+ACK");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_requester_there_is_no_reply_and_a_silent_handler_sends_none() {
    let host = Host::start(vec![workload("work")]).await;
    let mut wire = host.wire().await;
    host.publish("in.work.a", "reply unheard").await;
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.2")], "silent").await;
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.3")], "ok").await;
    let answer = wire.next(|message| message.subject.starts_with("answers.")).await;
    // Deliveries are handled in their order, so an answer to the second would have come first.
    assert_eq!((answer.subject.as_str(), answer.payload.len()), ("answers.3", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_are_stored_with_their_headers_before_the_reply() {
    let host = Host::start(vec![workload("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    let mut wire = host.wire().await;
    let script = "publish out.a one\nheader out.b Tint blue\nreply done";
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], script).await;
    let mut subjects = Vec::new();
    let order = wire
        .read(|message| {
            let (subject, settled) = (message.subject.to_string(), is_settlement(&message, "work"));
            if settled || subject.starts_with("out.") || subject.starts_with("answers.") {
                subjects.push(subject);
            }
            if settled { ControlFlow::Break(std::mem::take(&mut subjects)) } else { ControlFlow::Continue(()) }
        })
        .await;
    assert_eq!(order[..3], ["out.a", "out.b", "answers.1"]);
    let stored = host.stored_count("OUT", 2).await;
    assert_eq!((stored[0].subject.as_str(), text(&stored[0])), ("out.a", "one"));
    assert_eq!((stored[1].subject.as_str(), header(&stored[1], "Tint")), ("out.b", Some("blue")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_names_its_delay_or_takes_the_backoff_of_its_attempt() {
    let retry = Retry { max_attempts: 9, backoff: vec![Duration::from_millis(10), Duration::from_millis(20)] };
    let host = Host::start(vec![Workload { retry, ..workload("work") }]).await;
    let mut wire = host.wire().await;
    let script = "before 2 retry\nbefore 3 retry\nbefore 4 retry 7\nattempt";
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], script).await;
    assert_eq!(wire.settlement("work").await, "-NAK {\"delay\":10000000}");
    assert_eq!(wire.settlement("work").await, "-NAK {\"delay\":20000000}");
    assert_eq!(wire.settlement("work").await, "-NAK {\"delay\":7000000}");
    assert_eq!(wire.next(|message| message.subject.as_str() == "answers.1").await.payload, "4");
    assert_eq!(wire.settlement("work").await, "+ACK");
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_message_is_a_dead_letter_first_and_then_termed() {
    let host = Host::start(vec![workload("work")]).await;
    let mut wire = host.wire().await;
    host.publish("in.work.a", "reject no such customer").await;
    let letter = |message: &Message| message.subject.as_str() == "tidegate.dead.work";
    let first = wire.next(|message| letter(message) || is_ack(message, "work")).await;
    assert!(letter(&first), "{first:?}");
    assert_eq!(wire.settlement("work").await, "+TERM no such customer");
    let advisory = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.work.work-workers";
    let advisory = wire.next(|message| message.subject.as_str() == advisory).await;
    assert!(std::str::from_utf8(&advisory.payload).unwrap().contains("no such customer"));

    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!(dead.subject.as_str(), "work.dead");
    assert_eq!(header(dead, "Tidegate-Cause"), Some("rejected"));
    assert_eq!(header(dead, "Tidegate-Reason"), Some("no such customer"));
    assert_eq!(header(dead, "Tidegate-Attempts"), Some("1"));
    host.settled("work").await;
}

/// A guest that fails in each way it can, in a workload with little time and memory.
fn faulty(name: &str, max_attempts: u32) -> Workload {
    let workload = workers(name, 2);
    let limits = Limits { time: Duration::from_secs(1), memory: 16 << 20, ..workload.limits.clone() };
    Workload { limits, retry: Retry { max_attempts, ..workload.retry.clone() }, ..workload }
}

const FAULTS: [(&str, &str); 5] =
    [("retry", "retries"), ("trap", "trapped"), ("spin", "time"), ("grow", "memory"), ("overflow", "trapped")];

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_kind_is_tried_again() {
    let host = Host::start(vec![faulty("work", 3)]).await;
    host.stream("OUT", &["out.>"]).await;
    for (fault, _) in FAULTS {
        host.publish("in.work.a", format!("before 3 {fault}\nledger out {fault}")).await;
    }
    for entry in host.stored_count("OUT", FAULTS.len()).await {
        assert!(text(&entry).contains("\"attempt\":3"), "{}", text(&entry));
    }
    host.settled("work").await;
    assert!(host.stored(DEAD).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_any_kind_on_the_last_attempt_is_a_dead_letter() {
    let host = Host::start(vec![faulty("work", 2)]).await;
    for (fault, _) in FAULTS {
        host.publish(&format!("in.work.{fault}"), fault).await;
    }
    let dead = host.stored_count(DEAD, FAULTS.len()).await;
    for (fault, cause) in FAULTS {
        let letter = dead.iter().find(|letter| text(letter) == fault).expect(fault);
        assert_eq!(header(letter, "Tidegate-Cause"), Some(cause), "{letter:?}");
        assert_eq!(header(letter, "Tidegate-Attempts"), Some("2"));
        assert_eq!(header(letter, "Tidegate-Subject"), Some(format!("in.work.{fault}").as_str()));
    }
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_faulted_is_thrown_away_and_one_that_failed_is_not() {
    // One worker, so one instance at a time.
    let host = Host::start(vec![workload("one")]).await;
    assert_eq!(host.request("in.one.a", "count").await, "1");
    host.publish("in.one.a", "reject it").await;
    assert_eq!(host.request("in.one.a", "count").await, "3");
    host.publish("in.one.a", "before 2 trap\nok").await;
    host.settled("one").await;
    // The second attempt was the first call of the new instance.
    assert_eq!(host.request("in.one.a", "count").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_delivered_too_often_is_a_dead_letter_without_being_run() {
    let site = Site::new().await;
    site.stream("work", &["in.work.>"]).await;
    site.stream("OUT", &["out.>"]).await;
    site.publish("in.work.a", "publish out.a ran").await;
    // Three attempts are allowed, and three times as many deliveries.
    site.delivered_in_vain("work", 9).await;
    let host = Host::start_at(site, vec![workload("work")]).await;
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!(header(dead, "Tidegate-Cause"), Some("exhausted"));
    assert_eq!(header(dead, "Tidegate-Attempts"), Some("10"));
    host.settled("work").await;
    assert!(host.stored("OUT").await.is_empty());
}
