//! What a dead letter keeps, and answers that make one because they cannot be carried out.

use std::ops::ControlFlow;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use tidegate_runtime::config::{DeadLetters, Queue, Retry, Workload};

use crate::support::cli::run;
use crate::support::host::{Host, workers, workload};
use crate::support::site::{DEAD, Site, header, text};
use crate::support::{log, until};

/// Every failure is the last.
fn once(name: &str) -> Workload {
    let workload = workload(name);
    Workload { retry: Retry { max_attempts: 1, ..workload.retry.clone() }, ..workload }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_the_payload_and_the_headers_as_they_were() {
    let host = Host::start(vec![once("work")]).await;
    // No script: the probe rejects what is not text.
    let payload: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let headers = [
        ("Tint", "blue"),
        ("Tint", "green"),
        ("x-lower", "kept: with a colon"),
        ("X-Empty", ""),
        ("Nats-Msg-Id", "order-7"),
        ("Nats-Reply", "answers.7"),
        ("nats-odd", "also the server's"),
        ("Tidegate-Reason", "mine"),
    ];
    let sequence = host.publish_with("in.work.a", &headers, payload.clone()).await;
    let dead = &host.stored_count(DEAD, 1).await[0];
    assert_eq!(dead.payload, payload);
    let values =
        |name: &str| dead.headers.as_ref().unwrap().get_all(name).map(|value| value.as_str()).collect::<Vec<_>>();
    assert_eq!(values("Tint"), ["blue", "green"]);
    assert_eq!(values("x-lower"), ["kept: with a colon"]);
    assert_eq!(values("X-Empty"), [""]);
    assert_eq!(values("Tidegate-Original-Nats-Msg-Id"), ["order-7"]);
    assert_eq!(values("Tidegate-Original-Nats-Reply"), ["answers.7"]);
    assert_eq!(values("Tidegate-Original-nats-odd"), ["also the server's"]);
    assert_eq!(values("Nats-Reply"), [""; 0]);
    assert_eq!(values("Tidegate-Original-Tidegate-Reason"), ["mine"]);
    assert!(values("Tidegate-Reason")[0].starts_with("not text"));
    assert_eq!(values("Tidegate-Reason").len(), 1);
    assert_eq!(header(dead, "Tidegate-Sequence"), Some(sequence.to_string().as_str()));
    assert_eq!(header(dead, "Tidegate-Stream"), Some("work"));
    assert_eq!(header(dead, "Tidegate-Plugin"), Some("probe"));
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_carried_out_has_no_effect_at_all() {
    let host = Host::start(vec![once("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    let answers = [
        ("bad-subject text", "publication 1: `no.*.literal` is not a literal subject"),
        ("bad-header out.b", "publication 1: `Not A: Name` is not a legal header name"),
        ("nats-header out.b", "publication 1: the header `Nats-Msg-Id` belongs to the host"),
        ("big-publication out.b 1048577", "bytes, and the server takes 1048576"),
        ("big-reply 1048577", "a reply of 1048577 bytes, and the server takes 1048576"),
    ];
    let mut wire = host.wire().await;
    for (line, _) in answers {
        host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], format!("publish out.a good\n{line}")).await;
    }
    let dead = host.stored_count(DEAD, answers.len()).await;
    for (letter, (_, problem)) in dead.iter().zip(answers) {
        assert_eq!(header(letter, "Tidegate-Cause"), Some("effects"));
        let reason = header(letter, "Tidegate-Reason").unwrap();
        assert!(reason.contains(problem), "{reason}");
    }
    host.settled("work").await;
    assert!(host.stored("OUT").await.is_empty());
    // The next reply is the first: before it the requester was only told of dead letters.
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], "reply fine").await;
    let replied = |message: &Message| {
        message.subject.as_str() == "answers.1" && header(message, "Nats-Service-Error-Code").is_none()
    };
    assert_eq!(wire.next(replied).await.payload, "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_as_large_as_the_server_takes_is_stored_or_refused_but_never_closes_the_connection() {
    let host = Host::start(vec![once("work")]).await;
    host.stream("OUT", &["out.>"]).await;
    // Just under the limit the host's own header makes it too large.
    for size in [1_000_000, 1_048_500, 1_048_560, 1_048_576] {
        host.publish("in.work.a", format!("big-publication out.a {size}")).await;
    }
    host.settled("work").await;
    let (stored, dead) = (host.stored("OUT").await.len(), host.stored(DEAD).await.len());
    assert_eq!(stored + dead, 4);
    assert!(stored >= 1 && dead >= 1, "{stored} stored and {dead} dead");
    assert_eq!(host.request("in.work.a", "reply there").await, "there");
    assert_eq!(host.workers("work"), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_keep_their_dead_letters_apart_in_one_stream() {
    let host = Host::start(vec![once("one"), once("two")]).await;
    host.publish("in.one.a", "reject one").await;
    host.publish("in.two.a", "reject two").await;
    let mut dead: Vec<(String, String)> = host
        .stored_count(DEAD, 2)
        .await
        .iter()
        .map(|letter| (letter.subject.to_string(), header(letter, "Tidegate-Reason").unwrap().to_owned()))
        .collect();
    dead.sort();
    assert_eq!(dead, [("one.dead", "one"), ("two.dead", "two")].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

/// Another workload on the same stream, with a consumer of its own.
fn beside(workload: &Workload, name: &str) -> Workload {
    let queue = Queue { consumer: format!("{name}-workers"), ..workload.queue.clone() };
    Workload { name: name.to_owned(), queue, ..workload.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_on_one_stream_each_keep_their_own_letter_of_a_message() {
    let one = once("one");
    let host = Host::start(vec![beside(&one, "two"), one]).await;
    host.publish("in.one.a", "reject twice").await;
    let mut dead: Vec<String> =
        host.stored_count(DEAD, 2).await.iter().map(|letter| letter.subject.to_string()).collect();
    dead.sort();
    assert_eq!(dead, ["one.dead", "two.dead"]);
    host.settled("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workloads_on_one_stream_each_publish_their_own_publications() {
    let one = once("one");
    let host = Host::start(vec![beside(&one, "two"), one]).await;
    host.stream("OUT", &["out.>"]).await;
    host.publish("in.one.a", "publish out.a x").await;
    host.stored_count("OUT", 2).await;
    host.settled("one").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_stream_that_was_made_anew_is_another_one() {
    let host = Host::start(vec![once("work")]).await;
    host.publish("in.work.a", "reject first").await;
    host.stored_count(DEAD, 1).await;
    host.js.delete_stream("work").await.unwrap();
    let consumer =
        async || host.js.get_stream("work").await.ok()?.get_consumer::<pull::Config>("work-workers").await.ok();
    until("the host has made stream and consumer anew", consumer).await;
    host.publish("in.work.a", "reject second").await;
    let dead = host.stored_count(DEAD, 2).await;
    let all: Vec<_> = dead.iter().map(|letter| (text(letter), header(letter, "Tidegate-Sequence").unwrap())).collect();
    assert_eq!(all, [("reject first", "1"), ("reject second", "1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_dead_letters_forgets_none_and_terms_no_message() {
    let host = Host::start(vec![once("work")]).await;
    let made = host.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    assert_eq!(made.discard, DiscardPolicy::New);
    host.js.update_stream(Config { max_messages: 1, ..made.clone() }).await.unwrap();
    host.publish("in.work.a", "reject first").await;
    host.stored_count(DEAD, 1).await;
    let mut wire = host.settlements("work").await;
    host.publish("in.work.a", "reject second").await;
    for _ in 0..3 {
        assert!(wire.settlement("work").await.starts_with("-NAK"));
    }
    assert_eq!(text(&host.stored_count(DEAD, 1).await[0]), "reject first");
    host.js.update_stream(made).await.unwrap();
    host.stored_count(DEAD, 2).await;
    host.settled("work").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_dead_letters_is_made_as_configured_and_left_as_it_is() {
    let site = Site::new().await;
    let max_age = Some(Duration::from_secs(3600));
    let dead_letters = DeadLetters { stream: "MORGUE".into(), max_age, max_bytes: Some(1 << 20), replicas: 1 };
    let host = Host::start_letters(site.clone(), dead_letters.clone(), vec![once("work")]).await;
    let config = async || site.js.get_stream("MORGUE").await.unwrap().cached_info().config.clone();
    assert_eq!(
        (Some(config().await.max_age), config().await.max_bytes, config().await.num_replicas),
        (max_age, 1 << 20, 1)
    );
    host.stop().await;
    let host =
        Host::start_letters(site.clone(), DeadLetters { max_age: None, ..dead_letters }, vec![once("work")]).await;
    assert_eq!(Some(config().await.max_age), max_age);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_is_told_at_once_that_its_message_is_a_dead_letter() {
    let host = Host::start(vec![once("work")]).await;
    let server = host.nats.servers[0].clone();
    let request = async |script: &str, more: &[&str]| {
        run([&["request", "in.work.a", script, "--timeout", "60s", "--server", &server], more].concat()).await
    };
    let ended = request("reject no such customer", &[]).await;
    let cause = "it is dead letter 1, with the cause rejected: no such customer";
    ended.failed_with(4, &[cause, "`tidegate dead show 1` shows all of it."]);
    let ended = request("trap", &["--output", "json"]).await;
    let object: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let expected = serde_json::json!(["500", "trapped", 2, "the handler failed"]);
    let fields = ["code", "cause", "dead_letter", "reason"].map(|name| object[name].clone());
    assert_eq!((ended.code, serde_json::Value::from(fields.to_vec())), (Some(4), expected), "{object}");
    host.settled("work").await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_a_dead_letter_is_told_after_it_is_stored_and_only_where_replies_may_go() {
    let host = Host::start(vec![workers("work", 1)]).await;
    let mut wire = host.wire().await;
    host.publish_with("in.work.a", &[("Nats-Reply", "elsewhere.1")], "reject never").await;
    host.publish_with("in.work.a", &[("Nats-Reply", "answers.1")], "reject never").await;
    let mut letters = 0;
    let told = wire
        .read(|message| {
            assert!(!message.subject.starts_with("elsewhere."), "{message:?}");
            letters += usize::from(message.subject.starts_with("tidegate.dead."));
            if message.subject.as_str() == "answers.1" {
                ControlFlow::Break(message)
            } else {
                ControlFlow::Continue(())
            }
        })
        .await;
    assert_eq!((letters, told.payload.len()), (2, 0));
    assert_eq!(header(&told, "Nats-Service-Error-Code"), Some("400"));
    assert_eq!(header(&told, "Nats-Service-Error"), Some("never"));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_another_stream_takes_does_not_end_its_message() {
    let host = Host::start(vec![once("astray")]).await;
    let made = host.js.get_stream(DEAD).await.unwrap().cached_info().config.clone();
    host.js.delete_stream(DEAD).await.unwrap();
    host.stream("OTHER", &["tidegate.dead.*"]).await;
    host.publish("in.astray.a", "reject me").await;
    log::logged(&["stream OTHER has stored", "`tidegate.dead.astray`", "it belongs into TIDEGATE_DEAD"]).await;
    assert_eq!(host.consumer("astray").await.num_ack_pending, 1);
    host.js.delete_stream("OTHER").await.unwrap();
    host.js.create_stream(made).await.unwrap();
    host.stored_count(DEAD, 1).await;
    host.settled("astray").await;
    host.stop().await;
}
